"""Rank correlation against scipy's, and the words that go with it."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from engine.agreement import agreement, degree, in_words, on_grid, rank_correlation, ranks
from engine.errors import ConvscopeError
from tests.oracles import assert_same, noise


@pytest.mark.parametrize("levels", [0, 5])
def test_ranks_and_their_correlation_are_scipys(levels: int) -> None:
    first, second = noise((9, 7), 1), noise((9, 7), 2)
    if levels:  # many equal values
        first, second = (first * levels).round(), (second * levels).round()
    assert np.array_equal(ranks(first).numpy(), stats.rankdata(first.flatten().numpy()))
    expected = stats.spearmanr(first.flatten().numpy(), second.flatten().numpy()).statistic
    assert rank_correlation(first, second) == pytest.approx(expected, abs=1e-12)
    assert rank_correlation(first, first.exp() * 3) == pytest.approx(1)
    assert rank_correlation(first, -first) == pytest.approx(-1)


def test_a_flat_map_has_no_correlation_and_other_shapes_are_refused() -> None:
    assert math.isnan(rank_correlation(torch.zeros(3, 3), noise((3, 3))))
    with pytest.raises(ConvscopeError, match="one size"):
        rank_correlation(noise((3, 3)), noise((9,)))
    with pytest.raises(ConvscopeError, match="no number"):
        rank_correlation(torch.full((2, 2), torch.nan), noise((2, 2)))


def test_the_grid_holds_the_means_of_its_cells() -> None:
    heat = noise((16, 16))
    assert_same(on_grid(heat, 4), heat.unflatten(1, (4, 4)).unflatten(0, (4, 4)).mean(dim=(1, 3)))
    assert torch.allclose(on_grid(torch.full((3, 5), 2.0)), torch.full((8, 8), 2.0))
    assert agreement(heat, heat.repeat_interleave(3, 0).repeat_interleave(3, 1), 4) == pytest.approx(1)


def test_words_name_the_pairs_that_agree_most_and_least() -> None:
    heat = noise((8, 8))
    words = in_words({"a": heat, "b": 2 * heat, "c": -heat})
    assert words.startswith("**a** and **b** agree most: they point to much the same places (rank correlation 1.00).")
    assert "contradict each other (rank correlation -1.00)" in words
    assert in_words({"a": heat, "b": heat}) == (
        "**a** and **b** point to much the same places (rank correlation 1.00)."
    )
    assert in_words({"a": heat}) == ""
    assert "nothing to compare" in in_words({"a": heat, "b": torch.zeros(8, 8)})
    assert len({degree(rho) for rho in (0.9, 0.5, 0.3, 0.0, -0.9)}) == 5
