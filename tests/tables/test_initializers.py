"""Initial weights and biases: every rule's statistics, the random stream, what users give."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastnn.tables.initializers import INITIALIZERS, NAMES, initialize
from tests import reference

SIZES = [300, 200, 100]


def draw(seed=0, sizes=SIZES, dtype=np.float64, **rules):
    return initialize(np.random.RandomState(seed), sizes, factor=6.0, dtype=dtype, **rules)


@pytest.mark.parametrize("entry", INITIALIZERS, ids=lambda entry: entry.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_statistics(entry, dtype):
    coefs, intercepts = draw(dtype=dtype, weight_init=entry.name, bias_init=entry.name)
    assert [W.shape for W in coefs] == [(300, 200), (200, 100)]
    assert [b.shape for b in intercepts] == [(200,), (100,)]
    assert {p.dtype for p in coefs + intercepts} == {np.dtype(dtype)}
    mean = 0.5 if entry.name == "constant" else 0.0
    for W in coefs:
        deviation = reference.DEVIATIONS[entry.name](*W.shape)
        assert_allclose(W.std(), deviation, rtol=0.03)
        assert_allclose(W.mean(), mean, atol=6 * deviation / np.sqrt(W.size))
    if entry.name != "orthogonal":  # for which biases are one column
        deviation = reference.DEVIATIONS[entry.name](300, 200)
        assert_allclose(intercepts[0].std(), deviation, rtol=0.2)
        assert_allclose(intercepts[0].mean(), mean, atol=4 * deviation / np.sqrt(200))


@pytest.mark.parametrize("name", ["scikit-learn", "glorot_uniform", "he_uniform"])
def test_uniform_rules_keep_to_their_bounds(name):
    for W in draw(weight_init=name)[0]:
        bound = np.sqrt(3) * reference.DEVIATIONS[name](*W.shape)
        assert 0.99 * bound < abs(W).max() <= bound


@pytest.mark.parametrize("shape", [(40, 40), (60, 20), (20, 60), (1, 5), (5, 1), (1, 1)])
def test_orthogonal(shape):
    (Q,), (b,) = draw(sizes=shape, weight_init="orthogonal", bias_init="orthogonal")
    assert Q.shape == shape
    product = Q.T @ Q if shape[0] >= shape[1] else Q @ Q.T
    assert_allclose(product, np.eye(min(shape)), atol=1e-13)
    assert_allclose(b @ b, 1, rtol=1e-13)


def test_orthogonal_matrices_are_uniformly_distributed():
    # QR alone gives a product of two reflections, which is never a reflection.
    draws = np.array([draw(seed, (3, 3), weight_init="orthogonal")[0][0] for seed in range(4000)])
    assert_allclose(draws.mean(axis=0), 0, atol=5 / np.sqrt(3 * 4000))
    assert_allclose((draws**2).mean(axis=0), 1 / 3, atol=0.03)
    determinants = np.linalg.det(draws)
    assert_allclose(determinants.mean(), 0, atol=5 / np.sqrt(4000))
    # The trace of such a matrix has variance 1 (Diaconis and Shahshahani, 1994).
    assert_allclose(np.trace(draws, axis1=1, axis2=2).var(), 1, atol=0.1)


def test_auto_is_scikit_learns():
    auto, named = draw(), draw(weight_init="scikit-learn", bias_init="scikit-learn")
    for one, other in zip(auto[0] + auto[1], named[0] + named[1], strict=True):
        assert_array_equal(one, other)
    rng = np.random.RandomState(0)
    bound = np.sqrt(6.0 / 500)
    assert_array_equal(auto[0][0], rng.uniform(-bound, bound, (300, 200)))
    assert_array_equal(auto[1][0], rng.uniform(-bound, bound, 200))


@pytest.mark.parametrize(
    "bias_init", [*NAMES, 0.25, lambda rng, fan_in, fan_out, dtype: rng.normal(size=fan_out)]
)
def test_weights_do_not_depend_on_the_biases(bias_init):
    expected = np.random.RandomState(0), np.random.RandomState(0)
    coefs, _ = initialize(expected[0], SIZES, factor=6.0, dtype=np.float64)
    other, intercepts = initialize(expected[1], SIZES, factor=6.0, dtype=np.float64, bias_init=bias_init)
    for one, two in zip(coefs, other, strict=True):
        assert_array_equal(one, two)
    assert expected[0].random_sample() == expected[1].random_sample()
    again = draw(bias_init=bias_init)[1]
    for one, two in zip(intercepts, again, strict=True):
        assert_array_equal(one, two)


def test_biases_of_the_layers_are_drawn_apart():
    _, (first, second) = draw(sizes=[200, 100, 100], bias_init="normal")
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.4


def test_functions_get_the_layer_and_the_stream():
    seen = []

    def rule(random_state, fan_in, fan_out, dtype):
        seen.append((fan_in, fan_out, dtype))
        return random_state.normal(size=(fan_in, fan_out))

    coefs, _ = draw(dtype=np.float32, weight_init=rule)
    assert seen == [(300, 200, np.dtype(np.float32)), (200, 100, np.dtype(np.float32))]
    expected = np.random.RandomState(0).normal(size=(300, 200))
    assert_array_equal(coefs[0], expected.astype(np.float32))


def test_arrays_are_copied_and_cast():
    given = [np.ones((3, 2), np.float32), [[1], [2]]]
    coefs, _ = draw(sizes=[3, 2, 1], dtype=np.float32, weight_init=given)
    assert_array_equal(coefs[1], [[1], [2]])
    assert {W.dtype for W in coefs} == {np.dtype(np.float32)}
    assert not np.shares_memory(coefs[0], given[0])


def test_a_number_fills_the_layer():
    _, intercepts = draw(bias_init=-0.8)
    assert all((b == -0.8).all() for b in intercepts)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (np.ones((2, 3)), r"shape \(2, 3\)"),
        (np.ones(3), r"shape \(3,\)"),
        (np.array([[1.0], [2], [np.nan]]), "not finite in float32"),
        (np.array([[1.0], [2], [np.inf]]), "not finite in float32"),
        (np.full((3, 1), 1e300), "not finite in float32"),
        (np.array([["a"], ["b"], ["c"]]), "dtype <U1"),
        (np.ones((3, 1), complex), "dtype complex128"),
        ([[1], [2, 3], [4]], "dtype object"),
        (None, "dtype object"),
    ],
)
def test_what_is_given_is_checked(given, found):
    for rule in ([np.ones((2, 3)), given], lambda rng, m, n, dtype: given if m == 3 else np.ones((2, 3))):
        with pytest.raises(ValueError, match=rf"weight_init of layer 2 .* shape \(3, 1\), got .*{found}"):
            draw(sizes=[2, 3, 1], dtype=np.float32, weight_init=rule)
    with pytest.raises(ValueError, match=r"bias_init of layer 1 .* shape \(3,\), got shape \(4,\)"):
        draw(sizes=[2, 3, 1], bias_init=lambda rng, m, n, dtype: np.zeros(4))
    with pytest.raises(ValueError, match=r"bias_init of layer 1 .* not finite in float32"):
        draw(sizes=[2, 3, 1], dtype=np.float32, bias_init=1e300)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_arrays_are_counted(count):
    with pytest.raises(
        ValueError, match=f"weight_init must hold one array per layer, 2 in all, but holds {count}"
    ):
        draw(sizes=[2, 3, 1], weight_init=[np.ones((2, 3))] * count)
