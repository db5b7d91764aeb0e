"""Checkpoints on disk: a file of arrays that is there as a whole or not at all.

A file is an archive of NumPy (``numpy.load`` reads it), without pickles, followed by the SHA-256 of the
archive. It is written under a temporary name in the same directory, flushed to the disk, and moved in one
step: a kill or a full disk leaves the former file, or none.
"""

import hashlib
import io
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

_DIGEST_BYTES = hashlib.sha256().digest_size
# The member of the archive that is no array but a text, in JSON.
_HEADER = "header"
_TEMPORARY = ".tmp"
# Seconds after which a temporary file has no writer any more.
_ABANDONED = 600


class NotACheckpointError(ValueError):
    """What is found is damaged, or was written by something else."""


def write(path: Path, header: Any, arrays: dict[str, np.ndarray]) -> None:
    """Replace a file, in one step.

    Parameters
    ----------
    path : Path
    header : object
        What JSON can say.
    arrays : dict of str to ndarray
        Of numbers, by names other than "header".

    Raises
    ------
    OSError
        It cannot be written. What was there stays.
    """
    members: dict[str, Any] = {_HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays}
    temporary = _temporary(path)
    try:
        with open(temporary, "x+b") as file:
            np.savez(file, **members)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
            file.write(digest)  # behind what has been read, all of the archive
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def read(path: Path) -> tuple[Any, dict[str, np.ndarray]] | None:
    """Header and arrays of a file; None if there is none.

    Raises
    ------
    NotACheckpointError
        There is something else.
    OSError
        It cannot be read.
    """
    if not os.path.lexists(path):
        return None
    # Reading from a pipe would wait for its writer.
    content = path.read_bytes() if path.is_file() else b""
    archive = memoryview(content)[:-_DIGEST_BYTES]
    if not archive or hashlib.sha256(archive).digest() != content[-_DIGEST_BYTES:]:
        raise NotACheckpointError("no checkpoint, or it is damaged")
    with np.load(io.BytesIO(archive), allow_pickle=False) as members:
        arrays = {name: members[name] for name in members.files}
    return json.loads(arrays.pop(_HEADER).tobytes()), arrays


def try_directory(path: Path) -> None:
    """Find out whether files can be made beside one.

    Raises
    ------
    OSError
        They cannot.
    """
    temporary = _temporary(path)
    with open(temporary, "xb"):
        pass
    os.unlink(temporary)


def forget_abandoned(path: Path) -> None:
    """Delete what writers of this file have left that were killed."""
    oldest = time.time() - _ABANDONED
    with suppress(OSError):
        for other in path.parent.iterdir():
            if other.name.startswith(f"{path.name}.") and other.name.endswith(_TEMPORARY):
                with suppress(OSError):
                    if other.stat().st_mtime < oldest:
                        other.unlink()


def _temporary(path: Path) -> str:
    """A name beside a path that nobody else takes."""
    return f"{path}.{os.urandom(4).hex()}{_TEMPORARY}"
