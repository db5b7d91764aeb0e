"""Validation rows."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.model_selection import train_test_split

from fastnn.networks.data import Data
from fastnn.networks.held_out import hold_out, mean_loss
from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.networks.one_hot import OneHot
from fastnn.networks.rows import HostRows
from fastnn.tables.losses import HEADS
from tests.networks.test_network import data as random_data
from tests.reference import ReferenceHead
from tests.tables.test_losses import head_name

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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("head", HEADS, ids=head_name)
def test_the_mean_loss_is_the_reference(head, weighted, dtype):
    sizes = [5, 4, 3]
    net = Network(sizes, hidden_activation="tanh", loss=head, dtype=dtype, backend=HOST)
    net.parameters[:] = np.random.default_rng(0).normal(size=net.parameters.size) / 2
    rows, Y = (array.astype(dtype) for array in random_data(37, sizes, head, seed=1))
    weight = np.arange(37, dtype=dtype) if weighted else None
    outputs = net.outputs(HostRows(rows))
    kept = outputs.copy()
    loss = mean_loss(net, Data(HostRows(rows), Y, weight))(outputs)
    of_rows = ReferenceHead(head).row_loss(Y.astype(np.float64), outputs.astype(np.float64))
    rtol = 1e-4 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(loss, np.average(of_rows, weights=weight), rtol=rtol)
    np.testing.assert_array_equal(outputs, kept)


@pytest.mark.parametrize("head", HEADS, ids=head_name)
def test_the_mean_loss_is_what_training_makes_small(head):
    sizes = [5, 3]
    net = Network(sizes, hidden_activation="tanh", loss=head, dtype=np.float64, backend=HOST)
    net.parameters[:] = np.random.default_rng(0).normal(size=net.parameters.size) / 2
    rows, Y = random_data(20, sizes, head, seed=1)
    weight = np.arange(20.0)
    expected, _ = net.bind(HostRows(rows), Y, sample_weight=weight, alpha=0.0).loss_and_gradient()
    loss = mean_loss(net, Data(HostRows(rows), Y, weight))(net.outputs(HostRows(rows)))
    assert loss == pytest.approx(expected, rel=1e-12)


def test_the_mean_loss_of_packed_targets():
    net = Network([3, 4], hidden_activation="tanh", loss="log_loss", dtype=np.float64, backend=HOST)
    net.parameters[:] = np.linspace(-0.1, 0.1, net.parameters.size)
    codes = OneHot(np.arange(N, dtype=np.int32) % 4, 4)
    outputs = net.outputs(HostRows(X / 100))
    loss = mean_loss(net, Data(HostRows(X), codes, None))(outputs)
    assert loss == mean_loss(net, Data(HostRows(X), codes.dense(bool), None))(outputs)
    assert loss == pytest.approx(-np.log(outputs[np.arange(N), codes.codes]).mean(), rel=1e-12)
    assert np.isnan(mean_loss(net, Data(HostRows(X), codes, None))(np.full_like(outputs, np.nan)))
