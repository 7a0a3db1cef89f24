"""Maximisations that go on while readers look at other pages, one for each settings, whoever asks for it."""

from collections.abc import Iterable

import streamlit as st

from engine.maximization import stored
from engine.maximization.stored import Maximization, MaximizationSettings
from pages.common.jobs import Jobs
from pages.common.network_job import NetworkJob


class Ascent(NetworkJob):
    """The ascent of one batch of pictures.

    `maximization`: the pictures so far; at first those that are there already, in `others` or on disk, or None.
    """

    def __init__(self, settings: MaximizationSettings, others: Iterable["Ascent"] = ()) -> None:
        super().__init__(settings.network)
        self._settings, trained = settings, self.trained
        self._path = stored.path_of(settings) if stored.is_stored(settings, trained) else None
        self._weights = settings.network.sha256
        self.maximization: Maximization | None = self._among(others) or stored.find(settings, trained)

    def _among(self, others: Iterable["Ascent"]) -> Maximization | None:
        complete = (other for other in others if other.complete)
        parts = ((other, stored.among(self._settings, other._settings)) for other in complete)
        return next((other.maximization.some(part) for other, part in parts if part), None)

    @property
    def complete(self) -> bool:
        """Whether the pictures have taken all their steps."""
        return self.maximization is not None and int(self.maximization.steps[-1]) == self._settings.steps

    def _work(self) -> None:
        for maximization in stored.pictures(self.trained, self._settings):
            self.maximization = maximization
            self.advance(int(maximization.steps[-1]), self._settings.steps, "steps")
        if self._path is not None:
            stored.save(maximization, self._path, self._weights)


def ascent(settings: MaximizationSettings) -> Ascent:
    """The one job for these settings."""
    return _ascents().get(settings, lambda: Ascent(settings, _ascents().all()))


@st.cache_resource(show_spinner=False, on_release=Jobs.stop)
def _ascents() -> Jobs[Ascent]:
    return Jobs()
