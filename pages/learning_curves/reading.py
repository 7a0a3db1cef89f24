"""Which histories there are, as the page and a worksheet read them: by version, and grouped for comparisons."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import streamlit as st

from engine.errors import ConvscopeError
from engine.training import comparisons, histories
from engine.training.comparisons import CurveComparison
from engine.training.histories import History, HistoryFolder
from pages.learning_curves.charts import PREFERRED


@dataclass(frozen=True)
class HistoryVersion:
    """A history as it is on disk at one moment: small enough to be a key."""

    place: HistoryFolder
    changed: int


def version(place: HistoryFolder) -> HistoryVersion:
    """The newest version of a history."""
    try:
        return HistoryVersion(place, (place.path / "history.csv").stat().st_mtime_ns)
    except OSError:  # deleted since it was listed; reading it says so
        return HistoryVersion(place, 0)


@st.cache_resource(max_entries=256, show_spinner=False)
def history(version: HistoryVersion) -> History:
    """A history as it was at that version.

    Raises:
        ConvscopeError: it cannot be read, or has no epoch yet.
    """
    return histories.read(version.place)


def group(version: HistoryVersion) -> str:
    """The experiment that a history belongs to; "" if it cannot be read: an error appears where it is drawn."""
    try:
        return history(version).group
    except ConvscopeError:
        return ""


def ready_made(places: Mapping[str, HistoryFolder]) -> dict[str, CurveComparison]:
    """The ready-made comparisons that have their arms among these histories, by name."""
    groups = {key: group(version(place)) for key, place in places.items()}
    return {comparison.name: comparison for comparison in comparisons.comparisons(groups)}


def usual_curves(keys: Collection[str]) -> list[str]:
    """The curves, of these `keys`, that are drawn at first."""
    return [key for key in PREFERRED if key in keys] or list(keys)[:1]
