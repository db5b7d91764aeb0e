"""Validation rows."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.model_selection import train_test_split

from fastnn.networks.data import Data
from fastnn.networks.held_out import hold_out
from fastnn.networks.one_hot import OneHot
from fastnn.networks.rows import HostRows

N = 40
X = np.arange(3.0 * N).reshape(N, 3)


def rng():
    return np.random.RandomState(0)


def test_the_split_is_scikit_learns():
    Y, weight = X[:, :2], np.arange(N) + 1.0
    rows, held_out = hold_out(Data(HostRows(X), Y, weight), 0.25, rng())
    expected = train_test_split(X, Y, weight, random_state=rng(), test_size=0.25)
    assert rows.dtype == np.int64
    for got, want in zip(
        (X[rows], held_out.X.X, Y[rows], held_out.Y, weight[rows], held_out.sample_weight),
        expected,
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


def test_sparse_rows_and_packed_targets():
    codes = np.arange(N, dtype=np.int32) % 4
    data = Data(HostRows(sparse.csr_matrix(X)), OneHot(codes, 4), None)
    rows, held_out = hold_out(data, 0.25, rng())
    others = np.setdiff1d(np.arange(N), rows)
    assert held_out.sample_weight is None
    order = np.argsort(held_out.X.X.toarray()[:, 0])
    np.testing.assert_array_equal(held_out.X.X.toarray()[order], X[others])
    np.testing.assert_array_equal(held_out.Y.codes[order], codes[others])
    assert held_out.Y.shape == (10, 4)


def test_labels_have_the_same_shares_in_both_parts():
    labels = np.repeat(["few", "many"], [8, 32])
    data = Data(HostRows(X), (labels == "few")[:, None], None)
    _, held_out = hold_out(data, 0.25, rng(), labels)
    assert held_out.Y.sum() == 2


def test_a_set_of_one_row_is_refused():
    with pytest.raises(ValueError, match="validation set is too small"):
        hold_out(Data(HostRows(X), X, None), 0.01, rng())


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_part_without_weight_is_refused(part):
    rows, _ = hold_out(Data(HostRows(X), X, None), 0.25, rng())
    weight = np.zeros(N) if part == "training" else np.ones(N)
    others = np.setdiff1d(np.arange(N), rows)
    weight[others] = part == "training"
    with pytest.raises(ValueError, match="both the training and the validation part"):
        hold_out(Data(HostRows(X), X, weight), 0.25, rng())
