"""What can be measured of reconstructions, and said of several side by side: how strong are they, and how similar?

Size and content are two questions. The gain, |picture| / |signal|, says how strong a picture is; the cosine similarity
of two pictures, which no rescaling can alter, says how much they agree:

    gain = |p| / |s|        cosine similarity = <p, q> / (|p| |q|)

With several signals both are medians over them, without those that are zero; an empty picture has no cosine similarity.
How far two pictures together miss a third is their relative distance, |p + q - r| / |r|: deconvnet playback is not
additive, so for the two branches of a residual block it is not 0.

Reference: Zeiler & Fergus (2014), section 2.1, for the playback.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.deconv import Reconstruction
from engine.operations import Convolution, ReLU
from engine.pictures import factor
from engine.tape import Tape

ADDS_UP = 0.005
"""Two pictures add up to the third below this relative distance, which is 0 % in words."""


def total_gain(reconstruction: Reconstruction) -> float:
    """Norm of the picture over norm of the signal; the median over those of the K signals that are not zero, or 0."""
    return _median_gain(reconstruction.gain, reconstruction.sent)


def cosine_similarity(first: Reconstruction, second: Reconstruction) -> float:
    """Between two sets of K pictures of one size, -1 to 1; the median over pairs without an empty one, or NaN."""
    ours, theirs = (one.pixels.flatten(1).double() for one in (first, second))
    norms = ours.norm(dim=1) * theirs.norm(dim=1)
    return _median(((ours * theirs).sum(dim=1) / norms)[norms > 0])


def _median_gain(ratios: Tensor, sent: Tensor) -> float:
    return _median(ratios[sent > 0]) if sent.any() else 0.0


def _median(values: Tensor) -> float:
    """Of an even number the mean of the two middle ones (torch takes the lower one); NaN of none."""
    return float(np.median(values.cpu().numpy())) if len(values) else math.nan


# The gain along the way ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Milestone:
    """A place on the way back, with its label and the gain there (as `total_gain`)."""

    label: str
    gain: float


def milestones(recorded: Tape, reconstruction: Reconstruction, friendly: Mapping[str, str]) -> tuple[Milestone, ...]:
    """The gain at the outputs of stem, stages and blocks, from the layer back to the pixels.

    Inside a residual block the signal travels on two paths, and a curve through both would zigzag.

    Args:
        friendly: `engine.tape.layers` of the network.
    """
    labels = _labels(recorded, friendly)
    passed = [
        Milestone(labels[gain.node], _median_gain(gain.ratio, reconstruction.sent))
        for gain in reconstruction.gains[:-1]
        if gain.node in labels
    ]
    start = () if passed and passed[0].label == recorded.layer else (Milestone(recorded.layer, 1.0),)
    return (*start, *passed, Milestone("pixels", total_gain(reconstruction)))


def _labels(recorded: Tape, friendly: Mapping[str, str]) -> dict[str, str]:
    """Node name -> label, of ReLUs and poolings with a friendly name, and of the ReLUs behind residual adds."""
    adds = {block.add: name for name, block in recorded.blocks.items()}
    operations = {step.name: step.operation for step in recorded.steps}
    behind_adds = {
        step.name: _block_label(adds[step.inputs[0]])
        for step in recorded.steps
        if isinstance(step.operation, ReLU) and step.inputs[0] in adds
    }
    named = {node: name for name, node in friendly.items() if not isinstance(operations.get(node), Convolution)}
    return {**behind_adds, **named}


def _block_label(block: str) -> str:
    """He et al. call the first block of stage conv3_x conv3_1; torchvision calls it layer2.0."""
    match = re.fullmatch(r"layer(\d)\.(\d+)", block)
    return f"conv{int(match[1]) + 1}_{int(match[2]) + 1}" if match else block


# In words ------------------------------------------------------------------------------------------------------


def change_in_words(gain: float) -> str:
    """What became of a signal: "grew 52-fold", "shrank 34-fold", "kept its size" or "vanished altogether"."""
    if gain == 0:
        return "vanished altogether"
    if abs(gain - 1) < 0.05:
        return "kept its size"
    return f"grew {factor(gain)}-fold" if gain > 1 else f"shrank {factor(1 / gain)}-fold"


ZERO_SIGNAL = "The signal is zero: the layer says nothing about this image, so the picture stays empty."


def sizes_in_words(pictures: Mapping[str, Reconstruction]) -> str:
    """What became of each signal: "deconvnet: grew 3-fold; gradient: kept its size"."""
    if not any(picture.sent.any() for picture in pictures.values()):
        return ZERO_SIGNAL
    changes = [f"**{name}**: {_change_in_words(picture)}" for name, picture in pictures.items()]
    return f"By the time it reached the pixels the signal - {'; '.join(changes)}."


def _change_in_words(picture: Reconstruction) -> str:
    return change_in_words(total_gain(picture)) if picture.sent.any() else "was zero from the start"


def contents_in_words(pictures: Mapping[str, Reconstruction]) -> str:
    """The cosine similarity of each picture to the first; empty if nothing can be compared."""
    (first, reference), *others = pictures.items()
    similarities = {name: cosine_similarity(reference, other) for name, other in others}
    listed = [f"{name} {value:.2f}" for name, value in similarities.items() if not math.isnan(value)]
    return f"Cosine similarity to {first} (1: the same content): {', '.join(listed)}." if listed else ""


def additivity_in_words(whole: Reconstruction, parts: tuple[Reconstruction, Reconstruction]) -> str:
    """By how much the two branches' pictures together miss the picture along both; nothing to say if that is empty."""
    if not whole.pixels.any():
        return ""
    distance = _relative_distance(parts[0].pixels + parts[1].pixels, whole.pixels)
    if distance < ADDS_UP:
        return "Residual plus shortcut is the picture along both: here they do add up."
    return f"Residual plus shortcut misses the picture along both by {distance:.0%} of its size: they do not add up."


def _relative_distance(ours: Tensor, theirs: Tensor) -> float:
    ours, theirs = ours.double(), theirs.double()
    return float(torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs))
