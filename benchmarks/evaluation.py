"""How much does `engine.evaluation.evaluate` cost beside the bare forward passes?

The bare loop runs the network over batches that lie ready in memory as it takes them, and keeps the logits.
`evaluate` starts from the stored pixels: it scales, normalises and resizes each batch as well. Both take turns, batch
size 250, and the medians over the rounds are compared: images per second of wall time, and of processor time, which
other work on the machine disturbs less.

    python -m benchmarks.evaluation [CHECKPOINT ...] [--images 10000] [--rounds 5]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from engine import checkpoints
from engine.data import bundled, prepare
from engine.evaluation import evaluate

BATCH = 250


@dataclass(frozen=True)
class Seconds:
    """What one run took."""

    wall: float
    processor: float


def timed(work: Callable[[], object]) -> Seconds:
    """Run `work` once."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - processor)


@torch.no_grad()
def bare_loop(model: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    """The forward passes alone."""
    return torch.cat([model(batch) for batch in batches])


def compare(name: str, count: int, rounds: int) -> None:
    """Print both speeds of one checkpoint and their ratio."""
    trained, test = checkpoints.load(name), bundled("test")
    images, labels = test.images[:count], test.labels[:count]
    settings = {"input_size": trained.card.input_size, "mean": trained.card.mean, "std": trained.card.std}
    batches = prepare(images, *settings.values()).split(BATCH)
    runs = {
        "bare loop": partial(bare_loop, trained.model, batches),
        "evaluate": partial(evaluate, trained.model, images, labels, batch_size=BATCH, **settings),
    }
    bare_loop(trained.model, batches[:1])
    taken = {key: [] for key in runs}
    for number in range(rounds):
        for key in list(runs)[:: 1 if number % 2 else -1]:
            taken[key].append(timed(runs[key]))
    report(name, len(labels), taken)


def report(name: str, count: int, taken: dict[str, list[Seconds]]) -> None:
    for clock in ("wall", "processor"):
        speeds = {
            key: count / statistics.median(getattr(entry, clock) for entry in found) for key, found in taken.items()
        }
        figures = "   ".join(f"{key} {speed:8.1f} images/s" for key, speed in speeds.items())
        print(f"{name:12} {clock:10} {figures}   ratio {speeds['evaluate'] / speeds['bare loop']:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", default=["lenet", "resnet18"])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in options.checkpoints:
        compare(name, options.images, options.rounds)


if __name__ == "__main__":
    main()
