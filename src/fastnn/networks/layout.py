"""Where the layers of a network lie in one flat vector of parameters, and what its passes cost.

All parameters lie in one vector, ``W_1, b_1, ..., W_L, b_L``, each in C order; so do gradients and each slot
of the optimiser's state. An update is then one loop, L-BFGS gets a vector, and b is one more row of W.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

# Elements of the widest layer of a piece of rows: sparse data, of which a piece is made dense, may have a
# million columns.
WIDEST_ELEMENTS = 1 << 24
# Weights whose penalty is added at a time, beside which no copy of all of them is made.
PENALTY_ELEMENTS = 1 << 16


class Layout:
    """Where every layer lies in the flat parameter vector.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, inputs first.

    Attributes
    ----------
    sizes : ndarray of shape (L + 1,)
    w_at, b_at : ndarray of shape (L,)
        Offsets of W and b of each layer.
    n_parameters : int
    widest : int
        Units of the widest layer.
    row_flops : float
        FLOPs of a row's forward pass.
    """

    def __init__(self, layer_sizes: Sequence[int]) -> None:
        self.sizes = np.asarray(layer_sizes, np.int64)
        n_in, n_out = self.sizes[:-1], self.sizes[1:]
        ends = np.cumsum((n_in + 1) * n_out)
        self.b_at = ends - n_out
        self.w_at = self.b_at - n_in * n_out
        self._starts = *self.w_at.tolist(), *self.b_at.tolist()
        self.n_parameters = int(ends[-1])
        self.widest = int(self.sizes.max())
        self.row_flops = 2.0 * max(1.0, float(n_in @ n_out))

    def weights(self, flat: np.ndarray) -> list[np.ndarray]:
        """Views of every W in a flat vector."""
        shapes = zip(self.w_at, self.sizes[:-1], self.sizes[1:], strict=True)
        return [flat[at : at + m * n].reshape(m, n) for at, m, n in shapes]

    def biases(self, flat: np.ndarray) -> list[np.ndarray]:
        """Views of every b in a flat vector."""
        return [flat[at : at + n] for at, n in zip(self.b_at, self.sizes[1:], strict=True)]

    def flat(self, arrays: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
        """All W and then all b as one flat vector: their common base, if they are views of such a vector."""
        base = arrays[0].base
        if isinstance(base, np.ndarray) and base.shape == (self.n_parameters,) and base.dtype == dtype:
            first = base.__array_interface__["data"][0]
            # A plain loop: a prediction for one row takes 30 us in all.
            for array, start in zip(arrays, self._starts, strict=True):
                if (
                    array.base is not base
                    or array.__array_interface__["data"][0] != first + start * dtype.itemsize
                    or not array.flags.c_contiguous
                ):
                    break
            else:
                return base
        flat = np.empty(self.n_parameters, dtype)
        for view, array in zip(self.weights(flat) + self.biases(flat), arrays, strict=True):
            view[...] = array
        return flat

    def flops_of_a_row(self, entries: float | None) -> float:
        """FLOPs of a row's forward pass; the first layer's by its entries, where it reads these alone."""
        if entries is None:
            return self.row_flops
        return max(1.0, self.row_flops - 2.0 * (float(self.sizes[0]) - entries) * float(self.sizes[1]))

    def piece_rows(self, entries: float | None, most: int) -> int:
        """Rows of a piece, `most` or fewer: WIDEST_ELEMENTS bounds what their widest layer takes."""
        widest = self.widest if entries is None else max(int(self.sizes[1:].max()), int(entries))
        return max(16, min(most, WIDEST_ELEMENTS // widest))

    def mean_with_penalty(
        self,
        parameters: np.ndarray,
        total: float,
        weight: float,
        gradient: np.ndarray,
        alpha: float,
        l1_alpha: float,
        bias_rates: Sequence[float],
    ) -> tuple[float, np.ndarray]:
        """The mean of a loss that is summed, and its gradient's, which changes in place, with the penalties.

        bias_rates : where a layer's is 0 its biases stay, and their gradient counts as 0
        """
        for rate, db in zip(bias_rates, self.biases(gradient), strict=True):
            if rate == 0:
                db[:] = 0
        for W, dW in zip(self.weights(parameters), self.weights(gradient), strict=True):
            rows = max(1, PENALTY_ELEMENTS // W.shape[1])
            for first in range(0, W.shape[0], rows):
                some = W[first : first + rows]
                dW[first : first + rows] += alpha * some
                if l1_alpha > 0:
                    dW[first : first + rows] += W.dtype.type(l1_alpha) * np.sign(some)
                    total += l1_alpha * float(np.abs(some).sum(dtype=np.float64))
            total += 0.5 * alpha * np.vdot(W, W)
        gradient /= weight
        return float(total / weight), gradient


# A prediction for one row takes not much longer than to build one. They are shared: nobody writes to one.
layout_of = lru_cache(maxsize=32)(Layout)
