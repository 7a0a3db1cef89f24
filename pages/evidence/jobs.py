"""Occlusions and sanity checks that go on while readers look at other pages, shared by all who ask for the same."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import streamlit as st
from torch import Tensor, nn

from engine import adversarial, evidence, invariance, lesions, probes, sanity
from engine.accuracy.figures import accuracy
from engine.accuracy.predictions import Predictions
from engine.data import LabelledImages, first_of_each_class, prepare
from engine.invariance import Curve
from engine.lesions import Patient, evaluate_without_branch
from engine.occlusion import Occlusion, occlude_in_steps
from engine.probes import Probes
from engine.sanity import Check
from engine.views import View
from engine.weights import TRAINED, Weights
from pages.common import resources
from pages.common.jobs import Jobs, begun
from pages.common.kept import keep
from pages.common.network_job import NetworkJob
from pages.common.selection import BUNDLED

FILLS = {"mean colour": None, "black": 0.0, "grey": 0.5, "white": 1.0}
"""What a square is filled with, as pixels in 0-1; the mean colour, which is subtracted, is 0 then."""
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


class Occluding(NetworkJob):
    """A square that slides over an image.

    Attributes:
        found: what is known so far; None before the first squares.
    """

    def __init__(self, settings: OcclusionSettings) -> None:
        super().__init__(settings.view.network)
        self._settings, self._image = settings, resources.network_input(settings.view)
        self.found: Occlusion | None = None

    def _work(self) -> None:
        settings, card = self._settings, self.trained.card
        grey = FILLS[settings.fill]
        fill = 0.0 if grey is None else ((grey - np.array(card.mean)) / np.array(card.std)).tolist()
        for step in occlude_in_steps(
            self.trained.model,
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


class Checking(NetworkJob):
    """The maps of each method while the network becomes random from the top down.

    Attributes:
        checks: `{method: its maps}`, the trained network's first.
    """

    def __init__(self, settings: SanitySettings) -> None:
        super().__init__(settings.view.network)
        self._settings, self._image = settings, resources.network_input(settings.view)
        self._stages = len(sanity.stages_from_the_top(self.trained.model))
        self.checks: dict[str, list[Check]] = {}

    def _work(self) -> None:
        self.checks = {}
        steps = sanity.cascade(self.trained.model, self._heats, self._settings.seed)
        for done, step in enumerate(steps):
            self.checks = {name: [*self.checks.get(name, []), check] for name, check in step.items()}
            self.advance(done, self._stages, "stages made random")

    def _heats(self, model: nn.Module) -> dict[str, Tensor]:
        image, label, layer = self._image, self._settings.label, self._settings.view.layer
        coarse = evidence.grad_cam(model, image, layer, label)
        return {GRAD_CAM: evidence.enlarged(coarse, *image.shape[2:]), **evidence.heats_of_class(model, image, label)}


EPSILONS = (0, 0.5, 1, 2, 4, 8)
"""Of the accuracy curve, on the scale of 8-bit pixels."""
ATTACKED = 20
"""How many test images of each class are attacked for it."""


@dataclass(frozen=True)
class Attack:
    """What is done to the view's image; small enough to be a key.

    Attributes:
        label: the class that the answer leaves; `target`: the one it is led to, None for any.
        level: epsilon on the scale of 8-bit pixels.
    """

    view: View
    label: int
    level: float
    steps: int
    target: int | None


@dataclass(frozen=True)
class AttackSettings:
    """Which network is attacked on the test images, in how many steps."""

    network: Weights
    steps: int


class Attacking(NetworkJob):
    """Many images, perturbed.

    Attributes:
        accuracies: for each of `EPSILONS`, once all is done.
    """

    def __init__(self, settings: AttackSettings, test: LabelledImages) -> None:
        super().__init__(settings.network)
        self._settings = settings
        self._test = test.subset(first_of_each_class(test.labels, ATTACKED))
        self.accuracies: list[float] = []

    def _work(self) -> None:
        self.accuracies = []
        card, labels = self.trained.card, self._test.labels
        found = adversarial.accuracy_curve(
            self.trained.model,
            prepare(self._test.images, card.input_size, card.mean, card.std),
            labels,
            [level / 255 for level in EPSILONS],
            std=card.std,
            mean=card.mean,
            steps=self._settings.steps,
            on_batch=lambda done: self.advance(done, len(labels), "images"),
        )
        self.accuracies = [accuracy(predictions).value for predictions in found]


@dataclass(frozen=True)
class MovingSettings:
    """Which images (as views of one network) are moved, how, and the layers whose features are compared."""

    views: tuple[View, ...]
    kind: str
    amounts: tuple[float, ...]
    layers: tuple[str, str]


class Moving(NetworkJob):
    """Images that are moved step by step.

    Attributes:
        images: each view with the class whose probability is followed: the image's, or else the predicted one.
        curves: one for each image so far.
    """

    def __init__(self, settings: MovingSettings, inputs: list[Tensor], labels: list[int]) -> None:
        super().__init__(settings.views[0].network)
        self.settings, self._inputs = settings, inputs
        self.images = list(zip(settings.views, labels, strict=True))
        self.curves: list[Curve] = []

    def _work(self) -> None:
        self.curves = []
        settings = self.settings
        for done, image in enumerate(self._inputs, 1):
            found = invariance.curve(self.trained.model, image, settings.kind, settings.amounts, settings.layers)
            self.curves = [*self.curves, found]
            self.advance(done, len(self._inputs), "images")


EXAMINED, EXAMINED_BYTES = 100, 50_000_000
"""How many test images of each class a network with a lesion is tried on, and how much memory all may take."""


@dataclass(frozen=True)
class Lesion:
    """What is switched off: channels of a layer, or one branch of a residual block; nothing, for comparison."""

    layer: str
    channels: tuple[int, ...] = ()
    block: str = ""
    branch: str = ""


class Operating(NetworkJob):
    """One network and layer, tried on test images with one lesion after the other.

    Attributes:
        of_each_class: how many test images it is tried on.
        found: the predictions with each lesion so far; the first is that of the whole network.
    """

    def __init__(self, network: Weights, layer: str, test: LabelledImages) -> None:
        super().__init__(network)
        self._layer = layer
        at_most = EXAMINED_BYTES // (len(test.classes) * 3 * 4 * self.trained.card.input_size**2)
        self.of_each_class = max(1, min(EXAMINED, at_most))
        self._test, self._indices = test, first_of_each_class(test.labels, self.of_each_class)
        self._asked: list[Lesion] = []
        self.found: dict[Lesion, Predictions] = {}

    def ask(self, lesion: Lesion) -> None:
        """Begin with a lesion, unless it is done, at work, or a reader has stopped this one."""
        if lesion in self.found:
            return
        is_new = lesion not in self._asked
        if is_new:
            self._asked = [lesion, *self._asked]
        if is_new or not (self.alive or self.stopped or self.error):
            self.start()

    def _work(self) -> None:
        while self._asked:
            lesion = self._asked[0]
            for one in (Lesion(self._layer), lesion):
                if one not in self.found:
                    self.found = {**self.found, one: self._predictions(one)}
            self._asked = [other for other in self._asked if other != lesion]

    def _predictions(self, lesion: Lesion) -> Predictions:
        labels = self._test.labels[self._indices]
        if lesion.branch:
            return evaluate_without_branch(
                self.trained.model, self._inputs(), labels, lesion.block, lesion.branch, on_batch=self._note
            )
        of_what = self._network, self._layer, self.of_each_class
        return _patient(*of_what, self._inputs, labels, self._note).without(lesion.channels, self._note)

    def _inputs(self) -> Tensor:
        card = self.trained.card
        return prepare(self._test.images[self._indices], card.input_size, card.mean, card.std)

    def _note(self, done: int) -> None:
        self.advance(done, len(self._indices), "images")


@keep("Running the network …")
def _patient(
    network: Weights,
    layer: str,
    of_each_class: int,
    _inputs: Callable[[], Tensor],
    _labels: np.ndarray,
    _on_batch: Callable[[int], None],
) -> Patient:
    """A network halted at a layer on so many test images of each class: up to 100 MB, so it may have to go."""
    return lesions.prepare(resources.trained(network).model, _inputs(), _labels, layer, on_batch=_on_batch)


class Probing(NetworkJob):
    """Linear probes, fitted to one stage after the other.

    Attributes:
        found: the probes so far; None before the first one.
    """

    def __init__(self, network: Weights) -> None:
        super().__init__(network)
        self.found: Probes | None = None

    def _work(self) -> None:
        trained = self.trained
        images, layers = 20 * probes.PER_CLASS, len(probes.layers_to_probe(trained.model)) + 1
        for step in probes.probe_in_steps(trained, on_batch=lambda done: self.advance(done, images + 1, "images")):
            self.found = step
            self.advance(len(step.readings), layers, "probes")


def probing(network: Weights) -> Probing:
    """The one job on this network; a reader begins it."""
    return _probings().get(network, lambda: Probing(network))


def stored_probes(network: Weights) -> Probes | None:
    """The results that are stored with a trained network, if there are any."""
    path = probes.path_of(network.checkpoint)
    if network.moment != TRAINED or not path.exists():
        return None
    return _stored_probes(network, path.stat().st_mtime_ns)


@st.cache_resource(max_entries=32, show_spinner=False)
def _stored_probes(network: Weights, changed: int) -> Probes | None:
    return probes.load(resources.trained(network))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _probings() -> Jobs[Probing]:
    return Jobs()


def operation_on(network: Weights, layer: str) -> Operating:
    """The one job on this network and layer; a reader asks it for lesions."""
    return _operations().get((network, layer), lambda: Operating(network, layer, resources.images("test")))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _operations() -> Jobs[Operating]:
    return Jobs()


def attacks_of(settings: AttackSettings) -> Attacking:
    """The one job with these settings; a reader begins it."""
    return _attacks().get(settings, lambda: Attacking(settings, resources.images("test")))


def moving_of(settings: MovingSettings) -> Moving:
    """The one job with these settings, begun if it is neither done nor at work."""
    return begun(_movings().get(settings, lambda: _moving(settings)), anew=True)


def _moving(settings: MovingSettings) -> Moving:
    labels = [_label(view) for view in settings.views]
    inputs = [resources.network_input(view) for view in settings.views]
    return Moving(settings, inputs, labels)


def _label(view: View) -> int:
    """The image's class, if its data set's classes are the network's; else the predicted one."""
    classes = resources.trained(view.network).card.classes
    if view.split in BUNDLED and tuple(resources.images(view.split).classes) == tuple(classes):
        return int(resources.images(view.split).labels[view.index])
    return resources.answer(view).classes[0]


def occlusion_of(settings: OcclusionSettings, anew: bool = False) -> Occluding:
    """The one job with these settings, begun if nobody has begun or stopped it; `anew`: also one that has stopped."""
    return begun(_occlusions().get(settings, lambda: Occluding(settings)), anew)


def sanity_of(settings: SanitySettings) -> Checking:
    """The one job with these settings, begun if nobody has begun or stopped it."""
    return begun(_checks().get(settings, lambda: Checking(settings)))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _occlusions() -> Jobs[Occluding]:
    return Jobs()


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _attacks() -> Jobs[Attacking]:
    return Jobs()


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _movings() -> Jobs[Moving]:
    return Jobs()


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _checks() -> Jobs[Checking]:
    return Jobs()
