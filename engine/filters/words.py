"""A filter's measured preference in words: "horizontal green edges", "flat blue areas", "no clear orientation".

Orientation is that of the stripes, which run across the wave's direction: a wave that travels down the picture makes
horizontal stripes. Diagonals are named as one reads: "rising" from bottom left to top right.

Lines, edges or stripes: a preferred grating that fits into the kernel less than one and a half times is one edge if it
changes sign at the kernel's middle, and one line if it has its crest there; beyond that it is stripes.

Colour: the preferred grating swings along a line through grey in the space of (red, green, blue), and the nearest of a
few named lines gives the word: along (1, 1, 1) it is black and white, along (0, 1, 0) green, along (1, -1, 0) red
against green. A flat area has a direction, not only a line: (-1, -1, 1) is blue, (1, 1, -1) yellow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

NO_PATTERN = "no clear orientation"
SELECTIVE = 0.25
"""Below this selectivity (0-1) the response hardly depends on the direction: it prefers a spot, not stripes."""
CYCLES_OF_STRIPES = 1.5

Directions = dict[str, tuple[tuple[int, int, int], ...]]
"""Names of directions in the space of (red, green, blue)."""

_LINES: Directions = {
    "black-and-white": ((1, 1, 1),),
    "red": ((1, 0, 0),),
    "green": ((0, 1, 0),),
    "blue": ((0, 0, 1),),
    "yellow": ((1, 1, 0),),
    "cyan": ((0, 1, 1),),
    "magenta": ((1, 0, 1),),
    "red-green": ((1, -1, 0),),
    "red-blue": ((1, 0, -1),),
    "green-blue": ((0, 1, -1),),
    "yellow-blue": ((1, 1, -1),),
    "red-cyan": ((1, -1, -1),),
    "magenta-green": ((1, -1, 1),),
}

_COLOURS: Directions = {
    "bright": ((1, 1, 1),),
    "dark": ((-1, -1, -1),),
    "red": ((1, 0, 0), (1, -1, -1), (1, -1, 0), (0, -1, -1)),
    "orange": ((1, 0, -1),),
    "yellow": ((1, 1, 0), (1, 1, -1), (0, 0, -1)),
    "green": ((0, 1, 0), (-1, 1, -1), (-1, 1, 0), (0, 1, -1), (-1, 0, -1)),
    "cyan": ((0, 1, 1), (-1, 1, 1), (-1, 0, 0)),
    "blue": ((0, 0, 1), (-1, -1, 1), (-1, 0, 1), (-1, -1, 0)),
    "violet": ((0, -1, 1),),
    "magenta": ((1, 0, 1), (1, -1, 1), (0, -1, 0)),
}


class Preference(NamedTuple):
    """What one filter prefers, in numbers: an entry of each field of `engine.filters.Tuning`, which explains them."""

    flat: Sequence[float]
    flat_share: float
    share: float
    frequency: float
    direction: float
    colour: Sequence[float]
    oddness: float
    selectivity: float


@dataclass(frozen=True)
class Description:
    """What a filter prefers.

    Attributes:
        text: all of it, such as "horizontal green edges".
        kind: "edges", "lines", "stripes", "spots", "flat areas", or `NO_PATTERN`.
        orientation: of its stripes in degrees, 0 horizontal, 45 rising, 90 vertical; None without any.
        period: pixels from stripe to stripe; None without any.
        colour: in one word; empty without any.
        explained: the share (0-1) of the filter that its best single stimulus explains.
        noise: the share that it would explain of a filter of random numbers.
    """

    text: str
    kind: str
    orientation: float | None
    period: float | None
    colour: str
    explained: float
    noise: float


def in_words(measured: Preference, side: int, noise: float) -> Description:
    """The description of a filter of `side` x `side` pixels.

    `noise` is the share that its best stimulus must explain, since it explains as much of filters of random numbers.
    """
    explained = max(measured.flat_share, measured.share)
    if not explained > noise:
        return Description(NO_PATTERN, NO_PATTERN, None, None, "", explained, noise)
    if measured.flat_share >= measured.share:
        name = nearest(measured.flat, _COLOURS)
        return Description(f"flat {name} areas", "flat areas", None, None, name, explained, noise)
    name = nearest(measured.colour, _LINES, either_sign=True)
    if measured.selectivity < SELECTIVE:
        return Description(f"{name} spots, {NO_PATTERN}", "spots", None, None, name, explained, noise)
    kind = _kind(measured.frequency * side, measured.oddness)
    orientation = (90 - measured.direction) % 180
    text = f"{orientation_in_words(orientation)} {name} {kind}"
    return Description(text, kind, orientation, 1 / measured.frequency, name, explained, noise)


def _kind(cycles: float, oddness: float) -> str:
    if cycles >= CYCLES_OF_STRIPES:
        return "stripes"
    return "edges" if oddness > 0.5 else "lines"


def orientation_in_words(degrees: float) -> str:
    """Stripes at 0 degrees are horizontal, at 45 rising, at 90 vertical, at 135 falling."""
    names = ("horizontal", "rising", "vertical", "falling")
    return names[round((degrees % 180) / 45) % 4]


def nearest(colour: Sequence[float], names: Directions, either_sign: bool = False) -> str:
    """The name whose direction in (red, green, blue) is nearest to `colour`'s."""

    def closeness(entry: tuple[str, tuple[int, int, int]]) -> float:
        _, direction = entry
        along = sum(part * axis for part, axis in zip(colour, direction, strict=True))
        cosine = along / math.hypot(*direction)
        return abs(cosine) if either_sign else cosine

    return max(((name, direction) for name in names for direction in names[name]), key=closeness)[0]
