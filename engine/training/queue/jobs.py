"""Trainings that a page starts: one at a time, in processes that outlive the page.

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
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine import weights
from engine.errors import ConvscopeError
from engine.files import not_writable
from engine.names import checked_name
from engine.training import estimate, live_files, lock, run, turns
from engine.training.control import Control
from engine.training.queue import owners
from engine.training.queue.dispatcher import start as start_module
from engine.training.queue.dispatcher import start_worker
from engine.training.queue.worker import KEEPING, Keeping, note_keeping
from engine.training.recipe import Recipe
from engine.training.records import Status
from engine.training.run import RunFolder
from engine.training.start import with_known_base

DISPATCHER = "engine.training.queue.dispatcher"
KEEP_LOCK = "keep.lock"
LONGEST = 52
"""Letters of a run's name, before a number is put behind it."""


# Starting ------------------------------------------------------------------------------------------------------


def submit(recipe: Recipe, root: Path, right: str = "", check: turns.Check = turns.anybody) -> RunFolder:
    """A new run in `root`, named after the recipe, with a number if there is such a run already.

    Args:
        right: whoever has it owns the run (owners.py); an empty one leaves it nobody's.
        check: refuses the run by a ConvscopeError, given the queue.

    Raises:
        ConvscopeError: the recipe's name cannot be a folder's, its training does not fit into the free memory, it is
            refused, its base cannot be had, or nothing can be written in `root`.
    """
    estimate.check_memory(recipe)
    name = checked_name(recipe.name)
    check(turns.queue(root))  # a refusal leaves nothing behind
    recipe = with_known_base(recipe)
    folder = _new_folder(root, name)
    folder.begin(replace(recipe, name=folder.name))
    if right:
        owners.give(folder.path, right)
    live_files.write_status(folder, Status("queued", epochs=recipe.epochs, phases=len(recipe.phases)))
    try:
        start(folder, check)
    except ConvscopeError:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    return folder


def resume(folder: RunFolder, check: turns.Check = turns.anybody) -> None:
    """Go on with a run after its last whole epoch; `check` as in `submit`.

    Raises:
        ConvscopeError: it is finished, it trains or waits already, it is refused, or its folder cannot be written.
    """
    folder.recipe()
    status = look(folder)
    if status.state == "finished":
        raise ConvscopeError(f"The run {folder.name!r} has finished: start a new one.")
    if folder.alive:
        raise ConvscopeError(f"The run {folder.name!r} is going on already.")
    start(folder, check)
    live_files.write_status(folder, replace(status, state="queued", message="", seconds_left=None))


def start(folder: RunFolder, check: turns.Check = turns.anybody) -> None:
    """Let the run wait for its turn and train."""
    if os.name == "nt":
        raise ConvscopeError("On Windows a training cannot be started here: use `python -m engine.training RECIPE`.")
    # Now, not when the training begins: whoever cancels the run while it loads its images is heard.
    Control(folder.path).forget()
    goes_before = turns.none_of_them if _is_a_students(folder.path) else _is_a_students
    dispatcher = turns.join(folder.path, check, goes_before)
    if dispatcher is None:
        return
    root = folder.path.parent.resolve()
    try:
        _reaped(lambda: start_module(DISPATCHER, (dispatcher,), subprocess.DEVNULL, str(root), str(dispatcher)))
    except ConvscopeError:
        turns.leave(folder.path)
        raise
    finally:
        os.close(dispatcher)  # from now on the lock is the child's alone


def _is_a_students(folder: Path) -> bool:
    """Whether somebody in particular owns the run: then it waits behind those of the lecturer."""
    return bool(owners.of(folder))


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


def _reaped(begin: Callable[[], "subprocess.Popen[bytes]"]) -> None:
    """Begin a process; somebody has to ask for its exit status, or it stays in the system's list of processes."""
    try:
        process = begin()
    except OSError as error:
        raise ConvscopeError(f"The training could not be started ({error.strerror or error}).") from error
    threading.Thread(target=process.wait, daemon=True, name="reaps a process").start()


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
    if not turns.leave(folder.path):
        run.send(folder, "stop")
        return
    message = "Cancelled while it waited for its turn."
    status = replace(live_files.read_status(folder), state="stopped", message=message, updated=time.time())
    live_files.write_status(folder, status)
    live_files.note(folder, "stopped", message)


def delete(folder: RunFolder) -> None:
    """Remove a run with all its files.

    Raises:
        ConvscopeError: it trains, waits, or is being kept; or it cannot be removed.
    """
    if lock.is_held(folder.path / KEEP_LOCK):
        raise ConvscopeError(f"The model of the run {folder.name!r} is being kept: wait until that is done.")
    run.delete(folder.name, folder.path.parent)


# Keeping -------------------------------------------------------------------------------------------------------


def keep(folder: RunFolder, name: str, target: Path, is_owners: bool = True) -> None:
    """Begin to make the run's best state the checkpoint `name` in `target`; `keeping` tells how it goes on.

    Args:
        is_owners: whether it belongs to whoever owns the run; otherwise it is nobody's.

    Raises:
        ConvscopeError: there is such a network, its name is none, no epoch is done, it is being kept already, or
            the run's folder cannot be written.
    """
    weights.check_free(name, target)
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
    path, owner = folder.path.resolve(), owners.of(folder.path) if is_owners else ""
    arguments = ("keep", str(path), str(held), name, str(target.resolve()), owner)
    try:
        _reaped(lambda: start_worker(path, (held,), *arguments))
    finally:
        os.close(held)  # from now on the lock is the child's alone


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
