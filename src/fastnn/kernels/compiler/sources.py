"""The stamp of compiled code: what it was compiled from, and by what, by contents alone.

Times of files are not looked at: container images cut them to seconds, and installers set them as they like.
"""

import hashlib
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
    root = package_folder()
    digest = hashlib.sha256()
    for path in _files(root):
        inside = path.is_relative_to(root)
        name = path.relative_to(root).as_posix() if inside else path.name
        if not inside or shapes_code(name):
            digest.update(name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _files(root: Path) -> list[Path]:
    """The package's sources; where it was installed without them, what stands for them."""
    for pattern in ("*.py", "*.pyc"):
        if found := sorted(root.rglob(pattern)):
            return found
    # The modules lie in an archive: a ZIP file above the folder, or the executable of a frozen application.
    archives = [path for path in root.parents if path.is_file()]
    return archives[:1] or [Path(sys.executable)]


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
