"""The estimators on a GPU that has no room for the data, beside themselves on one that has.

On hardware, or in the simulator, which runs every thread as a thread of Python: the data are tiny.
"""

from contextlib import nullcontext
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs

from fastnn import (
    GradKMeans,
    KMeans,
    MiniBatchKMeans,
    MLPClassifier,
    MLPRegressor,
    kernels,
    kmeans_plusplus,
)

if find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from fastnn.kernels.cuda.clustering import sphere, streamed_passes
from fastnn.kernels.cuda.network import backend, streamed_training, training
from fastnn.kernels.cuda.rows import streamed
from fastnn.kernels.cuda.rows.resident import ResidentRows, device_rows
from fastnn.kernels.cuda.runtime import capacity
from fastnn.kernels.cuda.runtime.compat import SIMULATED, copy_stream, cuda, free_memory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not SIMULATED and not cuda.is_available(), reason="no GPU, and no simulator"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

# Two blocks and a ragged one: a block has the rows of a task, and room for one more.
N, D = 2 * streamed.TASK_ROWS + 9, 3
BLOCK_BYTES = (streamed.TASK_ROWS + 1) * D * 8


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(N, n_features=D, centers=3, random_state=0)


@pytest.fixture
def little_room(monkeypatch):
    """A context in which no data fit the device, and the sizes of the blocks that are copied."""

    class Room:
        def __init__(self):
            self.blocks = []

        def __enter__(self):
            room_ = self

            class Watched(streamed.BlockPipeline):
                def run(self, cuts, fill):
                    room_.blocks.append([end - begin for begin, end in cuts])
                    return super().run(cuts, fill)

            self.patch = pytest.MonkeyPatch()
            self.patch.setattr(capacity, "SHARE", 0.0)
            self.patch.setattr(capacity, "BLOCK_BYTES", BLOCK_BYTES)
            for module in (streamed, streamed_training):
                self.patch.setattr(module, "BlockPipeline", Watched)
            return self

        def __exit__(self, *error):
            self.patch.undo()
            return False

    return Room()


def both(model, little_room, *data, **options):
    """A model fitted with room and one without; blocks were copied for the latter alone."""
    model = clone(model).set_params(device="cuda")
    whole = clone(model).fit(*data, **options)
    assert not little_room.blocks
    with little_room:
        in_blocks = clone(model).fit(*data, **options)
        assert max(map(len, little_room.blocks)) >= 3
    return in_blocks, whole


def same_centers(ours, theirs, rtol=1e-10):
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=rtol, atol=rtol)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=rtol)
    assert ours.n_iter_ == theirs.n_iter_


RTOL = {"f4": 1e-5, "f8": 1e-10}


def same_predictions(in_blocks, whole, X, little_room, names):
    expected = [getattr(whole, name)(X) for name in names]
    del little_room.blocks[:]
    with little_room:
        for name, theirs in zip(names, expected, strict=True):
            ours = getattr(in_blocks, name)(X)
            assert type(ours) is type(theirs)
            assert np.asarray(ours).dtype == np.asarray(theirs).dtype
            # Tiles, and with them the order of sums, go by the number of rows.
            np.testing.assert_allclose(ours, theirs, rtol=RTOL.get(np.asarray(ours).dtype.str[1:], 0))
    assert [sum(sizes) for sizes in little_room.blocks if sum(sizes) == len(X)]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"init": "k-means||"},
        {"init": "afk-mc2"},
        {"init": lambda X, n_clusters, random_state: X[:n_clusters], "n_init": 1},
        {"metric": "cosine"},
    ],
    ids=lambda parameters: ",".join(parameters) or "default",
)
def test_kmeans(blobs, little_room, parameters):
    X, _ = blobs
    in_blocks, whole = both(KMeans(3, random_state=0, max_iter=2, **parameters), little_room, X)
    same_centers(in_blocks, whole)
    same_predictions(in_blocks, whole, X, little_room, ("predict", "transform", "score"))


def test_kmeans_with_weights_of_memory_mapped_float32(blobs, little_room, tmp_path):
    X = blobs[0].astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    weights = np.random.default_rng(0).uniform(size=N)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    # Two blocks: of float32 one has twice as many rows.
    model = KMeans(4, random_state=1, device="cuda", max_iter=2)
    whole = clone(model).fit(X, sample_weight=weights)
    with little_room:
        in_blocks = clone(model).fit(X, sample_weight=weights)
    assert max(map(len, little_room.blocks)) == 2
    same_centers(in_blocks, whole, rtol=1e-5)


def test_an_empty_cluster_is_filled(little_room):
    X = np.concatenate([np.zeros((N - 2, D)), np.ones((1, D)), np.full((1, D), 5.0)])
    in_blocks, whole = both(KMeans(3, init=np.array([[0.0] * D, [1.0] * D, [90.0] * D])), little_room, X)
    same_centers(in_blocks, whole)
    assert set(in_blocks.labels_) == {0, 1, 2}


@pytest.mark.parametrize("nested", [False, True])
def test_mini_batch_kmeans(blobs, little_room, nested):
    X, _ = blobs
    model = MiniBatchKMeans(3, batch_size=40, max_iter=2, nested=nested, random_state=0)
    in_blocks, whole = both(model, little_room, X)
    same_centers(in_blocks, whole)
    with little_room:
        in_blocks.partial_fit(X[:50])
    np.testing.assert_allclose(in_blocks.cluster_centers_, whole.partial_fit(X[:50]).cluster_centers_)


@pytest.mark.parametrize("batch_size", [40, None])
def test_grad_kmeans(blobs, little_room, batch_size):
    X, _ = blobs
    in_blocks, whole = both(GradKMeans(3, random_state=0, max_iter=2, batch_size=batch_size), little_room, X)
    same_centers(in_blocks, whole)
    np.testing.assert_allclose(in_blocks.loss_curve_, whole.loss_curve_, rtol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
def test_kmeans_plusplus(blobs, little_room, weighted):
    X, _ = blobs
    weights = np.arange(float(N)) if weighted else None
    for data in (X, X.astype(np.float32)):
        expected = kmeans_plusplus(data, 6, sample_weight=weights, random_state=0, device="cuda")
        with little_room:
            found = kmeans_plusplus(data, 6, sample_weight=weights, random_state=0, device="cuda")
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert max(map(len, little_room.blocks)) == 3


@pytest.mark.parametrize(
    ("parameters", "weighted"),
    [
        ({"solver": "sgd", "activation": "gelu", "alpha": 0.1, "batch_size": 7}, False),
        ({"solver": "sgd", "batch_size": 7, "shuffle": False}, True),
        ({"solver": "lbfgs", "activation": "tanh", "max_iter": 1}, True),
        ({"early_stopping": True}, False),
    ],
)
def test_mlp_classifier(blobs, little_room, monkeypatch, parameters, weighted):
    X, y = blobs
    monkeypatch.setattr(training, "_MOST_ROWS", 8)
    usual = {"hidden_layer_sizes": (3,), "batch_size": 5, "max_iter": 2}
    # Batches without weight are no steps: some of the first piece, and all of another.
    weights = np.repeat([1.0, 0.0, 2.0], [7, N - 17, 10]) if weighted else None
    in_blocks, whole = both(
        MLPClassifier(random_state=0, **usual | parameters), little_room, X, y, sample_weight=weights
    )
    # To the last bit: the pieces of the gradient over all rows are the same, too.
    for ours, theirs in zip(
        in_blocks.coefs_ + in_blocks.intercepts_, whole.coefs_ + whole.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert in_blocks.loss_ == pytest.approx(whole.loss_, rel=1e-12)
    assert in_blocks.t_ == whole.t_
    same_predictions(in_blocks, whole, X, little_room, ("predict", "predict_proba"))


def test_a_batch_is_never_cut(blobs, little_room):
    X, y = blobs
    model = MLPClassifier((3,), batch_size=N, max_iter=2, random_state=0, device="cuda")
    whole = clone(model).fit(X, y)
    with little_room:
        in_blocks = clone(model).fit(X, y)
    assert little_room.blocks[:2] == [[N], [N]]  # what comes after looks for units that are stuck
    np.testing.assert_array_equal(in_blocks.coefs_[0], whole.coefs_[0])


def test_mlp_regressor_in_another_dtype(blobs, little_room):
    X, Y = blobs[0], blobs[0][:, :2]
    model = MLPRegressor("squared_error", (3,), max_iter=1, batch_size=8, random_state=0, device="cuda")
    whole = clone(model).fit(X.astype(np.float32), Y)
    with little_room:
        in_blocks = clone(model).fit(X.astype(np.float32), Y)
    np.testing.assert_array_equal(in_blocks.coefs_[0], whole.coefs_[0])
    for data in (X, X.astype(np.float16), X > 0):
        same_predictions(in_blocks, whole, data, little_room, ("predict",))


def test_only_the_targets_have_no_room(blobs, monkeypatch):
    X = blobs[0]
    Y = X[:, :1] * np.arange(1.0, 10.0)
    model = MLPRegressor(hidden_layer_sizes=(2,), max_iter=1, batch_size=8, random_state=0, device="cuda")
    whole = clone(model).fit(X, Y)
    made = []

    class Watched(streamed_training.StreamedTraining):
        def __init__(self, *arguments):
            made.append(arguments[1].shape)
            super().__init__(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(capacity, "BLOCK_BYTES", BLOCK_BYTES)
        patch.setattr(capacity, "free_memory", lambda: 1.5 * N * (D * 8 + capacity.ROW_BYTES))
        patch.setattr(backend, "StreamedTraining", Watched)
        assert type(device_rows(X, 0)) is ResidentRows
        in_blocks = clone(model).fit(X, Y)
    assert made == [X.shape]
    np.testing.assert_array_equal(in_blocks.coefs_[1], whole.coefs_[1])


@pytest.mark.skipif(SIMULATED, reason="of streams, which the simulator has not")
def test_copies_do_not_wait_for_the_default_stream():
    with cuda.gpus[0]:
        assert copy_stream(0).owner.is_nonblocking


@pytest.mark.skipif(SIMULATED, reason="too much for the simulator")
def test_many_blocks(monkeypatch):
    generator = np.random.default_rng(3)
    X = generator.normal(size=(400_000, 48)).astype(np.float32)
    C = generator.normal(size=(100, 48)).astype(np.float32)
    expected = kernels.assign(X, C)
    sums, _ = kernels.update_centers(X, expected[0], len(C))
    monkeypatch.setattr(capacity, "SHARE", 0.0)
    monkeypatch.setattr(capacity, "BLOCK_BYTES", 1 << 20)
    rows = device_rows(X, 0)
    sweeps = kernels.clustering_backend(rows).sweeps(rows, len(C))
    for _ in range(5):
        sweeps.sweep(rows, np.empty(0, X.dtype), C, summing=True)
        assert np.count_nonzero(sweeps.labels != expected[0]) <= 1e-4 * len(X)  # ties, by rounding
        np.testing.assert_allclose(sweeps.distances, expected[1], rtol=1e-4)
        assert sweeps.counts.sum() == len(X)
        np.testing.assert_allclose(sweeps.sums.sum(axis=0), sums.sum(axis=0), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero):RuntimeWarning")
def test_divergence_ends_an_epoch_within_a_piece(blobs, little_room):
    X, _ = blobs
    kept = []
    for limited in (False, True):
        model = MLPRegressor(
            hidden_layer_sizes=(3,), solver="sgd", learning_rate_init=1e30, batch_size=5, random_state=0,
            shuffle=False, device="cuda",
        )  # fmt: skip
        with little_room if limited else nullcontext(), pytest.raises(ValueError, match="non-finite"):
            model.fit(X, X[:, 0] * 1e30)
        kept.append((model.coefs_, model.t_))
    assert kept[0][1] == kept[1][1]
    for ours, theirs in zip(kept[1][0], kept[0][0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_rows(blobs, little_room):
    X = blobs[0].copy()
    X[3] = 0
    with little_room:
        rows = device_rows(X, 0)
        np.testing.assert_array_equal(rows[5], X[5])
        np.testing.assert_array_equal(rows[4:40:3], X[4:40:3])
        wanted = np.array([N - 1, 0, 7, 7])
        few, many = rows.take(wanted), rows.take(np.arange(N - 9)[::-1])
        assert type(few) is ResidentRows
        assert type(many) is type(rows) is streamed.StreamedRows
        np.testing.assert_array_equal(few[:], X[wanted])
        np.testing.assert_array_equal(many[:], X[: N - 9][::-1])
        np.testing.assert_array_equal(sphere.have_direction(rows), X.any(axis=1))
        assert rows.as_given() is not rows.astype(np.float32).as_given()
        np.testing.assert_array_equal(rows.as_given(), X)
        np.testing.assert_array_equal(rows.astype(np.float32)[:], X.astype(np.float32))
        unit = sphere.unit_rows(rows)
    whole = sphere.unit_rows(ResidentRows(cuda.to_device(X), 0, cuda.to_device(X)))
    with little_room:
        np.testing.assert_allclose(sphere.unit_rows(unit)[:], whole[:], rtol=1e-15)
        for dtype in (np.float64, np.float32):
            in_blocks = unit.astype(dtype)
            expected = whole.astype(dtype)[:]
            assert in_blocks[:].dtype == in_blocks.dtype == dtype
            np.testing.assert_array_equal(in_blocks[:], expected)
            np.testing.assert_array_equal(in_blocks[2], expected[2])
            np.testing.assert_array_equal(in_blocks.as_given(), expected)
            np.testing.assert_array_equal(in_blocks.take(wanted)[:], expected[wanted])
            for first, block in in_blocks.iter_blocks():
                np.testing.assert_array_equal(block.copy_to_host(), expected[first : first + block.shape[0]])
        # Results of many columns are made for some rows of a block at a time.
        most = capacity.BLOCK_BYTES // (20 * 8)
        firsts = [first for first, _ in rows.iter_blocks(columns=20)]
        assert firsts[:3] == [0, most, 2 * most]
        assert streamed.TASK_ROWS in firsts
        # Rows that have unit length are as they were.
        even = device_rows(np.eye(D)[np.arange(N) % D], 0)
        assert sphere.unit_rows(even) is even


def test_what_fits(monkeypatch):
    monkeypatch.setattr(capacity, "free_memory", lambda: 1000.0 * capacity.BLOCK_BYTES)
    rows = int(0.8 * 1000 * capacity.BLOCK_BYTES / (100 * 4 + capacity.ROW_BYTES))
    assert capacity.fits((rows, 100), np.float32)
    assert not capacity.fits((rows + 1, 100), np.float32)
    assert not capacity.fits((rows, 100), np.float64)
    assert capacity.block_rows(1 << 20, 1) == capacity.BLOCK_BYTES >> 20
    # A small device has small blocks; and they are never less than what is asked for.
    monkeypatch.setattr(capacity, "free_memory", lambda: 8.0 * (1 << 20))
    assert capacity.block_rows(1 << 10, 100) == 1000
    assert capacity.block_rows(1 << 20, 100) == 100
    # Where all fits in a block the driver is not asked.
    monkeypatch.setattr(capacity, "free_memory", None)
    assert capacity.fits((10, 10), np.float32)


def test_free_memory_is_known():
    with cuda.gpus[0]:
        assert free_memory() > 0


def test_sums_are_added():
    part, total = (cuda.to_device(np.arange(300.0) * factor) for factor in (1, 10))
    streamed_passes.add_to[-(-300 // streamed_passes._THREADS), streamed_passes._THREADS](part, total)
    np.testing.assert_array_equal(total.copy_to_host(), 11 * np.arange(300.0))
