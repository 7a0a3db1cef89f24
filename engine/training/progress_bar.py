"""What the terminal shows while a network trains: a bar over all epochs, with the last figures beside it."""

from tqdm import tqdm

from engine.training.loop import Training
from engine.training.telemetry import StepReport


class ProgressBar:
    """The bar appears with the first step of `training`, which must be set before."""

    def __init__(self) -> None:
        self.training: Training | None = None
        self.bar: tqdm | None = None

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, report: StepReport) -> None:
        """Count the step that was done."""
        assert self.training is not None
        plan = self.training.plan
        done = plan.steps_before(report.epoch, report.steps_per_epoch) + report.step + 1
        if self.bar is None:
            self.bar = tqdm(initial=done - 1, unit=" steps", mininterval=1, dynamic_ncols=True)
        self.bar.total = plan.steps_before(plan.epochs, report.steps_per_epoch)
        self.bar.set_postfix_str(self._figures(report), refresh=False)
        self.bar.update(done - self.bar.n)

    def show_kept(self, done: int, count: int) -> None:
        """Of `count` images, the frozen layers have seen `done`."""
        if self.bar is None:
            self.bar = tqdm(initial=done, total=count, unit=" images", mininterval=1, desc="frozen layers")
        self.bar.update(done - self.bar.n)
        if done == count:
            self.bar.close()
            self.bar = None

    def _figures(self, report: StepReport) -> str:
        assert self.training is not None
        history = self.training.progress.history
        figures = f"epoch {report.epoch + 1}/{self.training.plan.epochs}, loss {report.loss:.3f}"
        return figures + (f", validation {history[-1].val_accuracy:.1%}" if history else "")
