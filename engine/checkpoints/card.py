"""A checkpoint's card: what the network is, how it was trained, and what its run measured."""

import math
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, get_type_hints

from engine.accuracy.figures import Share, wilson
from engine.data import LONGEST_CLASS, MOST_CLASSES
from engine.errors import ConvscopeError
from engine.stored import fits, read_json

SIZES = range(8, 1025)
LONGEST = 200
"""Letters of a wrong value that a sentence shows."""


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

    @property
    def test_share(self) -> Share:
        """The test accuracy with its 95 % interval; NaN if nothing was measured."""
        hits = round(self.test_accuracy * self.test_images) if self.test_images else 0
        return wilson(hits, self.test_images)


def foreign_card(**known: Any) -> Card:
    """The card of a network that was trained elsewhere: nothing else is known of its training or its accuracy."""
    training = {"recipe": "", "epochs": 0, "best_epoch": 0, "seed": 0, "weights_sha256": ""}
    figures = {"test_images": 0, "test_accuracy": math.nan, "test_loss": math.nan}
    return Card(**{**training, **figures, **known})


def read_card(path: Path) -> Card:
    """The card in the checkpoint folder `path`; its file is read once, and again when it has changed.

    Raises:
        ConvscopeError: it is missing, damaged, or lacks an entry.
    """
    try:
        return _parsed(path / "card.json", version(path / "card.json"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConvscopeError(unusable(path.name, f"card.json is missing or damaged ({error})")) from error


def version(file: Path) -> tuple[int, int, int]:
    """Changes with a file's content: its time and size, and its inode, since files are replaced whole."""
    entry = file.stat()
    return entry.st_mtime_ns, entry.st_size, entry.st_ino


@lru_cache(maxsize=256)
def _parsed(file: Path, version: tuple[int, int, int]) -> Card:
    stored = read_json(file)
    # Cards that are older than an entry have its default.
    usual = {field.name: field.default for field in fields(Card) if field.default is not MISSING}
    values = {field.name: {**usual, **stored}[field.name] for field in fields(Card)}
    for key, hint in get_type_hints(Card).items():
        if not fits(values[key], hint):
            raise TypeError(f"{key} is {repr(values[key])[:LONGEST]}")
    sequences = {key: tuple(values[key]) for key in ("classes", "mean", "std")}
    card = Card(**{**values, **sequences, "name": file.parent.name})
    if wrong := impossible(card):
        raise ValueError(wrong)
    return card


def impossible(card: Card) -> str:
    """The first of the values, of the right types, that cannot be, such as "epochs is -1"; empty if all can."""
    wrong = [key for key, right in _checks(card).items() if not right]
    return f"{wrong[0]} is {repr(getattr(card, wrong[0]))[:LONGEST]}" if wrong else ""


def _checks(card: Card) -> dict[str, bool]:
    """Whether the values, of the right types, are possible, by field."""
    counts = ("epochs", "best_epoch", "seed", "parameters", "test_images")
    return {
        "classes": 0 < len(card.classes) <= MOST_CLASSES and max(map(len, card.classes)) <= LONGEST_CLASS,
        "input_size": card.input_size in SIZES,
        "mean": len(card.mean) == 3 and all(map(math.isfinite, card.mean)),
        "std": len(card.std) == 3 and all(0 < value < math.inf for value in card.std),
        "test_accuracy": not (card.test_accuracy < 0 or card.test_accuracy > 1),
        **{key: 0 <= getattr(card, key) < 1 << 53 for key in counts},
    }


def unusable(name: str, reason: str) -> str:
    """The sentence for a person whose checkpoint `name` is damaged."""
    return (
        f"The checkpoint {name!r} cannot be used: {reason}. "
        f"Get it again with `git checkout -- checkpoints/{name}`, or choose another one."
    )
