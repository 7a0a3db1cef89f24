"""Which images a run learns from, and with which labels."""

import numpy as np

from engine.training.datasets import Splits, to_learn_from
from engine.training.recipe import Phase
from engine.training.run import RunFolder
from tests.runs import lenet, train


def test_random_labels_are_the_same_again_and_as_good_as_none(splits: Splits) -> None:
    recipe = lenet(random_labels=True)
    one, again = (to_learn_from(splits, recipe) for _ in range(2))
    other = to_learn_from(splits, lenet(random_labels=True, seed=4))
    assert np.array_equal(one.train.labels, again.train.labels)
    assert (one.train.labels != other.train.labels).mean() > 0.7
    assert (one.train.labels == splits.train.labels).mean() < 0.4
    assert one.train.labels.dtype == splits.train.labels.dtype
    assert set(one.train.labels.tolist()) <= set(range(10))
    assert one.train.images is splits.train.images
    assert one.validation is splits.validation


def test_random_labels_are_drawn_for_the_images_that_are_used(splits: Splits) -> None:
    few = to_learn_from(splits, lenet(random_labels=True, sample=2))
    assert np.array_equal(few.train.images, to_learn_from(splits, lenet(sample=2)).train.images)


def test_a_network_learns_random_labels_by_heart_and_nothing_else(splits: Splits, folder: RunFolder) -> None:
    recipe = lenet(random_labels=True, flip=False, crop_padding=0, phases=(Phase(30, 0.002, "adam"),))
    last = train(recipe, splits, folder).history[-1]
    assert last.train_accuracy > 0.9
    assert last.val_accuracy < 0.4
