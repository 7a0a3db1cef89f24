"""What a run shows of itself while it trains: the files that pages and TensorBoard read.

A step of a small network takes a few milliseconds, so nothing here happens at each step: the present loss is noted
four times a second, the state twice, the filters once. In between, a step costs a few comparisons of the clock. None
of these files is needed to go on, and a full disk is reported by the next save, so errors in writing them are passed
over.
"""

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import ConvscopeError
from engine.files import write_text
from engine.training import live_files, tensorboard
from engine.training.memory import OUT_OF_MEMORY, is_out_of_memory
from engine.training.plan import Plan
from engine.training.records import STEP_COLUMNS, RunProgress, Status, is_step, step_line, step_lines
from engine.training.run import RunFolder

STEPS_INTERVAL = 0.25
STATUS_INTERVAL = 0.5
FILTERS_INTERVAL = 1.0


@dataclass(frozen=True)
class StepReport:
    """What an observer learns after each step: counters from 0, the batch's plain cross-entropy, and the rate."""

    epoch: int
    step: int
    steps_per_epoch: int
    loss: float
    learning_rate: float


class Speed:
    """Seconds per step, as an average in which the last twenty steps or so count.

    With durations d: average = 0.95 average + 0.05 d, divided by 1 - 0.95^n to make up for its start at 0
    (Kingma & Ba 2015, section 3).
    """

    def __init__(self) -> None:
        self.total, self.weight = 0.0, 0.0
        self.last = time.perf_counter()

    def restart(self) -> None:
        """Drop the time since the last step: the run was not training."""
        self.last = time.perf_counter()

    def step(self) -> None:
        now = time.perf_counter()
        self.total = 0.95 * self.total + 0.05 * (now - self.last)
        self.weight = 0.95 * self.weight + 0.05
        self.last = now

    @property
    def seconds(self) -> float:
        return self.total / self.weight if self.weight else 0.0


class Rhythm:
    """`is_due` is true at the first call, and then at most once in `interval` seconds."""

    def __init__(self, interval: float) -> None:
        self.interval, self.next = interval, 0.0

    def is_due(self) -> bool:
        now = time.monotonic()
        if now < self.next:
            return False
        self.next = now + self.interval
        return True


class Telemetry:
    """The live files of the run in `folder`, whose epochs have `steps_per_epoch` steps of `batch_size` images.

    Args:
        filters: returns the first layer's kernels as they are at the moment.
    """

    def __init__(
        self, folder: RunFolder, batch_size: int, steps_per_epoch: int, filters: Callable[[], np.ndarray]
    ) -> None:
        self.folder, self.batch_size, self.steps_per_epoch, self.filters = folder, batch_size, steps_per_epoch, filters
        self.speed = Speed()
        self.rest = 0.0
        self.board: tensorboard.Board | None = None
        self.status = Status("running", pid=os.getpid())
        self.steps_due, self.status_due, self.filters_due = (
            Rhythm(interval) for interval in (STEPS_INTERVAL, STATUS_INTERVAL, FILTERS_INTERVAL)
        )

    def begin(self, plan: Plan, progress: RunProgress) -> None:
        """A process starts or goes on with the run."""
        self._cut_steps(plan.steps_before(progress.epoch, self.steps_per_epoch))
        self.epoch = progress.epoch
        self.status = replace(self.status, phase=plan.phase_at(progress.epoch))
        self.board = tensorboard.Board(self.folder.path / "tensorboard", progress)
        with suppress(ConvscopeError):
            self.folder.save_filters(progress)
        self._show_filters()
        if progress.epoch or live_files.read_events(self.folder):
            live_files.note(self.folder, "resumed", f"Goes on after epoch {progress.epoch} of {plan.epochs}.")
        else:
            live_files.note(self.folder, "started", f"Starts with epoch 1 of {plan.epochs}.")

    def enter(self, plan: Plan, epoch: int) -> None:
        """An epoch begins."""
        self.plan, self.epoch = plan, epoch
        self.before = plan.steps_before(epoch, self.steps_per_epoch)
        phase = plan.phase_at(epoch)
        new = phase != self.status.phase
        run = {"epochs": plan.epochs, "steps_per_epoch": self.steps_per_epoch, "phases": len(plan.recipe.phases)}
        self.say("running", epoch=epoch, step=0, phase=phase, **run)
        self.speed.restart()
        if new:
            entered = plan.recipe.phases[phase]
            words = f"{entered.optimizer} at a learning rate of {entered.learning_rate:g}, {entered.epochs} epochs"
            live_files.note(self.folder, "phase", f"Phase {phase + 1} of {self.status.phases}: {words}.")

    def step(self, report: StepReport) -> None:
        """A step is done."""
        self.speed.step()
        if self.steps_due.is_due():
            self._note_step(report)
        if self.status_due.is_due():
            speed = {"images_per_second": self._images_per_second, "seconds_left": self.seconds_left(report)}
            self.say("running", step=report.step + 1, loss=report.loss, learning_rate=report.learning_rate, **speed)
        if self.filters_due.is_due():
            self._show_filters()

    def say(self, state: str, **changes: object) -> None:
        """Show a change of state at once."""
        self.status = replace(self.status, state=state, updated=time.time(), **changes)
        live_files.write_status(self.folder, self.status)

    def pause(self) -> None:
        self.say("paused", seconds_left=None)
        live_files.note(self.folder, "paused", f"Paused in epoch {self.epoch + 1}.")

    def go_on(self) -> None:
        self.say("running")
        self.speed.restart()
        live_files.note(self.folder, "continued", f"Goes on in epoch {self.epoch + 1}.")

    def finish_epoch(self, progress: RunProgress, measuring: float) -> None:
        """An epoch is measured, which took `measuring` seconds, and saved."""
        self.rest = measuring
        self.say("running", epoch=progress.epoch, step=0)
        self.board.add(progress)

    def end(self, state: str, message: str) -> None:
        """The run is "finished" or "stopped"."""
        self._show_filters()
        self.say(state, seconds_left=None, message=message)
        live_files.note(self.folder, state, message)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()

    @property
    def _images_per_second(self) -> float:
        return self.batch_size / self.speed.seconds if self.speed.seconds else 0.0

    def seconds_left(self, report: StepReport) -> float:
        """The steps to come, each as long as the last ones, or longer as its images are larger; and the measuring."""
        plan, now = self.plan, self.plan.pixels_at(self.epoch)
        left = plan.steps_in(self.epoch, self.steps_per_epoch) - report.step - 1
        later = range(self.epoch + 1, plan.epochs)
        steps = left + sum(self.steps_per_epoch * (plan.pixels_at(epoch) / now) ** 2 for epoch in later)
        return steps * self.speed.seconds + (plan.epochs - self.epoch) * self.rest

    def _note_step(self, report: StepReport) -> None:
        line = step_line(
            self.before + report.step, self.epoch + 1, report.loss, report.learning_rate, self._images_per_second
        )
        with suppress(OSError), (self.folder.path / "steps.csv").open("a") as file:
            file.write(line)

    def _cut_steps(self, first: int) -> None:
        """Drop the noted steps from `first` on, which will be trained again, and what is damaged."""
        file, lines = self.folder.path / "steps.csv", []
        with suppress(OSError):
            lines = step_lines(file.read_text(errors="replace"))
        kept = [line for line in lines if is_step(line) and int(line.split(",")[0]) < first]
        text = "\n".join([",".join(STEP_COLUMNS), *kept]) + "\n"
        with suppress(ConvscopeError):
            write_text(file, text)

    def _show_filters(self) -> None:
        content = io.BytesIO()
        np.save(content, self.filters())
        with suppress(OSError):
            live_files.write_unsynced(self.folder.path / "filters_now.npy", content.getvalue())


@contextmanager
def reporting(folder: RunFolder) -> Iterator[None]:
    """Note in the run's folder why what happens inside has failed, if it does."""
    try:
        yield
    except BaseException as error:
        _note_failure(folder, error)
        raise


def _note_failure(folder: RunFolder, error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        state, message = "stopped", "Stopped in the middle of a step."
    elif isinstance(error, ConvscopeError):
        state, message = "failed", str(error)
    elif is_out_of_memory(error):
        state, message = "failed", OUT_OF_MEMORY
    else:
        state, message = "failed", f"The program has failed ({type(error).__name__}: {error})."
    known = live_files.read_status(folder)
    status = replace(known, state=state, pid=os.getpid(), message=message, seconds_left=None, updated=time.time())
    live_files.write_status(folder, status)
    live_files.note(folder, state, message)
