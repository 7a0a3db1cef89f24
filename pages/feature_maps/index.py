"""The strongest test images of each map: read from the checkpoint, or searched for in a thread that can be stopped.

One search per network serves all sessions. Its thread never calls Streamlit: pages ask it how far it is.
"""

from pathlib import Path

import streamlit as st

from engine import patches, settings
from engine.checkpoints import Trained
from engine.patches import Index
from pages.common import resources
from pages.common.jobs import Job, Jobs
from pages.common.resources import UNTRAINED


class Search(Job):
    """A search through the test images; `total` is how many there are, `done` how many it has seen."""

    def __init__(self, trained: Trained, folder: Path | None) -> None:
        """`folder`: where to store the index; None keeps it in memory only."""
        super().__init__()
        self.index: Index | None = None
        self.done, self.total = 0, 10_000
        self._trained, self._folder = trained, folder

    def _work(self) -> None:
        self.done = 0
        self.index = patches.search(self._trained, self._on_batch)
        if self._folder is not None:
            patches.save(self.index, self._trained.card.name, self._folder)

    def _on_batch(self, done: int) -> None:
        self.done = done
        self.go_on_unless_stopped()


def search(network: str) -> Search:
    """The search of a network, shared by all sessions; a replaced checkpoint has another."""
    trained = resources.trained(network)
    return _searches().get((network, trained.card.weights_sha256), lambda: _new_search(network, trained))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _searches() -> Jobs[Search]:
    return Jobs()


def _new_search(network: str, trained: Trained) -> Search:
    stored = UNTRAINED not in network and (settings.folders.checkpoints / trained.card.name / "card.json").exists()
    return Search(trained, settings.folders.checkpoints if stored else None)


def index(network: str) -> Index | None:
    """The index of a network; None if it has yet to be searched for."""
    found = search(network).index
    if found is not None or UNTRAINED in network:
        return found
    path = settings.folders.checkpoints / resources.trained(network).card.name / patches.FILE
    return _stored(network, path.stat().st_mtime_ns) if path.exists() else None


@st.cache_resource(max_entries=32, show_spinner=False)
def _stored(network: str, changed: int) -> Index | None:
    return patches.load(resources.trained(network))
