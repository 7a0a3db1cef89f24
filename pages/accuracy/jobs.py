"""Runs of a network on images for the Accuracy page's Live view: they take turns, are watched, and can be stopped.

A run on all test images is shared by all sessions, as it takes long. A run on perturbed images or on a reader's own
ones belongs to a session, and stops when its reader asks for another: whoever drags a slider leaves no trail of runs
behind. The predictions of runs on perturbed images are kept for everybody, up to a limit.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
import streamlit as st

from engine.accuracy.predictions import Predictions
from engine.data import LabelledImages, perturbations
from engine.data.archives import OnPicture
from engine.evaluation import evaluate
from engine.weights import Weights
from pages.common import resources
from pages.common.jobs import Job
from pages.common.network_job import NetworkJob

BATCH = 50
KEPT = 512
"""How many runs' predictions are kept, the latest; those of 1,000 images take 50 kB."""
Decode = Callable[[OnPicture], tuple[LabelledImages, tuple[str, ...]]]
"""Decodes an archive: gives its pictures, and sentences on what was taken for no picture."""
NO_IMAGES = LabelledImages(np.zeros((0, 1, 1, 3), dtype=np.uint8), np.zeros(0, dtype=np.int64), ())
"""What there is of an archive before it is decoded."""


class Evaluation(NetworkJob):
    """A network's predictions for images.

    Attributes:
        result: the predictions, once all images are through.
    """

    def __init__(self, network: Weights, images: LabelledImages) -> None:
        super().__init__(network)
        self.result: Predictions | None = None
        self._images = images

    @property
    def complete(self) -> bool:
        return self.result is not None

    def _work(self) -> None:
        self.result = None
        self.advance(0, len(self._images), "images")
        self.result = self.predict(self._images.images)

    def predict(self, images: np.ndarray) -> Predictions:
        """Run the network on images uint8 `[N, H, W, 3]` with the labels of its own."""
        card = self.trained.card
        return evaluate(
            self.trained.model,
            images,
            self._images.labels,
            input_size=card.input_size,
            mean=card.mean,
            std=card.std,
            batch_size=BATCH,
            on_batch=self.on_batch,
        )

    def on_batch(self, done: int) -> None:
        """Note how many images are through; raises `Stopped` when the run is to end."""
        self.advance(done, len(self._images), "images")


@st.cache_resource(max_entries=32, show_spinner=False, on_release=Job.stop)
def whole(network: Weights) -> Evaluation:
    """The run of a network on all test images, the same for all sessions."""
    return Evaluation(network, resources.images("test"))


class OwnEvaluation(Evaluation):
    """The predictions for a reader's pictures, which are decoded first, one picture after the other.

    Attributes:
        images: the pictures, once they are decoded.
        skipped: sentences on what was taken for no picture.
    """

    private = True

    def __init__(self, network: Weights, decode: Decode) -> None:
        super().__init__(network, NO_IMAGES)
        self._decode: Decode | None = decode
        self.skipped: tuple[str, ...] = ()

    @property
    def images(self) -> LabelledImages:
        return self._images

    def _work(self) -> None:
        if self._decode is not None:
            self._images, self.skipped = self._decode(lambda done, total: self.advance(done, total, "pictures read"))
            self._decode = None  # it holds the whole archive
        super()._work()


# Perturbed images ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PerturbedTest:
    """A network on the first test images of each class, perturbed with a strength; `count` images in all."""

    network: Weights
    count: int
    kind: str
    strength: float


class Results:
    """The predictions of runs on perturbed images, for all sessions; the oldest are dropped."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._predictions: dict[PerturbedTest, Predictions] = {}

    def __len__(self) -> int:
        return len(self._predictions)

    def get(self, test: PerturbedTest) -> Predictions | None:
        """The predictions of a run, or None."""
        return self._predictions.get(test)

    def put(self, test: PerturbedTest, predictions: Predictions) -> None:
        """Keep the predictions of a run."""
        with self._lock:
            self._predictions[test] = predictions
            while len(self._predictions) > self._most:
                del self._predictions[next(iter(self._predictions))]

    def by_strength(self, test: PerturbedTest) -> dict[float, Predictions]:
        """The predictions of all runs that differ from `test` in their strength only, the mildest first."""
        with self._lock:
            kept = dict(self._predictions)
        alike = [one for one in kept if replace(one, strength=test.strength) == test]
        return {one.strength: kept[one] for one in sorted(alike, key=attrgetter("strength"))}


@st.cache_resource(show_spinner=False)
def results() -> Results:
    """The one store of this server."""
    return Results(KEPT)


class PerturbedEvaluation(Evaluation):
    """The predictions for perturbed images; if another session made them while this one waited, they are taken over."""

    def __init__(self, test: PerturbedTest, kept: Results) -> None:
        super().__init__(test.network, first_images(test.count))
        self.test, self._kept = test, kept
        self.result = kept.get(test)

    def _work(self) -> None:
        self.advance(0, len(self._images), "images")
        self.result = self._kept.get(self.test) or self._run_now()

    def _run_now(self) -> Predictions:
        predictions = self.predict(perturbations.perturbed(self._images.images, self.test.kind, self.test.strength))
        self._kept.put(self.test, predictions)
        return predictions


@st.cache_resource(max_entries=8, show_spinner=False)
def first_images(count: int) -> LabelledImages:
    """`count` test images, the first ones of each class, in the order of the test set."""
    of_class = resources.indices_by_class("test")
    first = np.concatenate([indices[: count // len(of_class)] for indices in of_class])
    return resources.images("test").subset(np.sort(first))


def perturbed(test: PerturbedTest) -> PerturbedEvaluation:
    """This session's run of a test, which begins at once unless its result is known; an earlier one is stopped."""
    job: PerturbedEvaluation | None = st.session_state.get("_live_perturbed")
    if job is None or job.test != test:
        if job is not None:
            job.stop()
        job = st.session_state["_live_perturbed"] = PerturbedEvaluation(test, results())
        if job.result is None:
            job.start()
    return job
