"""Where compiled code is read and written, and whom that trusts."""

import os
import subprocess
import sys
import tempfile

import pytest

from fastnn.kernels.compiler import places as _places
from fastnn.kernels.compiler import store
from fastnn.kernels.compiler.places import Place
from tests.processes import run

HAS_OWNERS = hasattr(os, "geteuid")
owners_only = pytest.mark.skipif(not HAS_OWNERS, reason="files have no owners here")
root_only = pytest.mark.skipif(not HAS_OWNERS or os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def where(monkeypatch, tmp_path):
    """Three places to choose from: the named one, the package's folder and the user's."""
    folders = {name: tmp_path / name for name in ("named", "package", "user")}
    folders["package"].mkdir()
    monkeypatch.setattr(_places.numba.config, "CACHE_DIR", str(folders["named"]))
    monkeypatch.setattr(_places, "package_folder", lambda: folders["package"])
    monkeypatch.setattr(
        _places, "AppDirs", lambda **names: type("", (), {"user_cache_dir": str(folders["user"])})
    )
    _places._places.cache_clear()
    yield folders
    _places._places.cache_clear()


def found():
    _places._places.cache_clear()
    return [place.path.parent for place in _places.places("stamp")]


def block(folder):
    """Nothing can be written there, by root either."""
    if folder.is_dir():
        folder.rmdir()
    folder.write_bytes(b"")


def test_the_named_directory_alone_is_asked_where_it_can_be_written_to(where):
    assert found() == [where["named"] / "fastnn"]


def test_what_cannot_be_written_to_is_read_first(where):
    block(where["named"])
    assert found() == [where["named"] / "fastnn", where["package"] / "__pycache__/kernels"]
    block(where["package"])
    assert found()[2:] == [where["user"]]
    block(where["user"])
    assert len(found()) == 3
    assert not any(place.is_writable() for place in _places.places("stamp"))


def test_without_a_name_the_package_comes_first(where, monkeypatch):
    monkeypatch.setattr(_places.numba.config, "CACHE_DIR", "")
    assert found() == [where["package"] / "__pycache__/kernels"]


RELATIVE = """
import os

os.chdir({first!r})
{then}
from fastnn.kernels import exp
from fastnn.kernels.compiler.places import places

os.chdir({later!r})
print(places("stamp")[0].path)
"""


@pytest.fixture
def from_a_relative_name(tmp_path):
    """Where code goes if `NUMBA_CACHE_DIR` is "here" and kernels are loaded in the directory "first"."""
    folders = {name: str(tmp_path / name) for name in ("first", "later")}
    for folder in folders.values():
        os.mkdir(folder)
    return lambda then: run(RELATIVE.format(**folders, then=then), "here")


def test_a_relative_name_counts_from_where_the_kernels_were_loaded(from_a_relative_name, tmp_path):
    assert from_a_relative_name("") == str(tmp_path / "first/here/fastnn/stamp")


@pytest.mark.skipif(os.name == "nt", reason="a working directory cannot be deleted")
def test_a_relative_name_counts_for_nothing_without_a_working_directory(from_a_relative_name):
    assert "here" not in from_a_relative_name("os.rmdir(os.getcwd())")


def test_a_user_without_a_home_has_no_directory(where, monkeypatch):
    block(where["named"])
    block(where["package"])
    where["user"] = "~/.cache/fastnn"  # what is left where nobody knows the home
    assert len(found()) == 2


def test_a_link_to_nowhere_cannot_be_written_to(where, tmp_path):
    where["named"].symlink_to(tmp_path / "not mounted")
    assert found() == [where["named"] / "fastnn", where["package"] / "__pycache__/kernels"]


def test_the_directory_of_the_stamp_counts(where):
    """An upgrade by root may have made it, in a directory of the user's."""
    (where["named"] / "fastnn").mkdir(parents=True)
    (where["named"] / "fastnn/stamp").write_bytes(b"")  # which stops root too
    assert len(found()) == 2


AS_ANOTHER = """
import os, sys
from pathlib import Path
from fastnn.kernels.compiler.places import Place

place = Place(Path(sys.argv[-1]), Path(sys.argv[-1]))
print(place.is_writable())
os.seteuid(65534)
print(place.is_writable())
"""


@root_only
def test_who_works_as_another_user_may_write_what_that_one_may():
    with tempfile.TemporaryDirectory() as seen:  # and not entered
        hidden = os.path.join(seen, "hidden", "new")
        for path in (seen, os.path.dirname(hidden), hidden):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            command = [sys.executable, "-c", AS_ANOTHER, path]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert done.stdout.split() == ["True", "False"]


def test_a_group_that_shares_the_package_does_not_cost_the_cache(where, monkeypatch):
    """As where the umask lets groups write: who may change `__pycache__` may change more than kernels."""
    monkeypatch.setattr(_places.numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(_places, "_is_private_group", lambda group, user: False)
    for path in (where["package"], where["package"] / "__pycache__"):
        path.mkdir(exist_ok=True)
        path.chmod(0o775)
    found()
    (place,) = _places.places("stamp")
    store.make_directory(place.path)
    assert place.is_writable()
    assert place.distrust() is None
    place.path.chmod(0o775)
    assert place.distrust()


@root_only
def test_only_root_and_the_owner_write_to_the_package(where, monkeypatch):
    monkeypatch.setattr(_places.numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(_places.os, "geteuid", lambda: 12345)
    assert found() == [where["user"]]
    (where["package"] / "__pycache__/kernels").mkdir(parents=True)  # but they read what is there
    monkeypatch.setattr(_places.os, "access", lambda path, mode, **options: "package" not in str(path))
    assert found() == [where["package"] / "__pycache__/kernels", where["user"]]


@pytest.mark.parametrize(
    ("unpacked", "executable", "kept"),
    [
        ("/tmp/_MEI123", "/opt/app/app", False),  # an application in one file
        ("/opt/app/_internal", "/opt/app/app", True),  # one in a folder
        (None, "/usr/bin/python", True),
    ],
)
def test_a_frozen_application_keeps_its_code_where_it_lasts(monkeypatch, unpacked, executable, kept):
    monkeypatch.setattr(sys, "_MEIPASS", unpacked, raising=False)
    monkeypatch.setattr(sys, "executable", executable)
    folder = _places.Path(unpacked or "/usr/lib") / "fastnn"
    assert _places._is_unpacked_for_this_process(folder) is not kept


def distrust(path, top=None):
    return Place(path, top or path).distrust()


@owners_only
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757, 0o702])
def test_a_directory_for_everybody_is_not_trusted(tmp_path, monkeypatch, mode):
    below = tmp_path / "top/below"
    below.mkdir(parents=True)
    assert distrust(below, tmp_path / "top") is None
    for path in (below, below.parent):
        path.chmod(mode)
        reason = distrust(below, tmp_path / "top")
        assert reason.startswith(f"{path} can be written to by others")
        assert "FASTNN_CACHE_TRUST=1" in reason
        path.chmod(0o755)
    below.parent.chmod(mode)
    assert distrust(below) is None  # what lies above, as /tmp does, is not asked
    monkeypatch.setenv("FASTNN_CACHE_TRUST", "1")
    below.chmod(mode)
    assert distrust(below, tmp_path / "top") is None


@root_only
def test_a_directory_of_a_stranger_is_not_trusted(tmp_path, monkeypatch):
    os.chown(tmp_path, 12345, 12345)
    assert distrust(tmp_path).startswith(f"{tmp_path} belongs to another user")
    monkeypatch.setattr(_places, "_package_owner", lambda: 12345)
    assert distrust(tmp_path) is None
    monkeypatch.undo()
    monkeypatch.setattr(_places.os, "geteuid", lambda: 12345)
    assert distrust(tmp_path) is None
    os.chown(tmp_path, 0, 0)
    assert distrust(tmp_path) is None


@owners_only
def test_a_group_is_trusted_that_is_one_users_alone(tmp_path, monkeypatch):
    tmp_path.chmod(0o775)
    monkeypatch.setattr(_places, "_is_private_group", lambda group, user: False)
    assert "can be written to by others" in distrust(tmp_path)
    monkeypatch.setattr(_places, "_is_private_group", lambda group, user: True)
    assert distrust(tmp_path) is None


@owners_only
def test_a_file_that_a_group_may_write_to_is_not_trusted(tmp_path, monkeypatch):
    """Not even where the group seems to be one user's: a process may run with it and not be listed."""
    monkeypatch.setattr(_places, "_is_private_group", lambda group, user: True)
    file = tmp_path / "file"
    for mode in (0o644, 0o664):
        file.write_bytes(b"")
        file.chmod(mode)
        assert _places.is_trusted(file.stat()) is (mode == 0o644)


@owners_only
@pytest.mark.parametrize(
    ("name", "members", "first_of", "private"),
    [
        ("ada", [], ["ada"], True),
        ("ada", ["ada"], [], True),
        ("ada", ["ada", "bob"], ["ada"], False),
        ("ada", [], ["ada", "bob"], False),  # whose first group it is, too
        ("staff", [], ["ada"], False),
    ],
)
def test_a_private_group_has_its_users_name_and_nobody_else(monkeypatch, name, members, first_of, private):
    import grp
    import pwd

    monkeypatch.setattr(grp, "getgrgid", lambda gid: type("", (), {"gr_name": name, "gr_mem": members}))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: type("", (), {"pw_name": "ada"}))
    accounts = [type("", (), {"pw_name": account, "pw_gid": 1}) for account in first_of]
    monkeypatch.setattr(pwd, "getpwall", lambda: [*accounts, type("", (), {"pw_name": "eve", "pw_gid": 2})])
    _places._is_private_group.cache_clear()
    assert _places._is_private_group(1, 2) is private
    _places._is_private_group.cache_clear()


@owners_only
def test_groups_and_users_without_names_are_strangers():
    _places._is_private_group.cache_clear()
    assert not _places._is_private_group(2_000_000_001, 2_000_000_001)
