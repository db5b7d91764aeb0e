"""Kernels of k-means for the processor; ``__all__`` is what engines use."""

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
from fastnn.kernels.cpu.clustering.passes import HostSweeps, seeding_flops
from fastnn.kernels.cpu.clustering.sweep import sweep_flops
from fastnn.kernels.cpu.dispatch import coefficient_loops, update_address

__all__ = [
    "HostSweeps",
    "Movement",
    "absorb_batch",
    "advance",
    "bound_tasks",
    "bounded_assign",
    "center_movement",
    "cluster_means",
    "coefficient_loops",
    "distances_to",
    "host_clustering",
    "improved",
    "is_small",
    "judge_batch",
    "leading_assign",
    "leading_slack",
    "leading_tasks",
    "move_rows",
    "pack_leading",
    "pick_rows",
    "place_center",
    "seeding_flops",
    "seeding_tasks",
    "shuffle",
    "squared_movement",
    "swap_costs",
    "swap_tasks",
    "sweep_flops",
    "try_candidates",
    "update_address",
]
