"""How fast does an inversion reach the features, and how near does it come to the image?

    python benchmarks/inversion.py              how fast, and how near
    python benchmarks/inversion.py weights      how near, over the weight of the total variation

On the shipped ResNet-18 at its own input size, with each prior:

- how fast: for every layer, the time until the relative feature error is below 0.05, on test images. Seconds are those
  of the clock and those of the processor (all threads together); on a busy machine compare the latter, with
  OMP_NUM_THREADS=1.
- how near: the peak signal-to-noise ratio at conv2_x to the original, over 20 test images, two of each class.

The weights of `engine.inversion.MAHENDRAN_VEDALDI` come from the second command, which uses training images only.
"""

import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from torch import Tensor

from engine import checkpoints, data, inversion, tape
from engine.inversion import MAHENDRAN_VEDALDI, PRIORS, Prior

TRAINED = checkpoints.load("resnet18")
LAYER = "conv2_x"
GOAL = 0.05
STEPS = 200
WEIGHTS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


def first_of_each_class(split: str, count: int) -> list[Tensor]:
    """The network's input for the first `count` images of each class."""
    card, images = TRAINED.card, data.bundled(split)
    indices = data.first_of_each_class(images.labels, count)
    return list(data.prepare(images.images[indices], card.input_size, card.mean, card.std).split(1))


def until_goal(image: Tensor, layer: str, prior: Prior) -> tuple[float, float, float]:
    """Seconds by the clock, seconds of the processor, and steps until the error is below the goal; inf if never."""
    clock, processor = time.perf_counter(), time.process_time()
    for _, step in inversion.invert_layers(TRAINED.model, image, [layer], prior=prior, steps=STEPS):
        if step.error < GOAL:
            return time.perf_counter() - clock, time.process_time() - processor, step.number
    return (float("inf"),) * 3


def nearness(image: Tensor, prior: Prior) -> float:
    """Peak signal-to-noise ratio in dB of what comes back from `LAYER`."""
    *_, (_, last) = inversion.invert_layers(TRAINED.model, image, [LAYER], prior=prior, steps=STEPS)
    shown, original = (data.denormalised(x, TRAINED.card.mean, TRAINED.card.std) for x in (last.image, image))
    return inversion.psnr(shown, original)


def print_speed(images: list[Tensor]) -> None:
    """For each layer and prior, the median and the worst image."""
    print(f"until the relative feature error is below {GOAL}, {len(images)} test images: median (worst)")
    for layer in tape.layers(TRAINED.model):
        for name, prior in PRIORS.items():
            clock, processor, steps = zip(*(until_goal(image, layer, prior) for image in images), strict=True)
            print(
                f"{layer:12}{name:28}{statistics.median(clock):6.2f} ({max(clock):.2f}) s"
                f"{statistics.median(processor):8.2f} ({max(processor):.2f}) s of the processor"
                f"{statistics.median(steps):6.0f} ({max(steps):.0f}) steps",
                flush=True,
            )


def print_nearness(priors: Iterable[tuple[str, Prior]], images: list[Tensor], split: str) -> None:
    """The spread of the peak signal-to-noise ratio."""
    print(f"peak signal-to-noise ratio at {LAYER} after {STEPS} steps, {len(images)} {split} images")
    for name, prior in priors:
        low, median, high = np.quantile([nearness(image, prior) for image in images], (0.25, 0.5, 0.75))
        print(f"{name:28}median {median:5.1f} dB, the middle half from {low:.1f} to {high:.1f} dB", flush=True)


def main() -> None:
    """Print the tables, line by line as they are measured."""
    if sys.argv[1:] == ["weights"]:
        choices = [(f"weight {w:g}", replace(MAHENDRAN_VEDALDI, variation_weight=w)) for w in WEIGHTS]
        print_nearness(choices, first_of_each_class("train", 1), "training")
    else:
        print_nearness(PRIORS.items(), first_of_each_class("test", 2), "test")
        print_speed(first_of_each_class("test", 1)[:5])


if __name__ == "__main__":
    main()
