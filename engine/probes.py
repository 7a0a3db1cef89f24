"""Linear probes: how much of the answer can be read off each layer, by a weighted sum alone?

A probe is a linear classifier on the features of one layer of a trained network, which itself stays as it is (Alain &
Bengio 2016). Zeiler & Fergus (2014, table 7) do the same on layer after layer of theirs: the deeper the layer, the
better the classes can be separated linearly. With f(x) the features of an image, standardised over the training
images, and y its class:

    minimise over W, b    mean over x of -log softmax(W f(x) + b)[y]  +  (l2 / 2) |W|^2

that is multinomial logistic regression, a convex problem with one solution. L-BFGS finds it (Liu & Nocedal 1989).

    features     the layer's maps, averaged over 2 x 2 fields, so that every layer has few numbers
    pixels       the image itself, averaged over 8 x 8 fields, since it has three maps only: no network at all
    accuracy     on test images that no probe was fitted to

    python -m engine.probes CHECKPOINT

fits the probes of all stages of a checkpoint, and stores their accuracies with it (`probes.json`), bound to its weights
by their SHA-256.

Limits: a probe says what *can* be read off a layer, not that the network reads it there. The averaging takes more from
the first layers, whose maps are large, than from the last ones. The probes are fitted to images that the network was
trained on: its last layers know them better than new ones.

References: Alain & Bengio (2016), "Understanding intermediate layers using linear classifier probes"; Zeiler & Fergus
(2014), section 5.3 and table 7.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import checkpoints, command, settings, tape
from engine.accuracy.figures import Share, wilson
from engine.checkpoints import Trained
from engine.data import LabelledImages, bundled, first_of_each_class, prepare
from engine.errors import ConvscopeError
from engine.evaluation import images_at_once
from engine.files import write_text
from engine.stored import fits, read_json

FILE = "probes.json"
PIXELS = "pixels"
"""In place of a layer: the image itself."""
GRID, PIXEL_GRID = 2, 8
"""A layer's map, and a colour of the image, is averaged over so many fields, down and across."""
PER_CLASS = 200
"""How many training images of each class the probes are fitted to, and on how many test images they are tried."""
MOST_LAYERS = 12
L2 = 0.03
"""Chosen on training images that the probes were not fitted to; three times as much or as little changes hardly any."""
STEPS = 300
"""L-BFGS stops there if it has not converged before."""
BATCH, PIXELS_AT_ONCE = 50, 50 * 64 * 64


@dataclass(frozen=True)
class Probe:
    """A linear classifier: `weight` `[K, F]`, `bias` `[K]`; features are first standardised by `mean`, `std` `[F]`."""

    weight: Tensor = field(repr=False)
    bias: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)
    std: Tensor = field(repr=False)

    def logits(self, features: Tensor) -> Tensor:
        """`[N, K]` of features `[N, F]`."""
        return F.linear((features - self.mean) / self.std, self.weight, self.bias)


@dataclass(frozen=True)
class Reading:
    """What a probe of one layer reaches on the test images.

    Attributes:
        layer: its name, or `PIXELS`; `features`: how many numbers the probe reads.
        hits: how many test images it gets right.
    """

    layer: str
    features: int
    hits: int


@dataclass(frozen=True)
class Probes:
    """The probes of a network.

    Attributes:
        readings: from the pixels to the last stage.
        network_hits: how many of the test images the network itself gets right.
        trained_on, tested_on: how many images.
        weights_sha256: of the network.
    """

    readings: tuple[Reading, ...]
    network_hits: int
    trained_on: int
    tested_on: int
    weights_sha256: str

    def accuracy(self, reading: Reading) -> Share:
        """The probe's accuracy, with its 95 % interval."""
        return wilson(reading.hits, self.tested_on)

    @property
    def network_accuracy(self) -> Share:
        """The network's own, on the same images."""
        return wilson(self.network_hits, self.tested_on)


# ------------------------------------------------------------------------------------------------ one probe


def pooled(maps: Tensor, grid: int = GRID) -> Tensor:
    """`[N, F]`: maps `[N, C, H, W]` averaged over `grid` x `grid` fields (fewer, if they are smaller)."""
    if maps.dim() == 2:
        return maps
    height, width = (min(grid, size) for size in maps.shape[2:])
    return F.adaptive_avg_pool2d(maps, (height, width)).flatten(1)


def fit(features: Tensor, labels: Tensor, classes: int, l2: float = L2) -> Probe:
    """Multinomial logistic regression on standardised features, with L2 on the weights alone.

    Args:
        features: `[N, F]`; a feature that is the same on all images is left out of the standardising.
        labels: int64 `[N]`, in 0 to `classes` - 1.

    Raises:
        ConvscopeError: no images, or not one label per image.
    """
    if len(features) == 0 or len(features) != len(labels):
        raise ConvscopeError(
            f"A probe cannot be fitted to {len(features)} images with {len(labels)} labels: give one label for each."
        )
    mean, std = features.mean(dim=0), features.std(dim=0, correction=0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    standard = (features - mean) / std
    weight = features.new_zeros(classes, features.shape[1], requires_grad=True)
    bias = features.new_zeros(classes, requires_grad=True)
    tolerance = 100 * torch.finfo(features.dtype).eps
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, tolerance_grad=tolerance, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        with torch.enable_grad():
            value = F.cross_entropy(F.linear(standard, weight, bias), labels) + l2 / 2 * weight.square().sum()
            value.backward()
        return value.detach()

    solver.step(loss)
    return Probe(weight.detach(), bias.detach(), mean, std)


# ---------------------------------------------------------------------------------------------- all of a network


def layers_to_probe(model: nn.Module) -> tuple[str, ...]:
    """The outputs of the network's stages, in order, at most `MOST_LAYERS`.

    Raises:
        ConvscopeError: the model cannot be traced.
    """
    return tape.stage_outputs(model, MOST_LAYERS)


@dataclass(frozen=True)
class _Features:
    """`features[layer]` `[N, F]`, and the network's own `predicted` classes `[N]`."""

    features: dict[str, Tensor]
    predicted: np.ndarray


def probe_in_steps(
    trained: Trained,
    training: LabelledImages | None = None,
    test: LabelledImages | None = None,
    on_batch: Callable[[int], object] | None = None,
) -> Iterator[Probes]:
    """Fit and try one probe after the other, from the pixels to the last stage: what is known so far.

    Args:
        training, test: images with the network's classes; None: the first `PER_CLASS` bundled ones of each class.
        on_batch: called with the number of images whose features are known; raise from it to stop.

    Raises:
        ConvscopeError: the classes are not the network's, or the model cannot be traced.
    """
    training, test = training or _first("train"), test or _first("test")
    card = trained.card
    if tuple(training.classes) != tuple(card.classes) or tuple(test.classes) != tuple(card.classes):
        raise ConvscopeError(
            f"{card.name} knows other classes than the images: choose a network that was trained on CIFAR-10."
        )
    layers = layers_to_probe(trained.model)
    known = on_batch or (lambda done: None)
    seen = _features(trained, training.images, layers, known)
    unseen = _features(trained, test.images, layers, lambda done: known(len(training) + done))
    labels = torch.from_numpy(training.labels)
    network_hits = int((unseen.predicted == test.labels).sum())
    readings: tuple[Reading, ...] = ()
    for layer in (PIXELS, *layers):
        probe = fit(seen.features[layer], labels, len(card.classes))
        predicted = probe.logits(unseen.features[layer]).argmax(dim=1).numpy()
        reading = Reading(layer, probe.weight.shape[1], int((predicted == test.labels).sum()))
        readings = (*readings, reading)
        yield Probes(readings, network_hits, len(training), len(test), card.weights_sha256)


def _first(split: str) -> LabelledImages:
    images = bundled(split)
    return images.subset(first_of_each_class(images.labels, PER_CLASS))


@torch.no_grad()
def _features(
    trained: Trained, images: np.ndarray, layers: Sequence[str], on_batch: Callable[[int], object]
) -> _Features:
    card, model = trained.card, trained.model
    parts: dict[str, list[Tensor]] = {layer: [] for layer in (PIXELS, *layers)}
    predicted: list[np.ndarray] = []
    output, at_once = tape.logits(model), images_at_once(BATCH, card.input_size, PIXELS_AT_ONCE)
    for start in range(0, len(images), at_once):
        x = prepare(images[start : start + at_once], card.input_size, card.mean, card.std)
        values = tape.activations(model, x, [*layers, output])
        predicted.append(values[output].argmax(dim=1).numpy())
        for layer in layers:
            parts[layer].append(pooled(values[layer]))
        parts[PIXELS].append(pooled(x, PIXEL_GRID))
        on_batch(min(start + at_once, len(images)))
    return _Features({layer: torch.cat(found) for layer, found in parts.items()}, np.concatenate(predicted))


def in_words(found: Probes) -> str:
    """Where most is gained, and how near the last probe comes to the network itself."""
    values = [found.accuracy(reading).value for reading in found.readings]
    if len(values) < 2:
        words = f"A linear classifier on the pixels is right for {values[0]:.0%} of the test images; the layers follow."
        return words.replace("%", " %")
    gains = [after - before for before, after in itertools.pairwise(values)]
    most = int(np.argmax(gains))
    own = found.network_accuracy.value
    return (
        f"A linear classifier on the pixels is right for {values[0]:.0%} of the test images, one on "
        f"{found.readings[-1].layer} for {values[-1]:.0%}; the network itself for {own:.0%}. Most is gained from "
        f"{found.readings[most].layer} to {found.readings[most + 1].layer}: {100 * gains[most]:.0f} points."
    ).replace("%", " %")


# ------------------------------------------------------------------------------------------------ stored results


def path_of(name: str, folder: Path | None = None) -> Path:
    """Where the results of checkpoint `name` are stored."""
    return (folder or settings.folders.checkpoints) / name / FILE


def save(found: Probes, name: str, folder: Path | None = None) -> Path:
    """Store the results with checkpoint `name`, atomically.

    Raises:
        ConvscopeError: the disk is full or the folder is not writable.
    """
    path = path_of(name, folder)
    write_text(path, json.dumps(asdict(found), indent=1) + "\n")
    return path


def load(trained: Trained, folder: Path | None = None) -> Probes | None:
    """The stored results of a checkpoint; None if they are missing, damaged or of other weights."""
    try:
        stored = read_json(path_of(trained.card.name, folder))
        readings = tuple(Reading(**reading) for reading in stored.pop("readings"))
        found = Probes(readings, **stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    layers = [reading.layer for reading in readings]
    sound = all(fits(getattr(one, name), int) for one in readings for name in ("features", "hits"))
    counts = (found.network_hits, found.trained_on, found.tested_on)
    if not sound or not all(fits(count, int) for count in counts) or found.tested_on <= 0:
        return None
    within = all(0 <= hits <= found.tested_on for hits in (found.network_hits, *(one.hits for one in readings)))
    pixels = min(PIXEL_GRID, trained.card.input_size) ** 2 * len(trained.card.mean)
    belongs = layers == [PIXELS, *layers_to_probe(trained.model)] and readings[0].features == pixels
    return found if within and belongs and found.weights_sha256 == trained.card.weights_sha256 else None


@command.exit_status()
def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m engine.probes CHECKPOINT ...`: fits the probes and stores what they reach."""
    parser = command.parser("engine.probes", "Fit a linear probe to each stage of trained networks.")
    parser.add_argument("checkpoint", nargs="+", help="folders in checkpoints/, such as resnet18")
    for name in parser.parse_args(arguments).checkpoint:
        with command.progress(" images", 2 * PER_CLASS * 10) as show:
            *_, found = probe_in_steps(checkpoints.load(name), on_batch=show)
        save(found, name)
        print(f"{name}: {in_words(found)}")


if __name__ == "__main__":
    raise SystemExit(main())
