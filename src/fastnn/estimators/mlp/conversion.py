"""Networks as scikit-learn's estimators, and the other way round."""

from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from fastnn.estimators.counterparts import check_counterpart, class_there, copy_attributes, shared_parameters
from fastnn.estimators.mlp.heads import OF_A_CLASSIFIER
from fastnn.estimators.mlp.many import refuse_many
from fastnn.networks.layout import Layout, layout_of
from fastnn.networks.schedules import SCHEDULES, Constant
from fastnn.networks.solvers import STOCHASTIC_SOLVERS
from fastnn.tables.activations import DEFAULT, LOGISTIC, NAMES, user_name
from fastnn.tables.optimizers import CODES as RULE_CODES
from fastnn.tables.optimizers import RULES, Optimizer

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP

# Attributes that say the same in both packages.
_SHARED = (
    "n_features_in_",
    "feature_names_in_",
    "classes_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "n_iter_",
    "t_",
    "loss_",
    "best_loss_",
    "loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "_no_improvement_count",
)
# Update rules of gradient descent with momentum, and whether they are in Nesterov's form.
_OF_SGD = {"momentum": False, "nesterov": True}


class MLPConversion:
    """What makes scikit-learn's estimator of a network, and a network of scikit-learn's."""

    # Full name of scikit-learn's class.
    _counterpart: ClassVar[str]

    def to_sklearn(self):
        """Make scikit-learn's fitted estimator of the same network.

        It predicts the same, to rounding, and ``partial_fit`` goes on from the same state of the optimiser.
        What acts in training alone and is unknown there (``dropout``, ``use_bias``, ``class_weight``, a
        solver or a schedule) is left at scikit-learn's defaults.

        Returns
        -------
        estimator : sklearn.neural_network.MLPClassifier or sklearn.neural_network.MLPRegressor
            It shares no arrays with this one.

        Raises
        ------
        NotFittedError
            There are no weights yet.
        ValueError
            scikit-learn has no such network: for the activations of the hidden layers, the loss, or the
            activation of the outputs. Or ``n_init`` or ``ensemble`` ask for many.
        """
        model = cast("BaseMLP", self)
        refuse_many(model, "to_sklearn")
        check_is_fitted(model, "coefs_")
        kind = class_there(type(self))
        activation = _activation_there(model, kind)
        _check_head(model, kind)
        twin = kind(**shared_parameters(model, kind) | {"activation": activation})
        copy_attributes(_SHARED, model, twin)
        twin.out_activation_ = user_name(model.out_activation_)
        coefs, intercepts = model._checked_parameters()
        twin.coefs_, twin.intercepts_ = [W.copy() for W in coefs], [b.copy() for b in intercepts]
        if is_classifier(model):
            twin._label_binarizer = _binarizer(model, sparse_output=False)
        if twin.solver in STOCHASTIC_SOLVERS:
            _begin_progress(twin)
            optimizer = _optimizer_there(model, twin)
            if optimizer is not None:
                twin._optimizer = optimizer
        return twin

    @classmethod
    def from_sklearn(cls, estimator):
        """Make a fitted estimator of scikit-learn's.

        It predicts the same, to rounding, and goes on: ``partial_fit`` from the state of the optimiser,
        ``fit`` with ``warm_start=True`` from the weights.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPClassifier or sklearn.neural_network.MLPRegressor
            Fitted; its parameters are those of the model.

        Returns
        -------
        model : object
            It shares no arrays with `estimator`.

        Raises
        ------
        TypeError
            It is not an estimator of scikit-learn's of the same name.
        NotFittedError
            It is not fitted.
        ValueError
            Its weights make no network, or its ``out_activation_`` is unknown.
        """
        check_counterpart(estimator, class_there(cls), "coefs_")
        if estimator.out_activation_ not in NAMES:
            raise ValueError(
                f"out_activation_ must be one of {list(NAMES)}, got {estimator.out_activation_!r}."
            )
        model = cast(Any, cls)(**shared_parameters(estimator, cls))
        copy_attributes(_SHARED, estimator, model)
        copy_attributes(("coefs_", "intercepts_"), estimator, model)
        coefs, intercepts = model._checked_parameters()
        layout = layout_of((model.n_features_in_, *(b.size for b in intercepts)))
        flat = layout.flat([*coefs, *intercepts], coefs[0].dtype)
        model._keep(layout.weights(flat), layout.biases(flat), estimator.out_activation_)
        if is_classifier(model):
            model._label_binarizer = _binarizer(estimator, sparse_output=True)
        going_on = _optimizer_here(estimator, layout, flat.dtype)
        if going_on is not None:
            model._optimizer, model._schedule = going_on
        return model


class AutoencoderConversion:
    """Says why there is no such conversion of an autoencoder."""

    def to_sklearn(self) -> NoReturn:
        """Refuse to: scikit-learn has no autoencoder.

        Returns
        -------
        estimator : NoReturn
            There is none.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "scikit-learn has no autoencoder: an MLPRegressor of these weights would give reconstructions, "
            "and no codes."
        )


def _options(kind: Any, parameter: str) -> set[str]:
    """Names that a parameter of scikit-learn's may have."""
    return set(kind._parameter_constraints[parameter][0].options)


def _activation_there(model: "BaseMLP", kind: Any) -> str:
    """The activation of all hidden layers, by scikit-learn's name.

    Raises
    ------
    ValueError
        They have several, or one that scikit-learn does not have.
    """
    known = _options(kind, "activation")
    names = set(model._activation_names(model.n_layers_ - 2))
    if len(names) > 1:
        raise ValueError(
            f"scikit-learn has no such network: its hidden layers have one activation, and these have "
            f"{model.activation!r}."
        )
    if not names <= known:
        raise ValueError(
            f"scikit-learn has no such network: its hidden layers have one of the activations "
            f"{sorted(known)}, and these have {names.pop()!r}."
        )
    if names:
        return names.pop()
    return model.activation if isinstance(model.activation, str) and model.activation in known else DEFAULT


def _check_head(model: "BaseMLP", kind: Any) -> None:
    """Make sure that scikit-learn has the loss and the outputs of a network.

    Raises
    ------
    ValueError
        It does not.
    """
    from sklearn.neural_network._base import ACTIVATIONS as KNOWN

    parameters = cast(Any, model)
    has_losses = "loss" in kind._parameter_constraints
    losses = _options(kind, "loss") if has_losses else {next(iter(OF_A_CLASSIFIER))}
    if parameters.loss not in losses:
        raise ValueError(
            f"scikit-learn has no such network: the losses of its {kind.__name__} are {sorted(losses)}, and "
            f"this has loss={parameters.loss!r}."
        )
    draft = cast(Any, model._draft())
    draft.out_activation = "auto"
    usual = draft._head().output_activation
    if parameters.out_activation not in ("auto", usual):
        raise ValueError(
            f"scikit-learn has no such network: with loss={parameters.loss!r} its outputs are {usual!r}, and "
            f"this has out_activation={parameters.out_activation!r}."
        )
    replaced = user_name(model.out_activation_)
    one_of_several = is_classifier(model) and parameters._one_of_several
    if replaced not in KNOWN or (replaced == LOGISTIC.name and one_of_several):
        raise ValueError(f"scikit-learn has no such network: out_activation_ is {replaced!r}.")


def _binarizer(estimator: Any, *, sparse_output: bool) -> Any:
    """A copy of what makes codes of class labels, whose results are sparse or not."""
    binarizer = deepcopy(estimator._label_binarizer)
    binarizer.sparse_output = sparse_output
    return binarizer


def _begin_progress(twin: Any) -> None:
    """Give scikit-learn's estimator what its stochastic solvers go on from, where no such solver has run."""
    scored = twin.early_stopping
    begun = {
        "loss_curve_": [],
        "_no_improvement_count": 0,
        "best_loss_": None if scored else np.inf,
        "validation_scores_": [] if scored else None,
        "best_validation_score_": -np.inf if scored else None,
    }
    for name, value in begun.items():
        if not hasattr(twin, name):
            setattr(twin, name, value)


def _optimizer_there(model: "BaseMLP", twin: Any) -> Any:
    """scikit-learn's optimiser in the state of this one; None where it has no such rule, or no state."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    ours: Optimizer | None = getattr(model, "_optimizer", None)
    layout = layout_of((model.n_features_in_, *(b.size for b in twin.intercepts_)))
    if ours is None or ours.state.shape[1] != layout.n_parameters:
        return None
    schedule = {kind: name for name, kind in SCHEDULES.items()}.get(type(model._schedule))
    hyper = dict(zip(RULES[ours.code].hyper, ours.hyper.tolist(), strict=False))
    slots = [[a.copy() for a in (*layout.weights(s), *layout.biases(s))] for s in ours.state]
    parameters = [*twin.coefs_, *twin.intercepts_]
    if twin.solver == ours.name == "adam":
        betas = hyper["beta_1"], hyper["beta_2"]
        theirs = AdamOptimizer(parameters, ours.learning_rate, *betas, hyper["epsilon"])
        theirs.t, (theirs.ms, theirs.vs) = ours.t, slots
        return theirs
    if twin.solver != "sgd" or ours.name not in _OF_SGD or schedule not in _options(twin, "learning_rate"):
        return None
    start, power = model._schedule.learning_rate_init, model._schedule.power_t
    theirs = SGDOptimizer(parameters, start, schedule, hyper["momentum"], _OF_SGD[ours.name], power)
    theirs.learning_rate, (theirs.velocities,) = ours.learning_rate, slots
    return theirs


def _optimizer_here(estimator: Any, layout: Layout, dtype: np.dtype) -> tuple[Optimizer, Constant] | None:
    """An optimiser in the state of scikit-learn's, and its schedule; None where that has no state."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    theirs = getattr(estimator, "_optimizer", None)
    if isinstance(theirs, AdamOptimizer):
        name, rate, slots = "adam", theirs.learning_rate_init, [theirs.ms, theirs.vs]
        schedule, power = "constant", estimator.power_t
    elif isinstance(theirs, SGDOptimizer):
        name = {form: rule for rule, form in _OF_SGD.items()}[bool(theirs.nesterov)]
        rate, slots = theirs.learning_rate, [theirs.velocities]
        schedule, power = theirs.lr_schedule, theirs.power_t
    else:
        return None
    hyper = {key: getattr(theirs, key) for key in RULES[RULE_CODES[name]].hyper}
    optimizer = Optimizer(name, hyper, learning_rate=rate, n_parameters=layout.n_parameters, dtype=dtype)
    for row, arrays in zip(optimizer.state, slots, strict=True):
        row[:] = layout.flat(list(arrays), dtype)
    optimizer.t = getattr(theirs, "t", 0)
    return optimizer, SCHEDULES[schedule](theirs.learning_rate_init, power)
