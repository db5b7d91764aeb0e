"""What is compiled when, launch rules and what a process may and may not do, in processes of their own."""

import os
import textwrap
import threading

import numpy as np
import pytest

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


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts processes by fork")
def test_functions_that_several_processes_have_compiled_are_told_apart(tmp_path):
    """Numba counts functions from 1 in every process: the cache brings together two of one number."""
    assert run(EACH_IN_ITS_PROCESS, tmp_path) == ""


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
    _threads.MIN_FLOPS.update(omp=0, tbb=0, workqueue=0)
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
