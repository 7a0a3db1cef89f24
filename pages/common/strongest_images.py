"""The strongest test images of every channel: read from the checkpoint, or searched for in a thread.

One search per network finds them for all layers and objectives, and serves all sessions and pages.
"""

import streamlit as st

from engine import patches, settings
from engine.patches import Index
from engine.weights import TRAINED, Weights
from pages.common import resources
from pages.common.jobs import Jobs
from pages.common.network_job import NetworkJob

START = "Search the 10,000 test images"
"""The label of the button."""


class Search(NetworkJob):
    """A pass over all test images; `index`: its result, None before."""

    def __init__(self, network: Weights) -> None:
        super().__init__(network)
        self.index: Index | None = None
        self._total, self._stores = len(resources.images("test")), _is_checkpoint(network)

    def _work(self) -> None:
        trained = self.trained
        self.index = patches.search(trained, lambda done: self.advance(done, self._total, "images"))
        if self._stores:
            patches.save(self.index, trained.card.name)


def search(network: Weights) -> Search:
    """The one search of a network."""
    return _searches().get(network, lambda: Search(network))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _searches() -> Jobs[Search]:
    return Jobs()


def index(network: Weights) -> Index | None:
    """The index of a network; None if there has been no search yet."""
    searched = search(network).index
    if searched is not None or not _is_checkpoint(network):
        return searched
    path = patches.path_of(network.checkpoint)
    return _stored(network, path.stat().st_mtime_ns) if path.exists() else None


@st.cache_resource(max_entries=32, show_spinner=False)
def _stored(network: Weights, changed: int) -> Index | None:
    return patches.load(resources.trained(network))


def _is_checkpoint(network: Weights) -> bool:
    """Whether a network has a folder in which its index is stored."""
    card = settings.folders.checkpoints / network.checkpoint / "card.json"
    return network.moment == TRAINED and card.exists()
