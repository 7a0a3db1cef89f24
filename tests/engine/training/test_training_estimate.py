"""How long a training will take: the same images, layers and numbers are counted and timed as are trained with."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from engine.data import LabelledImages, split_validation
from engine.training import estimate, toml_text
from engine.training import recipe as recipes
from engine.training.datasets import Splits, to_learn_from
from engine.training.estimate import ImageCounts, TimePerImage
from engine.training.frozen_features import End
from engine.training.recipe import Phase, Recipe
from engine.training.start import fresh_network, trained_keys
from tests.runs import lenet

TRANSFER = lenet(architecture="resnet18", batch_size=4, base="torchvision:IMAGENET1K_V1", train_last=5)


def test_images_learned_from_and_measured_are_counted() -> None:
    recipe = replace(
        lenet(phases=(Phase(3, 0.1),), input_size=64),
        architecture="resnet18",
        resolutions=(recipes.Resolution(0, 32), recipes.Resolution(2, 64)),
    )
    cost = {32: TimePerImage(0.1, 0.01), 64: TimePerImage(0.4, 0.04)}
    by_hand = 2 * (90 * 0.1 + 100 * 0.01) + (90 * 0.4 + 100 * 0.04)
    assert estimate.seconds(recipe, ImageCounts(90, 10), cost.__getitem__) == pytest.approx(estimate.START + by_hand)


def test_of_many_training_images_only_some_are_measured() -> None:
    recipe = lenet(phases=(Phase(2, 0.1),))
    by_hand = 2 * (45_000 * 3.0 + (5_000 + 5_000) * 1.0)
    taken = estimate.seconds(recipe, ImageCounts(45_000, 5_000), lambda pixels: TimePerImage(3.0, 1.0))
    assert taken == pytest.approx(estimate.START + by_hand)


def test_what_frozen_layers_answer_is_computed_once() -> None:
    recipe = lenet(phases=(Phase(2, 0.1),), train_last=1, base="x", keep_frozen=True, crop_padding=0)
    epochs = 2 * (90 * 0.1 + 100 * 0.01)
    for flip, views, passed in ((True, 0, 190), (False, 0, 100), (True, 3, 370)):
        asked = replace(recipe, flip=flip, views=views)
        taken = estimate.seconds(asked, ImageCounts(90, 10), lambda pixels: TimePerImage(0.1, 0.01, 0.5))
        assert taken == pytest.approx(estimate.START + passed * 0.5 + epochs)


@pytest.mark.parametrize(("dataset", "per_class"), [("cifar10", 5_000), ("cifar10_bundled", 500)])
@pytest.mark.parametrize("sample", [0, 20, 460, 100_000])
def test_the_images_are_those_of_the_training(dataset: str, per_class: int, sample: int) -> None:
    labels = np.repeat(np.arange(10), per_class)
    everything = LabelledImages(np.zeros((len(labels), 1, 1, 3), dtype=np.uint8), labels)
    recipe = lenet(dataset=dataset, sample=sample)
    splits = to_learn_from(Splits(*split_validation(everything)), recipe)
    assert estimate.images(recipe) == ImageCounts(len(splits.train), len(splits.validation))


def test_the_pictures_of_a_folder_are_not_counted() -> None:
    assert estimate.images(lenet(dataset="folder", data_folder="pictures")) is None


def test_durations_are_in_words() -> None:
    assert [estimate.in_words(value) for value in (0.2, 45, 100, 3000, 7200, 12_000)] == [
        "1 s",
        "45 s",
        "2 min",
        "50 min",
        "2 h",
        "3 h 20 min",
    ]


def test_timing_keeps_to_its_budget_and_measures_something() -> None:
    begun = time.process_time()
    costs = [estimate.cost(estimate.timed(lenet(), 32), budget=0.2) for _ in range(3)]
    # Of each the least: another process may have taken the core from one of them.
    assert 0 < min(cost.forward for cost in costs) < min(cost.step for cost in costs)
    assert time.process_time() - begun < 60


def timed_model(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, dict[str, bool]]:
    """The network that is timed for `recipe`, and which of its modules are in training mode during the steps."""
    seen: list[tuple[nn.Module, dict[str, bool]]] = []
    make = estimate.make_optimizer

    def look(model: nn.Module, phase: Phase) -> Optimizer:
        seen.append((model, {name: module.training for name, module in model.named_modules()}))
        return make(model, phase)

    monkeypatch.setattr(estimate, "make_optimizer", look)
    text = toml_text.to_toml(estimate.timed(recipe, 32))
    estimate.cost(recipes.parse(text, "timed"), budget=0.01)
    return seen[0]


def test_a_transfer_is_timed_with_the_layers_that_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    model, training = timed_model(TRANSFER, monkeypatch)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    names = {name for name, _ in model.named_parameters()}
    assert learning == trained_keys(fresh_network(TRANSFER, 10), 5) & names
    assert 0 < len(learning) < len(names)
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {training[name] for name in norms} == {True, False}
    assert all(training[name] == (f"{name}.weight" in learning) for name in norms)


def test_a_transfer_that_keeps_features_is_timed_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[type, int]] = set()
    losses = estimate.losses

    def look(model: nn.Module, batch: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
        seen.add((type(model), batch.shape[1]))
        return losses(model, batch, *rest)

    monkeypatch.setattr(estimate, "losses", look)
    text = toml_text.to_toml(estimate.timed(replace(TRANSFER, keep_frozen=True, crop_padding=0), 32))
    assert estimate.cost(recipes.parse(text, "timed"), budget=0.01).once > 0
    assert seen == {(End, 256)}  # what the last stage reads


def test_a_step_that_takes_all_of_the_time_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    losses = estimate.losses

    def look(model: nn.Module, batch: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
        steps.append(len(batch))
        return losses(model, batch, *rest)

    monkeypatch.setattr(estimate, "losses", look)
    assert estimate.cost(lenet(), budget=0).step > 0
    assert steps == [estimate.FIRST_BATCH]


@pytest.mark.parametrize(("fitting", "largest"), [(100, 64), (20, 20), (0, 4)])
def test_batches_that_are_timed_grow_within_a_bound(
    fitting: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = lenet(batch_size=64)
    seen: set[int] = set()
    losses = estimate.losses

    def look(model: nn.Module, batch: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
        seen.add(len(batch))
        return losses(model, batch, *rest)

    monkeypatch.setattr(estimate, "losses", look)
    monkeypatch.setattr(estimate, "TIMED_BATCH", fitting * estimate.step_memory(recipe).image)
    estimate.cost(recipe, budget=5)
    assert max(seen) == largest


def test_a_base_that_is_learned_on_as_a_whole_costs_as_much_as_none() -> None:
    assert estimate.timed(replace(TRANSFER, train_last=0), 32) == estimate.timed(
        replace(TRANSFER, train_last=0, base=""), 32
    )


@pytest.mark.parametrize(("precision", "kept_in"), [("float32", torch.float32), ("float64", torch.float64)])
def test_numbers_are_timed_as_they_are_trained(
    precision: str, kept_in: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = timed_model(lenet(precision=precision), monkeypatch)
    assert {parameter.dtype for parameter in model.parameters()} == {kept_in}


@pytest.mark.parametrize("architecture", ["model_two", "convnet2", "torchvision:efficientnet_b0"])
def test_timing_draws_nothing_from_the_generator_that_all_threads_share(architecture: str) -> None:
    before = torch.random.get_rng_state()
    estimate.cost(estimate.timed(lenet(architecture=architecture, batch_size=2), 32), budget=0.01)
    assert torch.equal(torch.random.get_rng_state(), before)
