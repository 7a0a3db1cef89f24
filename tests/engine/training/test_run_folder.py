"""What a run shows of itself is true, also while it goes on and after it has died, and it does what it is asked."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import settings
from engine.errors import ConvscopeError
from engine.settings import ROOT
from engine.training import live_files, lock, run, telemetry
from engine.training.__main__ import main
from engine.training.datasets import Splits
from engine.training.loop import Training
from engine.training.plan import Plan
from engine.training.recipe import Phase, Recipe, Resolution
from engine.training.records import EpochRecord, Status, from_csv, steps_from_csv, to_csv
from engine.training.run import RunFolder
from engine.training.telemetry import StepReport, reporting
from tests.runs import CPU, TWO_PHASES, Stop, act_at_every_step, at, kinds, lenet, train


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    act_at_every_step(monkeypatch)


# Live files ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("eager")
def test_every_step_is_told(splits: Splits, folder: RunFolder) -> None:
    told: list[tuple[StepReport, Status]] = []
    progress = train(TWO_PHASES, splits, folder, lambda report: told.append((report, live_files.read_status(folder))))
    steps = live_files.read_steps(folder)
    assert steps.step.tolist() == list(range(20))
    assert steps.epoch.tolist() == [1 + step // 4 for step in range(20)]
    assert steps.loss == pytest.approx([report.loss for report, _ in told], rel=1e-5)
    assert steps.learning_rate == pytest.approx([0.02] * 12 + [0.001] * 8)
    assert (steps.images_per_second > 0).all()
    for report, status in told:
        assert (status.state, status.pid, status.epochs, status.phases) == ("running", os.getpid(), 5, 2)
        assert (status.epoch, status.step, status.steps_per_epoch) == (report.epoch, report.step + 1, 4)
        assert status.phase == int(report.epoch >= 3)
        assert (status.loss, status.learning_rate) == (report.loss, report.learning_rate)
        assert status.updated == pytest.approx(time.time(), abs=300)
    assert told[4][1].seconds_left is not None
    assert live_files.read_history(folder) == from_csv(progress.history_csv)
    end = live_files.read_status(folder)
    assert (end.state, end.epoch, end.message) == ("finished", 5, "Finished with epoch 5 of 5.")
    assert kinds(folder) == ["started", "phase", "finished"]
    assert live_files.read_events(folder)[1].message == "Phase 2 of 2: adam at a learning rate of 0.001, 2 epochs."


@pytest.mark.usefixtures("eager")
def test_filters_are_shown_from_before_training_on_and_while_it_goes_on(splits: Splits, folder: RunFolder) -> None:
    seen: list[np.ndarray | None] = []
    snapshots: list[int] = []

    def look(_: StepReport) -> None:
        seen.append(live_files.read_filters_now(folder))
        filters = live_files.read_filters(folder)
        snapshots.append(0 if filters is None else len(filters.epochs))

    progress = train(lenet(ema=0.5), splits, folder, look)
    assert snapshots == [1] * 4 + [2] * 4
    assert all(one is not None and one.shape == (32, 3, 5, 5) for one in seen)
    assert all(not np.array_equal(one, other) for one, other in itertools.pairwise(seen))
    stored = live_files.read_filters(folder)
    assert stored is not None
    assert stored.epochs.tolist() == [0, 1, 2]
    assert stored.filters.dtype == np.float16
    assert np.array_equal(stored.filters, np.stack(progress.filters))
    assert np.array_equal(live_files.read_filters_now(folder), stored.filters[-1])


@pytest.mark.usefixtures("eager")
def test_steps_that_are_made_again_are_noted_once(splits: Splits, folder: RunFolder) -> None:
    def stop() -> None:
        raise Stop

    with pytest.raises(Stop):
        train(lenet(), splits, folder, at(1, 2, stop))
    assert live_files.read_steps(folder).step.tolist() == list(range(7))
    train(lenet(), splits, folder)
    assert live_files.read_steps(folder).step.tolist() == list(range(8))
    assert kinds(folder) == ["started", "resumed", "finished"]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("torn", [b"2", b"2,1,2.3,0.01", b"2,1,2.3,0.01,1e", b"2,1,2.3,0.01,\xff", b"\xff\xfe\x00\n2,"])
def test_a_damaged_line_of_steps_costs_that_line(splits: Splits, folder: RunFolder, torn: bytes) -> None:
    def stop() -> None:
        with (folder.path / "steps.csv").open("ab") as file:
            file.write(torn)  # the disk is full
        raise Stop

    with pytest.raises(Stop):
        train(lenet(), splits, folder, at(1, 2, stop))
    train(lenet(), splits, folder)
    assert live_files.read_steps(folder).step.tolist() == list(range(8))


@pytest.mark.usefixtures("eager")
def test_the_time_left_counts_steps_to_come_by_their_pixels(splits: Splits, folder: RunFolder) -> None:
    recipe = lenet(
        architecture="resnet18_strided",
        input_size=32,
        phases=(Phase(3, 0.01),),
        batch_size=32,
        resolutions=(Resolution(0, 16), Resolution(2, 32)),
    )
    watcher = telemetry.Telemetry(folder, 32, 2, lambda: np.zeros((4, 3, 3, 3), np.float16))
    watcher.enter(Plan(recipe), 0)
    watcher.speed.total, watcher.speed.weight, watcher.rest = 2.0, 1.0, 5.0
    left = watcher.seconds_left(StepReport(0, 0, 2, 1.0, 0.1))
    assert left == pytest.approx((1 + 2 + 2 * 4) * 2.0 + 3 * 5.0)


def test_what_is_shown_costs_a_step_next_to_nothing(splits: Splits, folder: RunFolder) -> None:
    """One LeNet step with 128 images takes 80 ms of CPU or more; 2 % of that are 1.6 ms."""
    recipe = lenet(phases=(Phase(1, 0.01),))
    folder.begin(recipe)
    training = Training(recipe, splits, folder, CPU)
    watcher = training.telemetry
    watcher.begin(training.plan, training.progress)
    watcher.enter(training.plan, 0)
    report = StepReport(0, 0, 4, 1.0, 0.1)
    begun, count = time.process_time(), 0
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        watcher.step(report)
        time.sleep(0.01)  # a step
        count += 1
    watcher.close()
    assert count > 20
    assert (time.process_time() - begun) / count < 0.0016


def test_tensorboard_shows_curves_and_filters(splits: Splits, folder: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(Stop):
        train(lenet(), splits, folder, at(1, 1, lambda: (_ for _ in ()).throw(Stop)))
    # TensorBoard reads event files by the names' order: second of their beginning, process, a counter as text (9 > 10).
    time.sleep(1)
    progress = train(lenet(), splits, folder)
    board = EventAccumulator(str(folder.path / "tensorboard"))
    board.Reload()
    for tag, field in {
        "loss/train": "train_loss",
        "loss/validation": "val_loss",
        "accuracy/train": "train_accuracy",
        "accuracy/validation": "val_accuracy",
        "learning_rate": "learning_rate",
    }.items():
        scalars = {scalar.step: scalar.value for scalar in board.Scalars(tag)}
        assert scalars == pytest.approx({record.epoch: getattr(record, field) for record in progress.history})
    pictures = board.Images("filters")
    assert {picture.step for picture in pictures} == {0, 1, 2}
    assert (pictures[0].width, pictures[0].height) == (8 * 40 + 7 * 4, 4 * 40 + 3 * 4)
    assert pictures[0].encoded_image_string != pictures[-1].encoded_image_string


# Locks and death -----------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from engine.training import lock
with lock.held(Path(sys.argv[1]) / "lock"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains in `folder`, as it seems."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_one_process_trains_in_a_folder_and_its_death_is_seen(
    splits: Splits, folder: RunFolder, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.05)
    folder.begin(lenet())
    live_files.write_status(folder, Status("running", epoch=3, epochs=9, seconds_left=7.0))
    assert folder.alive
    assert live_files.read_status(folder).state == "running"
    with pytest.raises(ConvscopeError, match="is in use: another process trains there"):
        train(lenet(), splits, folder)
    with pytest.raises(ConvscopeError, match="is training now: stop it before you delete it"):
        run.delete(folder.name, folder.path.parent)
    run.send(folder, "pause")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not folder.alive
    status = live_files.read_status(folder)
    assert (status.state, status.epoch, status.epochs, status.seconds_left) == ("interrupted", 3, 9, None)
    assert train(lenet(), splits, folder).epoch == 2
    assert live_files.read_status(folder).state == "finished"


@pytest.mark.parametrize("state", ["queued", "measuring", "paused", "stopped", "failed", "finished"])
def test_only_states_that_need_a_process_can_be_interrupted(folder: RunFolder, state: str) -> None:
    folder.begin(lenet())
    live_files.write_status(folder, Status(state))
    expected = state if state in ("stopped", "failed", "finished") else "interrupted"
    assert live_files.read_status(folder).state == expected
    with folder.held():
        assert live_files.read_status(folder).state == state


def test_what_is_said_of_a_run_that_is_gone_does_not_bring_its_folder_back(folder: RunFolder) -> None:
    live_files.write_status(folder, Status("failed"))
    live_files.note(folder, "failed", "Its folder was deleted meanwhile.")
    assert not folder.path.exists()


def test_a_process_may_take_its_lock_twice(folder: RunFolder) -> None:
    with folder.held():
        with folder.held():
            assert folder.alive
        assert folder.alive
    assert not folder.alive


def test_what_a_killed_process_left_half_written_is_removed(splits: Splits, folder: RunFolder) -> None:
    folder.path.mkdir()
    for name in (".state.pt.ab12", ".best.pt.x", ".recipe.json.q"):
        (folder.path / name).write_bytes(b"half")
    (folder.path / ".mine").write_text("not ours")
    train(lenet(), splits, folder)
    assert [path.name for path in folder.path.glob(".*")] == [".mine"]


# Failures ------------------------------------------------------------------------------------------------------


def fail_with(error: BaseException, folder: RunFolder) -> Status:
    with pytest.raises(type(error)), reporting(folder):
        raise error
    return live_files.read_status(folder)


def test_failures_are_told(folder: RunFolder) -> None:
    folder.begin(lenet())
    live_files.write_status(folder, Status("running", epoch=2, epochs=5))
    status = fail_with(ConvscopeError("The disk is full: free some space."), folder)
    assert (status.state, status.message, status.epoch) == ("failed", "The disk is full: free some space.", 2)
    assert fail_with(ZeroDivisionError("x"), folder).message == "The program has failed (ZeroDivisionError: x)."
    assert fail_with(KeyboardInterrupt(), folder).state == "stopped"
    assert kinds(folder) == ["failed", "failed", "stopped"]


@pytest.mark.usefixtures("eager")
def test_a_disk_that_fills_up_does_not_break_what_is_only_shown(
    splits: Splits, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live files cannot be written; the run goes on, since what matters still can."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def failing(*_: Any, **__: Any) -> None:
        raise full

    monkeypatch.setattr(live_files, "write_unsynced", failing)
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", failing)
    assert train(lenet(), splits, folder).epoch == 2
    assert live_files.read_status(folder).state == "finished"  # as the history tells
    assert live_files.read_filters_now(folder) is None


# Readers -------------------------------------------------------------------------------------------------------


def test_readers_of_an_empty_folder_find_nothing(folder: RunFolder) -> None:
    assert live_files.read_status(folder).state == "interrupted"
    assert live_files.read_history(folder) == live_files.read_events(folder) == []
    assert len(live_files.read_steps(folder)) == 0
    assert live_files.read_filters(folder) is live_files.read_filters_now(folder) is None
    with pytest.raises(ConvscopeError, match=r"holds no run, since its recipe\.json is missing or damaged: delete it"):
        folder.recipe()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1, 2]", b"a,b\nx,y\n", b'{"state": "flying"}\n'])
def test_readers_survive_damaged_files(folder: RunFolder, content: bytes) -> None:
    folder.begin(lenet())
    for name in ("status.json", "history.csv", "steps.csv", "events.jsonl", "filters.npz", "filters_now.npy"):
        (folder.path / name).write_bytes(content)
    assert live_files.read_status(folder).state == "interrupted"
    assert live_files.read_history(folder) == live_files.read_events(folder) == []
    assert len(live_files.read_steps(folder)) == 0
    assert live_files.read_filters(folder) is live_files.read_filters_now(folder) is None


def test_a_line_that_is_being_written_is_left_out() -> None:
    text = "step,epoch,loss,learning_rate,images_per_second\n0,1,2.5,0.1,100\n4,1,2.25,0.1,1"
    steps = steps_from_csv(text)
    assert (steps.step.tolist(), steps.loss.tolist()) == ([0], [2.5])
    assert len(steps_from_csv(text[:20])) == len(steps_from_csv("")) == 0


def test_a_history_reads_back() -> None:
    record = EpochRecord(1, 2.0, 0.25, 2.5, 0.5, 1.5, 0.1, "sgd", 32, 12.5)
    history = [record, replace(record, epoch=2)]
    assert from_csv(to_csv(history)) == history
    assert asdict(record)["optimizer"] == "sgd"


def test_a_run_from_before_there_was_a_status_is_understood(splits: Splits, folder: RunFolder) -> None:
    """The folders that earlier versions wrote: no status, and a recipe without the later settings."""
    train(lenet(), splits, folder)
    old = json.loads((folder.path / "recipe.json").read_text())
    for key in ("initialisation", "early_stopping", "sample", "keep_weights", "group", "base", "base_sha256"):
        del old[key]
    (folder.path / "recipe.json").write_text(json.dumps(old))
    for name in ("status.json", "steps.csv", "events.jsonl", "filters.npz", "filters_now.npy", "lock"):
        (folder.path / name).unlink()
    assert folder.recipe() == lenet()
    status = live_files.read_status(folder)
    assert (status.state, status.epoch, status.epochs) == ("finished", 2, 2)
    folder.begin(lenet())
    longer = lenet(phases=(Phase(3, 0.01, schedule="constant"),))
    (folder.path / "recipe.json").write_text(json.dumps({**old, "phases": [asdict(longer.phases[0])]}))
    assert live_files.read_status(folder).state == "interrupted"
    assert train(longer, splits, folder).epoch == 3


def test_runs_are_listed_found_and_deleted(tmp_path: Path) -> None:
    assert run.runs(tmp_path) == []
    for age, name in enumerate(("one", "two", ".hidden")):
        RunFolder(tmp_path / name).begin(lenet(name=name.strip(".")))
        os.utime(tmp_path / name / "recipe.json", (age, age))
    (tmp_path / "no_run").mkdir()
    assert [folder.name for folder in run.runs(tmp_path)] == ["two", "one"]
    assert run.find("one", tmp_path).path == run.find(str(tmp_path / "one")).path == tmp_path / "one"
    with pytest.raises(ConvscopeError, match=r"There is no run 'three': choose one of two, one\."):
        run.find("three", tmp_path)
    run.delete("one", tmp_path)
    assert not (tmp_path / "one").exists()
    for name in ("one", "no_run"):
        with pytest.raises(ConvscopeError, match=r"There is no run .* to delete"):
            run.delete(name, tmp_path)
    assert (tmp_path / "no_run").is_dir()


def test_only_runs_of_the_runs_folder_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    for path in (runs / "one", elsewhere, runs / "one" / "nested", runs / "kept"):
        RunFolder(path).begin(lenet(name="one"))
    (runs / "kept" / "card.json").write_text("{}")
    (runs / "link").symlink_to(elsewhere)
    monkeypatch.chdir(tmp_path)
    named = ("elsewhere", str(elsewhere), "../elsewhere", str(runs / "one"), "one/nested", "one/..", "link", "kept")
    with settings.using(runs=runs):
        for name in named:
            assert main(["--delete", name, "--runs", str(runs)]) == 1, name
        for name in ("", ".", ".."):
            with pytest.raises(ConvscopeError, match="There is no run"):
                run.delete(name)
    assert {path.name for path in runs.iterdir()} == {"one", "link", "kept"}
    assert (elsewhere / "recipe.json").exists()


def test_a_link_inside_a_run_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("x")
    RunFolder(tmp_path / "runs" / "one").begin(lenet(name="one"))
    (tmp_path / "runs" / "one" / "a").symlink_to(tmp_path / "outside")
    (tmp_path / "runs" / "one" / "b").symlink_to(tmp_path / "outside" / "precious")
    run.delete("one", tmp_path / "runs")
    assert not (tmp_path / "runs" / "one").exists()
    assert (tmp_path / "outside" / "precious").read_text() == "x"


def test_the_recipe_of_a_run_reads_back(folder: RunFolder) -> None:
    recipe: Recipe = replace(TWO_PHASES, options={}, resolutions=(Resolution(0, 32),), group="phases", sample=5)
    folder.begin(recipe)
    assert folder.recipe() == recipe
