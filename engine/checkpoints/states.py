"""A network's states over time, kept beside its checkpoint, to be looked at like the finished one.

How features come about is seen in a network at several moments of one training (Zeiler & Fergus 2014, figure 4): the
random weights, which follow from the seed, the final ones, and between them those after some of its epochs. Most
changes early, so the epochs double: 1, 2, 4, 8, 16 ... A run whose recipe does not ask for that (`keep_states`) keeps
the one halfway, and a checkpoint ships that one if the network is small. A state is as large as the checkpoint itself.

    states/4.pt    {"epoch": 4, "weights": state dict, kernels in half precision}

Each state is a file of its own: it is written in one step, and the others need not be read to look at it.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine import settings
from engine.checkpoints.card import Card, read_card
from engine.checkpoints.reading import Trained, blank_of, fill_, freeze, with_rest
from engine.checkpoints.writing import half_precision, write_weights
from engine.files import damage_as
from engine.stored_tensors import read_tensors

FOLDER = "states"
MOST_PARAMETERS = 1_000_000
"""Of a network whose state halfway a checkpoint ships without being asked for."""
MOST_BYTES = 1 << 31
"""Of one state."""


def epochs_to_keep(epochs: int, doubling: bool) -> tuple[int, ...]:
    """After which of its `epochs` a run keeps its state: those that double, before its end; or the one halfway."""
    if doubling:
        return tuple(1 << power for power in range((epochs - 1).bit_length()))
    return (max(1, epochs // 2),)


def size(model: nn.Module) -> int:
    """About how many bytes one state of `model` takes: two for each number of a kernel, four for each other."""
    return sum(value.numel() * (2 if value.ndim > 1 else 4) for value in model.state_dict().values())


def write(path: Path, epoch: int, weights: dict[str, Tensor]) -> None:
    """Store `weights` as they were after `epoch` epochs with the run in the folder `path`, atomically."""
    write_weights(_file(path, epoch), _content(epoch, weights))


def of_run(run: Path, card: Card, keys: Collection[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A run's states for the checkpoint made of it, as far as they are older than its best epoch: files and contents.

    Each is read when it is asked for, since all of them may be many.

    Args:
        keys: of the weights that the checkpoint stores; the others are its base's.

    Raises:
        ConvscopeError: a state is damaged.
    """
    for epoch in [one for one in _epochs(run) if one < card.best_epoch]:
        weights = _read(run, epoch, card.name)
        yield _file(Path(), epoch), _content(epoch, {key: value for key, value in weights.items() if key in keys})


def epochs(name: str, folder: Path | None = None) -> tuple[int, ...]:
    """After which epochs checkpoint `name` has a state, in their order."""
    return _epochs(_path(name, folder))


def load(name: str, epoch: int, folder: Path | None = None) -> Trained:
    """The network of checkpoint `name` as it was after `epoch` epochs; its card is that of the finished one.

    Raises:
        ConvscopeError: there is no such checkpoint, or the state is missing, damaged or of another network.
    """
    path = _path(name, folder)
    card = read_card(path)
    model = blank_of(card)
    weights = with_rest(_read(path, epoch, name), model, card, folder)
    with damage_as(_unusable(_file(path, epoch), name, epoch)):
        fill_(model, weights)
        if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
            raise ValueError("it has numbers that are infinite, or none at all")
    return Trained(freeze(model), card)


def _path(name: str, folder: Path | None) -> Path:
    return (folder or settings.folders.checkpoints) / name


def _file(path: Path, epoch: int) -> Path:
    return path / FOLDER / f"{epoch}.pt"


def _content(epoch: int, weights: dict[str, Tensor]) -> dict[str, Any]:
    return {"epoch": epoch, "weights": half_precision(weights)}


def _epochs(path: Path) -> tuple[int, ...]:
    names = [file.stem for file in (path / FOLDER).glob("*.pt")]
    return tuple(sorted(int(name) for name in names if name.isdecimal() and name.isascii() and len(name) < 7))


def _read(path: Path, epoch: int, name: str) -> dict[str, Tensor]:
    file = _file(path, epoch)
    with damage_as(_unusable(file, name, epoch)):
        stored = read_tensors(file, MOST_BYTES)
        if stored["epoch"] != epoch:
            raise ValueError(f"it is of epoch {stored['epoch']}")
        return dict(stored["weights"])


def _unusable(path: Path, name: str, epoch: int) -> str:
    file = "/".join(path.parts[-3:])
    return f"The weights of {name!r} after epoch {epoch} are missing or damaged: get {file} again, or delete it."
