"""The trial of learning rates on the Train page."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import streamlit as st
import torch

from engine.training import estimate, range_test
from engine.training.datasets import Dataset
from engine.training.estimate import TimePerImage
from engine.training.queue import rates
from engine.training.range_test import RangeTestPoint
from engine.training.recipe import Recipe
from pages.common import jobs
from pages.train import controls
from pages.train import range_test as training_range
from tests.apps import assert_no_error, open_page
from tests.runs import lenet

PAGE = "train/page.py"


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_folders: Callable[..., None]) -> None:
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setattr(training_range, "STEPS", 12)
    use_folders(runs=tmp_path / "runs")
    monkeypatch.setattr(estimate, "cost", lambda recipe: TimePerImage(0.01, 0.002))


def only_trial(monkeypatch: pytest.MonkeyPatch) -> list[training_range.Trial]:
    """Catches the trial that the page makes."""
    made: list[training_range.Trial] = []
    create = training_range.Trial.__init__

    def caught(self: training_range.Trial, settings: object) -> None:
        create(self, settings)
        made.append(self)

    monkeypatch.setattr(training_range.Trial, "__init__", caught)
    return made


def test_a_trial_shows_its_curve_and_the_rate_that_the_engine_suggests(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = only_trial(monkeypatch)
    app = open_page(PAGE)
    assert_no_error(app)
    assert not any("A careful start" in text.value for text in app.markdown)
    app.button(key="train_range_start").click().run()
    (trial,) = trials
    trial.wait(120)
    assert [point.step for point in trial.points][:3] == [0, 1, 2]
    splits = Dataset(controls.FIRST_LESSON).splits
    expected = range_test.range_test(controls.FIRST_LESSON, splits, torch.device("cpu"), 12)
    for point, same in zip(trial.points, expected, strict=True):
        assert vars(point) == pytest.approx(vars(same), rel=1e-3)
    app.run()
    assert_no_error(app)
    rate = range_test.suggested(trial.points)
    expected = "has not fallen" if rate is None else f"**{rate:.2g}**"
    assert any(expected in text.value for text in [*app.markdown, *app.caption])
    charts = [chart.proto.spec for chart in app.get("vega_lite_chart") if "learning_rate" in chart.proto.spec]
    assert len(charts) == 1


WITHOUT_MEMORY = """
from engine.training.queue import rates
def fail(*_):
    raise MemoryError("no memory")
rates.range_test = fail
rates.main()
"""
KILLED = "import os; os.kill(os.getpid(), 9)"


@pytest.mark.parametrize("program", [WITHOUT_MEMORY, KILLED])
def test_a_trial_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    trials = only_trial(monkeypatch)
    monkeypatch.setattr(rates, "COMMAND", [sys.executable, "-c", program])
    app = open_page(PAGE)
    app.button(key="train_range_start").click().run()
    trials[0].wait(60)
    app.run()
    assert not app.exception
    assert any("no memory" in error.value for error in app.error)


def test_a_trial_trains_in_a_process_of_its_own_which_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen] = []
    start = subprocess.Popen
    monkeypatch.setattr(rates.subprocess, "Popen", lambda *args, **more: begun.append(start(*args, **more)) or begun[0])
    monkeypatch.setattr(range_test, "range_test", lambda *_: pytest.fail("it trains in the server"))
    with closing(rates.points(lenet(dataset="cifar10_bundled"), 12)) as points:
        assert next(points).step == 0
        assert begun[0].poll() is None
    assert begun[0].poll() is not None


def test_of_many_trials_only_those_at_work_have_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[object] = []
    at_once: list[int] = []

    def points(tried: Recipe, steps: int) -> Iterator[RangeTestPoint]:
        processes.append(tried)
        try:
            for step in range(steps):
                at_once.append(len(processes))
                time.sleep(0.01)
                yield RangeTestPoint(step, 0.1, 1.0, 1.0)
        finally:
            processes.remove(tried)

    monkeypatch.setattr(rates, "points", points)
    monkeypatch.setattr(jobs, "TURNS", jobs.Turns(2))
    monkeypatch.setattr(jobs, "SLICE", 0.0)
    trials = [training_range.Trial(lenet(seed=number)) for number in range(6)]
    for trial in trials:
        trial.start()
    for trial in trials:
        trial.wait(60)
        assert trial.complete
    assert max(at_once) == 2


def test_without_a_falling_loss_no_rate_is_marked() -> None:
    rising = [RangeTestPoint(step, 10.0**step, 2.0 + step, 2.0 + step) for step in range(4)]
    assert range_test.suggested(rising) is None
    drawn = training_range.chart(rising, None).to_dict()
    assert len(drawn["layer"]) == 2
    assert len(training_range.chart(rising, 0.1).to_dict()["layer"]) == 3


def test_a_trial_that_does_not_fit_into_memory_is_refused_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "free_memory", lambda: 1e6)
    trial = training_range.Trial(lenet())
    trial.start()
    trial.wait(60)
    assert "GB are free" in trial.error
    assert trial.points == []
