"""Several reconstructions side by side: which is stronger, and do they show the same?

Size and content are two questions. The gain, |picture| / |signal|, says how strong a picture is; the cosine between
two pictures, which no rescaling can alter, says how much they agree:

    gain = |p| / |s|        cosine = <p, q> / (|p| |q|)

With several signals both are medians over them. What the sum of two pictures lacks of a third is their relative
distance, |p + q - r| / |r|: deconvnet playback is not additive, so along a residual block's two branches it is not 0.

Reference: Zeiler & Fergus (2014), section 2.1, for the playback.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.batch_norm import change_in_words, total_gain
from engine.deconv import Reconstruction


def cosine(first: Reconstruction, second: Reconstruction) -> float:
    """Between two sets of K pictures of one size, -1 to 1; the median over the K."""
    return float(F.cosine_similarity(first.pixels.flatten(1), second.pixels.flatten(1)).median())


def sizes_in_words(pictures: Mapping[str, Reconstruction]) -> str:
    """What became of each signal: "deconvnet: the signal grew 3-fold; gradient: it kept its size."."""
    changes = [f"**{name}**: {change_in_words(total_gain(picture))}" for name, picture in pictures.items()]
    return f"By the time it reached the pixels the signal - {'; '.join(changes)}."


def contents_in_words(pictures: Mapping[str, Reconstruction]) -> str:
    """How far each picture agrees with the first, by their cosines."""
    (first, reference), *others = pictures.items()
    agreements = [f"{name} {cosine(reference, other):.2f}" for name, other in others]
    return f"Agreement with {first} (cosine, 1 is the same content): {', '.join(agreements)}."


def additivity_in_words(whole: Reconstruction, parts: tuple[Reconstruction, Reconstruction]) -> str:
    """By how much the two branches' pictures together miss the picture along both."""
    distance = _relative_distance(parts[0].pixels + parts[1].pixels, whole.pixels)
    return f"Residual plus shortcut misses the picture along both by {distance:.0%} of its size: they do not add up."


def _relative_distance(ours: Tensor, theirs: Tensor) -> float:
    return float(torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs))
