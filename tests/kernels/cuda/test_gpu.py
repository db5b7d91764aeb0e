"""What only hardware can show: long fits in float32, other packages' arrays and streams, threads, memory."""

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs

from fastnn import GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor, kernels
from tests.kernels.cuda.runtime.test_dlpack import OnlyDlpack

if find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from fastnn.kernels.cuda.rows.resident import ResidentRows
from fastnn.kernels.cuda.runtime.compat import SIMULATED, cuda
from fastnn.kernels.cuda.tiles.tile import TENSOR_TILES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
no_device = pytest.mark.skipif(not SIMULATED and not cuda.is_available(), reason="no GPU, and no simulator")
not_simulated = pytest.mark.skipif(SIMULATED, reason="of hardware, and too much for the simulator")


def hardware(test):
    """Skip the test where there is no GPU."""
    return not_simulated(no_device(test))


def name_of(kind):
    return getattr(kind, "__name__", type(kind).__name__)


@pytest.fixture(scope="module")
def blobs():
    """20,000 rows of float32, of which clusters overlap, and their clusters."""
    X, y = make_blobs(20_000, n_features=8, centers=8, cluster_std=4.0, random_state=0)
    return X.astype(np.float32), y


@hardware
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor], ids=name_of)
def test_twenty_epochs_of_training(blobs, kind):
    X, y = blobs[0][:4000], blobs[1][:4000]
    X = X / X.std(axis=0)
    y = y if kind is MLPClassifier else np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    model = kind(hidden_layer_sizes=(64, 32), max_iter=20, tol=0.0, n_iter_no_change=20, random_state=0)
    ours = clone(model).set_params(device="cuda").fit(X, y)
    model.fit(X, y)
    assert len(ours.loss_curve_) == 20
    assert ours.coefs_[0].dtype == np.float32
    np.testing.assert_allclose(ours.loss_curve_, model.loss_curve_, rtol=1e-4)


@hardware
@pytest.mark.parametrize(
    "model",
    [KMeans(8), MiniBatchKMeans(8, max_iter=5), GradKMeans(8, max_iter=5)],
    ids=name_of,
)
def test_clusters_of_many_rows(blobs, model):
    X, _ = blobs
    model = clone(model).set_params(random_state=0)
    ours = clone(model).set_params(device="cuda").fit(X)
    model.fit(X)
    assert ours.inertia_ == pytest.approx(model.inertia_, rel=1e-5)
    # Other labels are those of rows that lie as far from one centre as from the other.
    other = np.flatnonzero(ours.labels_ != model.labels_)
    assert other.size <= len(X) // 1000
    squares = [
        ((X[other].astype(float) - model.cluster_centers_[labels[other]]) ** 2).sum(axis=1)
        for labels in (ours.labels_, model.labels_)
    ]
    np.testing.assert_allclose(*squares, rtol=1e-4)


def on_gpu(package, array):
    """An array as one of a package, on the GPU; skip where the package is missing, or has no CUDA."""
    module = pytest.importorskip(package)
    if package == "torch":
        if not module.cuda.is_available():
            pytest.skip("a PyTorch without CUDA")
        return module.as_tensor(array, device="cuda")
    return module.asarray(array)


@hardware
@pytest.mark.parametrize("package", ["torch", "cupy"])
@pytest.mark.parametrize(
    "model",
    [
        KMeans(3),
        MiniBatchKMeans(3, batch_size=100),
        GradKMeans(3, batch_size=100),
        MLPClassifier((8,)),
        MLPRegressor(hidden_layer_sizes=(8,)),
    ],
    ids=name_of,
)
def test_arrays_of_other_packages(model, package, monkeypatch):
    X, y = make_blobs(500, n_features=6, centers=3, random_state=0)
    X = X.astype(np.float32)
    y = X[:, 0].copy() if isinstance(model, MLPRegressor) else y
    there, targets = on_gpu(package, X), on_gpu(package, y)
    used = []
    made = ResidentRows.__init__

    def noted(rows, array, *rest, **options):
        used.append(array.device_ctypes_pointer.value)
        made(rows, array, *rest, **options)

    monkeypatch.setattr(ResidentRows, "__init__", noted)
    address = there.data_ptr() if package == "torch" else there.data.ptr
    model = clone(model).set_params(random_state=0, max_iter=3)
    ours = clone(model).fit(there, targets)
    model.fit(X, y)
    assert used[0] == address
    names = [name for name in ("predict", "predict_proba", "transform") if hasattr(model, name)]
    assert "predict" in names
    for name in names:
        del used[:]
        result = getattr(ours, name)(there)
        assert used[0] == address
        assert type(result) is type(there)
        np.testing.assert_allclose(
            kernels.to_host(result), getattr(model, name)(X), rtol=1e-3, atol=1e-3, err_msg=name
        )
    np.testing.assert_array_equal(kernels.to_host(there), X)


def learned(model):
    """What a model has from its fit."""
    names = ("cluster_centers_", "labels_", "loss_curve_", "coefs_", "intercepts_")
    return {name: getattr(model, name) for name in names if hasattr(model, name)}


@hardware
@pytest.mark.parametrize(
    "models",
    [
        (KMeans(8, random_state=0), KMeans(8, random_state=1)),
        (MLPClassifier((32,), max_iter=3, random_state=0), GradKMeans(8, max_iter=2, random_state=0)),
    ],
    ids=["of a kind", "of two kinds"],
)
def test_two_threads_at_once(blobs, models):
    X, y = blobs
    start = threading.Barrier(2, timeout=60)

    def fit(model):
        start.wait()
        return learned(clone(model).set_params(device="cuda").fit(X, y))

    with ThreadPoolExecutor(2) as pool:
        together = [list(pool.map(fit, models)) for _ in range(3)]
    for i, model in enumerate(models):
        alone = learned(clone(model).set_params(device="cuda").fit(X, y))
        assert len(alone) >= 2
        for fits in together:
            assert fits[i].keys() == alone.keys()
            for name, expected in alone.items():
                pairs = zip(fits[i][name], expected, strict=True)
                assert all(np.array_equal(mine, theirs) for mine, theirs in pairs), name


@hardware
@pytest.mark.parametrize("by_dlpack", [False, True])
def test_data_that_another_stream_makes(blobs, by_dlpack):
    X, C = blobs[0], blobs[0][:5]
    source = on_gpu("torch", X)
    import torch

    kind = OnlyDlpack if by_dlpack else torch.as_tensor
    expected = kernels.assign(X, C)[0]
    # Kernels are compiled here, not while the other stream is busy.
    np.testing.assert_array_equal(kernels.to_host(kernels.assign(kind(source), C)[0]), expected)
    there, side = torch.zeros_like(source), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(1_000_000_000)  # cycles: about half a second
        there.copy_(source)
        assert not side.query()
        if not by_dlpack:
            side.synchronize()
        labels = kernels.assign(kind(there), C)[0]
        if by_dlpack:
            labels = kernels.to_host(labels)
        else:
            # The result is the default stream's, for which the other has to wait in its turn.
            side.wait_stream(torch.cuda.default_stream())
            labels = labels.cpu().numpy()
    np.testing.assert_array_equal(labels, expected)


@hardware
def test_too_little_memory():
    with cuda.gpus[0]:
        total = cuda.current_context().get_memory_info().total
    n = int(1.1 * (total / 4) ** 0.5)
    column = np.ones((n, 1), np.float32)
    with pytest.raises(MemoryError, match="has too little room"):
        kernels.linear_forward(column, column.T, device="cuda")
    few = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(kernels.linear_forward(few, few.T, device="cuda"), few @ few.T)


WITHOUT_A_GPU = """
import pickle, sys
import numpy as np
from fastnn import kernels
with open(sys.argv[1], "rb") as file:
    models, X, expected = pickle.load(file)
try:
    kernels.assign(X, X[:1], device="cuda")
except RuntimeError:
    pass
else:
    raise AssertionError("there is a GPU")
for model, outputs in zip(models, expected, strict=True):
    np.testing.assert_allclose(model.predict(X), outputs, rtol=1e-3, atol=1e-4)
"""


@hardware
def test_a_model_is_loaded_where_there_is_no_gpu(tmp_path):
    X, y = make_blobs(500, n_features=6, centers=3, random_state=0)
    X = X.astype(np.float32)
    there = cuda.to_device(X)
    models = [
        model.set_params(random_state=0, max_iter=3).fit(there, y)
        for model in (KMeans(3), MLPClassifier((8,)), MLPRegressor(hidden_layer_sizes=(8,)))
    ]
    # One that was told to use a GPU has to be told otherwise.
    told = MiniBatchKMeans(3, random_state=0, device="cuda").fit(X)
    expected = [kernels.to_host(model.predict(there)) for model in models] + [told.predict(X)]
    path = tmp_path / "models"
    path.write_bytes(pickle.dumps(([*models, told.set_params(device=None)], X, expected)))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_GPU, path],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def below_ties(shape):
    """The largest number below the middle of two of TF32, the lesser of which is 1: what rounds worst."""
    return np.full(shape, np.nextafter(np.float32(1 + 2.0**-11), np.float32(0)))


def scaled_rows(array, generator):
    return np.ldexp(array, generator.integers(-3, 4, (len(array), 1)))


FACTORS = {
    "equal": lambda shape, generator: scaled_rows(below_ties(shape), generator),
    "below ties": lambda shape, generator: np.ldexp(below_ties(shape), generator.integers(-3, 4, shape)),
    "positive": lambda shape, generator: generator.uniform(size=shape).astype(np.float32),
}


# Rows and centres: some for either tile, on hardware.
@no_device
@pytest.mark.parametrize(
    ("n", "k"),
    [
        (9, 5),
        pytest.param(3 * TENSOR_TILES[1].height + 1, TENSOR_TILES[1].width + 6, marks=not_simulated),
    ],
)
@pytest.mark.parametrize("d", [1, 2, 8, 9, 128, 1000])
@pytest.mark.parametrize("factors", FACTORS)
def test_error_of_tensor_cores_is_within_the_bound(factors, d, n, k, chosen_tiles):
    generator = np.random.default_rng(0)
    X, C = (FACTORS[factors]((length, d), generator) for length in (n, k))
    assert X.dtype == C.dtype == np.float32
    products = kernels.linear_forward(X, np.ascontiguousarray(C.T), device="cuda", precision="tf32")
    assert chosen_tiles == [TENSOR_TILES[n > TENSOR_TILES[1].height]]
    X, C = X.astype(float), C.astype(float)
    lengths = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(C, axis=1)
    errors = np.abs(products - X @ C.T) / lengths
    # As in ``nearest_tf32``.
    assert errors.max() <= 2.0**-10 * (1 + 2.0**-12) + d * 2.0**-22
    if factors == "equal":
        assert errors.min() > 0.99 * 2.0**-10  # there is no room to make the bound's first term less
