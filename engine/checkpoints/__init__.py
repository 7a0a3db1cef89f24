"""Trained networks on disk: one folder each, with everything that a page needs.

    weights.pt        state dict, half precision where that costs no accuracy on the validation images; only what was
                      trained, if the rest is that of the base which the card names
    card.json         what it is, how it was trained, and what the run measured
    history.csv       one line per epoch
    filters.npz       the first layer's kernels from before training to its end
    predictions.npz   logits of the test images and of the validation images
    recipe.json       the whole recipe, of what was trained since it is kept

The folders of experiments are the same without `weights.pt`.

A loaded network is in evaluation mode, frozen, and shared by everybody who looks at it: nobody changes it.
Weights are loaded with `weights_only=True`, so a file from a stranger can damage nothing but its own picture.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

from engine import settings
from engine.accuracy.predictions import Predictions
from engine.errors import ConvscopeError
from engine.files import not_writable, sha256, write_atomically, write_text
from engine.models import ARCHITECTURES, blank, build
from engine.models.initialisation import initialise_
from engine.models.torchvision_models import PREFIX, pretrained
from engine.seeding import seeded


@dataclass(frozen=True)
class Card:
    """What a checkpoint is, and the figures that its own run measured.

    Attributes:
        name: its folder.
        architecture, options: what `engine.models.build` is called with.
        dataset: what it was trained on.
        classes: the classes' names, in the order of the logits.
        input_size: the side in pixels of its input.
        mean, std: per channel, of pixels in 0-1.
        recipe: the recipe's file name in `recipes/`.
        epochs: how long it was trained; `best_epoch` is the one whose weights were kept (by validation accuracy).
        seed: of weights, order and augmentation.
        parameters: how many numbers were trained.
        test_images, test_accuracy (0-1), test_loss (cross-entropy in nats): of the stored weights.
        weights_sha256: of `weights.pt`.
        versions: of the packages that trained it.
        base, base_sha256: the checkpoint whose weights it started from (or torchvision's weights, such as
            "torchvision:IMAGENET1K_V1"), and the SHA-256 of those; empty for none.
        initialisation: "default" (the architecture's own), "xavier" or "kaiming".
        group: experiments of one group are meant to be compared; empty for none.
    """

    name: str
    architecture: str
    options: dict[str, Any]
    dataset: str
    classes: tuple[str, ...]
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: str
    epochs: int
    best_epoch: int
    seed: int
    parameters: int
    test_images: int
    test_accuracy: float
    test_loss: float
    weights_sha256: str
    versions: dict[str, str]
    base: str = ""
    base_sha256: str = ""
    initialisation: str = "default"
    group: str = ""


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode with frozen parameters, and its card."""

    model: nn.Module
    card: Card


@dataclass(frozen=True)
class StoredPredictions:
    """The logits that were stored with a checkpoint, of the test images and of the validation images."""

    test: Predictions
    validation: Predictions


def available(folder: Path | None = None) -> dict[str, Card]:
    """The cards of all checkpoints in `folder`, by name; folders without a readable card are left out."""
    cards: dict[str, Card] = {}
    for path in _folders(folder):
        try:
            cards[path.name] = read_card(path)
        except ConvscopeError:
            continue
    return cards


def load(name: str, folder: Path | None = None) -> Trained:
    """The network of checkpoint `name`.

    Raises:
        ConvscopeError: there is no such checkpoint, or its card or weights are missing, damaged or of another network;
            or it keeps only what was trained, and the rest, its base, is missing or another one.
    """
    path = _existing(name, folder)
    card = read_card(path)
    model = blank(card.architecture, num_classes=len(card.classes), **card.options)
    weights = _read_weights(path / "weights.pt", card)
    if card.base and not weights.keys() >= model.state_dict().keys():
        weights = {**_rest(card, folder), **weights}
    try:
        fill_(model, weights)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ConvscopeError(_unusable(name, f"weights.pt does not fit a {card.architecture}")) from error
    return Trained(freeze(model), card)


def fill_(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a `blank` network its numbers, in single precision.

    Raises:
        RuntimeError, AttributeError, TypeError: they are another network's, or no weights at all.
    """
    single = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    model.load_state_dict(single, assign=True)


@dataclass(frozen=True)
class Base:
    """Weights that a training starts from: a state dict, the SHA-256 of its file, and the names of its classes.

    The last layer of torchvision's weights knows other classes than any dataset here; their `classes` are empty.
    """

    weights: dict[str, Tensor]
    sha256: str
    classes: tuple[str, ...]


def base(name: str, architecture: str, folder: Path | None = None) -> Base:
    """The weights `name`: of a checkpoint in `folder`, or torchvision's for `architecture`.

    Raises:
        ConvscopeError: they are not there, damaged, or torchvision has none for that architecture.
    """
    if not name.startswith(PREFIX):
        trained = load(name, folder)
        return Base(trained.model.state_dict(), trained.card.weights_sha256, trained.card.classes)
    fitting = ARCHITECTURES[architecture].torchvision
    if not fitting:
        raise ConvscopeError(f"Torchvision has no weights for {architecture!r}: start from a checkpoint of this app.")
    weights, fingerprint = pretrained(fitting, name.removeprefix(PREFIX))
    return Base(weights, fingerprint, ())


def _rest(card: Card, folder: Path | None) -> dict[str, Tensor]:
    """What a checkpoint that keeps only what was trained has from its base."""
    try:
        found = base(card.base, card.architecture, folder)
    except ConvscopeError as error:
        start = f"The checkpoint {card.name!r} keeps only what was trained, and its base {card.base!r} cannot be had: "
        raise ConvscopeError(f"{start}{error}") from error
    if found.sha256 != card.base_sha256:
        raise ConvscopeError(
            f"The checkpoint {card.name!r} keeps only what was trained, and its base {card.base!r} is not the one that "
            "it was trained on: get both from the same place."
        )
    return found.weights


def untrained(name: str, folder: Path | None = None) -> Trained:
    """The network of checkpoint `name` before its training: the random weights that its seed gives.

    Raises:
        ConvscopeError: there is no such checkpoint, or its card is missing or damaged.
    """
    card = read_card(_existing(name, folder))
    with seeded(card.seed):
        model = build(card.architecture, num_classes=len(card.classes), **card.options)
        initialise_(model, card.initialisation)
    return Trained(freeze(model), card)


def freeze(model: nn.Module) -> nn.Module:
    """`model` in evaluation mode, with parameters that ask for no gradient, channels-last for speed."""
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def read_card(path: Path) -> Card:
    """The card in the checkpoint folder `path`.

    Raises:
        ConvscopeError: it is missing, damaged, or lacks an entry.
    """
    try:
        stored = json.loads((path / "card.json").read_text())
        values = {field.name: _entry(stored, field) for field in fields(Card)}
        for key, hint in get_type_hints(Card).items():
            if not _fits(values[key], hint):
                raise TypeError(f"{key} is {values[key]!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConvscopeError(_unusable(path.name, f"card.json is missing or damaged ({error})")) from error
    sequences = {key: tuple(values[key]) for key in ("classes", "mean", "std")}
    return Card(**{**values, **sequences, "name": path.name})


def _entry(stored: dict[str, Any], field: Field[Any]) -> Any:
    """The card's entry `field`; cards that are older than it have its default."""
    return stored[field.name] if field.default is MISSING else stored.get(field.name, field.default)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from a JSON file is of the type that a field of the card asks for."""
    kind = get_origin(hint) or hint
    if kind is tuple:
        return isinstance(value, list) and all(_fits(entry, get_args(hint)[0]) for entry in value)
    return isinstance(value, int | float if kind is float else kind)


def predictions(name: str, folder: Path | None = None) -> StoredPredictions:
    """The logits stored with checkpoint `name`.

    Raises:
        ConvscopeError: there is no such checkpoint, or the file is missing or damaged.
    """
    try:
        with np.load(_existing(name, folder) / "predictions.npz") as stored:
            return StoredPredictions(
                Predictions(stored["logits"].astype(np.float32), stored["labels"].astype(np.int64)),
                Predictions(stored["val_logits"].astype(np.float32), stored["val_labels"].astype(np.int64)),
            )
    except ConvscopeError:
        raise
    except FileNotFoundError as error:
        raise ConvscopeError(
            f"There are no stored answers of {name!r} to the test images: choose a network trained on CIFAR-10."
        ) from error
    except Exception as error:  # a damaged archive shows itself as a zip, zlib, value, key or end-of-file error
        raise ConvscopeError(_unusable(name, "predictions.npz is damaged")) from error


def _folders(folder: Path | None) -> list[Path]:
    """The checkpoint folders in `folder`; hidden ones are what an interrupted `save` has left behind."""
    folder = folder or settings.folders.checkpoints
    return sorted(card.parent for card in folder.glob("*/card.json") if not card.parent.name.startswith("."))


def _existing(name: str, folder: Path | None) -> Path:
    known = {path.name: path for path in _folders(folder)}
    if name not in known:
        choice = f"choose one of {', '.join(known)}" if known else "train one with `python -m engine.training RECIPE`"
        raise ConvscopeError(f"There is no checkpoint {name!r}: {choice}.")
    return known[name]


def _unusable(name: str, reason: str) -> str:
    return (
        f"The checkpoint {name!r} cannot be used: {reason}. "
        f"Get it again with `git checkout -- checkpoints/{name}`, or choose another one."
    )


def _read_weights(path: Path, card: Card) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConvscopeError(_unusable(card.name, f"weights.pt cannot be read ({error.strerror})")) from error
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise ConvscopeError(_unusable(card.name, "weights.pt is damaged or not the file its card describes"))
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive shows itself as a pickle, zip, runtime or end-of-file error
        raise ConvscopeError(_unusable(card.name, "weights.pt is no PyTorch weights file")) from error


# Writing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contents:
    """What a new checkpoint folder is made of, besides its card; an experiment has no weights."""

    weights: dict[str, Tensor] | None
    predictions: StoredPredictions
    filters: dict[str, np.ndarray]
    history: str
    recipe: dict[str, Any] | None = None


def write_weights(path: Path, weights: dict[str, Any]) -> None:
    """Store a state dict at `path`, atomically."""
    # By way of memory: given a file on a full disk, `torch.save` hides the OSError behind a RuntimeError.
    content = io.BytesIO()
    torch.save(weights, content)
    write_atomically(path, lambda file: file.write(content.getbuffer()))


def half_precision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights` with the kernels rounded to 16 bits; biases and batch norm, which weigh nothing, stay as they are."""
    return {key: value.half() if value.ndim > 1 else value for key, value in weights.items()}


def replacing(new: Path, target: Path) -> Path:
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
    return target


def refusing(new: Path, target: Path) -> Path:
    """Give the folder `new` the name `target`, unless something is called so: of two at once, one comes too late."""
    try:
        new.rename(target)
    except OSError as error:
        if target.exists():
            raise ConvscopeError(f"There is a checkpoint {target.name!r} already: choose another name.") from error
        raise
    return target


def save(
    card: Card, contents: Contents, folder: Path | None = None, put: Callable[[Path, Path], Path] = replacing
) -> Path:
    """Write the checkpoint `card.name`; it is `put` in its place, `replacing` an old one or not, once it is complete.

    The card's `weights_sha256` is filled in here; it is empty if there are no weights.

    Raises:
        ConvscopeError: the disk is full or the folder is not writable; an old checkpoint is as it was.
    """
    folder = folder or settings.folders.checkpoints
    new: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder, prefix=f".{card.name}."))
        _write_contents(new, contents)
        stored = {**asdict(card), "weights_sha256": _fingerprint(new)}
        write_text(new / "card.json", json.dumps(stored, indent=1) + "\n")
        new.chmod(0o755)
        return put(new, folder / card.name)
    except OSError as error:
        raise ConvscopeError(not_writable(folder / card.name, error)) from error
    finally:
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)


def _write_contents(path: Path, contents: Contents) -> None:
    test, validation = contents.predictions.test, contents.predictions.validation
    arrays = {
        "logits": test.logits, "labels": _small(test),
        "val_logits": validation.logits, "val_labels": _small(validation),
    }  # fmt: skip
    if contents.weights is not None:
        write_weights(path / "weights.pt", contents.weights)
    if contents.recipe is not None:
        write_text(path / "recipe.json", json.dumps(contents.recipe, indent=1) + "\n")
    write_atomically(path / "predictions.npz", lambda file: np.savez_compressed(file, **arrays))
    write_atomically(path / "filters.npz", lambda file: np.savez_compressed(file, **contents.filters))
    write_text(path / "history.csv", contents.history)


def _small(predictions: Predictions) -> np.ndarray:
    """The labels, in as few bytes as the number of classes allows."""
    return predictions.labels.astype(np.min_scalar_type(predictions.logits.shape[1] - 1))


def _fingerprint(path: Path) -> str:
    weights = path / "weights.pt"
    return sha256(weights) if weights.exists() else ""
