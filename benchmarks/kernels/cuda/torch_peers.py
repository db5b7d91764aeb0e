"""PyTorch's side of the comparison on a GPU: the same work, as a good program in PyTorch has it."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

# Elements of the matrix of distances at once: the whole of it does not fit.
DISTANCES = 1 << 28


@contextmanager
def tf32_allowed(torch: Any, allowed: bool = True) -> Iterator[None]:
    """PyTorch may round the factors of float32 products to TF32 inside the ``with`` block, or may not."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def torch_assign(torch: Any, X: Any, C: Any) -> Any:
    """Labels by matrix products and argmin, some rows at a time."""
    half = (C * C).sum(1) / 2
    step = max(1, DISTANCES // len(C))
    pieces = (torch.addmm(half, X[i : i + step], C.T, alpha=-1) for i in range(0, len(X), step))
    return torch.cat([piece.argmin(1) for piece in pieces])


def torch_lloyd(torch: Any, X: Any, C: Any, iterations: int) -> tuple[Any, Any]:
    """Centres after some of Lloyd's iterations, and the labels, with which a fit ends, too."""
    k, d = C.shape
    for _ in range(iterations):
        labels = torch_assign(torch, X, C)
        sums = torch.zeros((k, d), device="cuda").index_add_(0, labels, X)
        C = sums / torch.bincount(labels, minlength=k).clamp(min=1)[:, None]
    return C, torch_assign(torch, X, C)


def torch_streamed(torch: Any, X: np.ndarray, C: np.ndarray, n_rows: int) -> Callable[[], tuple[Any, Any]]:
    """A function that sweeps over rows of the host in blocks of `n_rows`; sums and counts of the clusters.

    Two places in page-locked memory and two on the device, as fastnn has them: a block is copied on a stream
    of its own while the one before is worked on and the one after is written to page-locked memory.
    """
    (n, d), k = X.shape, len(C)
    rows, centers = torch.from_numpy(X), torch.from_numpy(C).to("cuda")
    here = [torch.empty((n_rows, d), pin_memory=True) for _ in range(2)]
    there = [torch.empty((n_rows, d), device="cuda") for _ in range(2)]
    ones = torch.ones(n_rows, device="cuda")
    copied, used = ([torch.cuda.Event() for _ in range(2)] for _ in range(2))
    copies = torch.cuda.Stream()

    def sweep() -> tuple[Any, Any]:
        kernels = torch.cuda.current_stream()
        sums, counts = torch.zeros((k, d), device="cuda"), torch.zeros(k, device="cuda")
        for i, begin in enumerate(range(0, n, n_rows)):
            place, size = i % 2, min(n_rows, n - begin)
            copied[place].synchronize()  # an event that was never recorded has happened
            here[place][:size].copy_(rows[begin : begin + size])
            block = there[place][:size]
            with torch.cuda.stream(copies):
                copies.wait_event(used[place])
                block.copy_(here[place][:size], non_blocking=True)
                copied[place].record(copies)
            kernels.wait_event(copied[place])
            labels = torch_assign(torch, block, centers)
            sums.index_add_(0, labels, block)
            counts.index_add_(0, labels, ones[:size])  # bincount would wait for the device
            used[place].record(kernels)
        return sums, counts

    return sweep


def torch_epoch(
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
    """A function that trains a copy of the layers for an epoch with adam and returns its mean loss.

    With `graph` a step is one CUDA graph; what is captured is `compiled` first by ``torch.compile``.
    """
    modules: list[Any] = []
    for layer in copy.deepcopy(layers):
        modules += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=graph)
    n, total = len(order), torch.zeros((), device="cuda")

    def mean_loss(X: Any, y: Any, rows: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(X[rows]), y[rows])

    if compiled:
        # The code object is one for all networks: what Dynamo knows of the former would make it generalise.
        torch.compiler.reset()
        mean_loss = torch.compile(mean_loss, dynamic=False)

    def step(rows: Any) -> None:
        optimizer.zero_grad(set_to_none=not graph)
        loss = mean_loss(X, y, rows)
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

    before = [parameter.detach().clone() for parameter in model.parameters()]
    captured = {}
    for size in sorted({min(batch_size, n), n % batch_size} - {0}):
        rows = order[:size].clone()
        captured[size] = _captured(torch, step, rows), rows
    # Capturing and warming up have moved the parameters, and the graphs know their places.
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), before, strict=True):
            parameter.copy_(value)
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


def _captured(torch: Any, step: Callable[[Any], None], rows: Any) -> Any:
    """A step over these rows as a graph, after some that compile and allocate."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(rows)
    torch.cuda.current_stream().wait_stream(side)
    made = torch.cuda.CUDAGraph()
    with torch.cuda.graph(made):
        step(rows)
    return made
