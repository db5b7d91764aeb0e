"""Training while Adam's moments are subnormal numbers, beside the same epoch with ordinary ones."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from benchmarks.contestants import limit_threads, optional
from benchmarks.networks.peers_mlp import Net, TorchLoop, make_data
from benchmarks.race import FASTNN, Figure, Settings, Table, alternate, clock
from fastnn import MLPClassifier

# A wide first layer and small batches, so that the update is a large part of an epoch; and as few steps as
# leave moments of 1e-40 subnormal: 1e-40 * 0.9**32 is 3e-42, float32's least number 1e-45.
NET = Net(1024, 1024, (512,), 10, 32, "relu", 0.0)
SUBNORMAL, NORMAL = 1e-40, 1e-3


def _set_fastnn(model: Any, value: float) -> None:
    model._optimizer.state[...] = value


def _set_sklearn(model: Any, value: float) -> None:
    for moments in (*model._optimizer.ms, *model._optimizer.vs):
        moments[...] = value


def _estimator(kind: Any, set_state: Any, X: np.ndarray, y: np.ndarray) -> Callable[[float], float]:
    # Without a penalty the weights of inputs that are always zero have a gradient of zero, and moments that
    # decay: what happens to a unit that has died.
    model = kind(NET.hidden, NET.activation, alpha=0.0, batch_size=NET.batch, random_state=0)
    model.partial_fit(X, y, classes=np.unique(y))

    def epoch(value: float) -> float:
        set_state(model, value)
        return clock(lambda: model.partial_fit(X, y))

    return epoch


def _torch(torch: Any, X: np.ndarray, y: np.ndarray) -> Callable[[float], float]:
    loop = TorchLoop(torch, NET, X, y)
    for group in loop.optimizer.param_groups:
        group["weight_decay"] = 0.0
    loop.epoch()

    def epoch(value: float) -> float:
        for state in loop.optimizer.state.values():
            state["exp_avg"].fill_(value)
            state["exp_avg_sq"].fill_(value)
        return clock(loop.epoch)

    return epoch


def subnormal(settings: Settings) -> list[Table]:
    """The table of subnormal numbers."""
    torch = optional("torch")
    limit_threads(settings.threads)
    X, y = make_data(settings.rows(NET.n), NET.n_in, NET.n_classes)
    X[:, : NET.n_in * 3 // 4] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        epochs = {
            FASTNN: _estimator(MLPClassifier, _set_fastnn, X, y),
            "sklearn": _estimator(SklearnMLPClassifier, _set_sklearn, X, y),
        }
        if torch is not None:
            epochs["torch"] = _torch(torch, X, y)
        rows = []
        for who, epoch in epochs.items():
            samplers = {
                "normal": lambda epoch=epoch: epoch(NORMAL),
                "subnormal": lambda epoch=epoch: epoch(SUBNORMAL),
            }
            _, ratios = alternate(samplers, settings.budget)
            rows.append(Figure(who, ratios["subnormal"], "x", 1.0 if who == FASTNN else None))
    text = (
        "Time of a training epoch in which the Adam moments of three quarters of the inputs' weights are "
        f"subnormal ({SUBNORMAL:g} in float32), over the time with moments of {NORMAL:g}. "
        f"{NET.n_in}-{NET.hidden[0]}-{NET.n_classes}, batch {NET.batch}."
    )
    return [Table("Subnormal numbers", text, rows)]
