"""The parameters that all multi-layer perceptrons have, each declared once."""

from collections.abc import Iterable
from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from fastnn.estimators.declaration import (
    AT_LEAST_ONE,
    BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    declared,
    one_of,
    parameter,
)
from fastnn.estimators.mlp.checkpoints import StateParameters
from fastnn.estimators.mlp.first_weights import FirstWeightParameters
from fastnn.estimators.mlp.layers import LayerwiseParameters
from fastnn.estimators.mlp.learning_rates import LearningRateParameters
from fastnn.estimators.mlp.reporting import ReportParameters
from fastnn.estimators.mlp.solver_options import SolverOptionParameters
from fastnn.estimators.mlp.validation import ValidationParameters
from fastnn.networks.schedules import SCHEDULES
from fastnn.networks.solvers import SOLVERS
from fastnn.tables.activations import DEFAULT, LAYER_ACTIVATIONS


@declared
class MLPParameters(
    FirstWeightParameters,
    LayerwiseParameters,
    LearningRateParameters,
    SolverOptionParameters,
    ValidationParameters,
    ReportParameters,
    StateParameters,
):
    """What every multi-layer perceptron can be told."""

    # References are those of the estimators: [3]_ is Adam's, [4]_ dropout's.
    hidden_layer_sizes: int | Iterable[int] = parameter(
        "array-like",
        AT_LEAST_ONE,
        default=(100,),
        kind="array-like of int or int",
        kw_only=False,
        doc="Units of each hidden layer; ``()`` makes a linear model.",
    )
    activation: str | Iterable[str] = parameter(
        StrOptions(set(LAYER_ACTIVATIONS)),
        "array-like",
        default=DEFAULT,
        kind="str or sequence of str",
        kw_only=False,
        doc=f"""
        Activation of the hidden layers, or a sequence of one name for each layer:
        {", ".join(f'``"{name}"``' for name in LAYER_ACTIVATIONS)}.
        ``"softmax"`` is over the units of the layer. ``"hard_limit"`` is for networks whose weights are set
        by hand: ``fit`` refuses it. On a GPU ``fit`` takes one name for all layers, and not ``"softmax"``.
        """,
    )
    solver: str = parameter(
        StrOptions(set(SOLVERS)),
        default="adam",
        kind=one_of(SOLVERS),
        doc="""
        How the loss is minimised: ``"adam"`` [3]_, ``"sgd"`` and five others step after every mini-batch;
        ``"lbfgs"`` is a quasi-Newton method on all samples at once, which suits small data. ``"adamw"``
        (Loshchilov and Hutter, 2019), ``"amsgrad"`` (Reddi, Kale and Kumar, 2018), ``"nadam"`` (Dozat, 2016)
        and ``"rmsprop"`` (Tieleman and Hinton, 2012) are those of PyTorch, with its place of ``epsilon``.
        ``"lion"`` (Chen et al., 2023) follows the sign of its momentum; it wants a third to a tenth of
        Adam's ``learning_rate_init``, and ``beta_2=0.99``. ``"lm"``, Levenberg-Marquardt, is
        for :class:`MLPRegressor` with ``loss="squared_error"`` and small networks: each iteration solves a
        linear least-squares problem in all parameters, in float64 and on the processor. Its ``loss_`` and
        ``loss_curve_`` sum the errors over outputs, and never rise.
        """,
    )
    alpha: float = parameter(
        NOT_NEGATIVE,
        default=0.0001,
        doc="""
        Weight of the L2 penalty ``0.5 * alpha * sum(W**2)``, which is divided by the samples of the batch.
        """,
    )
    batch_size: int | str = parameter(
        StrOptions({"auto"}),
        AT_LEAST_ONE,
        default="auto",
        kind='int or "auto"',
        doc="""Samples of a mini-batch; ``"auto"`` stands for ``min(200, n_samples)``.""",
    )
    learning_rate: str = parameter(
        StrOptions(set(SCHEDULES)),
        default="constant",
        kind=one_of(SCHEDULES),
        doc="""
        Schedule of the learning rate. As in scikit-learn the next two are for ``solver="sgd"``, and any other
        solver keeps its rate: ``"invscaling"``, ``learning_rate_init / (t_ + 1)**power_t``, and
        ``"adaptive"``, which divides by 5 each time that progress stalls as described at ``tol``, until the
        rate is 1e-6. All stochastic solvers follow ``"exponential"``, which multiplies by
        ``learning_rate_decay`` after each epoch, and those that change with each update and end after
        ``max_iter`` epochs, where `t` is the share of all updates that are done: ``"cosine"``,
        ``learning_rate_init * (1 + cos(pi * t)) / 2``; ``"one_cycle"``, PyTorch's ``OneCycleLR`` without its
        momentum, which rises from a 25th to ``learning_rate_init`` in the first 0.3, and falls to 4e-6 of it,
        both along a cosine; ``"coslog4"``, ``learning_rate_init * (1 - cos(2 * pi * log2(1 + 15 * t))) / 2``,
        which rises from 0 and falls to 0 four times. These end there also where training stops earlier, and
        ``partial_fit`` refuses them. Each ``fit`` begins the schedule anew, with ``warm_start`` too.
        """,
    )
    learning_rate_init: float = parameter(
        POSITIVE,
        default=0.001,
        doc="""Learning rate of the stochastic solvers: the first one, or the highest of the schedule.""",
    )
    power_t: float = parameter(
        NOT_NEGATIVE,
        default=0.5,
        doc="""Exponent of ``learning_rate="invscaling"``.""",
    )
    max_iter: int = parameter(
        AT_LEAST_ONE,
        default=200,
        doc="""
        Most epochs (passes over the data) of ``"adam"`` and ``"sgd"``, or iterations of another solver.
        """,
    )
    shuffle: bool = parameter(
        "boolean",
        default=True,
        doc="Visit the samples of each epoch in a new random order.",
    )
    random_state: int | np.random.RandomState | None = parameter(
        "random_state",
        default=None,
        kind="int, RandomState instance or None",
        doc="""
        Source of the first parameters, of the early-stopping split, of the orders of the epochs and of
        dropout.
        """,
    )
    tol: float = parameter(
        NOT_NEGATIVE,
        default=1e-4,
        shown="1e-4",
        doc="""
        An epoch counts as progress where the training loss (with ``early_stopping`` the validation score)
        improves on the best so far by ``tol``. Training stops after more than ``n_iter_no_change`` epochs
        without progress. For solvers that do not go by epochs the largest gradient component of a solution.
        """,
    )
    verbose: int = parameter(
        "verbose",
        default=False,
        kind="bool or int",
        doc="""
        1 prints the loss of each epoch or iteration, and the validation score, as scikit-learn does. 2 prints
        a line of loss, validation, learning rate, pace, and the time that is left if all ``max_iter`` epochs
        are done.
        """,
    )
    warm_start: bool = parameter(
        "boolean",
        default=False,
        doc="Begin ``fit`` with the present weights, wherever they come from, rather than with new ones.",
    )
    momentum: float = parameter(
        Interval(Real, 0, 1, closed="both"),
        default=0.9,
        doc="""Momentum of ``solver="sgd"``, between 0 and 1.""",
    )
    nesterovs_momentum: bool = parameter(
        "boolean",
        default=True,
        doc="Use Nesterov's form of the momentum.",
    )
    early_stopping: bool = parameter(
        "boolean",
        default=False,
        doc="""
        Hold out ``validation_fraction`` of the data (stratified for a single column of classes), or take
        `X_val` where ``fit`` gets it, measure progress by the score on these rows, and keep the parameters of
        the best epoch.
        """,
    )
    validation_fraction: float = parameter(
        BELOW_ONE,
        default=0.1,
        doc="Share of the data held out, at least two samples.",
    )
    beta_1: float = parameter(
        BELOW_ONE,
        default=0.9,
        doc="""
        Decay rates of the first and second moment of ``solver="adam"``, ``"adamw"``, ``"amsgrad"`` and
        ``"nadam"``, in [0, 1); and those of ``"lion"``, of what it steps by and of what it keeps.
        """,
    )
    beta_2: float = parameter(
        BELOW_ONE,
        default=0.999,
    )
    epsilon: float = parameter(
        POSITIVE,
        default=1e-8,
        doc="""Added to the root of the second moment, by the solvers that have one.""",
    )
    n_iter_no_change: float = parameter(
        AT_LEAST_ONE,
        Options(Real, {np.inf}),
        default=10,
        kind="int",
        doc="See ``tol``.",
    )
    max_fun: int = parameter(
        AT_LEAST_ONE,
        default=15000,
        doc="""Most evaluations of the loss by ``solver="lbfgs"``.""",
    )
    n_threads: int | None = parameter(
        AT_LEAST_ONE,
        None,
        default=None,
        kind="int",
        doc="""
        Threads that a call of a method uses at most. None stands for all cores that this process may use: as
        ``NUMBA_NUM_THREADS``, ``numba.set_num_threads``, the processor affinity, the cgroup's quota and
        joblib's limits for its workers allow. The result does not depend on it.
        """,
    )
    device: str | None = parameter(
        str,
        None,
        default=None,
        kind='{"cpu", "cuda", "cuda:0", "cuda:1", ...}',
        doc="""
        Where to compute, on the processor or an NVIDIA GPU. None follows the data of each call: the GPU for
        an array that lies there (CuPy's, PyTorch's, ...; used in place if it is contiguous and float32 or
        float64), else the processor. Arrays of NumPy that a GPU has no room for go there in blocks. What a
        method returns is of the kind of its data, if that is an array of numbers; fitted attributes are
        arrays of NumPy, so a model that was fitted on a GPU can be loaded without one. Sparse data need the
        processor.
        """,
    )
    precision: str | None = parameter(
        StrOptions({"tf32"}),
        None,
        default=None,
        kind='{None, "tf32"}',
        doc="""
        "tf32" lets a GPU of compute capability 8.0 or later multiply float32 on its tensor cores, with
        factors rounded to 11 significant bits.
        """,
    )
    dropout: float = parameter(
        BELOW_ONE,
        default=0.0,
        doc="""
        Probability in [0, 1) with which each unit of a hidden layer is left out of a training step, for each
        sample anew; the others are divided by ``1 - dropout`` [4]_. Predictions and validation scores use all
        units, ``loss_`` and ``loss_curve_`` are those of training. For ``"adam"`` and ``"sgd"`` only. The
        units left out follow from ``random_state`` alone, on every device.
        """,
    )
