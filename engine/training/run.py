"""A run's folder: what is on disk while a network trains, so that a kill at any moment costs at most one epoch.

    recipe.json      what is being done
    state.pt         weights, averaged weights, optimizer, epoch, history, filters, classes, as of the last whole epoch
    best.pt          the best epoch so far, by validation accuracy, and its weights
    states/          the weights after some of the epochs, to be looked at later
    cuts.json        phases that were ended before their time (plan.py)
    history.csv      one line per epoch
    filters.npz      the first layer's kernels, before training and after each epoch
    filters_now.npy  the first layer's kernels now
    steps.csv        loss, learning rate and speed, a few times a second
    status.json      what the run is doing now
    events.jsonl     what happened, one line each
    command          what a person has asked for: pause, resume, stop or next_phase
    lock             held by the process that trains, see lock.py
    tensorboard/     the same figures for TensorBoard

All but the two that grow, `steps.csv` and `events.jsonl`, are replaced in one step. `best.pt` is written before
`state.pt`: after a kill between the two the epoch is trained again, from the same state with the same batches, and
writes the same `best.pt` once more.

This module keeps what a run needs in order to go on. What it reports meanwhile (`history.csv` to `events.jsonl`) is
read through live_files.py, at any moment and by any process.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine import settings
from engine.checkpoints import states, write_weights
from engine.errors import ConvscopeError
from engine.files import damage_as, write_atomically, write_text
from engine.stored import read_json
from engine.stored_tensors import read_tensors
from engine.training import lock, turns
from engine.training.control import Control
from engine.training.plan import Cut, Plan
from engine.training.recipe import Recipe, from_dict, to_dict
from engine.training.records import COMMANDS, EpochRecord, RunProgress


class RunFolder:
    """The files of one run in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def has_begun(self) -> bool:
        """Whether there is a run here."""
        return (self.path / "recipe.json").exists()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only process that trains here; the process that holds the run already may enter again.

        A command that was meant for a process that has ended is removed.

        Raises:
            ConvscopeError: another process trains here, or the run waits for its turn.
        """
        if turns.waiting(self.path):
            raise ConvscopeError(_waits(self.name))
        with lock.held(self.path / turns.LOCK) as first:
            if first:
                Control(self.path).forget()
            yield

    @property
    def alive(self) -> bool:
        """Whether a process trains here, or the run waits for its turn."""
        return self.trains or turns.waiting(self.path)

    @property
    def trains(self) -> bool:
        """Whether a process trains here."""
        return lock.is_held(self.path / turns.LOCK)

    def json(self, name: str, otherwise: Any = None) -> Any:
        """The content of the JSON file `name`; `otherwise` if it is missing or damaged."""
        try:
            return read_json(self.path / name)
        except (OSError, ValueError):
            return otherwise

    def begin(self, recipe: Recipe) -> None:
        """Note the recipe; refuse a folder that holds a run of another one, unless no epoch of that is done yet.

        Raises:
            ConvscopeError: the folder belongs to another recipe, or cannot be written.
        """
        if self.has_begun and (known := stored_recipe(self)) != recipe:
            if known is None or (self.path / "state.pt").exists():
                raise ConvscopeError(
                    f"{self.path} holds a run of another recipe: delete it with `--delete {self.name}`, or name "
                    "another folder with `--run`."
                )
            self._forget_first_epoch()
        write_text(self.path / "recipe.json", json.dumps(to_dict(recipe), indent=1) + "\n")

    def _forget_first_epoch(self) -> None:
        """Remove what is written in the course of an epoch that was not finished."""
        for name in ("cuts.json", "best.pt"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / states.FOLDER, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a killed process has left half written; only for the process that holds the run."""
        for name in ("recipe.json", "state.pt", "best.pt", "cuts.json", "history.csv", "filters.npz"):
            for file in self.path.glob(f".{name}.*"):
                file.unlink(missing_ok=True)
        for file in (self.path / states.FOLDER).glob(".*.pt.*"):
            file.unlink(missing_ok=True)

    def recipe(self) -> Recipe:
        """What this run does.

        Raises:
            ConvscopeError: there is no run here, or its recipe is damaged.
        """
        recipe = stored_recipe(self)
        if recipe is None:
            raise ConvscopeError(
                f"{self.path.name} holds no run, since its recipe.json is missing or damaged: delete it."
            )
        return recipe

    def plan(self, recipe: Recipe) -> Plan:
        """The recipe, with the phases that were ended before their time."""
        with damage_as(f"{self.path / 'cuts.json'} is damaged: delete the run {self.name!r}, and start it again."):
            return Plan(recipe, tuple(Cut(int(epoch), int(steps)) for epoch, steps in self.json("cuts.json", [])))

    def save_plan(self, plan: Plan) -> None:
        """Replace `cuts.json`."""
        write_text(self.path / "cuts.json", json.dumps([[cut.epoch, cut.steps] for cut in plan.cuts]) + "\n")

    def load(self) -> dict[str, Any] | None:
        """The state of the last whole epoch; None for a new run.

        Raises:
            ConvscopeError: the state is damaged.
        """
        file = self.path / "state.pt"
        if not file.exists():
            return None
        with damage_as(f"{file} is damaged: delete {self.path} and start the run again."):
            return read_tensors(file)

    def save(self, state: dict[str, Any], progress: RunProgress) -> None:
        """Replace `history.csv`, `filters.npz` and `state.pt`."""
        stored = {
            **state,
            "epoch": progress.epoch,
            "best": (progress.best_accuracy, progress.best_epoch),
            "history": [asdict(record) for record in progress.history],
            "filters": [torch.from_numpy(snapshot) for snapshot in progress.filters],
        }
        # The state comes last: after a kill before it, its epoch is trained and noted again.
        write_text(self.path / "history.csv", progress.history_csv)
        self.save_filters(progress)
        write_weights(self.path / "state.pt", stored)

    def save_filters(self, progress: RunProgress) -> None:
        """Replace `filters.npz`."""
        arrays = {"filters": np.stack(progress.filters), "epochs": np.arange(len(progress.filters))}
        write_atomically(self.path / "filters.npz", lambda file: np.savez(file, **arrays))

    def save_best(self, best: tuple[int, dict[str, Tensor]]) -> None:
        """Replace `best.pt` by an epoch and its weights."""
        write_weights(self.path / "best.pt", dict(zip(("epoch", "weights"), best, strict=True)))

    def save_weights(self, epoch: int, weights: dict[str, Tensor]) -> None:
        """Keep the weights as they are after `epoch` epochs."""
        states.write(self.path, epoch, weights)

    def best(self) -> tuple[int | None, dict[str, Tensor]]:
        """The best epoch so far, and its weights; an older file does not say which epoch (None).

        Raises:
            ConvscopeError: the file is missing or damaged.
        """
        file = self.path / "best.pt"
        with damage_as(f"{file} is missing or damaged: delete {self.path} and start the run again."):
            stored = read_tensors(file)
            return (stored["epoch"], stored["weights"]) if "weights" in stored else (None, stored)


def stored_recipe(folder: RunFolder) -> Recipe | None:
    """The run's recipe, which may be older than some settings; None if it is missing or damaged."""
    values = folder.json("recipe.json")
    try:
        return from_dict(values) if isinstance(values, dict) else None
    except ConvscopeError:
        return None


def progress_of(state: dict[str, Any]) -> RunProgress:
    """The `RunProgress` inside a stored state."""
    history = [EpochRecord(**record) for record in state["history"]]
    filters = [snapshot.numpy() for snapshot in state["filters"]]
    best_accuracy, best_epoch = state["best"]
    return RunProgress(state["epoch"], best_accuracy, best_epoch, history, filters)


def check_classes(state: dict[str, Any], classes: Sequence[str]) -> None:
    """Check that a run's images still have the classes of its stored state, which an older state does not list.

    Raises:
        ConvscopeError: they have other classes.
    """
    known = state.get("classes", list(classes))
    if known != list(classes):
        changed = ", ".join(sorted({*known} ^ {*classes})[:5])
        raise ConvscopeError(
            f"The pictures have other classes than when the run began (added or missing: {changed}): give the folders "
            "the names that they had, or start a new run."
        )


# All runs ------------------------------------------------------------------------------------------------------


def runs(root: Path | None = None) -> list[RunFolder]:
    """All runs in `root` (None: the folder of all runs), the one that was started last first."""
    root = root or settings.folders.runs
    files = [file for file in root.glob("*/recipe.json") if not file.parent.name.startswith(".")]
    return [RunFolder(file.parent) for file in sorted(files, key=_time_of, reverse=True)]


def _time_of(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # deleted a moment ago
        return 0.0


def _waits(name: str) -> str:
    return f"The run {name!r} waits for its turn: cancel it before you delete it or go on with it."


def find(name: str, root: Path | None = None) -> RunFolder:
    """The run in the folder `name`, or the one of that name in `root`.

    Raises:
        ConvscopeError: there is none.
    """
    root = root or settings.folders.runs
    for path in (Path(name), root / name):
        if (run := RunFolder(path)).has_begun:
            return run
    known = ", ".join(run.name for run in runs(root))
    raise ConvscopeError(f"There is no run {name!r}: " + (f"choose one of {known}." if known else f"{root} has none."))


def send(folder: RunFolder, command: str) -> None:
    """Ask the run for "pause", "resume", "stop" or "next_phase"; it obeys after the present step.

    Raises:
        ConvscopeError: nobody trains there, or the folder cannot be written.
    """
    if command not in COMMANDS:
        raise ConvscopeError(f"There is no command {command!r}: the commands are {', '.join(COMMANDS)}.")
    if not folder.trains:
        raise ConvscopeError(f"The run {folder.name!r} is not training now, so it cannot be asked for anything.")
    write_text(folder.path / "command", command + "\n")


def delete(name: str, root: Path | None = None) -> None:
    """Remove the run `name` of `root` (None: the folder of all runs) with all its files; links are not followed.

    Raises:
        ConvscopeError: it trains or waits, there is no such run, it is something else, or it cannot be removed.
    """
    folder = RunFolder((root or settings.folders.runs) / name)
    path = folder.path
    if path.name != name or path.is_symlink() or not (path / "recipe.json").is_file() or (path / "card.json").exists():
        raise ConvscopeError(f"There is no run {name!r} to delete: name one that `--list` shows, without its folder.")
    if turns.waiting(path):
        raise ConvscopeError(_waits(name))
    if folder.trains:
        raise ConvscopeError(f"The run {name!r} is training now: stop it before you delete it.")
    try:
        with folder.held():
            for entry in path.iterdir():
                if entry.name != turns.LOCK:  # Windows removes no file that is open
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        shutil.rmtree(path)
    except OSError as error:
        raise ConvscopeError(f"{path} could not be deleted ({error.strerror or error}).") from error
