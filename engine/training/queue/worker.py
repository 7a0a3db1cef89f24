"""What works in a process of its own: a training whose turn has come, or the keeping of a model.

Such a process has its own session and inherits the locks that it needs, so it outlives the app and the dispatcher.

    python -m engine.training.queue.worker train RUN LOCK
    python -m engine.training.queue.worker keep RUN LOCK NAME CHECKPOINTS OWNER

LOCK is the number of an open file. It is not meant to be started by hand: that is `python -m engine.training`.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.errors import ConvscopeError
from engine.files import write_text
from engine.training import lock, turns
from engine.training.memory import OUT_OF_MEMORY, give_way_when_memory_ends, is_out_of_memory, keep_freed_memory

KEEPING = "keep.json"
"""The file that tells how the keeping of a run's model goes on."""
KEEPS = ".keeping"
"""In the folder of runs: locked by the process that keeps a model."""


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


def train(folder: Path, held: int) -> int:
    """Train the run in `folder`, whose lock is the open file `held`; returns the exit status."""
    from engine.training import estimate
    from engine.training.__main__ import main
    from engine.training.run import RunFolder
    from engine.training.telemetry import reporting

    with lock.inherited(folder / turns.LOCK, held):
        run = RunFolder(folder)
        with reporting(run):  # the memory that was free when it was asked for may be taken by now
            estimate.check_memory(run.recipe())
        keep_freed_memory()
        return main(["--resume", str(folder), "--no-checkpoint"])


def keep(folder: Path, name: str, checkpoints: Path, owner: str) -> int:
    """Make the run's best state the checkpoint `name` of `owner` (owners.py); returns the exit status."""
    with lock.for_a_moment(folder.parent / KEEPS):  # one after the other: each reads all test images
        result = _keep(folder, name, checkpoints, owner)
    print(result.message)
    note_keeping(folder, result)
    return int(result.state == "failed")


def _keep(folder: Path, name: str, checkpoints: Path, owner: str) -> Keeping:
    from engine.training import finish
    from engine.training.run import RunFolder

    try:
        return Keeping("done", name, finish.summary(finish.keep(RunFolder(folder), name, checkpoints, owner=owner)))
    except ConvscopeError as error:
        return Keeping("failed", name, str(error))
    except Exception as error:
        return Keeping("failed", name, OUT_OF_MEMORY if is_out_of_memory(error) else f"It has failed ({error}).")


def note_keeping(folder: Path, keeping: Keeping) -> None:
    """Replace `keep.json`, which `jobs.keeping` reads."""
    write_text(folder / KEEPING, json.dumps(asdict(keeping)) + "\n")


def main(arguments: list[str]) -> int:
    """The command above."""
    action, folder, number, *rest = arguments
    give_way_when_memory_ends()
    try:
        if action == "train":
            return train(Path(folder), int(number))
        name, checkpoints, owner = rest
        return keep(Path(folder), name, Path(checkpoints), owner)
    except ConvscopeError as error:
        print(error)
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
