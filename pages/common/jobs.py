"""Work that goes on while readers look at other pages: one thread for each job, which never calls Streamlit.

Any session can watch a job and stop it. Two jobs work at a time, so that thirty readers do not slow each other to a
standstill; while others wait, one that nobody watches gives way.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from engine.errors import ConvscopeError

AT_WORK, PATIENCE = 2, 20.0
"""How many jobs work at a time; for how many seconds an unwatched one goes on while others wait."""
KEPT = 64
"""How many jobs of a kind are kept, at work, done, or not begun."""


class Stopped(Exception):
    """Somebody has pressed Stop, or nobody watches while others wait, or the program ends."""


def _leaving() -> bool:
    """Whether the program ends: it waits for its threads, and to kill one in the midst of PyTorch would be a crash."""
    return not threading.main_thread().is_alive()


class _Turns:
    """Lets so many in at a time, and knows whether others wait."""

    def __init__(self, at_work: int) -> None:
        self._free, self._lock, self._waiting = threading.Semaphore(at_work), threading.Lock(), 0

    @property
    def wanted(self) -> bool:
        return self._waiting > 0

    @contextmanager
    def turn(self, stop: threading.Event) -> Iterator[None]:
        """Wait for a turn and hold it; raises `Stopped` once `stop` is set, or the program ends, before it has come."""
        self._count(1)
        try:
            while not self._free.acquire(timeout=0.1):
                if stop.is_set() or _leaving():
                    raise Stopped
        finally:
            self._count(-1)
        try:
            yield
        finally:
            self._free.release()

    def _count(self, change: int) -> None:
        with self._lock:
            self._waiting += change


_TURNS = _Turns(AT_WORK)


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

    @property
    def watched(self) -> bool:
        """Whether somebody has looked at it of late."""
        return time.monotonic() - self._watched <= PATIENCE

    def start(self) -> None:
        """Begin, unless it is at work already."""
        with self._lock:
            if not self.alive:
                self._stop.clear()
                self.watch()
                self.words, self.share, self.error = "Waiting for its turn", 0.0, ""
                self._thread = threading.Thread(target=self._run)
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
            with _TURNS.turn(self._stop):
                self.go_on_unless_stopped()
                self._work()
        except Stopped:
            pass
        except ConvscopeError as error:
            self.error = str(error)
        except Exception as error:  # a thread has nobody else to tell
            self.error = f"It could not be finished ({type(error).__name__}: {error}): try other settings."

    def _work(self) -> None:
        raise NotImplementedError

    def go_on_unless_stopped(self) -> None:
        """Call it between two steps: raises `Stopped` when the work is to end."""
        if self._stop.is_set() or _leaving() or (not self.watched and _TURNS.wanted):
            raise Stopped


AnyJob = TypeVar("AnyJob", bound=Job)


class Jobs(Generic[AnyJob]):
    """The jobs of one kind, one for each key, shared by all who ask for it.

    Whoever opens a page asks for a job, begun or not. So only the `KEPT` that were asked for last are kept; one that is
    at work and watched stays besides, whatever others look at.
    """

    def __init__(self) -> None:
        self._jobs: dict[Hashable, AnyJob] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], AnyJob]) -> AnyJob:
        """The job of `key`; where there is none, the one that `make` gives."""
        job = self._jobs.get(key) or make()  # not under the lock: it may take a while, and another may be kept instead
        with self._lock:
            self._jobs[key] = job = self._jobs.pop(key, job)  # the latest comes last
            self._give_up_the_oldest()
        return job

    def stop(self) -> None:
        """Ask all of them to end."""
        for job in list(self._jobs.values()):
            job.stop()

    def _give_up_the_oldest(self) -> None:
        spare = [key for key, job in list(self._jobs.items())[:-1] if not (job.alive and job.watched)]
        for key in spare[: max(0, len(self._jobs) - KEPT)]:
            self._jobs.pop(key).stop()
