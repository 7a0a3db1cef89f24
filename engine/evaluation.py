"""A network is run over images; what it predicts is kept, and `engine.accuracy` makes every figure of it.

`evaluate` runs a network once and keeps its logits as `Predictions`; `answer` is the same for one image.

`python -m engine.evaluation CHECKPOINT` computes every figure of a checkpoint's card again, from the stored weights
and the bundled images, and reports whether they agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine import checkpoints
from engine.accuracy.figures import accuracy, cross_entropy
from engine.accuracy.predictions import Predictions
from engine.command import exit_status, parser, progress
from engine.data import bundled, prepare
from engine.errors import ConvscopeError
from engine.models import parameter_count

PIXELS_AT_ONCE = 250 * 64 * 64
"""A forward pass takes memory in proportion to its pixels: of larger images fewer go through together."""


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

    def probability(self, label: int) -> float:
        """Of one class."""
        return self.probabilities[self.classes.index(label)]


@torch.no_grad()
def answer(model: nn.Module, x: Tensor) -> Answer:
    """The network's answer to one prepared image `[1, 3, H, W]`: the softmax of its logits, in falling order."""
    probabilities, classes = model(x)[0].softmax(dim=0).sort(descending=True)
    return Answer(tuple(classes.tolist()), tuple(probabilities.tolist()))


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
    trained = checkpoints.load(name)
    card = trained.card
    if not card.dataset.startswith("cifar10"):
        raise ConvscopeError(
            f"The figures of {name!r} were measured on {card.dataset!r}, which is not shipped: they cannot be computed "
            "again from the bundled images."
        )
    test = bundled("test")
    how = {"input_size": card.input_size, "mean": card.mean, "std": card.std}
    live = evaluate(trained.model, test.images, test.labels, **how, on_batch=on_batch)
    stored = checkpoints.predictions(name).test
    return [
        Check("parameters", card.parameters, parameter_count(trained.model), 0),
        Check("test images", card.test_images, len(live), 0),
        Check("test accuracy", card.test_accuracy, accuracy(live).value, 2e-4),
        Check("test loss", card.test_loss, cross_entropy(live), 1e-3),
        Check("test accuracy, stored predictions", card.test_accuracy, accuracy(stored).value, 0),
        Check("labels that differ from the stored predictions", 0, int((live.predicted != stored.predicted).sum()), 2),
    ]


@exit_status()
def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m engine.evaluation CHECKPOINT`: exit status 0 when every figure agrees."""
    options = parser("engine.evaluation", "Check a checkpoint's card.")
    options.add_argument("checkpoint", help="a folder in checkpoints/, such as resnet18")
    name = options.parse_args(arguments).checkpoint
    with progress(" images", total=10_000) as show:
        checks = check_card(name, on_batch=show)
    for check in checks:
        verdict = "agrees" if check.agrees else "DIFFERS"
        print(f"{check.figure:48} card {check.stored:<14.6g} now {check.recomputed:<14.6g} {verdict}")
    return 0 if all(check.agrees for check in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
