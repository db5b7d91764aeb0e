"""k-means++: what candidates for the next centre would leave of the potential, in one pass over the rows.

The twins of the CPU's ``try_candidates`` and ``pick_rows``. Each row keeps the distance to its nearest
centre. A block has the rows of one task and a thread some of them: it computes their distances to the centre
that was chosen last and to each candidate, in the direct form, and the block adds up what each would leave.
"""

from typing import Any

import numpy as np
from numba import types

from fastnn.kernels.cuda.clustering.distances import squared_distance
from fastnn.kernels.cuda.reduction import THREADS, block_sum
from fastnn.kernels.cuda.rows.by_blocks import TASK_ROWS
from fastnn.kernels.cuda.runtime.compat import cuda, kernel
from fastnn.kernels.cuda.runtime.memory import blocks_per_grid


def seeding_tasks(n: int) -> int:
    """Number of tasks that `n` rows are cut into."""
    return blocks_per_grid(n, TASK_ROWS)


@kernel
def _try_candidates(X, weights, weighted, candidates, closest, potentials):
    shared = cuda.shared.array(THREADS, types.float64)
    task = cuda.blockIdx.x
    begin, end = task * TASK_ROWS, min(X.shape[0], (task + 1) * TASK_ROWS)
    for c in range(candidates.shape[0]):
        own = 0.0
        for i in range(begin + cuda.threadIdx.x, end, THREADS):
            # A row is one thread's throughout, so it reads what it has written.
            least = min(closest[i], squared_distance(X, i, candidates, c))
            if c == 0:
                closest[i] = least
            own += np.float64(weights[i]) * np.float64(least) if weighted else np.float64(least)
        total = block_sum(own, shared)
        if cuda.threadIdx.x == 0:
            potentials[task, c] = total


@kernel
def _pick_rows(X, weights, weighted, last, closest, tasks, rests, picked):
    """picked[c] = first row of task tasks[c] at which the running sum reaches rests[c], or its last row."""
    terms = cuda.shared.array(TASK_ROWS, types.float64)
    c = cuda.blockIdx.x
    begin = tasks[c] * TASK_ROWS
    count = min(X.shape[0] - begin, TASK_ROWS)
    for i in range(cuda.threadIdx.x, count, THREADS):
        least = np.float64(min(closest[begin + i], squared_distance(X, begin + i, last, 0)))
        terms[i] = np.float64(weights[begin + i]) * least if weighted else least
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        at, total = 0, terms[0]
        while at < count - 1 and total < rests[c]:
            at += 1
            total += terms[at]
        picked[c] = begin + at


def try_candidates(X: Any, weights: Any, candidates: Any, closest: Any, potentials: Any) -> None:
    """Fold the centre chosen last into `closest`, and sum what each candidate would leave; device arrays.

    Parameters
    ----------
    X : (n, d)   # IN
    weights : (n,), or None for ones   # IN
    candidates : (1 + n_candidates, d)   # IN
        The centre chosen last, then the candidates.
    closest : (n,)   # IN/OUT
        Squared distance to the nearest centre.
    potentials : (seeding_tasks(n), 1 + n_candidates) float64   # OUT
        Weighted sums over a task's rows of the squared distance to the nearest centre: without a candidate,
        and were candidate c one of them.
    """
    weighted = weights is not None
    _try_candidates[potentials.shape[0], THREADS](
        X, weights if weighted else closest, int(weighted), candidates, closest, potentials
    )


def find_tasks(potentials: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tasks in which the running sum of the potential reaches the targets, and what is left of these there.

    Parameters
    ----------
    potentials : ndarray of shape (tasks,)
    targets : ndarray of shape (n_candidates,)
    """
    with np.errstate(invalid="ignore", over="ignore"):  # data whose distances overflow are refused later
        sums = np.cumsum(potentials)
        tasks = np.minimum(sums.searchsorted(targets), len(sums) - 1)
        return tasks, targets - (sums - potentials)[tasks]


def pick_rows(X: Any, weights: Any, last: Any, closest: Any, tasks: np.ndarray, rests: np.ndarray) -> Any:
    """Rows at which the running sum of the potential, within a task, reaches what is left of a target.

    Parameters
    ----------
    X, weights, closest : device arrays, as in ``try_candidates``
    last : device array (1, d)
        A centre that `closest` does not know of yet.
    tasks, rests : ndarrays of shape (n_candidates,)
        Of ``find_tasks``, by potentials that know of it.

    Returns
    -------
    picked : device array (n_candidates,) int64
    """
    picked = cuda.device_array(len(tasks), np.int64)
    weighted = weights is not None
    _pick_rows[len(tasks), THREADS](
        X, weights if weighted else closest, int(weighted), last, closest, cuda.to_device(tasks),
        cuda.to_device(rests), picked,
    )  # fmt: skip
    return picked
