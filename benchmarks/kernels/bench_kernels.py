"""asv: the public kernels."""

from typing import Any, ClassVar

import numpy as np
from scipy.special import expit
from sklearn.metrics import pairwise_distances_argmin

from benchmarks.common import Kernel, Throughput
from benchmarks.contestants import (
    CHAIN_RULE,
    IN_PLACE,
    check_close,
    normal,
    numpy_linear_backward,
    numpy_linear_forward,
    numpy_update_centers,
)
from fastnn import kernels
from fastnn.tables.activations import ACTIVATIONS

DTYPES = ["float32", "float64"]
SHAPES = [(1024, 784, 512), (200, 64, 100)]
RTOL = {"float32": 2e-4, "float64": 1e-10}
NEEDS_Z = {activation.name: activation.needs_z for activation in ACTIVATIONS}


class ActivationForward(Kernel):
    """``act(X W + b)`` with every activation."""

    param_names: ClassVar = ["activation", "shape", "dtype"]
    params: ClassVar = ([activation.name for activation in ACTIVATIONS], [(200, 64, 100)], ["float32"])
    smoke = (ACTIVATIONS[0].name, (9, 7, 5), "float32")

    def prepare(self, activation: str, shape: tuple[int, int, int], dtype: str) -> None:
        """Random layers of unit variance."""
        n, n_in, n_out = shape
        rng = np.random.default_rng(0)
        self.activation, self.dtype = activation, dtype
        self.X, self.b = normal(rng, (n, n_in), dtype), normal(rng, n_out, dtype)
        self.W = normal(rng, (n_in, n_out), dtype) / np.sqrt(np.array(n_in, dtype))
        self.out = np.empty((n, n_out), dtype)

    def run(self) -> np.ndarray:
        """Forward."""
        return kernels.linear_forward(self.X, self.W, self.b, self.activation, out=self.out)

    def check(self) -> None:
        """Against NumPy, where it has the activation."""
        if self.activation in IN_PLACE:
            room = np.empty_like(self.out)
            want = numpy_linear_forward(self.X, self.W, self.b, self.activation, room)
            check_close("fastnn", self.out, want, RTOL[self.dtype], RTOL[self.dtype])
        assert np.isfinite(self.out).all()


class ActivationBackward(ActivationForward):
    """Gradients of the layer with every activation."""

    def prepare(self, activation: str, shape: tuple[int, int, int], dtype: str) -> None:
        """A forward pass and the gradient of its output."""
        super().prepare(activation, shape, dtype)
        self.A, Z = kernels.linear_forward(self.X, self.W, self.b, activation, return_z=True)
        self.Z = Z if NEEDS_Z[activation] else None
        self.dA = normal(np.random.default_rng(1), self.A.shape, dtype)
        self.grads = np.empty_like(self.X), np.empty_like(self.W), np.empty_like(self.b)

    def run(self) -> Any:
        """Backward."""
        return kernels.linear_backward(
            self.dA, self.X, self.W, self.A, self.Z, self.activation, out=self.grads
        )

    def check(self) -> None:
        """Against NumPy, where it has the derivative."""
        assert all(np.isfinite(grad).all() for grad in self.grads)
        if self.activation in CHAIN_RULE:
            room = (*map(np.empty_like, self.grads), np.empty_like(self.A))
            want = numpy_linear_backward(self.dA, self.X, self.W, self.A, self.activation, room)
            for ours, theirs in zip(self.grads, want, strict=True):
                check_close("fastnn", ours, theirs, RTOL[self.dtype], RTOL[self.dtype] * np.abs(theirs).max())


class LinearForward(Throughput, ActivationForward):
    """The layer on a large and a small shape."""

    params: ClassVar = (["relu"], SHAPES, DTYPES)
    smoke = ("relu", (9, 7, 5), "float64")

    def operations(self) -> float:
        """Of the product."""
        return 2.0 * self.X.size * self.W.shape[1]


class LinearBackward(Throughput, ActivationBackward):
    """Its gradients."""

    params: ClassVar = (["relu"], SHAPES, DTYPES)
    smoke = ("relu", (9, 7, 5), "float64")

    def operations(self) -> float:
        """Of the two products."""
        return 4.0 * self.X.size * self.W.shape[1]


class Elementary(Throughput, Kernel):
    """Elementary functions of arrays."""

    _PEERS: ClassVar = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "logistic": expit}

    param_names: ClassVar = ["function", "size", "dtype"]
    params: ClassVar = (list(_PEERS), [100_000], DTYPES)
    smoke = ("exp", 100, "float32")

    def prepare(self, function: str, size: int, dtype: str) -> None:
        """Normal numbers; positive ones for log."""
        self.name, self.function = function, getattr(kernels, function)
        self.x = 3 * normal(np.random.default_rng(0), size, dtype)
        if function == "log":
            np.abs(self.x, out=self.x)
        self.out = np.empty_like(self.x)

    def run(self) -> np.ndarray:
        """Apply."""
        return self.function(self.x, out=self.out)

    def check(self) -> None:
        """Against NumPy or SciPy."""
        eps = float(np.finfo(self.x.dtype).eps)
        check_close("fastnn", self.out, self._PEERS[self.name](self.x), 20 * eps, eps)

    def operations(self) -> float:
        """Elements."""
        return float(self.x.size)


class Assign(Throughput, Kernel):
    """Nearest centres."""

    param_names: ClassVar = ["shape", "dtype"]
    params: ClassVar = ([(100_000, 8, 64), (20_000, 64, 256), (6_000, 784, 100)], ["float32"])
    smoke = ((50, 3, 4), "float32")

    def prepare(self, shape: tuple[int, int, int], dtype: str) -> None:
        """Normal rows and centres."""
        n, d, k = shape
        rng = np.random.default_rng(0)
        self.X, self.C = normal(rng, (n, d), dtype), normal(rng, (k, d), dtype)
        self.out = np.empty(n, np.int32), np.empty(n, dtype)

    def run(self) -> Any:
        """Assign."""
        return kernels.assign(self.X, self.C, out=self.out)

    def check(self) -> None:
        """The centre that scikit-learn finds is as near."""
        labels, distances = self.out
        theirs = pairwise_distances_argmin(self.X, self.C)
        check_close("sklearn", ((self.X - self.C[theirs]) ** 2).sum(axis=1), distances, 1e-3, 1e-5)
        check_close("fastnn", ((self.X - self.C[labels]) ** 2).sum(axis=1), distances, 1e-3, 1e-5)

    def operations(self) -> float:
        """Of the product."""
        return 2.0 * self.X.size * len(self.C)


class UpdateCenters(Throughput, Kernel):
    """Sums and counts of clusters."""

    param_names: ClassVar = ["shape", "dtype"]
    params: ClassVar = ([(100_000, 8, 64), (20_000, 64, 256), (6_000, 784, 100)], ["float32"])
    smoke = ((50, 3, 4), "float32")

    def prepare(self, shape: tuple[int, int, int], dtype: str) -> None:
        """Normal rows, random labels."""
        n, d, self.k = shape
        rng = np.random.default_rng(0)
        self.X, self.labels = normal(rng, (n, d), dtype), rng.integers(self.k, size=n, dtype=np.int32)
        self.out = np.empty((self.k, d)), np.empty(self.k)

    def run(self) -> Any:
        """Sum."""
        return kernels.update_centers(self.X, self.labels, self.k, out=self.out)

    def check(self) -> None:
        """Against NumPy."""
        for got, want in zip(self.out, numpy_update_centers(self.X, self.labels, self.k), strict=True):
            check_close("fastnn", got, want, 1e-9, 1e-9 * float(np.abs(want).max()))

    def operations(self) -> float:
        """Additions."""
        return float(self.X.size)
