"""asv: GradKMeans."""

from typing import Any, ClassVar

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from benchmarks.common import Predictor
from benchmarks.contestants import blobs
from fastnn import GradKMeans

# The estimator's parameter validation is the list of its optimisers.
OPTIMIZERS = sorted(GradKMeans._parameter_constraints["optimizer"][0].options)


class GradKMeansBlobs(Predictor):
    """Overlapping clouds, with every optimiser."""

    param_names: ClassVar = ["shape", "optimizer", "dtype"]
    params: ClassVar = ([(20_000, 8, 64)], OPTIMIZERS, ["float32"])
    smoke = ((200, 3, 4), "sgd", "float32")

    def make_data(self, shape: tuple[int, int, int], optimizer: str, dtype: str) -> tuple[np.ndarray, None]:
        """As many clouds as clusters."""
        return blobs(*shape, dtype), None

    def make_estimator(self, shape: tuple[int, int, int], optimizer: str, dtype: str) -> GradKMeans:
        """The defaults, with a rate where the optimiser needs one."""
        rate: Any = "count" if optimizer in ("sgd", "newton") else 0.02
        return GradKMeans(shape[2], optimizer=optimizer, learning_rate=rate, random_state=0)

    def make_peer(self, shape: tuple[int, int, int], optimizer: str, dtype: str) -> MiniBatchKMeans:
        """The defaults."""
        return MiniBatchKMeans(shape[2], n_init="auto", random_state=0)
