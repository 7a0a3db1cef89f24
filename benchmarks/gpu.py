"""How many images per second does the trainer learn from on a GPU, by the size of image and batch?

    python benchmarks/gpu.py [DEVICE]

times steps of the trainer on the bundled training images (crop, flip, cutout, enlarging, forward, backward, step) with
the recipe of `resnet18_224`, then `evaluate`, and what the frozen layers of `transfer` answer. DEVICE is cuda if there
is one; on cpu a few steps show that this program works. The table is in docs/benchmarks.md.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch

from engine.data import bundled
from engine.evaluation import evaluate
from engine.training.batches import Batches
from engine.training.device import best_device, device_named
from engine.training.frozen_features import AT_ONCE, FrozenStart
from engine.training.recipe import read
from engine.training.start import make_optimizer, starting_network
from engine.training.step import descend, losses

SIZES = ((128, 128), (128, 256), (160, 128), (224, 64), (224, 128), (224, 256))
"""Pixels of a side, and images of a batch."""
WARM, STEPS = 6, 14


def training(pixels: int, batch_size: int, device: torch.device, steps: int, warm: int) -> float:
    """Images per second of a step, once its kernels are chosen."""
    recipe = replace(read("resnet18_224"), batch_size=batch_size)
    train = bundled("train")
    model = starting_network(recipe, train.classes, device, None).train()
    optimizer, batches = make_optimizer(model, recipe.phases[0]), Batches(train, recipe, device)
    begun = 0.0
    for number, (images, labels) in enumerate(islice(batches.epoch(0), warm + steps)):
        if number == warm:
            begun = _now(device)
        loss, plain = losses(model, batches.network_input(images, pixels), labels, recipe)
        plain.item()
        descend(optimizer, loss, 0.01)
    return steps * batch_size / (_now(device) - begun)


def evaluation(device: torch.device, count: int) -> float:
    """Images of 224 px per second."""
    recipe, train = read("resnet18_224"), bundled("train")
    model = starting_network(recipe, train.classes, device, None).eval()
    mean, std = recipe.statistics
    return _second_of_two(
        lambda: evaluate(model, train.images[:count], train.labels[:count], input_size=224, mean=mean, std=std),
        count,
        device,
    )


def frozen_layers(device: torch.device, count: int) -> float:
    """Images of 224 px per second."""
    recipe, train = read("transfer"), bundled("train")
    start = FrozenStart(starting_network(recipe, train.classes, device, None), recipe, device)

    def answer() -> None:
        for begin in range(0, count, AT_ONCE):
            start._features(train.images[begin : begin + AT_ONCE]).half().cpu()

    return _second_of_two(answer, count, device)


def _second_of_two(run: Callable[[], object], count: int, device: torch.device) -> float:
    """Images per second of the second run: the first one chooses kernels."""
    run()
    begun = _now(device)
    run()
    return count / (_now(device) - begun)


def _now(device: torch.device) -> float:
    """Seconds, when the device has done what it was sent."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def main(arguments: list[str]) -> None:
    device = device_named(arguments[0] if arguments else best_device().type)
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else "the processor"
    print(f"torch {torch.__version__}, {name}: images per second")
    for pixels, batch_size in SIZES if on_gpu else ((32, 16),):
        steps, warm = (STEPS, WARM) if on_gpu else (2, 1)
        speed = training(pixels, batch_size, device, steps, warm)
        print(
            f"  training, {pixels} px, batches of {batch_size:<4} {speed:8.0f}, a step {batch_size / speed:.3f} s",
            flush=True,
        )
    print(f"  evaluate, 224 px               {evaluation(device, 2000 if on_gpu else 2):8.0f}")
    print(f"  frozen layers, 224 px          {frozen_layers(device, 2000 if on_gpu else 2):8.0f}")


if __name__ == "__main__":
    main(sys.argv[1:])
