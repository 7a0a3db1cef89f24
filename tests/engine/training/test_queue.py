"""Trainings in processes of their own: real ones, on a few images."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from engine import checkpoints
from engine.errors import ConvscopeError
from engine.settings import ROOT
from engine.training import live_files, lock, run, turns
from engine.training.queue import dispatcher, jobs
from engine.training.recipe import Phase, Recipe
from engine.training.records import ALIVE
from engine.training.run import RunFolder

TINY = Recipe(
    "tiny", "lenet", (Phase(2, 0.01),), dataset="cifar10_bundled", input_size=32, batch_size=10, sample=4, seed=1
)
LONG = replace(TINY, name="long", phases=(Phase(1000, 0.001),))


def wait_for(what: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def ended(folder: RunFolder) -> bool:
    return jobs.look(folder).state not in ALIVE


# The queue, without any process --------------------------------------------------------------------------------


def folders(root: Path, count: int) -> list[Path]:
    made = [root / f"run{number}" for number in range(count)]
    for folder in made:
        folder.mkdir()
    return made


def test_the_queue_is_in_the_order_of_asking(tmp_path: Path) -> None:
    first, second, third = folders(tmp_path, 3)
    dispatcher, *none = [turns.join(folder) for folder in (third, first, second)]
    assert none == [None, None]  # one dispatcher is enough
    assert turns.queue(tmp_path) == [third, first, second]
    assert turns.leave(first)
    assert turns.queue(tmp_path) == [third, second]
    assert not turns.waiting(first)
    assert not turns.leave(first)
    os.close(dispatcher)
    assert turns.queue(tmp_path) == []


def test_a_run_waits_once(tmp_path: Path) -> None:
    (folder,) = folders(tmp_path, 1)
    dispatcher = turns.join(folder)
    with pytest.raises(ConvscopeError, match="waits for its turn already"):
        turns.join(folder)
    os.close(dispatcher)
    os.close(turns.join(folder))


@pytest.mark.parametrize("name", ["run0 2", "run0.v2"])
def test_a_folder_that_is_no_name_does_not_wait_and_lets_no_other_one_train(tmp_path: Path, name: str) -> None:
    folders(tmp_path, 1)
    (tmp_path / name).mkdir()
    with pytest.raises(ConvscopeError, match=f"The folder of the run '{name}' needs another name before it can go on"):
        turns.join(tmp_path / name)
    assert not (tmp_path / turns.QUEUE).exists()


def test_what_waited_for_a_dispatcher_that_was_killed_does_not_begin_with_the_next_one(tmp_path: Path) -> None:
    first, second = folders(tmp_path, 2)
    os.close(turns.join(first))
    dispatcher = turns.join(second)
    assert turns.queue(tmp_path) == [second]
    os.close(dispatcher)


def test_each_waits_for_the_one_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = folders(tmp_path, 2)
    own_lock, _ = [turns.join(folder) for folder in (first, second)]
    order: list[str] = []
    release = threading.Event()

    class Process:
        def __init__(self, folder: Path, locks: tuple[int, ...], *arguments: str) -> None:
            assert lock.is_held(folder / "lock")
            order.append(folder.name)

        def wait(self) -> int:
            release.wait(20)
            return 0

    monkeypatch.setattr(dispatcher, "start_worker", Process)
    thread = threading.Thread(target=dispatcher.dispatch, args=(tmp_path, own_lock))
    thread.start()
    wait_for(lambda: order == ["run0"], 20)
    time.sleep(0.3)
    assert order == ["run0"]
    assert turns.queue(tmp_path) == [second]
    release.set()
    thread.join(20)
    assert order == ["run0", "run1"]
    assert turns.queue(tmp_path) == []
    assert not lock.is_held(tmp_path / turns.DISPATCHER)


def test_who_is_not_wanted_any_more_leaves_the_queue(tmp_path: Path) -> None:
    made = [RunFolder(path) for path in folders(tmp_path, 2)]
    for folder in made:
        folder.begin(TINY)
    dispatcher, _ = [turns.join(folder.path) for folder in made]
    jobs.cancel(made[1])
    assert turns.queue(tmp_path) == [made[0].path]
    assert jobs.look(made[1]).state == "stopped"
    os.close(dispatcher)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stands_still(pid: int) -> bool:
    before = cpu_seconds(pid)
    time.sleep(1.0)
    return cpu_seconds(pid) == before


def dispatchers(root: Path) -> list[int]:
    """The dispatchers of the runs in `root` that are at work."""
    wanted = f"queue.dispatcher\0{root.resolve()}\0".encode()
    known = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            known += [int(file.parent.name)] if wanted in file.read_bytes() else []
    return known


def test_forty_that_wait_are_one_small_process_that_does_nothing(tmp_path: Path) -> None:
    training = os.open(tmp_path / turns.TURN, os.O_RDWR | os.O_CREAT)
    assert lock.locked(training)  # as if a run were trained
    waiting = [RunFolder(path) for path in folders(tmp_path, 40)]
    for folder in waiting:
        folder.begin(TINY)
        jobs.start(folder)
    assert jobs.place(waiting[39]) == 40
    (pid,) = dispatchers(tmp_path)
    wait_for(lambda: stands_still(pid), 60)  # its start takes a while
    with pytest.raises(ConvscopeError, match="waits for its turn: cancel it"):
        run.delete("run7", tmp_path)
    for folder in waiting:
        jobs.cancel(folder)
    os.close(training)
    wait_for(lambda: not dispatchers(tmp_path), 20)
    assert {jobs.look(folder).state for folder in waiting} == {"stopped"}


def test_who_waits_loads_no_pytorch() -> None:
    look = "import engine.training.queue.dispatcher, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], cwd=ROOT, check=False).returncode == 0


def test_a_run_that_goes_on_is_not_stopped_by_an_old_command(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.begin(TINY)
    (folder.path / "command").write_text("stop\n")  # meant for a process that is no more
    monkeypatch.setattr(turns, "join", lambda folder, *_rest: None)
    jobs.resume(folder)
    assert not (folder.path / "command").exists()


# Real processes ------------------------------------------------------------------------------------------------


def test_one_trains_at_a_time_and_a_failure_or_a_cancelled_one_does_not_hold_up_the_others(tmp_path: Path) -> None:
    failing = jobs.submit(replace(TINY, phases=(Phase(2, 1000.0, momentum=0.0, schedule="constant"),)), tmp_path)
    cancelled = jobs.submit(TINY, tmp_path)
    last = jobs.submit(TINY, tmp_path)
    assert [folder.name for folder in (failing, cancelled, last)] == ["tiny", "tiny-2", "tiny-3"]
    assert jobs.look(last).state == "queued"
    assert jobs.place(last) in (2, 3)
    with pytest.raises(ConvscopeError, match="waits for its turn: cancel it"):
        jobs.delete(last)
    with pytest.raises(ConvscopeError, match=r"going on already|waits for its turn already"):
        jobs.resume(last)
    jobs.cancel(cancelled)

    wait_for(lambda: ended(failing) and ended(cancelled) and ended(last))
    assert jobs.look(failing).state == "failed"
    assert "lower the learning rate" in jobs.look(failing).message
    assert jobs.look(cancelled).state == "stopped"
    assert live_files.read_history(cancelled) == []
    assert jobs.look(last).state == "finished"
    assert len(live_files.read_history(last)) == 2
    failed_at, started_at = live_files.read_events(failing)[-1].time, live_files.read_events(last)[0].time
    assert started_at >= failed_at

    wait_for(lambda: not cancelled.alive)
    jobs.delete(cancelled)
    assert not cancelled.path.exists()
    with pytest.raises(ConvscopeError, match="has finished: start a new one"):
        jobs.resume(last)


def test_a_cancelling_that_comes_while_the_images_are_loaded_is_obeyed(tmp_path: Path) -> None:
    folder = jobs.submit(TINY, tmp_path)
    wait_for(lambda: not turns.waiting(folder.path))
    jobs.cancel(folder)
    wait_for(lambda: ended(folder) and not folder.alive)
    assert jobs.look(folder).state == "stopped"
    assert live_files.read_history(folder) == []


SUBMIT = """
import sys, time
from pathlib import Path
from engine.training import toml_text
from engine.training.queue import jobs
from engine.training.recipe import parse
jobs.submit(parse(sys.argv[2], "long"), Path(sys.argv[1]))
print("submitted", flush=True)
time.sleep(600)
"""


def test_a_training_outlives_the_app_and_is_stopped_and_resumed_by_another_one(tmp_path: Path) -> None:
    from engine.training import toml_text

    app = subprocess.Popen(
        [sys.executable, "-c", SUBMIT, str(tmp_path), toml_text.to_toml(LONG)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with app:
        assert app.stdout.readline() == "submitted\n"
        os.killpg(app.pid, signal.SIGKILL)
    folder = RunFolder(tmp_path / "long")
    wait_for(lambda: len(live_files.read_history(folder)) >= 2)
    jobs.cancel(folder)
    wait_for(lambda: ended(folder) and not folder.alive)
    assert jobs.look(folder).state == "stopped"
    done = len(live_files.read_history(folder))

    jobs.resume(folder)
    assert jobs.look(folder).state in ALIVE
    wait_for(lambda: len(live_files.read_history(folder)) > done)
    assert [record.epoch for record in live_files.read_history(folder)][: done + 1] == list(range(1, done + 2))
    with pytest.raises(ConvscopeError, match="is training now: stop it"):
        jobs.delete(folder)
    jobs.cancel(folder)
    wait_for(lambda: ended(folder) and not folder.alive)


def test_a_model_is_kept_by_a_process_of_its_own(tmp_path: Path, splits, folder: RunFolder) -> None:
    from tests.runs import train

    train(replace(TINY, phases=(Phase(1, 0.01),)), splits, folder)
    target = tmp_path / "checkpoints"
    assert jobs.keeping(folder) is None
    jobs.keep(folder, "mine", target)
    assert jobs.keeping(folder) == jobs.Keeping("working", "mine")
    with pytest.raises(ConvscopeError, match="is being kept already"):
        jobs.keep(folder, "other", target)
    with pytest.raises(ConvscopeError, match="is being kept: wait"):
        jobs.delete(folder)
    wait_for(lambda: jobs.keeping(folder).state != "working")
    told = jobs.keeping(folder)
    assert told.state == "done", told
    card = checkpoints.load("mine", target).card
    assert f"{card.test_accuracy:.2%} of 10,000 test images" in told.message
    with pytest.raises(ConvscopeError, match="There is a network called 'mine' already"):
        jobs.keep(folder, "mine", target)


# Mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "../away", "a/b", "two words", ".hidden", "x" * 61])
def test_a_bad_name_is_refused(name: str, tmp_path: Path, folder: RunFolder) -> None:
    with pytest.raises(ConvscopeError, match="cannot be a name"):
        jobs.submit(replace(TINY, name=name), tmp_path / "runs")
    with pytest.raises(ConvscopeError, match="cannot be a name"):
        jobs.keep(folder, name, tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(ConvscopeError, match="could not be written"):
        jobs.submit(TINY, tmp_path / "runs")


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_a_run_that_can_be_resumed_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (folder,) = folders(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(ConvscopeError, match=r"\.queue could not be written \(No space left on device\)"):
            turns.join(folder)
    assert not turns.waiting(folder)
    os.close(turns.join(folder))


def test_a_full_disk_leaves_a_run_that_can_be_kept_and_deleted(
    tmp_path: Path, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.begin(TINY)
    (folder.path / "best.pt").write_bytes(b"weights")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConvscopeError, match=r"keep\.json could not be written \(No space left on device\)"):
            jobs.keep(folder, "mine", tmp_path / "checkpoints")
    assert not lock.is_held(folder.path / jobs.KEEP_LOCK)
    jobs.delete(folder)
    assert not folder.path.exists()


def test_nothing_to_keep_cancel_or_resume(tmp_path: Path, folder: RunFolder) -> None:
    folder.begin(TINY)
    with pytest.raises(ConvscopeError, match="has no whole epoch"):
        jobs.keep(folder, "mine", tmp_path)
    with pytest.raises(ConvscopeError, match="is not training now"):
        jobs.cancel(folder)
    with pytest.raises(ConvscopeError, match="holds no run"):
        jobs.resume(RunFolder(tmp_path / "nothing"))


def test_a_keeping_that_died_is_told(folder: RunFolder) -> None:
    from engine.training.queue.worker import note_keeping

    note_keeping(folder.path, jobs.Keeping("working", "mine"))
    assert jobs.keeping(folder).state == "failed"
    with lock.held(folder.path / jobs.KEEP_LOCK):
        assert jobs.keeping(folder) == jobs.Keeping("working", "mine")
