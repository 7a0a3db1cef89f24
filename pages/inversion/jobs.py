"""Inversions that go on while readers look at other pages, one for each request, shared by all who ask for it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import streamlit as st
from torch import Tensor

from engine import data, evaluation, inversion
from engine.checkpoints import Trained
from engine.evaluation import Answer
from engine.inversion import PRIORS, Step
from pages.common import resources
from pages.common.jobs import Job, Jobs
from pages.common.resources import View

KEPT_BYTES = 4_000_000
"""About how much memory the pictures of one inversion may take; of larger ones only every so manieth is kept."""


@dataclass(frozen=True)
class Request:
    """What is to be inverted, and how; small enough to be a key.

    Attributes:
        prior: a name in `engine.inversion.PRIORS`.
        channel: the one that is matched; None for the whole layer.
    """

    view: View
    prior: str
    channel: int | None
    steps: int
    seed: int


@dataclass(frozen=True)
class Measured:
    """The numbers of one step: see `engine.inversion.Step`; `psnr` in dB to the original, of the pixels shown."""

    number: int
    loss: float
    terms: dict[str, float] = field(repr=False)
    error: float
    psnr: float


class Inversion(Job):
    """The descent of one request.

    Attributes:
        measured: the numbers of every step so far, from step 0.
        pictures: `{step: uint8 [S, S, 3]}` of those that were kept, and of the last one.
        answer: what the network says of the last picture, once the descent has ended by itself.
    """

    def __init__(self, request: Request, trained: Trained, image: Tensor, target: Tensor) -> None:
        super().__init__()
        self._request, self._trained, self._target = request, trained, target
        self._original = self._pixels(image)
        steps_in_budget = KEPT_BYTES // (3 * request.view.size**2)
        self._every = math.ceil((request.steps + 1) / max(1, steps_in_budget))
        self._clear()

    def _clear(self) -> None:
        self.measured: list[Measured] = []
        self.pictures: dict[int, np.ndarray] = {}
        self.answer: Answer | None = None

    def _work(self) -> None:
        self._clear()
        for step in self._steps():
            self._keep(step)
            self.advance(step.number, self._request.steps, "steps")
        self.answer = evaluation.answer(self._trained.model, step.image)

    def _steps(self) -> Iterator[Step]:
        request = self._request
        return inversion.invert(
            self._trained.model,
            request.view.layer,
            self._target,
            size=request.view.size,
            prior=PRIORS[request.prior],
            channel=request.channel,
            steps=request.steps,
            seed=request.seed,
        )

    def _keep(self, step: Step) -> None:
        card = self._trained.card
        kept = {number: shown for number, shown in self.pictures.items() if number % self._every == 0}
        kept[step.number] = data.pixels_of(step.image, card.mean, card.std)[0]
        nearness = inversion.psnr(self._pixels(step.image), self._original)
        self.measured.append(Measured(step.number, step.loss, step.terms, step.error, nearness))
        self.pictures = kept  # a new one, since readers may be going through the old one

    def _pixels(self, image: Tensor) -> Tensor:
        return data.denormalised(image, self._trained.card.mean, self._trained.card.std)


def inversion_of(request: Request) -> Inversion:
    """The one job for a request."""
    return _inversions().get(request, lambda: _inversion(request))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _inversions() -> Jobs[Inversion]:
    return Jobs()


def _inversion(request: Request) -> Inversion:
    trained = resources.trained(request.view.network)
    target = resources.recording(request.view).activation
    return Inversion(request, trained, resources.network_input(request.view), target)
