"""Where mini-batches start: initial centres from a few of the rows, and the best of several."""

from collections.abc import Callable

import numpy as np

from fastnn.clustering.passes import as_rows, labels_inertia
from fastnn.kernels.clustering import clustering_backend
from fastnn.kernels.contract.clustering import Data

# Rows for the choice of initial centres: so many batches; so many for each cluster if that is too few.
_INIT_BATCHES, _INIT_ROWS = 3, 3


def init_rows(n: int, n_clusters: int, batch_size: int, wanted: int | None) -> int:
    """Number of rows among which initial centres are chosen."""
    size = _INIT_BATCHES * batch_size if wanted is None else wanted
    return min(n, size if size >= n_clusters else _INIT_ROWS * n_clusters)


def sample(
    X: Data,
    weights: np.ndarray | None,
    size: int,
    random_state: np.random.RandomState,
    among: np.ndarray | None = None,
) -> tuple[Data, np.ndarray | None]:
    """Rows drawn with replacement, of all or of the numbers `among`, with their weights."""
    rows = random_state.randint(0, X.shape[0] if among is None else len(among), size)
    rows = rows if among is None else among[rows]
    some = clustering_backend(X).take(X, rows)
    return some, None if weights is None else weights[rows]


def initial_centers(
    X: Data,
    weights: np.ndarray | None,
    make: Callable[[Data, np.ndarray | None], np.ndarray],
    size: int,
    random_state: np.random.RandomState,
    among: np.ndarray | None = None,
) -> np.ndarray:
    """Centres that ``make(X, weights)`` finds on `size` random rows, or on all where there are no more.

    among : numbers of the rows that may be drawn; None for all.
    """
    if size < X.shape[0]:
        X, weights = sample(X, weights, size, random_state, among)
    return make(X, weights)


def best_centers(
    X: Data,
    weights: np.ndarray | None,
    make: Callable[[Data, np.ndarray | None], np.ndarray],
    n_init: int,
    size: int,
    random_state: np.random.RandomState,
    title: str | None,
    among: np.ndarray | None = None,
) -> np.ndarray:
    """Of `n_init` initial centres those with the least inertia on `size` random rows.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, or CSR matrix
    weights : ndarray of shape (n,) or None
        None stands for ones.
    make : callable
        As in ``initial_centers``.
    n_init, size : int
    random_state : RandomState
        Drawn from.
    title : str or None
        What the lines that are printed call the initial centres; None prints nothing.
    among : ndarray of int, default=None
        As in ``initial_centers``.

    Returns
    -------
    centers : ndarray of shape (k, d)
    """
    X_valid, weights_valid = sample(X, weights, size, random_state)
    best: tuple[float, np.ndarray] | None = None
    for i in range(n_init):
        which = f"{i + 1}/{n_init}"
        if title is not None:
            print(f"Init {which} with method {title}")
        C = initial_centers(X, weights, make, size, random_state, among)
        inertia = labels_inertia(as_rows(X_valid), weights_valid, C)[1]
        if title is not None:
            print(f"Inertia for init {which}: {inertia}")
        if best is None or inertia < best[0]:
            best = inertia, C
    assert best is not None
    return best[1]
