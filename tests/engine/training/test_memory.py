"""A process that trains keeps the memory that a step frees, so the system need not clear it again for the next."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.settings import ROOT
from engine.training import memory

PAGES_OF_A_TENSOR = 50_000_000 // 4096
PROGRAM = """
import resource, sys
from engine.training.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensor = b"x" * 50_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if "keep" in sys.argv:
    assert keep_freed_memory()
first = faults()
print(first, min(faults() for _ in range(3)))
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="only GNU's C library on Linux can be told so")


def cleared_pages(*arguments: str) -> tuple[int, int]:
    """Pages that the system has to hand out for a block of 50 MB: the first time, and once it has been freed."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    told = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=True).stdout
    first, again = told.split()
    return int(first), int(again)


@linux
def test_a_freed_block_is_used_again_without_the_system_having_to_clear_it() -> None:
    first, again = cleared_pages("keep")
    assert first > 0.01 * PAGES_OF_A_TENSOR  # pages may be large ones
    assert again < 0.001 * PAGES_OF_A_TENSOR


@linux
def test_without_it_every_block_is_cleared_again() -> None:
    first, again = cleared_pages()
    assert again > 0.5 * first


@linux
def test_files_that_a_container_has_read_do_not_count_as_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    for name, text in {"max": "100000000", "current": "99000000", "stat": "anon 10\ninactive_file 50000000"}.items():
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    assert memory.free_memory() == 51e6
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() > 1e8
