"""What the tests of pages share: no work goes on behind a test."""

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from pages.common.jobs import Job, Jobs


@pytest.fixture(autouse=True)
def no_job_goes_on() -> Iterator[None]:
    """End the jobs that a test leaves at work, and forget them: nobody looks at them, the next test needs the cores.

    In the app they would go on for whoever comes back.
    """
    yield
    for job in filter(lambda work: isinstance(work, Job), map(_work_of, threading.enumerate())):
        job.stop()
        if isinstance(job.registered, partial):
            _forget(job, job.registered.func.__self__)


def _work_of(thread: threading.Thread) -> object:
    return getattr(getattr(thread, "_target", None), "__self__", None)


def _forget(job: Job, jobs: Jobs) -> None:
    for key, kept in list(jobs._jobs.items()):
        if kept is job:
            del jobs._jobs[key]
