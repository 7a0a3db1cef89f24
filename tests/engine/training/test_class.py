"""A class on one server: whose a run is, and what students may do, so that nobody is in another's way."""

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine import checkpoints, settings
from engine.errors import ConvscopeError
from engine.training import finish, run, turns
from engine.training.queue import jobs, limits, owners
from engine.training.queue.worker import note_keeping
from engine.training.recipe import Phase, Recipe
from engine.training.run import RunFolder
from tests.engine.checkpoints.test_checkpoints import make_card, make_contents

FLOOD = Recipe("flood", "lenet", (Phase(3000, 0.01),), dataset="cifar10_bundled", input_size=32, batch_size=10)


@pytest.fixture
def no_dispatcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is trained: whoever waits, waits."""
    kept: list[int] = []
    monkeypatch.setattr(jobs, "start_module", lambda module, locks, *_: kept.append(os.dup(locks[0])) or Process())
    yield
    for descriptor in kept:
        os.close(descriptor)


class Process:
    def wait(self) -> int:
        return 0


# Owners --------------------------------------------------------------------------------------------------------


def test_a_run_belongs_to_whoever_has_its_right_and_the_disk_does_not_tell_it(
    tmp_path: Path, no_dispatcher: None
) -> None:
    right, other = owners.new_right(), owners.new_right()
    folder = jobs.submit(FLOOD, tmp_path, right)
    assert owners.belongs(folder.path, {other, right})
    assert not owners.belongs(folder.path, {other})
    assert not owners.belongs(folder.path, {"", owners.of(folder.path)})
    assert not any(right.encode() in file.read_bytes() for file in folder.path.iterdir() if file.is_file())
    assert not owners.belongs(jobs.submit(FLOOD, tmp_path).path, {"", other, right})


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 10_000, "ä".encode()])
def test_an_odd_file_makes_nobody_the_owner(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "owner").write_bytes(content)
    assert not owners.belongs(tmp_path, {"", "x"})


# Limits --------------------------------------------------------------------------------------------------------


def test_of_two_hundred_trainings_twenty_wait_and_the_others_are_refused_and_leave_nothing(
    tmp_path: Path, no_dispatcher: None
) -> None:
    refused: list[str] = []
    for _ in range(200):
        right = owners.new_right()
        try:
            jobs.submit(FLOOD, tmp_path, right, limits.of_queue(tmp_path, {right}))
        except ConvscopeError as error:
            refused.append(str(error))
    assert len(turns.queue(tmp_path)) == len(run.runs(tmp_path)) == 20
    assert refused == ["20 runs wait for their turn already: try again when some have ended."] * 180


def test_a_student_has_one_run_that_waits(tmp_path: Path, no_dispatcher: None) -> None:
    mine = {owners.new_right(), owners.new_right()}
    first, second = sorted(mine)
    waiting = jobs.submit(FLOOD, tmp_path, first, limits.of_queue(tmp_path, mine))
    with pytest.raises(ConvscopeError, match="Your last run still waits"):
        jobs.submit(FLOOD, tmp_path, second, limits.of_queue(tmp_path, mine))
    others = limits.of_queue(tmp_path, {owners.new_right()})
    jobs.submit(FLOOD, tmp_path, owners.new_right(), others)
    jobs.submit(FLOOD, tmp_path, second)  # the lecturer's are not limited
    jobs.cancel(waiting)
    with pytest.raises(ConvscopeError, match="Your last run still waits"):
        jobs.resume(waiting, limits.of_queue(tmp_path, mine))
    assert jobs.look(waiting).state == "stopped"


def test_the_lecturers_runs_go_before_the_students_and_each_group_keeps_its_order(
    tmp_path: Path, no_dispatcher: None
) -> None:
    for name, right in (("s1", "a" * 20), ("s2", "b" * 20), ("l1", ""), ("s3", "c" * 20), ("l2", "")):
        jobs.submit(replace(FLOOD, name=name), tmp_path, right)
    assert [folder.name for folder in turns.queue(tmp_path)] == ["l1", "l2", "s1", "s2", "s3"]


def test_so_many_runs_there_are(tmp_path: Path, no_dispatcher: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RUNS", 2)
    for name in ("one", "two"):
        RunFolder(tmp_path / name).begin(replace(FLOOD, name=name))
    with pytest.raises(ConvscopeError, match="There are 2 runs already"):
        jobs.submit(FLOOD, tmp_path, "right", limits.of_queue(tmp_path, {"right"}))
    assert len(run.runs(tmp_path)) == 2


@pytest.mark.parametrize(
    ("minutes", "seconds", "refused"),
    [
        (30, 1799.0, None),
        (30, 1860.0, "would take the processor about 31 min, and 30 min are allowed"),
        (30, None, "is not known yet"),
        (0, 1.0, "Only the lecturer trains"),
    ],
)
def test_a_students_training_may_take_so_long(minutes: int, seconds: float | None, refused: str | None) -> None:
    with settings.used(kind="class", minutes=minutes):
        if refused is None:
            limits.check_training(seconds)
        else:
            with pytest.raises(ConvscopeError, match=refused):
                limits.check_training(seconds)


def keep(name: str, folder: Path, right: str) -> None:
    checkpoints.save(make_card(name), replace(make_contents(), owner=owners.digest(right) if right else ""), folder)


def test_a_student_keeps_two_models_and_all_of_them_as_many_as_the_server_says(tmp_path: Path) -> None:
    kept, runs = tmp_path / "kept", tmp_path / "runs"
    checkpoints.save(make_card("shipped"), make_contents(), kept)
    keep("lecturers", kept, "")
    keep("mine", kept, "me")
    pending = RunFolder(runs / "pending")
    pending.begin(FLOOD)
    owners.give(pending.path, "me")
    with settings.used(kind="class", models=3):
        limits.check_keeping(kept, runs, {"me"})
        with pending.held():
            note_keeping(pending.path, jobs.Keeping("working", "second"))
        with jobs.lock.held(pending.path / jobs.KEEP_LOCK), pytest.raises(ConvscopeError, match="You keep 2 models"):
            limits.check_keeping(kept, runs, {"me"})
        keep("second", kept, "another")
        keep("third", kept, "another one")
        with pytest.raises(ConvscopeError, match="Students keep 3 models already"):
            limits.check_keeping(kept, runs, {"me"})
    with settings.used(kind="class", models=0), pytest.raises(ConvscopeError, match="Only the lecturer keeps"):
        limits.check_keeping(kept, runs, {"me"})


# Names and removing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["depth_2", "Depth_2", "imagenet_vgg16", "efficientnet_lite0", "taken"])
def test_reserved_names_are_refused_everywhere(name: str, tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "kept" / "taken").mkdir(parents=True)
    folder.begin(FLOOD)
    (folder.path / "best.pt").write_bytes(b"weights")
    with pytest.raises(ConvscopeError, match="There is a network called"):
        jobs.keep(folder, name, tmp_path / "kept")
    with pytest.raises(ConvscopeError, match="There is a network called"):
        finish.keep(folder, name, tmp_path / "kept")


def test_what_was_kept_can_be_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("shipped", "mine"):
        checkpoints.save(make_card(name), make_contents(), tmp_path)
    keep("ours", tmp_path, "right")
    keep("built", tmp_path, "right")
    assert [path.name for path in checkpoints.kept(tmp_path)] == ["built", "ours"]
    for name in ("shipped", "nothing", "..", "", str(tmp_path / "shipped")):
        with pytest.raises(ConvscopeError, match="There is no kept model"):
            checkpoints.remove(name, tmp_path)
    card = tmp_path / "built" / "card.json"
    card.write_text(card.read_text().replace('"base": ""', '"base": "ours"'))
    with pytest.raises(ConvscopeError, match="'built' is built on 'ours'"):
        checkpoints.remove("ours", tmp_path)
    for name in ("built", "ours"):
        checkpoints.remove(name, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "shipped"]


def test_a_full_disk_is_no_obstacle_to_removing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    keep("ours", tmp_path, "right")
    (tmp_path / ".ours.removed" / "left").mkdir(parents=True)
    monkeypatch.setattr(os, "mkdir", full)
    checkpoints.remove("ours", tmp_path)
    assert list(tmp_path.iterdir()) == []
