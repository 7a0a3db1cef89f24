"""A class on one server, without a browser: what is whose on the Train page, and what the lecturer's key opens."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.testing.v1 import AppTest

from engine import checkpoints, settings
from engine.training import estimate, live_files, turns
from engine.training.estimate import TimePerImage
from engine.training.queue import jobs, limits, owners
from engine.training.recipe import Recipe
from engine.training.records import Status
from engine.training.run import RunFolder
from pages.common import visitors
from pages.train import estimate as page_estimate
from tests.apps import assert_no_error, open_page
from tests.engine.checkpoints.test_checkpoints import make_card, make_contents
from tests.runs import lenet

PAGE = "train/page.py"
KEY = "correct horse"


@pytest.fixture(autouse=True)
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_folders: Callable[..., None]) -> Iterator[Path]:
    """The folder of runs of a server that a class shares; nothing is trained."""
    st.cache_data.clear()
    st.cache_resource.clear()
    use_folders(runs=tmp_path / "runs")
    dispatchers: list[int | None] = []
    monkeypatch.setattr(estimate, "cost", lambda recipe: TimePerImage(0.001, 0.0002))
    monkeypatch.setattr(jobs, "start", lambda folder, check: dispatchers.append(turns.join(folder.path, check)))
    with settings.used(kind="class", key=KEY):
        yield tmp_path / "runs"
    for dispatcher in filter(None, dispatchers):
        os.close(dispatcher)


def keys(app: AppTest) -> set[str]:
    """The page's own buttons."""
    return {button.key for button in app.main.button if str(button.key).startswith("train_")}


def timed(**link: str) -> AppTest:
    """A visitor's session before a press of Start, which needs the timing of the network."""
    app = open_page(PAGE, **link)
    end = time.monotonic() + 60
    while any("timing a few steps" in text.value for text in app.markdown):
        assert time.monotonic() < end
        app.run()
    return app


def started(**link: str) -> AppTest:
    """A visitor's session after a press of Start."""
    return timed(**link).main.button(key="train_start").click().run()


def with_key(app: AppTest, key: str) -> AppTest:
    return app.text_input(key=visitors.KEY).set_value(key).run()


def test_a_run_is_its_starters_others_look_on_and_the_key_opens_everything(shared: Path) -> None:
    owner = started()
    assert_no_error(owner)
    assert keys(owner) == {"train_stop"}
    right = owner.query_params["right"]
    assert any("This run is yours" in caption.value for caption in owner.caption)

    other = open_page(PAGE, run="first_lesson")
    assert_no_error(other)
    assert keys(other) == set()
    assert any("number 1 in the queue" in info.value for info in other.info)
    assert any("somebody else's" in caption.value for caption in other.caption)
    guessed = open_page(PAGE, run="first_lesson", right=owners.of(shared / "first_lesson"))
    assert keys(guessed) == set()
    assert "right" not in guessed.query_params

    given = open_page(PAGE, run="first_lesson", right=right)
    assert not given.warning
    assert keys(given) == {"train_stop"}
    assert "right" in given.query_params
    given.main.selectbox(key="run").set_value("a new training").run()
    assert "right" not in given.query_params

    wrong = with_key(other, "wrong horse")
    assert keys(wrong) == set()
    assert "This is not the key" in wrong.error[0].value
    lecturer = with_key(wrong, KEY)
    assert_no_error(lecturer)
    assert keys(lecturer) == {"train_stop"}
    lecturer.main.button(key="train_stop").click().run()
    assert jobs.look(RunFolder(shared / "first_lesson")).state == "stopped"
    lecturer.run()
    assert keys(lecturer) == {"train_again", "train_keep", "train_delete"}
    lecturer.main.button(key="lecturer_leaves").click().run()
    assert keys(lecturer) == set()
    assert keys(owner.run()) == {"train_again", "train_keep", "train_delete"}


@pytest.mark.parametrize("breaks_off", [True, False])
def test_a_second_click_on_start_opens_the_run_of_the_first(
    shared: Path, monkeypatch: pytest.MonkeyPatch, breaks_off: bool
) -> None:
    app, submit = timed(), jobs.submit

    def interrupted(*arguments: Any) -> RunFolder:
        folder = submit(*arguments)
        get_script_run_ctx().script_requests.request_stop()  # as Streamlit does at the next click
        return folder

    monkeypatch.setattr(jobs, "submit", interrupted if breaks_off else submit)
    start, shown = app.main.button(key="train_start"), app.main.selectbox(key="run")
    for _ in range(2):  # as from a browser that still shows the form
        shown.set_value("a new training")
        start.click().run()
    assert_no_error(app)
    assert [path.name for path in turns.queue(shared)] == ["first_lesson"]
    assert keys(app) == {"train_stop"}
    assert owners.belongs(shared / "first_lesson", [app.query_params["right"]])


def test_a_second_run_that_waits_and_a_long_one_are_refused_politely(shared: Path) -> None:
    app = started()
    app.selectbox(key="run").set_value("a new training").run()
    app.main.button(key="train_start").click().run()
    assert [error.value for error in app.error] == [
        "Your last run still waits for its turn: let it begin, or cancel it first."
    ]
    long = started(epochs1="1000")
    assert "and 30 min are allowed on this server" in long.error[0].value
    assert [path.name for path in turns.queue(shared)] == ["first_lesson"]
    with_key(long, KEY).main.button(key="train_start").click().run()
    assert_no_error(long)
    assert [path.name for path in turns.queue(shared)] == ["first_lesson", "first_lesson-2"]


def test_after_a_while_the_time_that_was_shown_still_counts(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = timed()
    renewed, goes_on = threading.Event(), threading.Event()

    def cost(recipe: Recipe) -> TimePerImage:
        renewed.set()
        goes_on.wait(60)
        return TimePerImage(9.0, 9.0)

    monkeypatch.setattr(estimate, "cost", cost)
    monkeypatch.setattr(page_estimate, "VALID", -1.0)
    try:
        app.main.button(key="train_start").click().run()
        assert renewed.wait(60)
    finally:
        goes_on.set()
    assert_no_error(app)
    assert [path.name for path in turns.queue(shared)] == ["first_lesson"]


def test_only_the_lecturer_pauses_a_run_and_its_owner_may_go_on_with_it(shared: Path) -> None:
    right, folder = owners.new_right(), RunFolder(shared / "mine")
    folder.begin(lenet(name="mine"))
    owners.give(folder.path, right)
    with folder.held():
        live_files.write_status(folder, Status("running", epochs=2))
        owner = open_page(PAGE, run="mine", right=right)
        assert keys(owner) == {"train_stop"}
        lecturer = with_key(open_page(PAGE, run="mine"), KEY)
        assert keys(lecturer) == {"train_pause", "train_stop"}
        live_files.write_status(folder, Status("paused", epochs=2))
        assert keys(owner.run()) == {"train_resume", "train_stop"}


def test_where_students_do_not_train_only_the_lecturer_does() -> None:
    with settings.used(minutes=0):
        app = open_page(PAGE)
        assert app.main.button(key="train_start").disabled
        assert "train_range_start" not in keys(app)
        with_key(app, KEY)
        assert not app.main.button(key="train_start").disabled
        assert "train_range_start" in keys(app)


def test_a_kept_model_is_removed_by_whoever_kept_it(
    shared: Path, tmp_path: Path, use_folders: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setattr(checkpoints, "kept", lambda: sorted(kept.iterdir()))
    removed: list[str] = []
    monkeypatch.setattr(checkpoints, "remove", removed.append)
    right = owners.new_right()
    folder = RunFolder(shared / "mine")
    folder.begin(lenet(name="mine"))
    owners.give(folder.path, right)
    for name, owner in (("ours", owners.digest(right)), ("lecturers", "")):
        checkpoints.save(make_card(name), replace(make_contents(), owner=owner), kept)
    asked: list[bool] = []
    monkeypatch.setattr(jobs, "keep", lambda folder, name, target, is_owners: asked.append(is_owners))
    monkeypatch.setattr(limits, "check_keeping", lambda *_: None)

    def offered(app: AppTest) -> set[str]:
        return {key.removeprefix("train_remove-") for key in keys(app) if key.startswith("train_remove-")}

    assert offered(open_page(PAGE)) == set()
    owner = open_page(PAGE, run="mine", right=right)
    owner.main.button(key="train_keep").click().run()
    owner.selectbox(key="run").set_value("a new training").run()
    assert offered(owner) == {"ours"}
    owner.main.button(key="train_remove-ours").click().run()
    assert removed == ["ours"]
    lecturer = with_key(open_page(PAGE), KEY)
    assert offered(lecturer) == {"ours", "lecturers"}
    lecturer.selectbox(key="run").set_value("mine").run()
    lecturer.main.button(key="train_keep").click().run()
    assert asked == [True, False]
    with settings.used(kind="alone"):
        assert offered(open_page(PAGE)) == {"ours", "lecturers"}


def test_alone_nothing_asks_for_a_key_and_no_link_carries_a_right(shared: Path) -> None:
    with settings.used(kind="alone"):
        app = started()
        assert_no_error(app)
        assert "right" not in app.query_params
        assert not (shared / "first_lesson" / "owner").exists()
        another = open_page(PAGE, run="first_lesson")
        assert keys(another) == {"train_stop"}
        assert [field.key for field in another.text_input if field.key == visitors.KEY] == []
    with settings.used(key=""):
        assert [field.key for field in open_page(PAGE).text_input if field.key == visitors.KEY] == []
