"""What is compiled when, launch rules and what a process may and may not do, in processes of their own."""

import os
import textwrap
import threading

import numpy as np
import pytest

import fastnn
from fastnn.kernels import linear_forward
from fastnn.kernels.shared import threads as _threads
from tests.processes import COUNT, LINKED, run


def test_importing_compiles_nothing(tmp_path):
    body = "import fastnn; from fastnn import MLPClassifier, MLPRegressor, GradKMeans, KMeans, kernels"
    assert run(COUNT.format(body=body), tmp_path) == "0"
    assert not list(tmp_path.rglob("*.*"))


def test_a_second_process_compiles_nothing(tmp_path):
    assert int(run(COUNT.format(body=LINKED), tmp_path)) > 0
    assert list(tmp_path.rglob("*.kernel"))
    assert run(COUNT.format(body=LINKED), tmp_path) == "0"


# Every loop of every table, each compiled in a process of its own; then all of them loaded into one.
EACH_IN_ITS_PROCESS = """
import ctypes, os
import numpy as np
from fastnn.kernels.cpu import dispatch

def outcome(table, code):
    kinds, values, arrays = [], [], []
    for value in (value for parameter in table.parameters for value in parameter.values):
        dtype = np.dtype(np.float32 if value.element == "T" else value.element)
        if value.ndim == 0:
            kinds.append(np.ctypeslib.as_ctypes_type(dtype))
            values.append(0.25 + len(values) / 64)
        else:
            arrays.append(np.linspace(0.1, 0.9, 7).astype(dtype) + len(arrays) / 64)
            kinds += [ctypes.c_void_p, ctypes.c_int64]
            values += [arrays[-1].ctypes.data, arrays[-1].size]
    ctypes.CFUNCTYPE(None, *kinds)(table.address(code, np.float32))(*values)
    return b"".join(array.tobytes() for array in arrays)

tables = [table for table in vars(dispatch).values() if isinstance(table, dispatch.LoopTable)]
cases = [(t, code) for t in tables for code, loop in enumerate(t.loops.values()) if loop]
wanted = []
for table, code in cases:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, outcome(table, code))
        os._exit(0)
    os.close(writer)  # so that a child that fails leaves nothing to read, and is not waited for
    os.wait()
    wanted.append(os.read(reader, 10000))
assert len(cases) > 20 and all(wanted)
for (table, code), want in zip(cases, wanted):
    if outcome(table, code) != want:
        print(table.kind, list(table.loops)[code])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts processes by fork")
def test_functions_that_several_processes_have_compiled_are_told_apart(tmp_path):
    """Numba counts functions from 1 in every process: the cache brings together two of one number."""
    assert run(EACH_IN_ITS_PROCESS, tmp_path) == ""


FITS = """
import hashlib, warnings
import numpy as np
from fastnn import GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor
from fastnn.clustering import bounds, leading
from fastnn.clustering.passes import labels_inertia
warnings.simplefilter("ignore")
bounds._LEAST_WORK = bounds._LEAST_SHARE = leading._LEAST_WORK = 0
bounds._LEAST_PASSES = bounds._FETCH = 0
bounds._CHANGING = bounds._OPEN = 1.0
digest = hashlib.sha256()
for dtype in (np.float64, np.float32):
    X = np.random.default_rng(0).normal(size=(400, 6)).astype(dtype)
    for n in range(350, 400):
        digest.update(np.float64(labels_inertia(X[:n], None, X[:10])[1]).tobytes())
    for model in (
        KMeans(20, random_state=0), GradKMeans(5, batch_size=64, random_state=0),
        MLPClassifier((9,), activation="tanh", max_iter=3, random_state=0),
        MLPRegressor(hidden_layer_sizes=(7, 5), max_iter=3, random_state=0),
    ):
        y = X[:, 0] > 0 if isinstance(model, MLPClassifier) else X[:, 0]
        model.fit(X, y)
        for name, value in sorted(vars(model).items()):
            if name.endswith("_") and isinstance(value, (float, np.ndarray)):
                digest.update(np.asarray(value).tobytes())
            elif name in ("coefs_", "loss_curve_"):
                digest.update(b"".join(np.asarray(v).tobytes() for v in value))
    # Centres that are compared by the bracket, with bounds and without; mini-batches; long rows, in full
    # and by their leading dimensions.
    wide = np.random.default_rng(1).normal(size=(900, 256)) * np.arange(1, 257) ** -1.0
    for X, model in (
        (wide[:, :16], KMeans(70, random_state=0)),
        (wide[:, :16], KMeans(70, random_state=0, algorithm="plain")),
        (wide[:, :16], MiniBatchKMeans(40, batch_size=128, random_state=0)),
        (wide[:, :60], KMeans(5, random_state=0)),
        (wide, KMeans(100, max_iter=4, random_state=0)),
    ):
        model.fit(X.astype(dtype))
        for value in (model.cluster_centers_, model.labels_, np.float64(model.inertia_)):
            digest.update(value.tobytes())
print(digest.hexdigest())
"""


def test_the_process_that_compiles_computes_what_later_ones_do(tmp_path):
    """To the last bit: no sum has two compiled forms."""
    assert run(FITS, tmp_path) == run(FITS, tmp_path)


def test_little_work_stays_on_one_thread():
    with _threads.threads_for(1e3) as parallel:
        assert not parallel


def test_workqueue_launches_one_region_at_a_time(monkeypatch):
    monkeypatch.setattr(_threads, "threading_layer", lambda: "workqueue")
    monkeypatch.setattr(_threads.numba, "get_num_threads", lambda: 2)
    with _threads.threads_for(1e12) as outer, _threads.threads_for(1e12) as inner:
        assert outer
        assert not inner
    with _threads.threads_for(1e12) as again:
        assert again


def test_python_threads_may_share_the_kernels():
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(500, 200)), rng.normal(size=(200, 300))
    want, wrong = linear_forward(X, W), []

    def work():
        for _ in range(5):
            if not np.array_equal(linear_forward(X, W), want):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    ("first", "started"),
    [
        ("linear_forward(X, X.T.copy())", True),
        ("assign(X[:20, :3], X[:2, :3])", False),
        ("MLPRegressor(hidden_layer_sizes=(3,), max_iter=1).fit(X[:30, :2], X[:30, 2])", False),
        ("add_one(X)", True),
    ],
    ids=["threads", "small assign", "small fit", "the user's own threads"],
)
def test_a_child_that_is_forked_lives(first, started, tmp_path):
    """After Numba's threads were started it runs serially; else it may start its own."""
    code = """
    import os, warnings
    import numba
    import numpy as np
    from fastnn import MLPRegressor
    from fastnn.kernels import assign, linear_forward
    from fastnn.kernels.shared import threads as _threads
    warnings.simplefilter("ignore")

    @numba.njit(parallel=True)
    def add_one(X):
        for i in numba.prange(len(X)):
            X[i] += 1

    X = np.random.default_rng(0).normal(size=(500, 300))
    {first}
    W = X.T.copy()
    want_serial = {started}
    child = os.fork()
    if child == 0:
        with _threads.threads_for(1e12) as parallel:
            wrong = parallel == want_serial
        with _threads.force_threads(True), _threads.threads_for(1) as parallel:
            wrong = wrong or parallel == want_serial
        np.save(os.environ["RESULT"], linear_forward(X, W))
        os._exit(1 if wrong else 0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(np.array_equal(np.load(os.environ["RESULT"]), linear_forward(X, W)))
    """
    result = str(tmp_path / "result.npy")
    code = textwrap.dedent(code).format(first=first, started=started)
    assert run(code, NUMBA_NUM_THREADS="2", RESULT=result) == "0\nTrue"


def test_workqueue_layer_gives_the_same_result():
    """In a product, a training call and a k-means, all with threads."""
    code = """
    import hashlib, warnings
    import numpy as np
    from fastnn import KMeans, MLPRegressor
    from fastnn.networks import host_network
    warnings.simplefilter("ignore")
    from fastnn.kernels import linear_forward
    from fastnn.kernels.shared import threads as _threads
    _threads.MIN_WORK.update(omp=0, tbb=0, workqueue=0)
    host_network.MIN_STEP_FLOPS = 0
    with _threads.threads_for(1) as parallel:
        assert parallel
    X = np.random.default_rng(0).normal(size=(600, 300))
    net = MLPRegressor(hidden_layer_sizes=(100, 10), max_iter=3, tol=0, random_state=0)
    found = [linear_forward(X, X.T.copy(), activation="tanh"), KMeans(9, random_state=0).fit(X).labels_]
    found += net.fit(X, X[:, 0]).coefs_
    print(_threads.threading_layer(), hashlib.sha256(b"".join(a.tobytes() for a in found)).hexdigest())
    """
    by_workqueue = run(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2").split()
    usual = run(code, NUMBA_NUM_THREADS="2").split()
    assert by_workqueue == ["workqueue", usual[1]]


EVERYTHING = """
import warnings
import numpy as np
from scipy import sparse
from fastnn import GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor, kernels
from fastnn.kernels.shared import threads as _threads
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.normal(size=(3000, 5)).astype(np.float32)
y = X[:, 0] > 0
w = rng.random(3000)
for layer in _threads.MIN_WORK:
    _threads.MIN_WORK[layer] = 1e4  # some launches with threads, some without
for data in (X, X[:20], sparse.csr_matrix(X)):
    for activation in ("relu", "logistic", "silu"):
        for solver in ("adam", "sgd", "lbfgs"):
            model = MLPClassifier(activation=activation, solver=solver, max_iter=2, early_stopping=True)
            model.fit(data, y[: data.shape[0]], w[: data.shape[0]]).predict_proba(data)
wide = sparse.csr_matrix((np.ones(3000, np.float32), (np.arange(3000), np.arange(3000) % 400)))
several = np.stack([y, ~y], axis=1)
for data in (X, X[:20], wide, wide[:20]):
    for solver in ("adam", "lbfgs"):
        model = MLPClassifier(solver=solver, max_iter=2, early_stopping=True)
        model.fit(data, several[: data.shape[0]], w[: data.shape[0]]).predict_proba(data)
for head in (("squared_error", "auto"), ("poisson", "auto"), ("poisson", "softplus"), ("huber", "tanh")):
    MLPRegressor(head[0], out_activation=head[1], max_iter=2, dropout=0.5).fit(X, y, w).predict(X)
for data in (X, X[:20], sparse.csr_matrix(X)):
    for parameters in ({}, {"optimizer": "adam", "learning_rate": 0.1}, {"batch_size": None}):
        kmeans = GradKMeans(7, **parameters).fit(data, sample_weight=w[: data.shape[0]]).partial_fit(data)
        kmeans.predict(data), kmeans.transform(data), kmeans.score(data)
for data in (X, X[:20], sparse.csr_matrix(X)):
    kmeans = KMeans(7).fit(data, sample_weight=w[: data.shape[0]])
    kmeans.predict(data), kmeans.transform(data), kmeans.score(data)
    for parameters in ({}, {"nested": True}, {"tol": 1e-3, "reassignment_ratio": 0.5}):
        kmeans = MiniBatchKMeans(7, batch_size=9, max_iter=2, **parameters)
        kmeans.fit(data, sample_weight=w[: data.shape[0]]).partial_fit(data)
GradKMeans(7).fit(rng.normal(size=(300, 50)).astype(np.float32))
KMeans(130, tol=0).fit(rng.normal(size=(3000, 8)).astype(np.float32))
A = kernels.linear_forward(X, X.T[:, :7].copy())
kernels.linear_backward(A, X, X.T[:, :7].copy(), A)
"""


@pytest.mark.slow
def test_after_precompile_nothing_is_compiled(tmp_path):
    run("import fastnn; fastnn.precompile('float32')", tmp_path)
    assert run(COUNT.format(body=EVERYTHING), tmp_path) == "0"


def test_precompile_knows_two_dtypes():
    for dtypes in ("int32", [np.float64, np.float16]):
        with pytest.raises(ValueError, match="float32"):
            fastnn.precompile(dtypes)
