"""What fastnn is compared with: optional libraries, NumPy's activations, equal numbers of threads."""

import importlib
import os
import warnings
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from scipy import special
from threadpoolctl import threadpool_info, threadpool_limits


def optional(name: str) -> Any:
    """The module, or None where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FAISS's bindings warn about SWIG's types
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def limit_threads(n: int) -> None:
    """Give every library that is loaded `n` threads."""
    threadpool_limits(n)
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))
    torch, faiss = optional("torch"), optional("faiss")
    if torch is not None:
        torch.set_num_threads(n)
    if faiss is not None:
        faiss.omp_set_num_threads(n)


def check_threads(n: int) -> None:
    """Fail unless every library that is loaded uses `n` threads."""
    found = {os.path.basename(pool["filepath"]): pool["num_threads"] for pool in threadpool_info()}
    found["numba"] = numba.get_num_threads()
    if any(threads != n for threads in found.values()):
        raise RuntimeError(f"the libraries use different numbers of threads: {found}, wanted {n}")


def check_close(who: str, got: Any, want: Any, rtol: float, atol: float = 0.0) -> None:
    """Fail unless a contestant's result is fastnn's, up to rounding: only equal work is worth timing."""
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=f"{who} computes something else")


def _relu(z: np.ndarray) -> None:
    np.maximum(z, 0, out=z)


def _tanh(z: np.ndarray) -> None:
    np.tanh(z, out=z)


def _logistic(z: np.ndarray) -> None:
    special.expit(z, out=z)


def _identity(z: np.ndarray) -> None:
    pass


def _leaky_relu(z: np.ndarray) -> None:
    np.maximum(z, 0.01 * z, out=z)


def _elu(z: np.ndarray) -> None:
    np.copyto(z, np.where(z > 0, z, np.expm1(np.minimum(z, 0))))


def _gelu(z: np.ndarray) -> None:
    z *= special.ndtr(z)


def _silu(z: np.ndarray) -> None:
    z *= special.expit(z)


def _softplus(z: np.ndarray) -> None:
    np.logaddexp(0, z, out=z)


# In place, as the best NumPy program has them. An activation without an entry is timed all the same, but
# compared with nothing.
IN_PLACE: dict[str, Callable[[np.ndarray], None]] = {
    "identity": _identity,
    "logistic": _logistic,
    "tanh": _tanh,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "silu": _silu,
    "softplus": _softplus,
}


def numpy_linear_forward(
    X: np.ndarray, W: np.ndarray, b: np.ndarray, activation: str, out: np.ndarray
) -> np.ndarray:
    """``act(X W + b)`` without a temporary array."""
    np.dot(X, W, out=out)
    out += b
    IN_PLACE[activation](out)
    return out


def _relu_chain(dA: np.ndarray, A: np.ndarray, dZ: np.ndarray) -> None:
    np.multiply(dA, A > 0, out=dZ)


def _tanh_chain(dA: np.ndarray, A: np.ndarray, dZ: np.ndarray) -> None:
    np.multiply(A, A, out=dZ)
    np.subtract(1, dZ, out=dZ)
    dZ *= dA


def _identity_chain(dA: np.ndarray, A: np.ndarray, dZ: np.ndarray) -> None:
    dZ[...] = dA


CHAIN_RULE = {"identity": _identity_chain, "relu": _relu_chain, "tanh": _tanh_chain}


def numpy_linear_backward(
    dA: np.ndarray, X: np.ndarray, W: np.ndarray, A: np.ndarray, activation: str, out: tuple
) -> tuple:
    """Gradients of the layer; `out` holds dX, dW, db and room for dZ."""
    dX, dW, db, dZ = out
    CHAIN_RULE[activation](dA, A, dZ)
    np.dot(dZ, W.T, out=dX)
    np.dot(X.T, dZ, out=dW)
    np.sum(dZ, axis=0, out=db)
    return dX, dW, db


def numpy_update_centers(X: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts by ``bincount``, a column at a time: many times faster than ``numpy.add.at``."""
    sums = np.empty((k, X.shape[1]))
    for column in range(X.shape[1]):
        sums[:, column] = np.bincount(labels, X[:, column], minlength=k)
    return sums, np.bincount(labels, minlength=k).astype(float)


def normal(rng: np.random.Generator, shape: Any, dtype: str) -> np.ndarray:
    """Random normal numbers; zeros would flatter whoever skips them, and cost less power."""
    return rng.standard_normal(shape, np.dtype(dtype))


def blobs(n: int, d: int, k: int, dtype: str = "float32") -> np.ndarray:
    """`k` overlapping clouds of points."""
    rng = np.random.default_rng(0)
    centers = 3 * normal(rng, (k, d), dtype)
    return centers[rng.integers(k, size=n)] + normal(rng, (n, d), dtype)
