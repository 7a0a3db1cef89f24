"""Training does what its recipe says, and a loss that explodes ends it with the last good state."""

import csv
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import engine.data
import engine.training.start
from engine.accuracy.figures import accuracy, cross_entropy
from engine.data import LabelledImages, prepare
from engine.errors import ConvscopeError
from engine.evaluation import Predictions, evaluate
from engine.models import ARCHITECTURES, build
from engine.optimizers import SGD, Adam, AdamW
from engine.training import datasets, loop
from engine.training.batches import Batches
from engine.training.datasets import Splits, measured
from engine.training.loop import Training
from engine.training.recipe import Phase, Recipe, Resolution
from engine.training.records import to_csv
from engine.training.run import RunFolder
from engine.training.start import averaged, fresh_network, make_optimizer
from engine.training.telemetry import StepReport
from tests.runs import CPU, lenet, train

# Optimizers and averages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "kind", "expected"),
    [
        (Phase(1, 0.1, "sgd", momentum=0.8), SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
        (Phase(1, 0.1, "sgd", nesterov=False), SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": False}),
        (Phase(1, 0.1, "sgd", momentum=0.0), SGD, {"lr": 0.1, "momentum": 0, "nesterov": False}),
        (Phase(1, 0.2, "adam"), Adam, {"lr": 0.2, "betas": (0.9, 0.999)}),
        (Phase(1, 0.2, "adamw"), AdamW, {"lr": 0.2, "betas": (0.9, 0.999)}),
    ],
)
def test_optimizers_are_torchs(phase: Phase, kind: type, expected: dict[str, Any]) -> None:
    optimizer = make_optimizer(build("lenet"), phase)
    assert type(optimizer) is kind
    for group in optimizer.param_groups:
        assert {key: group[key] for key in expected} == expected


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_weights_decay_and_biases_and_batch_norm_do_not(optimizer: str) -> None:
    model = build("model_two")
    decays = {
        id(parameter): group["weight_decay"]
        for group in make_optimizer(model, Phase(1, 0.1, optimizer, weight_decay=0.03)).param_groups
        for parameter in group["params"]
    }
    assert len(decays) == len(list(model.parameters()))
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_weight = isinstance(module, nn.Conv2d | nn.Linear) and name == "weight"
            assert decays[id(parameter)] == (0.03 if is_weight else 0)


def test_the_average_follows_weights_and_statistics_and_warms_up() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = averaged(model, decay=0.6)
    expected: dict[str, np.ndarray] = {}
    for step in range(20):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(8, 3))
        average.update_parameters(model)
        decay = min(0.6, (1 + step) / (10 + step))
        for key, value in model.state_dict().items():
            current = value.numpy().astype(np.float64)
            copied = step == 0 or "num_batches" in key
            expected[key] = current if copied else decay * expected[key] + (1 - decay) * current
    assert int(average.module[1].num_batches_tracked) == 20
    for key, value in average.module.state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[key], rtol=1e-5, atol=1e-6, err_msg=key)


def test_a_fresh_network_depends_on_its_seed_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(11)
    first = fresh_network(lenet(seed=1), 10).state_dict()
    drawn_after = torch.rand(1)
    torch.manual_seed(11)
    assert torch.equal(torch.rand(1), drawn_after)
    again, other = fresh_network(lenet(seed=1), 10).state_dict(), fresh_network(lenet(seed=2), 10).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["features.0.weight"], other["features.0.weight"])


@pytest.mark.parametrize("architecture", ["model_two", "resnet18"])
@pytest.mark.parametrize("rule", ["xavier", "kaiming"])
def test_initial_weights_have_the_spread_that_their_rule_gives(architecture: str, rule: str) -> None:
    model = fresh_network(lenet(architecture=architecture, initialisation=rule), 10)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            outputs, inputs = weight.shape[:2]
            window = weight[0, 0].numel()
            variance = 2 / (window * inputs) if rule == "kaiming" else 2 / (window * (inputs + outputs))
            assert weight.var().item() == pytest.approx(variance, rel=0.25 if weight.numel() < 3_000 else 0.1)
            assert weight.mean().item() == pytest.approx(0, abs=0.1 * variance**0.5)
            assert module.bias is None or not module.bias.any()


def test_a_sample_is_the_first_images_of_each_class(splits: Splits, folder: RunFolder) -> None:
    recipe = lenet(sample=2, batch_size=4)
    folder.begin(recipe)
    training = Training(recipe, splits, folder, CPU)
    labels = splits.train.labels.tolist()
    expected = [i for i, label in enumerate(labels) if labels[:i].count(label) < 2]
    assert np.array_equal(training.splits.train.images, splits.train.images[expected])
    assert len(training.batches.labels) == len(expected) == 20
    assert training.splits.validation is splits.validation


def test_a_base_of_another_network_is_one_sentence(splits: Splits, folder: RunFolder) -> None:
    with pytest.raises(ConvscopeError, match="'resnet18' cannot be continued by this recipe: its network is another"):
        Training(lenet(base="resnet18"), splits, folder, CPU)


# One run -------------------------------------------------------------------------------------------------------


def seen_by(recipe: Recipe, images: LabelledImages, weights: dict[str, Tensor], pixels: int) -> Predictions:
    spec = ARCHITECTURES[recipe.architecture]
    model = build(recipe.architecture, **recipe.options)
    model.load_state_dict(weights)
    return evaluate(model.eval(), images.images, images.labels, input_size=pixels, mean=spec.mean, std=spec.std)


def test_a_run_is_plain_gradient_descent(splits: Splits, folder: RunFolder) -> None:
    """The slow twin: torch's own optimizer and loss, batch by batch, with the schedule written out."""
    recipe = lenet(phases=(Phase(3, 0.05, warmup=0.25, weight_decay=0.01),), label_smoothing=0.2)
    reports: list[StepReport] = []
    train(recipe, splits, folder, reports.append)

    model = fresh_network(recipe, 10)
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = SGD([{"params": weights, "weight_decay": 0.01}, {"params": others}], momentum=0.9, nesterov=True)
    spec = ARCHITECTURES["lenet"]
    source = Batches(splits.train, recipe, CPU)
    losses: list[list[float]] = []
    rates = []
    for epoch in range(3):
        losses.append([])
        for step, (images, labels) in enumerate(source.epoch(epoch)):
            done = (4 * epoch + step) / 12
            rates.append(0.05 * (done / 0.25 if done < 0.25 else (1 - done) / 0.75))
            for group in optimizer.param_groups:
                group["lr"] = rates[-1]
            logits = model(prepare(images, 32, spec.mean, spec.std))
            loss = F.cross_entropy(logits, labels, label_smoothing=0.2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(F.cross_entropy(logits, labels).item())

    state = folder.load()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(state["model"][key], value, rtol=1e-4, atol=1e-5)
    # What is recorded is the plain loss, without the smoothing.
    assert [report.loss for report in reports] == pytest.approx([loss for epoch in losses for loss in epoch], rel=1e-4)
    assert [report.learning_rate for report in reports] == pytest.approx(rates)
    assert [(r.epoch, r.step, r.steps_per_epoch) for r in reports] == [(e, s, 4) for e in range(3) for s in range(4)]
    recorded = [entry["batch_loss"] for entry in state["history"]]
    assert recorded == pytest.approx([np.mean(epoch) for epoch in losses], rel=1e-4)
    assert abs(loss.item() - losses[-1][-1]) > 1e-3


def test_the_history_is_measured_on_the_network_that_is_kept(splits: Splits, folder: RunFolder) -> None:
    recipe = lenet(ema=0.5, phases=(Phase(1, 0.05, schedule="constant"),))
    progress = train(recipe, splits, folder)
    (record,) = progress.history
    state = folder.load()
    kept = {key.removeprefix("module."): value for key, value in state["average"].items() if key != "n_averaged"}
    train_seen = seen_by(recipe, splits.train, kept, 32)
    val_seen = seen_by(recipe, splits.validation, kept, 32)
    assert (record.train_loss, record.val_loss) == pytest.approx(
        (cross_entropy(train_seen), cross_entropy(val_seen)), rel=1e-5
    )
    assert record.train_accuracy == accuracy(train_seen).value
    assert record.val_accuracy == accuracy(val_seen).value
    assert not torch.equal(kept["features.0.weight"], state["model"]["features.0.weight"])
    assert all(torch.equal(value, kept[key]) for key, value in folder.best()[1].items())


@pytest.mark.parametrize(
    ("dataset", "taken"), [("cifar10", np.arange(20)), ("folder", [int(n * 3.2) for n in range(20)])]
)
def test_training_accuracy_is_measured_on_the_first_images_or_on_evenly_spaced_ones_of_a_folder(
    splits: Splits, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, dataset: str, taken: list[int]
) -> None:
    assert len(splits.train) == 64
    monkeypatch.setattr(datasets, "TRAIN_SAMPLE", 20)
    recipe = lenet(phases=(Phase(1, 0.01),), dataset=dataset)
    (record,) = train(recipe, splits, folder).history
    seen = seen_by(recipe, splits.train.subset(np.array(taken)), folder.load()["model"], 32)
    assert record.train_loss == pytest.approx(cross_entropy(seen), rel=1e-5)


@pytest.mark.parametrize("count", [1, 4_999, 5_000, 5_001, 9_470, 45_000])
def test_every_class_of_a_folder_is_measured(count: int) -> None:
    assert np.array_equal(measured(lenet(), count), np.arange(min(count, 5_000)))
    spaced = measured(lenet(dataset="folder"), count)
    assert len(np.unique(spaced)) == min(count, 5_000)
    in_class = np.bincount(np.arange(count) * 10 // count, minlength=10)  # ten classes, one behind the other
    share = np.bincount(spaced * 10 // count, minlength=10)
    np.testing.assert_allclose(share, in_class * len(spaced) / count, atol=1)


def test_the_best_epoch_is_the_first_of_the_highest_validation_accuracy_at_the_final_size(
    splits: Splits, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([0.9, 0.3, 0.6, 0.6])
    weights: list[Tensor] = []

    def measure(model: nn.Module, data: LabelledImages, *_: object) -> tuple[float, float]:
        if data is not splits.validation:
            return 1.0, 0.5
        weights.append(model.state_dict()["3.bias"].clone())
        return 1.0, next(accuracies)

    monkeypatch.setattr(loop, "measure", measure)
    small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    monkeypatch.setattr(engine.training.start, "fresh_network", lambda *_: small)
    recipe = lenet(
        architecture="resnet18_strided",
        phases=(Phase(4, 0.01),),
        resolutions=(Resolution(0, 16), Resolution(1, 32)),
        batch_size=64,
    )
    progress = train(recipe, splits, folder)
    assert (progress.best_epoch, progress.best_accuracy) == (3, 0.6)
    epoch, best = folder.best()
    assert epoch == 3
    assert torch.equal(best["3.bias"], weights[2])
    assert [record.pixels for record in progress.history] == [16, 32, 32, 32]


def test_filters_are_kept_from_before_training_to_its_end(splits: Splits, folder: RunFolder) -> None:
    recipe = lenet()
    progress = train(recipe, splits, folder)
    first = fresh_network(recipe, 10).state_dict()["features.0.weight"]
    last = folder.load()["model"]["features.0.weight"]
    assert [snapshot.shape for snapshot in progress.filters] == [(32, 3, 5, 5)] * 3
    assert np.array_equal(progress.filters[0], first.numpy().astype(np.float16))
    assert np.array_equal(progress.filters[2], last.numpy().astype(np.float16))
    assert not np.array_equal(progress.filters[0], progress.filters[2])


def test_bfloat16_computes_in_16_bits_and_keeps_weights_in_32(splits: Splits, tmp_path: Path) -> None:
    exact, coarse = (RunFolder(tmp_path / name) for name in ("float32", "bfloat16"))
    for folder in (exact, coarse):
        train(lenet(precision=folder.path.name, phases=(Phase(1, 0.01),)), splits, folder)
    one, other = exact.load()["model"], coarse.load()["model"]
    assert all(value.dtype == torch.float32 for value in other.values())
    assert not torch.equal(one["features.0.weight"], other["features.0.weight"])
    torch.testing.assert_close(one["features.0.weight"], other["features.0.weight"], rtol=0, atol=2e-3)


def test_the_history_file_reads_back(splits: Splits, folder: RunFolder) -> None:
    progress = train(lenet(), splits, folder)
    text = (folder.path / "history.csv").read_text()
    assert text == progress.history_csv == to_csv(progress.history)
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row, record in zip(rows, progress.history, strict=True):
        for key, value in asdict(record).items():
            assert row[key] == value if isinstance(value, str) else float(row[key]) == pytest.approx(value, rel=1e-5)


# Divergence ----------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_names_its_place_and_keeps_the_last_state(
    splits: Splits, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = lenet(phases=(Phase(2, 0.02, schedule="constant"), Phase(2, 0.03, schedule="cosine")))

    class Exploding(nn.Module):
        """A LeNet whose logits become infinite in the third step of the third epoch."""

        def __init__(self, lenet: nn.Module) -> None:
            super().__init__()
            self.lenet, self.steps = lenet, 0

        def forward(self, x: Tensor) -> Tensor:
            self.steps += self.training
            return self.lenet(x) * (math.inf if self.steps == 11 else 1)

    original = engine.training.start.fresh_network
    monkeypatch.setattr(engine.training.start, "fresh_network", lambda *args: Exploding(original(*args)))
    with pytest.raises(ConvscopeError) as caught:
        train(recipe, splits, folder)
    rate = 0.03 * (1 + math.cos(math.pi * 2 / 8)) / 2
    assert str(caught.value) == (
        f"The loss became nan in epoch 3, step 3, at a learning rate of {rate:.3g}: lower the learning rate; "
        "the state after epoch 2 is kept."
    )
    state = folder.load()
    assert state["epoch"] == len(state["history"]) == 2
    assert all(torch.isfinite(value).all() for value in state["model"].values())
    assert len((folder.path / "history.csv").read_text().splitlines()) == 3


def test_a_rate_that_is_far_too_high_ends_in_the_message_and_not_in_the_state(
    splits: Splits, folder: RunFolder
) -> None:
    recipe = lenet(phases=(Phase(1, 0.01), Phase(3, 1000, schedule="constant")))
    with pytest.raises(ConvscopeError, match=r"^The loss became (nan|inf) in epoch \d, step \d, at a .* of 1e\+03: "):
        train(recipe, splits, folder)
    assert all(torch.isfinite(value).all() for value in folder.load()["model"].values())


def test_weights_that_explode_in_an_epochs_last_step_are_not_kept(splits: Splits, folder: RunFolder) -> None:
    """With one step per epoch only the measurement afterwards can tell."""
    first = lenet(batch_size=64, phases=(Phase(1, 0.01, schedule="constant"), Phase(1, 1000, schedule="constant")))

    def poison(report: StepReport) -> None:
        if report.epoch == 1:
            with torch.no_grad():
                next(training.model.parameters()).fill_(math.nan)

    folder.begin(first)
    training = Training(first, splits, folder, CPU, poison)
    with pytest.raises(ConvscopeError) as caught:
        training.run()
    assert str(caught.value) == (
        "The loss became nan in epoch 2, step 1, at a learning rate of 1e+03: lower the learning rate; "
        "the state after epoch 1 is kept."
    )
    state = folder.load()
    assert state["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in state["model"].values())
