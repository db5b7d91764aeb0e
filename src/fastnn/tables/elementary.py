"""Scalar ``exp, log, tanh, logistic, erf, expm1, log1p`` that a compiled loop turns into vector code.

LLVM cannot vectorise a call of the mathematical library, and Numba from PyPI ships no vector one. These
functions hold nothing but arithmetic, integer operations on the bits of a number, and selects, so a plain
loop around them becomes packed instructions on any processor. Both formats share one body; a float32 call
holds no float64 arithmetic.

In Python a name of this module is its NumPy twin. In compiled CPU code it is the implementation below, which
follows NumPy for infinities, NaN, signed zeros, and results that are subnormal, but raises no floating-point
warning. (CUDA has fast functions of its own, so the overloads are registered for the CPU only.)

Largest error found against a wider format, in units in the last place (ulp), over the whole range:

======== ======= =======
function float32 float64
======== ======= =======
exp      1.1     1.1
log      0.9     0.9
tanh     2.5     2.6
logistic 2.3     2.2
erf      1.4     1.1
expm1    1.7     2.3
log1p    0.9     0.9
======== ======= =======

Method
------
Cody and Waite's argument reduction (Software Manual for the Elementary Functions, 1980) with polynomials of
our own: minimax fits by Remez' algorithm in 50-digit arithmetic, the weight chosen so that the error stated
beside each is relative to the function. The reformulation of log by ``s = f / (2 + f)`` and the compensated
sum in log1p are those of fdlibm (Sun Microsystems, 1993).

Nothing here may be reassociated (adding and subtracting ``magic`` would cancel), so the functions carry
compiler flags of their own, whatever the caller's are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from scipy import special

# `contract` lets a multiplication and an addition become one FMA: faster, and never less exact here. LLVM
# vectorises only what is inlined, and erf and gelu are too long to be inlined unforced.
_OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy", "forceinline": True, "no_cfunc_wrapper": True}


class _Format(NamedTuple):
    """Constants of one floating-point format; polynomials have the highest power first."""

    # A number added to 1.5 * 2**(mantissa bits) leaves its nearest integer in the low bits of the sum. With
    # the exponent's bias added, those bits are the exponent field of 2**n.
    magic: Any
    # The same for 2**(n + half) and 2**(n - half). Both are normal numbers for any n that exp meets; the
    # second factor, 2**-half or 2**half, then makes the result subnormal or infinite with one rounding.
    magic_low: Any
    magic_high: Any
    low_factor: Any
    high_factor: Any
    # exp is 0 below and infinite above, rounded.
    exp_low: Any
    exp_high: Any
    # From here on tanh rounds to 1, expm1 of the negative to -1, and expm1 to exp.
    saturated: Any
    log2e: Any
    # ln 2 in two parts; the first has so few bits that its product with any exponent is exact.
    ln2_high: Any
    ln2_low: Any
    # (exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2.
    exp: tuple[Any, ...]
    smallest_normal: Any
    # 2**(mantissa bits) makes any subnormal number normal.
    normalise: Any
    mantissa_bits: Any
    # 2**(mantissa bits) + bias, see `_split`.
    exponent_magic: Any
    # float32: (log(1 + f) - f + f**2 / 2) / f**3 for 1 + f between sqrt(1/2) and sqrt(2).
    # float64: (log((1 + s) / (1 - s)) - 2 s) / s**3 in s**2, for the same range: half the degree, at the cost
    # of a division.
    log: tuple[Any, ...]
    # erf(x) / x - 1 in x**2, for |x| <= 1.
    erf_small: tuple[Any, ...]
    # log(1 - erf(t)) for 1 <= t <= erf_saturated, where 1 is the nearest number to erf.
    erf_large: tuple[Any, ...]
    erf_saturated: Any


def _rounded(scalar: Any, constants: dict[str, Any]) -> _Format:
    return _Format(
        **{
            name: tuple(scalar(c) for c in value) if isinstance(value, tuple) else scalar(value)
            for name, value in constants.items()
        }
    )


_LOG2E = 1.4426950408889634

FLOAT32 = _rounded(
    np.float32,
    {
        "magic": 1.5 * 2**23 + 127,
        "magic_low": 1.5 * 2**23 + 127 + 64,
        "magic_high": 1.5 * 2**23 + 127 - 64,
        "low_factor": 2.0**-64,
        "high_factor": 2.0**64,
        "exp_low": -104.0,
        "exp_high": 89.0,
        "saturated": 20.0,
        "log2e": _LOG2E,
        "ln2_high": 0.693359375,
        "ln2_low": -2.12194440054690583e-4,
        "exp": (0.0013882311, 0.00836652, 0.041667204, 0.16666543, 0.49999997),  # 2**-26
        "smallest_normal": 2.0**-126,
        "normalise": 2.0**23,
        "mantissa_bits": 23.0,
        "exponent_magic": 2.0**23 + 127,
        "log": (
            -0.076347485, 0.1276172, -0.13160147, 0.14201733, -0.1662336, 0.20001228, -0.2500082, 0.3333333,
        ),  # 2**-27
        "erf_small": (
            7.853845e-05, -0.0008010201, 0.0051883305, -0.026853815, 0.112835854, -0.37612626, 0.12837917,
        ),  # 2**-29
        "erf_large": (
            0.00018637712, -0.0029476378, 0.021837981, -0.10310658, -0.638145, -1.127089, -0.00034155336,
        ),  # 2**-29 of erf
        "erf_saturated": 4.0,
    },
)  # fmt: skip

FLOAT64 = _rounded(
    np.float64,
    {
        "magic": 1.5 * 2**52 + 1023,
        "magic_low": 1.5 * 2**52 + 1023 + 512,
        "magic_high": 1.5 * 2**52 + 1023 - 512,
        "low_factor": 2.0**-512,
        "high_factor": 2.0**512,
        "exp_low": -746.0,
        "exp_high": 710.0,
        "saturated": 40.0,
        "log2e": _LOG2E,
        "ln2_high": 6.93147180369123816490e-01,
        "ln2_low": 1.90821492927058770002e-10,
        "exp": (
            2.50537770731996e-08, 2.762603781926261e-07, 2.755740753598852e-06, 2.4801505273986966e-05,
            0.00019841269719014627, 0.0013888888931564694, 0.008333333333389549, 0.04166666666657676,
            0.16666666666666588, 0.5000000000000006,
        ),  # 2**-55
        "smallest_normal": 2.0**-1022,
        "normalise": 2.0**52,
        "mantissa_bits": 52.0,
        "exponent_magic": 2.0**52 + 1023,
        "log": (
            0.14796080911971168, 0.1531404246711389, 0.18183564433147723, 0.22222198575262733,
            0.2857142874232851, 0.3999999999941509, 0.6666666666666734,
        ),  # 2**-59
        "erf_small": (
            -7.779585164249137e-10, 1.3711053766403624e-08, -1.620633363023811e-07, 1.644713460929417e-06,
            -1.4924712590445308e-05, 0.00012055293594515719, -0.0008548325930006999, 0.0052239776061354945,
            -0.02686617064311391, 0.11283791670944203, -0.3761263890318352, 0.12837916709551256,
        ),  # 2**-56
        "erf_large": (
            -4.928158170030879e-12, 2.0447902745246765e-10, -3.933964174481976e-09, 4.641978146865432e-08,
            -3.732804183030835e-07, 2.1355583152235015e-06, -8.6666841968256e-06, 2.282100516490489e-05,
            -2.0263003960310452e-05, -0.00013505740312130506, 0.0007706539014730615, -0.0019159561545204864,
            0.0004106398924602262, 0.01899017028695091, -0.10270343501366205, -0.636643629726713,
            -1.1283740891082379, -5.028881507462757e-07,
        ),  # 2**-57 of erf
        "erf_saturated": 6.0,
    },
)  # fmt: skip

_FORMATS = {types.float32: FLOAT32, types.float64: FLOAT64}

# Bits of the stored mantissa, and of the float nearest to sqrt(1/2): where `_split` cuts the binades.
_LAYOUT = {types.float32: (23, 0x3F3504F3), types.float64: (52, 0x3FE6A09E667F3BCD)}


def _integer(float_type: Any) -> ir.IntType:
    return ir.IntType(float_type.bitwidth)


@intrinsic
def _horner(typingctx: Any, x: Any, coefficients: Any) -> Any:
    """Value at x of the polynomial with these coefficients, highest power first, without a loop."""
    if not isinstance(coefficients, types.UniTuple) or coefficients.dtype != x:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, *rest = cgutils.unpack_tuple(builder, args[1])
        for c in rest:
            value = builder.fadd(builder.fmul(value, args[0]), c)
        return value

    return x(x, coefficients), codegen


@intrinsic
def _power_of_two(typingctx: Any, t: Any) -> Any:
    """The number whose exponent field is the low bits of t, a sum with one of the magic numbers."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = _integer(t)
        bits = builder.bitcast(args[0], integer)
        return builder.bitcast(builder.shl(bits, integer(_LAYOUT[t][0])), args[0].type)

    return t(t), codegen


@intrinsic
def _split(typingctx: Any, x: Any, exponent_magic: Any) -> Any:
    """``(k, m)`` with x = 2**k * m and sqrt(1/2) <= m < sqrt(2), for a positive normal x."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer, kind = _integer(x), args[0].type
        shift, cut = _LAYOUT[x]
        one = {23: 0x3F800000, 52: 0x3FF0000000000000}[shift]
        # Adding 1 - cut carries into the exponent just when m, taken in [1, 2), is sqrt(2) or more; the
        # exponent field is then k + bias, never negative.
        moved = builder.add(builder.bitcast(args[0], integer), integer(one - cut))
        mantissa = builder.and_(moved, integer((1 << shift) - 1))
        m = builder.bitcast(builder.add(mantissa, integer(cut)), kind)
        # An integer in the low bits of 2**shift is that integer's value; AVX2 has no 64-bit conversion.
        field = builder.lshr(moved, integer(shift))
        raw = builder.or_(field, builder.bitcast(kind(2.0**shift), integer))
        k = builder.fsub(builder.bitcast(raw, kind), args[1])
        return context.make_tuple(builder, signature.return_type, (k, m))

    return types.UniTuple(x, 2)(x, exponent_magic), codegen


@intrinsic
def _copysign(typingctx: Any, magnitude: Any, sign: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        intrinsic_type = ir.FunctionType(kind, (kind, kind))
        return builder.call(builder.module.declare_intrinsic("llvm.copysign", [kind], intrinsic_type), args)

    return magnitude(magnitude, sign), codegen


def rounded_product(x, y):
    """``x * y``, rounded before anything is added to it.

    In ``a * b + c * d`` either product may be fused with the addition, and the compiler need not choose the
    same one in the vector body of a loop and in its remainder. With one of the two written so there is no
    choice, and an element's value does not depend on where an array is cut.
    """
    return x * y


@intrinsic
def _rounded_product(typingctx: Any, x: Any, y: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # Numba gives its flags, which allow fusing, to instructions without any; this one is for divisions.
        return builder.fmul(*args, flags=("arcp",))

    return x(x, y), codegen


@overload(rounded_product, target="cpu", jit_options=_OPTIONS)
def _(x, y):
    return (lambda x, y: _rounded_product(x, y)) if x in _FORMATS and x == y else None


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make `implementation(c)` what `function` means in compiled code, for each format `c`."""

    def register(implementation: Callable[[_Format], Callable[..., Any]]) -> Callable[..., Any]:
        def choose(x):
            return implementation(_FORMATS[x]) if x in _FORMATS else None

        overload(function, target="cpu", jit_options=_OPTIONS)(choose)
        return implementation

    return register


# In the bodies below every comparison is written so that NaN takes the branch that returns x itself.


def _reduced(x, magic):
    """``(r, P(r), t)`` with x = n ln 2 + r and exp(r) = 1 + r + r**2 P(r), and t holding n."""
    raise NotImplementedError


@overload(_reduced, target="cpu", jit_options=_OPTIONS)
def _(x, magic):
    c = _FORMATS[x]

    def implementation(x, magic):
        t = x * c.log2e + magic
        n = t - magic
        r = (x - n * c.ln2_high) - n * c.ln2_low
        return r, _horner(r, c.exp), t

    return implementation


def exp(x):
    """Exponential function."""
    return np.exp(x)


@_compiled(exp)
def _exp(c):
    zero, one = type(c.magic)(0), type(c.magic)(1)

    def implementation(x):
        y = c.exp_low if x < c.exp_low else x
        y = c.exp_high if y > c.exp_high else y
        magic = c.magic_low if y < zero else c.magic_high
        factor = c.low_factor if y < zero else c.high_factor
        r, p, t = _reduced(y, magic)
        return (one + (r + (r * r) * p)) * _power_of_two(t) * factor

    return implementation


def _exp_negative(x):
    """Exponential function of x <= 0."""
    raise NotImplementedError


@_compiled(_exp_negative)
def _(c):
    one = type(c.magic)(1)

    def implementation(x):
        y = c.exp_low if x < c.exp_low else x
        r, p, t = _reduced(y, c.magic_low)
        return (one + (r + (r * r) * p)) * _power_of_two(t) * c.low_factor

    return implementation


def expm1(x):
    """``exp(x) - 1`` without cancellation."""
    return np.expm1(x)


@_compiled(expm1)
def _expm1(c):
    zero, one = type(c.magic)(0), type(c.magic)(1)

    def implementation(x):
        y = -c.saturated if x < -c.saturated else x
        y = c.exp_high if y > c.exp_high else y
        large = y > c.saturated
        r, p, t = _reduced(y, c.magic_high if large else c.magic)
        power = _power_of_two(t)
        # 2**n exp(r) - 1 = 2**n (exp(r) - 1) + (2**n - 1)
        value = power * (r + (r * r) * p) + (power - (zero if large else one))
        return _copysign(value * (c.high_factor if large else one), x)  # keeps -0.0

    return implementation


def tanh(x):
    """Hyperbolic tangent."""
    return np.tanh(x)


@_compiled(tanh)
def _tanh(c):
    one, two = type(c.magic)(1), type(c.magic)(2)

    def implementation(x):
        y = two * abs(x)
        y = c.saturated if y > c.saturated else y
        r, p, t = _reduced(y, c.magic)
        power = _power_of_two(t)
        e = power * (r + (r * r) * p) + (power - one)  # expm1(2 |x|)
        return _copysign(e / (e + two), x)

    return implementation


def logistic(x):
    """Logistic function ``1 / (1 + exp(-x))``."""
    return special.expit(x)


@_compiled(logistic)
def _logistic(c):
    zero, one = type(c.magic)(0), type(c.magic)(1)

    def implementation(x):
        e = _exp_negative(-abs(x))
        return (e if x < zero else one) / (one + e)

    return implementation


def _log_sum(m, k, tail):
    """Logarithm of ``2**k * m`` plus `tail`, for m as `_split` gives it and a small tail."""
    raise NotImplementedError


@overload(_log_sum, target="cpu", jit_options=_OPTIONS)
def _(m, k, tail):
    c = _FORMATS[m]
    half, one, two = (type(c.magic)(i) for i in (0.5, 1, 2))

    def log_sum_32(m, k, tail):
        f = m - one
        square = f * f
        correction = f * square * _horner(f, c.log) + (k * c.ln2_low + tail)
        return (f + (correction - half * square)) + k * c.ln2_high

    def log_sum_64(m, k, tail):
        f = m - one
        half_square = rounded_product(half * f, f)
        s = f / (two + f)
        z = s * s
        correction = s * (half_square + z * _horner(z, c.log)) + (k * c.ln2_low + tail)
        return k * c.ln2_high - ((half_square - correction) - f)

    return log_sum_32 if m == types.float32 else log_sum_64


def log(x):
    """Natural logarithm."""
    return np.log(x)


@_compiled(log)
def _log(c):
    zero, one = type(c.magic)(0), type(c.magic)(1)
    infinity, nan = type(c.magic)(np.inf), type(c.magic)(np.nan)

    def implementation(x):
        subnormal = x < c.smallest_normal
        k, m = _split(x * (c.normalise if subnormal else one), c.exponent_magic)
        value = _log_sum(m, k - (c.mantissa_bits if subnormal else zero), zero)
        value = value if x < infinity else x
        value = -infinity if x == zero else value
        return nan if x < zero else value

    return implementation


def log1p(x):
    """``log(1 + x)`` without cancellation."""
    return np.log1p(x)


@_compiled(log1p)
def _log1p(c):
    one = type(c.magic)(1)
    infinity, nan = type(c.magic)(np.inf), type(c.magic)(np.nan)

    def implementation(x):
        u = one + x
        # Knuth's TwoSum: what the rounding of u lost.
        v = u - one
        lost = (one - (u - v)) + (x - v)
        k, m = _split(u, c.exponent_magic)
        value = _copysign(_log_sum(m, k, lost / u), x)  # keeps -0.0
        value = value if x < infinity else x
        value = -infinity if x == -one else value
        return nan if x < -one else value

    return implementation


def erf(x):
    """Error function."""
    return special.erf(x)


@_compiled(erf)
def _erf(c):
    one = type(c.magic)(1)

    def implementation(x):
        a = abs(x)
        small = x + x * _horner(x * x, c.erf_small)
        t = c.erf_saturated if a > c.erf_saturated else a
        large = _copysign(one - _exp_negative(_horner(t, c.erf_large)), x)
        return small if a < one else large

    return implementation
