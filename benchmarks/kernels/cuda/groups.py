"""What is measured on a GPU: for each group a function that checks and times one case, and the cases.

The function gets torch, numba.cuda and the case, and gives rows of the table. Results go to arrays full of
NaN first, and are compared before anything is timed.
"""

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.kernels.cuda.measure import (
    CHECKED,
    milliseconds,
    peak_memory,
    relative_error,
    ten_iterations_on_cpu,
    wrong_labels,
)
from benchmarks.kernels.cuda.report import short
from benchmarks.kernels.cuda.torch_peers import (
    DISTANCES,
    tf32_allowed,
    torch_assign,
    torch_epoch,
    torch_lloyd,
    torch_streamed,
)

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
# Rows, features, clusters, of rows that stay on the host; and rows of a block of PyTorch's.
STREAMED, STREAMED_BLOCK = [(4_000_000, 128, 256)], 500_000
# Of more products (rows, features, clusters) than this the CPU has only a part of the rows.
CPU_PRODUCTS, CPU_ROWS = 1e11, 200_000
# Relative error of what is checked; sums in float32, of batches and in another order.
TOLERATED = 1e-3
# Of products, and of the loss of an epoch, with factors of 11 bits.
TOLERATED_TF32 = 1e-2

Rows = list[dict[str, Any]]


def layers(torch: Any, cuda: Any, shape: tuple[int, int, int]) -> Rows:
    """Forward and backward of one layer with relu, in float32 and in TF32."""
    from fastnn.kernels import linear_backward, linear_forward

    n, n_in, n_out = shape
    X, W, b, dA = (
        torch.randn(size, device="cuda") for size in ((n, n_in), (n_in, n_out), (n_out,), (n, n_out))
    )
    A, *out = (torch.empty(size, device="cuda") for size in ((n, n_out), (n, n_in), (n_in, n_out), (n_out,)))

    def torch_forward() -> Any:
        return torch.relu(torch.addmm(b, X, W))

    def torch_backward() -> Any:
        dZ = dA * (A > 0)
        return dZ @ W.T, X.T @ dZ, dZ.sum(0)

    rows, flops = [], 2.0 * n * n_in * n_out
    for precision in (None, "tf32"):

        def forward(precision=precision) -> Any:
            return linear_forward(X, W, b, "relu", out=A, precision=precision)

        def backward(precision=precision) -> Any:
            return linear_backward(dA, X, W, A, activation="relu", out=tuple(out), precision=precision)

        for array in (A, *out):
            array.fill_(float("nan"))
        forward()
        errors = [relative_error(A, torch.relu(torch.addmm(b.double(), X.double(), W.double())))]
        backward()
        # Where z is nearly 0 its sign is left to rounding: the derivative is that of our own output.
        dZ = dA.double() * (A > 0)
        for ours, reference in zip(out, (dZ @ W.double().T, X.double().T @ dZ, dZ.sum(0)), strict=True):
            errors.append(relative_error(ours, reference))
        for name, ours, theirs, done in (
            ("linear_forward", forward, torch_forward, flops),
            ("linear_backward", backward, torch_backward, 2 * flops),
        ):
            with tf32_allowed(torch, precision is not None):
                times = milliseconds({"fastnn": ours, "torch": theirs}, cuda)
            rows.append(
                {
                    "what": f"{name} ({n}, {n_in}, {n_out}) relu" + bool(precision) * ", TF32",
                    "tflops": done / times["fastnn"] / 1e9,
                    "error": float(np.max(errors)),
                    "tolerated": TOLERATED_TF32 if precision else TOLERATED,
                }
                | times
            )
    return rows


def clusterings(torch: Any, cuda: Any, shape: tuple[int, int, int]) -> Rows:
    """The nearest centre of every row, in float32 and in TF32, and the sums of the clusters."""
    from fastnn.kernels import assign, update_centers

    n, d, k = shape
    X = torch.randn((n, d), device="cuda")
    C = X[torch.randperm(n, device="cuda")[:k]].clone()
    labels = torch.empty((n,), dtype=torch.int32, device="cuda")
    distances = torch.empty((n,), device="cuda")
    sums = torch.full((k, d), float("nan"), dtype=torch.float64, device="cuda")
    counts = torch.full((k,), float("nan"), dtype=torch.float64, device="cuda")

    def add_up() -> Any:
        return update_centers(X, labels, k, out=(sums, counts))

    def torch_nearest() -> Any:
        return torch_assign(torch, X, C)

    def torch_add_up() -> Any:
        total = torch.zeros((k, d), device="cuda")
        return total.index_add_(0, labels.long(), X), torch.bincount(labels, minlength=k)

    rows: Rows = []
    in_tf32: list[Any] = []
    for precision in ("tf32", None):  # float32 last: the sums are of its labels

        def nearest(precision=precision) -> Any:
            return assign(X, C, out=(labels, distances), precision=precision)

        labels.fill_(-1)
        distances.fill_(float("nan"))
        nearest()
        # What TF32 may change is a label that rounding in float32 decides.
        wrong = wrong_labels(X, C, labels)
        own = ((X[:CHECKED].double() - C[labels[:CHECKED].long()].double()) ** 2).sum(1)
        error = relative_error(distances[:CHECKED], own)
        with tf32_allowed(torch, precision is not None):
            if precision:
                in_tf32 = [labels.clone(), torch_nearest()]
            times = milliseconds({"fastnn": nearest, "torch": torch_nearest}, cuda)
        rows.append(
            {
                "what": f"assign ({n}, {d}, {k})" + bool(precision) * ", TF32",
                "tflops": 2.0 * n * d * k / times["fastnn"] / 1e9,
                "wrong": wrong,
                "error": error,
            }
            | times
        )
    differ = [int((found != labels).sum()) for found in in_tf32]
    rows[0]["note"] = f"{differ[0]} labels differ from float32's, torch's TF32 {differ[1]}"
    rows.reverse()
    add_up()
    rows[0]["wrong"] += int((counts != torch.bincount(labels, minlength=k)).sum())
    expected = torch.zeros((k, d), dtype=torch.float64, device="cuda")
    step = max(1, DISTANCES // d)
    for i in range(0, n, step):
        expected.index_add_(0, labels[i : i + step].long(), X[i : i + step].double())
    error = relative_error(sums, expected)
    times = milliseconds({"fastnn": add_up, "torch": torch_add_up}, cuda)
    rows.append(
        {
            "what": f"update_centers ({n}, {d}, {k})",
            "gbs": 4.0 * n * d / times["fastnn"] / 1e6,
            "error": error,
        }
        | times
    )
    return rows


def epochs(torch: Any, cuda: Any, network: tuple[tuple[int, ...], int, int, str | None]) -> Rows:
    """An epoch of training with adam, beside PyTorch's, in float32 and, where the network is large, in TF32.

    PyTorch's is run eagerly, with each step a CUDA graph, and with each step a graph of compiled code.
    """
    from fastnn.kernels import device_rows
    from fastnn.networks.device_network import DEVICE
    from fastnn.networks.network import Network
    from fastnn.tables.optimizers import Optimizer

    sizes, n, batch_size, precision = network
    X = torch.randn((n, sizes[0]), device="cuda")
    y = torch.randint(0, sizes[-1], (n,), device="cuda")
    Y = np.eye(sizes[-1], dtype=np.float32)[y.cpu().numpy()]
    torch.manual_seed(0)
    linear = [torch.nn.Linear(n_in, n_out, device="cuda") for n_in, n_out in pairwise(sizes)]
    ours = Network(sizes, hidden_activation="relu", loss="log_loss", dtype=np.float32, backend=DEVICE)
    ours.load(
        [layer.weight.detach().T.cpu().numpy() for layer in linear],
        [layer.bias.detach().cpu().numpy() for layer in linear],
    )
    optimizer = Optimizer(
        "adam",
        {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        learning_rate=1e-3,
        n_parameters=ours.parameters.size,
        dtype=np.float32,
    )
    order = np.random.default_rng(0).permutation(n)
    bound = ours.bind(device_rows(X, 0, precision), Y, optimizer=optimizer)
    shuffled = torch.from_numpy(order).to("cuda")

    def fastnn_epoch() -> float:
        return bound.run_epoch(order, batch_size)

    data = linear, X, y, shuffled, batch_size
    contestants: dict[str, Callable[[], float]] = {"fastnn": fastnn_epoch}
    notes = []
    with tf32_allowed(torch, precision is not None):
        contestants["torch"] = torch_epoch(torch, *data)
        # All begin with the same parameters; the loss of an epoch is the mean over its rows.
        losses = {name: epoch() for name, epoch in contestants.items()}
        for name, how in (("graphs", {}), ("compiled graphs", {"compiled": True})):
            # Graphs may be refused, and compiling needs a C compiler and Python's headers.
            try:
                epoch = torch_epoch(torch, *data, graph=True, **how)
                losses[name] = epoch()
                contestants[name] = epoch
            except Exception as failure:
                notes.append(f"torch's {name} failed: {short(failure)}")
        error = float(np.max([abs(loss / losses["torch"] - 1) for loss in losses.values()]))
        times = milliseconds(contestants, cuda)
    steps = -(-n // batch_size)
    flops = 6.0 * n * sum(n_in * n_out for n_in, n_out in pairwise(sizes))
    what = (
        f"epoch {'-'.join(map(str, sizes))}, batch {batch_size}, {steps} steps" + bool(precision) * ", TF32"
    )
    return [
        {
            "what": what,
            "tflops": flops / times["fastnn"] / 1e9,
            "error": error,
            "us_per_step": 1e3 * times["fastnn"] / steps,
            "tolerated": TOLERATED_TF32 if precision else TOLERATED,
            "note": ", ".join(notes),
        }
        | times
    ]


def lloyds(torch: Any, cuda: Any, shape: tuple[int, int, int]) -> Rows:
    """Ten of Lloyd's iterations, beside PyTorch's and beside fastnn's on two threads of the CPU."""
    from fastnn import KMeans

    n, d, k = shape
    X = torch.randn((n, d), device="cuda")
    C = X[torch.randperm(n, device="cuda")[:k]].clone()
    model = KMeans(k, init=C.cpu().numpy(), n_init=1, max_iter=10, tol=0, algorithm="plain")

    def fit() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(X)

    def torch_fit() -> Any:
        return torch_lloyd(torch, X, C, 10)

    theirs = torch_fit()[0].cpu().numpy()
    fit()  # what is compiled stays on the device
    with peak_memory(torch, cuda) as peak:
        error = float(np.linalg.norm(fit().cluster_centers_ - theirs) / np.linalg.norm(theirs))
    times = milliseconds({"fastnn": fit, "torch": torch_fit}, cuda)
    row = {
        "what": f"10 Lloyd iterations ({n}, {d}, {k})",
        "tflops": 20.0 * n * d * k / times["fastnn"] / 1e9,
        "error": error,
        "peak_bytes": peak[0],
        "note": f"at most {peak[0] / 2**20:.0f} MiB beside X, {peak[0] / (4 * n):.1f} words a row",
    }
    rows = n if n * d * k < CPU_PRODUCTS else min(n, CPU_ROWS)
    on_host = X[:rows].cpu().numpy()
    # Initial centres that are some of these rows: no cluster is empty.
    options = model.get_params() | {"init": on_host[:k], "n_threads": 2}
    spent = ten_iterations_on_cpu(lambda iterations: KMeans(**options | {"max_iter": iterations}), on_host)
    return [row | {"cpu": spent * n / rows, "cpu_rows": rows, "rows": n} | times]


def streamed(torch: Any, cuda: Any, shape: tuple[int, int, int]) -> Rows:
    """Sweeps over rows that stay on the host, as if the device had no room for them."""
    from fastnn.kernels import device_rows
    from fastnn.kernels.clustering import clustering_backend
    from fastnn.kernels.cuda.rows.streamed import StreamedRows
    from fastnn.kernels.cuda.runtime import capacity

    n, d, k = shape
    X = torch.randn((n, d), device="cuda").cpu().numpy()
    C, no_weights = X[:k].copy(), np.empty(0, np.float32)

    def sweeps(rows: Any) -> tuple[Any, Callable[[], float]]:
        passes = clustering_backend(rows).sweeps(rows, k)
        return passes, lambda: passes.sweep(rows, no_weights, C, summing=True)

    share, capacity.SHARE = capacity.SHARE, 0.0
    try:
        on_host = device_rows(X, 0)
    finally:
        capacity.SHARE = share
    if not isinstance(on_host, StreamedRows):
        raise RuntimeError(f"{X.nbytes} bytes are no more than a block: they do not stay on the host")
    ours, sweep = sweeps(on_host)
    whole, sweep_whole = sweeps(device_rows(X, 0))
    torch_sweep = torch_streamed(torch, X, C, STREAMED_BLOCK)
    sweep_whole()
    sweep()
    found = ours.sums, torch_sweep()[0].cpu().numpy()
    errors = [np.linalg.norm(sums - whole.sums) / np.linalg.norm(whole.sums) for sums in found]
    wrong = int((ours.labels != whole.labels).sum())
    times = milliseconds({"fastnn": sweep, "torch": torch_sweep, "whole": sweep_whole}, cuda)
    return [
        {
            "what": f"a sweep ({n}, {d}, {k}), X in blocks from the host",
            "gbs": 4.0 * n * d / times["fastnn"] / 1e6,
            "error": float(np.max(errors)),
            "wrong": wrong,
            "note": f"with X on the device {times['whole']:.3f} ms",
        }
        | times
    ]


# The epochs come last: PyTorch's compiler takes the longest, and is the likeliest to fail.
GROUPS: dict[str, tuple[Callable[[Any, Any, Any], Rows], Sequence[Any]]] = {
    "layers": (layers, LAYERS),
    "clusterings": (clusterings, CLUSTERINGS),
    "lloyds": (lloyds, CLUSTERINGS),
    "streamed": (streamed, STREAMED),
    "epochs": (epochs, NETWORKS),
}


def is_wrong(row: dict[str, Any]) -> bool:
    """Whether results differ from the reference by more than rounding."""
    return bool(not row["error"] < row.get("tolerated", TOLERATED) or row.get("wrong"))
