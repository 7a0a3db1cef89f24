"""Whose figures the Accuracy page shows: the sidebar's network, an experiment, or a test from one of the reports.

Of a report there are only counts, no predictions of single images.
"""

from dataclasses import dataclass, field

import numpy as np
import streamlit as st

from engine import all_networks, reports, weights
from engine.accuracy.figures import confusion_matrix
from engine.accuracy.predictions import Predictions
from engine.all_networks import Candidate
from engine.checkpoints import StoredPredictions
from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.reports import ReportedTest
from pages.common import resources, selection
from pages.common.selection import Selection

SIDEBAR = "the sidebar's network"
DATASETS = ("cifar10", "cifar10_bundled")
"""The data sets whose test images are shipped, so that the images behind a figure can be shown."""


@dataclass(frozen=True)
class Subject:
    """A network or a report with its figures.

    Attributes:
        name: a few words; `key`: changes when the figures do.
        classes: the classes' names.
        confusion: int64 `[K, K]`, counts of (true class, predicted class).
        stored: its predictions, or None of a report.
        images: the images that it was tested on, or None where they are not shipped.
        why_no_images: a sentence for readers who miss them.
    """

    name: str
    key: str
    classes: tuple[str, ...]
    confusion: np.ndarray = field(repr=False)
    stored: StoredPredictions | None = field(repr=False)
    images: LabelledImages | None = field(repr=False)
    why_no_images: str

    @property
    def predictions(self) -> Predictions:
        """Its predictions for the test images; raises ConvscopeError if there are none."""
        if self.stored is None:
            raise ConvscopeError("A report gives no predictions of single images: choose a network under “Figures of”.")
        return self.stored.test


@st.cache_resource(ttl=10, show_spinner=False)
def candidates() -> dict[str, Candidate]:
    """All networks with stored predictions; the disk is read every ten seconds."""
    return all_networks.candidates()


def chosen_subject(chosen: Selection) -> Subject:
    """The subject under "Figures of"; at first the network in the sidebar."""
    return subject_called(selection.choose("Figures of", "of", subjects(), SIDEBAR), chosen.card.name)


def subjects() -> list[str]:
    """What can be chosen under "Figures of", the usual one first."""
    experiments = [name for name, candidate in candidates().items() if candidate.experiment]
    return [SIDEBAR, *experiments, *_tests()]


def _tests() -> dict[str, ReportedTest]:
    """The reports' tests of which there are counts."""
    return {test.name: test for test in reports.TESTS if test.confusion is not None}


def subject_called(name: str, checkpoint: str) -> Subject:
    """The subject that the control "Figures of" calls so; `checkpoint`: the sidebar's network."""
    report = _tests().get(name)
    if report is None:
        return of_network(checkpoint if name == SIDEBAR else name)
    why = f"These figures are from {report.source}. It gives counts only: its images and predictions are not known."
    return Subject(name, name, report.classes, report.confusion, None, None, why)


def of_network(name: str) -> Subject:
    """The subject of a checkpoint or experiment.

    Raises:
        ConvscopeError: its predictions are missing or damaged.
    """
    if weights.is_pretrained(name):
        resources.predictions(weights.find(name))  # raises: it has none, and says why
    if name not in candidates():
        candidates.clear()  # it may be new since the disk was read
    candidate = candidates().get(name)
    if candidate is None:
        raise ConvscopeError(f"The network {name!r} is not on this machine (any more): choose another one.")
    return _of_candidate(key_of(candidate), candidate)


def key_of(candidate: Candidate) -> str:
    """What caches know a candidate by; it changes with its weights."""
    return f"{candidate.card.name}-{candidate.card.weights_sha256[:12]}"


@st.cache_resource(max_entries=48, show_spinner=False)
def _of_candidate(key: str, _candidate: Candidate) -> Subject:
    stored, card = _candidate.predictions(), _candidate.card
    test = resources.images("test")
    has_images = card.dataset in DATASETS and np.array_equal(stored.test.labels, test.labels)
    return Subject(
        card.name,
        key,
        card.classes,
        confusion_matrix(stored.test),
        stored,
        test if has_images else None,
        f"{card.name} was tested on images that are not shipped, so there are figures only.",
    )
