"""Kernels of networks for the processor; ``__all__`` is what the engine uses."""

from typing import TYPE_CHECKING, Any

from fastnn.kernels.cpu.dispatch import (
    activation_loops,
    coefficient_loops,
    derivative_loops,
    loss_loops,
    update_address,
)
from fastnn.kernels.cpu.network.csr_layer import csr_forward_loops, csr_weights_loops
from fastnn.kernels.cpu.network.dropout import dropout_loops
from fastnn.kernels.cpu.network.element_losses import element_losses
from fastnn.kernels.cpu.network.front import front_loops
from fastnn.kernels.cpu.network.last_batch import hidden_panels
from fastnn.kernels.cpu.network.mlp import predict_rows, run_batches
from fastnn.kernels.cpu.network.output import flag_loops, softmax_back_loops, softmax_loops
from fastnn.kernels.cpu.network.range_steps import Ranges, RuleStep, step_on_ranges
from fastnn.kernels.cpu.network.step_buffers import (
    DONE,
    LOSS,
    STEPS,
    TOTAL,
    TOTAL_WEIGHT,
    StepBuffers,
    new_step_buffers,
)
from fastnn.kernels.cpu.network.structures import (
    BIAS_EPSILON,
    BIAS_RATE,
    SOFTMAX_LOOP,
    WEIGHT_EPSILON,
    WEIGHT_RATE,
    BatchRun,
    LayerStack,
    LossTargets,
    OrderedRows,
    UpdatePlan,
)
from fastnn.kernels.cpu.network.team import TURNS_PER_MS
from fastnn.kernels.cpu.network.updates import average_loops, tile_sums_loops

if TYPE_CHECKING:
    from fastnn.kernels.cpu.network.jacobian import SquaredErrors, add_normal_products, weighted_errors

__all__ = [
    "BIAS_EPSILON",
    "BIAS_RATE",
    "DONE",
    "LOSS",
    "SOFTMAX_LOOP",
    "STEPS",
    "TOTAL",
    "TOTAL_WEIGHT",
    "TURNS_PER_MS",
    "WEIGHT_EPSILON",
    "WEIGHT_RATE",
    "BatchRun",
    "LayerStack",
    "LossTargets",
    "OrderedRows",
    "Ranges",
    "RuleStep",
    "SquaredErrors",
    "StepBuffers",
    "UpdatePlan",
    "activation_loops",
    "add_normal_products",
    "average_loops",
    "coefficient_loops",
    "csr_forward_loops",
    "csr_weights_loops",
    "derivative_loops",
    "dropout_loops",
    "element_losses",
    "flag_loops",
    "front_loops",
    "hidden_panels",
    "loss_loops",
    "new_step_buffers",
    "predict_rows",
    "run_batches",
    "softmax_back_loops",
    "softmax_loops",
    "step_on_ranges",
    "tile_sums_loops",
    "update_address",
    "weighted_errors",
]

# Of one solver alone; loaded when they are first asked for.
_OF_JACOBIAN = {"SquaredErrors", "add_normal_products", "weighted_errors"}


def __getattr__(name: str) -> Any:
    if name not in _OF_JACOBIAN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastnn.kernels.cpu.network import jacobian

    return getattr(jacobian, name)
