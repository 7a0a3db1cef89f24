"""Whose figures the Accuracy page shows, and what it keeps so that a click costs one look-up.

The subject is a network from the sidebar, an experiment, or a test from one of the reports. Of a report there are only
counts, no answers to single images.
"""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine import all_networks, reports, weights
from engine.accuracy.figures import confusion_matrix
from engine.accuracy.predictions import Predictions
from engine.all_networks import Candidate, Entry
from engine.checkpoints import StoredPredictions
from engine.errors import ConvscopeError
from engine.reports import ReportedTest
from pages.common import resources, selection
from pages.common.selection import Selection

SIDEBAR = "the sidebar's network"
DATASETS = ("cifar10", "cifar10_bundled")
"""The data sets whose test images are shipped, so that the images behind a figure can be shown."""


@dataclass(frozen=True)
class Subject:
    """Whose figures are shown.

    Attributes:
        name: a few words; `key`: changes when the figures do.
        classes: the classes' names.
        confusion: int64 `[K, K]`, counts of (true class, predicted class).
        stored: its answers, or None of a report.
        has_images: whether the images that it was tested on are shipped.
    """

    name: str
    key: str
    classes: tuple[str, ...]
    confusion: np.ndarray
    stored: StoredPredictions | None
    has_images: bool

    @property
    def predictions(self) -> Predictions:
        """Its answers to the test images; raises ConvscopeError if there are none."""
        if self.stored is None:
            raise ConvscopeError("A report gives no answers to single images: choose a network under “Figures of”.")
        return self.stored.test


@st.cache_resource(ttl=10, show_spinner=False)
def candidates() -> dict[str, Candidate]:
    """All networks with stored predictions; looked for on disk every ten seconds."""
    return all_networks.candidates()


def chosen_subject(chosen: Selection) -> Subject:
    """The subject that the reader has picked; without experiments and reports, the network in the sidebar."""
    experiments = [name for name, candidate in candidates().items() if candidate.experiment]
    tests = {test.name: test for test in reports.TESTS if test.confusion is not None}
    picked = selection.choose("Figures of", "of", [SIDEBAR, *experiments, *tests], SIDEBAR)
    if picked in tests:
        return _of_report(tests[picked])
    return of_network(chosen.card.name if picked == SIDEBAR else picked)


def of_network(name: str) -> Subject:
    """The subject of a checkpoint or experiment.

    Raises:
        ConvscopeError: its predictions are missing or damaged.
    """
    if weights.is_pretrained(name):
        resources.predictions(weights.find(name))  # says why there are none
    if name not in candidates():
        candidates.clear()  # it may have been kept since the last look at the disk
    candidate = candidates().get(name)
    if candidate is None:
        raise ConvscopeError(f"The network {name!r} is not on this machine (any more): choose another one.")
    return _of_candidate(name, candidate.experiment, candidate.card.weights_sha256, candidate)


@st.cache_resource(max_entries=48, show_spinner=False)
def _of_candidate(name: str, experiment: bool, weights_sha256: str, _candidate: Candidate) -> Subject:
    stored, card = _candidate.predictions(), _candidate.card
    has_images = card.dataset in DATASETS and np.array_equal(stored.test.labels, resources.images("test").labels)
    confusion = confusion_matrix(stored.test)
    return Subject(name, f"{name}-{weights_sha256[:12]}", card.classes, confusion, stored, has_images)


def _of_report(test: ReportedTest) -> Subject:
    return Subject(test.name, test.name, test.classes, test.confusion, None, False)


@st.cache_resource(max_entries=64, show_spinner="Counting multiply-adds …")
def zoo_entry(name: str, experiment: bool, weights_sha256: str, _candidate: Candidate) -> Entry:
    """The accuracy and the cost of one network."""
    return all_networks.entry(_candidate)


def zoo() -> tuple[list[Entry], list[str]]:
    """All networks with their figures, and a sentence for each that has none."""
    entries, problems = [], []
    for name, candidate in candidates().items():
        try:
            entries.append(zoo_entry(name, candidate.experiment, candidate.card.weights_sha256, candidate))
        except ConvscopeError as error:
            problems.append(str(error))
    return entries, problems


# The image in the sidebar is the image that is looked at -------------------------------------------------------


def looked_at_class(chosen: Selection, subject: Subject) -> int | None:
    """The sidebar's class, if its images are among those that the subject was tested on."""
    if chosen.split != "test" or not subject.has_images or chosen.truth not in subject.classes:
        return None
    return subject.classes.index(chosen.truth)


def look_at_class(name: str) -> None:
    """Put the first test image of a class into the sidebar, and so into the link; for a callback."""
    st.session_state["images"], st.session_state["class"], st.session_state["number"] = "test", name, 0


def look_at_image(index: int) -> None:
    """Put a test image into the sidebar, and so into the link; for a callback."""
    place = place_of(index)
    st.session_state["images"] = "test"
    st.session_state["class"], st.session_state["number"] = place["class"], int(place["number"])


def place_of(index: int) -> dict[str, str]:
    """What a link calls a test image: its class, and its number among the images of the class."""
    test = resources.images("test")
    label = int(test.labels[index])
    number = int(np.searchsorted(resources.indices_by_class("test")[label], index))
    return {"images": "test", "class": test.classes[label], "number": str(number)}
