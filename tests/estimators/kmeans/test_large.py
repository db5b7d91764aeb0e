"""Data that do not fit into memory: files that are mapped, and more elements than an int32 can number."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn import GradKMeans, KMeans, MiniBatchKMeans
from fastnn.clustering import mini_batch
from fastnn.clustering.bounds import Bounds
from fastnn.clustering.draws import Draws
from fastnn.clustering.epochs import Epochs
from fastnn.clustering.rules import center_rule
from fastnn.kernels.clustering import device
from fastnn.kernels.cpu.clustering.nearest import is_small
from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.center_arguments import MiniBatchRule
from fastnn.kernels.shared.threads import threads_for, workers

# What a fit may take of its own: 32 words a row, and 60 MB for compiled code, partial sums and blocks.
ROW_BYTES, CONSTANT = 32 * 8, 60e6

# Anonymous memory, for the pages of the file are the system's to keep or drop. A thread samples it, as what
# a fit has freed by its end counts too.
GROWTH = """
import json, sys, threading, warnings
import numpy as np
from fastnn import GradKMeans, KMeans, MiniBatchKMeans

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

warnings.simplefilter("ignore")
X = np.load(sys.argv[1], mmap_mode="r")
models = {
    "random": KMeans(8, init="random", n_init=1, max_iter=2, random_state=0),
    "k-means++": KMeans(8, max_iter=2, random_state=0),
    "mini-batch": MiniBatchKMeans(8, max_iter=1, random_state=0),
    "gradient": GradKMeans(8, max_iter=1, random_state=0),
}
growth = {}
for name, model in models.items():
    model.fit(np.array(X[:100_000]))  # compiles
    before, peak, ended = resident(), 0, threading.Event()
    def watch():
        global peak
        while not ended.wait(0.005):
            peak = max(peak, resident())
    thread = threading.Thread(target=watch)
    thread.start()
    model.fit(X)
    ended.set()
    thread.join()
    growth[name] = max(peak, resident()) - before
print(json.dumps(growth))
"""


@pytest.fixture(scope="module")
def mapped_file(tmp_path_factory):
    """300 MB of float32 rows, written in blocks."""
    path = tmp_path_factory.mktemp("large") / "rows.npy"
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (600_000, 128))
    for start in range(0, len(X), 50_000):
        X[start : start + 50_000] = rng.standard_normal((50_000, 128), dtype=np.float32)
    X.flush()
    del X
    yield path
    path.unlink()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc")
def test_a_fit_of_a_mapped_file_takes_little_memory(mapped_file):
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(mapped_file)], capture_output=True, text=True, check=True
    )
    n, d = np.load(mapped_file, mmap_mode="r").shape
    allowed = dict.fromkeys(("random", "k-means++", "mini-batch"), CONSTANT + ROW_BYTES * n)
    # Its initial centres are chosen from a copy of so many rows.
    allowed["gradient"] = CONSTANT + ROW_BYTES * n + 65_536 * d * 4
    growth = json.loads(done.stdout)
    assert growth.keys() == allowed.keys()
    assert {name: peak for name, peak in growth.items() if peak > allowed[name]} == {}


@pytest.mark.parametrize("model", [KMeans, MiniBatchKMeans, GradKMeans])
def test_a_mapped_file_is_not_copied(model, tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32))
    X = np.load(path, mmap_mode="r")
    rows = model()._validate(X, reset=True)
    assert np.shares_memory(rows, X)
    assert type(rows) is np.ndarray
    assert plain(X, np.float32).ctypes.data == X.ctypes.data
    copied = model(3, random_state=0).fit(np.array(X))
    mapped = model(3, random_state=0).fit(X)
    np.testing.assert_array_equal(mapped.cluster_centers_, copied.cluster_centers_)
    np.testing.assert_array_equal(mapped.labels_, copied.labels_)


@pytest.mark.parametrize("model", [KMeans, MiniBatchKMeans, GradKMeans])
def test_nan_amid_a_mapped_file(model, tmp_path):
    X = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (100_000, 8))
    X[:] = np.random.default_rng(0).standard_normal(X.shape, dtype=np.float32)
    fitted = model(3, random_state=0).fit(X)
    before = copy.deepcopy(vars(fitted))
    X[50_000, 5] = np.nan
    X.flush()
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    with pytest.raises(ValueError, match="contains NaN"):
        fitted.fit(mapped)
    assert vars(fitted).keys() == before.keys()
    for name in ("cluster_centers_", "labels_", "inertia_", "n_iter_"):
        np.testing.assert_array_equal(getattr(fitted, name), before[name])


# --- more than 2^31 elements --------------------------------------------------------------------------

FEATURES, CLUSTERS, LAST = 64, 20, 300


@pytest.fixture(scope="module")
def many_elements():
    """More than 2^31 elements, of which only those of the last rows are not zero.

    Pages that were never written to take no memory.
    """
    try:
        X = np.zeros((2**31 // FEATURES + 4096, FEATURES), np.float32)
    except MemoryError as error:
        pytest.skip(str(error))
    X[-LAST:] = 5 + np.random.default_rng(0).standard_normal((LAST, FEATURES), dtype=np.float32)
    return X


@pytest.fixture(scope="module")
def centers(many_elements):
    """The first one at the origin."""
    C = many_elements[-CLUSTERS:].copy()
    C[0] = 0
    return C


def swept(X, C):
    n, k, d = len(X), *C.shape
    sweeps = device.HostSweeps(n, k, d, X.dtype)
    sweeps.sweep(X, np.empty(0, X.dtype), C, summing=True)
    return sweeps


@pytest.mark.parametrize("k", [2, 4, CLUSTERS])
def test_all_of_many_elements(k, many_elements, centers):
    """In the direct form, with the features along the lanes, and by the bracket."""
    C = np.ascontiguousarray(centers[:k])
    if k == 2:
        assert is_small(k, FEATURES)
    sweeps, end = swept(many_elements, C), swept(many_elements[-LAST:].copy(), C)
    np.testing.assert_array_equal(sweeps.labels[-LAST:], end.labels)
    np.testing.assert_allclose(sweeps.distances[-LAST:], end.distances, rtol=1e-6)
    assert not sweeps.labels[:-LAST].any()
    assert not sweeps.distances[:-LAST].any()
    np.testing.assert_allclose(sweeps.sums, end.sums, rtol=1e-9, atol=1e-9)
    end.counts[0] += len(many_elements) - LAST
    np.testing.assert_array_equal(sweeps.counts, end.counts)


def test_bounds_of_many_elements(many_elements, centers):
    labels = np.zeros(len(many_elements), np.int32)
    bounds = Bounds(many_elements, CLUSTERS)
    bounds.watch(labels, 9)
    bounds.watch(labels, 9)
    assert bounds.active
    bounds._assign(centers, centers, labels)
    np.testing.assert_array_equal(labels[-LAST:], swept(many_elements[-LAST:].copy(), centers).labels)
    assert not labels[:-LAST].any()


def test_seeding_of_many_elements(many_elements):
    """The next centre is drawn among the rows that are not where the first one is."""
    n, first, none = len(many_elements), many_elements[:1], np.empty(0, np.float32)
    closest = np.full(n, np.inf, np.float32)
    potential = np.empty((device.seeding_tasks(n), 1))
    with threads_for(1e9) as parallel:
        device.try_candidates(parallel, workers(parallel), many_elements, none, first, closest, potential)
    drawn = np.empty(3, np.int64)
    targets = np.array([1e-6, 0.5, 1 - 1e-6]) * potential.sum()
    device.pick_rows(many_elements, none, first[0], closest, potential[:, 0].copy(), targets, drawn)
    assert n - LAST <= drawn[0] < drawn[1] < drawn[2] < n


def test_mini_batches_far_into_many_elements(many_elements):
    class FromTheEnd(Draws):
        def rows(self, size):
            return super().rows(size) + (len(many_elements) - LAST)

    end = many_elements[-LAST:].copy()
    rule = MiniBatchRule(1e9, 0.01, 0.1, 0.0, -1)
    runs = []
    for X, kind in ((many_elements, FromTheEnd), (end, Draws)):
        draws = kind(LAST, None, X.dtype, np.random.RandomState(0))
        steps = mini_batch._Run(X, end[:4].copy(), 50, rule, draws)
        assert steps.until(20, False) == 20
        runs.append(steps)
    np.testing.assert_array_equal(runs[0].C, runs[1].C)
    np.testing.assert_array_equal(runs[0].seen, runs[1].seen)


def test_gradient_batches_far_into_many_elements(many_elements):
    end = many_elements[-LAST:].copy()
    runs = []
    for X in (many_elements, end):
        weights = np.zeros(len(X), X.dtype)
        weights[-LAST:] = 1
        epochs = Epochs(
            X, weights, end[:4].copy(), center_rule("sgd", "count", "cluster", 0.0), 50, None, 1.0,
            np.random.RandomState(0),
        )  # fmt: skip
        losses, _ = epochs.run()
        assert losses.size == 6
        runs.append(epochs)
    np.testing.assert_array_equal(runs[0].C, runs[1].C)
