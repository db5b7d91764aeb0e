"""Kernels for the processor; ``__all__`` is what the engines use, and what another device has to provide."""

from fastnn.kernels.cpu.center_steps import (
    advance,
    cluster_means,
    improved,
    run_center_batches,
    shuffle,
)
from fastnn.kernels.cpu.dispatch import (
    activation_loops,
    coefficient_loops,
    derivative_loops,
    loss_loops,
    update_loops,
)
from fastnn.kernels.cpu.distances import distances_to
from fastnn.kernels.cpu.kmeans import assign
from fastnn.kernels.cpu.mini_batch import absorb_batch, judge_batch, run_mini_batches, squared_movement
from fastnn.kernels.cpu.mlp import Model, Rows, Targets, Training, predict_rows, run_batches
from fastnn.kernels.cpu.seeding import add_center, pick_rows, potentials_with, seeding_tasks, swap_costs
from fastnn.kernels.cpu.sweep import new_partials, sweep, sweep_work
from fastnn.kernels.cpu.sweep_csr import sweep_csr
from fastnn.kernels.cpu.team import TURNS_PER_MS
from fastnn.kernels.cpu.workspace import DONE, LOSS, STEPS, TOTAL, TOTAL_WEIGHT, Workspace, new_workspace

__all__ = [
    "DONE",
    "LOSS",
    "STEPS",
    "TOTAL",
    "TOTAL_WEIGHT",
    "TURNS_PER_MS",
    "Model",
    "Rows",
    "Targets",
    "Training",
    "Workspace",
    "absorb_batch",
    "activation_loops",
    "add_center",
    "advance",
    "assign",
    "cluster_means",
    "coefficient_loops",
    "derivative_loops",
    "distances_to",
    "improved",
    "judge_batch",
    "loss_loops",
    "new_partials",
    "new_workspace",
    "pick_rows",
    "potentials_with",
    "predict_rows",
    "run_batches",
    "run_center_batches",
    "run_mini_batches",
    "seeding_tasks",
    "shuffle",
    "squared_movement",
    "swap_costs",
    "sweep",
    "sweep_csr",
    "sweep_work",
    "update_loops",
]
