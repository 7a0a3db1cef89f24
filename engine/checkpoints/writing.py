"""Writing checkpoints: whole or not at all."""

import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine import settings
from engine.accuracy.predictions import Predictions
from engine.checkpoints.card import Card, impossible
from engine.checkpoints.reading import StoredPredictions, available
from engine.errors import ConvscopeError
from engine.files import not_writable, sha256, write_atomically, write_text

OWNER = "owner"


@dataclass(frozen=True)
class Contents:
    """The files of a new checkpoint besides its card.

    Attributes:
        weights: an experiment has none.
        owner: of a model that somebody has kept of a run or added, and that can be removed: the text of its file
            `owner`, empty for everybody's; None for all others.
        states: the network after some of its epochs, as `states.of_run` gives it.
    """

    weights: dict[str, Tensor] | None
    predictions: StoredPredictions
    filters: dict[str, np.ndarray]
    history: str
    recipe: dict[str, Any] | None = None
    owner: str | None = None
    states: Iterable[tuple[Path, dict[str, Any]]] = ()


def write_weights(path: Path, weights: dict[str, Any]) -> None:
    """Store a state dict at `path`, atomically."""
    # By way of memory: given a file on a full disk, `torch.save` hides the OSError behind a RuntimeError.
    content = io.BytesIO()
    torch.save(weights, content)
    write_atomically(path, lambda file: file.write(content.getbuffer()))


def half_precision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights` with the kernels rounded to 16 bits; biases and batch norm, which are few numbers, keep 32."""
    return {key: value.half() if value.ndim > 1 else value for key, value in weights.items()}


def _replace(new: Path, target: Path) -> None:
    """Give the folder `new` the name `target`; an old `target` is removed only after that."""
    old = new.with_name(new.name + ".old")
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _place(new: Path, target: Path) -> None:
    """Give the folder `new` the name `target`, unless that name is taken: of two at once, the second is refused."""
    try:
        new.rename(target)
    except OSError as error:
        if target.exists():
            raise ConvscopeError(f"There is a checkpoint {target.name!r} already: choose another name.") from error
        raise


def save(card: Card, contents: Contents, folder: Path | None = None, overwrite: bool = True) -> Path:
    """Write the checkpoint `card.name`, which takes its place once it is complete.

    The card's `weights_sha256` is filled in here; it is empty if there are no weights.

    Args:
        overwrite: replace a checkpoint of that name; otherwise it is an error.

    Raises:
        ConvscopeError: the disk is full, the folder is not writable, the name is taken, or nobody could read the card;
            an old checkpoint is as it was.
    """
    if wrong := impossible(card):
        raise ConvscopeError(f"The checkpoint {card.name!r} cannot be stored, since {wrong}: change that first.")
    folder = folder or settings.folders.checkpoints
    target = folder / card.name
    new: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder, prefix=f".{card.name}."))
        _write_contents(new, contents)
        weights = new / "weights.pt"
        stored = {**asdict(card), "weights_sha256": sha256(weights) if weights.exists() else ""}
        write_text(new / "card.json", json.dumps(stored, indent=1) + "\n")
        new.chmod(0o755)
        (_replace if overwrite else _place)(new, target)
        return target
    except OSError as error:
        raise ConvscopeError(not_writable(target, error)) from error
    finally:
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)


def _write_contents(path: Path, contents: Contents) -> None:
    test, validation = contents.predictions.test, contents.predictions.validation
    arrays = {"logits": test.logits, "labels": _small(test)}
    arrays |= {"val_logits": validation.logits, "val_labels": _small(validation)}
    if contents.weights is not None:
        write_weights(path / "weights.pt", contents.weights)
    for file, content in contents.states:
        write_weights(path / file, content)
    if contents.recipe is not None:
        write_text(path / "recipe.json", json.dumps(contents.recipe, indent=1) + "\n")
    if contents.owner is not None:
        write_text(path / OWNER, contents.owner + "\n")
    write_atomically(path / "predictions.npz", lambda file: np.savez_compressed(file, **arrays))
    write_atomically(path / "filters.npz", lambda file: np.savez_compressed(file, **contents.filters))
    write_text(path / "history.csv", contents.history)


def _small(predictions: Predictions) -> np.ndarray:
    """The labels, in as few bytes as the number of classes allows."""
    return predictions.labels.astype(np.min_scalar_type(predictions.logits.shape[1] - 1))


# Removing ------------------------------------------------------------------------------------------------------


def kept(folder: Path | None = None) -> list[Path]:
    """The checkpoints in `folder` that somebody has kept of a run or added, and that can be removed."""
    folder = folder or settings.folders.checkpoints
    return sorted(file.parent for file in folder.glob(f"*/{OWNER}") if not file.parent.name.startswith("."))


def remove(name: str, folder: Path | None = None) -> None:
    """Remove a kept checkpoint with all its files.

    Raises:
        ConvscopeError: no kept one has that name, another one is built on it, or it cannot be removed.
    """
    folder = folder or settings.folders.checkpoints
    if folder / name not in kept(folder):
        raise ConvscopeError(f"There is no kept model {name!r}: only what was kept of a run, or added, can be removed.")
    if built := [card.name for card in available(folder).values() if card.base == name]:
        raise ConvscopeError(f"The model {built[0]!r} is built on {name!r}: remove that one first.")
    hidden = folder / f".{name}.removed"
    shutil.rmtree(hidden, ignore_errors=True)  # what is left of a removal that was killed
    try:
        (folder / name).rename(hidden)  # at once: nobody sees half of it, and a full disk has room for that
    except OSError as error:
        raise ConvscopeError(f"The model {name!r} could not be removed ({error.strerror}).") from error
    shutil.rmtree(hidden, ignore_errors=True)
