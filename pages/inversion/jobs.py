"""Inversions that go on while readers look at other pages: one for each choice of settings, shared by all readers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import streamlit as st
from torch import Tensor

from engine import data, evaluation, inversion
from engine.evaluation import Answer
from engine.inversion import PRIORS, InversionStep
from engine.views import View
from pages.common import resources
from pages.common.jobs import Jobs, begun
from pages.common.network_job import NetworkJob

KEPT_BYTES = 4_000_000
"""About how much memory the pictures of one inversion may take; if they are larger, only every n-th step's is kept."""

FIRST_STEPS = 10
"""How many steps are taken as the page opens: about a second. The rest is for whoever asks for it."""


@dataclass(frozen=True)
class InversionSettings:
    """What is inverted, and how; small enough to be a key.

    Attributes:
        prior: a name in `engine.inversion.PRIORS`.
        channel: the one whose map is matched; None for the whole layer.
    """

    view: View
    prior: str
    channel: int | None
    steps: int
    seed: int


@dataclass(frozen=True)
class Measurement:
    """The numbers of one step: see `engine.inversion.InversionStep`; `psnr` of its pixels to the image's, in dB."""

    number: int
    loss: float
    terms: dict[str, float] = field(repr=False)
    error: float
    psnr: float


class Inversion(NetworkJob):
    """The descent with some settings.

    Attributes:
        measurements: one for every step so far, from step 0.
        pictures: `{step: uint8 [S, S, 3]}` of the steps that are kept, and of the last one.
        answer: the network's prediction for the last picture, once the descent is complete.
    """

    def __init__(self, settings: InversionSettings, image: Tensor, target: Tensor) -> None:
        super().__init__(settings.view.network)
        self._settings, self._target = settings, target
        self._original = self._pixels(image)
        steps_in_budget = KEPT_BYTES // (3 * settings.view.size**2)
        self._interval = math.ceil((settings.steps + 1) / max(1, steps_in_budget))
        self._clear()

    @property
    def is_begun(self) -> bool:
        """Whether there is something to see of it, or will be."""
        return bool(self.alive or self.measurements or self.error)

    def _clear(self) -> None:
        self.measurements: list[Measurement] = []
        self.pictures: dict[int, np.ndarray] = {}
        self.answer: Answer | None = None

    def _work(self) -> None:
        self._clear()
        for step in self._steps():
            self._keep(step)
            self.advance(step.number, self._settings.steps, "steps")
        self.answer = evaluation.answer(self.trained.model, step.image)

    def _steps(self) -> Iterator[InversionStep]:
        settings = self._settings
        return inversion.invert(
            self.trained.model,
            settings.view.layer,
            self._target,
            size=settings.view.size,
            prior=PRIORS[settings.prior],
            channel=settings.channel,
            steps=settings.steps,
            seed=settings.seed,
        )

    def _keep(self, step: InversionStep) -> None:
        card = self.trained.card
        kept = {number: picture for number, picture in self.pictures.items() if number % self._interval == 0}
        kept[step.number] = data.pixels_of(step.image, card.mean, card.std)[0]
        psnr = inversion.psnr(self._pixels(step.image), self._original)
        self.measurements.append(Measurement(step.number, step.loss, step.terms, step.error, psnr))
        self.pictures = kept  # a new one, since readers may be going through the old one

    def _pixels(self, image: Tensor) -> Tensor:
        return data.denormalised(image, self.trained.card.mean, self.trained.card.std)


def inversion_of(settings: InversionSettings) -> Inversion:
    """The one job with these settings."""
    return _inversions().get(settings, lambda: _inversion(settings))


def inversion_begun(settings: InversionSettings) -> Inversion:
    """The same, begun if it is neither done nor at work."""
    return begun(inversion_of(settings), anew=True)


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _inversions() -> Jobs[Inversion]:
    return Jobs()


def _inversion(settings: InversionSettings) -> Inversion:
    target = resources.recording(settings.view).activation
    return Inversion(settings, resources.network_input(settings.view), target)
