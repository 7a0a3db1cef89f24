"""How many images per second does the trainer learn from, beside the least that a loop can do?

    python benchmarks/training.py [SECONDS]

All loops train the same network on the same machine with batches of 128 images, in 32-bit floats:

- bare: forward, backward, step, on one fixed batch that is ready to be used; what no trainer can surpass;
- trainer: `engine.training.loop.Training` as it really runs, with crop, flip, cutout, label smoothing and averaged
  weights, its run folder and all its live files;
- DataLoader: the loop of the tutorials, with torchvision's transforms on one image after the other (the same crop,
  flip and cutout), with no or two worker processes.

Each loop has a process of its own, the trainer's and the bare one's set up as `engine.training` sets up its own
(memory.py), the DataLoader's left as Python starts it. They take turns, so that whatever else the machine does hits all
of them. Each figure is the median over the rounds of images per second from the end of a run's first step to the end of
its last; the measuring after an epoch is left out. Asked for: trainer at least 90 % of bare, and for LeNet at least 1.5
times the faster DataLoader loop. No round is begun after SECONDS (default 300).
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from engine.data import LabelledImages, bundled, prepare
from engine.models import ARCHITECTURES
from engine.training.datasets import Splits
from engine.training.loop import Training
from engine.training.memory import keep_freed_memory
from engine.training.recipe import Phase, Recipe
from engine.training.run import RunFolder
from engine.training.start import fresh_network, make_optimizer

BATCH = 128
ROUNDS = 7
STEPS = {"lenet": 16, "resnet18": 7, "convnet4": 5}
SIZES = {"lenet": 32, "resnet18": 32, "convnet4": 128}
CPU = torch.device("cpu")


def recipe_for(architecture: str) -> Recipe:
    sizes = {"input_size": SIZES[architecture], "batch_size": BATCH, "cutout": 8}
    return Recipe(architecture, architecture, (Phase(1, 0.02),), label_smoothing=0.1, ema=0.999, seed=1, **sizes)


class Watch:
    """Images per second from the end of the first step to the end of the last."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def step_done(self, _: object = None) -> None:
        self.ends.append(time.perf_counter())

    @property
    def speed(self) -> float:
        return BATCH * (len(self.ends) - 1) / (self.ends[-1] - self.ends[0])


def training_images(architecture: str) -> LabelledImages:
    return bundled("train").subset(np.arange(BATCH * STEPS[architecture]))


def trainer(architecture: str) -> float:
    watch = Watch()
    recipe = recipe_for(architecture)
    held_out = bundled("train").subset(np.arange(4_900, 5_000))
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        run.begin(recipe)
        Training(recipe, Splits(training_images(architecture), held_out), run, CPU, watch.step_done).run()
    return watch.speed


def plain_loop(architecture: str, batches: Iterable[tuple[Tensor, Tensor]], layout: torch.memory_format) -> float:
    """Forward, backward and step for each batch, as every tutorial has it."""
    watch = Watch()
    recipe = recipe_for(architecture)
    model = fresh_network(recipe, 10).to(memory_format=layout).train()
    optimizer = make_optimizer(model, recipe.phases[0])
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        watch.step_done()
    return watch.speed


def bare(architecture: str) -> float:
    data = training_images(architecture)
    spec = ARCHITECTURES[architecture]
    images = prepare(data.images[:BATCH], SIZES[architecture], spec.mean, spec.std)
    batch = images, torch.from_numpy(data.labels[:BATCH])
    return plain_loop(architecture, [batch] * STEPS[architecture], torch.channels_last)


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images and labels as `torchvision.datasets.CIFAR10` gives them."""

    def __init__(self, data: LabelledImages, transform: Callable[[Image.Image], Tensor]) -> None:
        self.data, self.transform = data, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data.images[index])), int(self.data.labels[index])


def data_loader(architecture: str, workers: int) -> float:
    spec = ARCHITECTURES[architecture]
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.Resize(SIZES[architecture]),
            transforms.ToTensor(),
            transforms.Normalize(spec.mean, spec.std),
            transforms.RandomErasing(p=1.0, scale=(0.0625, 0.0625), ratio=(1.0, 1.0)),
        ]
    )
    pictures = Pictures(training_images(architecture), transform)
    loader = DataLoader(pictures, BATCH, shuffle=True, num_workers=workers, drop_last=True)
    return plain_loop(architecture, loader, torch.contiguous_format)


def as_it_is() -> None:
    """The process of a tutorial's loop is set up in no way."""


@dataclass(frozen=True)
class Loop:
    """A loop that is timed, and how its process is set up."""

    name: str
    speed: Callable[[], float]
    setup: Callable[[], object] = field(default=keep_freed_memory)


def compare(loops: list[Loop], deadline: float) -> dict[str, list[float]]:
    """Images per second of each loop in each round, after one round that is not counted."""
    speeds: dict[str, list[float]] = {loop.name: [] for loop in loops}
    with ExitStack() as processes:
        pools = [processes.enter_context(own_process(loop)) for loop in loops]
        for number in range(ROUNDS + 1):
            if number > 1 and time.monotonic() > deadline:
                break
            for loop, pool in zip(loops, pools, strict=True):
                speed = pool.submit(loop.speed).result()
                if number:
                    speeds[loop.name].append(speed)
    return speeds


def own_process(loop: Loop) -> ProcessPoolExecutor:
    """One process, in which all of the loop's rounds run."""
    return ProcessPoolExecutor(1, get_context("spawn"), loop.setup)


def show(title: str, speeds: dict[str, list[float]]) -> None:
    """One line per loop: its median, its spread, and the median of the trainer's share of it, round by round."""
    print(f"\n{title}: images per second, median of {len(speeds['trainer'])} rounds (lowest to highest)")
    for name, values in speeds.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(speeds["trainer"], values, strict=True))
        spread = f"({min(values):.0f} to {max(values):.0f})"
        print(f"  {name:<24} {statistics.median(values):7.0f} {spread:<16} trainer / {name} = {ratio:.2f}", flush=True)


def main(arguments: list[str]) -> None:
    limit = float(arguments[0]) if arguments else 300.0
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batches of {BATCH}")
    begun = time.monotonic()
    for number, (architecture, size) in enumerate(SIZES.items(), start=1):
        loops = [Loop("trainer", partial(trainer, architecture)), Loop("bare", partial(bare, architecture))]
        for workers in (0, 2):
            loop = partial(data_loader, architecture, workers)
            loops.append(Loop(f"DataLoader, {workers} workers", loop, as_it_is))
        show(f"{architecture}, {size} px", compare(loops, begun + number / len(SIZES) * limit))


if __name__ == "__main__":
    main(sys.argv[1:])
