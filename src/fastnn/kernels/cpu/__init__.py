"""Kernels for the processor; ``__all__`` is what the engines use, and what another device has to provide."""

from fastnn.kernels.cpu.center_steps import advance, improved, run_center_batches, shuffle
from fastnn.kernels.cpu.distances import distances_to
from fastnn.kernels.cpu.kmeans import assign
from fastnn.kernels.cpu.linear import panel_size, row_chunks
from fastnn.kernels.cpu.mlp import Model, Rows, Targets, Training, predict_rows, run_batches
from fastnn.kernels.cpu.seeding import add_center, pick_rows, potentials_with, seeding_tasks, swap_costs
from fastnn.kernels.cpu.sweep import new_partials, sweep, sweep_work
from fastnn.kernels.cpu.tile import TILE_ROWS

__all__ = [
    "TILE_ROWS",
    "Model",
    "Rows",
    "Targets",
    "Training",
    "add_center",
    "advance",
    "assign",
    "distances_to",
    "improved",
    "new_partials",
    "panel_size",
    "pick_rows",
    "potentials_with",
    "predict_rows",
    "row_chunks",
    "run_batches",
    "run_center_batches",
    "seeding_tasks",
    "shuffle",
    "swap_costs",
    "sweep",
    "sweep_work",
]
