"""Maximisations and searches that go on while readers look at other pages.

Each runs in a thread of its own, which never calls Streamlit; a page looks at it twice a second. There is one job for
each request, whoever asks: two readers watch the same pictures form, and either can stop it. Two jobs work at a time,
so that thirty readers do not slow each other to a standstill; while others wait, one that nobody watches gives way.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from engine import gallery
from engine.errors import ConvscopeError
from engine.gallery import Maximization, Request, Strongest
from pages.common import resources

AT_WORK, PATIENCE = 2, 20.0
"""How many jobs work at a time; for how many seconds an unwatched one goes on while others wait."""


class _Turns:
    """Lets so many in at a time, and knows whether others wait."""

    def __init__(self, at_work: int) -> None:
        self._free, self._lock, self._waiting = threading.Semaphore(at_work), threading.Lock(), 0

    @property
    def wanted(self) -> bool:
        return self._waiting > 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        self._count(1)
        self._free.acquire()
        self._count(-1)
        try:
            yield
        finally:
            self._free.release()

    def _count(self, change: int) -> None:
        with self._lock:
            self._waiting += change


_TURNS = _Turns(AT_WORK)


class Stopped(Exception):
    """Somebody has pressed Stop, or nobody watches while others wait."""


class Job:
    """Some work that can be started, watched and stopped, by any session; subclasses say what the work is.

    Attributes:
        words: what it is doing; `share`: how much of it is done, 0-1.
        error: one sentence, if it could not be done.
    """

    def __init__(self) -> None:
        self.words, self.share, self.error = "", 0.0, ""
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._watched = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether it is at work, or waits for its turn."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin, unless it is at work already."""
        with self._lock:
            if not self.alive:
                self._stop.clear()
                self.watch()
                self.words, self.share, self.error = "Waiting for its turn", 0.0, ""
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Ask it to end after the step at hand; what it has made so far stays."""
        self._stop.set()

    def watch(self) -> None:
        """Say that somebody looks at it."""
        self._watched = time.monotonic()

    def wait(self, seconds: float) -> None:
        """Until it has ended, or so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            with _TURNS.turn():
                self._go_on_unless_stopped()
                self._work()
        except Stopped:
            pass
        except ConvscopeError as error:
            self.error = str(error)
        except Exception as error:  # a thread has nobody else to tell
            self.error = f"The pictures could not be made ({type(error).__name__}: {error}): try other settings."

    def _work(self) -> None:
        raise NotImplementedError

    def _go_on_unless_stopped(self) -> None:
        unwatched = time.monotonic() - self._watched > PATIENCE
        if self._stop.is_set() or (unwatched and _TURNS.wanted):
            raise Stopped


class Search(Job):
    """The pass over all test images that finds the strongest ones for every channel of a layer.

    `found`: what it has found, from disk if it is stored there; None before.
    """

    def __init__(self, network: str, layer: str) -> None:
        super().__init__()
        self._trained, self._layer = resources.trained(network), layer
        self._images = resources.images("test").images
        self._path = None
        if network == self._trained.card.name:
            self._path = gallery.folder_of(network) / f"{layer}_strongest.npz"
        self._weights = self._trained.card.weights_sha256
        self.found: dict[str, Strongest] | None = self._path and gallery.load_strongest(self._path, self._weights)

    def _work(self) -> None:
        found = gallery.strongest(self._trained, self._layer, self._images, self._seen)
        if self._path is not None:
            gallery.save_strongest(found, self._path, self._weights)
        self.found = found

    def _seen(self, count: int) -> None:
        self._go_on_unless_stopped()
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
            self._path = gallery.folder_of(request.network) / request.file_name
        self._weights = self._trained.card.weights_sha256
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
            self._go_on_unless_stopped()
        if self._path is not None:
            gallery.save(made, self._path, self._weights)


def making(request: Request) -> Making:
    """The one job for a request."""
    return _making(request, _weights_of(request.network))


def search(network: str, layer: str) -> Search:
    """The one search for a layer."""
    return _search(network, layer, _weights_of(network))


def _weights_of(network: str) -> str:
    return resources.trained(network).card.weights_sha256


@st.cache_resource(max_entries=64, show_spinner=False, on_release=Job.stop)
def _making(request: Request, weights: str) -> Making:
    return Making(request)


@st.cache_resource(max_entries=64, show_spinner=False, on_release=Job.stop)
def _search(network: str, layer: str, weights: str) -> Search:
    return Search(network, layer)
