"""Views: which layer of which network is looked at, on which image, at which input size.

What a link leaves out gets its usual value, which is the same on a page and on a lecture's worksheet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.checkpoints import Card
from engine.models import ARCHITECTURES
from engine.weights import Weights

USUAL_NETWORK = "resnet18"
PHOTOGRAPHS = "photographs"
"""A split that is no data set: the shipped photographs."""
LARGER_SIZES = (64, 128, 224)
"""Input sizes in pixels at which a network can be looked at, besides its own."""


@dataclass(frozen=True)
class View:
    """Which layer of which network is looked at, on which image, at which input size; small enough to be a key.

    Attributes:
        network: which weights of which network.
        layer: a friendly name.
        split: where the image comes from: "test", "train", `PHOTOGRAPHS`, or what a page knows besides; `index`: its
            number there.
        size: the side of the input in pixels.
    """

    network: Weights
    layer: str
    split: str
    index: int
    size: int


def usual_layer(card: Card, layers: Sequence[str], plays_back: bool) -> str:
    """The one of a network's `layers` to look at first: the last one, unless it has a better one to play back from."""
    first = ARCHITECTURES[card.architecture].played_back_from if plays_back else ""
    return first or layers[-1]


def sizes(card: Card) -> tuple[int, ...]:
    """The input sizes to look at; a network with a dense layer on its maps has only its own."""
    own = card.input_size
    return (own,) if ARCHITECTURES[card.architecture].fixed_input else tuple(sorted({own, *LARGER_SIZES}))


def another_class(classes: Sequence[str], truth: str | None) -> str:
    """The usual class of a second image, beside one of the class `truth` (None: nobody has said it)."""
    return next(name for name in reversed(classes) if name != truth)
