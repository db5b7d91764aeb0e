"""The solvers by name: one file each, and a table of them, whose order is that of the documentation."""

from fastnn.networks.solvers import lbfgs
from fastnn.networks.solvers import optimizer_settings as settings_of
from fastnn.networks.solvers.interface import Problem, Settings, Solution, Solver
from fastnn.networks.solvers.stochastic import train_stochastic


def _train_levenberg_marquardt(problem: Problem, settings: Settings) -> Solution:
    # Its kernels are loaded when they are first needed: others do without.
    from fastnn.networks.solvers.levenberg_marquardt import train_levenberg_marquardt

    return train_levenberg_marquardt(problem, settings)


SOLVERS: dict[str, Solver] = {
    "lbfgs": Solver(lbfgs.train_lbfgs, lbfgs.LbfgsSettings, is_stochastic=False),
    "sgd": Solver(train_stochastic, settings_of.SgdSettings, is_stochastic=True),
    "adam": Solver(train_stochastic, settings_of.AdamSettings, is_stochastic=True),
    "adamw": Solver(train_stochastic, settings_of.AdamwSettings, is_stochastic=True),
    "amsgrad": Solver(train_stochastic, settings_of.AmsgradSettings, is_stochastic=True),
    "nadam": Solver(train_stochastic, settings_of.NadamSettings, is_stochastic=True),
    "rmsprop": Solver(train_stochastic, settings_of.RmspropSettings, is_stochastic=True),
    "lion": Solver(train_stochastic, settings_of.LionSettings, is_stochastic=True),
    "lm": Solver(_train_levenberg_marquardt, Settings, is_stochastic=False, classifies=False),
}
STOCHASTIC_SOLVERS = tuple(name for name, solver in SOLVERS.items() if solver.is_stochastic)
