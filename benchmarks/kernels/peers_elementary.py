"""Elementary functions beside NumPy, SciPy and PyTorch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from benchmarks.contestants import check_close, limit_threads, normal, optional
from benchmarks.race import FASTNN, Race, Settings, Table, race
from fastnn import kernels

SIZES = (10_000, 1_000_000)


class Function(NamedTuple):
    """One elementary function, and who else computes it."""

    name: str
    peer: str
    theirs: Callable[..., Any]
    torch_name: str
    asked: dict[str, float]


FUNCTIONS = (
    # At most 1.5 times NumPy's time.
    Function("exp", "numpy", np.exp, "exp", {"numpy": 1 / 1.5}),
    Function("log", "numpy", np.log, "log", {}),
    Function("tanh", "numpy", np.tanh, "tanh", {"numpy": 1 / 1.5}),
    Function("logistic", "scipy", expit, "sigmoid", {"scipy": 5.0}),
)


def _case(function: Function, size: int, dtype: str, settings: Settings) -> Race:
    x = normal(np.random.default_rng(0), settings.rows(size), dtype) * np.array(3, dtype)
    if function.name == "log":
        np.abs(x, out=x)
    ours = getattr(kernels, function.name)
    outs = [np.empty_like(x) for _ in range(3)]
    calls = {FASTNN: lambda: ours(x, out=outs[0]), function.peer: lambda: function.theirs(x, out=outs[1])}
    torch = optional("torch")
    if torch is not None:
        of_torch = getattr(torch, function.torch_name)
        xt, out = torch.from_numpy(x), torch.from_numpy(outs[2])
        calls["torch"] = lambda: of_torch(xt, out=out)
    for call in calls.values():
        call()
    eps = float(np.finfo(dtype).eps)
    for who, result in zip(list(calls)[1:], outs[1:]):
        check_close(who, result, outs[0], 20 * eps, eps)
    return race(f"{function.name} {x.size:,} {dtype}", calls, settings, asked=function.asked, dtype=dtype)


def elementary(settings: Settings) -> list[Table]:
    """The table of elementary functions."""
    optional("torch")
    limit_threads(settings.threads)
    rows = [
        _case(function, size, dtype, settings)
        for function in FUNCTIONS
        for size in SIZES
        for dtype in ("float32", "float64")
    ]
    text = (
        "Arrays to arrays. fastnn, NumPy and SciPy (`scipy.special.expit`) use one thread here; PyTorch uses "
        "all of its threads on long arrays."
    )
    return [Table("Elementary functions", text, rows)]
