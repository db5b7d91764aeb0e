"""RealMLP as its paper and its code define it, plainly in NumPy: what the engine is compared with."""

import numpy as np

from tests.reference import ACTIVATIONS, back_through, softmax


def real_mlp_rates(learning_rate, n_steps, at):
    """coslog4 of RealMLP: the learning rate of some of the steps, counted from 0, of so many."""
    t = np.asarray(at) / n_steps
    return learning_rate * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t))) / 2


class ReferenceRealMLP:
    """RealMLP-TD-S as it is published: z = (s x) W / sqrt(fan_in) + b, and PyTorch's Adam, in float64.

    Outputs are softmax's, of two classes too, or plain numbers, with the mean of all squared errors.

    factors : of the rate, for the scale, weights and biases
    targets : "classes" or "numbers"
    """

    def __init__(
        self, scale, weights, biases, *, activation, targets, factors, betas=(0.9, 0.95), epsilon=1e-8
    ):
        self.tensors = [np.array(a, float) for a in (scale, *weights, *biases)]
        n = len(weights)
        self.rates = [factors[0], *[factors[1]] * n, *[factors[2]] * n]
        self.moments = [(np.zeros_like(a), np.zeros_like(a)) for a in self.tensors]
        self.n_layers, self.activation, self.targets = n, activation, targets
        self.betas, self.epsilon, self.t = betas, epsilon, 0

    @property
    def parts(self):
        n = self.n_layers
        return self.tensors[0], self.tensors[1 : n + 1], self.tensors[n + 1 :]

    def forward(self, X):
        scale, weights, biases = self.parts
        acts, zs = [X * scale], []
        for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
            zs.append(acts[-1] @ W / np.sqrt(len(W)) + b)
            last = layer == self.n_layers - 1
            acts.append(zs[-1] if last else ACTIVATIONS[self.activation][0](zs[-1]))
        return acts, zs

    def step(self, X, Y, learning_rate):
        """One step, with targets (n, n_outputs): of classes probabilities. Return the loss before it."""
        weights = self.parts[1]
        acts, zs = self.forward(X)
        out, n = acts[-1], len(X)
        if self.targets == "classes":
            p = softmax(out)
            loss, dz = -(Y * np.log(p)).sum(axis=1).mean(), (p - Y) / n
        else:
            loss, dz = ((out - Y) ** 2).mean(), 2 * (out - Y) / Y.size
        dW, db = [], []
        for layer in range(self.n_layers - 1, -1, -1):
            W = weights[layer]
            dW.insert(0, acts[layer].T @ dz / np.sqrt(len(W)))
            db.insert(0, dz.sum(axis=0))
            d = dz @ W.T / np.sqrt(len(W))
            if layer > 0:
                dz = back_through(self.activation, d, zs[layer - 1], acts[layer])
        gradients = [(d * X).sum(axis=0), *dW, *db]
        self.t += 1
        beta_1, beta_2 = self.betas
        for a, g, (m, v), rate in zip(self.tensors, gradients, self.moments, self.rates, strict=True):
            m += (1 - beta_1) * (g - m)
            v += (1 - beta_2) * (g * g - v)
            root = np.sqrt(v / (1 - beta_2**self.t))
            a -= learning_rate * rate * (m / (1 - beta_1**self.t)) / (root + self.epsilon)
        return loss
