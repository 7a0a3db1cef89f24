"""The training loop: for each epoch, for each batch, one step downhill.

    loss = cross-entropy(network(batch), labels)      with label smoothing if the recipe asks for it
    weights = weights - learning rate * direction     SGD (with Nesterov's momentum), Adam or AdamW
    average = decay * average + (1 - decay) * weights (the averaged weights are what is evaluated and kept)

After each epoch the network is measured on the validation images and on the first 5,000 training images, both without
augmentation, and everything needed to go on is saved. Nothing else is remembered: order, augmentation, dropout and
learning rate follow from (recipe, epoch), so an interrupted run ends with the same weights as an uninterrupted one.

References: Sutskever et al. (2013) for momentum; Kingma & Ba (2015), Adam; Loshchilov & Hutter (2019), AdamW;
Szegedy et al. (2016), section 7, label smoothing; Polyak & Juditsky (1992), averaging.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from engine.data import LabelledImages, prepare
from engine.errors import ConvscopeError
from engine.evaluation import accuracy, cross_entropy, evaluate
from engine.models import ARCHITECTURES, build
from engine.training.batches import Batches
from engine.training.recipe import Phase, Recipe
from engine.training.run import EpochRecord, Progress, RunFolder, progress_of
from engine.training.schedule import learning_rate

TRAIN_SAMPLE = 5_000
"""Training images that are measured after each epoch, the first ones."""


@dataclass(frozen=True)
class StepReport:
    """What an observer learns after each step: counters from 0, the loss as minimised, and the rate."""

    epoch: int
    step: int
    steps_per_epoch: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Splits:
    """What a run sees: it learns from `train`, and `validation` picks the epoch that is kept."""

    train: LabelledImages
    validation: LabelledImages


def fresh_network(recipe: Recipe, num_classes: int) -> nn.Module:
    """The recipe's network with the random weights that its seed gives."""
    spec = ARCHITECTURES[recipe.architecture]
    size = {"input_size": recipe.input_size} if spec.fixed_input else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return build(recipe.architecture, num_classes=num_classes, **{**size, **recipe.options})


def make_optimizer(model: nn.Module, phase: Phase) -> Optimizer:
    """The phase's optimizer; vectors (biases, batch norm's parameters) are not decayed."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": phase.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if phase.optimizer == "sgd":
        nesterov = phase.nesterov and phase.momentum > 0
        return SGD(groups, lr=phase.learning_rate, momentum=phase.momentum, nesterov=nesterov)
    return {"adam": Adam, "adamw": AdamW}[phase.optimizer](groups, lr=phase.learning_rate)


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of `model` that follows its weights and its batch norm statistics as an exponential moving average.

    After n steps the decay is at most (1 + n) / (10 + n), so that a short run does not average in its random start.
    """

    def follow(averages: list[Tensor], currents: list[Tensor], steps: Tensor) -> None:
        weight = 1 - min(decay, (1 + steps.item()) / (10 + steps.item()))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, weight)
        else:
            torch._foreach_copy_(averages, currents)

    return AveragedModel(model, multi_avg_fn=follow, use_buffers=True)


class Training:
    """One run of one recipe on one device, from its last whole epoch to its end.

    Args:
        observe: called after each step; raise from it to stop (the last whole epoch is safe on disk).
    """

    def __init__(
        self,
        recipe: Recipe,
        splits: Splits,
        folder: RunFolder,
        device: torch.device,
        observe: Callable[[StepReport], object] = lambda report: None,
    ) -> None:
        self.recipe, self.splits, self.folder, self.device, self.observe = recipe, splits, folder, device, observe
        self.spec = ARCHITECTURES[recipe.architecture]
        self.batches = Batches(splits.train, recipe, device)
        network = fresh_network(recipe, len(splits.train.classes))
        self.model = network.to(device, memory_format=torch.channels_last)
        self.average = averaged(self.model, recipe.ema) if recipe.ema else None
        self.phase = 0
        self.optimizer = make_optimizer(self.model, recipe.phases[0])
        self.progress = Progress(filters=[first_filters(self.model)])
        self._resume()

    def run(self) -> Progress:
        """Train until the recipe's last epoch is done.

        Raises:
            ConvscopeError: the loss is no longer a number, or the state cannot be saved.
        """
        while self.progress.epoch < self.recipe.epochs:
            self._enter_phase(self.recipe.phase_at(self.progress.epoch))
            self._train_epoch()
        return self.progress

    @property
    def measured_model(self) -> nn.Module:
        """The network that is evaluated and kept: the averaged one, if the recipe averages."""
        return self.average.module if self.average is not None else self.model

    def _enter_phase(self, phase: int) -> None:
        if phase != self.phase:
            self.phase = phase
            self.optimizer = make_optimizer(self.model, self.recipe.phases[phase])

    def _train_epoch(self) -> None:
        begun = time.perf_counter()
        epoch = self.progress.epoch
        pixels = self.recipe.pixels_at(epoch)
        # Dropout draws from the global generator.
        torch.manual_seed(self.recipe.seed * 1_000_003 + epoch)
        self.model.train()
        losses = [
            self._step(prepare(images, pixels, self.spec.mean, self.spec.std), labels, step)
            for step, (images, labels) in enumerate(self.batches.epoch(epoch))
        ]
        self._finish_epoch(torch.stack(losses).mean().item(), pixels, begun)

    def _step(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """One step; gives the plain cross-entropy of the batch."""
        rate = self._set_learning_rate(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            logits = self.model(images)
        logits = logits.float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            raise ConvscopeError(self._diverged(value, step, rate))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.observe(StepReport(self.progress.epoch, step, len(self.batches), value, rate))
        return F.cross_entropy(logits.detach(), labels)

    def _set_learning_rate(self, step: int) -> float:
        phase = self.recipe.phases[self.phase]
        first = sum(earlier.epochs for earlier in self.recipe.phases[: self.phase])
        done = (self.progress.epoch - first) * len(self.batches) + step
        rate = learning_rate(phase, done / (phase.epochs * len(self.batches)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _diverged(self, value: float, step: int, rate: float) -> str:
        return (
            f"The loss became {value} in epoch {self.progress.epoch + 1}, step {step + 1}, at a learning rate of "
            f"{rate:.3g}: lower the learning rate; the state after epoch {self.progress.epoch} is kept."
        )

    def _finish_epoch(self, batch_loss: float, pixels: int, begun: float) -> None:
        sample = self.splits.train.subset(np.arange(min(TRAIN_SAMPLE, len(self.splits.train))))
        train_loss, train_accuracy = self._measure(sample, pixels)
        val_loss, val_accuracy = self._measure(self.splits.validation, pixels)
        progress = self.progress
        if not math.isfinite(train_loss):
            rate = self.optimizer.param_groups[0]["lr"]
            raise ConvscopeError(self._diverged(train_loss, len(self.batches) - 1, rate))
        progress.epoch += 1
        progress.filters.append(first_filters(self.measured_model))
        progress.history.append(
            EpochRecord(
                progress.epoch, train_loss, train_accuracy, val_loss, val_accuracy, batch_loss,
                self.optimizer.param_groups[0]["lr"], self.recipe.phases[self.phase].optimizer, pixels,
                time.perf_counter() - begun,
            )
        )  # fmt: skip
        # Accuracies at different image sizes cannot be compared; the checkpoint is used at the final one.
        if pixels == self.recipe.input_size and val_accuracy > progress.best_accuracy:
            progress.best_accuracy, progress.best_epoch = val_accuracy, progress.epoch
            self.folder.save_best(self.measured_model.state_dict())
        self.folder.save(self._state(), progress)

    def _measure(self, data: LabelledImages, pixels: int) -> tuple[float, float]:
        """Cross-entropy and accuracy (0-1) with images of `pixels` x `pixels`."""
        model = self.measured_model.eval()
        predictions = evaluate(
            model, data.images, data.labels, input_size=pixels, mean=self.spec.mean, std=self.spec.std
        )
        return cross_entropy(predictions), accuracy(predictions).value

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "phase": self.phase,
        }

    def _resume(self) -> None:
        state = self.folder.load()
        if state is None:
            return
        self.progress = progress_of(state)
        self._enter_phase(state["phase"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def first_filters(model: nn.Module) -> np.ndarray:
    """float16 `[O, 3, k, k]`: a copy of the first convolution's kernels."""
    convolution = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    return convolution.weight.detach().cpu().contiguous().numpy().astype(np.float16)
