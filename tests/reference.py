"""Naive NumPy twins of the compiled kernels: the contract that the kernels are held against."""

import math
from itertools import pairwise

import numpy as np
from scipy import special

# --- k-means ------------------------------------------------------------------------------------------


def assign(X, C):
    """Nearest centre of each row and the squared distance to it, from the matrix of all distances."""
    distances = ((X[:, None, :] - C[None, :, :]) ** 2).sum(axis=2)
    labels = distances.argmin(axis=1)
    return labels.astype(np.int32), distances[np.arange(len(X)), labels]


def update_centers(X, labels, n_clusters, sample_weight=None):
    """Weighted sum and weight of every cluster."""
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    sums, counts = np.zeros((n_clusters, X.shape[1])), np.zeros(n_clusters)
    np.add.at(sums, labels, w[:, None] * X.astype(np.float64))
    np.add.at(counts, labels, w)
    return sums, counts


def lloyd_iteration(X, C, sample_weight=None):
    """Every centre becomes the mean of its rows; one without rows stays."""
    sums, counts = update_centers(X, assign(X, C)[0], len(C), sample_weight)
    new = C.copy()
    new[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
    return new


def mini_batch_step(X, C, seen, sample_weight=None):
    """Every centre becomes the mean of all rows that it has had; the centres, and the weight of each."""
    sums, counts = update_centers(X, assign(X, C)[0], len(C), sample_weight)
    new = C.copy()
    has = counts > 0
    weights = (seen + counts)[has, None]
    new[has] = (C[has] * seen[has, None] + sums[has]) / weights
    return new, seen + counts


def kmeans_gradient(X, C):
    """Gradient of the sum of squared distances to the nearest centre, the assignment held constant.

    What PyTorch's autograd gives for ``((X[:, None] - C) ** 2).sum(2).min(1).values.sum()``.
    """
    labels, _ = assign(X, C)
    gradient = np.zeros_like(C)
    for j in range(len(C)):
        gradient[j] = 2 * (C[j] - X[labels == j]).sum(axis=0)
    return gradient


def kmeans_gradient_descent(batches, C, learning_rate):
    """The loop over batches; returns the centres and the mean squared distance before each step."""
    C = C.copy()
    losses = []
    for X in batches:
        losses.append(assign(X, C)[1].mean())
        C -= learning_rate * kmeans_gradient(X, C)
    return C, losses


# --- multi-layer perceptron ---------------------------------------------------------------------------
# The twin of fastnn.networks.network, in the type of its data like scikit-learn.


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _normal_cdf(z):
    return 0.5 * (1 + special.erf(z / np.sqrt(2).astype(z.dtype)))


# Where the derivative of an activation, or the derivative of that, jumps: no place for central differences.
KINKS = {
    **dict.fromkeys(["relu", "relu_half", "relu_one", "leaky_relu", "elu", "selu", "hard_limit"], (0.0,)),
    "hard_sigmoid": (-3.0, 3.0),
}

# Appendix of Klambauer et al. (2017).
_SELU = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946

# name -> (a of z, da/dz of z and a)
ACTIVATIONS = {
    "identity": (lambda z: z, lambda z, a: np.ones_like(a)),
    "logistic": (special.expit, lambda z, a: a * (1 - a)),
    "tanh": (np.tanh, lambda z, a: 1 - a * a),
    "relu": (lambda z: np.maximum(z, 0), lambda z, a: (z > 0).astype(z.dtype)),
    "leaky_relu": (
        lambda z: np.where(z > 0, z, z.dtype.type(0.01) * z),
        lambda z, a: np.where(z > 0, z.dtype.type(1), z.dtype.type(0.01)),
    ),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z, a: np.where(z > 0, z.dtype.type(1), np.exp(np.minimum(z, 0))),
    ),
    "gelu": (
        lambda z: z * _normal_cdf(z),
        lambda z, a: _normal_cdf(z) + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi).astype(z.dtype),
    ),
    "silu": (
        lambda z: z * special.expit(z),
        lambda z, a: special.expit(z) * (1 + z * (1 - special.expit(z))),
    ),
    "softplus": (lambda z: np.logaddexp(z, z.dtype.type(0)), lambda z, a: special.expit(z)),
    "exp": (np.exp, lambda z, a: a),
    "selu": (
        lambda z: _SELU[1] * np.where(z > 0, z, _SELU[0] * np.expm1(np.minimum(z, 0))).astype(z.dtype),
        lambda z, a: (_SELU[1] * np.where(z > 0, 1, _SELU[0] * np.exp(np.minimum(z, 0)))).astype(z.dtype),
    ),
    "mish": (
        lambda z: z * np.tanh(np.logaddexp(z, z.dtype.type(0))),
        lambda z, a: (
            np.tanh(np.logaddexp(z, z.dtype.type(0)))
            + z * special.expit(z) / np.cosh(np.logaddexp(z, z.dtype.type(0))) ** 2
        ),
    ),
    "hard_sigmoid": (
        lambda z: np.clip((z + 3) / 6, 0, 1).astype(z.dtype),
        lambda z, a: np.where(abs(z) < 3, z.dtype.type(1 / 6), z.dtype.type(0)),
    ),
    "hard_limit": (
        lambda z: np.where(np.isnan(z), z, z > 0).astype(z.dtype),
        lambda z, a: np.zeros_like(z),
    ),
    **{
        name: (
            lambda z: np.maximum(z, 0),
            lambda z, a, slope=slope: np.where(z == 0, z.dtype.type(slope), (z > 0).astype(z.dtype)),
        )
        for name, slope in (("relu_half", 0.5), ("relu_one", 1.0))
    },
    "softmax": (softmax, None),
}


def _clipped(a):
    eps = np.finfo(a.dtype).eps
    return np.clip(a, eps, 1 - eps)


_OF_ERRORS = ("identity", "logistic", "tanh", "softplus", "relu")

# name -> (output activations, the usual one first; p, the loss's parameter; loss of each row of y, a and p)
LOSSES = {
    "log_loss": (("softmax",), 0, lambda y, a, p: -special.xlogy(y, _clipped(a)).sum(axis=1)),
    "binary_log_loss": (
        ("logistic",),
        0,
        lambda y, a, p: -(special.xlogy(y, _clipped(a)) + special.xlogy(1 - y, 1 - _clipped(a))).sum(axis=1),
    ),
    "squared_error": (_OF_ERRORS, 0, lambda y, a, p: 0.5 * ((y - a) ** 2).mean(axis=1)),
    "poisson": (("exp", "softplus"), 0, lambda y, a, p: (special.xlogy(y, y / a) - y + a).sum(axis=1)),
    "absolute_error": (_OF_ERRORS, 0, lambda y, a, p: abs(y - a).sum(axis=1)),
    "huber": (
        _OF_ERRORS,
        1.0,
        lambda y, a, p: np.where(abs(y - a) <= p, 0.5 * (y - a) ** 2, p * (abs(y - a) - 0.5 * p)).sum(axis=1),
    ),
    "quantile": (_OF_ERRORS, 0.5, lambda y, a, p: np.maximum(p * (y - a), (p - 1) * (y - a)).sum(axis=1)),
    "log_cosh": (_OF_ERRORS, 0, lambda y, a, p: np.log(np.cosh(y - a)).sum(axis=1)),
}

# Pairs for which dL/dz is a - y.
CANONICAL = {
    ("log_loss", "softmax"),
    ("binary_log_loss", "logistic"),
    ("squared_error", "identity"),
    ("poisson", "exp"),
}

# For the losses of other pairs: dL/da of y, a and p, of the sum over a row.
DA = {
    "squared_error": lambda y, a, p: a - y,
    "poisson": lambda y, a, p: 1 - y / a,
    "absolute_error": lambda y, a, p: np.sign(a - y),
    "huber": lambda y, a, p: np.clip(a - y, -p, p),
    "quantile": lambda y, a, p: np.where(a > y, 1 - p, np.where(a < y, -p, 0)),
    "log_cosh": lambda y, a, p: np.tanh(a - y),
}


class ReferenceHead:
    """A loss and its output activation: by the loss's name, with the usual one, or as a ``Head``."""

    def __init__(self, loss):
        name = loss if isinstance(loss, str) else loss.loss.name
        (usual, *_), parameter, self._row_loss = LOSSES[name]
        self.output_activation = usual if isinstance(loss, str) else loss.output_activation
        p = parameter if isinstance(loss, str) else loss.parameter
        self.p = np.array(p) if isinstance(p, tuple) else p  # one for each output
        self.is_canonical = (name, self.output_activation) in CANONICAL
        self._da = DA.get(name)

    def row_loss(self, y, a):
        return self._row_loss(y, a, self.p)

    def dz(self, y, a):
        if self.is_canonical:
            return a - y
        z = np.log(np.expm1(a)) if self.output_activation == "softplus" else a  # which others do not read
        return (self._da(y, a, self.p) * ACTIVATIONS[self.output_activation][1](z, a)).astype(a.dtype)


def philox(counter, key, rounds=7):
    """Philox4x32 of Salmon et al. (2011), in Python's integers: four words from four and two."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(rounds):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (q >> 32) ^ b ^ k, q % 2**32, (p >> 32) ^ d ^ m, p % 2**32
        k, m = (k + 0x9E3779B9) % 2**32, (m + 0xBB67AE85) % 2**32
    return a, b, c, d


def dropout_factors(rate, seed, step, layer, n, n_units):
    """What dropout multiplies the units of n samples with: 0 or 1 / (1 - rate), (n, n_units)."""
    key = seed % 2**32, seed >> 32
    words = [
        [word for block in range(-(-n_units // 4)) for word in philox((block, sample, step, layer), key)]
        for sample in range(n)
    ]
    return np.where(np.array(words)[:, :n_units] / 2**32 < rate, 0, 1 / (1 - rate))


def combine_rows(values, indices, B):
    """A sparse row times B: the rows of B that it picks, weighted and added up in order."""
    total = np.zeros(B.shape[1])
    for value, index in zip(values, indices, strict=True):
        total += value * B[index].astype(np.float64)
    return total


def entries_by_feature(X, stored):
    """Samples and values of each feature's stored entries, by ascending samples."""
    return [(np.flatnonzero(stored[:, j]), X[stored[:, j], j]) for j in range(X.shape[1])]


def back_through(name, d, z, a):
    """dL/dz of a layer from dL/da: softmax has a Jacobian for each row, the others a derivative."""
    if name != "softmax":
        return d * ACTIVATIONS[name][1](z, a)
    return np.array([(np.diag(row) - np.outer(row, row)) @ of_row for row, of_row in zip(a, d, strict=True)])


def of_each_layer(names, n):
    return [names] * n if isinstance(names, str) else list(names)


def forward(X, coefs, intercepts, hidden_activation, output_activation, factors=None):
    """z and a of every layer, the inputs first (as their own z), and a times the factors of dropout."""
    zs, acts, dropped = [X], [X], [X]
    activations = [*of_each_layer(hidden_activation, len(coefs) - 1), output_activation]
    for layer, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
        last = layer == len(coefs) - 1
        # BLAS computes in lanes beside the matrices as well; NumPy would warn of what lay there.
        with np.errstate(invalid="ignore"):
            zs.append(np.asarray(dropped[-1] @ W) + b)
        acts.append(ACTIVATIONS[activations[layer]][0](zs[-1]))
        dropped.append(acts[-1] if last or not factors else acts[-1] * factors[layer])
    return zs, acts, dropped


def reference_predict(X, coefs, intercepts, *, hidden_activation, output_activation):
    return forward(X, coefs, intercepts, hidden_activation, output_activation)[1][-1]


def jacobian(X, coefs, intercepts, *, hidden_activation, output_activation):
    """Derivatives of all outputs with respect to all parameters: (n, n_outputs, n_parameters)."""
    zs, acts, _ = forward(X, coefs, intercepts, hidden_activation, output_activation)
    of_outputs = []
    for output in range(acts[-1].shape[1]):
        d, pieces = np.zeros_like(acts[-1]), []
        d[:, output] = 1
        for layer in range(len(coefs) - 1, -1, -1):
            name = output_activation if layer == len(coefs) - 1 else hidden_activation
            d = d * ACTIVATIONS[name][1](zs[layer + 1], acts[layer + 1])
            pieces = [np.einsum("ni,nj->nij", acts[layer], d).reshape(len(X), -1), d, *pieces]
            d = d @ coefs[layer].T
        of_outputs.append(np.concatenate(pieces, axis=1))
    return np.stack(of_outputs, axis=1)


def _momentum(w, g, state, rate, t, momentum, *_):
    state[0] = momentum * state[0] - rate * g
    w += state[0]


def _nesterov(w, g, state, rate, t, momentum, *_):
    state[0] = momentum * state[0] - rate * g
    w += momentum * state[0] - rate * g


def _adam(w, g, state, rate, t, beta_1, beta_2, epsilon, *_):
    state[0] = beta_1 * state[0] + (1 - beta_1) * g
    state[1] = beta_2 * state[1] + (1 - beta_2) * g * g
    rate = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    w -= rate * state[0] / (np.sqrt(state[1]) + epsilon)


def _rmsprop(w, g, state, rate, t, alpha, epsilon, *_):
    state[0] = alpha * state[0] + (1 - alpha) * g * g
    w -= rate * g / (np.sqrt(state[0]) + epsilon)


# The next four as the documentation of torch.optim writes them: AdamW, Adam(amsgrad=True), NAdam; and Lion of
# algorithm 2 of its paper. Decay of the weights is ``ReferenceNetwork``'s.


def _adamw(w, g, state, rate, t, beta_1, beta_2, epsilon, *_):
    state[0] = beta_1 * state[0] + (1 - beta_1) * g
    state[1] = beta_2 * state[1] + (1 - beta_2) * g * g
    m, v = state[0] / (1 - beta_1**t), state[1] / (1 - beta_2**t)
    w -= rate * m / (np.sqrt(v) + epsilon)


def _amsgrad(w, g, state, rate, t, beta_1, beta_2, epsilon, *_):
    state[0] = beta_1 * state[0] + (1 - beta_1) * g
    state[1] = beta_2 * state[1] + (1 - beta_2) * g * g
    state[2] = np.maximum(state[2], state[1])
    m, v = state[0] / (1 - beta_1**t), state[2] / (1 - beta_2**t)
    w -= rate * m / (np.sqrt(v) + epsilon)


def nadam_factors(t, beta_1, momentum_decay):
    """mu_t, mu_{t + 1} and mu_1 ... mu_t."""
    mu = [beta_1 * (1 - 0.5 * 0.96 ** (i * momentum_decay)) for i in range(1, int(t) + 2)]
    return mu[-2], mu[-1], math.prod(mu[:-1])


def _nadam(w, g, state, rate, t, beta_1, beta_2, epsilon, momentum_decay):
    mu, following, product = nadam_factors(t, beta_1, momentum_decay)
    state[0] = beta_1 * state[0] + (1 - beta_1) * g
    state[1] = beta_2 * state[1] + (1 - beta_2) * g * g
    m = following * state[0] / (1 - product * following) + (1 - mu) * g / (1 - product)
    w -= rate * m / (np.sqrt(state[1] / (1 - beta_2**t)) + epsilon)


def _lion(w, g, state, rate, t, beta_1, beta_2, *_):
    w -= rate * np.sign(beta_1 * state[0] + (1 - beta_1) * g)
    state[0] = beta_2 * state[0] + (1 - beta_2) * g


# name -> step number t in place, of w and state, from the gradient
RULES = {
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adam": _adam,
    "rmsprop": _rmsprop,
    "adamw": _adamw,
    "amsgrad": _amsgrad,
    "nadam": _nadam,
    "lion": _lion,
}


class ReferenceNetwork:
    def __init__(self, layer_sizes, *, hidden_activation, loss, dtype, dropout=(0.0, 0), bias_rates=None):
        self.dtype = np.dtype(dtype)
        self.rate, self.seed = dropout
        self.hidden_activation = of_each_layer(hidden_activation, len(layer_sizes) - 2)
        self.bias_rates = bias_rates or [1.0] * (len(layer_sizes) - 1)
        head = ReferenceHead(loss)
        self.output_activation, self.row_loss, self.dz = head.output_activation, head.row_loss, head.dz
        shapes = [shape for n_in, n_out in pairwise(layer_sizes) for shape in ((n_in, n_out), (n_out,))]
        self.parameters = np.zeros(sum(math.prod(shape) for shape in shapes), self.dtype)
        views = self._views(self.parameters, shapes)
        self.coefs, self.intercepts = views[::2], views[1::2]

    @staticmethod
    def _views(flat, shapes):
        views, at = [], 0
        for shape in shapes:
            views.append(flat[at : at + math.prod(shape)].reshape(shape))
            at += math.prod(shape)
        return views

    def load(self, coefs, intercepts):
        for view, values in zip(self.coefs + self.intercepts, [*coefs, *intercepts], strict=True):
            view[...] = values

    def factors(self, n, step):
        """The factors of dropout of each hidden layer, for a batch of n samples; none at rate 0."""
        sizes = [len(b) for b in self.intercepts[:-1]] if self.rate else []
        return [
            dropout_factors(self.rate, self.seed, step, layer, n, n_units).astype(self.dtype)
            for layer, n_units in enumerate(sizes)
        ]

    def loss_and_gradient(self, X, Y, *, sample_weight=None, alpha=0.0, l1_alpha=0.0, factors=None):
        zs, acts, dropped = forward(
            X, self.coefs, self.intercepts, self.hidden_activation, self.output_activation, factors
        )
        weight = np.ones(len(Y)) if sample_weight is None else sample_weight
        total = weight.sum()
        loss = (weight * self.row_loss(Y, acts[-1])).sum() / total
        loss += 0.5 * alpha * sum((W * W).sum() for W in self.coefs) / total
        loss += l1_alpha * sum(abs(W).sum() for W in self.coefs) / total
        dz = self.dz(Y, acts[-1]) * weight.astype(self.dtype)[:, None]
        gradients = []
        for layer in range(len(self.coefs) - 1, -1, -1):
            W = self.coefs[layer]
            dW = (np.asarray(dropped[layer].T @ dz) + alpha * W + l1_alpha * np.sign(W)) / total
            db = dz.sum(axis=0) / total
            gradients = [dW, db if self.bias_rates[layer] else 0 * db, *gradients]
            if layer > 0:
                d = np.asarray(dz @ self.coefs[layer].T)
                d = d * factors[layer - 1] if factors else d
                dz = back_through(self.hidden_activation[layer - 1], d, zs[layer], acts[layer])
        return float(loss), np.concatenate([g.ravel() for g in gradients]).astype(self.dtype)

    def bind(self, X, Y, *, sample_weight=None, alpha=0.0, l1_alpha=0.0, optimizer=None):
        return ReferenceBoundNetwork(self, X, Y, sample_weight, alpha, l1_alpha, optimizer)

    def train_epoch(self, optimizer, X, Y, order, batch_size, *, sample_weight=None, rates=None, **penalties):
        rows = np.arange(len(Y)) if order is None else order
        total = 0.0
        for number, start in enumerate(range(0, len(rows), batch_size)):
            batch = rows[start : start + batch_size]
            weight = None if sample_weight is None else sample_weight[batch]
            if weight is not None and not weight.any():
                continue
            factors = self.factors(len(batch), optimizer.t)
            loss, gradient = self.loss_and_gradient(
                X[batch], Y[batch], sample_weight=weight, factors=factors, **penalties
            )
            if not np.isfinite(loss):
                return loss
            total += loss * len(batch)
            self._step(optimizer, gradient, optimizer.learning_rate if rates is None else rates[number])
        return total / len(rows)

    def _step(self, optimizer, gradient, learning_rate):
        optimizer.t += 1
        norm = np.sqrt((gradient.astype(np.float64) ** 2).sum())
        if norm > optimizer.max_norm:
            gradient = gradient * self.dtype.type(optimizer.max_norm / norm)
        if optimizer.weight_decay:
            for W in self.coefs:
                W -= learning_rate * optimizer.weight_decay * W
        before = self.parameters.copy()
        RULES[optimizer.name](
            self.parameters, gradient, optimizer.state, learning_rate, optimizer.t, *optimizer.hyper
        )
        steps = self._views(self.parameters - before, [array.shape for array in self.intercepts_and_coefs()])
        for b, step, rate in zip(self.intercepts, steps[1::2], self.bias_rates, strict=True):
            if rate != 1:
                b += (rate - 1) * step
        rate = optimizer.average_rate
        if rate:
            share = 1 / optimizer.t if rate == 1 else (1 - rate if optimizer.t > 1 else 1)
            optimizer.average[:] = (1 - share) * optimizer.average + share * self.parameters

    def intercepts_and_coefs(self):
        """All arrays in the order of the flat vector."""
        return [array for pair in zip(self.coefs, self.intercepts, strict=True) for array in pair]


class ReferenceBoundNetwork:
    """A reference network on its data, as of ``fastnn.kernels.contract.network``."""

    def __init__(self, network, X, Y, sample_weight, alpha, l1_alpha, optimizer):
        self.network, self.optimizer = network, optimizer
        self.X, self.Y = getattr(X, "X", X), Y
        self.options = {"sample_weight": sample_weight, "alpha": alpha, "l1_alpha": l1_alpha}

    def run_epoch(self, order, batch_size, accumulate=1, rates=None):
        size = batch_size * accumulate  # which is what accumulation is to be
        return self.network.train_epoch(
            self.optimizer, self.X, self.Y, order, size, rates=rates, **self.options
        )

    def loss_and_gradient(self, *, copy=True):
        return self.network.loss_and_gradient(self.X, self.Y, **self.options)

    def finish(self):
        pass


# --- initial weights ----------------------------------------------------------------------------------

# name -> standard deviation of the weights of fan_in, fan_out, where the activation's factor is 6
DEVIATIONS = {
    "scikit-learn": lambda fan_in, fan_out: np.sqrt(2 / (fan_in + fan_out)),
    "glorot_uniform": lambda fan_in, fan_out: np.sqrt(2 / (fan_in + fan_out)),
    "glorot_normal": lambda fan_in, fan_out: np.sqrt(2 / (fan_in + fan_out)),
    "he_uniform": lambda fan_in, fan_out: np.sqrt(2 / fan_in),
    "he_normal": lambda fan_in, fan_out: np.sqrt(2 / fan_in),
    "lecun_normal": lambda fan_in, fan_out: np.sqrt(1 / fan_in),
    "orthogonal": lambda fan_in, fan_out: np.sqrt(1 / max(fan_in, fan_out)),
    "normal": lambda fan_in, fan_out: 0.1,
    "zeros": lambda fan_in, fan_out: 0.0,
    "constant": lambda fan_in, fan_out: 0.0,
}
