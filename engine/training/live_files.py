"""What a run reports of itself while it goes on: status, events, history, steps and filters, as files in its folder.

The training process writes them (telemetry.py); pages and commands read them. A reader may come at any moment, so a
missing or damaged file counts as empty.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from engine.training import records
from engine.training.records import ALIVE, STATES, EpochRecord, Event, Filters, Status, Steps
from engine.training.run import RunFolder, read_json, stored_recipe


def read_status(folder: RunFolder) -> Status:
    """What the run is doing; "interrupted" if its process has died."""
    # Asked first: a run that ends in between has noted its end by then.
    alive = folder.alive
    stored = read_json(folder.path / "status.json")
    try:
        known = {entry.name for entry in fields(Status)}
        status = Status(**{key: value for key, value in stored.items() if key in known})
    except (AttributeError, TypeError):
        return _status_without_file(folder, alive)
    if status.state not in STATES or (status.state in ALIVE and not alive):
        status = Status(**{**asdict(status), "state": "interrupted", "seconds_left": None})
    return status


def _status_without_file(folder: RunFolder, alive: bool) -> Status:
    """The status of a run without status.json, from its history and recipe."""
    recipe = stored_recipe(folder)
    done = len(read_history(folder))
    epochs = folder.plan(recipe).epochs if recipe else done
    state = "finished" if recipe and done >= epochs else "running" if alive else "interrupted"
    return Status(state, epoch=done, epochs=epochs, phases=len(recipe.phases) if recipe else 1)


def write_status(folder: RunFolder, status: Status) -> None:
    """Replace `status.json`, for the process that holds the run; nothing happens on a full disk.

    It is not forced to disk, which takes milliseconds: after a power failure nobody trains, whatever this file says.
    """
    with suppress(OSError):
        folder.path.mkdir(parents=True, exist_ok=True)
        write_unsynced(folder.path / "status.json", (json.dumps(asdict(status)) + "\n").encode())


def write_unsynced(file: Path, content: bytes) -> None:
    """Replace a file in one step for readers, but do not force it to disk."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_bytes(content)
    os.replace(temporary, file)


def note(folder: RunFolder, kind: str, message: str) -> None:
    """Append to `events.jsonl`; nothing happens on a full disk."""
    if kind not in records.EVENTS:
        raise ValueError(f"{kind!r} is no kind of event")
    line = json.dumps({"time": time.time(), "kind": kind, "message": message}) + "\n"
    with suppress(OSError):
        folder.path.mkdir(parents=True, exist_ok=True)
        with (folder.path / "events.jsonl").open("a") as file:
            file.write(line)


def read_events(folder: RunFolder) -> list[Event]:
    """What happened so far, in order; lines that cannot be understood are left out."""
    events = []
    for line in _text_in(folder.path / "events.jsonl").splitlines():
        with suppress(ValueError, KeyError, TypeError):
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
        with np.load(folder.path / "filters.npz") as stored:
            return Filters(stored["filters"], stored["epochs"])
    except Exception:  # a damaged archive shows itself as a zip, zlib, value, key or end-of-file error
        return None


def read_filters_now(folder: RunFolder) -> np.ndarray | None:
    """float16 `[O, 3, k, k]`, the first layer's kernels now; None if they are missing or damaged."""
    try:
        return np.load(folder.path / "filters_now.npy")
    except (OSError, ValueError, EOFError):
        return None


def _text_in(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""
