"""Trainings that a page starts: each in its own process, which outlives the page, and one at a time.

    submit(recipe)      a new run, which trains as soon as it is its turn
    resume(folder)      a stopped or interrupted run goes on
    look(folder)        what the run is doing
    place(folder)       its place in the queue
    cancel(folder)      stop it, whether it trains or waits
    keep(folder, name)  its best state becomes a checkpoint, which is measured on the test images; a process as well
    delete(folder)      remove it

Pages and processes talk through files in the run's folder (run.py, live_files.py). So it does not matter who has
started a run: another browser, or the app after a restart, sees and commands it as well.
"""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

from engine.errors import ConvscopeError
from engine.files import not_writable, write_text
from engine.names import checked_name
from engine.settings import ROOT
from engine.training import estimate, live_files, lock, run
from engine.training.control import Control
from engine.training.queue import turns
from engine.training.queue.worker import KEEPING, Keeping, note_keeping
from engine.training.recipe import Recipe
from engine.training.records import Status
from engine.training.run import RunFolder

LOG = "log.txt"
"""What the process prints."""
KEEP_LOCK = "keep.lock"
LONGEST = 52
"""Letters of a run's name, before a number is put behind it."""


# Starting ------------------------------------------------------------------------------------------------------


def submit(recipe: Recipe, root: Path) -> RunFolder:
    """A new run in `root`, named after the recipe, with a number if there is such a run already.

    Raises:
        ConvscopeError: the recipe's name cannot be a folder's, its training does not fit into the free memory, or
            nothing can be written in `root`.
    """
    estimate.check_memory(recipe)
    folder = _new_folder(root, checked_name(recipe.name))
    folder.begin(replace(recipe, name=folder.name))
    live_files.write_status(folder, Status("queued", epochs=recipe.epochs, phases=len(recipe.phases)))
    start(folder)
    return folder


def resume(folder: RunFolder) -> None:
    """Go on with a run after its last whole epoch.

    Raises:
        ConvscopeError: it is finished, it trains or waits already, or its folder cannot be written.
    """
    folder.recipe()
    status = look(folder)
    if status.state == "finished":
        raise ConvscopeError(f"The run {folder.name!r} has finished: start a new one.")
    if folder.alive:
        raise ConvscopeError(f"The run {folder.name!r} is going on already.")
    start(folder)
    live_files.write_status(folder, replace(status, state="queued", message="", seconds_left=None))


def start(folder: RunFolder) -> None:
    """Let the run wait for its turn and train, in a process of its own."""
    # Now, not when the training begins: whoever cancels the run while it waits or loads its images is heard.
    Control(folder.path).forget()
    ticket = turns.take_ticket(folder.path)
    spawn(folder, ticket, "train", str(folder.path.resolve()), str(ticket))


def _new_folder(root: Path, name: str) -> RunFolder:
    """An empty folder that nobody else has: `name`, or `name-2`, `name-3` ..."""
    number = 1
    while True:
        path = root / (name if number == 1 else f"{name[:LONGEST]}-{number}")
        try:
            path.mkdir(parents=True)
            return RunFolder(path)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise ConvscopeError(not_writable(path, error)) from error


def spawn(folder: RunFolder, lock_file: int, *arguments: str) -> None:
    """Start a worker that inherits the open, locked file, and does not end with this process."""
    command = [sys.executable, "-m", "engine.training.queue.worker", *arguments]
    if os.name == "nt":
        os.close(lock_file)
        raise ConvscopeError("On Windows a training cannot be started here: use `python -m engine.training RECIPE`.")
    try:
        with (folder.path / LOG).open("ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, pass_fds=(lock_file,), **streams)
    except OSError as error:
        raise ConvscopeError(f"The training could not be started ({error.strerror or error}).") from error
    finally:
        os.close(lock_file)  # from now on the lock is the child's alone
    # Somebody has to ask for its exit status, or it stays in the system's list of processes.
    threading.Thread(target=process.wait, daemon=True, name=f"reaps {folder.name}").start()


# While it goes on ----------------------------------------------------------------------------------------------


def look(folder: RunFolder) -> Status:
    """What the run is doing; "queued" from the moment at which it was asked for."""
    if turns.waiting(folder.path):
        return replace(live_files.read_status(folder), state="queued", seconds_left=None)
    return live_files.read_status(folder)


def place(folder: RunFolder) -> int:
    """How many runs will have had their turn when this one has: 1 for the next one; 0 if it does not wait."""
    queue = turns.queue(folder.path.parent)
    return queue.index(folder.path) + 1 if folder.path in queue else 0


def cancel(folder: RunFolder) -> None:
    """Stop a run, whether it trains or waits; it can be resumed.

    Raises:
        ConvscopeError: it does neither.
    """
    if turns.waiting(folder.path):
        write_text(folder.path / "command", "stop\n")
    else:
        run.send(folder, "stop")


def delete(folder: RunFolder) -> None:
    """Remove a run with all its files.

    Raises:
        ConvscopeError: it trains, waits, or is being kept; or it cannot be removed.
    """
    if turns.waiting(folder.path):
        raise ConvscopeError(f"The run {folder.name!r} waits for its turn: cancel it before you delete it.")
    if lock.is_held(folder.path / KEEP_LOCK):
        raise ConvscopeError(f"The model of the run {folder.name!r} is being kept: wait until that is done.")
    run.delete(folder.name, folder.path.parent)


# Keeping -------------------------------------------------------------------------------------------------------


def keep(folder: RunFolder, name: str, target: Path) -> None:
    """Begin to make the run's best state the checkpoint `name` in `target`; `keeping` tells how it goes on.

    Raises:
        ConvscopeError: there is such a checkpoint, its name is none, no epoch is done, it is being kept already, or
            the run's folder cannot be written.
    """
    if (target / checked_name(name)).exists():
        raise ConvscopeError(f"There is a network called {name!r} already: choose another name.")
    if not (folder.path / "best.pt").exists():
        raise ConvscopeError(f"The run {folder.name!r} has no whole epoch at its final image size yet: let it go on.")
    held = lock.take(
        folder.path / KEEP_LOCK, f"The model of the run {folder.name!r} is being kept already.", turns.PATIENCE
    )
    try:
        note_keeping(folder.path, Keeping("working", name))
    except ConvscopeError:
        os.close(held)
        raise
    spawn(folder, held, "keep", str(folder.path.resolve()), str(held), name, str(target.resolve()))


def keeping(folder: RunFolder) -> Keeping | None:
    """How the keeping of the run's model goes on; None if nobody has asked for it."""
    try:
        noted = Keeping(**folder.json(KEEPING))
    except TypeError:
        return None
    if not all(isinstance(text, str) for text in vars(noted).values()):
        return None
    if noted.state == "working" and not lock.is_held(folder.path / KEEP_LOCK):
        return Keeping("failed", noted.name, f"Keeping {noted.name!r} was interrupted: try again.")
    return noted
