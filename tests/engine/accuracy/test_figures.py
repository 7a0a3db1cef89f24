"""Confusions in order, the images behind a figure, all networks at once, and live runs: each against a slow twin."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.cluster.hierarchy
import scipy.spatial.distance
import sklearn.metrics
import torch
from torch import nn

from engine import all_networks, checkpoints
from engine.accuracy import confusion as accuracy_confusion
from engine.accuracy import images
from engine.accuracy.confusion import distances, merges, row_normalised, similarity_order
from engine.accuracy.figures import accuracy, confusion_matrix
from engine.accuracy.live import Differences, differences, in_words
from engine.checkpoints import Card
from engine.errors import ConvscopeError
from engine.evaluation import Predictions, evaluate
from engine.models import ARCHITECTURES, build, parameter_count
from tests.answers import CASES, NOTHING, random_predictions

CLOSE = partial(pytest.approx, rel=0, abs=1e-9)


@pytest.fixture(params=CASES)
def predictions(request: pytest.FixtureRequest) -> Predictions:
    return CASES[request.param]


# Confusions ----------------------------------------------------------------------------------------------------


def test_row_normalised_confusion_is_sklearns(predictions: Predictions) -> None:
    expected = sklearn.metrics.confusion_matrix(
        predictions.labels, predictions.predicted, labels=range(predictions.logits.shape[1]), normalize="true"
    )
    shares = row_normalised(confusion_matrix(predictions))
    assert np.nan_to_num(shares) == CLOSE(expected)
    support = np.bincount(predictions.labels, minlength=len(shares))
    assert np.array_equal(np.isnan(shares).all(axis=1), support == 0)
    assert np.array_equal(np.isnan(shares).any(axis=1), support == 0)


@pytest.mark.parametrize("seed", range(6))
def test_the_merges_are_scipys_average_linkage(seed: int) -> None:
    random = np.random.default_rng(seed)
    confusion = random.integers(0, 60, size=(9, 9)) + np.diag(random.integers(100, 300, size=9))
    apart = distances(confusion)
    expected = scipy.cluster.hierarchy.linkage(scipy.spatial.distance.squareform(apart), method="average")
    found = merges(apart)
    assert [merge.distance for merge in found] == CLOSE(list(expected[:, 2]))
    members = [{label} for label in range(9)]
    for row in expected:
        members.append(members[int(row[0])] | members[int(row[1])])
    assert [set(merge.members) for merge in found] == members[9:]


def slow_merges(apart: np.ndarray) -> list[tuple[set[int], float]]:
    """Of every pair of groups the mean distance again at each step; of equal ones the first."""
    groups, done = [(label,) for label in range(len(apart))], []
    while len(groups) > 1:
        pairs = [(a, b) for i, a in enumerate(groups) for b in groups[i + 1 :]]
        means = [float(apart[np.ix_(a, b)].mean()) for a, b in pairs]
        a, b = pairs[int(np.argmin(means))]
        done.append((set(a + b), min(means)))
        groups = [group for group in groups if group not in (a, b)] + [a + b]
    return done


@pytest.mark.parametrize("classes", [2, 3, 25])
def test_the_merges_are_those_of_means_taken_again_at_each_step(classes: int) -> None:
    random = np.random.default_rng(classes)
    apart = distances(random.integers(0, 9, size=(classes, classes)) + np.diag(random.integers(100, 300, size=classes)))
    found, expected = merges(apart), slow_merges(apart)
    assert [set(merge.members) for merge in found] == [members for members, _ in expected]
    assert [merge.distance for merge in found] == CLOSE([distance for _, distance in expected])


def test_of_equal_distances_the_first_pair_is_merged() -> None:
    assert [merge.members for merge in merges(1 - np.eye(4))] == [(0, 1), (2, 3), (0, 1, 2, 3)]


def test_distances_are_one_minus_the_mean_share(predictions: Predictions) -> None:
    shares = np.nan_to_num(row_normalised(confusion_matrix(predictions)))
    apart = distances(confusion_matrix(predictions))
    for i in range(len(shares)):
        for j in range(len(shares)):
            expected = 0 if i == j else 1 - (shares[i, j] + shares[j, i]) / 2
            assert apart[i, j] == CLOSE(expected)


@pytest.mark.parametrize("seed", range(4))
def test_every_group_lies_side_by_side_in_the_order(seed: int) -> None:
    confusion = confusion_matrix(random_predictions(600, 8, seed=seed))
    order = similarity_order(confusion)
    for merge in merges(distances(confusion)):
        places = sorted(order.index(label) for label in merge.members)
        assert places == list(range(places[0], places[0] + len(places)))


def test_the_order_has_every_class_once(predictions: Predictions) -> None:
    order = similarity_order(confusion_matrix(predictions))
    assert sorted(order) == list(range(predictions.logits.shape[1]))


def test_classes_that_are_taken_for_each_other_become_neighbours() -> None:
    confusion = np.diag([90] * 6)
    for a, b in ((0, 3), (1, 5), (2, 4)):
        confusion[a, b] = confusion[b, a] = 10
    order = similarity_order(confusion)
    assert all(abs(order.index(a) - order.index(b)) == 1 for a, b in ((0, 3), (1, 5), (2, 4)))


def test_where_groups_touch_the_most_alike_ends_meet() -> None:
    confusion = np.array([[80, 15, 0, 0], [15, 60, 5, 0], [0, 5, 60, 15], [0, 0, 15, 80]])
    assert similarity_order(confusion[[1, 0, 2, 3]][:, [1, 0, 2, 3]]) in ((1, 0, 2, 3), (3, 2, 0, 1))


def test_one_class_alone_is_in_order() -> None:
    assert accuracy_confusion.similarity_order(np.array([[5]])) == (0,)


# Images --------------------------------------------------------------------------------------------------------


def sorted_by_hand(predictions: Predictions, wanted: Callable[[int, int], bool]) -> list[int]:
    """The images with a wanted (label, answer), the most confident first."""
    confidence = predictions.confidence.tolist()
    pairs = enumerate(zip(predictions.labels.tolist(), predictions.predicted.tolist(), strict=True))
    return sorted((i for i, (label, called) in pairs if wanted(label, called)), key=lambda i: (-confidence[i], i))


def test_the_images_behind_a_cell(predictions: Predictions) -> None:
    confusion = confusion_matrix(predictions)
    for cell in np.ndindex(confusion.shape):
        found = images.of_cell(predictions, *cell).tolist()
        assert found == sorted_by_hand(predictions, lambda label, called, cell=cell: (label, called) == cell)
        assert len(found) == confusion[cell]


def test_the_images_of_a_class(predictions: Predictions) -> None:
    for own in range(predictions.logits.shape[1]):
        right = images.of_class(predictions, own, correct=True).tolist()
        wrong = images.of_class(predictions, own, correct=False).tolist()
        assert right == sorted_by_hand(predictions, lambda label, called, own=own: label == own == called)
        assert wrong == sorted_by_hand(predictions, lambda label, called, own=own: label == own != called)


def test_right_and_wrong_answers_are_all_answers(predictions: Predictions) -> None:
    right, wrong = (images.of_all_classes(predictions, correct=right).tolist() for right in (True, False))
    assert right == sorted_by_hand(predictions, lambda label, called: label == called)
    assert wrong == sorted_by_hand(predictions, lambda label, called: label != called)


def test_behind_nothing_there_are_no_images() -> None:
    assert len(images.of_class(NOTHING, 0, correct=True)) == 0
    assert len(images.of_cell(NOTHING, 0, 1)) == 0
    assert len(images.of_all_classes(NOTHING, correct=False)) == 0
    assert len(images.known_wrong(NOTHING)) == 0


def test_the_known_wrong_labels_are_18_of_the_10_000() -> None:
    assert len(set(images.KNOWN_WRONG_LABELS)) == 18
    every = Predictions(np.zeros((10_000, 2), np.float32), np.zeros(10_000, np.int64))
    assert images.known_wrong(every).tolist() == sorted(images.KNOWN_WRONG_LABELS)
    assert images.known_wrong(every.subset(np.arange(2_406))).tolist() == [1227, 1718, 2405]


# All networks --------------------------------------------------------------------------------------------------


def card_of(architecture: str, **changes: object) -> Card:
    spec = ARCHITECTURES[architecture]
    card = Card(
        name=architecture,
        architecture=architecture,
        options={},
        dataset="cifar10",
        classes=tuple("abcdefghij"),
        input_size=spec.input_size,
        mean=spec.mean,
        std=spec.std,
        recipe=architecture,
        epochs=1,
        best_epoch=1,
        seed=0,
        parameters=parameter_count(build(architecture)),
        test_images=60,
        test_accuracy=0.5,
        test_loss=1.0,
        weights_sha256="",
        versions={},
    )
    return replace(card, **changes)


def counted_by_hand(card: Card) -> int:
    """Multiply-adds from the shapes that pass through convolutions and dense layers."""
    model = build(card.architecture, **card.options).eval()
    total = 0

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        per_number = module.weight[0].numel()
        total += per_number * output.numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, card.input_size, card.input_size))
    return total


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_multiply_adds_are_those_of_convolutions_and_dense_layers(name: str) -> None:
    card = card_of(name)
    assert all_networks.multiply_adds(card) == counted_by_hand(card)


def test_resnet18_at_224_pixels_needs_the_known_1_8_billion() -> None:
    assert all_networks.multiply_adds(card_of("resnet18", input_size=224)) == pytest.approx(1.814e9, rel=1e-3)


@pytest.fixture
def two_folders(tmp_path: Path, use_folders: Callable[..., None]) -> None:
    """Folders of checkpoints and of experiments, which are in use; "both" is in either."""
    folders = tmp_path / "checkpoints", tmp_path / "experiments"
    for folder, names in zip(folders, (("lenet", "both"), ("depth", "both")), strict=True):
        for name in names:
            own = random_predictions(60, 10, seed=len(name))
            contents = checkpoints.Contents(
                build("lenet").state_dict(), checkpoints.StoredPredictions(own, own), {"filters": np.zeros(1)}, ""
            )
            checkpoints.save(card_of("lenet", name=name), contents, folder)
    for path in folders[1].glob("*/weights.pt"):
        path.unlink()
    use_folders(checkpoints=folders[0], experiments=folders[1])


def test_experiments_are_found_beside_checkpoints(two_folders: None) -> None:
    found = all_networks.candidates()
    assert {name: candidate.experiment for name, candidate in found.items()} == {
        "both": False,
        "lenet": False,
        "depth": True,
    }
    for name, candidate in found.items():
        expected = random_predictions(60, 10, seed=len(name))
        assert np.array_equal(candidate.predictions().test.logits, expected.logits)
        entry = all_networks.entry(candidate)
        assert (entry.name, entry.accuracy) == (name, accuracy(expected))
        assert entry.parameters == 390_410


def test_without_experiments_there_are_only_checkpoints(
    two_folders: None, tmp_path: Path, use_folders: Callable[..., None]
) -> None:
    use_folders(experiments=tmp_path / "nothing")
    assert list(all_networks.candidates()) == ["both", "lenet"]


# Live ----------------------------------------------------------------------------------------------------------


def test_lenet_gives_its_stored_answers_again(bundled_test) -> None:
    trained = checkpoints.load("lenet")
    some = bundled_test.subset(np.arange(300))
    card = trained.card
    live = evaluate(trained.model, some.images, some.labels, input_size=32, mean=card.mean, std=card.std)
    found = differences(live, checkpoints.predictions("lenet").test.subset(np.arange(300)))
    assert (found.images, found.answers) == (300, 0)
    assert found.logits < 0.01


def test_differences_are_counted_one_by_one() -> None:
    stored = Predictions(np.array([[1, 0], [0, 1], [2, 1]], np.float32), np.array([0, 1, 1]))
    live = Predictions(np.array([[1, 0.25], [2, 1], [2, 1]], np.float32), stored.labels)
    assert differences(live, stored) == Differences(3, 1, 2.0)
    assert in_words(Differences(3, 1, 2.0)) == (
        "1 of 3 live answers differ from the stored ones; no logit is further than 2 from its stored value."
    )
    assert in_words(differences(stored, stored)).startswith("All 3 live answers are the stored ones")
    for gap, most in {0.0: "0", 1.4e-5: "2e-05", 2e-5: "2e-05", 0.95: "1", 12.0: "20"}.items():  # rounded up
        assert f"no logit is further than {most} from" in in_words(Differences(3, 0, gap))
    assert differences(NOTHING, NOTHING) == Differences(0, 0, 0.0)


def test_other_images_have_no_differences() -> None:
    with pytest.raises(ConvscopeError, match="stored predictions are of other images"):
        differences(CASES["ten classes"], CASES["two classes"])
