"""On a GPU every method and every training gives what it gives on the processor. Without one, nothing runs here."""

import copy
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine import adversarial, checkpoints, deconv, evidence, inversion, occlusion, tape
from engine.maximization import PRESETS, maximize
from engine.maximization.fourier import Canvas
from engine.training import finish
from engine.training.datasets import Splits
from engine.training.device import best_device
from engine.training.loop import Training
from engine.training.recipe import Phase, Recipe, Resolution
from engine.training.records import RunProgress
from engine.training.run import RunFolder
from tests.oracles import SIZES, network
from tests.runs import CPU, lenet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU of NVIDIA's here")
CUDA = torch.device("cuda")
NETWORKS = ("app:resnet18", "app:model_two", "app:efficientnet_lite0", "resnet50", "vgg16", "densenet121")

# Methods -------------------------------------------------------------------------------------------------------


def last_layer(model: nn.Module) -> str:
    return list(tape.stages(model).values())[-1]


def reconstruction(batch_norm: bool, relu: str) -> Callable[[nn.Module, Tensor], Tensor]:
    def pixels(model: nn.Module, x: Tensor) -> Tensor:
        recorded = tape.record(model, x, last_layer(model))
        signals = deconv.unit_signals(recorded.activation, deconv.strongest_channels(recorded.activation, 4))
        return deconv.reconstruct(recorded, signals, batch_norm=batch_norm, relu=relu).pixels

    return pixels


def inverted(model: nn.Module, x: Tensor) -> Tensor:
    target = tape.features(model, x, first := next(iter(tape.layers(model))))
    return deque(inversion.invert(model, first, target, size=x.shape[-1], steps=3), maxlen=1)[0].image


def maximized(model: nn.Module, x: Tensor) -> Tensor:
    canvas = Canvas(x.shape[-1], (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    first = next(iter(tape.layers(model)))
    steps = maximize(model, first, (0, 1), canvas=canvas, preset=PRESETS["pixels"], steps=3)
    return deque(steps, maxlen=1)[0].images


def occluded(model: nn.Module, x: Tensor) -> Tensor:
    return occlusion.occlude(model, x, patch=16, stride=16).logits


def perturbed(model: nn.Module, x: Tensor) -> Tensor:
    return adversarial.perturb(model, x, 3, epsilon=0.03, std=(0.25,) * 3, mean=(0.5,) * 3)


METHODS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "logits": lambda model, x: model(x),
    "reconstruction": reconstruction(True, "deconvnet"),
    "reconstruction without batch norm": reconstruction(False, "deconvnet"),
    "guided backpropagation": reconstruction(True, "guided"),
    "inversion": inverted,
    "maximisation": maximized,
    "occlusion": occluded,
    "adversarial image": perturbed,
    "Grad-CAM": lambda model, x: evidence.grad_cam(model, x, last_layer(model), 3),
    "evidence of a class": lambda model, x: evidence.of_class(model, x, 3)["deconvnet"].pixels,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_method_gives_on_a_gpu_what_it_gives_on_the_processor(name: str, method: str) -> None:
    model = network(name)
    x = torch.randn(1, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    there = copy.deepcopy(model).to(CUDA)
    with torch.backends.cudnn.flags(deterministic=True):
        found = METHODS[method](there, x.to(CUDA))
    assert found.is_cuda
    expected = METHODS[method](model, x).detach()
    assert (found.detach().cpu() - expected).norm() <= 1e-6 * expected.norm()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_reconstruction_in_single_precision_is_that_in_double(name: str) -> None:
    model = network(name)
    x = torch.randn(1, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    there = copy.deepcopy(model).to(CUDA, torch.float32)
    layer = next(iter(tape.stages(model).values()))
    exact = tape.record(model, x, layer)
    with torch.backends.cudnn.flags(allow_tf32=False):
        single = tape.record(there, x.to(CUDA, torch.float32), layer)
        seed = deconv.strongest_unit(exact.activation, deconv.strongest_channels(exact.activation, 1)[0])
        found = deconv.reconstruct(single, seed.to(CUDA, torch.float32)).pixels
    expected = deconv.reconstruct(exact, seed).pixels
    assert (found.cpu() - expected).norm() <= 1e-3 * expected.norm()


# Training ------------------------------------------------------------------------------------------------------


def trained(recipe: Recipe, splits: Splits, path: Path, device: torch.device, epochs: int | None = None) -> RunProgress:
    folder = RunFolder(path)
    folder.begin(recipe)
    return Training(recipe, splits, folder, device).run(epochs)


def figures(progress: RunProgress) -> list[tuple[float, float, float, float]]:
    return [(r.train_loss, r.train_accuracy, r.val_loss, r.val_accuracy) for r in progress.history]


RECIPES = {
    "sgd": lenet(precision="float64", cutout=8, label_smoothing=0.1, ema=0.9),
    "adam, then sgd": lenet(
        precision="float64", phases=(Phase(1, 1e-3, "adam"), Phase(1, 0.01, schedule="constant")), mixup=0.5
    ),
    "growing images": lenet(
        precision="float64", architecture="resnet18", input_size=64, resolutions=(Resolution(0, 32), Resolution(1, 64))
    ),
}


def test_a_gpu_is_the_best_device() -> None:
    assert best_device() == CUDA


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_on_a_gpu_is_that_on_the_processor(name: str, splits: Splits, tmp_path: Path) -> None:
    here = trained(RECIPES[name], splits, tmp_path / "cpu", CPU)
    there = trained(RECIPES[name], splits, tmp_path / "gpu", CUDA)
    np.testing.assert_allclose(figures(there), figures(here), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("first", "then"), [(CUDA, CPU), (CPU, CUDA), (CUDA, CUDA)])
def test_a_run_goes_on_elsewhere(first: torch.device, then: torch.device, splits: Splits, tmp_path: Path) -> None:
    recipe = RECIPES["adam, then sgd"]
    trained(recipe, splits, tmp_path / "run", first, epochs=1)
    gone_on = trained(recipe, splits, tmp_path / "run", then)
    whole = trained(recipe, splits, tmp_path / "whole", CPU)
    np.testing.assert_allclose(figures(gone_on), figures(whole), rtol=1e-6, atol=1e-9)


def test_frozen_features_on_a_gpu(splits: Splits, tmp_path: Path, use_folders: Callable[..., None]) -> None:
    use_folders(features=tmp_path / "features")
    recipe = lenet(architecture="resnet18", input_size=64, train_last=3, keep_frozen=True, precision="float64")
    recipe = replace(recipe, crop_padding=0)
    here = trained(recipe, splits, tmp_path / "cpu", CPU)
    use_folders(features=tmp_path / "others")
    there = trained(recipe, splits, tmp_path / "gpu", CUDA)
    np.testing.assert_allclose(figures(there), figures(here), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_on_a_gpu_becomes_a_checkpoint(precision: str, splits: Splits, tmp_path: Path) -> None:
    recipe = lenet(architecture="resnet18", input_size=64, precision=precision, ema=0.9)
    progress = trained(recipe, splits, tmp_path / "run", CUDA)
    card = finish.make_checkpoint(recipe, RunFolder(tmp_path / "run"), splits.validation, splits.validation, tmp_path)
    best = progress.history[card.best_epoch - 1]
    assert abs(card.test_loss - best.val_loss) < 0.02
    assert next(checkpoints.load("tiny", tmp_path).model.parameters()).device == CPU
