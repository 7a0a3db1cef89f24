"""Jobs that several readers share: which of them are kept, and which go on, however much others look at."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine import settings
from engine.settings import ROOT
from pages.common import jobs, visitors
from pages.common.jobs import Job, Jobs


class Waiting(Job):
    """Works until it is told to end."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def _work(self) -> None:
        self.begun.set()
        self.go_on.wait(30)
        self.go_on_unless_stopped()
        self.share = 1.0


@pytest.fixture
def kept() -> Iterator[Jobs[Waiting]]:
    """Jobs; what is still at work ends with the test."""
    made = Jobs[Waiting]()
    yield made
    for key in made:
        job = made.get(key, Waiting)
        job.go_on.set()
        job.wait(30)


def begun(kept: Jobs[Waiting], key: str) -> Waiting:
    job = kept.get(key, Waiting)
    job.start()
    assert job.begun.wait(30)
    return job


def test_a_key_has_one_job(kept: Jobs[Waiting]) -> None:
    first = kept.get("a", Waiting)
    assert kept.get("a", Waiting) is first
    assert kept.get("b", Waiting) is not first


def test_looking_at_others_never_ends_a_job_that_is_watched(kept: Jobs[Waiting], monkeypatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 4)
    job = begun(kept, "at work")
    for number in range(20):
        kept.get(number, Waiting)
    assert kept.get("at work", Waiting) is job
    job.go_on.set()
    job.wait(30)
    assert job.share == 1.0


def test_results_take_no_more_than_so_many_bytes(kept: Jobs[Waiting], monkeypatch) -> None:
    monkeypatch.setattr(jobs, "MOST_BYTES", 250)
    for number in range(4):
        kept.get(number, Waiting).result = {"pictures": [np.zeros(100, np.uint8)]}
    kept.get("latest", Waiting)
    assert list(kept) == [2, 3, "latest"]


def test_bytes_are_not_counted_when_a_page_asks_again(kept: Jobs[Waiting], monkeypatch) -> None:
    job = kept.get("a", Waiting)
    monkeypatch.setattr(jobs.kept, "memory", lambda value: pytest.fail("counted"))
    assert kept.get("a", Waiting) is job


def test_only_so_many_idle_ones_are_kept_and_those_asked_for_last(kept: Jobs[Waiting], monkeypatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 4)
    begun(kept, "at work")
    first = kept.get(0, Waiting)
    for number in (1, 2, 0, 3):
        kept.get(number, Waiting)
    assert kept.get(0, Waiting) is first
    assert list(kept) == ["at work", 2, 3, 0]


def test_one_that_nobody_watches_is_stopped_and_given_up(kept: Jobs[Waiting], monkeypatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 4)
    job = begun(kept, "at work")
    monkeypatch.setattr(jobs, "PATIENCE", -1.0)
    for number in range(20):
        kept.get(number, Waiting)
    job.go_on.set()
    job.wait(30)
    assert job.share < 1.0
    assert kept.get("at work", Waiting) is not job


def test_a_job_that_is_stopped_while_it_waits_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = jobs.Turns(1)
    monkeypatch.setattr(jobs, "TURNS", turns)
    first, second = Waiting(), Waiting()
    first.start()
    assert first.begun.wait(30)
    second.start()
    while not turns.wanted:
        time.sleep(0.01)
    second.stop()
    second.wait(30)
    assert not second.alive
    assert not turns.wanted
    assert first.alive
    first.go_on.set()
    first.wait(30)


def test_a_job_that_was_given_up_since_it_was_drawn_returns_when_it_is_started(
    kept: Jobs[Waiting], monkeypatch
) -> None:
    monkeypatch.setattr(jobs, "KEPT", 1)
    drawn = kept.get("a", Waiting)
    kept.get("b", Waiting)
    assert list(kept) == ["b"]
    drawn.start()
    assert kept.get("a", Waiting) is drawn
    assert drawn.begun.wait(30)


def test_the_successor_of_a_job_that_was_given_up_begins_in_its_place(kept: Jobs[Waiting], monkeypatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 1)
    drawn = kept.get("a", Waiting)
    kept.get("b", Waiting)
    successor = kept.get("a", Waiting)
    drawn.start()
    assert successor.begun.wait(30)
    assert not drawn.alive


class Unturned(Waiting):
    computes = False


def test_a_download_waits_for_no_turn_and_gives_way_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = jobs.Turns(0)
    monkeypatch.setattr(jobs, "TURNS", turns)
    monkeypatch.setattr(jobs, "PATIENCE", -1.0)
    waiting, download = Waiting(), Unturned()
    waiting.start()
    while not turns.wanted:
        time.sleep(0.01)
    download.start()
    assert download.begun.wait(30)
    download.go_on.set()
    download.wait(30)
    assert download.complete
    waiting.stop()
    waiting.wait(30)
    assert waiting.stopped


class Counting(Job):
    """Counts to three, one at each release; fails where it is asked to."""

    def __init__(self, failing: bool = False) -> None:
        super().__init__()
        self.releases, self._failing = threading.Semaphore(0), failing

    def _work(self) -> None:
        for done in range(3):
            self.advance(done, 3, "numbers")
            assert self.releases.acquire(timeout=30)
            if self._failing:
                raise ValueError("no more numbers")
        self.advance(3, 3, "numbers")


def page(job: Counting, again: str | None) -> AppTest:
    """A page with one panel."""

    def script(job, again) -> None:
        from pages.common.jobs import panel

        panel(job, start="Count", again=again, key="count")

    return AppTest.from_function(script, kwargs={"job": job, "again": again}).run()


def what_is_drawn(app: AppTest) -> list[str]:
    """Labels of the buttons, and words of the progress bar, of notes and of errors."""
    assert not app.exception
    bars = [bar.proto.text for bar in app.get("progress")]
    return [button.label for button in app.button] + bars + [at.value for at in (*app.caption, *app.error)]


def wait_for_words(job: Job, words: str) -> None:
    end = time.monotonic() + 30
    while job.words != words:
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("again", [None, "Count again"])
def test_a_panel_starts_a_job_and_follows_it_to_its_end(again: str | None) -> None:
    job = Counting()
    app = page(job, again)
    assert what_is_drawn(app) == ["Count"]
    app.button(key="count_start").click().run()
    job.releases.release()
    wait_for_words(job, "1 of 3 numbers")
    assert what_is_drawn(app.run()) == ["Stop", "1 of 3 numbers"]
    job.releases.release(2)
    job.wait(30)
    assert what_is_drawn(app.run()) == [again or "Count"]
    assert app.button(key="count_start").disabled == (again is None)


def test_a_panel_stops_a_job_and_says_how_far_it_was() -> None:
    job = Counting()
    app = page(job, None)
    app.button(key="count_start").click().run()
    job.releases.release()
    wait_for_words(job, "1 of 3 numbers")
    app.run().button(key="count_stop").click().run()
    job.releases.release()
    job.wait(30)
    assert what_is_drawn(app.run()) == ["Count", "Stopped after 2 of 3 numbers."]
    assert not app.button(key="count_start").disabled


def test_a_panel_shows_why_a_job_has_failed() -> None:
    job = Counting(failing=True)
    app = page(job, None)
    app.button(key="count_start").click().run()
    job.releases.release()
    job.wait(30)
    button, error = what_is_drawn(app.run())
    assert button == "Count"
    assert "no more numbers" in error


@pytest.mark.parametrize("ends", [True, False])
def test_a_button_fits_its_job_though_that_ends_or_begins_while_the_page_is_drawn(ends: bool) -> None:
    def script(job, meanwhile) -> None:
        from pages.common.jobs import buttons, follow

        buttons(job, start="Count", key="count")
        meanwhile()
        follow(job)

    def meanwhile() -> None:
        if ends:
            job.releases.release(3)
            job.wait(30)
        else:
            job.start()
            wait_for_words(job, "0 of 3 numbers")

    job = Counting()
    if ends:
        job.start()
    app = AppTest.from_function(script, kwargs={"job": job, "meanwhile": meanwhile}).run()
    assert what_is_drawn(app) == (["Count"] if ends else ["Stop", "0 of 3 numbers"])
    job.releases.release(3)


def test_a_program_that_ends_waits_for_the_step_at_hand_and_no_longer() -> None:
    program = """
import time
from pages.common import jobs

class Endless(jobs.Job):
    def _work(self):
        while True:
            time.sleep(0.05)
            self.go_on_unless_stopped()

for job in [Endless() for _ in range(jobs.AT_WORK + 1)]:
    job.start()
time.sleep(0.3)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# Turns ---------------------------------------------------------------------------------------------------------


class Steps(Job):
    """Takes steps until it is told to end, and notes each in a list that several share."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__()
        self.name, self.log, self.enough = name, log, threading.Event()

    def _work(self) -> None:
        while not self.enough.is_set():
            self.log.append(self.name)
            time.sleep(0.01)
            self.go_on_unless_stopped()


def wait_until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_turns_go_round_the_visitors(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = jobs.Turns(0)
    stop = threading.Event()
    asked = [jobs.Turn(visitor) for visitor in ("a", "a", "a", "b", "c", "b")]
    threads = []
    for turn in asked:
        threads.append(threading.Thread(target=lambda turn=turn: suppressed(turns, stop, turn)))
        threads[-1].start()
        wait_until(lambda turn=turn: turns.place(turn) > 0)
    assert sorted(range(6), key=lambda number: turns.place(asked[number])) == [0, 3, 4, 1, 5, 2]
    stop.set()
    for thread in threads:
        thread.join(30)
    assert not turns.wanted


def suppressed(turns: jobs.Turns, stop: threading.Event, turn: jobs.Turn) -> None:
    with pytest.raises(jobs.Stopped), turns.turn(stop, turn):
        pass


def test_a_watched_job_lets_others_in_and_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "TURNS", jobs.Turns(1))
    monkeypatch.setattr(jobs, "SLICE", 0.05)
    log: list[str] = []
    first, second = Steps("first", log), Steps("second", log)
    first.start()
    wait_until(lambda: log.count("first") > 3)
    second.start()
    wait_until(lambda: log.count("second") > 3)
    wait_until(lambda: log[-1] == "first")  # again
    assert {first.place, second.place} == {0, 1}
    assert first.alive
    assert second.alive
    for job in (first, second):
        job.enough.set()
        job.wait(30)
        assert job.complete


def test_who_waits_is_told_the_place_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "TURNS", jobs.Turns(0))
    waiting = [Counting() for _ in range(2)]
    for number, job in enumerate(waiting):
        job.start()
        wait_until(lambda job=job, number=number: job.place == number + 1)
    assert what_is_drawn(page(waiting[1], None)) == ["Stop", "Waiting for its turn: number 2 in the queue"]
    for job in waiting:
        job.stop()
        job.wait(30)


class Private(Steps):
    private = True


def test_what_is_one_visitors_alone_ends_when_they_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "TURNS", jobs.Turns(2))
    shared, private = Steps("shared", []), Private("private", [])
    for job in (shared, private):
        job.start()
        wait_until(lambda job=job: len(job.log) > 2)
    monkeypatch.setattr(jobs, "PATIENCE", -1.0)
    count = len(private.log)
    wait_until(lambda: len(private.log) > count + 2)  # another page is open
    monkeypatch.setattr(visitors, "is_here", lambda visitor: False)
    private.wait(30)
    assert private.stopped
    assert shared.alive  # nobody waits
    shared.stop()
    shared.wait(30)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")],
)
def test_a_job_without_memory_says_so(error: Exception) -> None:
    class Greedy(Job):
        def _work(self) -> None:
            raise error

    job = Greedy()
    job.start()
    job.wait(30)
    assert job.error.startswith("There is no memory left for this")


def test_in_a_class_nobody_stops_what_others_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Counting()
    app = page(job, None)
    app.button(key="count_start").click().run()
    wait_for_words(job, "0 of 3 numbers")
    with settings.used(kind="class"):
        monkeypatch.setattr(visitors, "name", lambda: "another")
        app.run().button(key="count_stop").click().run()
        assert [toast.value for toast in app.toast] == ["Somebody else has begun this, or looks on: it goes on."]
        assert job.alive
    app.run().button(key="count_stop").click().run()
    job.releases.release(3)
    job.wait(30)
    assert job.stopped
