"""The Train page without a browser: every state of a run, the form, and its buttons."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from engine.settings import ROOT
from engine.training import estimate, live_files, run, toml_text, turns
from engine.training import recipe as recipes
from engine.training.curves import step_curve
from engine.training.estimate import TimePerImage
from engine.training.plan import Plan
from engine.training.queue import dispatcher, jobs
from engine.training.recipe import Phase, Recipe
from engine.training.records import Status, Steps
from engine.training.run import RunFolder
from pages.common import downloads
from pages.train import charts, controls, files
from tests.apps import assert_no_error, open_page
from tests.runs import lenet, train

PAGE = "train/page.py"


@pytest.fixture(autouse=True)
def _fresh_caches() -> None:
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_folders: Callable[..., None]) -> Path:
    """An empty folder of runs, and an estimate that takes no time."""
    use_folders(runs=tmp_path / "runs")
    monkeypatch.setattr(estimate, "cost", lambda recipe: TimePerImage(0.01, 0.002))
    return tmp_path / "runs"


@pytest.fixture
def holding() -> Iterator[ExitStack]:
    """Locks that this test holds in place of a training process."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def trained(root: Path, splits) -> RunFolder:
    """A finished run of two phases, one epoch each."""
    folder = RunFolder(root / "lesson")
    train(lenet(phases=(Phase(1, 0.01), Phase(1, 0.001, optimizer="adam"))), splits, folder)
    return folder


def buttons(app: AppTest) -> set[str]:
    """The labels of the page's own buttons."""
    return {button.label for button in app.main.button if button.key not in ("present_button", "lecture_keep")}


def opened(folder: RunFolder) -> AppTest:
    app = open_page(PAGE, run=folder.name)
    assert not app.exception
    return app


def at_work(folder: RunFolder, holding: ExitStack, **changes: object) -> None:
    """Let the run look as if a process were busy with it."""
    holding.enter_context(folder.held())
    known = live_files.read_status(folder)
    status = replace(known, **{"phase": 0, "images_per_second": 812.0, "seconds_left": 75.0, **changes})
    live_files.write_status(folder, status)


# The states of a run -------------------------------------------------------------------------------------------


def test_without_runs_the_page_offers_a_start(root: Path) -> None:
    app = open_page(PAGE)
    assert_no_error(app)
    assert not app.warning
    assert "Start" in buttons(app)
    assert "None yet: press Start." in [caption.value for caption in app.caption]


def test_a_running_one_shows_figures_curves_filters_and_can_be_commanded(trained, holding) -> None:
    at_work(trained, holding, state="running", epoch=1)
    app = opened(trained)
    assert_no_error(app)
    assert {"Pause", "Stop", "Next phase now"} <= buttons(app)
    assert not {"Resume", "Keep", "Delete it for good"} & buttons(app)
    figures = {metric.label: metric.value for metric in app.metric}
    history = live_files.read_history(trained)
    assert figures["Epoch"] == "2 of 2"
    assert figures["Images per second"] == "812"
    assert figures["Time left, about"] == "75 s"
    assert figures["Validation accuracy"] == f"{history[-1].val_accuracy:.1%}".replace("%", " %")
    assert len(app.get("vega_lite_chart")) == 3
    assert len(app.get("image")) == 2
    assert any("is training" in text.value for text in app.markdown)

    app.main.button(key="train_pause").click().run()
    assert (trained.path / "command").read_text() == "pause\n"
    app.main.button(key="train_next_phase").click().run()
    assert (trained.path / "command").read_text() == "next_phase\n"
    app.main.button(key="train_stop").click().run()
    assert (trained.path / "command").read_text() == "stop\n"


def test_what_is_offered_for_download_is_looked_up_again_and_again(trained, holding, monkeypatch) -> None:
    at_work(trained, holding, state="running", epoch=1)
    inside, offered, begin = [], [], st.fragment

    def fragment(function: Callable[..., None], run_every: float | None = None) -> Callable[..., None]:
        def drawn(*arguments: object) -> None:
            inside.append(run_every)
            function(*arguments)
            inside.pop()

        return begin(drawn, run_every=run_every)

    monkeypatch.setattr(st, "fragment", fragment)
    for kind in ("table", "picture"):
        monkeypatch.setattr(downloads, kind, lambda heading, *_: offered.append((heading, *inside)))
    assert_no_error(opened(trained))
    assert offered == [("Curves", 0.5), ("Filters", 0.5)]


def test_in_the_last_phase_there_is_no_next_one(trained, holding) -> None:
    at_work(trained, holding, state="measuring", phase=1)
    assert "Next phase now" not in buttons(opened(trained))


def test_a_paused_one_can_go_on(trained, holding) -> None:
    at_work(trained, holding, state="paused", epoch=1, seconds_left=None)
    app = opened(trained)
    assert_no_error(app)
    assert {"Go on", "Stop"} <= buttons(app)
    assert "Pause" not in buttons(app)
    app.main.button(key="train_resume").click().run()
    assert (trained.path / "command").read_text() == "resume\n"


def test_a_queued_one_says_its_place_and_can_be_cancelled(root: Path) -> None:
    folders = [RunFolder(root / name) for name in ("first", "second")]
    dispatchers = []
    for folder in folders:
        folder.begin(lenet())
        live_files.write_status(folder, Status("queued", epochs=2))
        dispatchers.append(turns.join(folder.path))
    try:
        app = opened(folders[1])
        assert_no_error(app)
        assert "number 2 in the queue" in app.info[0].value
        assert {"Cancel"} == buttons(app)
        table = open_page(PAGE).dataframe[0].value
        assert set(table["state"]) == {
            "waits for its turn: number 1 in the queue",
            "waits for its turn: number 2 in the queue",
        }
        app.main.button(key="train_stop").click().run()
        assert turns.queue(root) == [folders[0].path]
        assert jobs.look(folders[1]).state == "stopped"
    finally:
        os.close(dispatchers[0])


def announced(app: AppTest) -> list[str]:
    """What a screen reader is told."""
    bodies = [entry.proto.body for entry in app.get("html")]
    return [body.partition(">")[2].removesuffix("</div>") for body in bodies if 'class="announced"' in body]


@pytest.mark.parametrize(("state", "told"), [("running", []), ("finished", ["The run has finished."])])
def test_a_screen_reader_hears_that_a_run_has_ended(
    trained: RunFolder, monkeypatch: pytest.MonkeyPatch, state: str, told: list[str]
) -> None:
    monkeypatch.setattr(jobs, "look", lambda folder: Status(state, epoch=1, epochs=2))
    assert [words for words in announced(opened(trained)) if words] == told


def test_a_failed_one_says_why(trained: RunFolder) -> None:
    why = "The loss became nan in epoch 2, step 3, at a learning rate of 9: lower the learning rate."
    live_files.write_status(trained, replace(live_files.read_status(trained), state="failed", message=why))
    app = opened(trained)
    assert not app.exception
    assert [error.value for error in app.error] == [why]
    assert {"Resume", "Keep", "Delete it for good"} <= buttons(app)


def test_an_interrupted_one_can_be_resumed(trained: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    live_files.write_status(trained, Status("running", epoch=1, epochs=2))
    app = opened(trained)
    assert "Its process has ended before its time" in app.warning[0].value
    resumed: list[str] = []
    monkeypatch.setattr(jobs, "start", lambda folder, check: resumed.append(folder.name))
    app.main.button(key="train_again").click().run()
    assert_no_error(app)
    assert resumed == ["lesson"]


def test_one_that_the_system_has_killed_says_why(trained: RunFolder) -> None:
    dispatcher.note(trained.path, "interrupted", dispatcher.KILLED)
    (warning,) = opened(trained).warning
    assert warning.value == f"{dispatcher.KILLED} Resume goes on after the last whole epoch."


def test_a_finished_one_can_be_kept_and_deleted(trained: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(trained)
    assert_no_error(app)
    assert buttons(app) >= {"Keep", "Delete it for good"}
    assert not any("10,000" in caption.value for caption in app.caption)  # a folder has fewer test images
    assert "Resume" not in buttons(app)
    kept: list[str] = []
    monkeypatch.setattr(jobs, "keep", lambda folder, name, target, **_: kept.append(name))
    app.text_input(key="train_keep_name-lesson").set_value("our_net").run()
    app.main.button(key="train_keep").click().run()
    assert kept == ["our_net"]
    app.main.button(key="train_delete").click().run()
    assert not trained.path.exists()
    assert_no_error(app)
    assert not app.warning
    assert "Start" in buttons(app)


def test_one_that_another_tab_deletes_while_it_is_open_is_said_to_be_gone(trained: RunFolder) -> None:
    app = opened(trained)
    jobs.delete(trained)
    for _ in range(2):  # whatever draws the page once more
        app.run()
        assert_no_error(app)
        assert [warning.value for warning in app.warning] == [
            "There is no run 'lesson' (any more): a new training is shown instead."
        ]
        assert "Start" in buttons(app)


@pytest.mark.parametrize(("name", "sentence"), [("resnet18", "There is a network called"), ("a b", "cannot be a name")])
def test_a_name_that_cannot_be_is_one_sentence(trained: RunFolder, name: str, sentence: str) -> None:
    app = opened(trained)
    app.text_input(key="train_keep_name-lesson").set_value(name).run()
    app.main.button(key="train_keep").click().run()
    assert not app.exception
    assert sentence in app.error[0].value


@pytest.mark.parametrize(
    ("keeping", "said"),
    [
        (jobs.Keeping("done", "ours", "ours: 61.20% of 10,000 test images"), "Kept as **ours**"),
        (jobs.Keeping("failed", "ours", "The disk is full."), "The disk is full."),
    ],
)
def test_the_end_of_keeping_is_told(trained: RunFolder, keeping: jobs.Keeping, said: str) -> None:
    from engine.training.queue.worker import note_keeping

    note_keeping(trained.path, keeping)
    app = opened(trained)
    assert any(said in message.value for message in [*app.success, *app.error])


def test_a_run_that_is_not_there_is_named(root: Path) -> None:
    app = open_page(PAGE, run="nosuch")
    assert_no_error(app)
    assert app.warning[0].value.startswith("There is no run 'nosuch'")
    assert "Start" in buttons(app)


@pytest.fixture
def three(root: Path) -> list[RunFolder]:
    """Three runs as the page lists them; the newest is the first."""
    for name in ("third", "second", "first"):
        RunFolder(root / name).begin(lenet())
    return run.runs()


def click(app: AppTest, row: int, column: str | None = None) -> AppTest:
    """A click in the table of runs, on the box before a row, or on a cell of it."""
    where = {"rows": [], "cells": [(row, column)]} if column else {"rows": [row], "cells": []}
    app.session_state[app.dataframe[0].key] = {"selection": {"columns": [], **where}}
    return app.run()


@pytest.mark.parametrize("column", [None, "run"])
def test_a_click_in_the_table_opens_that_run(three: list[RunFolder], column: str | None) -> None:
    app = click(open_page(PAGE), 1, column)
    assert_no_error(app)
    assert app.query_params["run"] == three[1].name


@pytest.mark.parametrize("row", [1, 2])
def test_a_click_on_a_run_that_was_deleted_meanwhile_opens_no_other(
    three: list[RunFolder], row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(PAGE)
    shutil.rmtree(three[row].path)
    fresh = run.runs()
    listed = iter([three])  # the click is answered with what the table was drawn from
    monkeypatch.setattr(run, "runs", lambda: next(listed, fresh))
    click(app, row)
    assert_no_error(app)
    assert app.warning[0].value.startswith(f"There is no run '{three[row].name}' (any more)")
    assert "Start" in buttons(app)


@pytest.mark.parametrize("row", [1, 2])
def test_a_click_in_a_table_that_is_no_longer_there_opens_nothing(three: list[RunFolder], row: int) -> None:
    app = open_page(PAGE)
    shutil.rmtree(three[1].path)
    click(app, row)
    assert_no_error(app)
    assert "Start" in buttons(app)


def test_damaged_files_of_a_run_give_no_traceback(trained: RunFolder) -> None:
    for name in ("history.csv", "steps.csv", "filters.npz", "filters_now.npy", "status.json", "events.jsonl"):
        (trained.path / name).write_text("\x00 damaged")
    assert_no_error(opened(trained))


# The form ------------------------------------------------------------------------------------------------------

SHIPPED = sorted((ROOT / "recipes").rglob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_recipe_survives_its_text_and_the_controls(path: Path) -> None:
    recipe = recipes.read(path)
    assert recipes.parse(toml_text.to_toml(recipe), "another") == recipe
    assert controls.recipe_of(controls.settings_of(recipe), recipe) == recipe


def test_the_text_keeps_options_and_strings() -> None:
    recipe = Recipe(
        "odd",
        "convnet3",
        (Phase(2, 1e-5, "adam"), Phase(1, 0.5)),
        dataset="cifar10_bundled",
        input_size=64,
        options={"strided": True, "dropout": 0.25},
        group='a "quoted" group\\',
        label_smoothing=0.1,
        flip=False,
    )
    assert recipes.parse(toml_text.to_toml(recipe), "x") == recipe


def test_pressing_start_begins_the_first_lesson_and_shows_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatchers: list[int] = []
    monkeypatch.setattr(jobs, "start", lambda folder, check: dispatchers.append(turns.join(folder.path)))
    app = open_page(PAGE)
    app.main.button(key="train_start").click().run()
    assert_no_error(app)
    assert RunFolder(root / "first_lesson").recipe() == controls.FIRST_LESSON
    assert {"Cancel"} == buttons(app)
    os.close(dispatchers[0])


def test_what_the_controls_say_is_what_is_trained(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[Recipe] = []
    monkeypatch.setattr(jobs, "start", lambda folder, check: submitted.append(folder.recipe()))
    app = open_page(
        PAGE,
        architecture="ConvNet",
        depth="3",
        dropout="0.1",
        strided="true",
        phases="2",
        optimizer1="adam",
        learning_rate1="0.001",
        epochs1="6",
        schedule1="constant",
        learning_rate2="0.002",
        seed="7",
        flip="false",
    )
    assert_no_error(app)
    app.main.button(key="train_start").click().run()
    assert submitted == [
        replace(
            controls.FIRST_LESSON,
            architecture="convnet3",
            options={"dropout": 0.1, "strided": True},
            input_size=128,
            phases=(Phase(6, 0.001, "adam", "constant"), replace(controls.NEXT_PHASE, learning_rate=0.002)),
            seed=7,
            flip=False,
        )
    ]


def test_another_starting_point_sets_all_controls(root: Path) -> None:
    app = open_page(PAGE, batch_size="17")
    assert app.number_input(key="batch_size").value == 17
    app.selectbox(key="recipe").set_value("resnet18").run()
    assert_no_error(app)
    recipe = recipes.read("resnet18")
    assert app.number_input(key="batch_size").value == recipe.batch_size
    assert app.number_input(key="learning_rate1").value == recipe.phases[0].learning_rate
    assert f"{estimate.parameters(recipe):,} parameters, {recipe.epochs} epochs" in " ".join(
        text.value for text in app.markdown
    )


def test_a_network_chosen_while_a_link_is_followed_that_has_not_drawn_the_form_yet_shows_no_error(root: Path) -> None:
    app = open_page(PAGE)
    app.segmented_control(key="architecture").set_value("LeNet-5")
    del app.session_state["architecture"]  # as such a link does
    app.run()
    assert_no_error(app)
    assert app.segmented_control(key="architecture").value


def test_a_change_of_the_starting_point_that_is_interrupted_is_made_by_the_next_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(dict):
        """Values, of which only the first two are taken."""

        def __iter__(self) -> Iterator[str]:
            yield from islice(super().__iter__(), 2)
            st.stop()

    app, settings_of = open_page(PAGE, batch_size="17"), controls.settings_of
    with monkeypatch.context() as patch:
        patch.setattr(controls, "settings_of", lambda base: Interrupted(settings_of(base)))
        app.selectbox(key="recipe").set_value("resnet18").run()
    app.run()
    assert_no_error(app)
    recipe = recipes.read("resnet18")
    assert app.number_input(key="batch_size").value == recipe.batch_size
    assert app.number_input(key="learning_rate1").value == recipe.phases[0].learning_rate


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ({"epochs1": "many"}, "it must be a whole number from 1 to 1,000"),
        ({"learning_rate1": "99"}, "it must be a number from 1e-06 to 10"),
        ({"architecture": "AlexNet"}, "The link asks for architecture 'AlexNet'"),
        ({"recipe": "nosuch"}, "The link asks for recipe 'nosuch'"),
    ],
)
def test_a_bad_value_in_the_link_is_named(root: Path, link: dict[str, str], said: str) -> None:
    app = open_page(PAGE, **link)
    assert_no_error(app)
    assert any(said in warning.value for warning in app.warning)
    assert "Start" in buttons(app)


def test_refused_numbers_of_a_closed_expander_are_told_above_the_page(root: Path) -> None:
    link = {"seed": "abc", "crop_padding": "99", "mixup": "-1", "ema": "1", "label_smoothing": "5", "epochs1": "zzz"}
    app = open_page(PAGE, **link)
    assert_no_error(app)
    assert all(any(f"asks for {key} '" in warning.value for warning in app.warning) for key in link)
    assert len(app.warning) == len(link)
    assert not any(expander.warning for expander in app.expander)
    assert len(app.run().warning) == len(link)


def test_settings_that_no_network_can_have_are_one_sentence(root: Path) -> None:
    app = open_page(PAGE, architecture="ConvNet", depth="5", input_size="32")
    assert not app.exception
    assert "needs images of at least" in app.error[0].value
    assert "Start" not in buttons(app)


def test_without_the_whole_of_cifar10_the_page_offers_to_get_it(
    root: Path, tmp_path: Path, use_folders: Callable[..., None]
) -> None:
    use_folders(cifar10=tmp_path / "nothing")
    app = open_page(PAGE, dataset="all of CIFAR-10")
    assert_no_error(app)
    assert "Download CIFAR-10" in buttons(app)
    assert app.main.button(key="train_start").disabled


# What is behind it ---------------------------------------------------------------------------------------------


def test_steps_lie_where_they_belong_and_are_averaged() -> None:
    recipe = lenet(phases=(Phase(2, 0.1), Phase(2, 0.1)))
    # Of 10 steps per epoch, the second epoch was cut after 4.
    plan = Plan(recipe).cut(1, 4)
    where = [(epoch, step) for epoch, count in ((1, 10), (2, 4), (3, 10)) for step in range(count)]
    count = len(where)
    noise = np.random.default_rng(0).random((3, count))
    steps = Steps(np.arange(count), np.array([epoch for epoch, _ in where]), *noise)
    place = [epoch - 1 + (step + 1) / 10 for epoch, step in where]
    curve = step_curve(steps, plan, 10)
    np.testing.assert_allclose(curve.epoch, place)
    np.testing.assert_allclose(curve.loss, noise[0])

    thinned = step_curve(steps, plan, 10, most=7)
    groups = pd.Series(np.arange(count) // 4)
    np.testing.assert_allclose(thinned.loss, pd.Series(noise[0]).groupby(groups).mean())
    np.testing.assert_allclose(thinned.epoch, pd.Series(place).groupby(groups).mean())
    assert len(step_curve(Steps(*np.zeros((5, 0))), plan, 0).epoch) == 0


@pytest.mark.parametrize("width", [240, 276, 600])
def test_the_names_of_all_curves_have_room_above_the_chart(width: int) -> None:
    spec = charts.loss_spec(6)
    spec |= {"width": width, "data": {"values": [{"epoch": 1, "value": 0.5, "curve": charts.BATCHES}]}}
    with_names = picture_width(spec)
    for layer in spec["layer"]:
        for channel in {"color", "shape"} & set(layer["encoding"]):
            layer["encoding"][channel]["legend"] = None
    assert with_names == picture_width(spec)


def picture_width(spec: dict) -> float:
    """Pixels."""
    return float(re.search(r'<svg[^>]* width="([\d.]+)"', downloads.file_of(spec, "svg").decode())[1])


def test_both_sets_of_filters_are_drawn_on_one_scale() -> None:
    import io

    from PIL import Image

    kernels = np.zeros((32, 3, 5, 5), dtype=np.float16)
    kernels[:, :, 2, 2] = 1
    strong, weak = (np.asarray(Image.open(io.BytesIO(png)))[..., 0] for png in files.draw_filters(kernels, kernels / 4))
    assert strong.max() == 255
    assert weak.max() == pytest.approx(127.5 * 1.25, abs=1)
