"""Losses of outputs that were made elsewhere, element by element."""

from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.cpu.dispatch import losses_and_dz


@jit
def element_losses(loss, y, a, parameter):
    """y[i] <- the loss of output a[i] for target y[i].

    loss : address of the loop of the loss
    y : INOUT (n,)
    a : INOUT (n,), what it holds afterwards is of no use
    """
    losses_and_dz(loss, y, a, y.dtype.type(parameter))
