"""The training loop: for each epoch, for each batch, one step downhill.

    loss = cross-entropy(network(batch), labels)      with label smoothing if the recipe asks for it
    weights = weights - learning rate * direction     SGD (with Nesterov's momentum), Adam or AdamW
    average = decay * average + (1 - decay) * weights (the averaged weights are what is evaluated and kept)

After each epoch the network is measured on the validation images and on 5,000 training images, both without
augmentation, and everything needed to go on is saved. Nothing else is remembered: order, augmentation, dropout and
learning rate follow from (recipe, epoch), so an interrupted run ends with the same weights as an uninterrupted one.

The images stay on the device as bytes and are augmented there (batches.py). On CUDA, `precision = "bfloat16"` runs the
convolutions on tensor cores. Apple's MPS is written for, but untested: nobody has run it yet.

References: Sutskever et al. (2013) for momentum; Kingma & Ba (2015), Adam; Loshchilov & Hutter (2019), AdamW;
Szegedy et al. (2016), section 7, label smoothing; Polyak & Juditsky (1992), averaging.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.accuracy.figures import accuracy, cross_entropy
from engine.checkpoints import states
from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.evaluation import evaluate
from engine.training.batches import Batches
from engine.training.control import Control, StopRequested
from engine.training.datasets import Splits, measured, to_learn_from
from engine.training.frozen_features import FrozenFeatures
from engine.training.recipe import Recipe
from engine.training.records import EpochRecord, RunProgress
from engine.training.run import RunFolder, check_classes, progress_of
from engine.training.schedule import learning_rate
from engine.training.start import averaged, first_filters, make_optimizer, starting_network, train_mode_
from engine.training.step import descend, losses
from engine.training.team import ALONE, Team
from engine.training.telemetry import StepReport, Telemetry


class Training:
    """One run of one recipe on one device, from its last whole epoch to its end.

    Args:
        observe: called after each step; raise from it to stop (the last whole epoch is safe on disk).
        bases: the folder of the checkpoint that the recipe starts from; None for the folder of all checkpoints.
        team: the processes that train together, this one among them (team.py).

    Attributes:
        observe_kept: called while the frozen layers' answers are computed, with how many images are done, of how many.
    """

    def __init__(
        self,
        recipe: Recipe,
        splits: Splits,
        folder: RunFolder,
        device: torch.device,
        observe: Callable[[StepReport], object] = lambda report: None,
        bases: Path | None = None,
        team: Team = ALONE,
    ) -> None:
        self.recipe, self.folder, self.device, self.observe, self.team = recipe, folder, device, observe, team
        self.splits = to_learn_from(splits, recipe)
        self.model = starting_network(recipe, self.splits.train.classes, device, bases)
        self.kept = FrozenFeatures(self.model, self.splits, recipe, device, team) if recipe.keep_frozen else None
        self.batches = self.kept or Batches(self.splits.train, recipe, device, team)
        self.average = averaged(self.model, recipe.ema) if recipe.ema else None
        self.phase = 0
        self.optimizer = make_optimizer(self.model, recipe.phases[0])
        self.plan = team.from_leader(lambda: folder.plan(recipe))
        self.progress = RunProgress(filters=[first_filters(self.model)])
        self._resume(team.from_leader(folder.load))
        self.shared_model = team.wrapped(self.kept.end_of(self.model) if self.kept else self.model)
        self.control = Control(folder.path)
        self.observe_kept: Callable[[int, int], object] = lambda done, count: None
        self.telemetry = Telemetry(
            folder, recipe.batch_size, len(self.batches), lambda: first_filters(self.measured_model)
        )

    def run(self, epochs: int | None = None) -> RunProgress:
        """Train until the recipe's end, until a requested stop, or for a number of `epochs`.

        Raises:
            ConvscopeError: the loss is no longer a number, the state cannot be saved, or another process trains here.
        """
        if self.finished:
            return self.progress
        with self.folder.held():
            self.folder.tidy()
            try:
                self.telemetry.begin(self.plan, self.progress)
                if self.kept and not self.team.from_leader(self._keep_features):
                    raise StopRequested
                self._train(self.plan.epochs if epochs is None else self.progress.epoch + epochs)
            except StopRequested:
                pass
            finally:
                self.telemetry.close()
            self._say_how_it_ended()
        return self.progress

    @property
    def finished(self) -> bool:
        """Whether the recipe's end is reached."""
        return self.progress.epoch >= self.plan.epochs or self._patience_is_over()

    @property
    def measured_model(self) -> nn.Module:
        """The network that is evaluated and kept: the averaged one, if the recipe averages."""
        return self.average.module if self.average is not None else self.model

    def _train(self, end: int) -> None:
        while not self.finished and self.progress.epoch < end:
            self._enter_phase(self.plan.phase_at(self.progress.epoch))
            self._train_epoch()

    def _keep_features(self) -> bool:
        """Compute what the frozen layers answer, from where it was broken off; whether that came to its end."""
        self.telemetry.say("measuring")
        for done in self.kept.keep():
            command = self.control.command()
            if command == "pause":  # the other processes of the team wait anyway
                command = self._pause(self.control.wait)
            if command == "stop":
                return False
            self.observe_kept(done, self.kept.count)
        return True

    def _patience_is_over(self) -> bool:
        """Early stopping: the validation loss at the final image size has had its minimum too long ago."""
        losses = [record.val_loss for record in self.progress.history if record.pixels == self.recipe.input_size]
        patience = self.recipe.early_stopping
        return bool(patience and losses) and len(losses) - 1 - losses.index(min(losses)) >= patience

    def _say_how_it_ended(self) -> None:
        done = f"epoch {self.progress.epoch} of {self.plan.epochs}"
        if not self.finished:
            self.telemetry.end("stopped", f"Stopped; it can go on after {done}.")
        elif self.progress.epoch < self.plan.epochs:
            reason = f"the validation loss has not fallen for {self.recipe.early_stopping} epochs"
            self.telemetry.end("finished", f"Finished with {done}: {reason}.")
        else:
            self.telemetry.end("finished", f"Finished with {done}.")

    def _enter_phase(self, phase: int) -> None:
        if phase != self.phase:
            self.phase = phase
            self.optimizer = make_optimizer(self.model, self.recipe.phases[phase])

    def _train_epoch(self) -> None:
        self.begun = time.perf_counter()
        epoch = self.progress.epoch
        pixels = self.plan.pixels_at(epoch)
        self.telemetry.enter(self.plan, epoch)
        # Dropout draws from the global generator.
        torch.manual_seed(self.recipe.seed * 1_000_003 + epoch + self.team.rank * 1_000_000_007)
        train_mode_(self.model, self.recipe.train_last)
        done: list[Tensor] = []
        for images, labels in self.batches.epoch(epoch):
            self._obey(len(done))
            if len(done) == self.plan.steps_in(epoch, len(self.batches)) or self.plan.phase_at(epoch) != self.phase:
                break
            done.append(self._step(self.batches.network_input(images, pixels), labels, len(done)))
        if done:
            self._finish_epoch(torch.stack(done).mean().item(), pixels)

    def _obey(self, step: int) -> None:
        """Carry out a command that has arrived, when `step` steps of the epoch are done."""
        command = self.team.strongest(self.control.command())
        if command == "pause":
            begun = time.perf_counter()
            command = self._pause(lambda: self.team.from_leader(self.control.wait))
            self.begun += time.perf_counter() - begun
        if command == "stop":
            raise StopRequested
        epoch = self.progress.epoch
        # At the first step of a phase, the one that was to be ended has ended by itself.
        is_late = step == 0 and self.plan.epoch_in_phase(epoch) == 0
        if command == "next_phase" and self.plan.can_cut(epoch) and not is_late:
            self.plan = self.plan.cut(epoch, step)
            self.folder.save_plan(self.plan)

    def _pause(self, wait: Callable[[], str]) -> str:
        """Show the pause that `wait` waits through; returns the command that ends it."""
        self.telemetry.pause()
        command = wait()
        self.telemetry.go_on()
        return command

    def _step(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """One step; returns the plain cross-entropy of the batch."""
        rate = self._learning_rate(step)
        loss, plain = losses(self.shared_model, images, labels, self.recipe)
        whole_loss, whole_plain = self.team.mean(torch.stack([loss.detach(), plain]))
        if not math.isfinite(value := whole_loss.item()):
            raise ConvscopeError(self._diverged(value, step, rate))
        descend(self.optimizer, loss, rate)
        if self.average is not None:
            self.average.update_parameters(self.model)
        report = StepReport(self.progress.epoch, step, len(self.batches), whole_plain.item(), rate)
        self.telemetry.step(report)
        self.observe(report)
        return whole_plain

    def _learning_rate(self, step: int) -> float:
        phase = self.recipe.phases[self.phase]
        done = self.plan.epoch_in_phase(self.progress.epoch) * len(self.batches) + step
        return learning_rate(phase, done / (phase.epochs * len(self.batches)))

    def _diverged(self, value: float, step: int, rate: float) -> str:
        return (
            f"The loss became {value} in epoch {self.progress.epoch + 1}, step {step + 1}, at a learning rate of "
            f"{rate:.3g}: lower the learning rate; the state after epoch {self.progress.epoch} is kept."
        )

    def _finish_epoch(self, batch_loss: float, pixels: int) -> None:
        measuring = time.perf_counter()
        self.telemetry.say("measuring")
        training, validation = self.team.from_leader(lambda: self._figures(pixels))
        progress, rate = self.progress, self.optimizer.param_groups[0]["lr"]
        if not math.isfinite(training[0]):
            raise ConvscopeError(self._diverged(training[0], len(self.batches) - 1, rate))
        progress.epoch += 1
        progress.filters.append(first_filters(self.measured_model))
        circumstances = (rate, self.recipe.phases[self.phase].optimizer, pixels, time.perf_counter() - self.begun)
        record = EpochRecord(progress.epoch, *training, *validation, batch_loss, *circumstances)
        progress.history.append(record)
        # Accuracies at different image sizes cannot be compared; the checkpoint is used at the final one.
        if pixels == self.recipe.input_size and record.val_accuracy > progress.best_accuracy:
            progress.best_accuracy, progress.best_epoch = record.val_accuracy, progress.epoch
            self.folder.save_best((progress.epoch, self.measured_model.state_dict()))
        if progress.epoch in states.epochs_to_keep(self.plan.epochs, self.recipe.keep_states):
            self.folder.save_weights(progress.epoch, self.measured_model.state_dict())
        self.folder.save(self._state(), progress)
        self.telemetry.finish_epoch(progress, time.perf_counter() - measuring)

    def _figures(self, pixels: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Cross-entropy and accuracy (0-1) on training images, and on validation images."""
        model = self.measured_model.eval()
        if self.kept:
            return tuple((cross_entropy(one), accuracy(one).value) for one in self.kept.predictions(model))
        sample = self.splits.train.subset(measured(self.recipe, len(self.splits.train)))
        return tuple(measure(model, images, self.recipe, pixels) for images in (sample, self.splits.validation))

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "phase": self.phase,
            "classes": list(self.splits.train.classes),
        }

    def _resume(self, state: dict[str, Any] | None) -> None:
        if state is None:
            return
        check_classes(state, self.splits.train.classes)
        self.progress = progress_of(state)
        self._enter_phase(state["phase"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def measure(model: nn.Module, data: LabelledImages, recipe: Recipe, pixels: int) -> tuple[float, float]:
    """Cross-entropy in nats and accuracy (0-1) of a network in evaluation mode, with images of `pixels` x `pixels`."""
    mean, std = recipe.statistics
    predictions = evaluate(model, data.images, data.labels, input_size=pixels, mean=mean, std=std)
    return cross_entropy(predictions), accuracy(predictions).value
