"""Forked children: whether they may use threads."""

import os
import subprocess
import sys
import textwrap

import pytest

from fastnn import _mappings
from tests.forking import run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux about the process")


USES = {"lightgbm": "train_lightgbm()", "numba": "run_parallel_numba()"}


@LINUX
@pytest.mark.parametrize("first", ["parent", "child"])
@pytest.mark.parametrize("use", USES)
def test_a_child_lives_whoever_used_openmp(use, first):
    """The parent has used it without this package, which it has imported or not even that."""
    code = f"""
    {"import fastnn" if first == "parent" else ""}
    {USES[use]}
    print(end(fork(fit_in_child)))
    print(fit())
    """
    inertia, parallel, exit_code, again = run(code).split()
    assert (exit_code, parallel) == ("0", "False")
    assert inertia == again


@LINUX
@pytest.mark.parametrize("first", ["parent", "grandchild"])
def test_a_grandchild_lives(first):
    """Its own parent has nothing but what it inherited, and is gone."""
    code = f"""
    {"import fastnn" if first == "parent" else ""}
    train_lightgbm()
    def child():
        def grandchild():
            deadline = time.monotonic() + 20
            while os.getppid() == parent and time.monotonic() < deadline:
                time.sleep(0.01)
            fit_in_child()
            os.write(writer, b"done")
        parent = os.getpid()
        fork(grandchild)
    reader, writer = os.pipe()
    assert end(fork(child)) == 0
    os.close(writer)
    print(os.read(reader, 10).decode())
    """
    assert run(code).split()[1:] == ["False", "done"]


@LINUX
def test_a_child_lives_whose_parent_ends_at_once():
    """As a service does that puts itself into the background: nobody is left to ask."""
    code = """
    import fastnn
    def parent():
        train_lightgbm()
        def child():
            fit_in_child()
            os.write(writer, b"done")
        fork(child)
    reader, writer = os.pipe()
    assert end(fork(parent)) == 0
    os.close(writer)
    print(os.read(reader, 10).decode())
    """
    assert run(code).split()[1:] == ["False", "done"]


@LINUX
@pytest.mark.parametrize("first", ["parent", "child"])
@pytest.mark.parametrize("before", ["import lightgbm", "run_sklearn()"])
def test_a_child_uses_threads_if_no_runtime_of_numbas_was_started(before, first):
    """scikit-learn's wheel has an OpenMP of its own."""
    code = f"""
    {"import fastnn.kernels" if first == "parent" else ""}
    {before}
    print(end(fork(fit_in_child)))
    """
    _, parallel, exit_code = run(code).split()
    assert exit_code == "0"
    # Afterwards nobody can tell whether a library had been used that was loaded.
    assert parallel == str(not (first == "child" and before == "import lightgbm"))


@LINUX
def test_what_the_child_has_loaded_itself_counts_as_new():
    """As in a worker of a server that imports the application after it was forked."""
    code = """
    def child():
        train_lightgbm()
        run_parallel_numba()
        fit_in_child()
    print(end(fork(child)))
    """
    assert run(code).split()[1:] == ["True", "0"]


@LINUX
def test_a_new_interpreter_is_no_forked_child():
    code = """
    import subprocess
    train_lightgbm()
    program = '''
    import lightgbm
    from fastnn import _forks, _mappings
    from fastnn.kernels.shared import threads as _threads
    with _threads.use_threads(2), _threads.threads_for(1e12) as parallel:
        print(_mappings.was_forked(), parallel)
    '''
    import textwrap
    print(subprocess.check_output([sys.executable, "-c", textwrap.dedent(program)], text=True))
    """
    assert run(code) == "False True"


@LINUX
def test_when_logging_was_imported_may_be_a_float_or_whole_nanoseconds(monkeypatch):
    """The first up to Python 3.12, the other since."""
    for early in (1e9, 10**18):
        monkeypatch.setattr("logging._startTime", early)
        assert _mappings.was_forked()
    for late in (4e9, 4 * 10**18):
        monkeypatch.setattr("logging._startTime", late)
        assert not _mappings.was_forked()
    monkeypatch.delattr("logging._startTime")
    assert not _mappings.was_forked()


def test_the_safe_layers_are_safe_beside_a_used_openmp():
    code = """
    train_lightgbm()
    print(end(fork(fit_in_child)))
    """
    assert run(code, NUMBA_THREADING_LAYER="workqueue").split()[1:] == ["True", "0"]


def test_importing_the_package_loads_nothing_large():
    code = """
    import sys
    before = set(sys.modules)
    import fastnn
    print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['fastnn']"
