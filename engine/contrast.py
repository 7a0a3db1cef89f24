"""Several reconstructions side by side: which is stronger, and do they show the same?

Size and content are two questions. The gain, |picture| / |signal|, says how strong a picture is; the cosine between
two pictures, which no rescaling can alter, says how much they agree:

    gain = |p| / |s|        cosine = <p, q> / (|p| |q|)

With several signals both are medians over them, those that are zero left out; an empty picture has no cosine. What the
sum of two pictures lacks of a third is their relative distance, |p + q - r| / |r|: deconvnet playback is not additive,
so along a residual block's two branches it is not 0.

Reference: Zeiler & Fergus (2014), section 2.1, for the playback.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from engine.batch_norm import NOTHING_SENT, change_in_words, cosine, total_gain
from engine.deconv import Reconstruction

ADDS_UP = 0.005
"""Below this relative distance, which is 0 % in words, two pictures are said to add up to the third."""


def sizes_in_words(pictures: Mapping[str, Reconstruction]) -> str:
    """What became of each signal: "deconvnet: grew 3-fold; gradient: kept its size"."""
    if not any(picture.sent.any() for picture in pictures.values()):
        return NOTHING_SENT
    changes = [f"**{name}**: {_change_in_words(picture)}" for name, picture in pictures.items()]
    return f"By the time it reached the pixels the signal - {'; '.join(changes)}."


def _change_in_words(picture: Reconstruction) -> str:
    return change_in_words(total_gain(picture)) if picture.sent.any() else "was zero from the start"


def contents_in_words(pictures: Mapping[str, Reconstruction]) -> str:
    """How far each picture agrees with the first, by their cosines; empty if nothing can be compared."""
    (first, reference), *others = pictures.items()
    cosines = {name: cosine(reference, other) for name, other in others}
    agreements = [f"{name} {value:.2f}" for name, value in cosines.items() if not math.isnan(value)]
    if not agreements:
        return ""
    return f"Agreement with {first} (cosine, 1 is the same content): {', '.join(agreements)}."


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
