"""All networks at once: what accuracy costs, in parameters and in multiply-adds.

The size of a network is its number of trained parameters. The work for one image is counted in multiply-adds: one
multiplication and one addition, of which a convolution with k x k kernels, C_in input and C_out output maps of
H x W points needs

    k^2 C_in C_out H W

(half of what is called floating-point operations). Batch norm, ReLU and pooling are left out, as is usual: they are few
beside the convolutions. Memory traffic is left out too, so equal work may still take unequal time.

Experiments are trained like checkpoints and keep everything but their weights, so they are listed here as well.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine import checkpoints, network, settings
from engine.accuracy.figures import Share, accuracy
from engine.checkpoints import Card, StoredPredictions


@dataclass(frozen=True)
class Candidate:
    """A trained network with stored predictions: a checkpoint, or an experiment without weights.

    Attributes:
        folder: where its own folder lies.
        experiment: whether it is an experiment.
    """

    card: Card
    folder: Path
    experiment: bool

    def predictions(self) -> StoredPredictions:
        """Its stored logits; raises ConvscopeError if the file is missing or damaged."""
        return checkpoints.predictions(self.card.name, self.folder)


def candidates() -> dict[str, Candidate]:
    """All checkpoints and experiments by name; a checkpoint comes before an experiment of the same name."""
    shipped, experiments = settings.folders.checkpoints, settings.folders.experiments
    own = {name: Candidate(card, shipped, False) for name, card in checkpoints.available(shipped).items()}
    others = {name: Candidate(card, experiments, True) for name, card in checkpoints.available(experiments).items()}
    return own | {name: candidate for name, candidate in others.items() if name not in own}


def multiply_adds(card: Card) -> int:
    """How many multiply-adds the card's network needs for one image of its input size.

    Raises:
        ConvscopeError: the card names an architecture that there is not.
    """
    return _multiply_adds(card.architecture, len(card.classes), card.input_size, json.dumps(card.options))


@lru_cache(maxsize=256)
def _multiply_adds(architecture: str, num_classes: int, input_size: int, options: str) -> int:
    """Experiments have few architectures among them, and each takes a tenth of a second."""
    model = network.shapes_only(architecture, num_classes, input_size, json.loads(options))
    return network.describe(model, input_size).multiply_adds


@dataclass(frozen=True)
class NetworkEntry:
    """One network among all: its accuracy on the test images with its interval, and what that costs."""

    name: str
    experiment: bool
    accuracy: Share
    parameters: int
    multiply_adds: int


def entry(candidate: Candidate) -> NetworkEntry:
    """The figures of one candidate.

    Raises:
        ConvscopeError: its stored predictions are missing or damaged, or its architecture is unknown.
    """
    card, share = candidate.card, accuracy(candidate.predictions().test)
    return NetworkEntry(card.name, candidate.experiment, share, card.parameters, multiply_adds(card))
