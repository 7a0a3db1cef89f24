"""Lectures as pages show them: those in the folder and a reader's own, and their texts, which are never taken as code.

A lecture may come from anywhere. Its texts reach the screen escaped, as Markdown or as HTML.
"""

import streamlit as st

from engine import lectures, weights
from engine.errors import ConvscopeError
from engine.lectures import Lecture, figures
from engine.weights import Weights
from pages import directory

LECTURE, STEP = "lecture", "step"
"""The keys of the address."""
OWN = "own"
"""What the address calls the lecture that a reader has put together or opened; it stays in the session."""
_OWN = "_own_lecture"
PAGES = tuple(entry.address for entry in (directory.HOME, *directory.PAGES))


@st.cache_data(ttl=10, show_spinner=False)
def shipped() -> tuple[list[Lecture], list[str]]:
    """The lectures in the folder, and a sentence for each file that cannot be read or understood."""
    found, problems = [], []
    for name in lectures.names():
        try:
            found.append(lectures.load(name, PAGES))
        except ConvscopeError as error:
            problems.append(str(error))
    return found, problems


def own() -> Lecture | None:
    """The reader's own lecture."""
    return st.session_state.get(_OWN)


def keep(lecture: Lecture) -> None:
    """Make this the reader's own lecture."""
    st.session_state[_OWN] = lecture


def find(name: str) -> Lecture:
    """The lecture that an address names.

    Raises:
        ConvscopeError: there is none, or its file cannot be understood.
    """
    if name == OWN:
        if lecture := own():
            return lecture
        raise ConvscopeError(
            "Your own lecture stays in one session, which a reload ends: open its TOML file again, under "
            "Your lecture below."
        )
    known = next((lecture for lecture in shipped()[0] if lecture.name == name), None)
    return known or lectures.load(name, PAGES)


def address(lecture: Lecture, number: int) -> list[tuple[str, str]]:
    """The values of a step's address; the first step is number 1."""
    return [*lecture.steps[number - 1].link.values, (LECTURE, lecture.name), (STEP, str(number))]


def filled(text: str) -> str:
    """A lecture's text with its figures, or behind it why one of them cannot be computed."""
    return _filled(text, tuple(map(Weights.of, weights.cards().values()))) if figures.PLACE.search(text) else text


@st.cache_data(max_entries=512, ttl=600, show_spinner="Computing the figures …")
def _filled(text: str, networks: tuple[Weights, ...]) -> str:
    """The same; `networks`, which figures are of, are those on this machine."""
    return figures.fill_or_explain(text)
