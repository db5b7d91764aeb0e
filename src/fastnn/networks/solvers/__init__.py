"""The solvers by name: one file each, and a table of them, whose order is that of the documentation."""

from fastnn.networks.solvers import lbfgs, levenberg_marquardt, stochastic
from fastnn.networks.solvers.interface import Solver

SOLVERS: dict[str, Solver] = {
    "lbfgs": Solver(lbfgs.train_lbfgs, lbfgs.LbfgsSettings, is_stochastic=False),
    "sgd": Solver(stochastic.train_stochastic, stochastic.SgdSettings, is_stochastic=True),
    "adam": Solver(stochastic.train_stochastic, stochastic.AdamSettings, is_stochastic=True),
    "lm": Solver(
        levenberg_marquardt.train_levenberg_marquardt,
        levenberg_marquardt.LevenbergMarquardtSettings,
        is_stochastic=False,
        classifies=False,
    ),
}
STOCHASTIC_SOLVERS = tuple(name for name, solver in SOLVERS.items() if solver.is_stochastic)
