"""Work for the Network page that goes on while readers look at other pages, shared by all who ask for the same."""

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from engine import effective_field
from engine.batch_statistics import DRAWS, SIZES, STEPS, Watched, watch_in_steps
from engine.data import first_of_each_class, prepare
from engine.effective_field import EffectiveField
from engine.views import View
from engine.weights import Weights
from pages.common import resources
from pages.common.jobs import Jobs, begun
from pages.common.network_job import NetworkJob

PER_CLASS = 10
"""How many test images of each class."""


@dataclass(frozen=True)
class FieldSettings:
    """Which layers' effective receptive fields are measured, at which input size; small enough to be a key."""

    network: Weights
    layers: tuple[str, ...]
    size: int


class MeasuringFields(NetworkJob):
    """Effective receptive fields over test images.

    Attributes:
        found: the fields over the images so far, by layer.
    """

    def __init__(self, settings: FieldSettings) -> None:
        super().__init__(settings.network)
        test = resources.images("test")
        self._settings = settings
        self._images = test.images[first_of_each_class(test.labels, PER_CLASS)]
        self.found: Mapping[str, EffectiveField] = {}

    def _work(self) -> None:
        card, settings = self.trained.card, self._settings
        images = prepare(self._images, settings.size, card.mean, card.std)
        for step in effective_field.measure_in_steps(self.trained.model, images, settings.layers):
            self.found = step
            self.advance(next(iter(step.values())).images, len(images), "images")


DRAWN = 50
"""How many test images of each class batches are drawn from."""


@dataclass(frozen=True)
class BatchSettings:
    """Which batch norm is watched, and which image (of a view) is put into batches; small enough to be a key."""

    view: View
    norm: str
    label: int
    seed: int


class WatchingBatches(NetworkJob):
    """Batches of several sizes, in training mode.

    Attributes:
        found: one for each size so far.
    """

    def __init__(self, settings: BatchSettings) -> None:
        super().__init__(settings.view.network)
        test = resources.images("test")
        self._settings = settings
        self._drawn = test.subset(first_of_each_class(test.labels, DRAWN))
        self._image = resources.network_input(settings.view)
        self._done, self.found = 0, tuple[Watched, ...]()

    def _work(self) -> None:
        card, settings, self._done = self.trained.card, self._settings, 0
        images = prepare(self._drawn.images, card.input_size, card.mean, card.std)
        for step in watch_in_steps(
            self.trained.model,
            images,
            self._drawn.labels,
            self._image,
            settings.label,
            settings.norm,
            sizes=SIZES,
            steps=STEPS,
            draws=DRAWS,
            seed=settings.seed,
            on_batch=self._note,
        ):
            self.found = step

    def _note(self) -> None:
        self.advance(self._done, len(SIZES) * (STEPS + DRAWS), "batches")
        self._done += 1


def batches_of(settings: BatchSettings) -> WatchingBatches:
    """The one job with these settings, begun if nobody has begun or stopped it."""
    return begun(_batches().get(settings, lambda: WatchingBatches(settings)))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _batches() -> Jobs[WatchingBatches]:
    return Jobs()


def fields_of(settings: FieldSettings) -> MeasuringFields:
    """The one job with these settings, begun if nobody has begun or stopped it."""
    return begun(_measurements().get(settings, lambda: MeasuringFields(settings)))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _measurements() -> Jobs[MeasuringFields]:
    return Jobs()
