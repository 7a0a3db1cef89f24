"""Maximisations that go on while readers look at other pages, one for each settings, whoever asks for it."""

import streamlit as st

from engine.maximization import stored
from engine.maximization.stored import Maximization, MaximizationSettings
from pages.common import resources
from pages.common.jobs import Job, Jobs


class Ascent(Job):
    """The ascent of one batch of pictures.

    `maximization`: the pictures so far, from disk if they are stored there; None before.
    """

    def __init__(self, settings: MaximizationSettings) -> None:
        super().__init__()
        self._settings, self._trained = settings, resources.trained(settings.network)
        self._path = stored.path_of(settings) if stored.is_stored(settings, self._trained) else None
        self._weights = settings.network.sha256
        self.maximization: Maximization | None = self._path and stored.load(self._path, self._weights)

    @property
    def complete(self) -> bool:
        """Whether the pictures have taken all their steps."""
        return self.maximization is not None and int(self.maximization.steps[-1]) == self._settings.steps

    def _work(self) -> None:
        for maximization in stored.pictures(self._trained, self._settings):
            self.maximization = maximization
            self.advance(int(maximization.steps[-1]), self._settings.steps, "steps")
        if self._path is not None:
            stored.save(maximization, self._path, self._weights)


def ascent(settings: MaximizationSettings) -> Ascent:
    """The one job for these settings."""
    return _ascents().get(settings, lambda: Ascent(settings))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _ascents() -> Jobs[Ascent]:
    return Jobs()
