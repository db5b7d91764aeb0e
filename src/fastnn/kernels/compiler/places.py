"""Where compiled code is kept: which directories are read, which is written to, and which are trusted.

Reading and writing are two questions. Directories are asked in this order, up to the first that can be
written to:

1. ``NUMBA_CACHE_DIR``, if it is set; else ``__pycache__`` in the package's own folder;
2. the package's folder, where ``NUMBA_CACHE_DIR`` cannot be written to;
3. the user's cache directory.

So a container image may bring a filled cache on a file system that is read-only, or another user's, and what
it lacks goes to the next directory. Code is run as it is found: directories that somebody else may write to
are neither read nor written (``distrust``).
"""

import os
import stat
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numba
from numba.misc.appdirs import AppDirs

from fastnn.kernels.compiler.store import is_missing, status_of

# Windows knows no owners and modes: its access lists are not looked at.
_HAS_OWNERS = hasattr(os, "geteuid")

# A relative NUMBA_CACHE_DIR is one of the directory in which the package was loaded, wherever the program is
# when it first needs code. (Numba asks for the present one at every file.)
try:
    _LOADED_IN = Path.cwd()
except OSError:  # it has been deleted
    _LOADED_IN = Path()


class Place(NamedTuple):
    """A directory for compiled code."""

    path: Path
    # The outermost of the directories that must be trusted, which is `path` or one above it.
    top: Path

    def is_writable(self) -> bool:
        """Whether files can be made here, or the directory itself where it does not exist."""
        for path in (self.path, *self.path.parents):
            if status := status_of(path):
                return stat.S_ISDIR(status.st_mode) and os.access(
                    path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids
                )
            if not is_missing(path):  # a link to nowhere, or behind what this user may not enter
                return False
        return False

    def distrust(self) -> str | None:
        """Why nothing is read or written here; None if the directory is trusted, or does not exist yet."""
        if trusts_everybody():
            return None
        for path in (self.path, *self.path.parents):
            status = status_of(path)
            if status is not None and not is_trusted(status):
                foreign = status.st_uid not in _owners()
                problem = "belongs to another user" if foreign else "can be written to by others"
                return f"{path} {problem}; FASTNN_CACHE_TRUST=1 trusts it all the same"
            if path == self.top:
                break
        return None


def trusts_everybody() -> bool:
    """Whether owners and modes are not looked at: there are none, or the user has said so."""
    return not _HAS_OWNERS or os.environ.get("FASTNN_CACHE_TRUST", "0") not in ("0", "")


def places(name: str) -> tuple[Place, ...]:
    """Directories of this name in the order in which they are asked, up to the first to be written to."""
    # A service may load the package as one user and work as another.
    return _places(name, os.geteuid() if _HAS_OWNERS else 0)


@cache
def _places(name: str, user: int) -> tuple[Place, ...]:
    found: list[Place] = []
    for place in _candidates(name, user):
        found.append(place)
        if place.is_writable() or place.distrust():
            break
    return tuple(found)


def _candidates(name: str, user: int) -> list[Place]:
    candidates = []
    if numba.config.CACHE_DIR:
        named = _LOADED_IN / numba.config.CACHE_DIR
        if named.is_absolute():
            candidates.append(Place(named / "fastnn" / name, named))
    package = package_folder()
    if not _is_unpacked_for_this_process(package):
        # A group that may write to `__pycache__` may change the package's compiled Python code as well.
        ours = package / "__pycache__" / "kernels"
        # Others would not trust the directory of a user who is neither the package's owner nor root, and
        # could make none of their own there.
        if status_of(ours) or not _HAS_OWNERS or user in (0, _package_owner()):
            candidates.append(Place(ours / name, ours))
    own = Path(AppDirs(appname="fastnn", appauthor=False).user_cache_dir)
    if own.is_absolute():  # without a home directory it is "~"
        candidates.append(Place(own / name, own))
    return candidates


def package_folder() -> Path:
    """The folder of the package's own files."""
    return Path(__file__).absolute().parents[2]


def _is_unpacked_for_this_process(folder: Path) -> bool:
    """Whether a frozen application in a single file has unpacked the package for as long as it runs."""
    unpacked = getattr(sys, "_MEIPASS", None)
    if unpacked is None or not folder.is_relative_to(Path(unpacked).absolute()):
        return False
    # An application in a folder has its parts beside the executable, or below.
    return not Path(unpacked).absolute().is_relative_to(Path(sys.executable).absolute().parent)


@cache
def _package_owner() -> int:
    for path in (Path(__file__), Path(sys.executable)):  # a frozen application has no file of this module
        if status := status_of(path):
            return status.st_uid
    return 0


def _owners() -> tuple[int, ...]:
    """Users whose directories are trusted: this one, root, and the owner of the package's own files."""
    return (os.geteuid(), 0, _package_owner())


def is_trusted(status: os.stat_result) -> bool:
    """Whether a file or directory belongs to who is trusted, and nobody else may write to it.

    A group that is one user's alone may write to a directory: what others put there is theirs. To a file
    it may not, for who runs with a group need not be among its members. The store lets none write to one.
    """
    by_group = bool(status.st_mode & stat.S_IWGRP) and not (
        stat.S_ISDIR(status.st_mode) and _is_private_group(status.st_gid, status.st_uid)
    )
    return status.st_uid in _owners() and not (status.st_mode & stat.S_IWOTH or by_group)


@cache
def _is_private_group(group: int, user: int) -> bool:
    """Whether a group is one user's alone: where each user has one, the umask often lets it write."""
    try:
        import grp
        import pwd

        entry, owner = grp.getgrgid(group), pwd.getpwuid(user).pw_name
    except (ImportError, KeyError):
        return False
    if entry.gr_name != owner or not set(entry.gr_mem) <= {owner}:
        return False
    # Those whose first group it is are not among its members.
    return {account.pw_name for account in pwd.getpwall() if account.pw_gid == group} <= {owner}
