"""Jobs that several readers share: which of them are kept, and which go on, however much others look at."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from engine.settings import ROOT
from pages.common import jobs
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
    for job in list(made._jobs.values()):
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


def test_only_so_many_idle_ones_are_kept_and_those_asked_for_last(kept: Jobs[Waiting], monkeypatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 4)
    begun(kept, "at work")
    first = kept.get(0, Waiting)
    for number in (1, 2, 0, 3):
        kept.get(number, Waiting)
    assert kept.get(0, Waiting) is first
    assert list(kept._jobs) == ["at work", 2, 3, 0]


def test_one_that_nobody_watches_is_stopped_and_given_up(kept: Jobs[Waiting], monkeypatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 4)
    job = begun(kept, "at work")
    job._watched -= 2 * jobs.PATIENCE
    for number in range(20):
        kept.get(number, Waiting)
    job.go_on.set()
    job.wait(30)
    assert job.share < 1.0
    assert kept.get("at work", Waiting) is not job


def test_a_job_that_is_stopped_while_it_waits_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = jobs._Turns(1)
    monkeypatch.setattr(jobs, "_TURNS", turns)
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
