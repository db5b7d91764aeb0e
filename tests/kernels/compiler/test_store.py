"""The store of compiled code: what a file holds is what its name says, or nothing.

Payloads are of the size of compiled functions, and nothing is compiled.
"""

import errno
import os
import signal
import stat
import time

import numpy as np
import pytest

from fastnn.kernels.compiler import store as _store
from fastnn.kernels.compiler.store import KEPT_STAMPS, Store, directory_name, make_directory
from tests.processes import run

PAYLOAD = np.random.default_rng(0).bytes(150_000)  # the largest kernels' code


def store_at(path, stamp=b"stamp"):
    return Store(path / directory_name(stamp), stamp)


def test_what_is_saved_is_loaded(tmp_path):
    store = store_at(tmp_path / "made" / "on demand")
    assert store.load("f", b"key") is None
    store.save("f", b"key", PAYLOAD)
    assert store.load("f", b"key") == PAYLOAD
    store.save("f", b"key", b"")
    assert store.load("f", b"key") == b""
    assert store.load("f", b"other key") is None
    assert store_at(store.directory.parent, b"other stamp").load("f", b"key") is None


@pytest.mark.parametrize(("key", "stamp"), [(b"other", b"stamp"), (b"key", b"other"), (b"keystamp", b"")])
def test_a_file_under_another_name_is_not_believed(tmp_path, key, stamp):
    store, other = store_at(tmp_path), store_at(tmp_path, stamp)
    store.save("f", b"key", PAYLOAD)
    other.save("f", key, b"")
    os.replace(store.path("f", b"key"), other.path("f", key))
    assert other.load("f", key) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_what_is_no_file_is_neither_waited_for_nor_believed(tmp_path):
    store = store_at(tmp_path)
    store.save("f", b"key", PAYLOAD)
    path = store.path("f", b"key")
    path.unlink()
    os.mkfifo(path)
    assert store.load("f", b"key") is None
    store.save("f", b"key", PAYLOAD)
    assert store.load("f", b"key") == PAYLOAD


def test_no_flipped_bit_is_believed(tmp_path):
    store = store_at(tmp_path)
    store.save("f", b"key", PAYLOAD)
    path = store.path("f", b"key")
    whole = path.read_bytes()
    head = range(8 * (len(whole) - len(PAYLOAD)))  # every bit before the payload
    for bit in [*head, *np.random.default_rng(1).integers(8 * len(whole), size=1000)]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert store.load("f", b"key") is None
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:20], b"", whole + b"\0"):
        path.write_bytes(content)
        assert store.load("f", b"key") is None
    store.save("f", b"key", PAYLOAD)
    assert store.load("f", b"key") == PAYLOAD


WRITERS = """
import os, sys
from pathlib import Path
from fastnn.kernels.compiler.store import Store

def payload(key, writer):
    return (b"%d %d " % (key, writer)) * (2000 + 100 * key)

store, children = Store(Path(os.environ["STORE"], "0" * 16), b"stamp"), []
for writer in range(24):
    child = os.fork()
    if child == 0:
        wrong = 0
        for i in range(84):  # 2,016 saves of 288 keys
            key = (i * 24 + writer * 7) % 288
            store.save("f", b"%d" % key, payload(key, writer))
            found = store.load("f", b"%d" % key)
            wrong += found not in [payload(key, other) for other in range(24)]
        os._exit(wrong != 0)
    children.append(child)
print(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
found = [store.load("f", b"%d" % key) for key in range(288)]
print(sum(value is None for value in found))
print(sum(value not in [payload(key, w) for w in range(24)] for key, value in enumerate(found)))
print(len([name for name in os.listdir(store.directory) if not name.endswith(".kernel")]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts writers by fork")
def test_many_writers_lose_and_mix_up_nothing(tmp_path):
    assert run(WRITERS, STORE=str(tmp_path)).split() == ["0", "0", "0", "0"]


KILLED = """
import os, random, signal, time
from pathlib import Path
from fastnn.kernels.compiler.store import Store

random.seed(0)
root = Path(os.environ["STORE"])
stores = {b"old": Store(root / ("0" * 16), b"old"), b"new": Store(root / ("1" * 16), b"new")}
contents = {stamp: [(b"%d " % key + stamp) * 20_000 for key in range(8)] for stamp in (b"old", b"new")}
for key, content in enumerate(contents[b"old"]):
    stores[b"old"].save("f", b"%d" % key, content)
wrong = lost = 0
for kill in range(200):
    child = os.fork()
    if child == 0:
        store = stores[b"new"]
        while True:
            for key, content in enumerate(contents[b"new"]):
                store.save("f", b"%d" % key, content)
    time.sleep(random.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for stamp in (b"old", b"new"):
        for key, content in enumerate(contents[stamp]):
            found = stores[stamp].load("f", b"%d" % key)
            wrong += found is not None and found != content
            lost += found is None and stamp == b"old"
print(wrong, lost)
print(sum(stores[b"new"].load("f", b"%d" % key) is not None for key in range(8)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts the process that it kills by fork")
def test_a_kill_at_any_moment_leaves_nothing_wrong(tmp_path):
    assert run(KILLED, STORE=str(tmp_path)).split("\n") == ["0 0", "8"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG])
@pytest.mark.parametrize("written", [0, 100, 100_000])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, error, written):
    store = store_at(tmp_path)
    store.save("f", b"key", PAYLOAD)

    def write(file, content):
        os.write(file, bytes(content[:written]))
        _raise_from_the_store(error)

    monkeypatch.setattr(_store, "_write", write)
    for key in (b"key", b"new"):
        with pytest.raises(OSError, match=os.strerror(error)):
            store.save("f", key, PAYLOAD[::-1])
    monkeypatch.undo()
    assert store.load("f", b"key") == PAYLOAD
    assert store.load("f", b"new") is None
    assert os.listdir(store.directory) == [store.path("f", b"key").name]


def _raise_from_the_store(error):
    raise OSError(error, os.strerror(error))


def test_what_killed_writers_leave_is_deleted_in_time(tmp_path):
    store = store_at(tmp_path)
    store.save("f", b"key", b"1")
    abandoned, present = (store.directory / f"f-{name}.kernel.1.tmp" for name in ("old", "new"))
    for path in (abandoned, present):
        path.write_bytes(b"")
    hours_ago = time.time() - 2 * _store.ABANDONED
    os.utime(abandoned, (hours_ago, hours_ago))
    store_at(tmp_path).save("f", b"key", b"2")
    assert present.exists()
    assert not abandoned.exists()


@pytest.mark.parametrize("known", [False, True])
def test_the_stamps_used_last_are_kept(tmp_path, known):
    """Besides one's own, whether its directory is new or not."""
    (tmp_path / "somebody else's").mkdir()
    stores = [store_at(tmp_path, b"%d" % age) for age in range(KEPT_STAMPS + 3)]
    for age, store in enumerate(stores):
        store.directory.mkdir()
        store.path("f", b"key").write_bytes(_store.pack(b"key", store.stamp, b"code"))
        os.utime(store.directory, (time.time() - 100 * (age + 1),) * 2)
    oldest, newest = stores[-1], store_at(tmp_path, b"newest")
    assert oldest.load("f", b"key") == b"code"  # counts as a use
    if known:
        newest.directory.mkdir()
    newest.save("f", b"key", b"")
    kept = [newest, oldest, *stores[: KEPT_STAMPS - 1]]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {store.directory.name for store in kept} | {"somebody else's"}


def test_others_may_read_and_not_write(tmp_path):
    before = os.umask(0)
    try:
        store = store_at(tmp_path / "deep" / "er")
        store.save("f", b"key", PAYLOAD)
    finally:
        os.umask(before)
    directory = store.directory
    for path in (store.path("f", b"key"), directory, directory.parent, directory.parent.parent):
        assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
        assert path.stat().st_mode & stat.S_IROTH


def test_a_link_to_nowhere_is_an_error_of_the_system(tmp_path):
    link = tmp_path / "cache"
    link.symlink_to(tmp_path / "not mounted")
    with pytest.raises(FileExistsError):
        make_directory(link / "fastnn")
    with pytest.raises(OSError, match="cache"):
        store_at(link).save("f", b"key", PAYLOAD)


class Limit(TimeoutError):
    """An error of the kind that time limits raise, and that is an OSError too."""


class Missing(FileNotFoundError):
    """One that looks as if a file were not there."""


class Present(FileExistsError):
    """One that looks as if a directory were there."""


@pytest.fixture(params=[Limit(), Missing(errno.ENOENT, "gone"), Present(errno.EEXIST, "here")], ids=repr)
def signalled(monkeypatch, request):
    """Make a function of the module `os` as the store sees it send a signal whose handler raises."""

    def handler(number, frame):
        raise request.param

    before = signal.signal(signal.SIGUSR1, handler)

    def send(name):
        original = getattr(os, name)

        def function(*arguments, **options):
            signal.raise_signal(signal.SIGUSR1)
            return original(*arguments, **options)

        monkeypatch.setattr(os, name, function)

    yield send, type(request.param)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no signals to send here")
@pytest.mark.parametrize(
    "name", ["open", "write", "close", "replace", "mkdir", "scandir", "unlink", "utime", "read", "stat"]
)
def test_what_a_signal_raises_is_not_lost(tmp_path, signalled, name):
    """At whichever call of the system it comes in, a handler's OSError is not taken for the disk's."""
    store = store_at(tmp_path)
    store.save("f", b"key", PAYLOAD)
    store, work = store_at(tmp_path), []
    if name == "unlink":
        os.mkdir(store.path("f", b"new"))  # the new file cannot be moved there, and is deleted
        work.append(lambda: store.save("f", b"new", PAYLOAD))
    elif name in ("utime", "read"):
        work.append(lambda: store.load("f", b"key"))
    else:
        work.append(lambda: store.save("f", b"key", PAYLOAD))
    send, kind = signalled
    if name == "mkdir":
        store.path("f", b"key").unlink()
        store.directory.rmdir()
    send(name)
    with pytest.raises(kind):
        work[0]()
