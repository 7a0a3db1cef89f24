"""What a run notes about itself: one record per epoch, where it stands now, and what happened."""

import csv
import io
import math
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from typing import Any

import numpy as np

from engine.errors import quoted

STATES = ("queued", "running", "measuring", "paused", "stopped", "finished", "failed", "interrupted")
"""What a run can be doing; "interrupted" is what a reader calls a run that says it goes on, but has no process."""
ALIVE = ("queued", "running", "measuring", "paused")
"""The states that need a living process."""
MOST_EPOCHS, LONGEST_LINE = 100_000, 1_000
"""Of the lines of a run's tables: more has no training written."""
COMMANDS = ("pause", "resume", "stop", "next_phase")
EVENTS = ("started", "resumed", "phase", "paused", "continued", "stopped", "finished", "failed", "kept")


@dataclass(frozen=True)
class EpochRecord:
    """One line of the history; losses are plain cross-entropy in nats, accuracies in 0-1.

    `train_*` are measured like `val_*`: at the end of the epoch, in evaluation mode, at the image size of that epoch
    (`pixels`), without augmentation or smoothing; `train_*` on the first 5,000 training images, of a folder of
    pictures on 5,000 that are evenly spaced. `batch_loss` is the mean over the epoch's augmented batches as they were
    seen.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    batch_loss: float
    learning_rate: float
    optimizer: str
    pixels: int
    seconds: float


@dataclass
class RunProgress:
    """Where a run stands; changes as it goes on."""

    epoch: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = 0
    history: list[EpochRecord] = field(default_factory=list)
    filters: list[np.ndarray] = field(default_factory=list)

    @property
    def history_csv(self) -> str:
        return to_csv(self.history)


@dataclass(frozen=True)
class Status:
    """What a run is doing at this moment; None where nothing is known yet.

    Attributes:
        state: one of `STATES`.
        pid: the process that wrote this.
        epoch, epochs: whole epochs done, and how many there will be.
        step, steps_per_epoch: in the present epoch.
        phase, phases: the present one (the first is 0), and how many there are.
        loss: plain cross-entropy of the last batch, in nats.
        message: one sentence, of a run that was stopped, has finished or failed, or was killed by the system.
        updated: seconds since 1970.
    """

    state: str
    pid: int = 0
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps_per_epoch: int = 0
    phase: int = 0
    phases: int = 1
    loss: float | None = None
    learning_rate: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    message: str = ""
    updated: float = 0.0


@dataclass(frozen=True)
class Event:
    """Something that happened: seconds since 1970, one of `EVENTS`, and a sentence."""

    time: float
    kind: str
    message: str


@dataclass(frozen=True)
class Steps:
    """The loss between the ends of epochs, at some steps; arrays `[S]`, in order.

    `step` counts from 0 over the whole run and `epoch` from 1; `loss` is one batch's plain cross-entropy in nats.
    """

    step: np.ndarray
    epoch: np.ndarray
    loss: np.ndarray
    learning_rate: np.ndarray
    images_per_second: np.ndarray

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True)
class Filters:
    """First-layer kernels, float16 `[S, O, 3, k, k]`, after `epochs` int `[S]` epochs (0: before training)."""

    filters: np.ndarray
    epochs: np.ndarray


# History as text -----------------------------------------------------------------------------------------------


def to_csv(history: list[EpochRecord]) -> str:
    """The history as CSV, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [entry.name for entry in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rounded(asdict(record)) for record in history)
    return text.getvalue()


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}


def from_csv(text: str) -> list[EpochRecord]:
    """The history in the text of a history.csv; an empty cell is not a number.

    Raises:
        ValueError: the text is something else, or says what no training writes; one clause for a person.
    """
    lines = text.splitlines()
    if len(lines) > MOST_EPOCHS or max(map(len, lines), default=0) > LONGEST_LINE:
        raise ValueError(f"it has more than {MOST_EPOCHS:,} lines, or one of more than {LONGEST_LINE} letters")
    reader = csv.DictReader(lines)
    missing = [entry.name for entry in fields(EpochRecord) if entry.name not in (reader.fieldnames or [entry.name])]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
    history = [
        EpochRecord(*(_cell(row[entry.name] or "", entry.name, entry.type) for entry in fields(EpochRecord)))
        for row in map(_checked_row, reader)
    ]
    _check(history)
    return history


def _checked_row(row: dict[str | None, Any]) -> dict[str | None, Any]:
    if None in row:
        raise ValueError("a line has too many cells")
    return row


def _cell(text: str, name: str, kind: type) -> Any:
    if kind is str:
        return text
    try:
        value = float(text) if text else math.nan
    except ValueError:
        raise ValueError(f"{name} {quoted(text)} is not a number") from None
    if kind is int and value % 1 != 0:  # nor is infinity
        raise ValueError(f"{name} {quoted(text)} is not a whole number")
    return kind(value)


def _check(history: list[EpochRecord]) -> None:
    """Raise a ValueError for what no training writes."""
    if history and history[0].epoch < 1:
        raise ValueError("its epochs do not begin at 1 or later")
    if any(later.epoch <= earlier.epoch for earlier, later in pairwise(history)):
        raise ValueError("its epochs do not rise from line to line")
    for record in history:
        if record.pixels < 1:
            raise ValueError(f"the image size of epoch {record.epoch} is missing")
        if any(accuracy < 0 or accuracy > 1 for accuracy in (record.train_accuracy, record.val_accuracy)):
            raise ValueError(f"an accuracy of epoch {record.epoch} lies outside 0 to 1")
        if not record.seconds >= 0:
            raise ValueError(f"the duration of epoch {record.epoch} is missing or negative")


STEP_COLUMNS = tuple(entry.name for entry in fields(Steps))


def step_line(step: int, epoch: int, loss: float, learning_rate: float, images_per_second: float) -> str:
    """One line of `steps.csv`, in the order of `STEP_COLUMNS`."""
    return f"{step},{epoch},{loss:.6g},{learning_rate:.6g},{images_per_second:.5g}\n"


def step_lines(text: str) -> list[str]:
    """The lines of a `steps.csv` without its header, and without the one in whose middle `text` may end."""
    return [line for line in text[: text.rfind("\n") + 1].splitlines()[1:] if line]


def is_step(line: str) -> bool:
    """Whether a line of `steps.csv` can be understood: a full disk tears one, and the next is written behind it."""
    cells = line.split(",")
    try:
        known = len(list(map(float, cells))) == len(STEP_COLUMNS) and len(line) <= LONGEST_LINE
        return known and cells[0].isdigit() and cells[1].isdigit()
    except ValueError:
        return False


def steps_from_csv(text: str) -> Steps:
    """The steps in `text`, which may end in the middle of a line.

    Raises:
        ValueError: a whole line cannot be understood.
    """
    lines = step_lines(text)
    if max(map(len, lines), default=0) > LONGEST_LINE:
        raise ValueError("a line is too long")
    table = np.loadtxt(lines, delimiter=",", ndmin=2) if lines else np.zeros((0, len(STEP_COLUMNS)))
    if table.shape[1] != len(STEP_COLUMNS):
        raise ValueError(f"{table.shape[1]} columns")
    if not np.isfinite(table[:, :2]).all():
        raise ValueError("a step without a number")
    step, epoch, loss, rate, speed = table.T
    return Steps(step.astype(int), epoch.astype(int), loss, rate, speed)
