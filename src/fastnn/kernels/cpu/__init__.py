"""Kernels for the processor; ``__all__`` is what engines use, ``contract`` what any device has to provide."""

from fastnn.kernels.cpu.clustering.backend import host_clustering
from fastnn.kernels.cpu.clustering.bounded import bound_tasks, bounded_assign, move_rows
from fastnn.kernels.cpu.clustering.candidates import pick_rows, seeding_tasks, try_candidates
from fastnn.kernels.cpu.clustering.center_steps import advance, cluster_means, improved, shuffle
from fastnn.kernels.cpu.clustering.distances import distances_to
from fastnn.kernels.cpu.clustering.leading import leading_assign, leading_slack, leading_tasks, pack_leading
from fastnn.kernels.cpu.clustering.local_search import place_center, swap_costs, swap_tasks
from fastnn.kernels.cpu.clustering.mini_batch import absorb_batch, judge_batch, squared_movement
from fastnn.kernels.cpu.clustering.movement import Movement, center_movement
from fastnn.kernels.cpu.clustering.nearest import is_small
from fastnn.kernels.cpu.clustering.passes import HostSweeps, seeding_work
from fastnn.kernels.cpu.clustering.sweep import sweep_work
from fastnn.kernels.cpu.dispatch import (
    activation_loops,
    coefficient_loops,
    derivative_loops,
    loss_loops,
    update_loops,
)
from fastnn.kernels.cpu.network.csr_layer import csr_forward_loops, csr_weights_loops
from fastnn.kernels.cpu.network.dropout import dropout_loops
from fastnn.kernels.cpu.network.mlp import predict_rows, run_batches
from fastnn.kernels.cpu.network.output import flag_loops
from fastnn.kernels.cpu.network.step_buffers import (
    DONE,
    LOSS,
    STEPS,
    TOTAL,
    TOTAL_WEIGHT,
    StepBuffers,
    new_step_buffers,
)
from fastnn.kernels.cpu.network.structures import LayerStack, LossTargets, OrderedRows, UpdatePlan
from fastnn.kernels.cpu.network.team import TURNS_PER_MS

__all__ = [
    "DONE",
    "LOSS",
    "STEPS",
    "TOTAL",
    "TOTAL_WEIGHT",
    "TURNS_PER_MS",
    "HostSweeps",
    "LayerStack",
    "LossTargets",
    "Movement",
    "OrderedRows",
    "StepBuffers",
    "UpdatePlan",
    "absorb_batch",
    "activation_loops",
    "advance",
    "bound_tasks",
    "bounded_assign",
    "center_movement",
    "cluster_means",
    "coefficient_loops",
    "csr_forward_loops",
    "csr_weights_loops",
    "derivative_loops",
    "distances_to",
    "dropout_loops",
    "flag_loops",
    "host_clustering",
    "improved",
    "is_small",
    "judge_batch",
    "leading_assign",
    "leading_slack",
    "leading_tasks",
    "loss_loops",
    "move_rows",
    "new_step_buffers",
    "pack_leading",
    "pick_rows",
    "place_center",
    "predict_rows",
    "run_batches",
    "seeding_tasks",
    "seeding_work",
    "shuffle",
    "squared_movement",
    "swap_costs",
    "swap_tasks",
    "sweep_work",
    "try_candidates",
    "update_loops",
]
