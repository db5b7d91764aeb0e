"""fastnn's CUDA kernels on a GPU: checked against float64, and timed beside PyTorch in one run.

``PYTHONPATH=src python benchmarks/gpu.py`` needs what a CUDA machine's Python has: numba-cuda and PyTorch,
whose random numbers on the device and eager operations are the other contestant. It prints a table and writes
it to docs/benchmarks-gpu.md, and all figures to a JSON file.

A time is the median over calls, each between two events of the device, after calls that compile; contestants
take turns. Results go to arrays full of NaN first, and are compared before anything is timed.
"""

import argparse
import copy
import importlib.metadata
import json
import platform
import shutil
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
# Calls of each contestant, in turns: at least and at most, and seconds after which no more begin.
LEAST_CALLS, MOST_CALLS, SECONDS = 5, 50, 3.0
LAYERS = [(200, 64, 100), (1024, 784, 512), (1024, 512, 512), (8192, 784, 512)]  # rows, inputs, outputs
CLUSTERINGS = [(1_000_000, 8, 64), (1_000_000, 64, 256), (10_000_000, 128, 1000)]  # rows, features, clusters
# Layer sizes, rows, rows of a batch, precision.
NETWORKS = [
    ((64, 100, 10), 1797, 200, None),
    ((784, 512, 512, 10), 60_000, 1024, None),
    ((784, 512, 512, 10), 60_000, 8192, None),
    ((784, 512, 512, 10), 60_000, 1024, "tf32"),
    ((784, 512, 512, 10), 60_000, 8192, "tf32"),
]
# Rows, features, clusters, iterations of rows that stay on the host; and rows of a block of PyTorch's.
STREAMED, STREAMED_BLOCK = (4_000_000, 128, 256, 3), 500_000
# Of more products (rows, features, clusters) than this the CPU does no iteration here.
CPU_WORK = 1e11
# What torch.compile needs for its own kernels.
COMPILER = any(map(shutil.which, ("cc", "gcc", "clang")))
# Relative error of what is checked; sums in float32, of batches and in another order.
TOLERATED = 1e-3
# Of the loss of an epoch with factors of 11 bits.
TOLERATED_TF32 = 1e-2
# Rows whose labels are compared with those of float64.
CHECKED = 20_000
# Elements of torch's matrix of distances at once: the whole of it does not fit.
DISTANCES = 1 << 28


def milliseconds(contestants: dict[str, Callable[[], Any]], cuda: Any) -> dict[str, float]:
    """Median time of a call of each, by events of the device."""
    for call in contestants.values():
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    end = time.perf_counter() + SECONDS
    while len(next(iter(times.values()))) < MOST_CALLS:
        for name, call in contestants.items():
            begin, finish = cuda.event(), cuda.event()
            begin.record()
            call()
            finish.record()
            finish.synchronize()
            times[name].append(cuda.event_elapsed_time(begin, finish))
        if time.perf_counter() > end and len(times[name]) >= LEAST_CALLS:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def relative_error(result: Any, expected: Any) -> float:
    """Norm of the error over the norm of the reference, in float64."""
    difference = result.double() - expected.double()
    return float(difference.norm() / expected.double().norm())


def layers(torch: Any, cuda: Any) -> list[dict[str, Any]]:
    """Forward and backward of one layer with relu."""
    from fastnn.kernels import linear_backward, linear_forward

    rows = []
    for n, n_in, n_out in LAYERS:
        X, W, b, dA = (
            torch.randn(shape, device="cuda") for shape in ((n, n_in), (n_in, n_out), n_out, (n, n_out))
        )
        A = torch.full((n, n_out), float("nan"), device="cuda")
        out = tuple(
            torch.full(shape, float("nan"), device="cuda") for shape in ((n, n_in), (n_in, n_out), (n_out,))
        )

        def forward(X=X, W=W, b=b, A=A):
            return linear_forward(X, W, b, "relu", out=A)

        def backward(X=X, W=W, A=A, dA=dA, out=out):
            return linear_backward(dA, X, W, A, activation="relu", out=out)

        def torch_forward(X=X, W=W, b=b):
            return torch.relu(torch.addmm(b, X, W))

        def torch_backward(X=X, W=W, A=A, dA=dA):
            dZ = dA * (A > 0)
            return dZ @ W.T, X.T @ dZ, dZ.sum(0)

        forward()
        errors = [relative_error(A, torch.relu(torch.addmm(b.double(), X.double(), W.double())))]
        backward()
        # Where z is nearly 0 its sign is left to rounding: the derivative is that of our own output.
        dZ = dA.double() * (A > 0)
        for ours, reference in zip(out, (dZ @ W.double().T, X.double().T @ dZ, dZ.sum(0)), strict=True):
            errors.append(relative_error(ours, reference))
        flops = 2.0 * n * n_in * n_out
        for name, ours, theirs, work in (
            ("linear_forward", forward, torch_forward, flops),
            ("linear_backward", backward, torch_backward, 2 * flops),
        ):
            times = milliseconds({"fastnn": ours, "torch": theirs}, cuda)
            rows.append(
                {"what": f"{name} ({n}, {n_in}, {n_out}) relu", "tflops": work / times["fastnn"] / 1e9}
                | {"error": float(np.max(errors))}
                | times
            )
    return rows


@contextmanager
def tf32_allowed(torch: Any) -> Iterator[None]:
    """PyTorch may round the factors of float32 products to TF32 inside the ``with`` block."""
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def torch_assign(torch: Any, X: Any, C: Any) -> Any:
    """Labels by matrix products and argmin, some rows at a time."""
    half = (C * C).sum(1) / 2
    step = max(1, DISTANCES // len(C))
    pieces = (torch.addmm(half, X[i : i + step], C.T, alpha=-1) for i in range(0, len(X), step))
    return torch.cat([piece.argmin(1) for piece in pieces])


def wrong_labels(X: Any, C: Any, labels: Any) -> int:
    """Of some rows, those that have a nearer centre by more than the rounding of float32."""
    X, C = X[:CHECKED].cpu().numpy().astype(np.float64), C.cpu().numpy().astype(np.float64)
    labels = labels[:CHECKED].cpu().numpy()
    squares = (X**2).sum(1)[:, None] - 2 * X @ C.T + (C**2).sum(1)
    own = squares[np.arange(len(X)), labels]
    return int((own - squares.min(1) > 1e-5 * (X**2).sum(1)).sum())


def clusterings(torch: Any, cuda: Any) -> list[dict[str, Any]]:
    """The nearest centre of every row, and the sums of the clusters."""
    from fastnn.kernels import assign, update_centers

    rows = []
    for n, d, k in CLUSTERINGS:
        X = torch.randn((n, d), device="cuda")
        C = X[torch.randperm(n, device="cuda")[:k]].clone()
        labels = torch.full((n,), -1, dtype=torch.int32, device="cuda")
        distances = torch.full((n,), float("nan"), device="cuda")
        sums = torch.full((k, d), float("nan"), dtype=torch.float64, device="cuda")
        counts = torch.full((k,), float("nan"), dtype=torch.float64, device="cuda")

        def nearest(X=X, C=C, labels=labels, distances=distances):
            return assign(X, C, out=(labels, distances))

        def add_up(X=X, labels=labels, k=k, sums=sums, counts=counts):
            return update_centers(X, labels, k, out=(sums, counts))

        def nearest_tf32(X=X, C=C, labels=labels, distances=distances):
            return assign(X, C, out=(labels, distances), precision="tf32")

        def torch_nearest(X=X, C=C):
            return torch_assign(torch, X, C)

        def torch_nearest_tf32(X=X, C=C):
            with tf32_allowed(torch):
                return torch_assign(torch, X, C)

        def torch_add_up(X=X, labels=labels, k=k, d=d):
            total = torch.zeros((k, d), device="cuda")
            return total.index_add_(0, labels.long(), X), torch.bincount(labels, minlength=k)

        nearest()
        add_up()
        wrong = wrong_labels(X, C, labels)
        own = ((X[:CHECKED].double() - C[labels[:CHECKED].long()].double()) ** 2).sum(1)
        distance_error = relative_error(distances[:CHECKED], own)
        expected = torch.zeros((k, d), dtype=torch.float64, device="cuda")
        step = max(1, DISTANCES // d)
        for i in range(0, n, step):
            expected.index_add_(0, labels[i : i + step].long(), X[i : i + step].double())
        error = relative_error(sums, expected)
        wrong += int((counts != torch.bincount(labels, minlength=k)).sum())
        plain_labels, torch_labels = labels.clone(), torch_nearest_tf32()
        labels.fill_(-1)
        nearest_tf32()
        # What TF32 may change is a label that rounding in float32 decides.
        wrong_tf32 = wrong_labels(X, C, labels)
        note = (
            f"{int((labels != plain_labels).sum())} labels differ from float32's, "
            f"torch's TF32 {int((torch_labels != plain_labels).sum())}"
        )
        labels.copy_(plain_labels)
        for ours, theirs, tf32 in (
            (nearest, torch_nearest, False),
            (nearest_tf32, torch_nearest_tf32, True),
        ):
            times = milliseconds({"fastnn": ours, "torch": theirs}, cuda)
            rows.append(
                {
                    "what": f"assign ({n}, {d}, {k})" + tf32 * ", TF32",
                    "tflops": 2.0 * n * d * k / times["fastnn"] / 1e9,
                    "wrong": wrong_tf32 if tf32 else wrong,
                    "error": distance_error,
                    "note": tf32 * note,
                }
                | times
            )
        times = milliseconds({"fastnn": add_up, "torch": torch_add_up}, cuda)
        rows.append(
            {
                "what": f"update_centers ({n}, {d}, {k})",
                "gbs": 4.0 * n * d / times["fastnn"] / 1e6,
                "error": error,
            }
            | times
        )
        del X, C, labels, distances, plain_labels, torch_labels, ours, theirs
        del nearest, nearest_tf32, add_up, torch_nearest, torch_nearest_tf32, torch_add_up
        torch.cuda.empty_cache()
    return rows


def epochs(torch: Any, cuda: Any) -> list[dict[str, Any]]:
    """An epoch of training with adam, beside PyTorch's, in float32 and, where the network is large, in TF32.

    PyTorch's is run eagerly, with each step a CUDA graph, and with each step a graph of compiled code.
    """
    from fastnn.device_network import DeviceNetwork
    from fastnn.kernels import device_rows
    from fastnn.optimizers import Optimizer

    rows = []
    for sizes, n, batch_size, precision in NETWORKS:
        X = torch.randn((n, sizes[0]), device="cuda")
        y = torch.randint(0, sizes[-1], (n,), device="cuda")
        Y = np.eye(sizes[-1], dtype=np.float32)[y.cpu().numpy()]
        torch.manual_seed(0)
        layers = [torch.nn.Linear(n_in, n_out, device="cuda") for n_in, n_out in pairwise(sizes)]
        network = DeviceNetwork(sizes, hidden_activation="relu", loss="log_loss", dtype=np.float32)
        network.load(
            [layer.weight.detach().T.cpu().numpy() for layer in layers],
            [layer.bias.detach().cpu().numpy() for layer in layers],
        )
        optimizer = Optimizer(
            "adam",
            {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
            learning_rate=1e-3,
            n_parameters=network.parameters.size,
            dtype=np.float32,
        )
        order = np.random.default_rng(0).permutation(n)
        ours, shuffled = device_rows(X, 0, precision), torch.from_numpy(order).cuda()

        def fastnn_epoch(network=network, optimizer=optimizer, ours=ours, Y=Y, order=order, size=batch_size):
            return network.train_epoch(optimizer, ours, Y, order, size)

        contestants = {"fastnn": fastnn_epoch}
        with tf32_allowed(torch) if precision else nullcontext():
            data = X, y, shuffled, batch_size
            contestants["torch"] = _torch_epoch(torch, layers, *data)
            contestants["graphs"] = _torch_epoch(torch, layers, *data, graph=True)
            if COMPILER:
                contestants["compiled graphs"] = _torch_epoch(torch, layers, *data, graph=True, compiled=True)
            # All begin with the same parameters; the loss of an epoch is the mean over its rows.
            losses = {name: epoch() for name, epoch in contestants.items()}
            error = float(np.max([abs(loss / losses["torch"] - 1) for loss in losses.values()]))
            times = milliseconds(contestants, cuda)
        steps = -(-n // batch_size)
        flops = 6.0 * n * sum(n_in * n_out for n_in, n_out in pairwise(sizes))
        rows.append(
            {
                "what": f"epoch {'-'.join(map(str, sizes))}, batch {batch_size}, {steps} steps"
                + bool(precision) * ", TF32",
                "tflops": flops / times["fastnn"] / 1e9,
                "error": error,
                "us_per_step": 1e3 * times["fastnn"] / steps,
                "tolerated": TOLERATED_TF32 if precision else TOLERATED,
            }
            | times
        )
    return rows


def _torch_epoch(
    torch: Any,
    layers: Any,
    X: Any,
    y: Any,
    order: Any,
    batch_size: int,
    *,
    graph: bool = False,
    compiled: bool = False,
) -> Callable[[], float]:
    """A function that trains a copy of the layers for an epoch and returns its mean loss.

    With `graph` a step is one CUDA graph; what is captured is `compiled` first by ``torch.compile``.
    """
    modules: list[Any] = []
    for layer in copy.deepcopy(layers):
        modules += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=graph)
    forward = torch.compile(model) if compiled else model
    n, total = len(order), torch.zeros((), device="cuda")

    def step(rows: Any) -> None:
        optimizer.zero_grad(set_to_none=not graph)
        loss = torch.nn.functional.cross_entropy(forward(X[rows]), y[rows])
        loss.backward()
        optimizer.step()
        total.add_(loss.detach(), alpha=len(rows))

    if not graph:

        def epoch() -> float:
            total.zero_()
            for first in range(0, n, batch_size):
                step(order[first : first + batch_size])
            return float(total) / n

        return epoch

    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    captured = {}
    for size in {min(batch_size, n), n % batch_size} - {0}:
        rows = order[:size].clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(rows)
        torch.cuda.current_stream().wait_stream(side)
        made = torch.cuda.CUDAGraph()
        with torch.cuda.graph(made):
            step(rows)
        captured[size] = made, rows
    # Capturing and warming up have moved the parameters, and the graphs know their places.
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(before[0][name])
        for state in optimizer.state.values():
            for value in state.values():
                value.zero_()

    def replayed() -> float:
        total.zero_()
        for first in range(0, n, batch_size):
            rows = order[first : first + batch_size]
            made, static = captured[len(rows)]
            static.copy_(rows)
            made.replay()
        return float(total) / n

    return replayed


def lloyds(torch: Any, cuda: Any) -> list[dict[str, Any]]:
    """Ten of Lloyd's iterations, beside PyTorch's; and one beside fastnn's on two threads of the CPU."""
    from fastnn import KMeans

    rows = []
    for n, d, k in CLUSTERINGS:
        X = torch.randn((n, d), device="cuda")
        C = X[torch.randperm(n, device="cuda")[:k]].clone()
        ours = KMeans(k, init=C.cpu().numpy(), n_init=1, max_iter=10, tol=0, algorithm="plain")

        def fit(ours=ours, X=X):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ours.fit(X)

        def torch_fit(X=X, C=C, k=k, d=d):
            for _ in range(10):
                labels = torch_assign(torch, X, C)
                sums = torch.zeros((k, d), device="cuda").index_add_(0, labels, X)
                C = sums / torch.bincount(labels, minlength=k).clamp(min=1)[:, None]
            return C, torch_assign(torch, X, C)  # a fit ends with the labels, too

        theirs = torch_fit()[0].cpu().numpy()
        torch.cuda.empty_cache()
        with peak_memory(torch) as peak:
            error = float(np.linalg.norm(fit().cluster_centers_ - theirs) / np.linalg.norm(theirs))
        times = milliseconds({"fastnn": fit, "torch": torch_fit}, cuda)
        row = {
            "what": f"10 Lloyd iterations ({n}, {d}, {k})",
            "tflops": 20.0 * n * d * k / times["fastnn"] / 1e9,
            "error": error,
            "note": f"{peak[0] / (4 * n):.1f} words a row beside X at most",
        }
        if n * d * k < CPU_WORK:
            on_host, one = X.cpu().numpy(), KMeans(**ours.get_params() | {"max_iter": 1, "n_threads": 2})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                one.fit(on_host)
                seconds = []
                for _ in range(3):
                    started = time.perf_counter()
                    one.fit(on_host)
                    seconds.append(time.perf_counter() - started)
            row["cpu_iteration_ms"] = 1e3 * statistics.median(seconds)
        rows.append(row | times)
        del X, C, ours, fit, torch_fit
        torch.cuda.empty_cache()
    return rows


@contextmanager
def peak_memory(torch: Any) -> Iterator[list[int]]:
    """Bytes of the device that are taken inside the ``with`` block, at most, of looks a millisecond apart."""
    before, peak, stop = torch.cuda.mem_get_info()[0], [0], threading.Event()

    def look() -> None:
        while not stop.wait(0.001):
            peak[0] = max(peak[0], before - torch.cuda.mem_get_info()[0])

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def streamed(torch: Any, cuda: Any) -> list[dict[str, Any]]:
    """Lloyd's iterations over rows that stay on the host, as if the device had no room for them."""
    from fastnn import KMeans
    from fastnn.kernels.cuda import room

    n, d, k, iterations = STREAMED
    X = np.random.default_rng(0).standard_normal((n, d), np.float32)
    model = KMeans(k, init=X[:k], n_init=1, max_iter=iterations, tol=0, algorithm="plain", device="cuda")

    def fit() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(X)

    def fit_streamed() -> Any:
        share, room.SHARE = room.SHARE, 0.0
        try:
            return fit()
        finally:
            room.SHARE = share

    def torch_fit() -> Any:
        C = torch.from_numpy(X[:k]).cuda()
        for _ in range(iterations):
            sums, counts = torch.zeros((k, d), device="cuda"), torch.zeros(k, device="cuda")
            for i in range(0, n, STREAMED_BLOCK):
                block = torch.from_numpy(X[i : i + STREAMED_BLOCK]).cuda()
                labels = torch_assign(torch, block, C)
                sums.index_add_(0, labels, block)
                counts += torch.bincount(labels, minlength=k)
            C = sums / counts.clamp(min=1)[:, None]
        return C

    whole = fit().cluster_centers_
    error = float(np.linalg.norm(fit_streamed().cluster_centers_ - whole) / np.linalg.norm(whole))
    times = milliseconds({"fastnn": fit_streamed, "torch": torch_fit, "whole": fit}, cuda)
    return [
        {
            "what": f"{iterations} Lloyd iterations ({n}, {d}, {k}), X in blocks from the host",
            # A fit looks at the rows once more, for the labels.
            "gbs": 4.0 * n * d * (iterations + 1) / times["fastnn"] / 1e6,
            "error": error,
            "note": f"with room for X, which is copied once, {times['whole']:.0f} ms",
        }
        | times
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "|  | fastnn | torch | ratio | rate | check | also |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        rate = f"{row['tflops']:.1f} TFLOP/s" if "tflops" in row else f"{row['gbs']:.0f} GB/s"
        check = f"error {row['error']:.1e}" + (f", {row['wrong']} labels wrong" if "wrong" in row else "")
        lines.append(
            f"| {row['what']} | {row['fastnn']:.3f} ms | {row['torch']:.3f} ms | "
            f"{row['torch'] / row['fastnn']:.2f} | {rate} | {check} | {_also(row)} |"
        )
    return "\n".join(lines)


def _also(row: dict[str, Any]) -> str:
    if "us_per_step" in row:
        peers = [name for name in ("graphs", "compiled graphs") if name in row]
        said = [f"torch's {name} {row[name]:.3f} ms ({row[name] / row['fastnn']:.2f})" for name in peers]
        return ", ".join([*said, f"{row['us_per_step']:.1f} us a step"])
    said = [row["note"]] if row.get("note") else []
    if "cpu_iteration_ms" in row:
        said.append(f"a fit of 1 iteration on 2 threads of the CPU {row['cpu_iteration_ms']:.1f} ms")
    return ", ".join(said)


def versions(torch: Any) -> dict[str, str]:
    """What ran, and on what."""
    return {
        "GPU": torch.cuda.get_device_name(),
        "Date": time.strftime("%Y-%m-%d"),
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("numba", "numba-cuda", "torch", "numpy")},
    }


def main(argv: list[str] | None = None) -> None:
    """Check, time, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks-gpu.md")
    parser.add_argument("--json", type=Path, default=None, help="where to write all figures")
    options = parser.parse_args(argv)
    import torch

    from fastnn.kernels.cuda.compat import cuda

    if not torch.cuda.is_available():
        sys.exit("there is no GPU, or PyTorch does not see it")
    torch.backends.cuda.matmul.allow_tf32 = False
    about = versions(torch)
    rows: list[dict[str, Any]] = []
    for group in (layers, epochs, clusterings, lloyds, streamed):
        rows += group(torch, cuda)
        print(table(rows), flush=True)
    wrong = [
        row["what"] for row in rows if not row["error"] < row.get("tolerated", TOLERATED) or row.get("wrong")
    ]
    if options.json is not None:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1))
    head = "\n".join(f"| {name} | {value} |" for name, value in about.items())
    options.output.write_text(
        "# Benchmarks on a GPU\n\nWritten by `make gpu`; every figure comes from one run. PyTorch runs "
        "in float32, in TF32 where the row says so, and eagerly unless it says graphs.\n\n"
        f"| | |\n|---|---|\n{head}\n\n{table(rows)}\n"
    )
    if wrong:
        sys.exit(f"wrong results: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
