"""Compiled code on disk: one file for each key, whose content is bound to its name.

What a file holds is decided by what stands in it, never by a second file, a number or a time::

    <directory>/<label>-<hash of key and stamp>.kernel

    magic | SHA-256 of all that follows | lengths | key | stamp | payload

Machine code that is read wrongly is executed all the same, so a file is believed only if its checksum, key
and stamp are those expected; what fails is compiled again and replaced. A file is written under a temporary
name and moved in one step: a full disk, a kill, or another writer leaves the old file, the new one, or none.
It is not flushed to the disk first, which would take milliseconds; what a loss of power leaves fails the
check.

Nothing here knows Numba: keys, stamps and payloads are bytes.
"""

import errno
import hashlib
import os
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

MAGIC = b"fastnn kernel 1\n"
SUFFIX = ".kernel"
_LENGTHS = struct.Struct("<QQ")
_DIGEST_BYTES = hashlib.sha256().digest_size
_HEAD_BYTES = len(MAGIC) + _DIGEST_BYTES

# Digits of a directory's name, of the hash of its stamp.
_STAMP_DIGITS = 16

# Directories of other stamps that are kept: the latest used. Several versions, or checkouts, share a user's
# cache, and a developer makes a stamp with every edit.
KEPT_STAMPS = 4
# Seconds after which a temporary file has no writer any more: a save takes milliseconds.
ABANDONED = 3600

# There is no file, or none that this user may see.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM)

# Only the owner writes; who runs a container image as another user reads.
_DIRECTORY_MODE, _FILE_MODE = 0o755, 0o644
# Windows keeps text and binary files apart, and hands open files to children.
_OPEN = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# To open a pipe that somebody has put in a file's place would wait for its writer.
_READ = os.O_RDONLY | _OPEN | getattr(os, "O_NONBLOCK", 0)


def pack(key: bytes, stamp: bytes, payload: bytes) -> bytes:
    """A file's content."""
    body = b"".join((_LENGTHS.pack(len(key), len(stamp)), key, stamp, payload))
    return b"".join((MAGIC, hashlib.sha256(body).digest(), body))


def unpack(content: bytes, key: bytes, stamp: bytes) -> bytes | None:
    """The payload of a file's content; None if it is damaged, or belongs to another key or stamp."""
    body = memoryview(content)[_HEAD_BYTES:]
    if not content.startswith(MAGIC) or hashlib.sha256(body).digest() != content[len(MAGIC) : _HEAD_BYTES]:
        return None
    expected = b"".join((_LENGTHS.pack(len(key), len(stamp)), key, stamp))
    if bytes(body[: len(expected)]) != expected:
        return None
    return bytes(body[len(expected) :])


def directory_name(stamp: bytes) -> str:
    """Name of a stamp's directory."""
    return hashlib.sha256(stamp).hexdigest()[:_STAMP_DIGITS]


class Store:
    """The files of one stamp, in a directory beside those of others.

    Parameters
    ----------
    directory : Path
        Named by ``directory_name``; it and those above it are made when the first file is saved.
    stamp : bytes
        What the code was compiled from. Files of another stamp are never read.
    believes : callable
        ``believes(status)``: whether a file with this result of ``os.stat`` may be read.
    """

    def __init__(
        self, directory: Path, stamp: bytes, believes: Callable[[os.stat_result], bool] = lambda status: True
    ) -> None:
        self.directory, self.stamp, self.believes = directory, stamp, believes
        self._used = self._tidied = False

    def path(self, label: str, key: bytes) -> Path:
        """The file of a key; `label` is for people who look into the directory."""
        name = hashlib.sha256(_LENGTHS.pack(len(key), len(self.stamp)) + key + self.stamp).hexdigest()[:32]
        readable = "".join(c if c.isalnum() or c in "._" else "-" for c in label)[:60]
        return self.directory / f"{readable}-{name}{SUFFIX}"

    def load(self, label: str, key: bytes) -> bytes | None:
        """The payload that was saved under a key; None if there is none that can be believed.

        Raises
        ------
        OSError
            The file is there, and reading it fails.
        """
        try:
            file = os.open(self.path(label, key), _READ)
        except OSError as error:
            if raised_by_the_system(error) and error.errno in _NOT_THERE:
                return None
            raise
        try:
            status = os.fstat(file)
            # Who may write to a directory above this one can put another in its place, but not with our
            # files.
            if not (stat.S_ISREG(status.st_mode) and self.believes(status)):
                return None
            content = _read(file, status.st_size)
        finally:
            os.close(file)
        self._mark_used()
        return unpack(content, key, self.stamp)

    def save(self, label: str, key: bytes, payload: bytes) -> None:
        """Keep a payload under a key, in place of what was there.

        Raises
        ------
        OSError
            It cannot be written. What was there stays.
        """
        path = self.path(label, key)
        content = pack(key, self.stamp, payload)
        self._make_ready()
        try:
            _replace(path, content)
        except FileNotFoundError as error:
            if not raised_by_the_system(error):
                raise
            # A process of another stamp has deleted the directory meanwhile, as one that was not in use.
            make_directory(self.directory)
            _replace(path, content)

    def _make_ready(self) -> None:
        """Make the directory; once a process, tidy up."""
        if not self._tidied:
            self._tidied = True
            with system_errors_ignored:
                self._forget_other_stamps()
            with system_errors_ignored:
                _delete(self.directory, ".tmp", older_than=time.time() - ABANDONED)
        make_directory(self.directory)

    def _mark_used(self) -> None:
        """Let the directory's time say when it was last used, for those who tidy up."""
        if not self._used:
            self._used = True
            with system_errors_ignored:  # read-only, or another user's
                os.utime(self.directory)

    def _forget_other_stamps(self) -> None:
        """Delete what the stamps have left that were used longest ago."""
        with os.scandir(self.directory.parent) as entries:
            others = [
                (entry.stat().st_mtime, entry.path)
                for entry in entries
                if _is_of_a_stamp(entry.name) and entry.name != self.directory.name
            ]
        for _, path in sorted(others, reverse=True)[KEPT_STAMPS:]:
            with system_errors_ignored:
                _delete(path, SUFFIX, ".tmp")
                os.rmdir(path)


def _is_of_a_stamp(name: str) -> bool:
    return len(name) == _STAMP_DIGITS and set(name) <= set("0123456789abcdef")


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step: nobody sees a part of it."""
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, _FILE_MODE)
        try:
            _write(file, content)
        finally:
            os.close(file)
        os.replace(temporary, path)
    except BaseException as error:
        with system_errors_ignored:
            os.unlink(temporary)
        # Windows does not replace a file that somebody reads: it is there, then, and as good.
        if not (os.name == "nt" and isinstance(error, PermissionError) and raised_by_the_system(error)):
            raise


def _read(file: int, size: int) -> bytes:
    """All of a file: `size` is what it had when it was opened."""
    parts = []
    while part := os.read(file, max(size, 1 << 16)):
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def _delete(directory: str | Path, *suffixes: str, older_than: float = float("inf")) -> None:
    """Delete the files of a directory that end so and were last written before a time."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(suffixes) and entry.stat().st_mtime < older_than:
                os.unlink(entry.path)


def status_of(path: Path) -> os.stat_result | None:
    """What the system says of a file; None if there is none that this user may see."""
    try:
        return os.stat(path)
    except OSError as error:
        if not raised_by_the_system(error):
            raise
        return None


def is_missing(path: Path) -> bool:
    """Whether nothing is there, not even a link, as far as this user may see."""
    try:
        os.lstat(path)
    except OSError as error:
        if not raised_by_the_system(error):
            raise
        return error.errno == errno.ENOENT
    return False


def make_directory(path: Path) -> None:
    """Make a directory and those above it, for nobody else to write to, whatever the umask.

    Raises
    ------
    OSError
        It cannot be made.
    """
    if status_of(path) is not None:
        return
    if path.parent != path:
        make_directory(path.parent)
    try:
        os.mkdir(path, _DIRECTORY_MODE)
    except FileExistsError as error:
        # Somebody else was quicker; or it is a link to nowhere.
        if not raised_by_the_system(error) or status_of(path) is None:
            raise


def raised_by_the_system(error: BaseException) -> bool:
    """Whether an error comes from a call of the system that stands in this file.

    An OSError may also be what a signal handler has raised meanwhile, a TimeoutError for one: then the last
    frame of its traceback is the handler's.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return isinstance(error, OSError) and trace is not None and trace.tb_frame.f_globals is globals()


class _SystemErrorsIgnored:
    """``contextlib.suppress(OSError)`` for those that the system has raised."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return error is not None and raised_by_the_system(error)


system_errors_ignored = _SystemErrorsIgnored()
