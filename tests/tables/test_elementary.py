"""Elementary functions: error in ulp over the whole range, special values, and the code they compile to."""

import os
import platform
import re
import subprocess
import sys
from decimal import Decimal, localcontext

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from fastnn.kernels.compiler import jit as _jit
from fastnn.kernels.cpu import elementary as arrays
from fastnn.tables import elementary

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("0", "")
compiled_only = pytest.mark.skipif(not COMPILED, reason="the pure Python bodies are NumPy's")
DTYPES = (np.float32, np.float64)


def reference_logistic(x):
    e = np.exp(-abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def reference_erf(x):
    """scipy's for less than longdouble, else the series of Abramowitz and Stegun, 7.1.6."""
    if x.dtype != np.longdouble:
        return special.erf(x)
    return np.array([np.longdouble(str(decimal_erf(float(v)))) for v in x])


def decimal_erf(x):
    if np.isnan(x) or abs(x) > 7:  # 1 - erf(7) is 4e-23
        return np.sign(x)
    with localcontext() as context:
        context.prec = 40
        x = Decimal(x)
        # All terms are positive: nothing cancels.
        term = total = 2 * x * (-x * x).exp() / Decimal("3.14159265358979323846264338327950288419717").sqrt()
        n = 0
        while abs(term) > abs(total) * Decimal(10) ** -25:
            n += 1
            term = term * 2 * x * x / (2 * n + 1)
            total += term
        return total


# Name -> reference, largest error allowed in ulp.
FUNCTIONS = {
    "exp": (np.exp, 1.1),
    "log": (np.log, 0.9),
    "tanh": (np.tanh, 2.6),
    "logistic": (reference_logistic, 2.3),
    "erf": (reference_erf, 1.4),
    "expm1": (np.expm1, 2.3),
    "log1p": (np.log1p, 0.9),
}
ARRAY_FUNCTIONS = ("exp", "log", "tanh", "logistic")

each_function = pytest.mark.parametrize("name", FUNCTIONS)
each_array_function = pytest.mark.parametrize("name", ARRAY_FUNCTIONS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def make_loop(name, sums=False):
    function = getattr(elementary, name)

    # As `jit` compiles, but for the cache, which keeps no assembly.
    flags = _jit.FASTMATH_SUMS if sums else _jit.FASTMATH

    @numba.njit(fastmath=set(flags), error_model="numpy", nogil=True)
    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return loop


LOOPS = {name: make_loop(name) for name in FUNCTIONS}


def evaluate(name, x):
    out = np.full_like(x, 123)
    with np.errstate(all="ignore"):  # only without compilation
        LOOPS[name](x, out)
    return out


def wider(dtype):
    """A format with at least 10 bits more, or None."""
    wide = np.float64 if dtype == np.float32 else np.longdouble
    return wide if np.finfo(wide).nmant >= np.finfo(dtype).nmant + 10 else None


def error_in_ulp(got, exact):
    """Largest distance in units of the last place of the result, subnormal results included."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(got.dtype)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(rounded))
        finite = np.isfinite(rounded)
        np.testing.assert_array_equal(got[~finite], rounded[~finite])
        number = ~np.isnan(rounded)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(rounded[number]))
        got, exact, rounded = got[finite], exact[finite], rounded[finite]
        unit = np.spacing(abs(rounded)).astype(exact.dtype)
        return float(np.max(abs(got - exact) / unit, initial=0))


def bit_patterns(dtype, n):
    """`n` numbers spread evenly over all bit patterns: every binade, both signs, subnormal, inf, NaN."""
    integer = np.dtype(f"u{np.dtype(dtype).itemsize}")
    step = np.iinfo(integer).max // n
    return (np.arange(n, dtype=integer) * integer.type(step)).view(dtype)


def whole_range(dtype, n):
    rng = np.random.default_rng(0)
    scales = (0.1, 1, 10, 30 if dtype == np.float32 else 300)
    return np.concatenate(
        [
            bit_patterns(dtype, n),
            *(rng.normal(scale=scale, size=n).astype(dtype) for scale in scales),
            (1 + rng.normal(scale=1e-3, size=n)).astype(dtype),
        ]
    )


def special_values(dtype):
    info = np.finfo(dtype)
    tiny, smallest = info.tiny, info.smallest_subnormal
    low = np.log(smallest)  # about where exp underflows
    high = np.log(info.max)
    values = [0, smallest, 3 * smallest, tiny / 2, tiny, 2 * tiny, info.eps, 0.5, 1, 2, 20, 40, info.max]
    values += [-high, high, low, -low, np.log(tiny), np.inf, np.nan]
    values = np.array(values, dtype)
    finite = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        up, down = np.nextafter(finite, dtype(np.inf)), np.nextafter(finite, dtype(-np.inf))
    values = np.concatenate([values, up, down])
    return np.concatenate([values, -values])


def exact(name, x):
    with np.errstate(all="ignore"):
        return FUNCTIONS[name][0](x.astype(wider(x.dtype)))


def skip_without_wider(dtype):
    if wider(dtype) is None:
        pytest.skip("longdouble is float64 here")


@compiled_only
@each_dtype
@each_function
def test_error_over_whole_range(name, dtype):
    skip_without_wider(dtype)
    n = 300_000
    if name == "erf":
        n = 100_000 if dtype == np.float32 else 500  # the reference is slow
    x = whole_range(dtype, n)
    assert error_in_ulp(evaluate(name, x), exact(name, x)) <= FUNCTIONS[name][1]


@compiled_only
@each_dtype
@each_function
def test_special_values(name, dtype):
    skip_without_wider(dtype)
    x = special_values(dtype)
    assert error_in_ulp(evaluate(name, x), exact(name, x)) <= max(FUNCTIONS[name][1], 1.1)


@compiled_only
@each_dtype
def test_gradual_underflow(dtype):
    info = np.finfo(dtype)
    skip_without_wider(dtype)
    x = np.linspace(np.log(info.smallest_subnormal) - 1, np.log(info.tiny) + 1, 10_000).astype(dtype)
    for name in ("exp", "logistic"):
        got = evaluate(name, x)
        assert np.count_nonzero((got > 0) & (got < info.tiny)) > 1000
        assert error_in_ulp(got, exact(name, x)) <= 1.1


@compiled_only
@each_dtype
def test_subnormal_arguments(dtype):
    skip_without_wider(dtype)
    x = np.concatenate([np.arange(1, 2000), 2 ** np.arange(11, 23)]).astype(dtype)
    x *= np.finfo(dtype).smallest_subnormal
    np.testing.assert_array_equal(evaluate("tanh", x), x)
    np.testing.assert_array_equal(evaluate("expm1", -x), -x)
    np.testing.assert_array_equal(evaluate("log1p", x), x)
    assert error_in_ulp(evaluate("log", x), exact("log", x)) <= 0.9


@each_dtype
def test_zeros_and_infinities(dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    nan, inf = np.nan, np.inf
    expected = {
        "exp": [1, 1, inf, 0, nan],
        "log": [-inf, -inf, inf, nan, nan],
        "tanh": [0, -0.0, 1, -1, nan],
        "logistic": [0.5, 0.5, 1, 0, nan],
        "erf": [0, -0.0, 1, -1, nan],
        "expm1": [0, -0.0, inf, -1, nan],
        "log1p": [0, -0.0, inf, nan, nan],
    }
    for name, values in expected.items():
        got = evaluate(name, x)
        np.testing.assert_array_equal(got, np.array(values, dtype), err_msg=name)
        number = ~np.isnan(got)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(values)[number], err_msg=name)


@compiled_only
@each_dtype
@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_error_of_any_number(dtype, data):
    skip_without_wider(dtype)
    width = np.dtype(dtype).itemsize * 8
    x = np.array(data.draw(st.lists(st.floats(width=width), min_size=1, max_size=40)), dtype)
    for name in ("exp", "log", "tanh", "logistic", "expm1", "log1p"):
        assert error_in_ulp(evaluate(name, x), exact(name, x)) <= FUNCTIONS[name][1]


@compiled_only
@each_function
def test_flags_of_the_caller_do_not_enter(name):
    """A kernel that lets its sums be reassociated must not break the argument reductions."""
    loop = make_loop(name, sums=True)
    for dtype in DTYPES:
        x = whole_range(dtype, 10_000)
        out = np.empty_like(x)
        loop(x, out)
        np.testing.assert_array_equal(out, evaluate(name, x))


@compiled_only
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
@each_dtype
@each_function
def test_loops_are_packed(name, dtype):
    evaluate(name, np.ones(1, dtype))
    listings = LOOPS[name].inspect_asm()
    (assembly,) = [text for sig, text in listings.items() if str(sig[0].dtype) == np.dtype(dtype).name]
    letter, other = ("s", "d") if dtype == np.float32 else ("d", "s")
    arithmetic = r"\bv?(?:add|sub|mul|div|max|min|fn?m(?:add|sub)\d+)"
    assert re.search(arithmetic + "p" + letter, assembly)
    assert not re.search(arithmetic + "[ps]" + other, assembly)
    assert not re.search(r"\bv?cvts[sd]2s[sd]|\bv?cvtp[sd]2p[sd]", assembly)
    # No call of the mathematical library.
    assert not re.search(rf"call\w*\s+.*\b{name}f?\b|movabsq?\s+\$(?:exp|log|tanh|erf)\w*", assembly)


@compiled_only
@pytest.mark.slow
def test_other_processors():
    """The errors hold without FMA, too, where a product and a sum are two roundings."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("names an x86 processor")
    own = "(special_values or gradual_underflow or whole_range) and not erf"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", own]
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": "+sse2",
        "FASTNN_SIMD": "",
        "FASTNN_CACHE": "0",
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


# The array functions.


@each_array_function
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_, ">f4"])
def test_array_dtype(name, dtype):
    x = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    with np.errstate(divide="ignore"):
        a = getattr(arrays, name)(x)
        expected = FUNCTIONS[name][0](x.astype(float))
    assert a.dtype == (np.float32 if np.dtype(dtype).char == "f" else np.float64)
    np.testing.assert_allclose(a, expected, rtol=1e-6)


@each_array_function
@given(
    x=hnp.arrays(
        st.sampled_from(DTYPES),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40),
        elements=st.floats(0.125, 8, width=32),
    ),
    step=st.sampled_from((1, -1, 2)),
    transpose=st.booleans(),
)
@settings(deadline=None, max_examples=60)
@example(x=np.zeros((0, 3)), step=1, transpose=False)
@example(x=np.float32(2), step=1, transpose=False)
def test_array_layout(name, x, step, transpose):
    function = getattr(arrays, name)
    x = np.asarray(x)
    x = x[::step] if x.ndim else x
    x = x.T if transpose else x
    expected = FUNCTIONS[name][0](x.astype(float))
    before = x.copy()
    a = function(x)
    assert a.shape == x.shape
    np.testing.assert_allclose(a, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(x, before)
    out = np.full((*x.shape, 2), 7, x.dtype)[..., 0]
    assert function(x, out=out) is out
    np.testing.assert_array_equal(out, a)
    assert function(x, out=x) is x
    np.testing.assert_array_equal(x, a)


def test_array_overlap():
    x = np.linspace(-3, 3, 100)
    expected = arrays.tanh(x[:-1])
    arrays.tanh(x[:-1], out=x[1:])
    np.testing.assert_array_equal(x[1:], expected)


def test_array_read_only_input():
    x = np.linspace(-3, 3, 100)
    arrays.exp(x)
    x.flags.writeable = False
    compiled = len(arrays._exp.signatures)
    np.testing.assert_allclose(arrays.exp(x), np.exp(x))
    assert compiled == len(arrays._exp.signatures) <= 2


@each_array_function
def test_array_rejects(name):
    function = getattr(arrays, name)
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="shape"):
        function(x, out=np.empty((3, 2), np.float32))
    with pytest.raises(ValueError, match="float32"):
        function(x, out=np.empty((2, 3), np.float64))
    with pytest.raises(ValueError, match="ndarray"):
        function(x, out=[1.0])
    read_only = np.empty((2, 3), np.float32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        function(x, out=read_only)
    for bad in (np.ones(2, complex), np.array(["a"]), np.array([None])):
        with pytest.raises(TypeError, match="real"):
            function(bad)
