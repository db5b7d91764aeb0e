"""
Levenberg-Marquardt beside Adam and L-BFGS
==========================================

Adam and L-BFGS know the gradient of the loss. ``solver="lm"`` knows the derivative of each single error: it
takes the network for linear in its parameters, solves that least-squares problem with a damping that keeps
the step short, and does so again from there. For a small network and a smooth function that takes far fewer
iterations; each of them costs more.
"""

import warnings
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastnn import MLPRegressor

# Runs end by their number of iterations.
warnings.simplefilter("ignore", ConvergenceWarning)

x = np.linspace(-1, 1, 200)[:, None]
y = np.sin(3 * x[:, 0]) + np.sin(5 * x[:, 0])
options = {
    "adam": {"max_iter": 2000, "learning_rate_init": 0.01, "n_iter_no_change": np.inf},
    "lbfgs": {"max_iter": 500},
    "lm": {"max_iter": 60},
}


def model(solver, seed, **others):
    """Ten tanh units, without a penalty and without a tolerance."""
    parameters = {"alpha": 0, "tol": 0, "random_state": seed, **options[solver], **others}
    return MLPRegressor(hidden_layer_sizes=(10,), activation="tanh", solver=solver, **parameters)


# %%
# ``loss_curve_`` is half the mean squared error: before each epoch of Adam, whose batch is all 200 rows here,
# and after each iteration of ``"lm"``. L-BFGS keeps no curve: it runs again for each length.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
lengths = np.unique(np.geomspace(1, options["lbfgs"]["max_iter"], 25).astype(int))
for color, solver in enumerate(options):
    for seed in range(5):
        if solver == "lbfgs":
            steps, losses = lengths, [model(solver, seed, max_iter=n).fit(x, y).loss_ for n in lengths]
        else:
            losses = model(solver, seed).fit(x, y).loss_curve_
            steps = np.arange(1, len(losses) + 1)
        left.loglog(steps, 2 * np.array(losses), f"C{color}", alpha=0.7, label=None if seed else solver)
left.set(xlabel="iteration (of Adam: epoch)", ylabel="mean squared error", title="Five seeds each")
left.legend()

# %%
# What is left of the error at the end of the curves, and the time that it takes to come there.

for color, solver in enumerate(options):
    began = perf_counter()
    fitted = model(solver, 0).fit(x, y)
    milliseconds = 1000 * (perf_counter() - began)
    error = fitted.predict(x) - y
    right.semilogy(x, abs(error), f"C{color}", label=f"{solver}, {fitted.n_iter_} iterations")
    cost = f"{fitted.n_iter_:5d} iterations, {milliseconds:6.1f} ms"
    print(f"{solver:6s} {cost}, mean squared error {(error**2).mean():.1e}")
right.set(xlabel="x", ylabel="absolute error", title=r"$\sin 3x + \sin 5x$, ten tanh units")
right.legend()
plt.show()
