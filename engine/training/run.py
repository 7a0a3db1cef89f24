"""A run's folder: what is on disk while a network trains, so that a kill at any moment costs at most one epoch.

    recipe.json   what is being done
    state.pt      weights, averaged weights, optimizer, epoch, history and filters, as of the last whole epoch
    best.pt       the weights of the best epoch so far, by validation accuracy
    history.csv   one line per epoch

Every file is replaced in one step. `best.pt` is written before `state.pt`: after a kill between the two the epoch is
trained again, from the same state with the same batches, and writes the same `best.pt` once more.
"""

import csv
import io
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.checkpoints import write_weights
from engine.data import ROOT
from engine.errors import ConvscopeError
from engine.files import write_text
from engine.training.recipe import Recipe, to_dict

FOLDER = ROOT / "runs"


@dataclass(frozen=True)
class EpochRecord:
    """One line of the history; losses are plain cross-entropy in nats, accuracies in 0-1.

    `train_*` are measured like `val_*`: at the end of the epoch, in evaluation mode, at the image size of that epoch
    (`pixels`), without augmentation or smoothing; `train_*` on the first 5,000 training images. `batch_loss` is the
    mean over the epoch's augmented batches as they were seen.
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
class Progress:
    """Where a run stands; changes as it goes on."""

    epoch: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = 0
    history: list[EpochRecord] = field(default_factory=list)
    filters: list[np.ndarray] = field(default_factory=list)

    @property
    def history_csv(self) -> str:
        return to_csv(self.history)


def to_csv(history: list[EpochRecord]) -> str:
    """The history as CSV, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [entry.name for entry in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rounded(asdict(record)) for record in history)
    return text.getvalue()


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}


class RunFolder:
    """The files of one run in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, recipe: Recipe) -> None:
        """Note the recipe; refuse a folder that holds a run of another one.

        Raises:
            ConvscopeError: the folder belongs to another recipe, or cannot be written.
        """
        file = self.path / "recipe.json"
        wanted = json.loads(json.dumps(to_dict(recipe)))
        if file.exists() and _read_json(file) != wanted:
            raise ConvscopeError(
                f"{self.path} holds a run of another recipe: delete that folder, or name another one with --run."
            )
        write_text(file, json.dumps(wanted, indent=1) + "\n")

    def load(self) -> dict[str, Any] | None:
        """The state of the last whole epoch; None for a new run.

        Raises:
            ConvscopeError: the state is damaged.
        """
        file = self.path / "state.pt"
        if not file.exists():
            return None
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged archive shows itself as a pickle, zip, runtime or end-of-file error
            raise ConvscopeError(f"{file} is damaged: delete {self.path} and start the run again.") from error

    def save(self, state: dict[str, Any], progress: Progress) -> None:
        """Replace `history.csv` and `state.pt`."""
        stored = {
            **state,
            "epoch": progress.epoch,
            "best": (progress.best_accuracy, progress.best_epoch),
            "history": [asdict(record) for record in progress.history],
            "filters": [torch.from_numpy(snapshot) for snapshot in progress.filters],
        }
        # The state comes last: after a kill between the two, its epoch is trained and noted again.
        write_text(self.path / "history.csv", progress.history_csv)
        write_weights(self.path / "state.pt", stored)

    def save_best(self, weights: dict[str, Tensor]) -> None:
        """Replace `best.pt`."""
        write_weights(self.path / "best.pt", weights)

    def best(self) -> dict[str, Tensor]:
        """The weights of the best epoch so far.

        Raises:
            ConvscopeError: the file is missing or damaged.
        """
        file = self.path / "best.pt"
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # as in `load`
            raise ConvscopeError(
                f"{file} is missing or damaged: delete {self.path} and start the run again."
            ) from error


def _read_json(file: Path) -> Any:
    """What a JSON file holds; None if it is damaged."""
    try:
        return json.loads(file.read_text())
    except ValueError:
        return None


def progress_of(state: dict[str, Any]) -> Progress:
    """The `Progress` inside a stored state."""
    accuracy, epoch = state["best"]
    return Progress(
        epoch=state["epoch"],
        best_accuracy=accuracy,
        best_epoch=epoch,
        history=[EpochRecord(**record) for record in state["history"]],
        filters=[snapshot.numpy() for snapshot in state["filters"]],
    )
