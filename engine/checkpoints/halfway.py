"""The network halfway through its training, kept beside its checkpoint, to be looked at like the finished one.

Together with the random weights, which follow from the seed, and the final ones, there are then three moments of one
training: before, halfway, after. Only small networks keep the second one, whose file is as large as the checkpoint's.

    halfway.pt    {"epoch": the epoch after which it was taken, "weights": state dict, kernels in half precision}
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine import settings
from engine.checkpoints.card import read_card
from engine.checkpoints.reading import fill_, freeze
from engine.checkpoints.writing import half_precision, write_weights
from engine.files import damage_as
from engine.models import blank
from engine.stored_tensors import read_tensors

FILE = "halfway.pt"
MOST_PARAMETERS = 1_000_000
"""Of a network whose snapshot a checkpoint keeps; a run keeps that of any, in files of up to `MOST_BYTES`."""
MOST_BYTES = 1 << 31


@dataclass(frozen=True)
class Snapshot:
    """A network in evaluation mode with frozen parameters, and after which epoch it was taken."""

    model: nn.Module
    epoch: int


def write(path: Path, epoch: int, weights: dict[str, Tensor]) -> None:
    """Store `weights` as they were after `epoch` epochs in the folder `path`, atomically."""
    write_weights(path / FILE, {"epoch": epoch, "weights": half_precision(weights)})


def copy(run: Path, checkpoint: Path) -> None:
    """Keep a run's snapshot with the checkpoint made of it, if it has one and the network is small."""
    if (run / FILE).exists() and read_card(checkpoint).parameters <= MOST_PARAMETERS:
        write_weights(checkpoint / FILE, _read(run / FILE, checkpoint.name))


def exists(name: str, folder: Path | None = None) -> bool:
    """Whether checkpoint `name` has a snapshot."""
    return ((folder or settings.folders.checkpoints) / name / FILE).exists()


def load(name: str, folder: Path | None = None) -> Snapshot:
    """The network of checkpoint `name` halfway through its training.

    Raises:
        ConvscopeError: there is no such checkpoint, or its snapshot is missing, damaged or of another network.
    """
    path = (folder or settings.folders.checkpoints) / name
    card = read_card(path)
    stored = _read(path / FILE, name)
    model = blank(card.architecture, num_classes=len(card.classes), **card.options)
    with damage_as(_unusable(name)):
        fill_(model, stored["weights"])
        return Snapshot(freeze(model), int(stored["epoch"]))


def _read(file: Path, name: str) -> dict[str, Any]:
    with damage_as(_unusable(name)):
        return read_tensors(file, MOST_BYTES)


def _unusable(name: str) -> str:
    return f"The weights of {name!r} halfway through its training are missing or damaged: compare other states of it."
