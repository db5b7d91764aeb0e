"""The stamp of compiled code: what it was compiled from, and by what, by contents alone.

Times of files are not looked at: container images cut them to seconds, and installers set them as they like.
"""

import hashlib
import os
import platform
import sys
import sysconfig
from functools import cache
from pathlib import Path

import llvmlite
import numba
import numpy

from fastnn.kernels.compiler.places import package_folder

# Rooms with functions that are compiled, or that shape code: engines and estimators hold none.
COMPILED = ("tables/", "kernels/shared/", "kernels/compiler/", "kernels/simd/", "kernels/cpu/")
# Modules of these rooms that neither hold such functions nor shape code. A test reads that none is compiled,
# and that no compiled function uses a name of theirs.
NOT_COMPILED = frozenset(
    {
        "tables/initializers",
        "kernels/shared/arrays",
        "kernels/shared/device_rows",
        "kernels/shared/layer_arguments",
        "kernels/shared/pacing",
        "kernels/shared/threads",
        "kernels/shared/user_warnings",
        "kernels/compiler/entry",
        "kernels/compiler/notice",
        "kernels/compiler/places",
        "kernels/compiler/store",
        "kernels/cpu/__init__",
        "kernels/cpu/clustering/__init__",
        "kernels/cpu/clustering/backend",
        "kernels/cpu/clustering/kmeans",
        "kernels/cpu/clustering/passes",
        "kernels/cpu/clustering/sphere",
        "kernels/cpu/clustering/steps",
        "kernels/cpu/network/__init__",
        "kernels/cpu/network/last_batch",
    }
)
# What shapes code beside the sources. Numba's processor name and features are in each key.
_OPTIONS = (
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "USING_SVML",
    "ENABLE_PROFILING",
)


def shapes_code(name: str) -> bool:
    """Whether code may depend on a file of the package, of this name below its folder."""
    return name.startswith(COMPILED) and name.rsplit(".", 1)[0] not in NOT_COMPILED


@cache
def sources_hash() -> str:
    """Hash of every source file that can shape code for the CPU."""
    digest = hashlib.sha256()
    for name, path in _files(package_folder()).items():
        digest.update(name.encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _files(root: Path) -> dict[str, str | Path]:
    """Name and path of the sources that shape code; where there are none, of what stands for them."""
    # Strings and no paths: these would take twice as long as the hash, at the start of every process.
    start = len(str(root)) + 1
    files = [
        os.path.join(folder, file)
        for room in COMPILED
        for folder, _, names in os.walk(root / room)
        for file in names
    ]
    for ending in (".py", ".pyc"):
        named = {path[start:].replace(os.sep, "/"): path for path in sorted(files) if path.endswith(ending)}
        if named:
            return {name: path for name, path in named.items() if shapes_code(name)}
    # The modules lie in an archive: a ZIP file above the folder, or the executable of a frozen application.
    archives = [path for path in root.parents if path.is_file()]
    found = archives[0] if archives else Path(sys.executable)
    return {found.name: found}


@cache
def stamp() -> bytes:
    """Sources, Python and its ABI, and the packages whose versions decide what the compiler gives."""
    lines = [
        f"sources {sources_hash()}",
        f"{platform.python_implementation()} {platform.python_version()}",
        f"extensions {sysconfig.get_config_var('EXT_SUFFIX')}",
        f"numba {numba.__version__}",
        f"llvmlite {llvmlite.__version__}",
        f"numpy {numpy.__version__}",
        *(f"NUMBA_{name} {getattr(numba.config, name, None)}" for name in _OPTIONS),
    ]
    return "\n".join(lines).encode()
