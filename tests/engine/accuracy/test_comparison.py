"""Two networks on the same images, against statsmodels and against counting by hand."""

from functools import partial

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from engine.accuracy.comparison import WAYS_TO_DIFFER, Paired, confusion_difference, differing, in_words, mcnemar, pair
from engine.errors import ConvscopeError
from engine.evaluation import Predictions
from tests.answers import CASES, NOTHING, random_predictions

CLOSE = partial(pytest.approx, rel=0, abs=1e-9)


@pytest.fixture
def two() -> tuple[Predictions, Predictions]:
    """Two networks on the same 900 images."""
    a = random_predictions(900, 6, seed=1)
    random = np.random.default_rng(2)
    return a, Predictions(a.logits + random.normal(size=a.logits.shape).astype(np.float32) * 2, a.labels)


def test_pairs_are_counted_one_by_one(two: tuple[Predictions, Predictions]) -> None:
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for row_a, row_b, label in zip(two[0].logits, two[1].logits, two[0].labels, strict=True):
        counts[bool(np.argmax(row_a) == label), bool(np.argmax(row_b) == label)] += 1
    assert pair(*two) == Paired(*counts.values())


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_statsmodels(seed: int) -> None:
    b, c = np.random.default_rng(seed).integers(0, 400, size=2).tolist()
    expected = statsmodels_mcnemar([[50, b], [c, 20]], exact=True).pvalue
    assert mcnemar(Paired(50, b, c, 20)) == CLOSE(expected)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (1, 1), (0, 30), (5, 5), (5, 6), (4_000, 4_210), (0, 9_000)])
def test_mcnemar_is_the_binomial_test(b: int, c: int) -> None:
    expected = scipy.stats.binomtest(min(b, c), b + c).pvalue if b + c else 1.0
    assert mcnemar(Paired(0, b, c, 0)) == CLOSE(expected)
    assert mcnemar(Paired(0, b, c, 0)) == mcnemar(Paired(7, c, b, 3))


def test_a_network_does_not_differ_from_itself() -> None:
    for case in (*CASES.values(), NOTHING):
        assert mcnemar(pair(case, case)) == 1
        assert not confusion_difference(case, case).any()
        assert all(len(differing(case, case, way)) == 0 for way in WAYS_TO_DIFFER)


def test_the_images_that_differ_are_counted_by_the_pairs(two: tuple[Predictions, Predictions]) -> None:
    a, b = two
    first, second, neither = (differing(a, b, way) for way in WAYS_TO_DIFFER)
    paired = pair(a, b)
    assert (len(first), len(second)) == (paired.only_a, paired.only_b)
    assert all(a.correct[first] & ~b.correct[first])
    assert all(b.correct[second] & ~a.correct[second])
    expected = [
        i
        for i in range(900)
        if a.predicted[i] != a.labels[i] and b.predicted[i] != b.labels[i] and a.predicted[i] != b.predicted[i]
    ]
    assert sorted(neither.tolist()) == expected
    for images in (first, second, neither):
        assert list(a.confidence[images]) == sorted(a.confidence[images], reverse=True)


def test_the_difference_of_confusions_is_sklearns(two: tuple[Predictions, Predictions]) -> None:
    tables = [sklearn.metrics.confusion_matrix(each.labels, each.predicted, labels=range(6)) for each in two]
    assert np.array_equal(confusion_difference(*two), tables[0] - tables[1])


def test_other_images_cannot_be_compared(two: tuple[Predictions, Predictions]) -> None:
    other_labels = Predictions(two[1].logits, (two[1].labels + 1) % 6)
    for other in (other_labels, two[1].subset(np.arange(10)), random_predictions(900, 7, seed=1)):
        for function in (pair, confusion_difference, partial(differing, way=WAYS_TO_DIFFER[0])):
            with pytest.raises(ConvscopeError, match="not tested on the same images"):
                function(two[0], other)


def test_an_unknown_way_is_one_sentence(two: tuple[Predictions, Predictions]) -> None:
    with pytest.raises(ConvscopeError, match="cannot differ in the way 'sideways': choose one of only the first"):
        differing(*two, way="sideways")


def test_the_words_say_what_was_counted() -> None:
    words = in_words("resnet18", "lenet", Paired(8_000, 1_012, 1, 300))
    assert words.startswith("resnet18 is right about 1,012 images that lenet misses; lenet is right about 1 image that")
    assert "less than once in a million such tests. So resnet18 is better, as these two were trained." in words


@pytest.mark.parametrize(
    ("b", "c", "expected"),
    [
        (10, 12, "in 83 of 100 such tests (p = 0.83). This test cannot tell which is better."),
        (20, 40, "in 13 of 1,000 such tests (p = 0.013). So B is better, as these two were trained."),
        (7, 7, "On these images neither is better (p = 1)."),
        (0, 0, "On these images neither is better (p = 1)."),
        (200, 130, "in 14 of 100,000 such tests (p = 0.00014). So A is better, as these two were trained."),
    ],
)
def test_the_words_weigh_the_difference(b: int, c: int, expected: str) -> None:
    assert in_words("A", "B", Paired(50, b, c, 20)).endswith(expected)
