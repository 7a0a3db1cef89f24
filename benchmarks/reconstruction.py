"""How long does a sheet of 16 reconstructions take, beside a single one?

    python benchmarks/reconstruction.py

The shipped ResNet-18 at its own input size: the strongest units of the 16 strongest channels of each layer, played back
in one batch, against one unit alone, and against 16 played back one after the other. Medians of several runs, taken in
turn. The limit for a sheet at conv5_x is 1.5 s, forward pass and drawing included.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from torch import Tensor

from benchmarks.server import seconds
from engine import checkpoints, data, deconv, pictures, tape
from engine.checkpoints import Trained

RUNS = 7
CHANNELS = 16


def first_image(trained: Trained) -> Tensor:
    """The first test image as the network takes it."""
    card = trained.card
    return data.prepare(data.bundled("test").images[:1], card.input_size, card.mean, card.std)


def sheet(trained: Trained, image: Tensor, layer: str, count: int = CHANNELS) -> bytes:
    """Everything from the image to the PNG: forward pass, playback of `count` units in one batch, drawing."""
    recorded = tape.record(trained.model, image, layer)
    channels = deconv.strongest_channels(recorded.activation, count)
    pixels = deconv.reconstruct(recorded, deconv.unit_signals(recorded.activation, channels)).pixels
    tiles = pictures.enlarged(pictures.signed(pixels, pictures.scale_of(pixels)), 112)
    return pictures.png(pictures.sheet(tiles, columns=4))


def main() -> None:
    """Print a line per layer."""
    trained = checkpoints.load("resnet18")
    image = first_image(trained)
    print(f"{'layer':12}{'sheet of 16':>14}{'one':>10}{'16 in turn':>13}{'sheet : one':>14}")
    for layer in tape.layers(trained.model):
        taken: dict[str, list[float]] = {"sheet": [], "one": [], "in turn": []}
        for _ in range(RUNS):
            taken["sheet"].append(seconds(lambda layer=layer: sheet(trained, image, layer)))
            taken["one"].append(seconds(lambda layer=layer: sheet(trained, image, layer, 1)))
            taken["in turn"].append(
                seconds(lambda layer=layer: [sheet(trained, image, layer, 1) for _ in range(CHANNELS)])
            )
        whole, one, turn = (statistics.median(taken[key]) for key in ("sheet", "one", "in turn"))
        print(f"{layer:12}{whole:12.3f} s{one:8.3f} s{turn:11.3f} s{whole / one:13.1f}x", flush=True)


if __name__ == "__main__":
    main()
