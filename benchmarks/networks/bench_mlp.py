"""asv: the multi-layer perceptrons."""

from typing import Any, ClassVar

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.neural_network._base import ACTIVATIONS as SKLEARN_ACTIVATIONS

from benchmarks.common import Benchmark, Estimator, Kernel, Predictor
from benchmarks.contestants import normal
from benchmarks.networks.peers_mlp import NETWORKS, Net, fitted_pair, make_data, make_model
from fastnn import MLPClassifier, MLPRegressor
from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.networks.rows import HostRows
from fastnn.networks.solvers import SOLVERS, STOCHASTIC_SOLVERS
from fastnn.tables.activations import DEFAULT, HIDDEN
from fastnn.tables.losses import LOSSES
from fastnn.tables.optimizers import RULES, Optimizer

EPOCHS = 10


class ClassifierActivations(Estimator):
    """The digits, with every activation."""

    param_names: ClassVar = ["activation", "solver", "dtype"]
    params: ClassVar = (list(HIDDEN), list(STOCHASTIC_SOLVERS)[:1], ["float32"])
    smoke = (DEFAULT, STOCHASTIC_SOLVERS[0], "float32")

    def make_data(self, activation: str, solver: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """Pixels in 0..1."""
        X, y = load_digits(return_X_y=True)
        return (X / 16).astype(dtype), y

    def make_estimator(self, activation: str, solver: str, dtype: str) -> MLPClassifier:
        """One hidden layer, ten epochs."""
        return MLPClassifier((100,), activation, solver=solver, max_iter=EPOCHS, random_state=0)

    def make_peer(self, activation: str, solver: str, dtype: str) -> Any:
        """scikit-learn has some of the activations."""
        if activation not in SKLEARN_ACTIVATIONS:
            return None
        return SklearnMLPClassifier((100,), activation, solver=solver, max_iter=EPOCHS, random_state=0)


class ClassifierSolvers(ClassifierActivations, Predictor):
    """The digits, with every solver that they are for."""

    params: ClassVar = ([DEFAULT], [name for name in SOLVERS if SOLVERS[name].classifies], ["float32"])
    smoke = (DEFAULT, next(iter(SOLVERS)), "float32")


class RegressorWide(Predictor):
    """A regression with one hidden layer."""

    param_names: ClassVar = ["shape", "dtype"]
    params: ClassVar = ([(10_000, 50)], ["float64"])
    smoke = ((300, 5), "float32")

    def make_data(self, shape: tuple[int, int], dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """A smooth function of normal inputs."""
        X = normal(np.random.default_rng(0), shape, dtype)
        return X, np.sin(X[:, 0]) + X[:, 1]

    def make_estimator(self, shape: tuple[int, int], dtype: str) -> MLPRegressor:
        """The defaults."""
        return MLPRegressor(max_iter=EPOCHS, random_state=0)

    def make_peer(self, shape: tuple[int, int], dtype: str) -> SklearnMLPRegressor:
        """The defaults."""
        return SklearnMLPRegressor(max_iter=EPOCHS, random_state=0)


class ClassifierNetworks(Estimator):
    """Two epochs of the networks that ``peers.py`` compares; the large ones with fewer rows."""

    param_names: ClassVar = ["net"]
    params: ClassVar = (
        [
            *(net._replace(n=min(net.n, 10_000)) for net in NETWORKS),
            NETWORKS[0]._replace(batch=NETWORKS[0].n),  # full batches
        ],
    )
    smoke = (Net(200, 12, (8,), 3, 50, DEFAULT),)

    def make_data(self, net: Net) -> tuple[np.ndarray, np.ndarray]:
        """Normal inputs, classes of a linear teacher."""
        return make_data(net.n, net.n_in, net.n_classes, net.dtype)

    def make_estimator(self, net: Net) -> Any:
        """Exactly two epochs."""
        return make_model(MLPClassifier, net, 2)

    def make_peer(self, net: Net) -> Any:
        """The same."""
        return make_model(SklearnMLPClassifier, net, 2)


class Predictions(Kernel):
    """Whole calls for one row and for many, with the networks of ``peers.py``."""

    param_names: ClassVar = ["method", "n", "net"]
    params: ClassVar = (["predict", "predict_proba"], [1, 100_000], [NETWORKS[1], NETWORKS[3]])
    smoke = ("predict", 3, Net(200, 12, (8,), 3, 50, DEFAULT))

    def prepare(self, method: str, n: int, net: Net) -> None:
        """Estimators with the same weights."""
        ours, theirs, X = fitted_pair(net, n)
        self.call, self.peer = (lambda model=model: getattr(model, method)(X) for model in (ours, theirs))

    def run(self) -> np.ndarray:
        """Predict."""
        return self.call()

    def check(self) -> None:
        """As scikit-learn's, but for rows whose two best classes are as good as equal."""
        assert (np.abs(self.run() - self.peer()) > 1e-3).mean() < 1e-3

    def peakmem_run(self, method: str, n: int, net: Net) -> None:
        """Bytes of the process."""
        self.run()


class Epoch(Benchmark):
    """The engine alone: an epoch with every update rule, on every loss."""

    param_names: ClassVar = ["rule", "loss", "dtype"]
    params: ClassVar = (
        [rule.name for rule in RULES],
        [loss.name for loss in LOSSES],
        ["float32"],
    )
    smoke = (RULES[0].name, LOSSES[0].name, "float32")
    n_rows, sizes = 2000, (64, 100, 3)

    def setup(self, rule: str, loss: str, dtype: str) -> None:
        """A network of small weights; two epochs, of which the second must have the lower loss."""
        rng = np.random.default_rng(0)
        self.network = Network(self.sizes, hidden_activation=DEFAULT, loss=loss, dtype=dtype, backend=HOST)
        self.network.parameters[...] = 0.05 * normal(rng, self.network.parameters.size, dtype)
        self.X = normal(rng, (self.n_rows, self.sizes[0]), dtype)
        # One class for each row is a valid target of every loss.
        self.Y = np.eye(self.sizes[-1], dtype=dtype)[(self.X[:, : self.sizes[-1]]).argmax(axis=1)]
        # Every hyperparameter so far but epsilon is a factor of decay.
        hyper = {"epsilon": 1e-8, "beta_2": 0.999}
        names = next(r.hyper for r in RULES if r.name == rule)
        self.optimizer = Optimizer(
            rule,
            {name: hyper.get(name, 0.9) for name in names},
            learning_rate=1e-3,
            n_parameters=self.network.parameters.size,
            dtype=dtype,
        )
        self.bound = self.network.bind(HostRows(self.X), self.Y, optimizer=self.optimizer)
        first, second = self.epoch(), self.epoch()
        assert second < first, (first, second)

    def epoch(self) -> float:
        """One pass over the rows; its loss."""
        return self.bound.run_epoch(None, 200)

    def time_epoch(self, rule: str, loss: str, dtype: str) -> None:
        """Seconds."""
        self.epoch()

    def track_loss_score(self, rule: str, loss: str, dtype: str) -> float:
        """Loss of the third epoch."""
        return self.epoch()
