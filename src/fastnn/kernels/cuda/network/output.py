"""The output layer: softmax, and the loss with its gradient. A thread has a sample.

A sample has few outputs, so its thread reads next to what the others read, and all of it comes from the
cache. Arrays are flat here: a sample is where its outputs begin, and their number.
"""

from functools import cache
from typing import Any

import numpy as np

from fastnn.kernels.cuda import scalars as scalars  # what `exp` and the losses' functions are, in kernels
from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, device_function, kernel
from fastnn.tables.elementary import exp
from fastnn.tables.losses import HEADS

THREADS = block_threads(128)


@device_function
def softmax_of_sample(Z, at, n_out):
    """z <- exp(z - max) / sum(exp(z - max)) over the units of a sample, in place."""
    most = Z[at]
    for j in range(1, n_out):
        most = most if Z[at + j] < most else Z[at + j]
    total = Z.dtype.type(0)
    for j in range(n_out):
        Z[at + j] = exp(Z[at + j] - most)
        total += Z[at + j]
    for j in range(n_out):
        Z[at + j] /= total


@cache
def loss_of_sample(head: int) -> Any:
    """The device function that writes a sample's dz, times its weight, and returns its loss, in float64.

    Its arguments: the targets Y and the outputs A, each with the place where the sample begins; the number of
    outputs; the weight; the loss's parameter; and dZ, where the sample has A's place.
    """
    value = device_function(HEADS[head].loss.value)
    first, second = map(device_function, HEADS[head].dz_factors)

    @device_function
    def loss_and_dz(Y, y_at, A, at, n_out, weight, p, dZ):
        total = 0.0
        for j in range(n_out):
            y, a = Y[y_at + j], A[at + j]
            total += np.float64(value(y, a, p))
            dZ[at + j] = first(y, a, p) * second(a, a) * weight
        return total * np.float64(weight)

    return loss_and_dz


@kernel
def softmax(Z, n_out):
    """The softmax of every sample of Z, in place."""
    i = cuda.grid(1)
    if i < Z.shape[0] // n_out:
        softmax_of_sample(Z, i * n_out, n_out)


@cache
def loss_kernel(head: int) -> Any:
    """Loss of each sample, and dz in place of its outputs.

    The arguments of the kernel: Y (samples * units,), weights (samples,) and whether they are there,
    A (samples * units,), the number of units, the loss's parameter, row_loss (samples,) float64.
    """
    loss_and_dz = loss_of_sample(head)

    @kernel
    def loss_and_gradient(Y, weights, weighted, A, n_out, p, row_loss):
        i = cuda.grid(1)
        if i < A.shape[0] // n_out:
            weight = weights[i] if weighted else A.dtype.type(1)
            row_loss[i] = loss_and_dz(Y, i * n_out, A, i * n_out, n_out, weight, p, A)

    return loss_and_gradient
