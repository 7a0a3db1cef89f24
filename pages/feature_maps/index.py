"""The strongest test images of each map: read from the checkpoint, or searched for in a thread that can be stopped.

One search per network serves all sessions. Its thread never calls Streamlit: pages ask it how far it is.
"""

from pathlib import Path

import streamlit as st

from engine import patches, settings
from engine.checkpoints import Trained
from engine.patches import Index
from engine.weights import TRAINED, Weights
from pages.common import resources
from pages.common.jobs import Job, Jobs


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


def search(network: Weights) -> Search:
    """The search of a network, shared by all sessions."""
    return _searches().get(network, lambda: _new_search(network))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _searches() -> Jobs[Search]:
    return Jobs()


def _new_search(network: Weights) -> Search:
    stored = network.moment == TRAINED and (settings.folders.checkpoints / network.checkpoint / "card.json").exists()
    return Search(resources.trained(network), settings.folders.checkpoints if stored else None)


def index(network: Weights) -> Index | None:
    """The index of a network; None if it has yet to be searched for."""
    found = search(network).index
    if found is not None or network.moment != TRAINED:
        return found
    path = settings.folders.checkpoints / network.checkpoint / patches.FILE
    return _stored(network, path.stat().st_mtime_ns) if path.exists() else None


@st.cache_resource(max_entries=32, show_spinner=False)
def _stored(network: Weights, changed: int) -> Index | None:
    return patches.load(resources.trained(network))
