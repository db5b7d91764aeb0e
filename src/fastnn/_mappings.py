"""What Linux tells of a process: the files it has mapped, its threads, and when it began."""

import logging
import os
import time


def read_maps(process: int | str = "self") -> str:
    """The mappings of a process as the system lists them; empty where that cannot be read."""
    try:
        with open(f"/proc/{process}/maps", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def places(maps: str) -> dict[str, int]:
    """The lowest address at which each file stands."""
    found: dict[str, int] = {}
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6:
            found.setdefault(fields[5], int(fields[0].partition("-")[0], 16))
    return found


def file_at(maps: str, address: int) -> str | None:
    """The file whose mapping holds the address."""
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in fields[0].split("-"))
        if start <= address < end:
            return fields[5] if len(fields) == 6 else None
    return None


def own_threads() -> set[int] | None:
    """The system's numbers of this process's threads; None where they cannot be read."""
    try:
        return {int(name) for name in os.listdir("/proc/self/task")}
    except OSError:
        return None


def was_forked() -> bool:
    """Whether this process was forked, and goes on without a new interpreter, after logging was imported.

    A process begins when it is forked, not when it executes a program. The interpreter of one that has
    executed Python is younger than the process; in one that has only been forked it is older. Importing
    logging is the earliest moment that an interpreter keeps, and nearly every library imports it.
    """
    noted = getattr(logging, "_startTime", None)
    if noted is None or not hasattr(time, "CLOCK_BOOTTIME"):
        return False
    if isinstance(noted, int):  # nanoseconds, from Python 3.13 on
        noted /= 1e9
    try:
        with open("/proc/self/stat") as file:
            # The name of the program, in brackets, may hold anything. Then field 22 of proc(5).
            ticks = int(file.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return False
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return bool(time.time() - age > noted)


def maps_of_ancestors() -> str:
    """Of a process that was forked: what an ancestor had mapped, as far as can be told afterwards.

    A fork keeps every address. What the parent has at the same place was there before; what only this process
    has, it has loaded itself. All counts as inherited if the parent is gone or cannot be read. The area that
    the kernel maps into every process at random, a new place for each program, tells whether the living
    parent is the one that was forked.
    """
    own, parent = read_maps(), read_maps(os.getppid())
    area = places(own).get("[vdso]")
    return parent if area is not None and area == places(parent).get("[vdso]") else own
