"""Work for the Network page that goes on while readers look at other pages, shared by all who ask for the same."""

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from engine import effective_field
from engine.data import first_of_each_class, prepare
from engine.effective_field import EffectiveField
from engine.weights import Weights
from pages.common import resources
from pages.common.jobs import Job, Jobs

PER_CLASS = 10
"""How many test images of each class."""


@dataclass(frozen=True)
class FieldSettings:
    """Which layers' effective receptive fields are measured, at which input size; small enough to be a key."""

    network: Weights
    layers: tuple[str, ...]
    size: int


class MeasuringFields(Job):
    """Effective receptive fields over test images.

    Attributes:
        found: the fields over the images so far, by layer.
    """

    def __init__(self, settings: FieldSettings) -> None:
        super().__init__()
        test = resources.images("test")
        self._settings, self._trained = settings, resources.trained(settings.network)
        self._images = test.images[first_of_each_class(test.labels, PER_CLASS)]
        self.found: Mapping[str, EffectiveField] = {}

    def _work(self) -> None:
        card, settings = self._trained.card, self._settings
        images = prepare(self._images, settings.size, card.mean, card.std)
        for step in effective_field.measure_in_steps(self._trained.model, images, settings.layers):
            self.found = step
            self.advance(next(iter(step.values())).images, len(images), "images")


def fields_of(settings: FieldSettings) -> MeasuringFields:
    """The one job with these settings, begun if nobody has begun or stopped it."""
    job = _measurements().get(settings, lambda: MeasuringFields(settings))
    if not (job.alive or job.complete or job.error or job.stopped):
        job.start()
    return job


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _measurements() -> Jobs[MeasuringFields]:
    return Jobs()
