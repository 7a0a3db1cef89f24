"""From predictions to figures: how often is the network right, about what, and how sure can we be?

`evaluate` runs a network once and keeps its logits; every figure is a pure function of those `Predictions`.

Accuracy on n images is an estimate: another n images would give another figure. The Wilson score interval (Wilson
1927; Brown, Cai & DasGupta 2001) holds the true accuracy in about 95 of 100 such experiments, with k hits of n and
z = 1.96:

    (p + z^2 / 2n  ±  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),    p = k / n

It never leaves 0 to 1, and stays honest for small n, where the textbook's p ± z sqrt(p (1 - p) / n) does not.

`python -m engine.evaluation CHECKPOINT` computes every figure of a checkpoint's card again, from the stored weights
and the bundled images, and says whether they agree.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.data import bundled, prepare
from engine.errors import ConvscopeError

Z_95 = 1.959963984540054
"""The standard normal's 97.5 % quantile: 95 % lie between -z and z."""

PIXELS_AT_ONCE = 250 * 64 * 64
"""A forward pass takes memory in proportion to its pixels: of larger images fewer go through together."""


@dataclass(frozen=True)
class Predictions:
    """What a network said of N images.

    Attributes:
        logits: float32 or float64 `[N, K]`, before the softmax.
        labels: int64 `[N]`, the true classes.
    """

    logits: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> np.ndarray:
        """int64 `[N]`: the class with the largest logit; the first of them when several are equal."""
        return self.logits.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """bool `[N]`: whether the prediction is the label."""
        return self.predicted == self.labels

    @property
    def probabilities(self) -> np.ndarray:
        """float64 `[N, K]`: softmax of the logits."""
        shifted = np.exp(self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    @property
    def confidence(self) -> np.ndarray:
        """float64 `[N]`: the probability of the predicted class."""
        return self.probabilities.max(axis=1)

    def subset(self, indices: np.ndarray) -> "Predictions":
        """The predictions of the images at `indices`, in that order."""
        return Predictions(self.logits[indices], self.labels[indices])


@dataclass(frozen=True)
class Share:
    """k hits of n: the share `value` with its 95 % Wilson interval `low` to `high`, in 0-1; NaN if n = 0."""

    hits: int
    total: int
    value: float
    low: float
    high: float


def images_at_once(most: int, size: int, pixels: int = PIXELS_AT_ONCE) -> int:
    """How many images of `size` x `size` pixels make a batch: at most `most`, at most `pixels` together, at least 1."""
    return max(1, min(most, pixels // size**2))


@torch.no_grad()
def evaluate(
    model: nn.Module,
    images: np.ndarray | Tensor,
    labels: np.ndarray,
    *,
    input_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 250,
    on_batch: Callable[[int], object] | None = None,
) -> Predictions:
    """Run `model` once over uint8 images `[N, H, W, 3]`.

    Args:
        model: in evaluation mode; it is not changed.
        labels: int `[N]`.
        input_size: the side in pixels that the network is fed with; images are resized to it.
        mean, std: per channel, of pixels in 0-1.
        batch_size: at most so many images at once; fewer if they are large (see `images_at_once`).
        on_batch: called with the number of images done; raise from it to stop.

    Raises:
        ConvscopeError: the model is in training mode, in which batch norm and dropout depend on the batch.
    """
    if model.training:
        raise ConvscopeError("A network in training mode cannot be evaluated: call model.eval() first.")
    weight = next(model.parameters())
    pixels = torch.as_tensor(images)
    logits = []
    batch_size = images_at_once(batch_size, input_size)
    for start in range(0, max(len(labels), 1), batch_size):  # no images at all: one empty batch, for K
        batch = prepare(pixels[start : start + batch_size].to(weight.device), input_size, mean, std)
        logits.append(model(batch.to(weight.dtype)).float().cpu())
        if on_batch is not None:
            on_batch(min(start + batch_size, len(labels)))
    return Predictions(torch.cat(logits).numpy(), np.asarray(labels, dtype=np.int64))


@dataclass(frozen=True)
class Answer:
    """What a network says of one image: classes from the most probable to the least, with probabilities (0-1)."""

    classes: tuple[int, ...]
    probabilities: tuple[float, ...]


@torch.no_grad()
def answer(model: nn.Module, x: Tensor) -> Answer:
    """The network's answer to one prepared image `[1, 3, H, W]`: the softmax of its logits, in falling order."""
    probabilities, classes = model(x)[0].softmax(dim=0).sort(descending=True)
    return Answer(tuple(classes.tolist()), tuple(probabilities.tolist()))


def wilson(hits: int, total: int, z: float = Z_95) -> Share:
    """The share `hits / total` with its Wilson score interval; all NaN for no images at all."""
    if total == 0:
        return Share(0, 0, math.nan, math.nan, math.nan)
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    # At the ends the two terms are equal but for rounding.
    low = 0.0 if hits == 0 else centre - half
    high = 1.0 if hits == total else centre + half
    return Share(hits, total, share, low, high)


def accuracy(predictions: Predictions) -> Share:
    """The share of images whose largest logit is the true class."""
    return accuracy_of(confusion_matrix(predictions))


def accuracy_of(confusion: np.ndarray) -> Share:
    """The share of images on the diagonal of counts `[K, K]` of (true class, predicted class)."""
    return wilson(int(np.trace(confusion)), int(confusion.sum()))


def accuracy_per_class(predictions: Predictions) -> list[Share]:
    """For each of the K classes: the share of its own images that are recognised (the class's recall)."""
    return [figures.recall for figures in class_figures(confusion_matrix(predictions))]


@dataclass(frozen=True)
class ClassFigures:
    """How one class fares.

    Attributes:
        recall: of the images of the class (their number, `recall.total`, is its support), how many are recognised.
        precision: of the images that are called this class, how many are of it.
        f1: the harmonic mean of both, 0-1; NaN for a class that neither occurs nor is ever named.
    """

    recall: Share
    precision: Share
    f1: float


def class_figures(confusion: np.ndarray) -> list[ClassFigures]:
    """Recall, precision and F1 of each class from counts `[K, K]` of (true class, predicted class)."""
    hits, support, called = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassFigures(wilson(hit, own), wilson(hit, named), 2 * hit / (own + named) if own + named else math.nan)
        for hit, own, named in zip(hits.tolist(), support.tolist(), called.tolist(), strict=True)
    ]


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """int64 `[K, K]`: how many images of class (row) were called class (column)."""
    classes = predictions.logits.shape[1]
    cells = predictions.labels * classes + predictions.predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def commonest_mistake(confusion: np.ndarray) -> tuple[int, int, int] | None:
    """(true class, predicted class, how many images) of the largest count off the diagonal; None without mistakes."""
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    true, called = np.unravel_index(mistakes.argmax(), mistakes.shape)
    count = int(mistakes[true, called])
    return (int(true), int(called), count) if count else None


def cross_entropy(predictions: Predictions) -> float:
    """The mean of `-log p(true class)` in nats; NaN for no images."""
    logits = torch.from_numpy(predictions.logits).double()
    return float(F.cross_entropy(logits, torch.from_numpy(predictions.labels)))


# The command ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One figure of a card beside the same figure computed again."""

    figure: str
    stored: float
    recomputed: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return abs(self.stored - self.recomputed) <= self.tolerance


def check_card(name: str, on_batch: Callable[[int], object] | None = None) -> list[Check]:
    """Every figure of the card of checkpoint `name`, computed again from its weights and the bundled test images.

    Another processor adds in another order, which may tip an image whose two best classes are as good as equal:
    accuracy may differ by two images in ten thousand.

    Raises:
        ConvscopeError: there is no such checkpoint, it was measured on images that are not bundled, or its files or the
            bundled images are damaged.
    """
    from engine import checkpoints
    from engine.models import parameter_count

    trained = checkpoints.load(name)
    card = trained.card
    if not card.dataset.startswith("cifar10"):
        raise ConvscopeError(
            f"The figures of {name!r} were measured on {card.dataset!r}, which is not shipped: they cannot be computed "
            "again from the bundled images."
        )
    test = bundled("test")
    live = evaluate(
        trained.model, test.images, test.labels,
        input_size=card.input_size, mean=card.mean, std=card.std, on_batch=on_batch,
    )  # fmt: skip
    stored = checkpoints.predictions(name).test
    return [
        Check("parameters", card.parameters, parameter_count(trained.model), 0),
        Check("test images", card.test_images, len(live), 0),
        Check("test accuracy", card.test_accuracy, accuracy(live).value, 2e-4),
        Check("test loss", card.test_loss, cross_entropy(live), 1e-3),
        Check("test accuracy, stored predictions", card.test_accuracy, accuracy(stored).value, 0),
        Check("labels that differ from the stored predictions", 0, int((live.predicted != stored.predicted).sum()), 2),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m engine.evaluation CHECKPOINT`: exit status 0 when every figure agrees."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(prog="python -m engine.evaluation", description="Check a checkpoint's card.")
    parser.add_argument("checkpoint", help="a folder in checkpoints/, such as resnet18")
    name = parser.parse_args(arguments).checkpoint
    try:
        with tqdm(total=10_000, unit=" images", leave=False) as bar:
            checks = check_card(name, on_batch=lambda done: bar.update(done - bar.n))
    except ConvscopeError as error:
        print(error)
        return 1
    for check in checks:
        verdict = "agrees" if check.agrees else "DIFFERS"
        print(f"{check.figure:48} card {check.stored:<14.6g} now {check.recomputed:<14.6g} {verdict}")
    return 0 if all(check.agrees for check in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
