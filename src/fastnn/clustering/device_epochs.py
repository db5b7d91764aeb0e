"""Epochs of gradient k-means on a GPU: ``epochs.Epochs`` with its steps done there."""

import time
from typing import Any

import numpy as np

from fastnn.clustering.epochs import Epochs
from fastnn.clustering.passes import Rows
from fastnn.clustering.rules import Rule
from fastnn.kernels import device
from fastnn.kernels.shared.codes import RUNNING
from fastnn.kernels.shared.device_rows import DeviceRows


class DeviceEpochs(Epochs):
    """Epochs over ``DeviceRows`` that all lie on the GPU.

    What lasts from step to step stays there. The centres are copied to the host after each epoch, the rest
    when it is needed. ``there`` is a ``kernels.cuda.center_steps.CenterSteps``.
    """

    def __init__(self, there: Any, X: DeviceRows, weights: np.ndarray | None, *options: Any) -> None:
        self.there = there
        super().__init__(X, weights, *options)

    def _allocate(self) -> None:
        self.there.load(self.C, self.safe, *self.motion)

    def until(self, *options: Any) -> tuple[list[float], int]:
        result = super().until(*options)
        self.there.save_state(self.safe, *self.motion)
        return result

    def run(self) -> tuple[np.ndarray, int]:
        n_batches = 1
        if not self.whole:
            device.shuffle(self.rows, self.random_state.randint(0, 2**63, dtype=np.int64))
            n_batches = -(-len(self.rows) // self.batch_size)
        losses = np.empty(n_batches)
        done, status = 0, RUNNING
        self.there.begin(self.rows, self.rule.hyper, self.progress)
        while done < n_batches and status == RUNNING:
            last = min(n_batches, done + self.batches_per_chunk)
            started = time.perf_counter()
            reached, status = self.there.run(done, last, self.rule, self.patience, losses)
            self.set_chunk(last - done, time.perf_counter() - started)
            done = reached
        self.there.save(self.C, self.touched)
        return losses[:done], status

    def reseed(self) -> bool:
        if self.touched.all():
            return False
        self.there.save_state(self.safe, *self.motion)
        moved = super().reseed()
        self.there.load(self.C, self.safe, *self.motion)
        return moved


def epochs_over(
    X: Rows,
    weights: np.ndarray | None,
    C: np.ndarray,
    rule: Rule,
    batch_size: int | None,
    patience: int | None,
    spread: float,
    random_state: np.random.RandomState,
) -> Epochs:
    """Epochs over rows of any kind, where these lie; arguments as of ``Epochs``."""
    options = C, rule, batch_size, patience, spread, random_state
    if isinstance(X, DeviceRows):
        n_rows = X.shape[0] if weights is None else int(np.count_nonzero(weights))
        size = None if batch_size is None else min(batch_size, n_rows)
        there = X.center_steps(weights, len(C), n_rows, size)
        if there is not None:
            return DeviceEpochs(there, X, weights, *options)
    return Epochs(X, weights, *options)
