"""Initial centres by Markov chains, AFK-MC2: k-means++ without a pass over the rows for each centre.

k-means++ draws the next centre in proportion to p(x) = w_x d(x, C)^2, d being the distance to the nearest of
the centres C before it. Here it is where a chain of Metropolis and Hastings ends that has p as its limit. A
chain's candidates are drawn from one distribution for all chains, which takes one pass over the rows::

    q(x) = w_x (1/2 d(x, c_1)^2 / sum_y w_y d(y, c_1)^2  +  1/2 / sum_y w_y)

and the chain moves from x to candidate y with probability min(1, p(y) q(x) / (p(x) q(y))). So only the
candidates' distances to the centres are needed, and not all rows'.

References
----------
Bachem, Lucic, Hassani and Krause, "Fast and provably good seedings for k-means", NIPS 2016, algorithm 1.
"""

from typing import Any

import numpy as np

from fastnn.clustering.passes import Rows, as_rows, dense_array, nearest_centers
from fastnn.kernels.contract.clustering import Data

# Candidates of a chain: the most in the experiments of the paper.
_LENGTH = 200
# Chains whose candidates get their distances to the centres before all of them in one pass; to the centres of
# the chains among them each gets its own. Many chains make the passes few, few chains make those short.
_CHAINS = 64
# Elements of the candidates that are copied at a time: 4 MiB of float32; and rows at least, so that a pass is
# longer than what starts it.
_BLOCK, _BLOCK_ROWS = 1 << 20, 1 << 8


def markov_chains(
    X: Data,
    n_clusters: int,
    weights: np.ndarray | None,
    random_state: np.random.RandomState,
    length: int = _LENGTH,
) -> np.ndarray:
    """Rows at the ends of Markov chains whose limit is the distribution of k-means++.

    Parameters
    ----------
    X : ndarray, C-contiguous, or CSR matrix, of shape (n_samples, n_features)
    n_clusters : int
        At most n_samples.
    weights : ndarray of shape (n_samples,) or None
        Not negative and not all zero; None stands for ones.
    random_state : RandomState
        Drawn from.
    length : int, default=200
        Candidates of a chain, the one that it begins with included.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
        A new array.

    Notes
    -----
    FLOPs: 3 n d for the proposal, and length d n_clusters^2 for the chains. Bytes: X once.
    Memory: some numbers a row, and a block of candidates.
    """
    n, d = X.shape
    w = np.ones(n) if weights is None else weights.astype(np.float64)
    centers = np.empty((n_clusters, d), X.dtype)
    centers[:1] = dense_array(X[_draw(np.cumsum(w), 1, random_state)])
    density = _proposal(as_rows(X), w, centers[:1])
    cumulated = np.cumsum(w * density)
    for start in range(1, n_clusters, _CHAINS):
        chains = min(_CHAINS, n_clusters - start)
        drawn = _draw(cumulated, (chains, length), random_state)
        thresholds = random_state.random_sample((chains, length))
        distances = _distances(X, drawn.ravel(), centers[:start]).reshape(chains, length)
        for i in range(chains):
            if i > 0:
                to_new = _distances(X, drawn[i], centers[start : start + i])
                np.minimum(distances[i], to_new, out=distances[i])
            # p / q, in which the weights cancel out.
            end = _walk(distances[i] / density[drawn[i]], thresholds[i])
            centers[start + i] = dense_array(X[drawn[i, end : end + 1]])[0]
    return centers


def _proposal(rows: Rows, w: np.ndarray, first: np.ndarray) -> np.ndarray:
    """q(x) / w_x of every row."""
    squares = nearest_centers(rows, first)[1].astype(np.float64)
    density = np.full(w.size, 0.5 / w.sum())
    with np.errstate(invalid="ignore", over="ignore"):
        total = (w * squares).sum()
    # Where all rows are equal, or too far apart for their dtype, every candidate is as good.
    if np.finfo(np.float64).tiny < total < np.inf:
        density += 0.5 / total * squares
    return density


def _draw(cumulated: np.ndarray, size: Any, random_state: np.random.RandomState) -> np.ndarray:
    """Indices drawn in proportion to what each adds to `cumulated`; never one that adds nothing."""
    return np.searchsorted(cumulated, random_state.random_sample(size) * cumulated[-1], side="right")


def _walk(values: np.ndarray, thresholds: np.ndarray) -> int:
    """Where a chain ends that begins at 0, and moves to i if values[i] is above a threshold times its own."""
    at, value = 0, float(values[0])
    for i, (other, threshold) in enumerate(zip(values.tolist(), thresholds.tolist(), strict=True)):
        if other > threshold * value:
            at, value = i, other
    return at


def _distances(X: Data, rows: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Squared distances of some rows to the nearest of the centres; rows are copied in blocks."""
    distances = np.empty(rows.size, X.dtype)
    size = max(_BLOCK_ROWS, _BLOCK // X.shape[1])
    for start in range(0, rows.size, size):
        block = slice(start, start + size)
        distances[block] = nearest_centers(as_rows(X[rows[block]]), centers)[1]
    return distances
