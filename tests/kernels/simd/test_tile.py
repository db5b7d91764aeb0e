"""The tile layer against NumPy: every row count and width, in every row of the table the host has."""

import os
import subprocess
import sys

import numpy as np
import pytest

from fastnn.kernels.compiler import targets
from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.simd.tile import (
    PAIR_ROWS,
    SUM_LANES,
    TILE_ROWS,
    TilePanel,
    divide_by_sum,
    scalars_of,
    subtract_max,
    tile_add_least,
    tile_add_rows,
    tile_all_distances,
    tile_argmin,
    tile_argmin_squares,
    tile_columns,
    tile_difference,
    tile_distances,
    tile_gather,
    tile_lanes,
    tile_lowest,
    tile_lowest_two,
    tile_product,
    tile_transpose,
    vector_width,
)

DTYPES = [np.float32, np.float64]


@jit
def product(A, B, begin, begin_stride, C, rows, depth, columns, has_begin):
    tile_product(
        rows, depth, scalars_of(A, 0, TILE_ROWS, 1, depth), TilePanel(B, 0, columns),
        TilePanel(begin, 0, begin_stride), TilePanel(C, 0, columns), columns, has_begin,
    )  # fmt: skip


@jit
def argmin(A, start, B, best, labels, count, depth, columns, first):
    tile_argmin(count, depth, A, 0, start, 0, TilePanel(B, 0, columns), best, 0, labels, 0, np.int32(first))


@jit
def argmin_squares(A, start, B, best, labels, count, depth, columns, first):
    tile_argmin_squares(
        count, depth, A, 0, start, 0, TilePanel(B, 0, columns), best, 0, labels, 0, np.int32(first)
    )


@jit
def lowest(values, best, labels, count):
    tile_lowest(count, values, 0, best, labels)


@jit
def lowest_two(values, best, labels, second, count):
    tile_lowest_two(count, values, 0, best, labels, second)


@jit
def distances(X, C, labels, out, rows, depth):
    tile_distances(rows, depth, X, 0, C, labels, 0, out, 0)


@jit
def all_distances(X, C, out, rows, count, depth):
    tile_all_distances(rows, count, depth, X, 0, C, out, 0, count)


@jit
def add_rows(x, labels, weights, sums, rows, n_columns, stride, is_weighted, counting):
    tile_add_rows(
        rows,
        n_columns,
        TilePanel(x, 1, stride),
        labels,
        0,
        weights,
        0,
        is_weighted,
        counting,
        sums,
        0,
        sums.shape[1],
    )


@jit
def add_least(values, closest, weights, sums, count, is_weighted):
    tile_add_least(count, values, 0, closest, 1, weights, 1, is_weighted, sums, 0, sums.shape[1])


@jit
def to_lanes(source, target, rows, n_columns, stride):
    tile_lanes(rows, n_columns, source, 0, target, 0, stride)


@jit
def transpose(source, stride, target, rows):
    tile_transpose(rows, source, 0, stride, target, 0, rows)


@jit
def gather(source, order, first, rows, n_columns, target, target_stride):
    tile_gather(rows, order, first, n_columns, source, n_columns, target, 0, target_stride)


@jit
def difference(source, offset, origin, rows, n_columns, target, target_stride):
    tile_difference(rows, n_columns, source, offset, n_columns, origin, target, 0, target_stride)


@jit
def softmax_parts(rows, width, panel, at, divide):
    if divide:
        divide_by_sum(rows, width, panel, at)
    else:
        subtract_max(rows, width, panel, at)


@jit
def widths(x):
    return vector_width(x), tile_columns(x)


def columns_of(dtype):
    return targets.ROW.vector_width(np.dtype(dtype).itemsize) * targets.ROW.tile_vectors


@pytest.mark.parametrize("dtype", DTYPES)
def test_widths_are_those_of_the_table(dtype):
    assert widths(np.zeros(1, dtype)) == (
        targets.ROW.vector_width(np.dtype(dtype).itemsize),
        columns_of(dtype),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", range(1, TILE_ROWS + 1))
def test_product_of_every_ragged_shape(dtype, rows):
    rng = np.random.default_rng(rows)
    tolerance = 20 * np.finfo(dtype).eps
    for columns in range(1, columns_of(dtype) + 1):
        for depth in (0, 1, 2, 9):
            A = rng.normal(size=(depth, TILE_ROWS)).astype(dtype)
            B = rng.normal(size=(depth, columns)).astype(dtype)
            want = A[:, :rows].T @ B
            # A guard beyond the tile shows any write outside it.
            C = np.full(rows * columns + 64, 7, dtype)
            flat = A.ravel(), B.ravel()
            product(*flat, C, 0, C, rows, depth, columns, False)
            np.testing.assert_allclose(C[: want.size].reshape(want.shape), want, atol=tolerance)
            product(*flat, C, columns, C, rows, depth, columns, True)
            np.testing.assert_allclose(C[: want.size].reshape(want.shape), 2 * want, atol=2 * tolerance)
            bias = rng.normal(size=columns).astype(dtype)
            product(*flat, bias, 0, C, rows, depth, columns, True)
            np.testing.assert_allclose(C[: want.size].reshape(want.shape), want + bias, atol=2 * tolerance)
            assert (C[want.size :] == 7).all()


def panels_of(A):
    """Rows of A as the tile takes its candidates: panels of TILE_ROWS, each (depth, TILE_ROWS)."""
    count, depth = A.shape
    padded = np.full((-(-count // TILE_ROWS) * TILE_ROWS, depth), np.nan, A.dtype)
    padded[:count] = A
    return np.ascontiguousarray(
        padded.reshape(len(padded) // TILE_ROWS, TILE_ROWS, depth).transpose(0, 2, 1)
    ).ravel()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("squares", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 5])
@pytest.mark.parametrize("count", [*range(1, TILE_ROWS + 2), 3 * TILE_ROWS - 1, 3 * TILE_ROWS])
def test_argmin_keeps_the_first_of_equals_and_ignores_nan(dtype, squares, count, depth):
    rng = np.random.default_rng(count)
    columns = columns_of(dtype)
    A = rng.integers(-2, 3, size=(count, depth)).astype(dtype)
    B = rng.integers(-2, 3, size=(depth, columns)).astype(dtype)
    if depth:
        B[0, 1] = np.nan
    start = rng.integers(0, 3, size=count).astype(dtype)
    if squares:
        values = ((A[:, :, None] - B) ** 2).sum(axis=1) + start[:, None]
    else:
        values = A @ B + start[:, None]
    best = np.full(columns, 1, dtype)
    labels = np.full(columns, -1, np.int32)
    function = argmin_squares if squares else argmin
    function(panels_of(A), start, B.ravel(), best, labels, count, depth, columns, 100)
    lowest = values.min(axis=0)
    improved = lowest < 1
    np.testing.assert_array_equal(labels, np.where(improved, values.argmin(axis=0) + 100, -1))
    np.testing.assert_array_equal(best, np.where(improved, lowest, 1))
    if depth:
        assert labels[1] == -1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, TILE_ROWS - 1, TILE_ROWS + 1])
def test_argmin_begins_anew_with_the_first_candidate(dtype, count):
    columns = columns_of(dtype)
    A, B = np.ones((count, 1), dtype), np.full((1, columns), 7, dtype)
    B[0, 1] = np.nan
    best, labels = np.full(columns, -5, dtype), np.full(columns, -5, np.int32)
    argmin(panels_of(A), np.zeros(count, dtype), B.ravel(), best, labels, count, 1, columns, 0)
    want = np.full(columns, 7, dtype)
    want[1] = np.inf
    np.testing.assert_array_equal(best, want)
    assert not labels.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 9])
def test_lowest_of_every_column(dtype, count):
    rng = np.random.default_rng(count)
    columns = columns_of(dtype)
    values = rng.integers(0, 4, size=(count, columns)).astype(dtype)
    values[0, 1], values[:, 2] = np.nan, np.inf
    known = np.where(np.isnan(values), np.inf, values)
    for seconds in (False, True):
        best, second = np.full((2, columns), -5, dtype)
        labels = np.full(columns, -5, np.int32)
        if seconds:
            lowest_two(values.ravel(), best, labels, second, count)
            ordered = np.vstack([np.sort(known, axis=0), np.full((1, columns), np.inf)])
            np.testing.assert_array_equal(second, ordered[1])
        else:
            lowest(values.ravel(), best, labels, count)
        np.testing.assert_array_equal(best, known.min(axis=0))
        np.testing.assert_array_equal(labels, known.argmin(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_distances_of_rows_to_their_centers(dtype):
    rng = np.random.default_rng(0)
    width = targets.ROW.vector_width(np.dtype(dtype).itemsize)
    for depth in [0, *range(1, width + 2), 4 * width - 1, 4 * width, 4 * width + 1, 9 * width + 3]:
        # Memory that ends with the last row: what lies behind it may not be read.
        X, C = rng.normal(size=(7, depth)).astype(dtype), rng.normal(size=(3, depth)).astype(dtype)
        labels = rng.integers(3, size=7).astype(np.int32)
        out = np.full(9, 5, dtype)
        distances(X.ravel(), C.ravel(), labels, out, 7, depth)
        np.testing.assert_allclose(out[:7], ((X - C[labels]) ** 2).sum(axis=1), rtol=1e-5)
        assert (out[7:] == 5).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, PAIR_ROWS])
def test_distances_of_rows_to_all_centers(dtype, rows):
    rng = np.random.default_rng(0)
    width = targets.ROW.vector_width(np.dtype(dtype).itemsize)
    for depth in (0, 1, width - 1, width, 3 * width + 2):
        for count in (1, 2, 3, 7, 8, 9, 31):
            X, C = rng.normal(size=(rows, depth)).astype(dtype), rng.normal(size=(count, depth)).astype(dtype)
            out = np.full(rows * count + 1, 5, dtype)
            all_distances(X.ravel(), C.ravel(), out, rows, count, depth)
            want = ((X[:, None] - C) ** 2).sum(axis=2)
            np.testing.assert_allclose(out[:-1].reshape(rows, count), want, rtol=1e-5, atol=1e-6)
            assert out[-1] == 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("counting", [False, True])
def test_rows_are_added_up_by_label(dtype, weighted, counting):
    rng = np.random.default_rng(0)
    for n_columns in [*range(2 * SUM_LANES + 2), 5 * SUM_LANES + 3]:
        width = -(-(n_columns + 1) // SUM_LANES) * SUM_LANES
        X = rng.normal(size=(9, n_columns + 2)).astype(dtype)
        labels = rng.integers(3, size=9).astype(np.int32)
        weights = rng.uniform(size=9).astype(dtype) if weighted else np.empty(0, dtype)
        sums = np.zeros((4, width))
        add_rows(X.ravel(), labels, weights, sums, 9, n_columns, n_columns + 2, weighted, counting)
        w = weights.astype(np.float64) if weighted else np.ones(9)
        want = np.zeros_like(sums)
        np.add.at(want[:, :n_columns], labels, w[:, None] * X[:, 1 : n_columns + 1])
        if counting:
            np.add.at(want[:, n_columns], labels, w)
        np.testing.assert_allclose(sums, want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [1, 5])
def test_sums_of_the_least_values(dtype, weighted, count):
    rng = np.random.default_rng(0)
    columns, width = columns_of(dtype), targets.ROW.vector_width(np.dtype(dtype).itemsize)
    values = rng.uniform(size=(count, columns)).astype(dtype)
    closest, weights = rng.uniform(size=(2, columns + 2)).astype(dtype)
    closest[3] = np.inf
    want_closest = closest.copy()
    want_closest[1:-1] = np.minimum(closest[1:-1], values[0])
    terms = np.minimum(values, want_closest[1:-1]) * (weights[1:-1] if weighted else 1)
    sums = np.ones((count, width + 3))
    add_least(values.ravel(), closest, weights, sums, count, weighted)
    np.testing.assert_array_equal(closest, want_closest)
    want = 1 + terms.reshape(count, -1, width).sum(axis=1)
    np.testing.assert_allclose(sums[:, :width], want, rtol=1e-6)
    assert (sums[:, width:] == 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_contiguous_rows_to_lanes(dtype):
    width = targets.ROW.vector_width(np.dtype(dtype).itemsize)
    for n_columns in range(1, 2 * width + 2):
        for rows in (1, width - 1, width):
            source = np.random.default_rng(rows).normal(size=(rows, n_columns)).astype(dtype)
            target = np.full(n_columns * (width + 3), np.nan, dtype)
            to_lanes(source.ravel(), target, rows, n_columns, width + 3)
            target = target.reshape(n_columns, width + 3)
            np.testing.assert_array_equal(target[:, :rows], source.T)
            np.testing.assert_array_equal(
                target[:, rows:width], np.repeat(source.T[:, -1:], width - rows, axis=1)
            )
            assert np.isnan(target[:, width:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose(dtype):
    width = targets.ROW.vector_width(np.dtype(dtype).itemsize)
    for rows in range(1, width + 1):
        source = np.random.default_rng(rows).normal(size=(rows, width + 3)).astype(dtype)
        target = np.zeros(width * rows + width, dtype)
        transpose(source.ravel(), width + 3, target, rows)
        np.testing.assert_array_equal(target[: width * rows].reshape(width, rows), source[:, :width].T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_columns", [1, 2, 3, 7, 16, 17, 40])
def test_gather_and_difference_of_rows(dtype, n_columns):
    rng = np.random.default_rng(n_columns)
    width = targets.ROW.vector_width(np.dtype(dtype).itemsize)
    source = rng.normal(size=(50, n_columns)).astype(dtype)
    order = rng.permutation(50)
    stride = 2 * width
    origin = rng.normal(size=n_columns).astype(dtype)
    for rows in range(1, width + 1):
        taken = 5 + np.minimum(np.arange(width), rows - 1)
        gathered, differences = (np.full(n_columns * stride + 64, 7, dtype) for _ in range(2))
        gather(source.ravel(), order, 5, rows, n_columns, gathered, stride)
        difference(source.ravel(), 5 * n_columns, origin, rows, n_columns, differences, stride)
        for target, want in ((gathered, source[order[taken]]), (differences, source[taken] - origin)):
            got = target[: n_columns * stride].reshape(n_columns, stride)
            np.testing.assert_array_equal(got[:, :width], want.T)
            # Beside the block and behind it nothing is written.
            assert (got[:, width:] == 7).all()
            assert (target[n_columns * stride :] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 10, 33])
def test_softmax_folds_over_the_columns_of_a_panel(dtype, rows):
    vector = targets.ROW.vector_width(np.dtype(dtype).itemsize)
    for width in range(vector, columns_of(dtype) + 1, vector):
        panel = np.random.default_rng(rows).uniform(1, 2, size=(rows, width)).astype(dtype)
        # A guard on both sides of the panel.
        memory = np.full(panel.size + 2 * vector, 7, dtype)
        for divide, want in ((False, panel - panel.max(axis=0)), (True, panel / panel.sum(axis=0))):
            memory[vector:-vector] = panel.ravel()
            softmax_parts(rows, width, memory, vector, divide)
            got = memory[vector:-vector].reshape(panel.shape)
            np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps, atol=0)
            assert (memory[:vector] == 7).all()
            assert (memory[-vector:] == 7).all()


def test_the_table_takes_the_widest_row_that_fits():
    assert targets.select(frozenset()).name == "generic"
    assert targets.select(frozenset({"avx2", "fma"})).name == "avx2"
    assert targets.select(targets.TABLE[0].features | {"avx2", "fma"}).name == targets.TABLE[0].name
    assert targets.select(frozenset({"avx2", "fma"}), "generic").name == "generic"
    with pytest.raises(ValueError, match="choose one of"):
        targets.select(frozenset(), "avx512")
    for row in targets.TABLE:
        assert row.features or row is targets.TABLE[-1]


@pytest.mark.slow
@pytest.mark.parametrize("row", ["avx2", "generic"])
@pytest.mark.skipif("FASTNN_SIMD" in os.environ, reason="already inside a forced run")
def test_narrower_rows_pass_the_kernel_tests(row):
    features = targets.host_features()
    if not next(r for r in targets.TABLE if r.name == row).features <= features:
        pytest.skip(f"this processor has no {row}")
    tests = [
        "kernels/simd/test_tile.py",
        "kernels/compiler/test_dispatch.py",
        "kernels/cpu/network/test_linear.py",
        "kernels/cpu/network/test_mlp_kernels.py",
        "kernels/cpu/network/test_team.py",
        "kernels/cpu/clustering/test_kmeans_kernels.py",
        "networks/test_network.py",
        "clustering/test_bounds.py",
        "clustering/test_leading.py",
    ]
    tests = [f"tests/{name}" for name in tests]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        env={**os.environ, "FASTNN_SIMD": row},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
