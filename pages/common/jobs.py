"""Work that goes on while readers look at other pages, and the panel that starts, stops and follows it.

Each job has one thread, which never calls Streamlit; any session can watch it and stop it. Two jobs work at a time, so
that thirty readers do not slow each other to a standstill. While others wait, one that nobody watches gives way for
good, and one that is watched after some seconds, until its turn comes again: round robin over the visitors. One that
keeps much memory meanwhile keeps its turn instead.

A page writes a subclass of `Job`, keeps its jobs in `Jobs`, and draws a `panel`; or, where button and progress have
different places, `buttons` and `follow`.
"""

import threading
import time
from bisect import insort
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import ClassVar, Generic, TypeVar
from weakref import WeakKeyDictionary

import streamlit as st

from engine.errors import ConvscopeError
from engine.training.memory import OUT_OF_MEMORY, is_out_of_memory
from pages.common import kept, texts, visitors

AT_WORK, PATIENCE = 2, 20.0
"""How many jobs work at a time; for how many seconds an unwatched one goes on while others wait."""
SLICE = 5.0
"""Seconds after which a watched one lets others have a turn."""
KEPT = 64
"""How many jobs of a kind are kept, whether at work, done, or not begun."""
MOST_BYTES = 160_000_000
"""What the results of a kind's jobs may take together."""
POLL = 0.5
"""Seconds between two looks at work in progress."""
DRAWN = "_jobs_drawn"
"""In the session: whether each job was alive when its button was drawn, until `follow` goes by that."""
BARS = "bars"
"""Where it says how far jobs are, if all goes well: beside the title, while a page is presented (layout.py)."""


class Stopped(Exception):
    """Somebody has pressed Stop, or nobody watches while others wait, or the program ends."""


def _leaving() -> bool:
    """Whether the program ends: it waits for its threads, and to kill one in the midst of PyTorch would be a crash."""
    return not threading.main_thread().is_alive()


@dataclass(eq=False)
class Turn:
    """A job's turn, which it waits for or has.

    Attributes:
        visitor: who began the job.
        round: in which round over the visitors it comes; a visitor has one turn in each.
        begun: when it has come, on the monotonic clock; None while it waits.
    """

    visitor: str = ""
    round: int = 0
    begun: float | None = None


class Turns:
    """Lets `at_work` jobs work at a time, one of each visitor after the other, and knows whether others wait.

    A turn is asked for in the round after the visitor's last one, but in none that is over; the earliest round comes
    first, and in it who asked first (start-time fair queueing, Goyal et al. 1996, with turns of equal cost).
    """

    def __init__(self, at_work: int) -> None:
        self._free, self._changed = at_work, threading.Condition()
        self._waiting: list[Turn] = []  # the next one first
        self._round, self._last = 0, dict[str, int]()  # the present one, and the last one of each visitor

    @property
    def wanted(self) -> bool:
        return bool(self._waiting)

    def place(self, turn: Turn | None) -> int:
        """How many turns will have come when this one has: 1 for the next one; 0 if it does not wait."""
        with self._changed:
            return self._waiting.index(turn) + 1 if turn in self._waiting else 0

    @contextmanager
    def turn(self, stop: threading.Event, turn: Turn | None = None) -> Iterator[None]:
        """Wait for a turn and hold it; raises `Stopped` once `stop` is set, or the program ends, before it has come."""
        turn = turn or Turn()
        self._wait(turn, stop)
        try:
            yield
        finally:
            self._give_back(turn)

    def let_others_in(self, stop: threading.Event, turn: Turn) -> None:
        """Give the turn to somebody who waits, if it has lasted, and wait for the next one; raises like `turn`."""
        if self.wanted and turn.begun is not None and time.monotonic() - turn.begun > SLICE:
            self._give_back(turn)
            self._wait(turn, stop)

    def _wait(self, turn: Turn, stop: threading.Event) -> None:
        with self._changed:
            self._join(turn)
            try:
                while not (self._free and self._waiting[:1] == [turn]):
                    if turn not in self._waiting or stop.is_set() or _leaving():
                        raise Stopped
                    self._changed.wait(POLL)
                self._waiting.remove(turn)
                self._free, self._round, turn.begun = self._free - 1, turn.round, time.monotonic()
                self._changed.notify_all()
            finally:
                self._leave(turn)

    def _join(self, turn: Turn) -> None:
        self._last = {visitor: last for visitor, last in self._last.items() if last >= self._round}
        turn.round = self._last[turn.visitor] = max(self._round, self._last.get(turn.visitor, -1) + 1)
        insort(self._waiting, turn, key=attrgetter("round"))

    def leave(self, turn: Turn) -> None:
        """Wait no longer: whoever is behind it comes nearer at once."""
        with self._changed:
            self._leave(turn)

    def _leave(self, turn: Turn) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
            if self._last.get(turn.visitor) == turn.round:  # a turn that nobody has had does not count
                self._last[turn.visitor] -= 1
            self._changed.notify_all()

    def _give_back(self, turn: Turn) -> None:
        with self._changed:
            if turn.begun is not None:
                self._free, turn.begun = self._free + 1, None
                self._changed.notify_all()


TURNS = Turns(AT_WORK)


class Job:
    """Some work that any session can start, watch and stop; a subclass writes `_work`.

    Attributes:
        computes: whether it takes a turn, and the program's end waits for the step at hand; not so for a download.
        private: whether it is one visitor's alone, and so ends when they have left.
        keeps_turn: whether it keeps its turn to its end while it is watched: it is short, and takes too much memory for
            many to wait in the midst of it.
        words: how far it is, such as "50 of 200 images"; nothing before it has begun.
        share: how much of it is done, 0-1.
        error: one sentence, if it has failed.
        stopped: whether it has ended before its time.
    """

    computes: ClassVar[bool] = True
    private: ClassVar[bool] = False
    keeps_turn: ClassVar[bool] = False

    def __init__(self) -> None:
        self.words, self.share, self.error, self.stopped = "", 0.0, "", False
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._complete, self._turn = False, Turn()
        self._watched = {"": time.monotonic()}  # by visitor
        self.registered: Callable[[], Job] = lambda: self

    @property
    def alive(self) -> bool:
        """Whether it is at work, or waits for its turn."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def complete(self) -> bool:
        """Whether its work is done."""
        return self._complete

    @property
    def watched(self) -> bool:
        """Whether somebody has looked at it within the last `PATIENCE` seconds."""
        return time.monotonic() - max(list(self._watched.values())) <= PATIENCE

    @property
    def place(self) -> int:
        """Its place in the queue, 1 for the next one; 0 if it does not wait."""
        return TURNS.place(self._turn)

    def is_others(self, visitor: str) -> bool:
        """Whether another visitor has begun it, or looks at it at this moment."""
        now = time.monotonic()
        watched = any(
            now - last < 4 * POLL for other, last in list(self._watched.items()) if other not in ("", visitor)
        )
        return watched and self._turn.visitor != visitor

    def start(self) -> None:
        """Begin, unless it is at work already.

        A job that `Jobs` has given up since it was drawn returns there, or its successor begins.
        """
        self.registered()._begin()

    def _begin(self) -> None:
        with self._lock:
            if not self.alive:
                self._stop.clear()
                self._turn = Turn(visitors.name())
                self.watch()
                self.words, self.share, self.error, self.stopped = "", 0.0, "", False
                self._complete = False
                self._thread = threading.Thread(target=self._run, daemon=not self.computes)
                self._thread.start()

    def stop(self) -> None:
        """Ask it to end after the step at hand; its results so far stay."""
        self._stop.set()
        TURNS.leave(self._turn)

    def watch(self) -> None:
        """Note that this visitor looks at it."""
        now = time.monotonic()
        lately = {visitor: last for visitor, last in list(self._watched.items()) if now - last <= PATIENCE}
        self._watched = {**lately, visitors.name(): now}

    def wait(self, seconds: float) -> None:
        """Wait for its end, at most so many seconds."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            with TURNS.turn(self._stop, self._turn) if self.computes else nullcontext():
                self.go_on_unless_stopped()
                self._work()
            self._complete = True
        except Stopped:
            self.stopped = True
        except ConvscopeError as error:
            self.error = str(error)
        except Exception as error:  # nobody else would learn of it: this is a thread
            told = OUT_OF_MEMORY if is_out_of_memory(error) else None
            self.error = (
                told or f"It could not be finished ({type(error).__name__}: {error}): try again, or other settings."
            )

    def _work(self) -> None:
        raise NotImplementedError

    def advance(self, done: int, total: int, unit: str) -> None:
        """Note how far it is, and go on unless it was stopped; after the last one there is nothing left to stop."""
        self.share, self.words = done / max(1, total), f"{done:,} of {total:,} {unit}"
        if done < total:
            self.go_on_unless_stopped()

    def go_on_unless_stopped(self) -> None:
        """Call it between two steps: raises `Stopped` when the work is to end, and may wait while others work."""
        is_left = self.private and not visitors.is_here(self._turn.visitor)
        gives_way = self.computes and not self.watched and (is_left or TURNS.wanted)
        if self._stop.is_set() or _leaving() or gives_way:
            raise Stopped
        if self.computes and not self.keeps_turn:
            TURNS.let_others_in(self._stop, self._turn)


AnyJob = TypeVar("AnyJob", bound=Job)


def begun(job: AnyJob, anew: bool = False) -> AnyJob:
    """The job, begun if nobody has begun or stopped it; `anew`: also one that somebody has stopped."""
    if not (job.alive or job.complete or job.error or (job.stopped and not anew)):
        job.start()
    return job


class Jobs(Generic[AnyJob]):
    """The jobs of one kind, one for each key, shared by all who ask for it.

    Whoever opens a page asks for a job, begun or not. So only the `KEPT` that were asked for last are kept, and no more
    than fit into `MOST_BYTES`; one that is at work and watched stays besides, whatever others look at.
    """

    def __init__(self) -> None:
        self._jobs: dict[Hashable, AnyJob] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], AnyJob]) -> AnyJob:
        """The job of `key`; `make` makes it where there is none."""
        job = self._jobs.get(key) or make()  # not under the lock: it may take a while, and another may be kept instead
        with self._lock:
            is_new = key not in self._jobs
            self._jobs[key] = job = self._jobs.pop(key, job)  # the latest comes last
            if is_new:  # every rerun of a page asks again, and counting bytes takes its time
                self._give_up_the_oldest()
        job.registered = partial(self.get, key, lambda: job)
        return job

    def __iter__(self) -> Iterator[Hashable]:
        """The keys; the job that was asked for last comes last."""
        return iter(list(self._jobs))

    def all(self) -> list[AnyJob]:
        """The jobs that are kept."""
        return list(self._jobs.values())

    def stop(self) -> None:
        """Ask all of them to end."""
        for job in self.all():
            job.stop()

    def _give_up_the_oldest(self) -> None:
        spare = [key for key, job in list(self._jobs.items())[:-1] if not (job.alive and job.watched)]
        taken = {key: sum(kept.memory(vars(job)).values()) for key, job in self._jobs.items()}
        for key in spare:
            if len(self._jobs) <= KEPT and sum(taken.values()) <= MOST_BYTES:
                break
            self._jobs.pop(key).stop()
            del taken[key]


# The panel -----------------------------------------------------------------------------------------------------


def panel(*jobs: Job, start: str, key: str, again: str | None = None, stop: str = "Stop") -> None:
    """A button that starts or stops the jobs, and how far they are; see `buttons` and `follow`."""
    buttons(*jobs, start=start, key=key, again=again, stop=stop)
    follow(*jobs, place=None)


def buttons(*jobs: Job, start: str, key: str, again: str | None = None, stop: str = "Stop") -> None:
    """Start for what is not complete yet, or Stop while some job is alive.

    They stand outside the fragment of `follow`, in which a click would draw that alone, and not these anew.

    Args:
        start, stop: the labels.
        key: the buttons are called `{key}_start` and `{key}_stop`.
        again: the label for doing complete work once more; None does not offer that.
    """
    alive = [job.alive for job in jobs]
    st.session_state.setdefault(DRAWN, WeakKeyDictionary()).update(zip(jobs, alive, strict=True))
    if any(alive):
        st.button(stop, key=f"{key}_stop", type="primary", on_click=_stop_all, args=(jobs,))
        return
    waiting = [job for job in jobs if not job.complete]
    label, disabled = (start, False) if waiting else (again or start, again is None)
    st.button(
        label, key=f"{key}_start", type="primary", disabled=disabled, on_click=_start_all, args=(waiting or jobs,)
    )


def follow(*jobs: Job, look: Callable[[], None] = lambda: None, place: str | None = BARS) -> None:
    """How far the jobs are, twice a second while one is alive; when one has ended, the page is drawn once more.

    While none is alive, what `look` draws belongs to the page, so that a click there changes the rest of it too. While
    one is, a click there draws this alone anew, and a value put into a control elsewhere gets lost: `look` draws
    nothing then whose click would do that.

    Args:
        look: draws what there is so far, below.
        place: a name that a style sheet knows this place by, once on a page; None for none.
    """
    drawn = st.session_state.get(DRAWN, {})  # the page may have taken its time between the buttons and this
    alive = [drawn.pop(job, job.alive) for job in jobs]

    def poll() -> None:
        for job in jobs:
            job.watch()
        if [job.alive for job in jobs] != alive:  # other buttons, and perhaps no more polling
            st.rerun()
        with st.container(key=None if any(job.error for job in jobs) else place):
            for column, job in zip(st.columns(len(jobs)) if len(jobs) > 1 else [st.container()], jobs, strict=True):
                with column:
                    _report(job)
        look()

    texts.announce("" if any(alive) else "; ".join(f"Done: {job.words}" for job in jobs if job.complete))
    st.fragment(poll, run_every=POLL)() if any(alive) else poll()


def _report(job: Job) -> None:
    if job.error:
        st.error(texts.plain(job.error), icon="⚠️")
    elif job.alive:
        waits = f"Waiting for its turn: number {place} in the queue" if (place := job.place) else ""
        st.progress(job.share, " · ".join(filter(None, (job.words, waits))) or "It begins …")
    elif job.stopped:
        st.caption(f"Stopped after {job.words}." if job.words else "Stopped before it began.")


def _start_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.start()


def _stop_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if not visitors.leads() and job.is_others(visitors.name()):
            st.toast("Somebody else has begun this, or looks on: it goes on.")
        else:
            job.stop()
