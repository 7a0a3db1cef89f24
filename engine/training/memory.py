"""The memory that one step frees is kept for the next one.

A step allocates the same hundreds of megabytes as the step before, and frees them all. GNU's C library, which Linux
programs allocate with, gives large blocks back to the system at once, and the system clears each page before it hands
it out again: a ConvNet-4 on images of 128 px spends half of its time on that. So a process that trains tells the
library to keep what is freed. It must be a process that does nothing else and ends: no other process can use the
kept memory, and the process stays as large as it ever was.

Reference: mallopt(3) of the Linux manual, M_MMAP_MAX and M_TRIM_THRESHOLD.
"""

import ctypes
import re
import sys
from contextlib import suppress
from pathlib import Path

from engine.errors import ConvscopeError

_M_TRIM_THRESHOLD, _NEVER = -1, -1
_M_MMAP_MAX, _NO_BLOCK = -4, 0
_NO_MEMORY = re.compile(r"OutOfMemoryError|not enough memory|can't allocate memory|Cannot allocate memory|bad_alloc")


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees; returns whether its C library can do so (GNU's on Linux can)."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, _NO_BLOCK)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))


def give_way_when_memory_ends() -> None:
    """Let the system kill this process, and not the server, when the whole machine has no memory left (Linux)."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: Python's, or one of PyTorch's."""
    if isinstance(error, ConvscopeError):  # a sentence already, in which a name may say anything
        return False
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(f"{type(error).__name__}: {error}"))


OUT_OF_MEMORY = "There is no memory left for this: choose a smaller batch, smaller images or a smaller network."
"""The sentence for a person."""


CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container what it may have, and has."""


def free_memory() -> float:
    """Bytes that a new process may have: what Linux calls available, and what its container leaves; else infinite."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        return float("inf")
    try:
        limit, used = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        kinds = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        # Files that were read and are kept in case they are read again: they give way to whoever needs the memory.
        given_up = int(kinds["inactive_file"])
    except (OSError, ValueError, KeyError):  # no limit
        return free
    return min(free, float(limit - used + given_up))
