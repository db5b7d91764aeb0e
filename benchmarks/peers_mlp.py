"""Epochs of a multi-layer perceptron beside scikit-learn and PyTorch."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from benchmarks.contestants import check_close, limit_threads, normal, optional
from benchmarks.race import FASTNN, Race, Settings, Table, alternate, clock
from fastnn import MLPClassifier
from fastnn.activations import ACTIVATIONS, CODES
from fastnn.initializers import initialize


class Net(NamedTuple):
    """One network and its data."""

    n: int
    n_in: int
    hidden: tuple[int, ...]
    n_classes: int
    batch: int
    activation: str
    asked: float  # of the ratio to scikit-learn

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer: two classes have one output."""
        return (self.n_in, *self.hidden, self.n_classes if self.n_classes > 2 else 1)

    def flops(self, n: int) -> float:
        """FLOPs of an epoch's products: forward, dW, and dX of all layers but the first."""
        products = [a * b for a, b in zip(self.sizes, self.sizes[1:])]
        return 2.0 * n * (3 * sum(products) - products[0])


NETWORKS = (
    Net(1797, 64, (100,), 10, 200, "tanh", 2.0),
    Net(50_000, 50, (100,), 2, 200, "relu", 2.0),
    Net(60_000, 784, (256, 128), 10, 256, "relu", 1.2),
    Net(20_000, 784, (512, 512), 10, 1024, "relu", 1.2),
)
# Seconds that the timed epochs should take at least.
LEAST_SECONDS = 0.3
ALPHA = 1e-4  # the default of both estimators


def make_data(n: int, n_in: int, n_classes: int, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Random normal inputs, and classes that a linear teacher gives to them."""
    rng = np.random.default_rng(0)
    X = normal(rng, (n, n_in), dtype)
    y = (X @ normal(rng, (n_in, n_classes), dtype)).argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)  # every class occurs
    return X, y


def make_model(kind: Any, net: Net, epochs: int) -> Any:
    """An estimator that runs exactly `epochs` epochs."""
    return kind(
        net.hidden,
        net.activation,
        alpha=ALPHA,
        batch_size=net.batch,
        max_iter=epochs,
        n_iter_no_change=np.inf,
        tol=0.0,
        random_state=0,
    )


class TorchLoop:
    """The training loop as one writes it in PyTorch: eager, indexed batches, fused Adam."""

    def __init__(self, torch: Any, net: Net, X: np.ndarray, y: np.ndarray) -> None:
        self.torch, self.net = torch, net
        nn = torch.nn
        layers: list[Any] = []
        for a, b in zip(net.sizes, net.sizes[1:]):
            layers += [nn.Linear(a, b), {"relu": nn.ReLU, "tanh": nn.Tanh}[net.activation]()]
        self.model = nn.Sequential(*layers[:-1])
        binary = net.sizes[-1] == 1
        self.loss = nn.functional.binary_cross_entropy_with_logits if binary else nn.functional.cross_entropy
        self.X = torch.from_numpy(X)
        self.y = torch.from_numpy(y.astype("float32")[:, None] if binary else y)
        # Weight decay in Adam is an L2 term of the gradient, as scikit-learn's alpha over the batch size.
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=1e-3, weight_decay=ALPHA / net.batch, fused=True
        )

    def load(self, coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray]) -> None:
        """Take the given parameters."""
        linear = [layer for layer in self.model if hasattr(layer, "weight")]
        with self.torch.no_grad():
            for layer, W, b in zip(linear, coefs, intercepts, strict=True):
                layer.weight.copy_(self.torch.from_numpy(np.ascontiguousarray(W.T)))
                layer.bias.copy_(self.torch.from_numpy(b))

    def epoch(self) -> float:
        """One epoch; its mean loss."""
        n, batch = len(self.X), self.net.batch
        order = self.torch.randperm(n)
        total = self.torch.zeros(())
        for start in range(0, n, batch):
            rows = order[start : start + batch]
            loss = self.loss(self.model(self.X[rows]), self.y[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(rows)
        return float(total) / n


def _fit_sampler(kind: Any, net: Net, X: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """Seconds of an epoch: a fit of several epochs less a fit of one, over the difference."""

    def fit(epochs: int) -> float:
        return clock(lambda: make_model(kind, net, epochs).fit(X, y))

    fit(1)
    epochs = max(1, math.ceil(LEAST_SECONDS / max(fit(2) - fit(1), 1e-4)))
    return lambda: (fit(1 + epochs) - fit(1)) / epochs


def _torch_sampler(torch: Any, net: Net, X: np.ndarray, y: np.ndarray, want: float) -> Callable[[], float]:
    torch.manual_seed(0)
    loop = TorchLoop(torch, net, X, y)
    factor = ACTIVATIONS[CODES[net.activation]].glorot_factor
    loop.load(*initialize(np.random.RandomState(0), net.sizes, factor=factor, dtype=np.float32))
    # The same initial weights, but batches drawn differently.
    check_close("torch", loop.epoch(), want, 0.1)
    epochs = max(1, math.ceil(LEAST_SECONDS / clock(loop.epoch)))
    return lambda: clock(lambda: [loop.epoch() for _ in range(epochs)]) / epochs


def _epochs(net: Net, settings: Settings) -> Race:
    n = settings.rows(net.n)
    X, y = make_data(n, net.n_in, net.n_classes)
    torch = optional("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no fit here is meant to converge
        kinds = {FASTNN: MLPClassifier, "sklearn": SklearnMLPClassifier}
        losses = {who: make_model(kind, net, 1).fit(X, y).loss_ for who, kind in kinds.items()}
        check_close("sklearn", losses["sklearn"], losses[FASTNN], 1e-3)
        samplers = {who: _fit_sampler(kind, net, X, y) for who, kind in kinds.items()}
        if torch is not None:
            samplers["torch"] = _torch_sampler(torch, net, X, y, losses[FASTNN])
        seconds, ratios = alternate(samplers, 4 * settings.budget)
    layers = "-".join(map(str, net.sizes))
    case = f"{n} rows, {layers}, batch {net.batch}, {net.activation}"
    return Race(case, seconds, ratios, {"sklearn": net.asked}, net.flops(n))


def mlp(settings: Settings) -> list[Table]:
    """The table of training epochs."""
    optional("torch")
    limit_threads(settings.threads)
    text = (
        "Time of one epoch of `MLPClassifier` with Adam on float32 data: a fit of several epochs less a fit "
        "of one. scikit-learn's has the same parameters and gives the same loss; PyTorch runs the same "
        "network in eager mode with fused Adam, `X[indices]` for a batch. The share of the FMA peak counts "
        "the matrix products."
    )
    return [Table("MLP epochs", text, [_epochs(net, settings) for net in NETWORKS])]
