"""Runs of a network on images for the Accuracy page's Live view: they take turns, are watched, and can be stopped.

A run on all test images is shared by all sessions, as it takes long. A run on disturbed images or on a reader's own
ones belongs to a session, and ends when its reader asks for another: whoever drags a slider leaves no trail of runs
behind. What runs on disturbed images have found is kept for everybody, up to a limit.
"""

import threading
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from engine.accuracy.predictions import Predictions
from engine.checkpoints import Trained
from engine.data import LabelledImages, perturbations
from engine.evaluation import evaluate
from engine.weights import Weights
from pages.common import resources
from pages.common.jobs import Job

BATCH = 50
KEPT = 512
"""How many runs' answers are kept, the latest; those to 1,000 images take 50 kB."""


class Evaluation(Job):
    """A network's answers to images.

    Attributes:
        result: the answers, once it has come to its end.
    """

    def __init__(self, trained: Trained, images: LabelledImages) -> None:
        super().__init__()
        self.result: Predictions | None = None
        self._trained, self._images = trained, images

    @property
    def complete(self) -> bool:
        return self.result is not None

    def _work(self) -> None:
        self.result = None
        self.advance(0, len(self._images), "images")
        self.result = self._answers(self._images.images)

    def _answers(self, images: np.ndarray) -> Predictions:
        card = self._trained.card
        return evaluate(
            self._trained.model, images, self._images.labels, input_size=card.input_size, mean=card.mean,
            std=card.std, batch_size=BATCH, on_batch=self._on_batch,
        )  # fmt: skip

    def _on_batch(self, done: int) -> None:
        self.advance(done, len(self._images), "images")


@st.cache_resource(max_entries=32, show_spinner=False, on_release=Job.stop)
def whole(network: Weights) -> Evaluation:
    """The run of a network on all test images, the same for all sessions."""
    return Evaluation(resources.trained(network), resources.images("test"))


# Disturbed images ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """A network on the first test images of each class, disturbed so strongly."""

    network: Weights
    count: int
    kind: str
    strength: float


class Results:
    """What runs on disturbed images have found, for all sessions; the oldest are dropped."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._found: dict[Request, Predictions] = {}

    def __len__(self) -> int:
        return len(self._found)

    def get(self, request: Request) -> Predictions | None:
        """What a run has found, or None."""
        return self._found.get(request)

    def put(self, request: Request, found: Predictions) -> None:
        """Keep it."""
        with self._lock:
            self._found[request] = found
            while len(self._found) > self._most:
                del self._found[next(iter(self._found))]

    def by_strength(self, request: Request) -> dict[float, Predictions]:
        """What is known of the request at any strength, the mildest first."""
        with self._lock:
            known = list(self._found.items())
        alike = {one.strength: found for one, found in known if replace(one, strength=request.strength) == request}
        return dict(sorted(alike.items()))


@st.cache_resource(show_spinner=False)
def results() -> Results:
    """The one store of this server."""
    return Results(KEPT)


class Disturbed(Evaluation):
    """The answers to disturbed images; what another session has found while this one waited is not run again."""

    def __init__(self, request: Request, kept: Results) -> None:
        super().__init__(resources.trained(request.network), first_images(request.count))
        self.request, self._kept = request, kept
        self.result = kept.get(request)

    def _work(self) -> None:
        self.advance(0, len(self._images), "images")
        self.result = self._kept.get(self.request) or self._run_now()

    def _run_now(self) -> Predictions:
        images = perturbations.perturbed(self._images.images, self.request.kind, self.request.strength)
        found = self._answers(images)
        self._kept.put(self.request, found)
        return found


@st.cache_resource(max_entries=8, show_spinner=False)
def first_images(count: int) -> LabelledImages:
    """As many test images of each class, the first ones, in the order of the test set."""
    of_class = resources.indices_by_class("test")
    first = np.concatenate([indices[: count // len(of_class)] for indices in of_class])
    return resources.images("test").subset(np.sort(first))


def disturbed(request: Request) -> Disturbed:
    """This session's run of a request, which begins at once unless its result is known; an earlier one is stopped."""
    job: Disturbed | None = st.session_state.get("_live_disturbed")
    if job is None or job.request != request:
        if job is not None:
            job.stop()
        job = st.session_state["_live_disturbed"] = Disturbed(request, results())
        if job.result is None:
            job.start()
    return job
