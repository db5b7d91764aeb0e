"""From an integer code to compiled code: one switch over the entries of a registry.

A kernel gets an activation or an update rule as a run-time integer, so one compilation serves every network.
The switch stands outside the loop (each entry brings a loop of its own), or it would keep the loop from
being vectorised. The loops are compiled once per dtype and linked by name (``kernels._link``).
"""

from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import carray
from numba.core import cgutils, types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic, register_jitable

from fastnn.activations import ACTIVATIONS
from fastnn.kernels import _link as link
from fastnn.kernels._jit import compiler_options, function_cache
from fastnn.losses import LOSSES
from fastnn.optimizers import RULES, UpdateRule

_I64 = ir.IntType(64)


def build_switch(functions: Iterable[Callable[..., Any]], arguments: str) -> Any:
    """Compiled ``switch(code, *arguments)`` that returns ``functions[code](*arguments)``.

    Numba has no table of functions that its disk cache can hold (numba issues 6264, 2956), so the chain of
    comparisons is written out here.
    """
    functions = list(functions)
    namespace: dict[str, Any] = {f"f{code}": function for code, function in enumerate(functions)}
    namespace["__name__"] = __name__
    lines = [f"def switch(code, {arguments}):"]
    for code in range(len(functions) - 1):
        lines += [f"    if code == {code}:", f"        return f{code}({arguments})"]
    # The last one takes what is left, so that every path returns a value.
    lines.append(f"    return f{len(functions) - 1}({arguments})")
    exec("\n".join(lines), namespace)
    return register_jitable(namespace["switch"])


def link_switch(
    kind: str, functions: Iterable[Callable[..., Any]], scalars: str, arrays: str, *, result: bool = False
) -> Any:
    """Compile a switch of loops once per dtype; callable in kernels as ``kind(code, *scalars, *arrays)``.

    Parameters
    ----------
    kind : str
        Name of the symbol.
    functions : iterable of callable
        ``functions[code](*scalars, *arrays)``.
    scalars, arrays : str
        Names of the arguments, with commas. Scalars are passed in the arrays' dtype; the arrays are
        one-dimensional, contiguous and of one length.
    result : bool, default=False
        The functions return a float64.

    Returns
    -------
    intrinsic
    """
    scalar_names = [name.strip() for name in scalars.split(",") if name.strip()]
    array_names = [name.strip() for name in arrays.split(",")]
    switch = build_switch(functions, ", ".join(scalar_names + array_names))
    views = ", ".join([*scalar_names, *(f"carray({name}, length)" for name in array_names)])
    # A cached function is rebuilt in the module that its globals name.
    namespace = {"__name__": __name__, "switch": switch, "carray": carray}
    parameters = ", ".join(["code", *scalar_names, *array_names, "length"])
    exec(f"def entry({parameters}):\n    return switch(code, {views})\n", namespace)
    return_type = types.float64 if result else types.void

    c_pointer: Any = types.__dict__["CPointer"]  # which the stubs do not know

    def address_of(dtype_name: str) -> tuple[int, Any]:
        dtype = getattr(types, dtype_name)
        arguments = [types.int64, *[dtype] * len(scalar_names), *[c_pointer(dtype)] * len(array_names)]
        function: Any = CFunc(
            namespace["entry"],
            ((*arguments, types.int64), return_type),
            locals={},
            options={"nopython": True, **compiler_options()},
        )
        function._cache = function_cache(link_switch, kind)
        function.compile()
        return function.address, function

    link.provide(kind, address_of)

    def define(*arguments):
        first = len(scalar_names) + 1
        dtype = arguments[first].dtype
        signature = return_type(types.int64, *[dtype] * len(scalar_names), *arguments[first:])

        def codegen(context, builder, signature, values):
            scalar = context.get_value_type(dtype)
            pointer = scalar.as_pointer()
            returned = context.get_value_type(types.float64) if result else ir.VoidType()
            function = link.declare(
                builder.module,
                link.symbol(kind, dtype),
                ir.FunctionType(
                    returned,
                    [_I64, *[scalar] * len(scalar_names), *[pointer] * len(array_names), _I64],
                ),
            )
            views = [
                context.make_array(kind_)(context, builder, value)
                for kind_, value in zip(signature.args[first:], values[first:], strict=True)
            ]
            length = cgutils.unpack_tuple(builder, views[0].shape)[0]
            out = builder.call(function, [*values[:first], *(view.data for view in views), length])
            return out if result else context.get_dummy_value()

        return signature, codegen

    # Numba wants an intrinsic's arguments by name.
    names = ", ".join(["code", *scalar_names, *array_names])
    namespace["define"] = define
    exec(f"def call(typingctx, {names}):\n    return define({names})\n", namespace)
    return intrinsic(namespace["call"])


def _value_loop(value: Callable[..., Any]) -> Any:
    @register_jitable
    def loop(z):
        for i in range(z.size):
            z[i] = value(z[i])

    return loop


def _derivative_loop(derivative: Callable[..., Any]) -> Any:
    @register_jitable
    def loop(d, z, a):
        for i in range(d.size):
            d[i] = d[i] * derivative(z[i], a[i])

    return loop


def _update_loop(rule: UpdateRule) -> Any:
    update = rule.update
    if rule.n_slots == 2:

        @register_jitable
        def loop(decay, scale, c0, c1, c2, c3, c4, c5, w, g, s0, s1):
            for i in range(w.size):
                gradient = (g[i] + decay * w[i]) * scale
                w[i], s0[i], s1[i] = update(w[i], gradient, s0[i], s1[i], c0, c1, c2, c3, c4, c5)

    else:

        @register_jitable
        def loop(decay, scale, c0, c1, c2, c3, c4, c5, w, g, s0, s1):
            for i in range(w.size):
                gradient = (g[i] + decay * w[i]) * scale
                w[i], s0[i], _ = update(w[i], gradient, s0[i], scale, c0, c1, c2, c3, c4, c5)

    return loop


def _loss_loop(value: Callable[..., Any], dz: Callable[..., Any]) -> Any:
    @register_jitable
    def loop(weight, y, a, d):
        # Summed in float64: a batch's loss decides when training stops.
        loss = 0.0
        for j in range(y.size):
            loss += value(y[j], a[j])
            d[j] = weight * dz(y[j], a[j])
        return weight * loss

    return loop


def _coefficients(rule: UpdateRule) -> Any:
    coefficients = rule.coefficients

    @register_jitable
    def fill(learning_rate, hyper, t, c):
        c[0], c[1], c[2], c[3], c[4], c[5] = coefficients(learning_rate, hyper, t)

    return fill


# activate(code, z): z[i] <- value(z[i]), in place.
activate = link_switch("activate", [_value_loop(entry.value) for entry in ACTIVATIONS], "", "z")

# chain_rule(code, d, z, a): d[i] <- d[i] * f'(z[i]), in place; z is read only where the entry needs it.
chain_rule = link_switch(
    "chain-rule", [_derivative_loop(entry.derivative) for entry in ACTIVATIONS], "", "d, z, a"
)

# loss_and_gradient(code, weight, y, a, d): weight * the summed loss of outputs a for targets y; d <- weight *
# its gradient with respect to the argument of the output's activation.
loss_and_gradient = link_switch(
    "loss", [_loss_loop(loss.value, loss.dz) for loss in LOSSES], "weight", "y, a, d", result=True
)

# update_parameters(code, decay, scale, c0, ..., c5, w, g, s0, s1): one step on a range of parameters, whose
# gradient is (g + decay w) scale.
update_parameters = link_switch(
    "update",
    [_update_loop(rule) for rule in RULES],
    "decay, scale, c0, c1, c2, c3, c4, c5",
    "w, g, s0, s1",
)

# rule_coefficients(code, learning_rate, hyper, t, c): the numbers of step t, into c.
rule_coefficients = build_switch([_coefficients(rule) for rule in RULES], "learning_rate, hyper, t, c")
