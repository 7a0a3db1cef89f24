"""How many images does it take? The same test after 10 to 4,500 training images of each class, learned from in three
ways:

    scratch     Model 2 with random weights, as in recipes/model_two.toml: all it knows comes from these images
    linear      a linear classifier on what the last layer of EfficientNet-Lite0 reads: the network has learned from
                ImageNet and stays as it is, only 12,810 numbers learn (engine.probes.fit)
    transfer    its last five convolutions and a new classifier, as in recipes/transfer.toml

Zeiler & Fergus asked this on Caltech-256: with 6 images of each class, features from ImageNet did better than the best
published method with 60. Each seed draws other images, other first weights and another order. A run is what its recipe
says, but counted in steps, since an epoch of 100 images is a single one; all the images of a size get the same number.
It is measured once, at its end: validation images that choose an epoch would be more labels than most runs learn from.

    python -m engine.training.images_per_class      what is missing in experiments/images_per_class/results.csv

Limits: one network for each way. With 10 and 100 images of each class, twice as many steps changed the accuracy on
validation images by less than a point; with the most images, runs are shorter than those of the shipped networks
`model_two` and `transfer`, and end 3 points and half a point below them.

Reference: Zeiler & Fergus (2014), "Visualizing and understanding convolutional networks", section 5.2, figure 9.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engine import probes, settings
from engine.accuracy.figures import Share, accuracy, wilson
from engine.accuracy.predictions import Predictions
from engine.command import exit_status, parser
from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.evaluation import evaluate
from engine.files import write_text
from engine.graph.runs import compute, forward
from engine.stored import read_text
from engine.training.batches import Batches
from engine.training.datasets import Dataset, Splits
from engine.training.frozen_features import AT_ONCE, End, FrozenStart
from engine.training.recipe import Recipe, read
from engine.training.schedule import learning_rate
from engine.training.start import averaged, make_optimizer, starting_network, train_mode_
from engine.training.step import descend, losses

METHODS = ("scratch", "linear", "transfer")
SIZES = (10, 30, 100, 300, 1_000, 4_500)
"""Training images of each class; 4,500 are all that CIFAR-10 leaves beside validation's."""
SEEDS = (1, 2, 3)
REPEATED = 300
"""Up to so many images of each class there is a run for each of the `SEEDS`; above it, for the first one."""
STEPS = {
    "scratch": {10: 300, 30: 300, 100: 400, 300: 800, 1_000: 1_600, 4_500: 4_000},
    "transfer": {10: 200, 30: 200, 100: 300, 300: 500, 1_000: 1_000, 4_500: 2_000},
}
"""As few as are enough, so that all runs together take an hour on one core."""
COLUMNS = ("method", "images", "seed", "hits", "total")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Run:
    """One classifier: how it learned (one of `METHODS`), from how many images of each class, and its seed."""

    method: str
    images: int
    seed: int


def planned() -> list[Run]:
    """All runs, the first seed's before the others', so that what is done so far compares all methods."""
    return [
        Run(method, images, seed)
        for seed in SEEDS
        for images in SIZES
        if seed == SEEDS[0] or images <= REPEATED
        for method in METHODS
    ]


# Results -------------------------------------------------------------------------------------------------------


def results_file() -> Path:
    return settings.folders.experiments / "images_per_class" / "results.csv"


def results() -> dict[Run, Share]:
    """The accuracy of each run that has been measured, with its 95 % interval; none where there is no file.

    Raises:
        ConvscopeError: the file is damaged.
    """
    file = results_file()
    if not file.exists():
        return {}
    try:
        known = dict(_measured(row) for row in csv.DictReader(read_text(file).splitlines()))
        if not known:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        where = f"experiments/{file.parent.name}/{file.name}"
        raise ConvscopeError(f"{where} is damaged: get it again with `git checkout -- {where}`.") from error
    return known


def _measured(row: Mapping[str, str]) -> tuple[Run, Share]:
    images, seed, hits, total = (int(row[column]) for column in COLUMNS[1:])
    if row["method"] not in METHODS or images <= 0 or not 0 <= hits <= total > 0:
        raise ValueError
    return Run(row["method"], images, seed), wilson(hits, total)


def write(known: Mapping[Run, Share]) -> None:
    """Replace the results."""
    rows = [(*astuple(run), share.hits, share.total) for run, share in known.items()]
    write_text(results_file(), "".join(",".join(map(str, row)) + "\n" for row in (COLUMNS, *rows)))


@dataclass(frozen=True)
class Point:
    """The mean accuracy (0-1) of the runs of one method on one number of images, and how far it may be off.

    From `low` to `high` reach the 95 % intervals of all runs: the seeds differ in their images, and each interval says
    what other test images would change.
    """

    method: str
    images: int
    runs: int
    accuracy: float
    low: float
    high: float


def points(known: Mapping[Run, Share]) -> list[Point]:
    """The curve of each method, in the order of `METHODS` and of the number of images."""
    together: dict[tuple[str, int], list[Share]] = {}
    for run in sorted(known, key=lambda run: (METHODS.index(run.method), run.images)):
        together.setdefault((run.method, run.images), []).append(known[run])
    return [
        Point(
            *key,
            len(shares),
            sum(share.value for share in shares) / len(shares),
            min(share.low for share in shares),
            max(share.high for share in shares),
        )
        for key, shares in together.items()
    ]


def in_words(found: Sequence[Point]) -> str:
    """What the fewest and the most images give, and how many a network from scratch needs for as much as the fewest."""
    fewest, most = min(point.images for point in found), max(point.images for point in found)
    text = " ".join(_at(found, images) for images in dict.fromkeys((fewest, most)))
    goal = max(point.accuracy for point in found if point.images == fewest)
    scratch = {point.images: point.accuracy for point in found if point.method == "scratch"}
    enough = [images for images, reached in scratch.items() if reached >= goal]
    if not scratch or fewest in enough:
        return text
    needs = f"it takes {min(enough):,}" if enough else f"not even {max(scratch):,} are enough"
    return f"{text} From scratch {needs} for what the best way reaches with {fewest:,}."


def _at(found: Sequence[Point], images: int) -> str:
    listed = (f"{point.method} {point.accuracy:.1%}" for point in found if point.images == images)
    return f"With {images:,} images of each class: {', '.join(listed)}.".replace("%", " %")


# Learning ------------------------------------------------------------------------------------------------------


def drawn(labels: np.ndarray, images: int, seed: int) -> np.ndarray:
    """Indices of `images` images of each class, or of all where there are fewer; a size holds the smaller ones."""
    random = np.random.default_rng(seed)
    classes = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    return np.sort(np.concatenate([of_class[:images] for of_class in classes]))


class FeatureBatches(Batches):
    """Batches of kept features `[N, H, W, C]`, which are drawn like images of C colours."""

    def network_input(self, batch: Tensor, pixels: int) -> Tensor:
        return _as_input(batch)


def _as_input(rows: Tensor) -> Tensor:
    """`[N, C, H, W]`, of kept features `[N, H, W, C]`."""
    return rows.permute(0, 3, 1, 2).float()


def descended(model: nn.Module, network: nn.Module, batches: Batches, steps: int) -> nn.Module:
    """The average of the weights of `model`, in evaluation mode, in so many steps of the recipe of `batches`.

    Step by step this is what `engine.training.loop.Training` does in as many steps of one phase.

    Args:
        network: the part of `model` that reads the batches.
    """
    recipe, phase, done = batches.recipe, batches.recipe.phases[0], 0
    optimizer, average = make_optimizer(model, phase), averaged(model, recipe.ema)
    train_mode_(model, recipe.train_last)
    for epoch in count():
        torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # of dropout
        for batch, labels in batches.epoch(epoch):
            if done == steps:
                return average.module.eval()
            loss, _ = losses(network, batches.network_input(batch, recipe.input_size), labels, recipe)
            descend(optimizer, loss, learning_rate(phase, done / steps))
            average.update_parameters(model)
            done += 1


class Experiment:
    """What all runs share: the images, the recipes, and what the frozen layers answer to the images.

    Args:
        test: each run is measured on all of them.
        bases: as in `starting_network`.
    """

    def __init__(
        self, splits: Splits, test: LabelledImages, scratch: Recipe, transfer: Recipe, bases: Path | None = None
    ) -> None:
        self.train, self.test, self.scratch, self.transfer, self.bases = splits.train, test, scratch, transfer, bases
        self.model = self._start(transfer)
        self.frozen = FrozenStart(self.model, transfer, CPU)
        for images in (self.train.images, test.images):
            for _ in self.frozen.keep(images):
                pass
        self.train_rows, self.test_rows = (self.frozen.file(one.images).rows() for one in (self.train, test))

    def predictions(self, run: Run) -> Predictions:
        """Of the test images, by the classifier of `run`; how it learns is the method of its name."""
        rows = drawn(self.train.labels, run.images, run.seed)
        logits = getattr(self, f"_{run.method}")(rows, run)
        return Predictions(logits.numpy(), self.test.labels)

    def _scratch(self, rows: np.ndarray, run: Run) -> Tensor:
        recipe = replace(self.scratch, seed=run.seed)
        model, batches = self._start(recipe), Batches(self.train.subset(rows), recipe, CPU)
        learned = descended(model, model, batches, STEPS["scratch"][run.images])
        mean, std = recipe.statistics
        how = {"input_size": recipe.input_size, "mean": mean, "std": std}
        return torch.from_numpy(evaluate(learned, self.test.images, self.test.labels, **how).logits)

    def _linear(self, rows: np.ndarray, run: Run) -> Tensor:
        labels = torch.from_numpy(self.train.labels[rows])
        features = self._answers(self._last_reads, self.train_rows[rows])
        return probes.fit(features, labels, len(self.train.classes)).logits(self._test_features)

    def _transfer(self, rows: np.ndarray, run: Run) -> Tensor:
        recipe = replace(self.transfer, seed=run.seed)
        features = LabelledImages(self.train_rows[rows], self.train.labels[rows], self.train.classes)
        model, batches = self._start(recipe), FeatureBatches(features, recipe, CPU)
        learned = descended(model, End(model, self.frozen.cut), batches, STEPS["transfer"][run.images])
        return self._answers(End(learned, self.frozen.cut), self.test_rows)

    @cached_property
    def _test_features(self) -> Tensor:
        return self._answers(self._last_reads, self.test_rows)

    def _last_reads(self, features: Tensor) -> Tensor:
        """`[N, F]`: what the last layer of the network from ImageNet reads."""
        cut = self.frozen.cut
        (last,) = cut.graph.output.all_input_nodes
        return forward(self.model, cut.graph, {last}, features, compute, {cut.node: features})[last]

    @torch.no_grad()
    def _answers(self, network: Callable[[Tensor], Tensor], rows: np.ndarray) -> Tensor:
        parts = [torch.from_numpy(rows[begin : begin + AT_ONCE].copy()) for begin in range(0, len(rows), AT_ONCE)]
        return torch.cat([network(_as_input(part)) for part in parts])

    def _start(self, recipe: Recipe) -> nn.Module:
        return starting_network(recipe, self.train.classes, CPU, self.bases)


# The command ---------------------------------------------------------------------------------------------------


@exit_status("Stopped; the same command goes on.")
def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m engine.training.images_per_class`: measure what is not measured yet."""
    parser("engine.training.images_per_class", "How many images does it take?").parse_args(arguments)
    known = results()
    missing = [run for run in planned() if run not in known]
    if not missing:
        print("All is measured.")
        return
    experiment = _experiment()
    for run in missing:
        known[run] = accuracy(experiment.predictions(run))
        write(known)
        print(f"{run.method}, {run.images} of each class, seed {run.seed}: {known[run].value:.2%}", flush=True)


def _experiment() -> Experiment:
    transfer = read("transfer")
    dataset = Dataset(transfer)
    return Experiment(dataset.splits, dataset.test, read("model_two"), transfer)


if __name__ == "__main__":
    raise SystemExit(main())
