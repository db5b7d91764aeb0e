"""Fused linear layers beside NumPy and PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contestants import (
    check_close,
    limit_threads,
    normal,
    numpy_linear_backward,
    numpy_linear_forward,
    optional,
)
from benchmarks.race import FASTNN, Race, Settings, Table, race
from fastnn.kernels import linear_backward, linear_forward

# (rows, inputs, outputs), as numpy.dot is asked to be beaten on.
SHAPES = ((1024, 784, 512), (256, 784, 256), (200, 64, 100), (10000, 128, 1024))
# Further layers of the networks in ``peers_mlp``.
NEIGHBOURS = ((256, 256, 128), (1024, 512, 512), (200, 50, 100), (200, 100, 10))
RTOL = {"float32": 2e-4, "float64": 1e-10}


def _forward(shape: tuple[int, int, int], activation: str, dtype: str, settings: Settings) -> Race:
    n, n_in, n_out = shape
    n = settings.rows(n)
    rng = np.random.default_rng(0)
    X, b = normal(rng, (n, n_in), dtype), normal(rng, n_out, dtype)
    W = normal(rng, (n_in, n_out), dtype) / np.sqrt(np.array(n_in, dtype))
    outs = [np.empty((n, n_out), dtype) for _ in range(3)]
    calls = {
        FASTNN: lambda: linear_forward(X, W, b, activation, out=outs[0]),
        "numpy": lambda: numpy_linear_forward(X, W, b, activation, outs[1]),
    }
    torch = optional("torch")
    if torch is not None:
        Xt, Wt, bt, out = map(torch.from_numpy, (X, W, b, outs[2]))
        act = {"relu": torch.relu_, "tanh": torch.tanh_}[activation]
        calls["torch"] = lambda: act(torch.addmm(bt, Xt, Wt, out=out))
    for call in calls.values():
        call()
    for who, result in zip(list(calls)[1:], outs[1:]):
        check_close(who, result, outs[0], RTOL[dtype], RTOL[dtype])
    asked = {"numpy": 1.0} if shape in SHAPES else {}
    flops = 2.0 * n * n_in * n_out
    return race(
        f"({n}, {n_in}, {n_out}) {activation} {dtype}", calls, settings, asked=asked, flops=flops, dtype=dtype
    )


def _backward(shape: tuple[int, int, int], activation: str, dtype: str, settings: Settings) -> Race:
    n, n_in, n_out = shape
    n = settings.rows(n)
    rng = np.random.default_rng(0)
    X, b, dA = normal(rng, (n, n_in), dtype), normal(rng, n_out, dtype), normal(rng, (n, n_out), dtype)
    W = normal(rng, (n_in, n_out), dtype) / np.sqrt(np.array(n_in, dtype))
    A = linear_forward(X, W, b, activation)

    def room() -> tuple:
        return tuple(np.empty(s, dtype) for s in ((n, n_in), (n_in, n_out), n_out, (n, n_out)))

    ours, numpys, torchs = room(), room(), room()
    calls: dict[str, Callable[[], Any]] = {
        FASTNN: lambda: linear_backward(dA, X, W, A, activation=activation, out=ours[:3]),
        "numpy": lambda: numpy_linear_backward(dA, X, W, A, activation, numpys),
    }
    torch = optional("torch")
    if torch is not None:
        Xt, Wt, At, dAt, dX, dW, db, dZ = map(torch.from_numpy, (X, W, A, dA, *torchs))

        def torch_backward() -> None:
            if activation == "relu":
                torch.ops.aten.threshold_backward.grad_input(dAt, At, 0, grad_input=dZ)
            else:
                torch.ops.aten.tanh_backward.grad_input(dAt, At, grad_input=dZ)
            torch.mm(dZ, Wt.T, out=dX)
            torch.mm(Xt.T, dZ, out=dW)
            torch.sum(dZ, 0, out=db)

        calls["torch"] = torch_backward
    for call in calls.values():
        call()
    for who, results in zip(list(calls)[1:], (numpys, torchs)):
        for got, want in zip(results[:3], ours[:3], strict=True):
            scale = float(np.abs(want).max())
            check_close(who, got, want, RTOL[dtype], RTOL[dtype] * scale)
    return race(
        f"({n}, {n_in}, {n_out}) {activation} {dtype}",
        calls,
        settings,
        flops=4.0 * n * n_in * n_out,
        dtype=dtype,
    )


def linear(settings: Settings) -> list[Table]:
    """Tables of ``linear_forward`` and ``linear_backward``."""
    optional("torch")
    limit_threads(settings.threads)
    both = [(activation, dtype) for dtype in ("float32", "float64") for activation in ("relu", "tanh")]
    relu = [("relu", dtype) for dtype in ("float32", "float64")]
    forward = [_forward(shape, *kind, settings) for shape in SHAPES for kind in both]
    forward += [_forward(shape, *kind, settings) for shape in NEIGHBOURS for kind in relu]
    backward = [_backward(shape, *kind, settings) for shape in SHAPES for kind in both[:3]]
    return [
        Table(
            "linear_forward",
            "`act(X W + b)` on (rows, inputs, outputs), written to a given array. NumPy: `dot` with `out`, "
            "then bias and activation in place. PyTorch: `addmm` with `out`, activation in place.",
            forward,
        ),
        Table(
            "linear_backward",
            "dX, dW and db from dA, written to given arrays; every contestant forms `dA * act'` first.",
            backward,
        ),
    ]
