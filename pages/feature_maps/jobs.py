"""Work for the Feature maps page that goes on while readers look at other pages, shared by all who ask for the same."""

from dataclasses import dataclass

import streamlit as st

from engine import inactivity, patch_sheets, tape
from engine.data import first_of_each_class, prepare
from engine.inactivity import Inactivity
from engine.patch_sheets import Nine
from engine.patches import TopPatches
from engine.weights import Weights
from pages.common import resources
from pages.common.jobs import Jobs, begun
from pages.common.network_job import NetworkJob


@dataclass(frozen=True)
class ManyMaps:
    """Which maps stand on a sheet, and how; small enough to be a key."""

    network: Weights
    layer: str
    channels: tuple[int, ...]
    batch_norm: bool
    crop: str


class PlayingMany(NetworkJob):
    """The patches of many maps, and the reconstruction from each.

    Attributes:
        nines: one for each map so far.
    """

    def __init__(self, settings: ManyMaps, top: TopPatches) -> None:
        super().__init__(settings.network)
        self._settings, self._top, self._test = settings, top, resources.images("test")
        self.nines: list[Nine] = []

    def _work(self) -> None:
        self.nines, settings = [], self._settings
        seen, rules = resources.field(settings.network, settings.layer), {"batch_norm": settings.batch_norm}
        for done, channel in enumerate(settings.channels, 1):
            nine = patch_sheets.nine_of(
                self.trained, settings.layer, seen, self._top, channel, self._test.images, settings.crop, **rules
            )
            self.nines = [*self.nines, nine]
            self.advance(done, len(settings.channels), "maps")


def playing(settings: ManyMaps, top: TopPatches) -> PlayingMany:
    """The one job with these settings, begun if nobody has begun or stopped it."""
    return begun(_playing().get(settings, lambda: PlayingMany(settings, top)))


COUNTED = 10
"""How many test images of each class inactive units are counted on."""


class Counting(NetworkJob):
    """Inactive units over many images.

    Attributes:
        counted: each layer's, over the images so far.
    """

    def __init__(self, network: Weights) -> None:
        super().__init__(network)
        test = resources.images("test")
        self._images = test.images[first_of_each_class(test.labels, COUNTED)]
        self.counted: tuple[Inactivity, ...] = ()

    def _work(self) -> None:
        card, model = self.trained.card, self.trained.model
        images = prepare(self._images, card.input_size, card.mean, card.std)
        for step in inactivity.count_in_steps(model, images, list(tape.layers(model))):
            self.counted = step
            self.advance(step[0].images, len(images), "images")


def counting(network: Weights) -> Counting:
    """The one job on this network; a reader begins it."""
    return _counts().get(network, lambda: Counting(network))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _counts() -> Jobs[Counting]:
    return Jobs()


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _playing() -> Jobs[PlayingMany]:
    return Jobs()
