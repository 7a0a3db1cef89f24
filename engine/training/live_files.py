"""What a run reports of itself while it goes on: status, events, history, steps and filters, as files in its folder.

The training process writes them (telemetry.py); pages and commands read them. A reader may come at any moment, so a
missing or damaged file counts as empty.
"""

import json
import math
import os
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import get_type_hints

import numpy as np

from engine.errors import ConvscopeError
from engine.stored import fits, read_arrays, read_text
from engine.training import records
from engine.training.records import ALIVE, STATES, EpochRecord, Event, Filters, Status, Steps
from engine.training.run import RunFolder, stored_recipe


def read_status(folder: RunFolder) -> Status:
    """What the run is doing; "interrupted" if its process has died."""
    # Asked first: a run that ends in between has noted its end by then.
    alive = folder.alive
    status = _stored_status(folder)
    if status is None:
        return _status_without_file(folder, alive)
    if status.state not in STATES or (status.state in ALIVE and not alive):
        status = Status(**{**asdict(status), "state": "interrupted", "seconds_left": None})
    return status


def _stored_status(folder: RunFolder) -> Status | None:
    """What status.json says; None if it is missing or damaged."""
    stored, hints = folder.json("status.json"), get_type_hints(Status)
    if not isinstance(stored, dict) or "state" not in stored:
        return None
    known = {key: stored[key] for key in hints.keys() & stored.keys()}
    if not all(fits(value, hints[key]) for key, value in known.items()):
        return None
    status = Status(**known)
    counts = (status.epoch, status.epochs, status.step, status.steps_per_epoch, status.phase, status.phases)
    return status if min(counts) >= 0 and math.isfinite(status.seconds_left or 0) else None


def _status_without_file(folder: RunFolder, alive: bool) -> Status:
    """The status of a run without status.json, from its history and recipe."""
    recipe = stored_recipe(folder)
    done = len(read_history(folder))
    epochs = recipe.epochs if recipe else done
    with suppress(ConvscopeError):  # damaged cuts
        epochs = folder.plan(recipe).epochs if recipe else done
    state = "finished" if recipe and done >= epochs else "running" if alive else "interrupted"
    return Status(state, epoch=done, epochs=epochs, phases=len(recipe.phases) if recipe else 1)


def write_status(folder: RunFolder, status: Status) -> None:
    """Replace `status.json`, for the process that holds the run; nothing happens on a full disk, or if the run is gone.

    It is not forced to disk, which takes milliseconds: after a power failure nobody trains, whatever this file says.
    """
    with suppress(OSError):
        write_unsynced(folder.path / "status.json", (json.dumps(asdict(status)) + "\n").encode())


def write_unsynced(file: Path, content: bytes) -> None:
    """Replace a file in one step for readers, but do not force it to disk."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_bytes(content)
    os.replace(temporary, file)


def note(folder: RunFolder, kind: str, message: str) -> None:
    """Append to `events.jsonl`; nothing happens on a full disk, or if the run is gone."""
    if kind not in records.EVENTS:
        raise ValueError(f"{kind!r} is no kind of event")
    line = json.dumps({"time": time.time(), "kind": kind, "message": message}) + "\n"
    with suppress(OSError), (folder.path / "events.jsonl").open("a") as file:
        file.write(line)


def read_events(folder: RunFolder) -> list[Event]:
    """What happened so far, in order; lines that cannot be understood are left out."""
    events = []
    for line in _text_in(folder.path / "events.jsonl").splitlines():
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            entry = json.loads(line)
            events.append(Event(float(entry["time"]), str(entry["kind"]), str(entry["message"])))
    return events


def read_history(folder: RunFolder) -> list[EpochRecord]:
    """One record per whole epoch; none if the file is missing or damaged."""
    try:
        return records.from_csv(_text_in(folder.path / "history.csv"))
    except ValueError:
        return []


def read_steps(folder: RunFolder) -> Steps:
    """The steps noted so far; none if the file is missing or damaged."""
    try:
        return records.steps_from_csv(_text_in(folder.path / "steps.csv"))
    except ValueError:
        return records.steps_from_csv("")


def read_filters(folder: RunFolder) -> Filters | None:
    """The first layer's kernels before training and after each epoch; None if they are missing or damaged."""
    try:
        stored = read_arrays(folder.path / "filters.npz")
        filters = Filters(stored["filters"], stored["epochs"])
    except (OSError, ValueError, KeyError):
        return None
    return filters if _are_kernels(filters.filters, 5) and filters.epochs.shape == filters.filters.shape[:1] else None


def read_filters_now(folder: RunFolder) -> np.ndarray | None:
    """float16 `[O, 3, k, k]`, the first layer's kernels now; None if they are missing or damaged."""
    try:
        filters = np.load(folder.path / "filters_now.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError, SyntaxError):
        return None
    return np.array(filters) if _are_kernels(filters, 4) else None


def _are_kernels(array: np.ndarray, dimensions: int) -> bool:
    """Whether an array may be the kernels of a first layer: `[..., O, 3, k, k]`."""
    return array.ndim == dimensions and array.dtype.kind == "f" and array.shape[-3] == 3 and 0 < array.size < 1 << 28


def _text_in(file: Path) -> str:
    try:
        return read_text(file)
    except (OSError, ValueError):
        return ""
