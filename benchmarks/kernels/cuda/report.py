"""The page and the file of figures of what was measured on a GPU."""

import importlib.metadata
import json
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = ("numba", "numba-cuda", "torch", "numpy", "scikit-learn")


@dataclass
class Report:
    """What a run has measured so far.

    Parameters
    ----------
    about : dict
        What ran, and on what.
    rows : list of dict
        Of the table.
    failed : list of str
        What raised an exception, and which.
    left_out : list of str
        What has not been measured, for want of time.
    """

    about: dict[str, str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def remarks(self) -> str:
        """What the table does not have, a line each."""
        lines = [f"Failed: {what}." for what in self.failed]
        if self.left_out:
            lines.append(f"Left out, as the run ended before: {'; '.join(self.left_out)}.")
        return "\n\n".join(lines)

    def markdown(self) -> str:
        """The page for the documentation."""
        head = "\n".join(f"| {name} | {value} |" for name, value in self.about.items())
        parts = [
            "# Benchmarks on a GPU\n\nWritten by `make gpu`; every figure comes from one run. PyTorch runs "
            "in float32, in TF32 where the row says so, and eagerly unless it says graphs.",
            f"| | |\n|---|---|\n{head}",
            self.remarks(),
            table(self.rows),
        ]
        return "\n\n".join(filter(None, parts)) + "\n"

    def write(self, page: Path, figures: Path | None) -> None:
        """The page, and all figures as JSON if there is a path for them."""
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(self.markdown(), encoding="utf-8")
        if figures is not None:
            figures.parent.mkdir(parents=True, exist_ok=True)
            figures.write_text(json.dumps(vars(self), indent=1), encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "|  | fastnn | torch | ratio | rate | check | fastnn on 2 threads of the CPU: "
        "a fit of 1 iteration + 9 x slope from 1 to 3 (ratio) | also |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(line, rows)])


def line(row: dict[str, Any]) -> str:
    """A row in Markdown."""
    rate = f"{row['tflops']:.1f} TFLOP/s" if "tflops" in row else f"{row['gbs']:.0f} GB/s"
    check = f"error {row['error']:.1e}" + (f", {row['wrong']} labels wrong" if "wrong" in row else "")
    return (
        f"| {row['what']} | {row['fastnn']:.3f} ms | {row['torch']:.3f} ms | "
        f"{row['torch'] / row['fastnn']:.2f} | {rate} | {check} | {_cpu(row)} | {_also(row)} |"
    )


def _cpu(row: dict[str, Any]) -> str:
    if "cpu" not in row:
        return "-"
    said = f"{row['cpu']:.1f} ms ({row['cpu'] / row['fastnn']:.1f})"
    if row["cpu_rows"] < row["rows"]:
        said += f", of {row['cpu_rows']} rows times {row['rows'] / row['cpu_rows']:g}"
    return said


def _also(row: dict[str, Any]) -> str:
    peers = [name for name in ("graphs", "compiled graphs") if name in row]
    said = [f"torch's {name} {row[name]:.3f} ms ({row[name] / row['fastnn']:.2f})" for name in peers]
    if "us_per_step" in row:
        said.append(f"{row['us_per_step']:.1f} us a step")
    if row.get("note"):
        said.append(row["note"])
    return ", ".join(said)


def short(error: BaseException) -> str:
    """An exception in a line that a table can have."""
    text = " ".join(str(error).split()).replace("|", "/")
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def versions(torch: Any, cuda: Any) -> dict[str, str]:
    """What ran, and on what."""
    major, minor = torch.cuda.get_device_capability()
    return {
        "GPU": f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}",
        "Driver": _driver(),
        "CUDA": f"{_cuda_of_driver(cuda)} (the driver's), {torch.version.cuda} (PyTorch's)",
        "Date": time.strftime("%Y-%m-%d"),
        "Python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _driver() -> str:
    """The driver's version, as its own program tells it; that is not everywhere."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "not known"
    ask = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "not known"
    return next(iter(told.split()), "not known")


def _cuda_of_driver(cuda: Any) -> str:
    """The latest CUDA that the driver can run."""
    try:
        return ".".join(map(str, cuda.cudadrv.driver.driver.get_version()))
    except Exception:  # Numba's own, not documented: no figure depends on it
        return "not known"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
