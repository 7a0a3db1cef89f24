"""Maximisations and searches that go on while readers look at other pages.

There is one job for each request, whoever asks: two readers watch the same pictures form, and either can stop it.
"""

import streamlit as st

from engine import gallery
from engine.gallery import Maximization, Request, Strongest
from engine.weights import TRAINED, Weights
from pages.common import resources
from pages.common.jobs import Job, Jobs


class Search(Job):
    """The pass over all test images that finds the strongest ones for every channel of a layer.

    `found`: what it has found, from disk if it is stored there; None before.
    """

    def __init__(self, network: Weights, layer: str) -> None:
        super().__init__()
        self._trained, self._layer = resources.trained(network), layer
        self._images = resources.images("test").images
        self._path = None
        if network.moment == TRAINED:
            self._path = gallery.folder_of(network.checkpoint) / f"{layer}_strongest.npz"
        self._weights = network.sha256
        self.found: dict[str, Strongest] | None = self._path and gallery.load_strongest(self._path, self._weights)

    def _work(self) -> None:
        found = gallery.strongest(self._trained, self._layer, self._images, self._seen)
        if self._path is not None:
            gallery.save_strongest(found, self._path, self._weights)
        self.found = found

    def _seen(self, count: int) -> None:
        self.go_on_unless_stopped()
        self.words = f"{count:,} of {len(self._images):,} test images seen"
        self.share = count / len(self._images)


class Making(Job):
    """The ascent of one request.

    `made`: the pictures so far, from disk if they are stored there; None before.
    """

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._request, self._trained = request, resources.trained(request.network)
        self._path = None
        if gallery.is_stored(request, self._trained):
            self._path = gallery.folder_of(request.network.checkpoint) / request.file_name
        self._weights = request.network.sha256
        self.made: Maximization | None = self._path and gallery.load(self._path, self._weights)

    @property
    def complete(self) -> bool:
        """Whether the pictures have taken all their steps."""
        return self.made is not None and int(self.made.steps[-1]) == self._request.steps

    def _work(self) -> None:
        for made in gallery.pictures(self._trained, self._request):
            self.made = made
            number = int(made.steps[-1])
            self.words = f"Step {number} of {self._request.steps}"
            self.share = number / self._request.steps
            self.go_on_unless_stopped()
        if self._path is not None:
            gallery.save(made, self._path, self._weights)


def making(request: Request) -> Making:
    """The one job for a request."""
    return _makings().get(request, lambda: Making(request))


def search(network: Weights, layer: str) -> Search:
    """The one search for a layer."""
    return _searches().get((network, layer), lambda: Search(network, layer))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _makings() -> Jobs[Making]:
    return Jobs()


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _searches() -> Jobs[Search]:
    return Jobs()
