"""Compiled code that outlives a process: upgrades that fail half-way, images, strangers, signals."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.kernels.compiler import notice
from fastnn.kernels.compiler.cache import FunctionCache
from tests.processes import COUNT, LINKED, SMALL, finished, run

PACKAGE = Path(fastnn.__file__).parent

# The values of some activations at three numbers, computed by the loops that training steps call.
LOOPS = """
import ctypes
import numpy as np
from fastnn.kernels.cpu.dispatch import activation_loops

z = {z}
for name in {names}:
    address = activation_loops.address(list(activation_loops.loops).index(name), np.float64)
    values = np.array(z)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)(values.ctypes.data, values.size)
    print(*values)
"""
Z = (-1.5, 0.25, 2.0)
LOGISTIC = 1 / (1 + np.exp(-np.array(Z)))
EXPECTED = {
    "tanh": np.tanh(Z),
    "relu": np.maximum(Z, 0),
    "logistic": LOGISTIC,
    "silu": Z * LOGISTIC,
    "leaky_relu": np.where(np.array(Z) > 0, Z, 0.01 * np.array(Z)),
    "softplus": np.log1p(np.exp(Z)),
}


def loops(*names):
    return LOOPS.format(z=Z, names=names)


def check(printed, *names):
    values = np.array([line.split() for line in printed.splitlines()], dtype=float)
    np.testing.assert_allclose(values, [EXPECTED[name] for name in names], rtol=1e-12)


@pytest.fixture
def package(tmp_path):
    """A copy of the package, to be changed, and the variables with which a process uses it."""
    copy = tmp_path / "lib/fastnn"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def upgrade(package):
    """Another version: a comment in a file that holds compiled code."""
    with (package / "tables/activations.py").open("a") as file:
        file.write("# another version\n")


def may_mount():
    """Whether this user may make file systems in a namespace of his own."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/tmp"]
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_only_files_with_compiled_code_count(tmp_path, package):
    """A change of an engine, of an estimator, or of what keeps the code, compiles nothing anew."""

    def compiled():
        return int(run(COUNT.format(body=SMALL), tmp_path / "cache", PYTHONPATH=str(package.parent)))

    def change(name):
        with (package / name).open("a") as file:
            file.write("# changed\n")

    assert compiled() > 0
    engines = (
        path for room in ("clustering", "networks", "estimators") for path in (package / room).rglob("*.py")
    )
    for name in (*engines, package / "__init__.py", package / "_precompile.py"):
        change(name.relative_to(package))
    for name in ("clustering/lloyd.py", "kernels/compiler/store.py", "kernels/shared/threads.py"):
        change(name)
    assert compiled() == 0
    for name in ("kernels/cpu/elementary.py", "tables/losses.py", "kernels/simd/ir_sums.py"):
        change(name)
        assert compiled() > 0
        assert compiled() == 0


UPGRADE_ON_A_FULL_DISK = """
import os, resource, subprocess, sys
cache, full = os.environ["NUMBA_CACHE_DIR"], os.environ["FULL"]

def python(code):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0
    print(done.stdout, end="")

os.makedirs(cache, exist_ok=True)
if full == "tmpfs":
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", cache], check=True)
python({before!r})
with open({source!r}, "a") as file:
    file.write("# another version\\n")
if full == "tmpfs":
    filler = os.path.join(cache, "filler")
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(file.tell() - 4096)
else:  # files of more bytes cannot be written
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
python({after!r})
if full == "tmpfs":
    os.unlink(filler)
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
python({after!r})
python({after!r})
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="limits the size of files")
@pytest.mark.parametrize("full", ["tmpfs", "limit"])
def test_an_upgrade_on_a_full_disk_computes_what_it_should(tmp_path, package, full):
    if full == "tmpfs" and not may_mount():
        pytest.skip("may not mount")
    before, after = ("tanh", "relu"), ("silu", "logistic")
    code = UPGRADE_ON_A_FULL_DISK.format(
        before=loops(*before), after=loops(*after), source=str(package / "tables/activations.py")
    )
    environment = {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1", "FULL": full}
    prefix = ["unshare", "-m"] if full == "tmpfs" else []
    done = finished(code, tmp_path / "cache", prefix, **environment)
    check(done.stdout, *before, *after, *after, *after)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills")
def test_upgrades_that_are_killed_compute_what_they_should(tmp_path, package):
    """Three times, at a moment after the new version has begun to save."""
    rng, cache, names = random.Random(0), tmp_path / "cache", tuple(EXPECTED)
    environment = {
        **os.environ,
        "PYTHONPATH": str(package.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NUMBA_CACHE_DIR": str(cache),
    }

    def count():
        return sum(path.is_file() for path in cache.rglob("*"))

    check(run(loops(*names[:3]), cache, PYTHONPATH=str(package.parent)), *names[:3])
    for _ in range(3):
        upgrade(package)
        saved = count()
        process = subprocess.Popen(
            [sys.executable, "-c", loops(*reversed(names))], env=environment, stdout=subprocess.DEVNULL
        )
        while count() == saved and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 1))
        process.kill()
        process.wait()
        for order in (names, names[::-1]):
            check(run(loops(*order), cache, PYTHONPATH=str(package.parent)), *order)


def test_the_cache_can_be_switched_off(tmp_path):
    run(SMALL, tmp_path, FASTNN_CACHE="0")
    assert not list(tmp_path.iterdir())


def test_a_damaged_cache_is_compiled_over(tmp_path):
    run(SMALL, tmp_path)
    for path in tmp_path.rglob("*.kernel"):
        path.write_bytes(b"\x80\x05not a pickle")
    assert int(run(COUNT.format(body=SMALL), tmp_path)) > 0
    assert run(COUNT.format(body=SMALL), tmp_path) == "0"


FLIPPED = """
import ctypes, random, sys
import numpy as np
from numba.core.registry import cpu_target
from fastnn.kernels.compiler import cache as _cache, store as _store
from fastnn.kernels.compiler import linked
from fastnn.kernels.cpu.dispatch import activation_loops

# What is loaded after each of many single flipped bits: nothing, for the code would be executed.
code = list(activation_loops.loops).index("tanh")
activation_loops.address(code, np.float64)
(store, _), = _cache._stores()
(path,) = [path for path in store.directory.iterdir() if "activate" in path.name]
whole, loads = path.read_bytes(), []
rebuild = _cache.FunctionCache._rebuild
_cache.FunctionCache._rebuild = lambda *arguments: loads.append(arguments) or rebuild(*arguments)
_cache.FunctionCache.save_overload = lambda *arguments: None
compiled = activation_loops._compiled(code, "float64")
for bit in random.Random(0).sample(range(8 * len(whole)), 1000):
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    assert compiled._cache.load_overload(compiled._sig, cpu_target.target_context) is None
assert not loads
path.write_bytes(whole)
assert compiled._cache.load_overload(compiled._sig, cpu_target.target_context) is not None
assert len(loads) == 1
"""


def test_none_of_a_thousand_flipped_bits_reaches_the_linker(tmp_path):
    run(FLIPPED, tmp_path, FASTNN_QUIET="1")


WARNINGS = """
import warnings
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    {body}
print([w.filename for w in caught if "anew in every process" in str(w.message)])
"""
TWO_KERNELS = """import numpy as np
    from fastnn.kernels import exp, linear_forward
    X = np.ones((3, 4))
    exp(X), linear_forward(X, X.T.copy(), activation="tanh")"""


def test_where_nothing_can_be_written_one_warning_says_so(tmp_path, package):
    """Whatever the number of functions; neither root nor anybody else can write below a file."""
    for folder in [package, *package.rglob("*/")]:
        if folder.is_dir():
            (folder / "__pycache__").write_bytes(b"")
    nowhere = tmp_path / "file"
    nowhere.write_bytes(b"")
    variables = {"HOME": str(nowhere), "XDG_CACHE_HOME": str(nowhere), "LOCALAPPDATA": str(nowhere)}
    code = WARNINGS.format(body=TWO_KERNELS)
    assert run(code, nowhere / "cache", PYTHONPATH=str(package.parent), **variables) == "['<string>']"


@pytest.mark.parametrize("mode", [0o777, 0o1777])
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no modes here")
def test_nothing_is_read_from_where_others_may_write(tmp_path, mode):
    cache = tmp_path / "cache"
    run(SMALL, cache)
    files = set(cache.rglob("*"))
    cache.chmod(mode)
    done = finished(COUNT.format(body=SMALL), cache)
    assert int(done.stdout) > 0
    assert done.stderr.count("FASTNN_CACHE_TRUST=1") == 1
    run(LINKED, cache)
    assert set(cache.rglob("*")) == files
    assert run(COUNT.format(body=SMALL), cache, FASTNN_CACHE_TRUST="1") == "0"


@pytest.mark.parametrize("how", ["mounted read-only", "another user"])
def test_a_filled_cache_that_cannot_be_written_to_is_read(tmp_path, package, how):
    """And what it lacks goes to the user's own directory, without a warning."""
    cache, own = tmp_path / "cache", tmp_path / "home"
    own.mkdir(mode=0o755)
    variables = {"PYTHONPATH": str(package.parent), "HOME": str(own), "XDG_CACHE_HOME": str(own)}
    (package / "__pycache__").write_bytes(b"")  # nothing beside the sources
    run(SMALL, cache, **variables)
    prefix = []
    if how == "mounted read-only":
        if not may_mount():
            pytest.skip("may not mount")
        mount = f'mount --bind {cache} {cache} && mount -o remount,ro,bind {cache} && exec "$@"'
        prefix = ["unshare", "-m", "sh", "-c", mount, "sh"]
    elif not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    else:
        for path in (cache, *cache.rglob("*/")):
            path.chmod(0o555)
    done = finished(COUNT.format(body=SMALL), cache, prefix, **variables)
    assert (done.stdout.strip(), done.stderr) == ("0", "")
    assert not list(own.rglob("*.kernel"))
    done = finished(COUNT.format(body=LINKED), cache, prefix, FASTNN_QUIET="1", **variables)
    assert int(done.stdout) > 0
    assert done.stderr == ""
    assert list(own.rglob("*.kernel"))
    done = finished(COUNT.format(body=LINKED + SMALL), cache, prefix, **variables)
    assert done.stdout.strip() == "0"
    for path in (cache, *cache.rglob("*/")):
        path.chmod(0o755)


def test_times_of_files_do_not_count(tmp_path, package):
    """Images are pushed with times cut to seconds, and set anew."""
    cache, variables = tmp_path / "cache", {"PYTHONPATH": str(package.parent)}
    run(SMALL, cache, **variables)
    for path in [*package.rglob("*"), *cache.rglob("*")]:
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert run(COUNT.format(body=SMALL), cache, **variables) == "0"
    upgrade(package)
    assert int(run(COUNT.format(body=SMALL), cache, **variables)) > 0


def test_options_of_the_compiler_are_told_apart(tmp_path):
    """Code that checks bounds, or was not optimised, is not what others want to load."""
    run(SMALL, tmp_path, NUMBA_OPT="0")
    assert int(run(COUNT.format(body=SMALL), tmp_path)) > 0
    assert run(COUNT.format(body=SMALL), tmp_path, NUMBA_OPT="0") == "0"


def test_a_frozen_application_finds_its_code_from_every_directory(tmp_path, package):
    """There the names of files in compiled Python code are relative, and there are no sources."""
    compile_all = [sys.executable, "-m", "compileall", "-q", "-b", "-s", str(package.parent), str(package)]
    subprocess.run(compile_all, check=True)
    for path in package.rglob("*.py"):
        path.unlink()
    frozen = "import sys\nsys.frozen = True\n" + COUNT.format(body=SMALL)
    variables = {"PYTHONPATH": str(package.parent), "NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path)}
    counts = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        counts.append(
            int(finished(f"import os\nos.chdir({str(tmp_path / name)!r})\n{frozen}", **variables).stdout)
        )
        assert not list((tmp_path / name).iterdir())
    assert counts[0] > 0
    assert counts[1] == 0


LIMITED = """
import os, signal
import numpy as np
from fastnn.kernels import exp

class Limit(TimeoutError):
    pass

def handler(number, frame):
    raise Limit

signal.signal(signal.SIGUSR1, handler)
original, calls = os.replace, []

def replace(*arguments):
    if not calls:
        calls.append(arguments)
        signal.raise_signal(signal.SIGUSR1)
    return original(*arguments)

os.replace = replace  # by which a compiled function is saved
try:
    exp(np.ones(5, np.float32))
except Limit:
    print("limited")
print(exp(np.zeros(5, np.float32)))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no signals to send here")
def test_a_time_limit_that_ends_while_code_is_saved_is_not_lost(tmp_path):
    assert run(LIMITED, tmp_path).split("\n") == ["limited", "[1. 1. 1. 1. 1.]"]


def test_many_processes_may_fill_one_cache_at_once(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", SMALL], env=env, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.wait() == 0, process.stderr.read()
        process.stderr.close()
    assert run(COUNT.format(body=SMALL), tmp_path) == "0"


def test_a_caller_is_not_linked_with_a_function_of_another_type(tmp_path):
    """As one that an older version has compiled would be, if all else were equal."""
    code = """
    from fastnn.kernels.compiler import link as _link
    from fastnn.kernels.cpu.network import linear
    from fastnn.kernels.simd import tile
    name = "fastnn_product_float32"
    print(_link.require(name, "void (i64)"), name in _link._addresses)
    print(_link.require("fastnn_none_float32", "void (i64)"))
    print(_link.require(name, _link.c_type(name)), name in _link._addresses)
    """
    assert run(code, tmp_path).split("\n") == ["False False", "False", "True True"]


LINKED_TWICE = (
    """
import signal
from llvmlite import binding as llvm
from fastnn.kernels.compiler import link as _link
from fastnn.kernels.cpu.network import linear

class Limit(TimeoutError):
    pass

def interrupted(name, address):
    raise Limit

original, llvm.add_symbol = llvm.add_symbol, interrupted
"""
    + f"""
try:
{chr(10).join("    " + line for line in LINKED.strip().splitlines())}
except Limit:
    print("limited")
llvm.add_symbol = original
{LINKED}
print("linked")
"""
)


def test_a_symbol_that_llvm_did_not_get_to_know_is_told_again(tmp_path):
    """Where a handler raised in between; to link without it would end the process."""
    run(LINKED, tmp_path)
    assert run(LINKED_TWICE, tmp_path).split() == ["limited", "linked"]


def test_functions_that_differ_in_a_closure_have_keys_of_their_own():
    def made(n):
        def function(x):
            return x + n

        return function

    class Codegen:
        def magic_tuple(self):
            return ("triple", "cpu", "features")

    keys = {FunctionCache(made(n), extra)._key((), Codegen()) for n in (1, 2) for extra in (True, False)}
    assert len(keys) == 4
    assert FunctionCache(made(1), True)._key((), Codegen()) in keys


def test_compiling_for_long_is_told_once(tmp_path):
    code = "from fastnn.kernels.compiler import notice\nnotice.PATIENCE = 0\n" + LINKED + SMALL
    first = finished(code, tmp_path)
    assert first.stderr.count("\n") == 1  # of many functions
    assert "fastnn compiles its kernels" in first.stderr
    assert str(tmp_path) in first.stderr
    assert finished(code, tmp_path).stderr == ""


@pytest.mark.parametrize("quiet", [{"FASTNN_QUIET": "1"}, {}], ids=["variable", "level"])
def test_the_line_about_compiling_can_be_silenced(tmp_path, quiet):
    level = "" if quiet else "import logging\nlogging.getLogger('fastnn').setLevel(logging.ERROR)\n"
    code = level + "from fastnn.kernels.compiler import notice\nnotice.PATIENCE = 0\n" + SMALL
    assert finished(code, tmp_path, FASTNN_CACHE="0", **quiet).stderr == ""


def test_compiling_that_was_asked_for_is_not_told():
    watch = notice._Stopwatch()
    with watch.silenced():
        watch.begin(None)
        watch._begun[0] -= 2 * notice.PATIENCE
        watch.end(None)
    assert next(watch._told) == 0  # nobody has asked


def test_seconds_of_compiling_add_up(monkeypatch, caplog):
    """A function that others wait for is not counted twice, and one that failed not at all."""
    now = [0.0]
    monkeypatch.setattr(notice.time, "perf_counter", lambda: now[0])
    watch = notice._Stopwatch()

    def work(seconds, inner=0.0):
        watch.begin(None)
        if inner:
            work(inner)
        now[0] += seconds
        watch.end(None)

    work(0.2, inner=0.2)
    watch.begin(None)
    now[0] += 10  # nobody compiles: it has failed
    watch.reset()
    now[0] += 10
    work(0.5)
    assert not caplog.records
    work(0.2)
    work(5)
    assert len(caplog.records) == 1
    assert "not kept for later processes" in caplog.text


def test_each_thread_has_a_watch_of_its_own():
    """One that has finished compiling resets it while another begins."""
    watch, errors = notice._Stopwatch(), []

    def work():
        try:
            for _ in range(3000):
                watch.begin(None)
                watch.end(None)
                watch.reset()
        except IndexError as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    assert not errors


def test_a_warning_in_the_midst_of_a_loop_is_one(monkeypatch):
    monkeypatch.setattr(notice, "_warned", notice.itertools.count())
    with pytest.warns(RuntimeWarning, match="anew in every process: because"):
        notice.warn_that_code_is_lost("because")
    notice.warn_that_code_is_lost("because")  # any warning is an error here
