"""The door at which a device is chosen, and what stands behind it."""

import ast
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import fastnn
from fastnn.networks.backends import rows_and_backend
from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.networks.rows import HostRows
from tests.networks.test_network import optimizer_for

ROOT = Path(fastnn.__file__).parent
FILES = sorted([*(ROOT / "networks").rglob("*.py"), *(ROOT / "estimators" / "mlp").rglob("*.py")])
X = np.arange(12.0).reshape(4, 3)


def nodes(path, kind):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kind)]


def test_a_device_is_chosen_in_one_place():
    asking = {
        path.name
        for path in FILES
        for call in nodes(path, ast.Call)
        if ast.unparse(call.func) == "isinstance" and "DeviceRows" in ast.unparse(call.args[1])
    }
    assert asking == {"backends.py"}


def test_the_engine_knows_no_estimator():
    for path in (ROOT / "networks").rglob("*.py"):
        assert not {argument.arg for argument in nodes(path, ast.arg)} & {"model", "estimator"}, path
        # What is private belongs to who reads it.
        for node in nodes(path, ast.Attribute):
            if node.attr.startswith("_") and not node.attr.startswith("__") and node.attr != "_replace":
                of = ast.unparse(node.value)
                assert of in ("self", "cls"), f"{path}: {of}.{node.attr}"


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csr_array])
def test_rows_of_the_host(form):
    rows, backend = rows_and_backend(form(X))
    assert backend is HOST
    assert (rows.shape, rows.dtype) == ((4, 3), np.float64)
    some = rows.take(np.array([2, 0])).astype(np.float32)
    assert (some.shape, some.dtype) == ((2, 3), np.float32)
    dense = some.X.toarray() if sparse.issparse(some.X) else some.X
    np.testing.assert_array_equal(dense, X[[2, 0]])
    assert sparse.issparse(some.X) or some.X.flags.c_contiguous


def test_rows_that_are_as_they_should_be_are_not_copied():
    assert HostRows(X).astype(np.float64).X is X
    csr = sparse.csr_matrix(X)
    assert HostRows(csr).astype(np.float64).X.data is csr.data


@pytest.mark.parametrize("before", [0, 3])
def test_data_are_bound_once(before):
    """What changes in the network afterwards is seen; the data are those that were given."""
    net = Network([3, 2, 1], hidden_activation="tanh", loss="squared_error", dtype=np.float64, backend=HOST)
    net.parameters[:] = np.linspace(-1, 1, net.parameters.size)
    optimizer = optimizer_for(net)
    bound = net.bind(HostRows(X / 10), X[:, :1].copy(), alpha=0.1, optimizer=optimizer)
    for _ in range(before):
        bound.run_epoch(None, 2)
    again = net.bind(HostRows(X / 10), X[:, :1].copy(), alpha=0.1)
    for got, want in zip(bound.loss_and_gradient(), again.loss_and_gradient(), strict=True):
        np.testing.assert_array_equal(got, want)
    assert optimizer.t == 2 * before
