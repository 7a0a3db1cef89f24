"""What the app starts in a process of its own: a training that waits for its turn, or the keeping of a model.

Such a process has its own session and inherits the locks that it needs, so it outlives the app that started it.
PyTorch is loaded when the turn has come: a waiting process is small.

    python -m engine.training.queue.worker train RUN TICKET
    python -m engine.training.queue.worker keep RUN LOCK NAME CHECKPOINTS

TICKET and LOCK are the numbers of open files. It is not meant to be started by hand: that is `python -m
engine.training`.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.errors import ConvscopeError
from engine.files import write_text
from engine.training import lock
from engine.training.control import Control
from engine.training.memory import keep_freed_memory
from engine.training.queue import turns

KEEPING = "keep.json"
"""The file that tells how the keeping of a run's model goes on."""


@dataclass(frozen=True)
class Keeping:
    """How the keeping of a model goes on.

    Attributes:
        state: "working", "done" or "failed".
        name: of the checkpoint.
        message: one sentence: the accuracy that was measured, or what went wrong.
    """

    state: str
    name: str
    message: str = ""


def train(folder: Path, ticket: int) -> int:
    """Wait for the run's turn, and train; returns the exit status."""
    with lock.held(folder / "lock"):
        control = Control(folder)
        turn = turns.wait(folder, ticket, lambda: control.command() != "stop")
        if turn is None:
            return _cancelled(folder)
        # The turn is given back by the end of this process.
        from engine.training.__main__ import main

        keep_freed_memory()
        return main(["--resume", str(folder), "--no-checkpoint"])


def _cancelled(folder: Path) -> int:
    from engine.training import live_files, run

    waiting, message = run.RunFolder(folder), "Cancelled while it waited for its turn."
    status = replace(live_files.read_status(waiting), state="stopped", message=message, updated=time.time())
    live_files.write_status(waiting, status)
    live_files.note(waiting, "stopped", message)
    return 0


def keep(folder: Path, name: str, checkpoints: Path) -> int:
    """Make the run's best state the checkpoint `name`; returns the exit status."""
    from engine.training import finish
    from engine.training.run import RunFolder

    try:
        result = Keeping("done", name, finish.summary(finish.keep(RunFolder(folder), name, checkpoints)))
    except ConvscopeError as error:
        result = Keeping("failed", name, str(error))
    print(result.message)
    note_keeping(folder, result)
    return int(result.state == "failed")


def note_keeping(folder: Path, keeping: Keeping) -> None:
    """Replace `keep.json`, which `jobs.keeping` reads."""
    write_text(folder / KEEPING, json.dumps(asdict(keeping)) + "\n")


def main(arguments: list[str]) -> int:
    """The command above."""
    action, folder, number, *rest = arguments
    try:
        if action == "train":
            return train(Path(folder), int(number))
        name, checkpoints = rest
        return keep(Path(folder), name, Path(checkpoints))
    except ConvscopeError as error:
        print(error)
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
