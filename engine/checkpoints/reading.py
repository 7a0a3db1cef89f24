"""Reading checkpoints: which there are, their networks, and their stored predictions."""

import hashlib
import io
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engine import settings
from engine.accuracy.predictions import Predictions
from engine.checkpoints.card import Card, read_card, unusable
from engine.errors import ConvscopeError, listed, quoted
from engine.files import damage_as
from engine.models import ARCHITECTURES, blank, build, efficientnet_lite0, parameter_count
from engine.models.initialisation import initialise_
from engine.models.torchvision_models import PREFIX, TRANSFORM_INPUT, pretrained, takes_imagenet
from engine.operations.frozen_weights import FROZEN
from engine.seeding import seeded
from engine.stored import read_arrays, read_bytes
from engine.stored_tensors import read_tensors

MOST_PARAMETERS = 300_000_000
"""Twice as many as VGG-19 has."""
PACKAGED = {"efficientnet_lite0": efficientnet_lite0.pretrained}
"""Networks whose ImageNet weights come with a Python package, and what reads them."""
MOST_WEIGHTS = 4 * MOST_PARAMETERS
"""Bytes."""


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
        with suppress(ConvscopeError):
            cards[path.name] = read_card(path)
    return cards


def _folders(folder: Path | None) -> list[Path]:
    """The checkpoint folders in `folder`; hidden ones are what an interrupted `save` has left behind."""
    folder = folder or settings.folders.checkpoints
    return sorted(card.parent for card in folder.glob("*/card.json") if not card.parent.name.startswith("."))


def _existing(name: str, folder: Path | None) -> Path:
    known = {path.name: path for path in _folders(folder)}
    if name not in known:
        usable = available(folder)
        choice = f"choose one of {listed(usable)}" if usable else "train one with `python -m engine.training RECIPE`"
        raise ConvscopeError(f"There is no checkpoint {quoted(name)}: {choice}.")
    return known[name]


# Networks ------------------------------------------------------------------------------------------------------


def load(name: str, folder: Path | None = None) -> Trained:
    """The network of checkpoint `name`.

    Raises:
        ConvscopeError: there is no such checkpoint, or its card or weights are missing, damaged or of another network;
            or it keeps only what was trained, and the rest, its base, is missing or another one.
    """
    path = _existing(name, folder)
    card = read_card(path)
    model = blank_of(card)
    weights = _read_weights(path / "weights.pt", card)
    try:
        fill_(model, with_rest(weights, model, card, folder))
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ConvscopeError(unusable(name, f"weights.pt does not fit a {card.architecture}")) from error
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise ConvscopeError(unusable(name, "weights.pt has numbers that are infinite, or none at all"))
    return Trained(freeze(model), card)


def blank_of(card: Card) -> nn.Module:
    """The network that `card` names, without numbers.

    Raises:
        ConvscopeError: there is no such network; then the card is not that of its weights.
    """
    try:
        return blank(card.architecture, num_classes=len(card.classes), **card.options)
    except ConvscopeError as error:
        options = f" with the options {quoted(card.options)}" if card.options else ""
        named = f"{quoted(card.architecture)}{options}, which cannot be built"
        why = f"its card names another network than its weights are of ({named})"
        raise ConvscopeError(unusable(card.name, why)) from error


def with_rest(
    weights: dict[str, Tensor], model: nn.Module, card: Card, folder: Path | None = None
) -> dict[str, Tensor]:
    """`weights`, completed by those of the base if the checkpoint keeps only what was trained.

    Raises:
        ConvscopeError: the base is missing, or another one.
    """
    if card.base and not weights.keys() >= model.state_dict().keys():
        return {**_base_of(card, folder, "keeps only what was trained").weights, **weights}
    return weights


def fill_(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a `blank` network its numbers, in single precision.

    Raises:
        RuntimeError, AttributeError, TypeError: they are another network's, or no weights at all.
    """
    single = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    kinds = {key: value.is_floating_point() for key, value in model.state_dict().items()}
    if wrong := [key for key, value in single.items() if value.is_floating_point() != kinds.get(key)]:
        raise TypeError(f"{quoted(wrong[0])} is missing in the network, or of another type")
    model.load_state_dict(with_versions(single, model), assign=True)


def with_versions(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """`weights` that say which version of its modules they are for: those of `model`. MNASNet loads no others."""
    versioned = OrderedDict(weights)
    versioned._metadata = model.state_dict()._metadata
    return versioned


@dataclass(frozen=True)
class Base:
    """Weights that a training starts from: a state dict, the SHA-256 of its file, the names of its classes, and whether
    they were trained with that option of torchvision's GoogLeNet and Inception.

    The last layer of weights for ImageNet knows other classes than any dataset here; their `classes` are empty.
    """

    weights: dict[str, Tensor]
    sha256: str
    classes: tuple[str, ...]
    transform_input: bool = False


def base(name: str, architecture: str, folder: Path | None = None) -> Base:
    """The weights `name`: of a checkpoint in `folder`, of a package, or torchvision's for `architecture`.

    Raises:
        ConvscopeError: they are not there, damaged, or torchvision has none for that architecture.
    """
    if name in PACKAGED:
        return Base(*PACKAGED[name](), classes=())
    if not name.startswith(PREFIX):
        trained = load(name, folder)
        transforms = bool(getattr(trained.model, TRANSFORM_INPUT, False))
        return Base(trained.model.state_dict(), trained.card.weights_sha256, trained.card.classes, transforms)
    fitting = ARCHITECTURES[architecture].torchvision
    if not fitting:
        raise ConvscopeError(f"Torchvision has no weights for {architecture!r}: start from a checkpoint of this app.")
    weights, fingerprint = pretrained(fitting, name.removeprefix(PREFIX))
    return Base(weights, fingerprint, (), takes_imagenet(fitting))


def _base_of(card: Card, folder: Path | None, what: str) -> Base:
    """The base of a checkpoint; `what` of the checkpoint needs it begins the sentence if it is not to be had."""
    start = f"The checkpoint {card.name!r} {what}, and its base {card.base!r}"
    try:
        found = base(card.base, card.architecture, folder)
    except ConvscopeError as error:
        raise ConvscopeError(f"{start} cannot be had: {error}") from error
    if card.base_sha256 not in ("", found.sha256):
        raise ConvscopeError(f"{start} is not the one that it was trained on: get both from the same place.")
    return found


def begin_with_(model: nn.Module, base: Base, classes: tuple[str, ...]) -> None:
    """Give `model` the weights of its base; the last layer keeps its own if the base knows other `classes`.

    Raises:
        RuntimeError: they are another network's.
    """
    last = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)][-1]
    own = {key: value for key, value in model.state_dict().items() if key.rpartition(".")[0] == last}
    model.load_state_dict(base.weights if base.classes == classes else {**base.weights, **own})


def untrained(name: str, folder: Path | None = None) -> Trained:
    """The network of checkpoint `name` before its training: with the random weights that its seed gives, or its base's.

    Raises:
        ConvscopeError: there is no such checkpoint, or its card is missing or damaged; or its base is.
    """
    card = read_card(_existing(name, folder))
    if parameter_count(blank_of(card)) > MOST_PARAMETERS:
        raise ConvscopeError(unusable(name, f"it would have more than {MOST_PARAMETERS:,} parameters"))
    with seeded(card.seed):
        model = build(card.architecture, num_classes=len(card.classes), **card.options)
        initialise_(model, card.initialisation)
    if card.base:
        started = _base_of(card, folder, "did not begin with random weights")
        try:
            begin_with_(model, started, card.classes)
        except RuntimeError as error:
            raise ConvscopeError(unusable(name, f"its base {card.base!r} is another network")) from error
    return Trained(freeze(model), card)


def freeze(model: nn.Module) -> nn.Module:
    """`model` in evaluation mode, with parameters that ask for no gradient, channels-last for speed."""
    model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    FROZEN.mark(model)
    return model


def _read_weights(path: Path, card: Card) -> dict[str, Tensor]:
    try:
        content = read_bytes(path, MOST_WEIGHTS)
    except OSError as error:
        raise ConvscopeError(unusable(card.name, f"weights.pt cannot be read ({error.strerror})")) from error
    except ValueError as error:
        raise ConvscopeError(unusable(card.name, f"weights.pt is too large: {error}")) from error
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise ConvscopeError(unusable(card.name, "weights.pt is damaged or not the file its card describes"))
    with damage_as(unusable(card.name, "weights.pt is no PyTorch weights file")):
        return read_tensors(io.BytesIO(content), MOST_WEIGHTS)


# Predictions ---------------------------------------------------------------------------------------------------


def predictions(name: str, folder: Path | None = None) -> StoredPredictions:
    """The logits stored with checkpoint `name`.

    Raises:
        ConvscopeError: there is no such checkpoint, or the file is missing or damaged.
    """
    file = _existing(name, folder) / "predictions.npz"
    if not file.exists():
        raise ConvscopeError(
            f"There are no stored predictions of {name!r} on the test images: choose a network trained on CIFAR-10."
        )
    classes = len(read_card(file.parent).classes)
    with damage_as(unusable(name, "predictions.npz is damaged")):
        stored = read_arrays(file)
        return StoredPredictions(*(_predictions(stored, prefix, classes) for prefix in ("", "val_")))


def _predictions(stored: dict[str, np.ndarray], prefix: str, classes: int) -> Predictions:
    logits, labels = (stored[f"{prefix}{key}"] for key in ("logits", "labels"))
    if logits.dtype.kind != "f" or labels.dtype.kind not in "iu":
        raise ValueError("they are no numbers")
    predictions = Predictions(logits.astype(np.float32), labels.astype(np.int64))
    known = bool(np.isin(predictions.labels, range(classes)).all())
    if logits.shape != (len(labels), classes) or labels.ndim != 1 or not np.isfinite(logits).all() or not known:
        raise ValueError("logits and labels do not belong together")
    return predictions
