"""Locks where there is no `fcntl`: as on Windows, with a stand-in for its `msvcrt`."""

import subprocess
import sys
import threading
from pathlib import Path

from engine.settings import ROOT
from engine.training import lock

WITHOUT_FCNTL = """
import os, sys, types
import fcntl as real

def locking(descriptor, mode, count):
    places.append(os.lseek(descriptor, 0, os.SEEK_CUR))
    real.flock(descriptor, mode)

places = []
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=real.LOCK_EX | real.LOCK_NB)
sys.modules["fcntl"] = None  # so that importing it fails
from pathlib import Path
from engine.training import lock
from engine.training import turns

file = Path(sys.argv[1]) / "lock"
lock.PATIENCE = 0.1
assert lock.fcntl is None
assert not lock.is_held(file)
with lock.held(file):
    assert lock.is_held(file)
    with lock.held(file):
        pass
    assert lock.is_held(file)
run = file.parent / "run"
run.mkdir()
dispatcher = turns.join(run)
assert turns.waiting(run)
assert (file.parent / ".queue").read_text() == "run\\n"
os.close(dispatcher)
assert not turns.waiting(run)
assert not lock.is_held(file)
assert set(places) == {lock.FAR}
print("done")
"""


def test_locks_work_without_fcntl(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_FCNTL, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "done\n", done.stderr


def test_a_lock_is_seen_from_another_process_and_from_this_one(tmp_path: Path) -> None:
    look = (
        "import sys; from pathlib import Path; from engine.training import lock; print(lock.is_held(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", look, str(tmp_path / "lock")]
    assert not lock.is_held(tmp_path / "lock")
    with lock.held(tmp_path / "lock"):
        assert lock.is_held(tmp_path / "lock")
        assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == "True\n"
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == "False\n"


def test_a_lock_is_held_until_the_last_of_two_threads_has_left(tmp_path: Path) -> None:
    file, entered, leave = tmp_path / "lock", threading.Event(), threading.Event()

    def other() -> None:
        with lock.held(file) as first:
            assert not first
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=other)
    with lock.held(file) as first:
        assert first
        thread.start()
        assert entered.wait(20)
    assert lock.is_held(file)
    leave.set()
    thread.join(20)
    assert not lock.is_held(file)
