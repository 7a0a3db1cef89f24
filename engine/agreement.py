"""How much do two heat maps agree? Spearman's rank correlation, in a number and in words.

Two methods measure in units of their own, so their values cannot be compared, but their order can: which place counts
more than which? Spearman (1904) replaces each value by its rank (equal ones share the mean of theirs) and takes
Pearson's correlation of the ranks r and s:

    rho = sum (r - mean r)(s - mean s) / sqrt(sum (r - mean r)^2  sum (s - mean s)^2)

1: the same order; 0: none; -1: the opposite one. Adebayo et al. (2018), "Sanity checks for saliency maps", compare
maps this way.

Maps of different detail are first averaged over a common grid of cells, coarse enough that a pixel's noise does not
count. With n cells of unrelated maps rho stays below about 2 / sqrt(n - 1) in 95 of 100 cases; neighbouring cells are
alike in most maps, so that chance reaches further than that: small values say little.

Reference: Spearman (1904), "The proof and measurement of association between two things".
"""

import math
from collections.abc import Mapping
from itertools import combinations

import torch.nn.functional as F
from torch import Tensor

from engine.errors import ConvscopeError

CELLS = 8
"""Maps are compared on a grid of that many cells along each side: 64 in all, by chance below 0.25."""


def ranks(values: Tensor) -> Tensor:
    """float64 `[N]`: each value's rank, from 1; equal values share the mean of their ranks. Of any shape."""
    _, which, counts = values.flatten().unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[which]


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's rho of two maps of one shape, -1 to 1; NaN if one of them is the same everywhere.

    Raises:
        ConvscopeError: they differ in shape, or hold what is no number.
    """
    if first.shape != second.shape:
        raise ConvscopeError("Two maps are compared place by place: bring both to one size first.")
    if first.isnan().any() or second.isnan().any():
        raise ConvscopeError("A map holds a value that is no number, which has no rank.")
    a, b = (rank - rank.mean() for rank in map(ranks, (first, second)))
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else math.nan


def on_grid(heat: Tensor, cells: int = CELLS) -> Tensor:
    """`[cells, cells]`: the means of a map `[H, W]` over equal cells; a coarser map is interpolated first."""
    side = math.ceil(max(heat.shape) / cells) * cells
    same = heat.shape[0] == heat.shape[1] == side
    fine = heat[None, None] if same else F.interpolate(heat[None, None], (side, side), mode="bilinear")
    return F.avg_pool2d(fine, side // cells)[0, 0]


def agreement(first: Tensor, second: Tensor, cells: int = CELLS) -> float:
    """The rank correlation of two maps `[H, W]` of any sizes, on a common grid (see `on_grid`)."""
    return rank_correlation(on_grid(first.double(), cells), on_grid(second.double(), cells))


# In words ------------------------------------------------------------------------------------------------------


def in_words(heats: Mapping[str, Tensor]) -> str:
    """Which two maps agree most and which least, with their rank correlations; empty for fewer than two."""
    pairs = {(a, b): agreement(heats[a], heats[b]) for a, b in combinations(heats, 2)}
    known = {pair: rho for pair, rho in pairs.items() if not math.isnan(rho)}
    if not known:
        return "There is nothing to compare: at most one of the maps is not empty." if pairs else ""
    most, least = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    if most == least:
        return f"{_pair(most)} {degree(known[most])} ({_rho(known[most])})."
    return (
        f"{_pair(most)} agree most: they {degree(known[most])} ({_rho(known[most])}). "
        f"{_pair(least)} agree least: they {degree(known[least])} ({_rho(known[least])})."
    )


def degree(rho: float) -> str:
    """What a rank correlation of two maps on the grid says: "point to much the same places"."""
    if rho > 0.7:
        return "point to much the same places"
    if rho > 0.4:
        return "point to similar places"
    if rho > 0.25:
        return "agree a little"
    return "have no more in common than by chance" if rho > -0.25 else "contradict each other"


def _pair(names: tuple[str, str]) -> str:
    return " and ".join(f"**{name}**" for name in names)


def _rho(rho: float) -> str:
    return f"rank correlation {rho:.2f}"
