"""The reports' figures: read off correctly, and with the samples that fit them."""

from fractions import Fraction

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from engine.data import CIFAR10_CLASSES
from engine.reports import FEWEST, IMAGENET10_CLASSES, MOST, TESTS, ReportedTest, fitting_samples, matching

PRINTED = {
    "bird": 71.79,
    "automobile": 86.49,
    "cat": 71.43,
    "deer": 86.67,
    "dog": 75.56,
    "frog": 90.32,
    "horse": 82.14,
    "airplane": 79.31,
    "ship": 86.11,
    "truck": 78.26,
}


def test_the_cifar10_figures_are_the_reports() -> None:
    (test,) = matching(CIFAR10_CLASSES)
    assert dict(zip(test.classes, test.printed, strict=True)) == pytest.approx({k: v / 100 for k, v in PRINTED.items()})
    assert round(test.overall.value, 4) == 0.8189


@pytest.mark.parametrize("percent", PRINTED.values())
def test_fitting_samples_are_all_fractions_that_round_to_the_figure(percent: float) -> None:
    expected = [
        (hits, total)
        for total in range(FEWEST, MOST + 1)
        for hits in range(total + 1)
        if abs(Fraction(hits, total) * 100 - Fraction(str(percent))) <= Fraction(1, 200)
    ]
    assert [(share.hits, share.total) for share in fitting_samples(percent)] == expected
    assert expected


def test_truck_was_18_of_23_and_a_thousand_images_fit_none() -> None:
    assert [(share.hits, share.total) for share in fitting_samples(78.26)] == [(18, 23)]
    assert not any(fitting_samples(percent, 1_000, 1_000) for percent in PRINTED.values())


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_each_share_has_its_wilson_interval(test: ReportedTest) -> None:
    for share in (*test.shares, test.overall):
        expected = proportion_confint(share.hits, share.total, method="wilson")
        assert (share.low, share.high) == pytest.approx(expected, abs=1e-12)
    assert len(test.shares) == len(test.printed) == len(test.classes)


@pytest.mark.parametrize(("number", "right"), [(1, 714), (2, 1_162)])
def test_the_matrices_add_up_to_the_reported_totals(number: int, right: int) -> None:
    test = TESTS[number]
    assert test.classes == IMAGENET10_CLASSES
    assert test.confusion.sum() == test.overall.total == 1_800
    assert np.trace(test.confusion) == test.overall.hits == right
    assert [share.hits for share in test.shares] == np.diag(test.confusion).tolist()
    assert [share.total for share in test.shares] == test.confusion.sum(axis=1).tolist()


def test_both_matrices_are_of_the_same_images_and_cannot_be_written_to() -> None:
    assert np.array_equal(TESTS[1].confusion.sum(axis=1), TESTS[2].confusion.sum(axis=1))
    with pytest.raises(ValueError, match="read-only"):
        TESTS[1].confusion[0, 0] = 0


def test_the_printed_lists_do_not_agree_with_the_matrices() -> None:
    for test in TESTS[1:]:
        gaps = [abs(printed - share.value) for printed, share in zip(test.printed, test.shares, strict=True)]
        assert max(gaps) > 0.08


def test_other_classes_match_no_report() -> None:
    assert matching(("cat", "dog")) == []
    assert [test.name for test in matching(IMAGENET10_CLASSES)] == [TESTS[1].name, TESTS[2].name]
