"""MiniBatchKMeans beside scikit-learn's: three epochs of mini-batches, the labels included."""

import warnings
from typing import Any

import numpy as np
from sklearn import cluster

from benchmarks.contestants import check_close, limit_threads, normal
from benchmarks.race import FASTNN, Race, Settings, Table, alternate, burst, clock
from fastnn import MiniBatchKMeans

# (rows, features, clusters), and the ratio that is asked for.
SHAPES = (
    ((1_000_000, 2, 10), 200.0),
    ((1_000_000, 8, 64), 100.0),
    ((500_000, 16, 256), 50.0),
    ((200_000, 64, 256), 8.0),
    ((60_000, 784, 10), 8.0),
    ((60_000, 784, 100), 2.0),
    ((100_000, 128, 1000), 1.8),
)
EPOCHS, BATCH = 3, 1024
# A quick run takes a share of the rows.
QUICK = 0.05
# A peer's fit that lasts longer than this many seconds is timed once: its figure is steady enough.
ONCE = 5.0


def _fit(shape: tuple[int, int, int], asked: float, settings: Settings, dtype: str = "float32") -> Race:
    n, d, k = settings.rows(round(shape[0] * (QUICK if settings.quick else 1))), *shape[1:]
    # With more centres than half a batch most are put on rows anew, and rows that are drawn twice tie.
    k = min(k, max(2, n // 8))
    X = normal(np.random.default_rng(0), (n, d), dtype)
    same: dict[str, Any] = {
        "n_clusters": k,
        "batch_size": BATCH,
        "max_iter": EPOCHS,
        "max_no_improvement": None,
        "random_state": 0,
    }
    ours, theirs = MiniBatchKMeans(**same), cluster.MiniBatchKMeans(**same)
    theirs.fit(X[: max(k, 2 * BATCH)])  # starts its threads
    first = clock(lambda: theirs.fit(X))
    sample = burst(lambda: ours.fit(X))
    check_close("sklearn", theirs.inertia_, ours.inertia_, 1e-2)
    samplers = {
        FASTNN: sample,
        "sklearn": lambda: first if first > ONCE else clock(lambda: theirs.fit(X)),
    }
    seconds, ratios = alternate(samplers, settings.budget)
    step = seconds[FASTNN] / ours.n_steps_
    return Race(
        f"({n}, {d}, {k}) {dtype}",
        seconds,
        ratios,
        {} if settings.quick else {"sklearn": asked},
        notes={"a step": f"{step * 1e6:.0f} µs", "inertia": f"{theirs.inertia_ / ours.inertia_:.4f}"},
    )


def mini_batches(settings: Settings) -> list[Table]:
    """The table of MiniBatchKMeans."""
    limit_threads(settings.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [_fit(shape, asked, settings) for shape, asked in SHAPES]
        rows.append(_fit(SHAPES[3][0], 1.3, settings, "float64"))
    return [
        Table(
            "MiniBatchKMeans",
            f"`fit` of normal random numbers (rows, features, clusters): {EPOCHS} epochs of batches "
            f"of {BATCH} rows from k-means++ with `max_no_improvement=None`, then the labels. Fits of "
            f"scikit-learn's that take more than {ONCE:.0f} s are timed once. A step is fastnn's whole fit "
            "over the number of batches; the inertia is scikit-learn's over fastnn's.",
            rows,
        )
    ]
