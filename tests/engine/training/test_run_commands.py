"""A run does what it is asked, plans its phases accordingly, and knows when to stop by itself."""

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import ConvscopeError
from engine.training import control, live_files, loop, run
from engine.training.datasets import Splits
from engine.training.loop import Training
from engine.training.plan import Cut, Plan
from engine.training.recipe import Phase, Resolution
from engine.training.run import RunFolder
from engine.training.telemetry import StepReport
from tests.runs import CPU, TWO_PHASES, Stop, act_at_every_step, at, kinds, lenet, train


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    act_at_every_step(monkeypatch)


# Commands ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("eager")
def test_stop_ends_after_the_step_and_costs_the_epoch(splits: Splits, folder: RunFolder) -> None:
    done: list[tuple[int, int]] = []

    def observe(report: StepReport) -> None:
        done.append((report.epoch, report.step))
        if done[-1] == (1, 1):
            run.send(folder, "stop")

    progress = train(TWO_PHASES, splits, folder, observe)
    assert done[-1] == (1, 1)
    assert progress.epoch == 1
    assert not (folder.path / "command").exists()
    status = live_files.read_status(folder)
    assert (status.state, status.message) == ("stopped", "Stopped; it can go on after epoch 1 of 5.")
    assert not folder.alive
    assert train(TWO_PHASES, splits, folder).epoch == 5
    assert kinds(folder) == ["started", "stopped", "resumed", "phase", "finished"]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("ending", "epochs"), [("resume", 2), ("stop", 0)])
def test_pause_waits_and_changes_nothing(
    splits: Splits, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, ending: str, epochs: int
) -> None:
    waits: list[str] = []

    def waited(_: control.Control) -> str:
        waits.append(live_files.read_status(folder).state)
        return ending

    monkeypatch.setattr(control.Control, "wait", waited)
    progress = train(lenet(), splits, folder, at(0, 1, lambda: run.send(folder, "pause")))
    assert waits == ["paused"]
    assert progress.epoch == epochs
    assert kinds(folder)[:3] == ["started", "paused", "continued"]
    if ending == "resume":
        other = RunFolder(folder.path.with_name("other"))
        train(lenet(), splits, other)
        state, expected = folder.load()["model"], other.load()["model"]
        assert all(np.array_equal(state[key], expected[key]) for key in expected)


def test_a_pause_ends_with_the_next_command(folder: RunFolder) -> None:
    folder.path.mkdir()
    waiting = control.Control(folder.path)
    (folder.path / "command").write_text("nonsense\n")
    assert waiting.command() is None
    (folder.path / "command").write_text("next_phase\n")
    assert waiting.wait() == "next_phase"
    waiting.ask_to_stop()
    assert waiting.wait() == "stop"


@pytest.mark.usefixtures("eager")
def test_next_phase_ends_the_epoch_and_the_phase_and_is_remembered(splits: Splits, folder: RunFolder) -> None:
    done: list[tuple[int, int, float]] = []

    def observe(report: StepReport) -> None:
        done.append((report.epoch, report.step, report.learning_rate))
        if done[-1][:2] == (1, 1):
            run.send(folder, "next_phase")
        if done[-1][:2] == (2, 1):
            run.send(folder, "next_phase")  # there is no further one

    progress = train(TWO_PHASES, splits, folder, observe)
    assert [entry[:2] for entry in done] == [(epoch, step) for epoch, n in enumerate((4, 2, 4, 4)) for step in range(n)]
    assert [record.optimizer for record in progress.history] == ["sgd", "sgd", "adam", "adam"]
    assert [entry[2] for entry in done] == pytest.approx([0.02] * 6 + [0.001] * 8)
    assert folder.plan(TWO_PHASES) == Plan(TWO_PHASES, (Cut(1, 2),))
    assert live_files.read_steps(folder).step.tolist() == list(range(14))
    status = live_files.read_status(folder)
    assert (status.state, status.epoch, status.epochs) == ("finished", 4, 4)
    assert train(TWO_PHASES, splits, folder).epoch == 4


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_next_phase_asked_for_again_after_a_kill_ends_no_other_phase(
    splits: Splits, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    def killed(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(loop, "measure", killed)  # the epoch has ended, and is not saved
        with pytest.raises(Stop):
            train(TWO_PHASES, splits, folder, at(0, 2, lambda: run.send(folder, "next_phase")))
    assert folder.plan(TWO_PHASES).cuts == (Cut(0, 3),)
    progress = train(TWO_PHASES, splits, folder, at(0, steps - 1, lambda: run.send(folder, "next_phase")))
    assert [record.optimizer for record in progress.history] == ["sgd", "adam", "adam"]
    assert folder.plan(TWO_PHASES).cuts == (Cut(0, steps),)


@pytest.mark.usefixtures("eager")
def test_next_phase_before_an_epochs_first_step_ends_the_phase_there(splits: Splits, folder: RunFolder) -> None:
    progress = train(TWO_PHASES, splits, folder, at(0, 3, lambda: run.send(folder, "next_phase")))
    assert folder.plan(TWO_PHASES).cuts == (Cut(1, 0),)
    assert [record.optimizer for record in progress.history] == ["sgd", "adam", "adam"]


@pytest.mark.usefixtures("eager")
def test_next_phase_that_comes_too_late_does_not_end_the_next_one(splits: Splits, folder: RunFolder) -> None:
    recipe = replace(TWO_PHASES, phases=(*TWO_PHASES.phases, Phase(1, 0.01)))
    progress = train(recipe, splits, folder, at(2, 3, lambda: run.send(folder, "next_phase")))
    assert [record.optimizer for record in progress.history] == ["sgd"] * 3 + ["adam"] * 2 + ["sgd"]


def test_a_command_for_a_process_that_is_no_more_is_forgotten(splits: Splits, folder: RunFolder) -> None:
    folder.begin(lenet())
    (folder.path / "command").write_text("stop\n")
    assert train(lenet(), splits, folder).epoch == 2


def test_a_command_that_comes_before_the_first_step_is_obeyed(splits: Splits, folder: RunFolder) -> None:
    with folder.held():  # as the command does, while it loads the images
        folder.begin(lenet())
        run.send(folder, "stop")
        assert Training(lenet(), splits, folder, CPU).run().epoch == 0
    assert live_files.read_status(folder).state == "stopped"


def test_commands_are_refused_where_nobody_hears_them(splits: Splits, folder: RunFolder) -> None:
    train(lenet(), splits, folder)
    with pytest.raises(ConvscopeError, match="The run 'run' is not training now"):
        run.send(folder, "stop")
    with pytest.raises(ConvscopeError, match="There is no command 'explode': the commands are pause, resume, stop, "):
        run.send(folder, "explode")
    assert not (folder.path / "command").exists()


# The plan ------------------------------------------------------------------------------------------------------


def test_without_cuts_the_plan_is_the_recipe() -> None:
    recipe = lenet(phases=(Phase(2, 0.1), Phase(1, 0.1), Phase(3, 0.1)))
    plan = Plan(recipe)
    assert plan.epochs == recipe.epochs == 6
    assert [plan.phase_at(epoch) for epoch in range(6)] == [0, 0, 1, 2, 2, 2]
    assert [plan.epoch_in_phase(epoch) for epoch in range(6)] == [0, 1, 0, 0, 1, 2]
    assert plan.steps_before(6, 10) == 60
    with pytest.raises(IndexError, match="only 6 epochs"):
        plan.phase_at(6)


def test_a_cut_phase_is_shorter_and_the_next_keeps_its_image_sizes() -> None:
    recipe = lenet(
        architecture="resnet18",
        phases=(Phase(4, 0.1), Phase(3, 0.1), Phase(2, 0.1)),
        input_size=64,
        resolutions=(Resolution(0, 32), Resolution(4, 48), Resolution(6, 64)),
    )
    assert [recipe.pixels_at(epoch) for epoch in range(9)] == [32] * 4 + [48, 48, 64, 64, 64]
    plan = Plan(recipe).cut(1, 5)
    assert (plan.ends, plan.epochs) == ((2, 5, 7), 7)
    assert [plan.pixels_at(epoch) for epoch in range(7)] == [32, 32, 48, 48, 64, 64, 64]
    assert [plan.steps_in(epoch, 10) for epoch in range(3)] == [10, 5, 10]
    assert plan.steps_before(3, 10) == 25
    skipped = plan.cut(2, 0)
    assert (skipped.ends, skipped.epochs) == ((2, 2, 4), 4)
    assert [skipped.phase_at(epoch) for epoch in range(4)] == [0, 0, 2, 2]
    assert [skipped.steps_in(epoch, 10) for epoch in range(4)] == [10, 5, 10, 10]


# Early stopping ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "patience", "trained"),
    [
        ([3, 2, 1, 1, 1, 1], 2, 5),
        ([1, 2, 3, 4, 5, 6], 1, 2),
        ([3, 2, 2.5, 1.9, 2, 2], 2, 6),
        ([1, 2, 3, 4, 5, 6], 0, 6),
        ([5, 4, 6, 3, 2, 1], 2, 6),
    ],
)
def test_early_stopping_waits_for_a_lower_validation_loss(
    splits: Splits, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, losses: list[float], patience: int, trained: int
) -> None:
    values = iter(losses)
    monkeypatch.setattr(
        loop, "measure", lambda model, data, *_: (next(values), 0.5) if data is splits.validation else (1.0, 0.5)
    )
    recipe = lenet(phases=(Phase(6, 0.01),), early_stopping=patience, batch_size=64)
    progress = train(recipe, splits, folder)
    assert progress.epoch == trained
    status = live_files.read_status(folder)
    assert status.state == "finished"
    assert ("has not fallen for" in status.message) == (trained < 6)
    assert train(recipe, splits, folder).epoch == trained
