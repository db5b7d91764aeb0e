"""The output layer: softmax, and the loss with its gradient. A thread has a sample.

A sample has few outputs, so its thread reads next to what the others read, and all of it comes from the
cache.
"""

from functools import cache
from typing import Any

import numpy as np

from fastnn.elementary import exp
from fastnn.kernels.cuda import scalars as scalars  # what `exp` and the losses' functions are, in kernels
from fastnn.kernels.cuda.compat import block_threads, cuda, device_function, kernel
from fastnn.losses import LOSSES

THREADS = block_threads(128)


@kernel
def softmax(Z):
    """z <- exp(z - max) / sum(exp(z - max)) over the units of each sample, in place."""
    i = cuda.grid(1)
    if i < Z.shape[0]:
        z = Z[i]
        most = z[0]
        for j in range(1, z.size):
            most = most if z[j] < most else z[j]
        total = type(most)(0)
        for j in range(z.size):
            z[j] = exp(z[j] - most)
            total += z[j]
        for j in range(z.size):
            z[j] /= total


@cache
def loss_kernel(loss: int) -> Any:
    """Loss of each sample, and dz in place of its outputs.

    The arguments of the kernel: Y (samples, units), weights (samples,) and whether they are there,
    A (samples, units), row_loss (samples,) float64.
    """
    value, dz = device_function(LOSSES[loss].value), device_function(LOSSES[loss].dz)

    @kernel
    def loss_and_gradient(Y, weights, weighted, A, row_loss):
        i = cuda.grid(1)
        if i < A.shape[0]:
            total = 0.0
            for j in range(A.shape[1]):
                y, a = Y[i, j], A[i, j]
                total += np.float64(value(y, a))
                A[i, j] = dz(y, a) * weights[i] if weighted else dz(y, a)
            row_loss[i] = total * np.float64(weights[i]) if weighted else total

    return loss_and_gradient
