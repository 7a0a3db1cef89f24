"""What batch norm does in a deconvnet's reconstruction.

Zeiler & Fergus (2014) say how to reverse convolution, ReLU and pooling; batch norm did not exist. In evaluation mode
it is a fixed affine map per channel, `y = gamma (x - mean) / sqrt(var + eps) + beta`, whose linear part has the adjoint

    on:   s -> s * gamma / sqrt(var + eps)
    off:  s -> s

Switched off, the signal keeps whatever size the raw weights give it. Under batch norm that size means nothing: the
weights of a convolution can be multiplied by any c without changing the network, since batch norm divides by c again.
So without it the signal departs from 1 by an arbitrary factor at every layer, and grows or vanishes with depth. Worse,
the factor differs from channel to channel, so that the channels are weighted differently and the picture's content
changes too: their cosine similarity, which no rescaling can alter, falls below 1.

`python -m engine.batch_norm CHECKPOINT` measures both over some test images: the gain (norm of the picture over norm of
the signal) and the cosine similarity, for the strongest unit of every layer.

References: Ioffe & Szegedy (2015), "Batch normalization", section 3.1; Zeiler & Fergus (2014), section 2.1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from engine import checkpoints, deconv, tape
from engine.command import count, exit_status, parser
from engine.data import bundled, first_of_each_class, prepare
from engine.deconv import Reconstruction
from engine.operations import BatchNorm
from engine.reconstructions import ZERO_SIGNAL, change_in_words, cosine_similarity, total_gain
from engine.tape import Tape


@dataclass(frozen=True)
class BatchNormComparison:
    """The same K signals played back with batch norm and without it."""

    on: Reconstruction
    off: Reconstruction

    @property
    def gain_on(self) -> float:
        """Norm of the picture over norm of the signal, with batch norm (see `engine.reconstructions.total_gain`)."""
        return total_gain(self.on)

    @property
    def gain_off(self) -> float:
        """The same without batch norm."""
        return total_gain(self.off)

    @property
    def cosine(self) -> float:
        """Between the two pictures (see `engine.reconstructions.cosine_similarity`); 1: they differ in size only."""
        return cosine_similarity(self.on, self.off)


def compare(recorded: Tape, signal: Tensor, **settings: object) -> BatchNormComparison:
    """Play `signal` `[K, C, H, W]` back twice; `settings` are those of `engine.deconv.reconstruct`."""
    return BatchNormComparison(
        deconv.reconstruct(recorded, signal, batch_norm=True, **settings),
        deconv.reconstruct(recorded, signal, batch_norm=False, **settings),
    )


def normalises(model: nn.Module) -> bool:
    """Whether the network has batch norm between its feature maps."""
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def has_batch_norm(recorded: Tape) -> bool:
    """Whether a batch norm lies between the recorded layer and the pixels."""
    return any(isinstance(step.operation, BatchNorm) for step in recorded.steps)


# In words ------------------------------------------------------------------------------------------------------


def in_words(comparison: BatchNormComparison, normalised: bool) -> str:
    """What happened, in two sentences computed from the gains; `normalised`: batch norm lies on the way."""
    if not comparison.on.sent.any():
        return ZERO_SIGNAL
    if not normalised:
        return (
            "There is no batch norm between this layer and the pixels, so on and off give the same picture: "
            f"the signal {change_in_words(comparison.gain_on)} by the time it reached the pixels."
        )
    size = (
        f"Without batch norm the signal {change_in_words(comparison.gain_off)} by the time it reached the pixels; "
        f"with batch norm it {change_in_words(comparison.gain_on)}."
    )
    return size if math.isnan(comparison.cosine) else f"{size} {_content_in_words(comparison.cosine)}"


def _content_in_words(cosine: float) -> str:
    if cosine > 0.99:
        return f"Apart from their size the two pictures are the same (cosine similarity {cosine:.2f})."
    if cosine > 0.8:
        return f"In content the two pictures are similar, not equal (cosine similarity {cosine:.2f})."
    return f"They differ in content, not only in size (cosine similarity {cosine:.2f})."


# The command ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerEffect:
    """Medians over images, for the strongest unit of one layer; of the cosine, over those with two pictures."""

    layer: str
    gain_on: float
    gain_off: float
    cosine: float


def effect_per_layer(
    model: nn.Module, images: Tensor, on_layer: Callable[[str], object] = lambda layer: None
) -> list[LayerEffect]:
    """For each layer, the median gains and cosine over `images` `[N, 3, H, W]`, one strongest unit each."""
    effects: list[LayerEffect] = []
    for layer in tape.layers(model):
        on_layer(layer)
        results = [_strongest_unit_comparison(model, image[None], layer) for image in images]
        medians = np.nanmedian([[r.gain_on, r.gain_off, r.cosine] for r in results], axis=0)
        effects.append(LayerEffect(layer, *(float(value) for value in medians)))
    return effects


def _strongest_unit_comparison(model: nn.Module, image: Tensor, layer: str) -> BatchNormComparison:
    recorded = tape.record(model, image, layer)
    (channel,) = deconv.strongest_channels(recorded.activation, 1)
    return compare(recorded, deconv.strongest_unit(recorded.activation, channel))


@exit_status()
def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m engine.batch_norm [CHECKPOINT]`: the effect of batch norm per layer, as a table."""
    options = parser("engine.batch_norm", "Batch norm in reconstructions.")
    options.add_argument("checkpoint", nargs="?", default="resnet18")
    images = "test images in all, equally many of each class (default: 20)"
    options.add_argument("--images", type=count, default=20, help=images)
    options.add_argument("--size", type=count, help="view the network at another input size, in pixels")
    chosen = options.parse_args(arguments)
    trained = checkpoints.load(chosen.checkpoint)
    _print_effects(trained, chosen.images, chosen.size or trained.card.input_size)


def _print_effects(trained: checkpoints.Trained, wanted: int, size: int) -> None:
    card = trained.card
    test = bundled("test")
    chosen = test.subset(first_of_each_class(test.labels, max(1, wanted // len(test.classes))))
    images = prepare(chosen.images, size, card.mean, card.std)
    taken = f"{len(images)} test images, {len(images) // len(test.classes)} of each class"
    print(f"{card.name} at {size} px, strongest unit of each layer, medians over {taken}")
    print(f"{'layer':12}{'gain on':>12}{'gain off':>12}{'off / on':>12}{'cosine':>10}")
    for effect in effect_per_layer(trained.model, images):
        ratio = effect.gain_off / effect.gain_on
        print(f"{effect.layer:12}{effect.gain_on:12.4g}{effect.gain_off:12.4g}{ratio:12.4g}{effect.cosine:10.3f}")


if __name__ == "__main__":
    raise SystemExit(main())
