"""Compile everything ahead of time: for container images and continuous integration."""

from itertools import zip_longest
from typing import Any

import numpy as np
from scipy import sparse

from fastnn import kernels
from fastnn.clustering import gradient, rules
from fastnn.clustering.bounds import Bounds
from fastnn.clustering.leading import Leading
from fastnn.clustering.lloyd import lloyd
from fastnn.clustering.mini_batch import mini_batches
from fastnn.clustering.seeding import searched_plus_plus
from fastnn.kernels.clustering import device
from fastnn.kernels.compiler.notice import stopwatch
from fastnn.kernels.shared.arrays import Csr
from fastnn.kernels.shared.threads import force_threads
from fastnn.networks.backends import predict, rows_and_backend
from fastnn.networks.data import ENTRY_FEATURES, Data
from fastnn.networks.held_out import mean_loss
from fastnn.networks.layer_steps import FrontScale
from fastnn.networks.least_squares import LeastSquares
from fastnn.networks.network import Network
from fastnn.networks.tied import TiedNetwork
from fastnn.tables.activations import ACTIVATIONS, HIDDEN, SOFTMAX
from fastnn.tables.dropout import Dropout
from fastnn.tables.losses import HEADS
from fastnn.tables.optimizers import RULES, Optimizer


def precompile(dtypes: Any = (np.float32, np.float64)) -> None:
    """Fill the cache with every compiled function that the estimators and kernels use.

    Takes one to two minutes, once for each version of the package, kind of processor and cache directory;
    another call finds everything there and takes a second. After it no fit compiles anything.

    Parameters
    ----------
    dtypes : dtype or sequence of dtype, default=(float32, float64)
        Float types to compile for.

    Raises
    ------
    ValueError
        A dtype is neither float32 nor float64.

    Examples
    --------
    In a container image, as root, as the user who will run it, or as the owner of the package::

        RUN NUMBA_CACHE_DIR=/opt/fastnn-cache python -c "import fastnn; fastnn.precompile()"
        ENV NUMBA_CACHE_DIR=/opt/fastnn-cache

    The processor that compiles must be of the kind that runs the image: Numba keeps code for each apart.
    """
    wanted = [np.dtype(dtype) for dtype in (dtypes if isinstance(dtypes, list | tuple | set) else [dtypes])]
    for dtype in wanted:
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"dtypes must be float32 and float64, or one of them, got {dtype}.")
    for dtype in wanted:
        for threads in (False, True):
            with force_threads(threads), stopwatch.silenced():
                _networks(dtype)
                _least_squares()
                _k_means(dtype)
                _accelerated(dtype)
                _functions(dtype)


def _networks(dtype: np.dtype) -> None:
    """An epoch, a gradient and a prediction, until each entry of the tables has had its turn."""
    dense = np.linspace(0, 1, 40, dtype=dtype).reshape(20, 2)
    entries = sparse.csr_matrix((20, ENTRY_FEATURES), dtype=dtype)
    Y = np.ones((20, 2), bool)
    names = *(entry.name for entry in ACTIVATIONS), SOFTMAX
    for number, (hidden, head, rule) in enumerate(zip_longest(names, HEADS, RULES)):
        head, rule = head or HEADS[0], rule or RULES[0]
        X = dense if number else entries
        rows, backend = rows_and_backend(X)
        net = Network(
            [X.shape[1], 3, 2],
            hidden_activation=hidden or names[0],
            loss=head,
            dtype=dtype,
            backend=backend,
            dropout=Dropout(0.5),
        )
        for extra in (0.1, 0.0):  # loops of what may be added to a step, and those without
            optimizer = Optimizer(
                rule.name,
                rule.hyper,
                learning_rate=0.1,
                n_parameters=net.parameters.size,
                dtype=dtype,
                weight_decay=extra,
                max_norm=extra or np.inf,
                average_rate=extra,
            )
            # Without a penalty: with one there is no scale in front.
            net.layer_steps.front = None if extra else FrontScale(net.coefs[0], dtype)
            bound = net.bind(rows, Y, optimizer=optimizer)
            bound.run_epoch(None, 10)
        bound.loss_and_gradient()
        mean_loss(net, Data(rows, Y, None))(np.full((20, 2), 0.5, dtype))
        if number:  # with as many outputs as inputs
            TiedNetwork(net).bind(rows, Y, optimizer=optimizer).run_epoch(None, 10)
        predict(
            X,
            net.coefs,
            net.intercepts,
            hidden_activation=net.hidden_activations,
            output_activation=net.loss.output_activation,
        )


def _least_squares() -> None:
    """Errors and normal equations with each activation, in float64 whatever the type of the data."""
    Y = np.ones((20, 2))
    for X in (np.ones((20, 2)), sparse.csr_matrix((20, ENTRY_FEATURES))):
        rows, backend = rows_and_backend(X)
        for hidden in HIDDEN:
            net = Network(
                [X.shape[1], 1, 2],
                hidden_activation=hidden,
                loss="squared_error",
                dtype=np.float64,
                backend=backend,
            )
            squares = LeastSquares(net, Data(rows, Y, None), 0.0)
            squares.loss()
            squares.normal_equations()


def _k_means(dtype: np.dtype) -> None:
    """A fit with each update rule, from k-means++; Lloyd's iterations on sparse rows; mini-batches."""
    X = np.random.RandomState(0).normal(size=(60, 2)).astype(dtype)
    for optimizer in rules.OPTIMIZERS:
        random_state = np.random.RandomState(0)
        gradient.train(
            X,
            None,
            searched_plus_plus(X, 3, None, random_state),
            rules.center_rule(optimizer, 0.1, "mean"),
            batch_size=20,
            max_iter=1,
            tol=0.0,
            variance=1.0,
            patience=None,
            polish=True,
            random_state=random_state,
        )
    rows = Csr.of(sparse.csr_matrix(X), dtype, np.int32)
    lloyd(rows, None, X[:3], max_iter=1, tol=0.0)
    for data in (X, sparse.csr_matrix(X)):
        mini_batches(
            data,
            None,
            X[:3],
            batch_size=20,
            max_iter=1,
            tol=0.0,
            patience=None,
            ratio=0.01,
            random_state=np.random.RandomState(0),
        )


def _accelerated(dtype: np.dtype) -> None:
    """What Lloyd's iterations and k-means++ do for many rows, and for long ones."""
    X = np.random.RandomState(0).normal(size=(60, 48)).astype(dtype)
    searched_plus_plus(X, 3, None, np.random.RandomState(0))
    bounds, sweeps = Bounds(X, 6), device.HostSweeps(60, 6, 48, dtype)
    sweeps.labels[:] = 0
    bounds.begin()
    none = np.empty(0, dtype)
    bounds.sweep(none, X[:6], X[:6], sweeps)
    device.move_rows(X, sweeps.labels.copy(), sweeps.labels, sweeps.sums, sweeps.counts)
    axes = np.eye(48, 4, dtype=dtype)
    Leading(X, X[0], axes, 4).sweep(none, X[:6], sweeps, summing=True)


def _functions(dtype: np.dtype) -> None:
    """The public kernels, and what only some methods of the estimators call."""
    X = np.ones((3, 3), dtype)
    A = kernels.linear_forward(X, X, X[0])
    kernels.linear_backward(A, X, X, A)
    kernels.update_centers(X, kernels.assign(X, X)[0], 3)
    device.distances_to(X, X)
    for function in (kernels.exp, kernels.log, kernels.logistic, kernels.tanh):
        function(X)
