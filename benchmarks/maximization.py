"""What do sixteen maximisations cost, and do they excite their channels more than any test image?

    python benchmarks/maximization.py [LAYER]

The first sixteen channels of a layer (conv5_x if none is named) of the shipped ResNet-18 at its own input size, 128
steps, both presets, the mean of the whole map. Measured: seconds on the clock and of the processor until the first
picture that differs from the start, and until the end; how many of the sixteen end above the largest value of the same
objective on any of the 10,000 test images, which are all run through the network here.

On a machine that does other things at the same time, the processor's seconds are the ones to believe; with
`OMP_NUM_THREADS=1` they are those of a single core.
"""

import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine import checkpoints, data, patches
from engine.maximization import OBJECTIVES, PRESETS, stored
from engine.maximization.stored import MaximizationSettings
from engine.weights import Weights


class Watch:
    """Seconds since it was made, on the clock and of the processor."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        clock, processor = time.perf_counter() - self._clock, time.process_time() - self._processor
        return f"{clock:7.2f} s on the clock, {processor:6.2f} s of the processor"


def ascend(trained: checkpoints.Trained, layer: str, preset: str) -> np.ndarray:
    """The activations `[16]` at the end, printing how long it took."""
    fixed = (OBJECTIVES[0], preset, stored.STEPS, stored.SEED, trained.card.input_size)
    settings = MaximizationSettings(Weights.of(trained.card), layer, 0, 16, *fixed)
    watch, start, changed = Watch(), None, False
    for made in stored.pictures(trained, settings):
        start = made.pictures if start is None else start
        if not changed and (made.pictures != start).any():
            changed = True
            print(f"{preset:8} first change {watch}", flush=True)
    print(f"{preset:8} {stored.STEPS} steps    {watch}", flush=True)
    return made.activations[-1]


def main() -> None:
    """Print line by line what is measured."""
    layer = sys.argv[1] if len(sys.argv) > 1 else "conv5_x"
    trained = checkpoints.load("resnet18")
    ends = {preset: ascend(trained, layer, preset) for preset in PRESETS}
    watch = Watch()
    card, images = trained.card, data.bundled("test").images
    normalisation = {"input_size": card.input_size, "mean": card.mean, "std": card.std}
    tops = patches.rank(trained.model, images, [layer], OBJECTIVES[:1], **normalisation)
    top = tops[layer, OBJECTIVES[0]].values[:16, 0]
    print(f"all test images       {watch}", flush=True)
    for preset, end in ends.items():
        ratio = np.median(end[top > 0] / top[top > 0])
        print(f"{preset:8} {int((end > top).sum())} of 16 above every test image, median {ratio:.2f} times as much")


if __name__ == "__main__":
    main()
