"""Which weights of which network: as its training left them, before it, or after some of its epochs; how to load them.

A network is a checkpoint of this app, or one of torchvision's that is on this machine.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from engine import checkpoints, pretrained, settings
from engine.checkpoints import Card, Trained, states
from engine.errors import ConvscopeError, listed, quoted
from engine.names import checked_name

TRAINED, UNTRAINED = "trained", "untrained"
"""The two ends of a training; a moment between them is the number of epochs that were done, such as "4"."""


@dataclass(frozen=True)
class Weights:
    """The weights of a network at one moment of its training; small enough to be a key.

    Attributes:
        checkpoint: the network's name.
        moment: `TRAINED`; `UNTRAINED`, what its training began with: random weights, or those of its base; or one of
            its `states`: how many epochs were done.
        sha256: of the file of the trained weights. It tells a checkpoint from another one that replaces it under the
            same name: whatever is kept under this key is never of other weights.
    """

    checkpoint: str
    moment: str
    sha256: str

    @staticmethod
    def of(card: Card, moment: str = TRAINED) -> "Weights":
        """The weights of the network that `card` describes."""
        return Weights(card.name, moment, card.weights_sha256)

    def __str__(self) -> str:
        return self.checkpoint if self.moment == TRAINED else f"{self.checkpoint} {when(self.moment)}"

    @property
    def file_name(self) -> str:
        """What a file about them is called, without its ending."""
        ends = {TRAINED: "", UNTRAINED: f"-{UNTRAINED}"}
        return self.checkpoint + ends.get(self.moment, f"-epoch-{self.moment}")

    def at(self, moment: str) -> "Weights":
        """The same network at another moment."""
        return replace(self, moment=moment)


def when(moment: str) -> str:
    """A moment in words."""
    return {TRAINED: TRAINED, UNTRAINED: "before training"}.get(moment, f"after epoch {moment}")


def moments(name: str) -> tuple[str, ...]:
    """The moments at which network `name` can be looked at, in their order."""
    return UNTRAINED, *map(str, states.epochs(name)), TRAINED


def cards() -> dict[str, Card]:
    """The cards of all networks on this machine, by name."""
    return {**checkpoints.available(), **pretrained.available()}


def find(name: str, moment: str = TRAINED) -> Weights:
    """The weights that network `name` has now.

    Raises:
        ConvscopeError: there is no such network, its card is damaged, or it has no such moment.
    """
    if moment not in moments(name):
        raise ConvscopeError(f"The network {name!r} has no weights {quoted(moment)}: choose {listed(moments(name))}.")
    card = pretrained.read_card(name) if is_pretrained(name) else _card(name)
    return Weights.of(card, moment)


def _card(checkpoint: str) -> Card:
    return checkpoints.read_card(settings.folders.checkpoints / checkpoint)


def is_pretrained(name: str) -> bool:
    """Whether a network is one of torchvision's, which the app has neither trained nor tested."""
    return name in pretrained.NETWORKS


def check_free(name: str, folder: Path, how: str = "") -> None:
    """Nothing, if a new network in `folder` may be called `name`; small letters and capitals are the same.

    Args:
        how: ends the sentence "choose another name", such as " with --as".

    Raises:
        ConvscopeError: it cannot be a name; or a network, an experiment or one of torchvision's is called so, which
            the new one would hide.
    """
    known = [*pretrained.NETWORKS, *_names_in(folder), *_names_in(settings.folders.experiments)]
    if checked_name(name).casefold() in [other.casefold() for other in known]:
        raise ConvscopeError(f"There is a network called {name!r} already: choose another name{how}.")


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def load(weights: Weights) -> Trained:
    """The network with these weights, in evaluation mode, frozen.

    Raises:
        ConvscopeError: there are no such weights, they are damaged, or others have replaced them.
    """
    name, moment = weights.checkpoint, weights.moment
    source = pretrained if is_pretrained(name) else checkpoints
    if moment in (TRAINED, UNTRAINED):
        trained = source.load(name) if moment == TRAINED else source.untrained(name)
    else:
        trained = states.load(name, int(moment))
    if trained.card.weights_sha256 != weights.sha256:
        raise ConvscopeError(f"The network {name!r} has just been replaced by another one: load the page again.")
    return trained
