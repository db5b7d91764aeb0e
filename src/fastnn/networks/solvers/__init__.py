"""The solvers by name: one file each, and a table of them, whose order is that of the documentation."""

from fastnn.networks.solvers import lbfgs, optimizer_settings, stochastic
from fastnn.networks.solvers.interface import Problem, Settings, Solution, Solver


def _train_levenberg_marquardt(problem: Problem, settings: Settings) -> Solution:
    # Its kernels are loaded when they are first needed: others do without.
    from fastnn.networks.solvers.levenberg_marquardt import train_levenberg_marquardt

    return train_levenberg_marquardt(problem, settings)


SOLVERS: dict[str, Solver] = {
    "lbfgs": Solver(lbfgs.train_lbfgs, lbfgs.LbfgsSettings, is_stochastic=False),
    "sgd": Solver(stochastic.train_stochastic, optimizer_settings.SgdSettings, is_stochastic=True),
    "adam": Solver(stochastic.train_stochastic, optimizer_settings.AdamSettings, is_stochastic=True),
    "lm": Solver(_train_levenberg_marquardt, Settings, is_stochastic=False, classifies=False),
}
STOCHASTIC_SOLVERS = tuple(name for name, solver in SOLVERS.items() if solver.is_stochastic)
