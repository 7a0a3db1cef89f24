"""Confidence: every figure equals the one of an independent implementation, in the odd cases too."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import sklearn.calibration
import sklearn.metrics

from engine.accuracy.calibration import calibration_error, coverage, fit_temperature, reliability, scaled, top_k
from engine.accuracy.figures import cross_entropy
from engine.errors import ConvscopeError
from engine.evaluation import Predictions
from tests.answers import CASES, NOTHING, random_predictions

CLOSE = partial(pytest.approx, rel=0, abs=1e-9, nan_ok=True)


@pytest.fixture(params=CASES)
def predictions(request: pytest.FixtureRequest) -> Predictions:
    return CASES[request.param]


def confidences(predictions: Predictions) -> list[float]:
    return [float(max(row)) for row in scipy.special.softmax(predictions.logits.astype(np.float64), axis=1)]


# Reliability ---------------------------------------------------------------------------------------------------


def test_the_reliability_diagram_is_sklearns(predictions: Predictions) -> None:
    expected = sklearn.calibration.calibration_curve(
        np.append(predictions.correct, [True, False]), np.append(predictions.confidence, [0.0, 0.0]), n_bins=15
    )  # sklearn wants both outcomes to occur: two answers of confidence 0, in a bin that is left out below
    filled = [entry for entry in reliability(predictions) if entry.accuracy.total]
    kept = slice(len(expected[0]) - len(filled), None)
    assert [entry.accuracy.value for entry in filled] == CLOSE(list(expected[0][kept]))
    assert [entry.confidence for entry in filled] == CLOSE(list(expected[1][kept]))


def slow_bins(predictions: Predictions) -> dict[int, list[int]]:
    """Bin -> images, by asking every bin whether it holds the confidence: above its lower edge, up to its upper one."""
    edges = np.linspace(0, 1, 16)
    held: dict[int, list[int]] = {}
    for image, confidence in enumerate(predictions.confidence):
        inside = [b for b in range(15) if edges[b] < confidence <= edges[b + 1] or (b == 14 and confidence >= 1)]
        held.setdefault(inside[0], []).append(image)
    return held


def test_each_answer_lies_in_the_one_bin_of_its_confidence(predictions: Predictions) -> None:
    held, correct = slow_bins(predictions), predictions.correct.tolist()
    for b, entry in enumerate(reliability(predictions)):
        members = held.get(b, [])
        assert entry.accuracy.total == len(members)
        assert entry.accuracy.hits == sum(correct[image] for image in members)
        assert (entry.low, entry.high) == CLOSE((b / 15, (b + 1) / 15))


def test_the_calibration_error_is_the_mean_gap(predictions: Predictions) -> None:
    sureness, correct, total = confidences(predictions), predictions.correct.tolist(), 0.0
    for members in slow_bins(predictions).values():
        right = np.mean([correct[image] for image in members])
        sure = np.mean([sureness[image] for image in members])
        total += len(members) / len(predictions) * abs(right - sure)
    assert calibration_error(predictions) == CLOSE(total)


def test_confidence_one_lies_in_the_last_bin() -> None:
    certain = Predictions(np.array([[1e4, 0], [0, 1e4]], np.float32), np.array([0, 0]))
    assert list(certain.confidence) == [1.0, 1.0]
    last = reliability(certain)[-1]
    assert (last.accuracy.hits, last.accuracy.total, last.confidence) == (1, 2, 1.0)
    assert calibration_error(certain) == CLOSE(0.5)


def test_an_honest_network_has_no_calibration_error() -> None:
    logits = np.log(np.array([[0.75, 0.25]] * 4, np.float64))
    assert calibration_error(Predictions(logits, np.array([0, 0, 0, 1]))) == CLOSE(0)


def test_no_images_have_no_calibration() -> None:
    assert math.isnan(calibration_error(NOTHING))
    assert all(math.isnan(entry.confidence) and entry.accuracy.total == 0 for entry in reliability(NOTHING))
    assert coverage(NOTHING) == []
    assert math.isnan(top_k(NOTHING, 1).value)


# Top k ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_is_sklearns(k: int) -> None:
    case = CASES["ten classes"]
    expected = sklearn.metrics.top_k_accuracy_score(case.labels, case.logits, k=k, labels=range(10))
    assert top_k(case, k).value == CLOSE(expected)


def test_top_k_by_sorting_each_image(predictions: Predictions) -> None:
    classes = predictions.logits.shape[1]
    for k in range(1, classes + 1):
        hits = 0
        for row, label in zip(predictions.logits, predictions.labels, strict=True):
            hits += int(label) in sorted(range(classes), key=lambda c, row=row: -float(row[c]))[:k]
        assert top_k(predictions, k).hits == hits
    assert top_k(predictions, 1).hits == predictions.correct.sum()
    assert top_k(predictions, classes).value == 1


@pytest.mark.parametrize("k", [0, 11])
def test_a_k_without_meaning_is_one_sentence(k: int) -> None:
    with pytest.raises(ConvscopeError, match=f"their best {k} cannot be counted: take 1 to 10"):
        top_k(CASES["ten classes"], k)


# Coverage ------------------------------------------------------------------------------------------------------


def test_coverage_counts_the_answers_above_each_threshold(predictions: Predictions) -> None:
    confidence, correct = predictions.confidence.tolist(), predictions.correct.tolist()
    for point in coverage(predictions, points=30):
        given = [i for i, sure in enumerate(confidence) if sure >= point.threshold]
        assert (point.answered.hits, point.answered.total) == (len(given), len(predictions))
        assert point.accuracy.hits == sum(correct[i] for i in given)
        assert point.accuracy.total == len(given)


def test_coverage_ends_with_every_image_answered(predictions: Predictions) -> None:
    points = coverage(predictions, points=30)
    assert 1 <= len(points) <= 30
    assert points[-1].answered.value == 1
    assert points[-1].accuracy.hits == predictions.correct.sum()
    assert all(a.threshold > b.threshold for a, b in pairwise(points))


def test_enough_points_show_every_threshold() -> None:
    case = CASES["ties"]
    assert len(coverage(case, points=1_000)) == len(set(case.confidence.tolist()))


# Temperature ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.2, 1, 3, 40])
def test_the_fitted_temperature_has_the_least_loss(scale: float) -> None:
    case = random_predictions(800, 6, seed=11)
    case = Predictions(case.logits * np.float32(scale), case.labels)

    def loss(log_temperature: float) -> float:
        logs = scipy.special.log_softmax(case.logits.astype(np.float64) / np.exp(log_temperature), axis=1)
        return -float(np.mean(logs[np.arange(len(logs)), case.labels]))

    expected = scipy.optimize.minimize_scalar(loss, bracket=(-1, 1), tol=1e-12)
    found = fit_temperature(case)
    assert math.log(found) == pytest.approx(expected.x, abs=1e-6)  # a minimum is flat: half the digits
    assert loss(math.log(found)) == CLOSE(expected.fun)
    assert loss(math.log(found)) <= expected.fun + 1e-14


@pytest.mark.parametrize("scale", [0.2, 3, 40])
def test_the_slope_of_the_loss_is_zero_at_the_fitted_temperature(scale: float) -> None:
    case = random_predictions(500, 4, seed=12, scale=scale)

    def slope(inverse: float) -> float:
        step = 1e-6 * inverse
        losses = [cross_entropy(scaled(case, 1 / (inverse + move))) for move in (-step, step)]
        return (losses[1] - losses[0]) / (2 * step) * inverse

    inverse = 1 / fit_temperature(case)
    assert abs(slope(inverse)) < 1e-7
    assert slope(inverse * 0.9) < 0 < slope(inverse * 1.1)


def test_logits_ten_times_too_large_have_ten_times_the_temperature() -> None:
    case = random_predictions(500, 4, seed=13)
    ten = Predictions(case.logits.astype(np.float64) * 10, case.labels)
    assert fit_temperature(ten) == pytest.approx(10 * fit_temperature(case), rel=1e-9)


def test_scaling_changes_no_answer(predictions: Predictions) -> None:
    cooler = scaled(predictions, 0.7)
    assert np.array_equal(cooler.predicted, predictions.predicted)
    expected = scipy.special.softmax(predictions.logits.astype(np.float64) / 0.7, axis=1)
    np.testing.assert_allclose(cooler.probabilities, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (NOTHING, "without validation images"),
        (CASES["all right"], "right about every validation image"),
        (CASES["all wrong"], "no better than guessing"),
        (Predictions(np.zeros((4, 3), np.float32), np.array([0, 1, 2, 0])), "no better than guessing"),
    ],
)
def test_where_no_temperature_is_best_it_says_so(case: Predictions, message: str) -> None:
    with pytest.raises(ConvscopeError, match=message):
        fit_temperature(case)


def test_one_image_that_is_wrong_by_little_has_a_temperature() -> None:
    case = Predictions(np.array([[0.0, 3, 2.5]]), np.array([2]))
    assert 0 < fit_temperature(case) < math.inf
