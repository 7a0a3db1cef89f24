"""Every figure equals the one that an independent implementation finds, in the odd cases too."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import torch
from statsmodels.stats.proportion import proportion_confint
from torch import nn
from torchvision.transforms.v2.functional import normalize

from engine import checkpoints, evaluation
from engine.accuracy.figures import (
    accuracy,
    accuracy_per_class,
    class_figures,
    commonest_mistake,
    confusion_matrix,
    cross_entropy,
    wilson,
)
from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.evaluation import Predictions, check_card, evaluate
from engine.models import ARCHITECTURES, build, parameter_count
from tests.answers import CASES

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CLOSE = partial(pytest.approx, rel=0, abs=1e-12, nan_ok=True)


@pytest.fixture(params=CASES)
def predictions(request: pytest.FixtureRequest) -> Predictions:
    return CASES[request.param]


# Figures -------------------------------------------------------------------------------------------------------


def test_accuracy_is_sklearns(predictions: Predictions) -> None:
    expected = sklearn.metrics.accuracy_score(predictions.labels, np.argmax(predictions.logits, axis=1))
    share = accuracy(predictions)
    assert share.value == CLOSE(expected)
    assert (share.hits, share.total) == (round(expected * len(predictions)), len(predictions))


def test_the_confusion_matrix_is_sklearns(predictions: Predictions) -> None:
    classes = range(predictions.logits.shape[1])
    called = np.argmax(predictions.logits, axis=1)
    expected = sklearn.metrics.confusion_matrix(predictions.labels, called, labels=classes)
    assert np.array_equal(confusion_matrix(predictions), expected)


def test_accuracy_per_class_is_sklearns_recall_with_statsmodels_interval(predictions: Predictions) -> None:
    classes = range(predictions.logits.shape[1])
    called = np.argmax(predictions.logits, axis=1)
    expected = sklearn.metrics.recall_score(
        predictions.labels, called, labels=classes, average=None, zero_division=np.nan
    )
    shares = accuracy_per_class(predictions)
    assert [share.value for share in shares] == CLOSE(list(expected))
    for label, share in enumerate(shares):
        members = predictions.labels == label
        assert share.total == members.sum()
        assert share.hits == (called[members] == label).sum()
        if share.total:
            assert (share.low, share.high) == CLOSE(proportion_confint(share.hits, share.total, method="wilson"))


def test_precision_recall_f1_and_support_are_sklearns(predictions: Predictions) -> None:
    expected = sklearn.metrics.precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=range(predictions.logits.shape[1]), zero_division=np.nan
    )
    figures = class_figures(confusion_matrix(predictions))
    assert [entry.precision.value for entry in figures] == CLOSE(list(expected[0]))
    assert [entry.recall.value for entry in figures] == CLOSE(list(expected[1]))
    assert [entry.f1 for entry in figures] == CLOSE(list(expected[2]))
    assert [entry.recall.total for entry in figures] == list(expected[3])
    for label, entry in enumerate(figures):
        named = predictions.predicted == label
        assert (entry.precision.hits, entry.precision.total) == (
            (predictions.labels[named] == label).sum(),
            named.sum(),
        )


def test_confidence_is_the_probability_of_the_answer(predictions: Predictions) -> None:
    rows = zip(predictions.probabilities, predictions.predicted, strict=True)
    assert list(predictions.confidence) == [row[called] for row, called in rows]


def test_a_subset_keeps_the_order_asked_for() -> None:
    some = CASES["ten classes"].subset(np.array([7, 3, 3]))
    assert np.array_equal(some.logits, CASES["ten classes"].logits[[7, 3, 3]])
    assert list(some.labels) == list(CASES["ten classes"].labels[[7, 3, 3]])


def test_probabilities_are_scipys_softmax(predictions: Predictions) -> None:
    expected = scipy.special.softmax(predictions.logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(predictions.probabilities, expected, rtol=0, atol=1e-12)


def test_cross_entropy_is_the_mean_of_minus_log_p(predictions: Predictions) -> None:
    logs = scipy.special.log_softmax(predictions.logits.astype(np.float64), axis=1)
    expected = -np.mean([row[label] for row, label in zip(logs, predictions.labels, strict=True)])
    assert cross_entropy(predictions) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_cross_entropy_is_sklearns_log_loss() -> None:
    case = CASES["ten classes"]
    probabilities = scipy.special.softmax(case.logits.astype(np.float64), axis=1)
    assert cross_entropy(case) == CLOSE(sklearn.metrics.log_loss(case.labels, probabilities, labels=range(10)))


def test_of_equal_logits_the_first_counts() -> None:
    tied = Predictions(np.array([[1, 3, 3], [2, 2, 2], [0, 0, 5]], np.float32), np.array([2, 0, 2]))
    assert tied.predicted.tolist() == [1, 0, 2]
    assert tied.correct.tolist() == [False, True, True]
    assert accuracy(tied).hits == 2


def test_no_images_give_nan_and_zeros() -> None:
    nothing = Predictions(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    for share in (accuracy(nothing), *accuracy_per_class(nothing)):
        assert (share.hits, share.total) == (0, 0)
        assert all(map(math.isnan, (share.value, share.low, share.high)))
    assert len(accuracy_per_class(nothing)) == 4
    assert all(math.isnan(figures.f1) for figures in class_figures(confusion_matrix(nothing)))
    assert nothing.confidence.shape == (0,)
    assert np.array_equal(confusion_matrix(nothing), np.zeros((4, 4)))
    assert math.isnan(cross_entropy(nothing))
    assert nothing.probabilities.shape == (0, 4)


@pytest.mark.parametrize(
    ("hits", "total"), [(0, 1), (1, 1), (0, 10), (10, 10), (1, 10), (5, 10), (7_150, 10_000), (0, 10_000), (3, 7)]
)
def test_the_wilson_interval_is_statsmodels(hits: int, total: int) -> None:
    share = wilson(hits, total)
    assert (share.low, share.high) == CLOSE(proportion_confint(hits, total, alpha=0.05, method="wilson"))
    assert share.value == hits / total
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_the_wilson_interval_ends_exactly_at_zero_and_one() -> None:
    assert [wilson(0, total).low for total in range(1, 50)] == [0] * 49
    assert [wilson(total, total).high for total in range(1, 50)] == [1] * 49


def test_the_wilson_interval_takes_other_confidences() -> None:
    share = wilson(30, 100, z=2.5758293035489004)
    assert (share.low, share.high) == CLOSE(proportion_confint(30, 100, alpha=0.01, method="wilson"))


# Running the network -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    model = build("model_two", num_classes=4)
    model(torch.randn(16, 3, 32, 32))  # batch norm statistics that are not 0 and 1
    return model.eval()


@pytest.fixture
def few(bundled_test: LabelledImages) -> LabelledImages:
    chosen = bundled_test.subset(np.arange(23))
    return LabelledImages(chosen.images, chosen.labels % 4)


Run = Callable[..., Predictions]


@pytest.fixture
def run(network: nn.Module, few: LabelledImages) -> Run:
    return partial(evaluate, network, few.images, few.labels, input_size=32, mean=MEAN, std=STD)


def test_evaluating_is_one_plain_pass(run: Run, network: nn.Module, few: LabelledImages) -> None:
    result = run()
    for image, label, logits, kept in zip(few.images, few.labels, result.logits, result.labels, strict=True):
        pixels = torch.from_numpy(image).permute(2, 0, 1) / 255
        with torch.no_grad():
            expected = network(normalize(pixels, list(MEAN), list(STD))[None])[0]
        np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-5)
        assert kept == label
    assert (result.logits.dtype, result.labels.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("batch_size", [1, 5, 23, 250])
def test_the_batch_size_changes_nothing(run: Run, batch_size: int) -> None:
    np.testing.assert_allclose(run(batch_size=batch_size).logits, run().logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("most", "size", "together"),
    [(250, 32, 250), (250, 64, 250), (250, 128, 62), (250, 224, 20), (10, 224, 10), (5, 9_999, 1)],
)
def test_of_large_images_fewer_go_through_together(most: int, size: int, together: int) -> None:
    assert evaluation.images_at_once(most, size) == together


def test_large_images_are_evaluated_in_smaller_batches(few: LabelledImages) -> None:
    seen: list[int] = []
    model = nn.Sequential(nn.Conv2d(3, 2, 1, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    kept = evaluate(model, few.images, few.labels, input_size=224, mean=MEAN, std=STD, on_batch=seen.append)
    assert seen == [20, 23]
    alone = evaluate(model, few.images, few.labels, input_size=224, mean=MEAN, std=STD, batch_size=1)
    np.testing.assert_allclose(kept.logits, alone.logits, rtol=0, atol=1e-5)


def test_images_may_be_a_tensor(run: Run, network: nn.Module, few: LabelledImages) -> None:
    tensor = evaluate(network, torch.from_numpy(few.images), few.labels, input_size=32, mean=MEAN, std=STD)
    assert np.array_equal(tensor.logits, run().logits)


def test_progress_is_the_number_of_images_done(run: Run) -> None:
    done: list[int] = []
    run(batch_size=10, on_batch=done.append)
    assert done == [10, 20, 23]


def test_an_observer_can_stop_it(run: Run) -> None:
    class Stop(Exception):
        pass

    done: list[int] = []

    def stop(count: int) -> None:
        done.append(count)
        if count >= 10:
            raise Stop

    with pytest.raises(Stop):
        run(batch_size=5, on_batch=stop)
    assert done == [5, 10]


def test_a_network_in_training_mode_is_refused(few: LabelledImages) -> None:
    with pytest.raises(ConvscopeError) as caught:
        evaluate(build("lenet"), few.images, few.labels, input_size=32, mean=MEAN, std=STD)
    assert str(caught.value) == "A network in training mode cannot be evaluated: call model.eval() first."


def test_the_network_is_left_as_it_was(run: Run, network: nn.Module) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    run()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_images_at_all_still_have_their_classes(name: str) -> None:
    spec = ARCHITECTURES[name]
    model = build(name, num_classes=6).eval()
    nothing = evaluate(
        model, np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0), input_size=spec.input_size, mean=MEAN, std=STD
    )
    assert nothing.logits.shape == (0, 6)
    assert math.isnan(accuracy(nothing).value)
    assert len(accuracy_per_class(nothing)) == 6


# The command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(
    tmp_path: Path,
    bundled_test: LabelledImages,
    monkeypatch: pytest.MonkeyPatch,
    use_folders: Callable[..., None],
) -> checkpoints.Card:
    """A checkpoint of an untrained LeNet with honest figures on 60 test images, where the command looks for it."""
    torch.manual_seed(0)
    test = bundled_test.subset(np.arange(60))
    spec = ARCHITECTURES["lenet"]
    model = build("lenet")
    weights = model.state_dict()
    result = evaluate(model.eval(), test.images, test.labels, input_size=32, mean=spec.mean, std=spec.std)
    card = checkpoints.Card(
        name="tiny",
        architecture="lenet",
        options={},
        dataset="cifar10",
        classes=test.classes,
        input_size=32,
        mean=spec.mean,
        std=spec.std,
        recipe="tiny",
        epochs=0,
        best_epoch=0,
        seed=0,
        parameters=parameter_count(model),
        test_images=60,
        test_accuracy=accuracy(result).value,
        test_loss=cross_entropy(result),
        weights_sha256="",
        versions={},
    )
    predictions = checkpoints.StoredPredictions(result, result)
    checkpoints.save(card, checkpoints.Contents(weights, predictions, {"filters": np.zeros(1)}, ""), tmp_path)
    monkeypatch.setattr(evaluation, "bundled", lambda split: {"test": test}[split])
    use_folders(checkpoints=tmp_path)
    return card


def test_an_honest_card_is_confirmed(stored: checkpoints.Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(check.agrees for check in check_card("tiny"))
    assert evaluation.main(["tiny"]) == 0
    assert capsys.readouterr().out.count("agrees") == 6


@pytest.mark.parametrize(
    ("figure", "change", "differing"),
    [
        ("test_accuracy", 0.05, {"test accuracy", "test accuracy, stored predictions"}),
        ("test_loss", 0.01, {"test loss"}),
        ("parameters", 10, {"parameters"}),
        ("test_images", 1, {"test images"}),
    ],
)
def test_a_wrong_figure_on_a_card_is_found(
    stored: checkpoints.Card,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    figure: str,
    change: float,
    differing: set[str],
) -> None:
    card = (tmp_path / "tiny" / "card.json").read_text()
    value = getattr(stored, figure)
    line = f'"{figure}": {value}'
    assert line in card
    (tmp_path / "tiny" / "card.json").write_text(card.replace(line, f'"{figure}": {value + change}'))
    assert {check.figure for check in check_card("tiny") if not check.agrees} == differing
    assert evaluation.main(["tiny"]) == 1
    assert capsys.readouterr().out.count("DIFFERS") == len(differing)


def test_an_unknown_checkpoint_is_one_sentence(stored: checkpoints.Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluation.main(["nosuch"]) == 1
    assert capsys.readouterr().out == "There is no checkpoint 'nosuch': choose one of tiny.\n"


def test_an_answer_is_the_softmax_in_falling_order() -> None:
    torch.manual_seed(0)
    model = build("lenet").eval()
    x = torch.randn(1, 3, 32, 32)
    given = evaluation.answer(model, x)
    with torch.no_grad():
        probabilities = scipy.special.softmax(model(x)[0].double().numpy())
    assert list(given.classes) == sorted(range(10), key=lambda label: -float(probabilities[label]))
    assert list(given.probabilities) == [
        pytest.approx(float(probabilities[label]), rel=1e-5) for label in given.classes
    ]


def test_the_commonest_mistake_is_the_largest_count_off_the_diagonal() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 2])
    called = np.array([0, 1, 1, 1, 2, 2, 2, 2])
    predictions = Predictions(np.eye(3, dtype=np.float32)[called], labels)
    assert commonest_mistake(confusion_matrix(predictions)) == (1, 2, 3)


def test_without_mistakes_there_is_no_commonest_one() -> None:
    labels = np.array([0, 1, 2])
    right = confusion_matrix(Predictions(np.eye(3, dtype=np.float32), labels))
    assert commonest_mistake(right) is None
    assert right.trace() == 3  # it was not written to
