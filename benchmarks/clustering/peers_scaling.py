"""Times against sizes: of an MLP's epoch, against rows and weights; of k-means, against n, d and k."""

import tempfile
import warnings
from pathlib import Path

import numpy as np

from benchmarks.contestants import normal
from benchmarks.networks.peers_mlp import Net, epoch_sampler, make_data
from benchmarks.race import FASTNN, Lines, Race, Settings, Table, alternate, burst
from fastnn import KMeans, MLPClassifier

ROWS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
ROWS_NETWORKS = (Net(0, 50, (100,), 2, 200, "relu"), Net(0, 50, (100, 100), 10, 200, "relu"))
WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
WIDTH_ROWS = 10_000
WIDTH_NETWORKS = tuple(Net(WIDTH_ROWS, 64, (width,), 10, 200, "relu") for width in WIDTHS)

# k-means: iterations from given rows, and what varies while the others stay.
KMEANS_ITERATIONS = 5
KMEANS_ROWS = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
KMEANS_FEATURES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
KMEANS_CLUSTERS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
# What the two others are meanwhile.
FEWER_ROWS, FEATURES, CLUSTERS = 50_000, 16, 64
# More rows than these are read from a file, as they would be where they do not fit into memory; and rows
# written to it at a time.
IN_MEMORY, WRITTEN = 1_000_000, 100_000
# A quick run takes a share of the rows.
QUICK = 0.1


def _epoch(net: Net, n: int, settings: Settings) -> float:
    """Seconds of an epoch of `n` rows."""
    X, y = make_data(n, net.n_in, net.n_classes, net.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, _ = alternate({FASTNN: epoch_sampler(MLPClassifier, net, X, y)}, settings.budget)
    return seconds[FASTNN]


def _against_rows(settings: Settings) -> Table:
    rows, series = [], {}
    for net in ROWS_NETWORKS:
        points = [(n, _epoch(net, n, settings)) for n in map(settings.rows, ROWS)]
        series[net.layers] = points
        for n, seconds in points:
            notes = {"ns a row": f"{1e9 * seconds / n:.0f}"}
            rows.append(Race(net.label(n), {FASTNN: seconds}, {}, flops=net.flops(n), notes=notes))
    text = "Time of an epoch against the number of rows; 1,000 rows are five batches."
    lines = Lines("scaling-rows.svg", "rows", "seconds an epoch", series)
    return Table("Scaling with the rows", text, rows, lines)


def _against_width(settings: Settings) -> Table:
    rows, points = [], []
    for net in WIDTH_NETWORKS:
        n = settings.rows(net.n)
        seconds = _epoch(net, n, settings)
        weights = sum((a + 1) * b for a, b in zip(net.sizes, net.sizes[1:]))
        points.append((weights, seconds))
        notes = {"weights": f"{weights:,}", "ps a row and weight": f"{1e12 * seconds / n / weights:.1f}"}
        rows.append(Race(net.label(n), {FASTNN: seconds}, {}, flops=net.flops(n), notes=notes))
    text = "Time of an epoch against the number of weights, for hidden layers of 16 to 2048 units."
    lines = Lines("scaling-width.svg", "weights", "seconds an epoch", {"64-width-10": points})
    return Table("Scaling with the width", text, rows, lines)


def _mapped_rows(n: int, d: int, path: Path) -> np.ndarray:
    """Normal random numbers in a file that is mapped."""
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n, d))
    for start in range(0, n, WRITTEN):
        X[start : start + WRITTEN] = normal(rng, (min(WRITTEN, n - start), d), "float32")
    X.flush()
    return np.load(path, mmap_mode="r")


def _kmeans(n: int, d: int, k: int, settings: Settings) -> tuple[tuple[int, int, int], Race]:
    """Iterations of KMeans in which every row is compared with every centre; the shape, scaled."""
    n = settings.rows(round(n * (QUICK if settings.quick else 1)))
    k = min(k, n)
    # Some systems do not delete a file while it is mapped.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if n > IN_MEMORY:
            X = _mapped_rows(n, d, Path(folder) / "rows.npy")
        else:
            X = normal(np.random.default_rng(0), (n, d), "float32")
        model = KMeans(k, init=X[:k].copy(), max_iter=KMEANS_ITERATIONS, tol=0, algorithm="plain")
        seconds, _ = alternate({FASTNN: burst(lambda: model.fit(X))}, settings.budget)
        passes = model.n_iter_ + 1  # the labels are one more
    row = 1e9 * seconds[FASTNN] / n
    notes = {
        "ns a row": f"{row:.4g}",
        "ns a row and feature": f"{row / d:.3g}",
        "ns a row and centre": f"{row / k:.3g}",
    }
    flops = 2.0 * n * d * k * passes
    return (n, d, k), Race(f"({n}, {d}, {k})", seconds, {}, flops=flops, notes=notes)


def _kmeans_table(what: str, axis: int, shapes: list[tuple[int, int, int]], settings: Settings) -> Table:
    """The table of shapes that differ in number `axis`."""
    measured = [_kmeans(*shape, settings) for shape in shapes]
    points = [(float(shape[axis]), row.seconds[FASTNN]) for shape, row in measured]
    text = (
        f"Time of `KMeans.fit` against the number of {what}: float32 normal random numbers (rows, features, "
        f'clusters), {KMEANS_ITERATIONS} iterations from the first rows with `algorithm="plain"`, then the '
        f"labels. More than {IN_MEMORY:,} rows are in a file that is mapped."
    )
    lines = Lines(
        f"scaling-kmeans-{what}.svg", what, f"seconds of {KMEANS_ITERATIONS} iterations", {"KMeans": points}
    )
    return Table(f"k-means: scaling with the {what}", text, [row for _, row in measured], lines)


def _kmeans_tables(settings: Settings) -> list[Table]:
    by_rows = [(n, FEATURES, CLUSTERS) for n in KMEANS_ROWS]
    by_features = [(FEWER_ROWS, d, CLUSTERS) for d in KMEANS_FEATURES]
    by_clusters = [(FEWER_ROWS, FEATURES, k) for k in KMEANS_CLUSTERS]
    return [
        _kmeans_table("rows", 0, by_rows, settings),
        _kmeans_table("features", 1, by_features, settings),
        _kmeans_table("clusters", 2, by_clusters, settings),
    ]


def scaling(settings: Settings) -> list[Table]:
    """The tables of times against sizes, with their pictures."""
    return [_against_rows(settings), _against_width(settings), *_kmeans_tables(settings)]
