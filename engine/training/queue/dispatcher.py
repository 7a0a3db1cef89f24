"""The one process that starts the runs of a folder, each when its turn has come, and ends when none waits.

    python -m engine.training.queue.dispatcher RUNS LOCK

LOCK is the number of an open file (turns.py), so it is not meant to be started by hand. It sleeps while a run trains:
it waits for the end of that process, or, after another dispatcher was killed, for the turn that its last run holds.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from engine.errors import ConvscopeError
from engine.files import write_text
from engine.settings import ROOT
from engine.stored import read_json
from engine.training import lock, turns

LOG = "log.txt"
"""In a run's folder: what its process prints."""
KILLED = (
    "The system has killed its process, most likely because the memory was used up: choose a smaller batch or "
    "smaller images."
)


def dispatch(root: Path, own_lock: int) -> None:
    """Start one run after the other until none waits in `root`."""
    turn = os.open(root / turns.TURN, os.O_RDWR | os.O_CREAT, 0o644)
    lock.wait_for(turn)
    while (following := turns.take_next(root, own_lock)) is not None:
        _train(*following, turn)


def _train(folder: Path, held: int, turn: int) -> None:
    """Train in a process that inherits the lock of the run, and the turn, which outlive this process with it."""
    try:
        process = start_worker(folder, (held, turn), "train", str(folder), str(held))
    except OSError as error:
        note(folder, "failed", f"The training could not be started ({error.strerror or error}).")
        return
    finally:
        os.close(held)
    if process.wait() == -signal.SIGKILL:
        note(folder, "interrupted", KILLED)


def start_worker(folder: Path, locks: tuple[int, ...], *arguments: str) -> subprocess.Popen[bytes]:
    """A worker for the run in `folder`, which inherits open, locked files, and does not end with this process.

    Raises:
        OSError: the system starts no more processes, or the folder cannot be written.
    """
    with (folder / LOG).open("ab") as log:
        return start("engine.training.queue.worker", locks, log, *arguments)


def start(module: str, locks: tuple[int, ...], log: object, *arguments: str) -> subprocess.Popen[bytes]:
    """`python -m MODULE ...` in a session of its own; raises OSError."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, pass_fds=locks, **streams)


def note(folder: Path, state: str, message: str) -> None:
    """Say in `status.json` how a run has ended whose process cannot; without PyTorch, which live_files.py needs."""
    with suppress(OSError, ValueError, ConvscopeError):
        known = read_json(folder / "status.json")
        write_text(folder / "status.json", json.dumps({**known, "state": state, "message": message}) + "\n")


if __name__ == "__main__":
    dispatch(Path(sys.argv[1]), int(sys.argv[2]))
