"""Levenberg-Marquardt beside MINPACK's, on the same network with the same Jacobian."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from benchmarks.contestants import check_close, limit_threads
from benchmarks.race import FASTNN, Race, Settings, Table, race
from fastnn import MLPRegressor
from fastnn.tables.activations import TANH
from fastnn.tables.initializers import initialize

# Of the longer fits; at the end of the shorter MINPACK may find nothing more to do.
ITERATIONS = 50
# The least that MINPACK's wrapper allows.
TOL = 3e-16


class Problem(NamedTuple):
    """What is learned, by so many tanh units."""

    name: str
    X: np.ndarray
    Y: np.ndarray
    units: int


def problems() -> list[Problem]:
    """Two waves, and functions of three inputs."""
    x = np.linspace(-1, 1, 200).reshape(-1, 1)
    X = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    two = np.column_stack(
        [np.sin(2 * X[:, 0]) * X[:, 1] + X[:, 2] ** 2, np.cos(3 * X[:, 2]) + X[:, 0] * X[:, 1]]
    )
    return [
        Problem("sin(pi x)", x, np.sin(np.pi * x), 10),
        Problem("sin 3x + sin 5x", x, np.sin(3 * x) + np.sin(5 * x), 10),
        Problem("3 inputs, 2 outputs", X, two, 20),
    ]


def errors_and_jacobian(problem: Problem) -> tuple[Callable, Callable]:
    """Errors (n n_outputs,) at flat parameters W_1, b_1, W_2, b_2, and their Jacobian, in NumPy."""
    X, Y, units = problem.X, problem.Y, problem.units
    (n, n_in), n_out = X.shape, Y.shape[1]
    ends = np.cumsum([n_in * units, units, units * n_out])

    def layers(p: np.ndarray) -> tuple[np.ndarray, ...]:
        W1, b1, W2, b2 = np.split(p, ends)
        W2 = W2.reshape(units, n_out)
        return W2, b2, np.tanh(X @ W1.reshape(n_in, units) + b1)

    def errors(p: np.ndarray) -> np.ndarray:
        W2, b2, A = layers(p)
        return (A @ W2 + b2 - Y).ravel()

    J = np.zeros((n, n_out, ends[-1] + n_out))

    def jacobian(p: np.ndarray) -> np.ndarray:
        W2, _, A = layers(p)
        slope = 1 - A * A
        for k in range(n_out):
            d = slope * W2[:, k]
            J[:, k, : ends[0]] = (X[:, :, None] * d[:, None, :]).reshape(n, -1)
            J[:, k, ends[0] : ends[1]] = d
            J[:, k, ends[1] + k : ends[2] : n_out] = A
            J[:, k, ends[2] + k] = 1
        return J.reshape(n * n_out, -1)

    return errors, jacobian


def _flat(coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([a.ravel() for pair in zip(coefs, intercepts, strict=True) for a in pair])


def _iterations(problem: Problem, settings: Settings) -> Race:
    """A fit of some iterations, beside MINPACK's of as many Jacobians, from the same first weights."""
    n = max(200, settings.rows(len(problem.X)))  # MINPACK wants as many errors as parameters
    problem = problem._replace(X=problem.X[:n], Y=problem.Y[:n])
    X, y = problem.X, problem.Y if problem.Y.shape[1] > 1 else problem.Y.ravel()
    sizes = X.shape[1], problem.units, problem.Y.shape[1]
    coefs, intercepts = initialize(np.random.RandomState(0), sizes, factor=TANH.glorot_factor, dtype=X.dtype)
    start = _flat(coefs, intercepts)
    errors, jacobian = errors_and_jacobian(problem)
    done = 0

    def counted(p: np.ndarray) -> np.ndarray:
        nonlocal done
        if done == ITERATIONS:
            raise StopIteration
        done += 1
        return jacobian(p)

    def theirs() -> None:
        nonlocal done
        done = 0
        with suppress(StopIteration):  # unless there is nothing more to be gained
            least_squares(errors, start, counted, method="lm", xtol=TOL, ftol=TOL, gtol=TOL)

    theirs()
    ours = MLPRegressor(
        hidden_layer_sizes=(problem.units,), activation="tanh", solver="lm", alpha=0, tol=0, max_iter=done,
        random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = ours.fit(X, y)
        found = errors(_flat(fitted.coefs_, fitted.intercepts_))
        check_close("scipy", found @ found, 2 * n * fitted.loss_, 1e-6, 1e-12)
        calls = {FASTNN: lambda: ours.fit(X, y), "scipy": theirs}
        case = f"{problem.name}: {n} rows, {'-'.join(map(str, sizes))}, {done} iterations"
        return race(case, calls, settings, asked={"scipy": 1.0}, dtype="float64")


def lm(settings: Settings) -> list[Table]:
    """The table of Levenberg-Marquardt."""
    limit_threads(settings.threads)
    return [
        Table(
            "Levenberg-Marquardt",
            'Fits of `MLPRegressor(solver="lm")` with tanh units, beside `scipy.optimize.least_squares` with '
            '`method="lm"`, which gets the errors of the same network and their Jacobian from NumPy.',
            [_iterations(problem, settings) for problem in problems()],
        )
    ]
