"""Epochs of a multi-layer perceptron beside scikit-learn and PyTorch."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from benchmarks.contestants import check_close, limit_threads, normal, optional
from benchmarks.race import FASTNN, Race, Settings, Table, alternate, burst, clock, race
from fastnn import MLPClassifier
from fastnn.tables.activations import ACTIVATIONS, CODES
from fastnn.tables.initializers import initialize


class Net(NamedTuple):
    """One network and its data."""

    n: int
    n_in: int
    hidden: tuple[int, ...]
    n_classes: int
    batch: int
    activation: str
    asked: float = 0.0  # ratio to scikit-learn
    asked_torch: float = 0.0  # ratio to the faster of PyTorch's two
    asked_share: float = 0.0  # of the FMA peak
    dtype: str = "float32"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer: two classes have one output."""
        return (self.n_in, *self.hidden, self.n_classes if self.n_classes > 2 else 1)

    @property
    def layers(self) -> str:
        """Units of each layer, as text."""
        return "-".join(map(str, self.sizes))

    def label(self, n: int) -> str:
        """The row's name in the tables, for `n` rows."""
        return f"{n} rows, {self.layers}, batch {self.batch}, {self.activation}, {self.dtype}"

    def flops(self, n: int) -> float:
        """FLOPs of an epoch's products: forward, dW, and dX of all layers but the first."""
        products = [a * b for a, b in zip(self.sizes, self.sizes[1:])]
        return 2.0 * n * (3 * sum(products) - products[0])


_SMALL = (1797, 64, (100,), 10, 200)
_BINARY = (50_000, 50, (100,), 2, 200)
_MIDDLE = (60_000, 784, (256, 128), 10, 256)
_LARGE = (20_000, 784, (512, 512), 10, 1024)
NETWORKS = (
    Net(*_SMALL, "tanh", 6.0, 7.0, 0.5),
    Net(*_SMALL, "relu", 6.0, 7.0, 0.5),
    Net(*_BINARY, "relu", 10.0, 10.0, 0.5),
    Net(*_MIDDLE, "relu", 2.1, 1.4, 0.82),
    Net(*_LARGE, "relu", 1.5, 1.05, 0.9),
    Net(*_LARGE, "tanh", 1.5, 1.05, 0.9),
    Net(*_SMALL, "tanh", 2.0, 0.0, 0.5, "float64"),
    Net(*_BINARY, "relu", 2.0, 0.0, 0.5, "float64"),
    Net(*_MIDDLE, "relu", 1.3, 0.0, 0.82, "float64"),
    Net(*_LARGE, "relu", 1.3, 0.0, 0.9, "float64"),
    # Neighbours of these shapes: odd widths, another batch, more layers. Nothing is tuned for them.
    Net(20_000, 300, (333, 111, 77, 55), 7, 173, "relu"),
    Net(20_000, 129, (65,), 3, 173, "logistic"),
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

    def __init__(self, torch: Any, net: Net, X: np.ndarray, y: np.ndarray, *, compiled: bool = False) -> None:
        self.torch, self.net = torch, net
        nn = torch.nn
        layers: list[Any] = []
        for a, b in zip(net.sizes, net.sizes[1:]):
            kind = {"relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid}[net.activation]
            layers += [nn.Linear(a, b, dtype=getattr(torch, net.dtype)), kind()]
        self.model = nn.Sequential(*layers[:-1])
        if compiled:
            torch._dynamo.reset()  # or it gives up after some networks, and runs the others eagerly
        self.forward = torch.compile(self.model) if compiled else self.model
        binary = net.sizes[-1] == 1
        self.loss = nn.functional.binary_cross_entropy_with_logits if binary else nn.functional.cross_entropy
        self.X = torch.from_numpy(X)
        self.y = torch.from_numpy(y.astype(net.dtype)[:, None] if binary else y)
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
            loss = self.loss(self.forward(self.X[rows]), self.y[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(rows)
        return float(total) / n


def epoch_sampler(kind: Any, net: Net, X: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """Seconds of an epoch: a fit of several epochs less a fit of one, over the difference."""

    def fit(epochs: int) -> float:
        return clock(lambda: make_model(kind, net, epochs).fit(X, y))

    fit(1)
    epochs = max(1, math.ceil(LEAST_SECONDS / max(fit(2) - fit(1), 1e-4)))
    return lambda: (fit(1 + epochs) - fit(1)) / epochs


def _torch_sampler(
    torch: Any, net: Net, X: np.ndarray, y: np.ndarray, want: float, *, compiled: bool = False
) -> Callable[[], float]:
    torch.manual_seed(0)
    loop = TorchLoop(torch, net, X, y, compiled=compiled)
    factor = ACTIVATIONS[CODES[net.activation]].glorot_factor
    loop.load(*initialize(np.random.RandomState(0), net.sizes, factor=factor, dtype=net.dtype))
    # The same initial weights, but batches drawn differently.
    check_close("torch", loop.epoch(), want, 0.1)
    epochs = max(1, math.ceil(LEAST_SECONDS / clock(loop.epoch)))
    return lambda: clock(lambda: [loop.epoch() for _ in range(epochs)]) / epochs


def _epochs(net: Net, settings: Settings) -> Race:
    n = settings.rows(net.n)
    X, y = make_data(n, net.n_in, net.n_classes, net.dtype)
    torch = optional("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no fit here is meant to converge
        kinds = {FASTNN: MLPClassifier, "sklearn": SklearnMLPClassifier}
        losses = {who: make_model(kind, net, 1).fit(X, y).loss_ for who, kind in kinds.items()}
        check_close("sklearn", losses["sklearn"], losses[FASTNN], 1e-3)
        samplers = {who: epoch_sampler(kind, net, X, y) for who, kind in kinds.items()}
        if torch is not None:
            for who, compiled in (("torch", False), ("torch.compile", True)):
                if not (compiled and settings.quick):  # it compiles C++ for half a minute
                    samplers[who] = _torch_sampler(torch, net, X, y, losses[FASTNN], compiled=compiled)
        seconds, ratios = alternate(samplers, 4 * settings.budget)
    asked = {"sklearn": net.asked} if net.asked else {}
    if net.asked_torch:
        asked |= dict.fromkeys(("torch", "torch.compile"), net.asked_torch)
    return Race(
        net.label(n),
        seconds,
        ratios,
        asked,
        net.flops(n),
        net.dtype,
        asked_share=net.asked_share,
    )


def fitted_pair(net: Net, n: int) -> tuple[Any, Any, np.ndarray]:
    """fastnn's and scikit-learn's estimator with the same weights, and `n` rows."""
    X, y = make_data(max(n, net.batch), net.n_in, net.n_classes, net.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (
            make_model(kind, net, 1).fit(X[: net.batch], y[: net.batch])
            for kind in (MLPClassifier, SklearnMLPClassifier)
        )
    theirs.coefs_, theirs.intercepts_ = ours.coefs_, ours.intercepts_
    return ours, theirs, X[:n]


def _predictions(settings: Settings) -> Race:
    n, net = settings.rows(100_000), Net(*_MIDDLE, "relu", 1.1)
    ours, theirs, X = fitted_pair(net, n)
    check_close("sklearn", theirs.predict_proba(X), ours.predict_proba(X), 1e-3, 1e-5)
    calls = {FASTNN: lambda: ours.predict_proba(X), "sklearn": lambda: theirs.predict_proba(X)}
    asked = {"sklearn": 1.1, "torch": 1.1}
    torch = optional("torch")
    if torch is not None:
        loop = TorchLoop(torch, net, X, np.zeros(n, np.int64))
        loop.load(ours.coefs_, ours.intercepts_)

        def infer() -> Any:
            with torch.inference_mode():
                return torch.softmax(loop.model(loop.X), dim=1)

        check_close("torch", infer().numpy(), ours.predict_proba(X), 1e-3, 1e-5)
        calls["torch"] = infer
    flops = 2.0 * n * sum(a * b for a, b in zip(net.sizes, net.sizes[1:]))
    case = f"predict_proba of {n} rows, {net.layers}"
    race_ = race(case, calls, settings, asked=asked, flops=flops)
    race_.asked_share = 0.85
    return race_


def _latency(settings: Settings) -> Race:
    net = Net(*_SMALL, "relu", 1.2)
    ours, theirs, X = fitted_pair(net, 1)
    check_close("sklearn", theirs.predict_proba(X), ours.predict_proba(X), 1e-3, 1e-5)
    calls = {FASTNN: lambda: ours.predict(X), "sklearn": lambda: theirs.predict(X)}
    return race(f"predict of 1 row, {net.layers}", calls, settings, asked={"sklearn": 1.2})


def _lbfgs(settings: Settings, what: str) -> Race:
    """Time of an iteration of L-BFGS, or of an epoch whose only batch is all rows."""
    net = Net(*_SMALL, "tanh", 3.0)
    n = settings.rows(net.n)
    X, y = make_data(n, net.n_in, net.n_classes)
    net = net._replace(batch=n)
    whole = {"solver": "lbfgs", "max_fun": 10**9} if what == "lbfgs" else {}
    ended: dict[Any, float] = {}

    def sampler(kind: Any) -> Callable[[], float]:
        def fit(epochs: int) -> tuple[float, int]:
            model = make_model(kind, net, epochs).set_params(**whole)
            seconds = clock(lambda: model.fit(X, y))
            losses.append(model.loss_)
            return seconds, model.n_iter_

        def sample() -> float:
            (long, many), (short, few) = fit(101), fit(1)
            return (long - short) / (many - few)

        losses: list[float] = []
        fit(3)  # compiles; a few iterations, that rounding cannot lead astray
        ended[kind] = losses[0]
        return sample

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samplers = {FASTNN: sampler(MLPClassifier), "sklearn": sampler(SklearnMLPClassifier)}
        check_close("sklearn", ended[SklearnMLPClassifier], ended[MLPClassifier], 1e-3, 1e-5)
        seconds, ratios = alternate(samplers, settings.budget)
    return Race(f"{what}, {n} rows, {net.layers}", seconds, ratios, {"sklearn": net.asked})


def mlp(settings: Settings) -> list[Table]:
    """The tables of training epochs and of predictions."""
    optional("torch")
    limit_threads(settings.threads)
    epochs = (
        "Time of one epoch of `MLPClassifier` with Adam: a fit of several epochs less a fit "
        "of one. scikit-learn's has the same parameters and gives the same loss; PyTorch runs the same "
        "network in eager mode or through `torch.compile`, with fused Adam, `X[indices]` for a batch. The "
        "share of the FMA peak counts the matrix products."
    )
    rest = (
        'Whole calls on float32 data, and the time of one iteration of `solver="lbfgs"` or one epoch of Adam '
        "whose only batch is all rows."
    )
    return [
        Table("MLP epochs", epochs, [_epochs(net, settings) for net in NETWORKS]),
        Table(
            "MLP predictions and full batches",
            rest,
            [
                _predictions(settings),
                _latency(settings),
                _lbfgs(settings, "lbfgs"),
                _lbfgs(settings, "full-batch epoch"),
            ],
        ),
    ]


def _shares(settings: Settings, title: str, text: str, least: Callable[[Net], float]) -> list[Table]:
    """Epochs of fastnn alone, on one thread, beside a product of matrices on one thread."""
    limit_threads(1)
    rows: list[Race] = []
    side = 2000 if settings.scale else 50
    for net in NETWORKS:
        n = settings.rows(net.n)
        X, y = make_data(n, net.n_in, net.n_classes, net.dtype)
        A = normal(np.random.default_rng(0), (side, side), net.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samplers = {FASTNN: epoch_sampler(MLPClassifier, net, X, y)}
            samplers["numpy"] = burst(lambda A=A: A @ A)
            seconds, _ = alternate(samplers, 2 * settings.budget)
        share = net.flops(n) / seconds[FASTNN] / (2.0 * side**3 / seconds.pop("numpy"))
        asked = least(net) if net.asked_share else 0.0
        rows.append(Race(net.label(n), seconds, {}, asked_share=asked, share=share))
    limit_threads(settings.threads)
    return [Table(title, text, rows)]


def one_thread(settings: Settings) -> list[Table]:
    """The epochs on one thread."""
    text = (
        "The same epochs on one thread; the share is that of a 2000-cube matrix product of NumPy on one "
        "thread, measured alternately."
    )
    return _shares(settings, "MLP epochs on one thread", text, lambda net: net.asked_share)


def avx2(settings: Settings) -> list[Table]:
    """The epochs with 32-byte vectors."""
    text = (
        "The same with `FASTNN_SIMD=avx2`, on one thread; the share is that of NumPy's matrix product with "
        "`OPENBLAS_CORETYPE=Haswell`."
    )
    return _shares(settings, "MLP epochs with AVX2", text, lambda net: 0.75)
