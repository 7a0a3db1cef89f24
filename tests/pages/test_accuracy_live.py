"""The Live view of the Accuracy page: runs that take turns, are stopped, are kept, and begin from a link."""

import io
import threading
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import streamlit as st

from engine import checkpoints, pictures, weights
from engine.accuracy.figures import accuracy
from engine.data import archives, perturbations
from engine.evaluation import Predictions
from pages.accuracy import jobs as accuracy_jobs
from pages.accuracy import own_images
from pages.accuracy.jobs import Evaluation, OwnEvaluation, PerturbedEvaluation, PerturbedTest, Results
from pages.common import jobs, resources, visitors
from pages.common.jobs import Job
from tests.apps import assert_no_error, open_page


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Job]]:
    """All jobs that a test begins; they end with it."""
    st.cache_data.clear()
    st.cache_resource.clear()
    jobs_begun: list[Job] = []
    start = Job.start

    def start_and_note(job: Job) -> None:
        jobs_begun.append(job)
        start(job)

    monkeypatch.setattr(Job, "start", start_and_note)
    yield jobs_begun
    for job in jobs_begun:
        job.stop()
        job.wait(60)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> jobs.Turns:
    """Turns of which one is given at a time."""
    made = jobs.Turns(1)
    monkeypatch.setattr(jobs, "TURNS", made)
    return made


@pytest.fixture
def batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Runs that go on to their next batch only when the function that this gives is called."""
    batches, note = threading.Semaphore(0), Evaluation.on_batch

    def wait_and_note(job: Evaluation, done: int) -> None:
        batches.acquire(timeout=60)
        note(job, done)

    monkeypatch.setattr(Evaluation, "on_batch", wait_and_note)
    yield batches.release
    batches.release(1_000)


def page(**link: str):
    return open_page("accuracy/page.py", **{"checkpoint": "lenet", "view": "Live", "images_tested": "200", **link})


def said(app) -> str:
    return "\n".join(element.value for element in (*app.markdown, *app.info, *app.caption))


def button_keys(app) -> list[str | None]:
    return [button.key for button in app.button]


def progress(app) -> list[str]:
    return [one.proto.text for one in app.get("progress")]


def perturbed_test(strength: float, count: int = 200, kind: str = "noise") -> PerturbedTest:
    return PerturbedTest(weights.find("lenet"), count, kind, strength)


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


# Perturbed images ----------------------------------------------------------------------------------------------


def test_a_run_on_perturbed_images_gives_the_figures_of_a_plain_one(begun: list[Job]) -> None:
    app = page()
    (job,) = begun
    job.wait(120)
    test = resources.images("test")
    first = np.concatenate([np.flatnonzero(test.labels == label)[:20] for label in range(10)])
    stored = checkpoints.predictions("lenet").test.subset(np.sort(first))
    assert np.array_equal(job.result.predicted, stored.predicted)
    app.run()
    assert app.metric[0].value == f"{100 * accuracy(stored).value:.1f} %"


def test_whoever_drags_the_slider_leaves_no_trail_of_runs(
    begun: list[Job], turns: jobs.Turns, batch_by_batch: Callable[[], None]
) -> None:
    app = page()
    for strength in ("5", "10", "15"):
        app.select_slider(key="strength_noise").set_value(strength).run()
    assert [job.test.strength for job in begun] == [0, 5, 10, 15]
    assert progress(app) == ["Waiting for its turn: number 1 in the queue"]
    for _ in range(10):
        batch_by_batch()
    for job in begun:
        job.wait(60)
    assert [job.result is not None for job in begun] == [False, False, False, True]
    # Of all those that were left, only this one had begun.
    assert begun[0].words == f"{accuracy_jobs.BATCH} of 200 images"
    app.run()
    assert_no_error(app)
    assert app.metric[0].label == "Accuracy"


def test_a_run_on_perturbed_images_is_stopped_and_goes_on_when_its_reader_wants(
    begun: list[Job], batch_by_batch: Callable[[], None]
) -> None:
    app = page()
    app.button(key="live_perturbed_stop").click().run()
    batch_by_batch()
    begun[0].wait(60)
    app.run()
    assert "Stopped after 50 of 200 images." in said(app)
    assert "live_perturbed_stop" not in button_keys(app)
    for _ in range(10):
        batch_by_batch()
    app.button(key="live_perturbed_start").click().run()
    begun[0].wait(60)
    app.run()
    assert app.metric[0].label == "Accuracy"
    assert app.button(key="live_perturbed_start").disabled


def test_what_another_session_has_predicted_is_not_run_again(begun: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    page()
    begun[0].wait(60)
    monkeypatch.setattr(Evaluation, "predict", None)
    app = page()
    assert_no_error(app)
    assert len(begun) == 1
    assert app.metric[0].label == "Accuracy"


def test_what_another_session_predicts_while_one_waits_is_taken_over(turns: jobs.Turns) -> None:
    kept, found = Results(2), Predictions(np.zeros((1, 2)), np.zeros(1, np.int64))
    with turns.turn(threading.Event()):
        job = PerturbedEvaluation(perturbed_test(5), kept)
        job.start()
        kept.put(perturbed_test(5), found)
    job.wait(60)
    assert job.result is found


def test_an_unwatched_run_gives_way_to_one_that_waits(
    turns: jobs.Turns, batch_by_batch: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.0)
    left, other = (PerturbedEvaluation(perturbed_test(strength), Results(4)) for strength in (5, 10))
    left.start()
    wait_for(lambda: left.words == "0 of 200 images")
    other.start()
    wait_for(lambda: turns.wanted)
    batch_by_batch()
    left.wait(60)
    assert (left.result, left.words) == (None, "50 of 200 images")


def test_only_the_latest_results_are_kept() -> None:
    kept, found = Results(3), Predictions(np.zeros((1, 2)), np.zeros(1, np.int64))
    for strength in (20, 5, 15, 10):
        kept.put(perturbed_test(strength), found)
    kept.put(perturbed_test(15, kind="blur"), found)
    assert len(kept) == 3
    assert list(kept.by_strength(perturbed_test(80))) == [10, 15]
    assert kept.get(perturbed_test(20)) is None


@pytest.mark.parametrize("asked", ["abc", "999", "nan", "0.0123", "1e9", "-5"])
def test_a_strength_that_is_not_on_offer_is_told_and_not_run(asked: str, begun: list[Job]) -> None:
    app = page(strength_noise=asked)
    assert_no_error(app)
    assert [f"{asked!r}, which is not on offer here: 0 is shown" in one.value for one in app.warning] == [True]
    assert [job.test.strength for job in begun] == [0]
    begun[0].wait(60)
    assert len(app.run().warning) == 1  # the page is drawn anew when the run ends
    assert not app.select_slider(key="strength_noise").set_value("10").run().warning


@pytest.mark.parametrize("kind", perturbations.PERTURBATIONS)
def test_a_link_restores_a_strength(kind: str, begun: list[Job]) -> None:
    wanted = perturbations.PERTURBATIONS[kind].strengths[3]
    app = page(disturbance=kind, **{f"strength_{kind}": f"{wanted:g}"})
    assert_no_error(app)
    assert not app.warning
    assert begun[0].test == perturbed_test(wanted, kind=kind)


# All test images -----------------------------------------------------------------------------------------------


def test_a_run_on_all_images_can_be_stopped_and_started(begun: list[Job]) -> None:
    app = page()
    app.button(key="live_start").click().run()
    app.button(key="live_stop").click().run()
    run = accuracy_jobs.whole(weights.find("lenet"))
    run.wait(120)
    assert (run in begun, run.alive, run.result) == (True, False, None)
    app.run()
    assert_no_error(app)
    assert any(text.value.startswith("Stopped after") for text in app.caption)
    assert not app.button(key="live_start").disabled


# A reader's own images -----------------------------------------------------------------------------------------


def upload(app, content: bytes):
    return app.file_uploader(key="live_zip").set_value(("mine.zip", content, "application/zip")).run()


def test_an_archive_of_class_folders_is_judged() -> None:
    app = upload(page(), archive_of(range(8)))
    app.session_state["_live_own"].job.wait(60)
    app.run()
    assert_no_error(app)
    right = int(checkpoints.predictions("lenet").test.correct[:8].sum())
    assert f"Accuracy on your images: **{right} of 8**" in said(app)
    assert any(text.value.startswith("Files that were skipped") and "heic" in text.value for text in app.caption)


def test_an_archive_is_given_up_once_it_is_decoded_and_its_images_can_be_run_again() -> None:
    card = checkpoints.load("lenet").card
    decode = partial(own_images._decoded, archive_of(range(4)), "mine.zip", card)
    holder = weakref.ref(decode)
    job = OwnEvaluation(weights.find("lenet"), decode)
    del decode
    for _ in range(2):
        job.start()
        job.wait(60)
        assert (job.complete, job.error, len(job.images)) == (True, "", 4)
        assert holder() is None


def test_archives_wait_for_their_turn_and_can_be_stopped(begun: list[Job], turns: jobs.Turns) -> None:
    app = page()
    begun[0].wait(60)
    with turns.turn(threading.Event()):
        upload(app, archive_of(range(8)))
        assert progress(app) == ["Waiting for its turn: number 1 in the queue"]
        app.button(key="live_own_stop").click().run()
    begun[1].wait(60)
    app.run()
    assert "Stopped before it began." in said(app)


def test_another_archive_stops_the_earlier_one(begun: list[Job], turns: jobs.Turns) -> None:
    app = page()
    begun[0].wait(60)
    with turns.turn(threading.Event()):
        upload(app, archive_of(range(8)))
        upload(app, archive_of(range(4)))
    for job in begun:
        job.wait(60)
    assert [(job.words, job.complete) for job in begun[1:]] == [("", False), ("4 of 4 images", True)]


def test_an_archive_is_decoded_in_its_turn_and_no_further_when_its_reader_has_left(
    begun: list[Job], turns: jobs.Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []
    read = archives.read

    def slowly(*arguments: object) -> np.ndarray:
        threads.append(threading.current_thread())
        reading.set()
        go_on.wait(60)
        return read(*arguments)

    monkeypatch.setattr(archives, "read", slowly)
    app = page()
    begun[0].wait(60)
    with turns.turn(threading.Event()):
        upload(app, archive_of(range(8)))  # the page is drawn to its end
        assert threads == []
    job = app.session_state["_live_own"].job
    assert reading.wait(60)
    app.run()
    assert progress(app) == ["0 of 8 pictures read"]
    monkeypatch.setattr(jobs, "PATIENCE", -1.0)
    monkeypatch.setattr(visitors, "is_here", lambda visitor: False)
    go_on.set()
    job.wait(60)
    assert (job.stopped, job.result, len(threads)) == (True, None, 1)
    assert threads[0] is not threading.main_thread()


def test_an_archive_that_is_none_is_one_sentence() -> None:
    app = upload(page(), b"nothing")
    app.session_state["_live_own"].job.wait(60)
    app.run()
    assert not app.exception
    assert app.error[0].value.startswith("mine.zip is not a readable ZIP archive")


def archive_of(indices: range) -> bytes:
    """Test images as PNGs in folders of their classes."""
    test, file = resources.images("test"), io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for index in indices:
            name = test.classes[test.labels[index]]
            archive.writestr(f"{name}/{index}.png", pictures.png(test.images[index]))
        archive.writestr("cat/tom.heic", b"a picture that is not read")
    return file.getvalue()
