"""Confusion matrices: which classes a network mistakes for each other.

Row i of the matrix counts the predictions for the images of class i. Divided by the row's sum it estimates
p(predicted j | true i), so that classes with few images can be compared with classes with many.

Two classes are similar to the network if it mistakes one for the other. With the shares p their distance is

    d(i, j) = 1 - (p(j | i) + p(i | j)) / 2

and average linkage (Sokal & Michener 1958) merges, again and again, the two groups whose members are closest on
average. In the order of that tree, similar classes become neighbours and mistakes gather in blocks along the
diagonal. The tree alone leaves open which side of a group comes first; each merge lets the most similar ends touch.

The order only helps to read the matrix: rare confusions rest on few images.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Merge:
    """Two groups of classes that became one: its members in drawing order, and the mean distance of the two groups."""

    members: tuple[int, ...]
    distance: float


def row_normalised(confusion: np.ndarray) -> np.ndarray:
    """float64 `[K, K]`, 0-1: each row of counts divided by its sum; NaN in the row of a class without images."""
    totals = confusion.sum(axis=1, keepdims=True)
    return np.divide(confusion, totals, out=np.full(confusion.shape, np.nan), where=totals > 0)


def distances(confusion: np.ndarray) -> np.ndarray:
    """float64 `[K, K]`, symmetric, 0-1: how dissimilar two classes are to the network; 0 on the diagonal."""
    shares = np.nan_to_num(row_normalised(confusion))
    apart = 1 - (shares + shares.T) / 2
    np.fill_diagonal(apart, 0)
    return apart


def merges(apart: np.ndarray) -> list[Merge]:
    """The K - 1 merges of average linkage on distances `[K, K]`, closest first."""
    groups: list[tuple[int, ...]] = [(label,) for label in range(len(apart))]
    sums = apart.astype(np.float64)
    done: list[Merge] = []
    while len(groups) > 1:
        a, b, distance = _closest(sums, np.array([len(group) for group in groups]))
        done.append(Merge(_joined(apart, groups[a], groups[b]), distance))
        groups = [group for place, group in enumerate(groups) if place not in (a, b)] + [done[-1].members]
        sums = _with_merged(sums, a, b)
    return done


def similarity_order(confusion: np.ndarray) -> tuple[int, ...]:
    """The K classes, those that are mistaken for each other side by side."""
    found = merges(distances(confusion))
    return found[-1].members if found else tuple(range(len(confusion)))


def _closest(sums: np.ndarray, sizes: np.ndarray) -> tuple[int, int, float]:
    """Which two groups are closest, the first such pair of equal ones, and their mean distance.

    `sums` `[G, G]`: of the distances between the members of two groups; `sizes` `[G]`: how many members each has.
    """
    means = sums / np.outer(sizes, sizes)
    means[np.tril_indices(len(means))] = np.inf
    a, b = divmod(int(means.argmin()), len(means))
    return a, b, float(means[a, b])


def _with_merged(sums: np.ndarray, a: int, b: int) -> np.ndarray:
    """`sums` after groups a and b became one, which comes last: its sums are those of both together."""
    merged = np.delete(sums[a] + sums[b], (a, b))
    others = np.delete(np.delete(sums, (a, b), axis=0), (a, b), axis=1)
    return np.block([[others, merged[:, None]], [merged, np.zeros(1)]])


def _joined(apart: np.ndarray, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Both groups in a row, each turned round if that brings closer classes together where they touch."""
    candidates = [(left, right) for left in (a, a[::-1]) for right in (b, b[::-1])]
    left, right = min(candidates, key=lambda pair: apart[pair[0][-1], pair[1][0]])
    return left + right
