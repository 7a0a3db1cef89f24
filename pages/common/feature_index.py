"""The strongest test images of each map: read from the checkpoint, or searched for in a thread that can be stopped.

One search per network serves all sessions. Its thread never calls Streamlit: pages ask it how far it is.
"""

import threading
from pathlib import Path

import streamlit as st

from engine import checkpoints, patches
from engine.checkpoints import Trained
from engine.errors import ConvscopeError
from engine.patches import Index
from pages.common import resources
from pages.common.resources import UNTRAINED


class Search:
    """A search through the test images; `total` is how many there are."""

    def __init__(self, trained: Trained, folder: Path | None) -> None:
        """`folder`: where to store the index; None keeps it in memory only."""
        self.index: Index | None = None
        self.problem: str | None = None
        self.done, self.total = 0, 10_000
        self._trained, self._folder = trained, folder
        self._thread: threading.Thread | None = None
        self._stop, self._lock = threading.Event(), threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether the search is going on."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin, if it is not going on already."""
        with self._lock:
            if not self.alive:
                self.done, self.problem = 0, None
                self._stop.clear()
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Ask the search to end; it does after the images that it is looking at."""
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Return when the search has ended, or after so many seconds."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self.index = patches.search(self._trained, self._on_batch)
            if self._folder is not None:
                patches.save(self.index, self._trained.card.name, self._folder)
        except _Stopped:
            self.done = 0
        except ConvscopeError as error:
            self.problem = str(error)
        except Exception as error:  # a thread's error reaches nobody otherwise
            self.problem = f"The search has failed ({error}): start it again, or choose another network."

    def _on_batch(self, done: int) -> None:
        self.done = done
        if self._stop.is_set():
            raise _Stopped


class _Stopped(Exception):
    """Somebody has pressed Stop."""


def search(network: str) -> Search:
    """The search of a network, shared by all sessions; a replaced checkpoint has another."""
    return _search(network, resources.trained(network).card.weights_sha256)


@st.cache_resource(max_entries=32, show_spinner=False)
def _search(network: str, weights_sha256: str) -> Search:
    trained = resources.trained(network)
    stored = UNTRAINED not in network and (checkpoints.FOLDER / trained.card.name / "card.json").exists()
    return Search(trained, checkpoints.FOLDER if stored else None)


def index(network: str) -> Index | None:
    """The index of a network; None if it has yet to be searched for."""
    found = search(network).index
    if found is not None or UNTRAINED in network:
        return found
    path = checkpoints.FOLDER / resources.trained(network).card.name / patches.FILE
    return _stored(network, path.stat().st_mtime_ns) if path.exists() else None


@st.cache_resource(max_entries=32, show_spinner=False)
def _stored(network: str, changed: int) -> Index | None:
    return patches.load(resources.trained(network))
