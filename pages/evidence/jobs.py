"""Occlusions and sanity checks that go on while readers look at other pages, shared by all who ask for the same."""

from dataclasses import dataclass

import numpy as np
import streamlit as st
from torch import Tensor, nn

from engine import evidence, sanity
from engine.checkpoints import Trained
from engine.occlusion import Occlusion, occlude_in_steps
from engine.sanity import Check
from pages.common import resources
from pages.common.jobs import Job, Jobs
from pages.common.resources import View

FILLS = {"mean colour": None, "black": 0.0, "grey": 0.5, "white": 1.0}
"""What a square is filled with, as pixels in 0-1; the data's mean colour is 0 once it is normalised."""
GRAD_CAM = "Grad-CAM"


@dataclass(frozen=True)
class OcclusionSettings:
    """What is hidden, and how; small enough to be a key.

    Attributes:
        patch, stride: in pixels of the network's input.
        fill: a name in `FILLS`.
        channel: the map of the view's layer whose activity is measured as well.
    """

    view: View
    patch: int
    stride: int
    fill: str
    channel: int


class Occluding(Job):
    """A square that slides over an image.

    Attributes:
        found: what is known so far; None before the first squares.
    """

    def __init__(self, settings: OcclusionSettings, trained: Trained, image: Tensor) -> None:
        super().__init__()
        self._settings, self._trained, self._image = settings, trained, image
        self.found: Occlusion | None = None

    def _work(self) -> None:
        settings, card = self._settings, self._trained.card
        grey = FILLS[settings.fill]
        fill = 0.0 if grey is None else ((grey - np.array(card.mean)) / np.array(card.std)).tolist()
        for step in occlude_in_steps(
            self._trained.model,
            self._image,
            patch=settings.patch,
            stride=settings.stride,
            fill=fill,
            unit_map=(settings.view.layer, settings.channel),
        ):
            self.found = step
            self.advance(step.done, step.squares, "squares")


@dataclass(frozen=True)
class SanitySettings:
    """Which network, image and class are checked, with which random weights; Grad-CAM is that of the view's layer."""

    view: View
    label: int
    seed: int


class Checking(Job):
    """The maps of each method while the network becomes random from the top down.

    Attributes:
        checks: `{method: its maps}`, the trained network's first.
    """

    def __init__(self, settings: SanitySettings, trained: Trained, image: Tensor, stages: int) -> None:
        super().__init__()
        self._settings, self._trained, self._image, self._stages = settings, trained, image, stages
        self.checks: dict[str, list[Check]] = {}

    def _work(self) -> None:
        self.checks = {}
        steps = sanity.cascade(self._trained.model, self._heats, self._settings.seed)
        for done, step in enumerate(steps):
            self.checks = {name: [*self.checks.get(name, []), check] for name, check in step.items()}
            self.advance(done, self._stages, "stages made random")

    def _heats(self, model: nn.Module) -> dict[str, Tensor]:
        image, label, layer = self._image, self._settings.label, self._settings.view.layer
        coarse = evidence.grad_cam(model, image, layer, label)
        return {GRAD_CAM: evidence.enlarged(coarse, *image.shape[2:]), **evidence.heats_of_class(model, image, label)}


def occlusion_of(settings: OcclusionSettings) -> Occluding:
    """The one job with these settings, begun if nobody has begun or stopped it."""
    return _begun(_occlusions().get(settings, lambda: Occluding(settings, *_of(settings.view))))


def sanity_of(settings: SanitySettings) -> Checking:
    """The one job with these settings, begun if nobody has begun or stopped it."""
    stages = len(sanity.stages_from_the_top(resources.trained(settings.view.network).model))
    return _begun(_checks().get(settings, lambda: Checking(settings, *_of(settings.view), stages)))


def _begun(job: Job) -> Job:
    if not (job.alive or job.complete or job.stopped or job.error):
        job.start()
    return job


def _of(view: View) -> tuple[Trained, Tensor]:
    return resources.trained(view.network), resources.network_input(view)


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _occlusions() -> Jobs[Occluding]:
    return Jobs()


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _checks() -> Jobs[Checking]:
    return Jobs()
