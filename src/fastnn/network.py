"""Engine of the multi-layer perceptron: parameter layout, the epoch in compiled chunks, prediction.

All parameters lie in one flat vector, ``W_1, ..., W_L, b_1, ..., b_L``, each in C order; so do gradients and
each slot of the optimiser's state. An update is then one loop, and L-BFGS gets a vector.
"""

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from fastnn.activations import ACTIVATIONS, IDENTITY, SOFTMAX
from fastnn.activations import CODES as ACTIVATION_CODES
from fastnn.kernels import device
from fastnn.kernels._arrays import plain
from fastnn.kernels._threads import CALL_SECONDS, Pace, threads_for
from fastnn.losses import CODES as LOSS_CODES
from fastnn.losses import LOSSES
from fastnn.optimizers import MAX_HYPER, Optimizer

# Batches per call on several threads: where the cores turn out to be taken a step lasts 10 ms and more, and
# the call must still end.
MAX_THREADED = 128
# Pieces of the weights' region: enough for many threads, few enough that a piece is worth starting.
WEIGHT_CHUNKS = 32
# Rows of one piece of a full-batch gradient: bounds the activation buffers.
GRADIENT_ROWS = 4096


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
    """

    def __init__(self, layer_sizes: Sequence[int]) -> None:
        self.sizes = np.asarray(layer_sizes, np.int64)
        n_in, n_out = self.sizes[:-1], self.sizes[1:]
        lengths = np.concatenate([[0], n_in * n_out, n_out])
        starts = np.cumsum(lengths)
        n_layers = len(n_in)
        self.w_at, self.b_at = starts[:n_layers].copy(), starts[n_layers:-1].copy()
        self.n_parameters = int(starts[-1])

    def weights(self, flat: np.ndarray) -> list[np.ndarray]:
        """Views of every W in a flat vector."""
        shapes = zip(self.w_at, self.sizes[:-1], self.sizes[1:], strict=True)
        return [flat[at : at + m * n].reshape(m, n) for at, m, n in shapes]

    def biases(self, flat: np.ndarray) -> list[np.ndarray]:
        """Views of every b in a flat vector."""
        return [flat[at : at + n] for at, n in zip(self.b_at, self.sizes[1:], strict=True)]

    @cached_property
    def units(self) -> tuple[np.ndarray, np.ndarray]:
        """The pieces of the weights' region and their chunks, as ``kernels.cpu.mlp.Training`` has them.

        A unit is one row tile of a W, or a b; units are dealt to chunks by the FLOPs in them.
        """
        units, work = [], []
        for layer, (rows, columns) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            n_tiles = -(-rows // device.TILE_ROWS)
            cuts = [tile * rows // n_tiles for tile in range(n_tiles + 1)]
            units += [*zip([layer] * n_tiles, cuts[:-1], cuts[1:], strict=True), (layer, -1, 0)]
            work += [*(np.diff(cuts) * columns), columns]
        done = np.cumsum(work)
        n_chunks = min(WEIGHT_CHUNKS, len(units))
        chunks = np.searchsorted(done, np.arange(n_chunks + 1) * (done[-1] / n_chunks))
        chunks[-1] = len(units)
        return np.array(units, np.int64), chunks.astype(np.int64)


def _model(layout: Layout, parameters: np.ndarray, hidden: str, output: str) -> device.Model:
    is_softmax = output == SOFTMAX
    return device.Model(
        layout.sizes,
        layout.w_at,
        layout.b_at,
        parameters,
        ACTIVATION_CODES[hidden],
        ACTIVATION_CODES[IDENTITY.name if is_softmax else output],
        is_softmax,
    )


def _rows(X: Any, dtype: np.dtype, order: np.ndarray | None = None) -> device.Rows:
    order = plain(np.arange(X.shape[0]) if order is None else order, np.int64)
    if sparse.issparse(X):
        X = X.tocsr()
        indices, indptr = X.indices, X.indptr
        # SciPy does not look at the indices of a matrix made from its arrays; the kernels write by them.
        if indices.size and not (indices.min() >= 0 and indices.max() < X.shape[1]):
            raise ValueError(f"the column indices of X must lie in 0..{X.shape[1] - 1}")
        if indptr[0] != 0 or indptr[-1] > indices.size or (np.diff(indptr) < 0).any():
            raise ValueError("the row pointers of X do not describe a CSR matrix")
        return device.Rows(
            True, plain(X.data, dtype), plain(indices, np.int64), plain(indptr, np.int64), order
        )
    nothing = np.empty(0, np.int64)
    return device.Rows(False, plain(X, dtype).reshape(-1), nothing, nothing, order)


class Network:
    """A dense network and the compiled work on it.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, inputs first: at least two numbers.
    hidden_activation : str
        Name of a hidden activation of ``fastnn.activations``.
    loss : str
        Name of an entry of ``fastnn.losses``; the output activation follows from it.
    dtype : numpy dtype
        float32 or float64: of parameters, activations and gradients.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
        All parameters: W of every layer, then b of every layer.
    coefs : list of ndarray of shape (n_in, n_out)
        Views of the weights.
    intercepts : list of ndarray of shape (n_out,)
        Views of the biases.
    """

    def __init__(self, layer_sizes: Sequence[int], *, hidden_activation: str, loss: str, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.layout = Layout(layer_sizes)
        self.hidden_activation = hidden_activation
        self.loss = LOSSES[LOSS_CODES[loss]]
        self.parameters = np.zeros(self.layout.n_parameters, self.dtype)
        self.coefs = self.layout.weights(self.parameters)
        self.intercepts = self.layout.biases(self.parameters)
        # Batches per compiled call; adjusted to CALL_SECONDS from epoch to epoch.
        self._batches_per_call = 1
        self._called = False
        self._pace = Pace(self.dtype.itemsize)
        self._work: tuple[int, dict[str, np.ndarray]] = (0, {})
        # The data of the last call and what the kernels take for them: made once a fit.
        self._data: tuple[tuple[Any, ...], device.Rows, device.Targets] | None = None

    def load(self, coefs: Sequence[Any], intercepts: Sequence[Any]) -> None:
        """Copy the given weights and biases into the parameters."""
        for view, values in zip(self.coefs + self.intercepts, [*coefs, *intercepts], strict=True):
            view[...] = values

    def train_epoch(
        self,
        optimizer: Optimizer,
        X: Any,
        Y: np.ndarray,
        order: np.ndarray | None,
        batch_size: int,
        *,
        sample_weight: np.ndarray | None = None,
        alpha: float = 0.0,
    ) -> float:
        """One pass over the rows in mini-batches, updating the parameters after each.

        Parameters
        ----------
        optimizer : Optimizer
            Its state and step count are updated too.
        X : ndarray of shape (n, n_features), C-contiguous, or CSR matrix
        Y : ndarray of shape (n, n_outputs)
            Targets; 0 or 1 for classes.
        order : ndarray of int64 or None
            The rows in the order of training; None stands for all in their own order.
        batch_size : int
            Rows a batch; the last one of the epoch may be shorter.
        sample_weight : ndarray of shape (n,), default=None
            A batch's loss is the weighted mean over its rows. A batch of zero weight changes nothing.
        alpha : float, default=0.0
            L2 penalty on the weights, ``0.5 alpha sum(W^2)``, divided by the batch's weight.

        Returns
        -------
        loss : float
            Mean over rows of their batch's loss. If a batch's loss is not finite the epoch stops before that
            batch's update and returns that loss.
        """
        rows, targets = self._prepare_data(X, Y, sample_weight, alpha)
        if order is not None:
            rows = rows._replace(order=plain(order, np.int64))
        n = rows.order.size
        batch_size = min(int(batch_size), n)
        n_batches = -(-n // batch_size)
        model, training = self._prepare(batch_size, optimizer)
        region_work = self._step_work(batch_size)
        pace = self._pace
        total, batch = 0.0, 0
        while batch < n_batches:
            threads = pace.allows()
            at_once = min(self._batches_per_call, MAX_THREADED) if threads else self._batches_per_call
            stop = min(n_batches, batch + at_once)
            started = time.perf_counter()
            with threads_for(region_work if threads else 0.0) as parallel:
                loss, _, done, optimizer.t = device.run_batches(
                    parallel, batch, stop, batch_size, n, model, rows, targets, training, True,
                    optimizer.learning_rate, optimizer.t,
                )  # fmt: skip
            per_batch = (time.perf_counter() - started) / max(done, 1)
            if self._called:  # the first call may have compiled
                pace.report(parallel, 3 * region_work, per_batch)
            self._called = True
            if done < stop - batch:
                return float(loss)
            total += loss
            self._batches_per_call = max(1, int(CALL_SECONDS / max(per_batch, 1e-7)))
            batch = stop
        return total / n

    def loss_and_gradient(
        self, X: Any, Y: np.ndarray, *, sample_weight: np.ndarray | None = None, alpha: float = 0.0
    ) -> tuple[float, np.ndarray]:
        """Loss and its gradient over all rows, in blocks of at most ``GRADIENT_ROWS``; changes nothing.

        Parameters
        ----------
        X, Y, sample_weight, alpha
            As in ``train_epoch``.

        Returns
        -------
        loss : float
        gradient : ndarray of shape (n_parameters,)
            In the order of ``parameters``. Meaningless where the loss is not finite.
        """
        rows, targets = self._prepare_data(X, Y, sample_weight, alpha)
        n = rows.order.size
        block = min(n, GRADIENT_ROWS)
        model, training = self._prepare(block, None)
        training.gradient[:] = 0
        n_blocks = -(-n // block)
        with threads_for(self._step_work(block)) as parallel:
            loss, weight, done, _ = device.run_batches(
                parallel, 0, n_blocks, block, n, model, rows, targets, training, False, 0.0, 0
            )
        if done < n_blocks:
            return float(loss), training.gradient.copy()
        weights = self.parameters[: self.layout.b_at[0]]
        gradient = training.gradient.copy()
        gradient[: weights.size] += alpha * weights
        gradient /= weight
        penalty = 0.5 * alpha * np.dot(weights, weights)
        return float((loss + penalty) / weight), gradient

    def _step_work(self, n_rows: int) -> float:
        """FLOPs of the smaller of a step's two regions."""
        sizes = self.layout.sizes
        return 2.0 * n_rows * float(sizes[:-1] @ sizes[1:])

    def _prepare_data(
        self, X: Any, Y: np.ndarray, sample_weight: Any, alpha: float
    ) -> tuple[device.Rows, device.Targets]:
        given = (X, Y, sample_weight, alpha)
        if self._data is not None and all(a is b for a, b in zip(given, self._data[0], strict=True)):
            return self._data[1:]
        rows = _rows(X, self.dtype)
        n_outputs = int(self.layout.sizes[-1])
        weights = np.empty(0, self.dtype)
        if sample_weight is not None:
            weights = plain(sample_weight, self.dtype)
        targets = device.Targets(
            plain(Y, self.dtype).reshape(-1),
            weights,
            LOSS_CODES[self.loss.name],
            1.0 / n_outputs if self.loss.mean_over_outputs else 1.0,
            float(alpha),
        )
        self._data = (given, rows, targets)
        return rows, targets

    def _prepare(self, n_rows: int, optimizer: Optimizer | None) -> tuple[device.Model, device.Training]:
        model = _model(self.layout, self.parameters, self.hidden_activation, self.loss.output_activation)
        units, chunks = self.layout.units
        work = self._buffers(n_rows)
        at = 0
        for W in self.coefs[1:]:
            work["transposed"][at : at + W.size].reshape(W.shape[::-1])[...] = W.T
            at += W.size
        training = device.Training(
            state=work["gradient"].reshape(1, -1) if optimizer is None else optimizer.state,
            hyper=np.zeros(MAX_HYPER) if optimizer is None else optimizer.hyper,
            rule_code=0 if optimizer is None else optimizer.code,
            units=units,
            chunks=chunks,
            keep_z=ACTIVATIONS[model.hidden_code].needs_z,
            **work,
        )
        return model, training

    def _buffers(self, n_rows: int) -> dict[str, np.ndarray]:
        """Work buffers for batches of `n_rows`, kept until another size is asked for."""
        if self._work[0] != n_rows:
            sizes = self.layout.sizes
            n_chunks = device.row_chunks(n_rows)
            panel = device.panel_size(-(-n_rows // n_chunks), int(sizes.max()))
            acts = np.empty(n_rows * sizes.sum(), self.dtype)
            keep_z = ACTIVATIONS[ACTIVATION_CODES[self.hidden_activation]].needs_z
            first = self.layout.w_at[1] if len(self.coefs) > 1 else self.layout.b_at[0]
            work = {
                "transposed": np.empty(self.layout.b_at[0] - first, self.dtype),
                "gradient": np.empty(self.layout.n_parameters, self.dtype),
                "acts": acts,
                "zs": np.empty_like(acts) if keep_z else acts,
                "dzs": np.empty_like(acts),
                "panels": np.empty((n_chunks, panel), self.dtype),
                "row_loss": np.empty(n_rows),
                "squares": np.zeros(len(self.layout.units[1]) - 1),
            }
            self._work = (n_rows, work)
        return self._work[1]


def _flat(layout: Layout, arrays: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """The arrays as one flat vector: their common base, if they are the views that ``Network`` makes."""
    base = arrays[0].base
    if isinstance(base, np.ndarray) and base.shape == (layout.n_parameters,) and base.dtype == dtype:
        first = base.__array_interface__["data"][0]
        starts = [first + int(at) * dtype.itemsize for at in (*layout.w_at, *layout.b_at)]
        if all(
            array.base is base and array.__array_interface__["data"][0] == start and array.flags.c_contiguous
            for array, start in zip(arrays, starts, strict=True)
        ):
            return base
    return np.concatenate([np.ravel(array) for array in arrays]).astype(dtype, copy=False)


def predict(
    X: Any,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    *,
    hidden_activation: str,
    output_activation: str,
) -> np.ndarray:
    """Output of the network with the given weights.

    Parameters
    ----------
    X : ndarray of shape (n, n_features) or CSR matrix
        Rows; float32 is kept if the weights are float32 too, anything else is computed in float64.
    coefs : sequence of ndarray of shape (n_in, n_out)
        Weights of each layer.
    intercepts : sequence of ndarray of shape (n_out,)
        Biases of each layer.
    hidden_activation, output_activation : str
        Names from ``fastnn.activations``; the output's may also be ``SOFTMAX``.

    Returns
    -------
    out : ndarray of shape (n, n_outputs)
    """
    dtype = np.result_type(X.dtype, *(W.dtype for W in coefs))
    dtype = np.dtype(np.float32 if dtype == np.float32 else np.float64)
    layout = Layout([coefs[0].shape[0], *(W.shape[1] for W in coefs)])
    parameters = _flat(layout, [*coefs, *intercepts], dtype)
    rows = _rows(X, dtype)
    n = rows.order.size
    out = np.empty((n, int(layout.sizes[-1])), dtype)
    model = _model(layout, parameters, hidden_activation, output_activation)
    with threads_for(2.0 * n * float(layout.sizes[:-1] @ layout.sizes[1:])) as parallel:
        device.predict_rows(parallel, device.row_chunks(n), model, rows, out.reshape(-1))
    return out
