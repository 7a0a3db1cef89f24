"""How much memory a piece of work takes at its peak."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROCESS = Path("/proc/self")


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Gives a function that says how many bytes above the start this process has taken so far, at most."""
    if not (PROCESS / "clear_refs").exists():
        pytest.skip("Only Linux says how much memory a process has taken.")
    gc.collect()
    (PROCESS / "clear_refs").write_text("5")  # the peak begins anew
    start = _status("VmRSS")
    yield lambda: _status("VmHWM") - start


def _status(entry: str) -> int:
    line = next(line for line in (PROCESS / "status").read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) * 1024
