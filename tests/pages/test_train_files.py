"""What the Train page reads of a run's large files: once for all who look on, and again as soon as they change."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st

from engine import pictures, settings
from engine.training import estimate, live_files
from engine.training.curves import best_epoch, step_curve
from engine.training.estimate import TimePerImage
from engine.training.plan import Plan
from engine.training.records import EpochRecord, RunProgress, Status, step_line, to_csv
from engine.training.run import RunFolder
from pages.train import files
from tests.apps import assert_no_error, open_page
from tests.runs import lenet

STATUS = Status("running", steps_per_epoch=10)
KERNELS = np.random.default_rng(0).standard_normal((3, 4, 3, 5, 5)).astype(np.float16)


@pytest.fixture(autouse=True)
def _fresh_caches() -> None:
    st.cache_resource.clear()


@pytest.fixture
def written(folder: RunFolder) -> RunFolder:
    """A run of two epochs with 20 noted steps."""
    folder.path.mkdir()
    folder.begin(lenet())
    folder.save_filters(RunProgress(filters=list(KERNELS)))
    lines = [step_line(step, step // 10 + 1, 1 / (step + 1), 0.01, 800) for step in range(20)]
    (folder.path / "steps.csv").write_text("step,epoch,loss,learning_rate,images_per_second\n" + "".join(lines))
    return folder


@pytest.fixture
def listed(written: RunFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """The same run, on the page."""
    monkeypatch.setattr(estimate, "cost", lambda recipe: TimePerImage(0.01, 0.002))
    with settings.using(runs=written.path.parent):
        yield written


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of the slow functions was called."""
    counted: Counter[str] = Counter()

    def count(module: object, name: str) -> None:
        slow: Callable[..., object] = getattr(module, name)

        def counting(*arguments: object, **settings: object) -> object:
            counted[name] += 1
            return slow(*arguments, **settings)

        monkeypatch.setattr(module, name, counting)

    for module, name in ((live_files, "read_steps"), (live_files, "read_filters"), (pictures, "png")):
        count(module, name)
    return counted


def replaced(file: Path, kernels: np.ndarray, at: int) -> None:
    """Write `kernels` as the trainer does, at a time that differs from the last one."""
    np.save(file, kernels)
    os.utime(file, ns=(at, at))


def test_steps_are_read_once_and_again_when_there_are_more(written: RunFolder, calls: Counter[str]) -> None:
    first = files.curve(written, STATUS)
    assert files.curve(RunFolder(written.path), STATUS) is first
    assert calls["read_steps"] == 1
    expected = step_curve(live_files.read_steps(written), Plan(lenet()), 10)
    np.testing.assert_array_equal(first.loss, expected.loss)

    with (written.path / "steps.csv").open("a") as file:
        file.write(step_line(20, 3, 0.5, 0.01, 800))
    assert len(files.curve(written, STATUS).loss) == 21


def test_a_long_run_is_not_read_again_for_every_step_as_long_as_it_goes_on(
    written: RunFolder, calls: Counter[str]
) -> None:
    lines = [step_line(step, 1, 0.5, 0.01, 800) for step in range(20_000)]
    (written.path / "steps.csv").write_text("step,epoch,loss,learning_rate,images_per_second\n" + "".join(lines))
    files.curve(written, STATUS)
    for step in range(20_000, 20_200):
        with (written.path / "steps.csv").open("a") as file:
            file.write(step_line(step, 1, 0.5, 0.01, 800))
        shown = files.curve(written, STATUS)
    assert 2 <= calls["read_steps"] <= 6
    np.testing.assert_allclose(shown.epoch[-1], 2_020, rtol=0.01)

    calls.clear()
    files.curve(written, replace(STATUS, state="finished"))
    assert calls["read_steps"] == 1


def test_a_new_run_does_not_show_the_steps_of_a_deleted_one(written: RunFolder) -> None:
    before = files.curve(written, STATUS)
    text = (written.path / "steps.csv").read_text()
    (written.path / "steps.csv").write_text(text.replace(",0.01,", ",0.02,"))
    written.begin(lenet())
    os.utime(written.path / "recipe.json", ns=(1, 1))
    assert files.curve(written, STATUS).learning_rate[0] == 2 * before.learning_rate[0]


def test_a_phase_that_was_cut_moves_the_steps(written: RunFolder) -> None:
    before = files.curve(written, STATUS).epoch
    written.save_plan(Plan(lenet()).cut(0, 5))
    after = files.curve(written, STATUS).epoch
    np.testing.assert_array_equal(after[:10], before[:10])
    np.testing.assert_allclose(after[10:], before[10:] + 0.5)


def test_filters_are_drawn_once_and_again_when_they_change(written: RunFolder, calls: Counter[str]) -> None:
    first = files.filters(written)
    assert first == files.FilterPictures(4, *files.draw_filters(KERNELS[-1], KERNELS[0]))
    calls.clear()
    assert files.filters(RunFolder(written.path)) is first
    assert not calls

    for at, now in ((1_000_000_000, KERNELS[1]), (2_000_000_000, 2 * KERNELS[1])):
        replaced(written.path / "filters_now.npy", now, at)
        drawn = files.filters(written)
        assert (drawn.now, drawn.before) == files.draw_filters(now, KERNELS[0])
    assert calls["read_filters"] == 0


def test_a_run_without_files_has_no_curve_and_no_filters(folder: RunFolder) -> None:
    folder.path.mkdir()
    folder.begin(lenet())
    assert len(files.curve(folder, STATUS).loss) == 0
    assert files.filters(folder) is None


# The best epoch ------------------------------------------------------------------------------------------------


def epochs(*measured: tuple[int, float]) -> list[EpochRecord]:
    """One record for each (pixels, validation accuracy)."""
    return [
        EpochRecord(number, 1.0, 0.5, 1.0, accuracy, 1.0, 0.01, "sgd", pixels, 1.0)
        for number, (pixels, accuracy) in enumerate(measured, 1)
    ]


def test_only_epochs_at_the_final_size_can_be_the_best() -> None:
    history = epochs((16, 0.9), (32, 0.6), (32, 0.7), (32, 0.7))
    assert best_epoch(history, 32) == history[2]
    assert best_epoch(history[:1], 32) is None
    assert best_epoch([], 32) is None


def test_the_page_shows_the_accuracy_of_the_weights_that_are_kept(listed: RunFolder) -> None:
    (listed.path / "history.csv").write_text(to_csv(epochs((16, 0.9), (32, 0.612))))
    live_files.write_status(listed, replace(STATUS, state="stopped", epoch=2, epochs=2))
    app = open_page("train/page.py", run=listed.name)
    assert_no_error(app)
    assert {metric.label: metric.value for metric in app.metric}["Best so far"] == "61.2 %"
    assert list(open_page("train/page.py").dataframe[0].value["validation accuracy"]) == ["61.2 %"]


def test_a_run_with_a_damaged_recipe_stays_in_the_table(listed: RunFolder) -> None:
    (listed.path / "history.csv").write_text(to_csv(epochs((32, 0.6))))
    (listed.path / "recipe.json").write_text("damaged")
    app = open_page("train/page.py")
    assert_no_error(app)
    assert list(app.dataframe[0].value["run"]) == [listed.name]
