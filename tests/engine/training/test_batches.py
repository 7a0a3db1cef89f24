"""The learning rate at each step, and the batches of an epoch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from engine.data import LabelledImages
from engine.training.batches import Batches
from engine.training.recipe import Phase
from engine.training.schedule import learning_rate
from tests.runs import CPU, lenet

# Schedule ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5, 1.0])
def test_one_cycle_rises_and_falls_in_straight_lines(warmup: float) -> None:
    phase = Phase(5, 0.4, schedule="one_cycle", warmup=warmup)
    knots = {0.0: ([0, 1], [1, 0]), 1.0: ([0, 1], [0, 1])}.get(warmup, ([0, warmup, 1], [0, 1, 0]))
    for progress in np.linspace(0, 1, 41):
        assert learning_rate(phase, progress) == pytest.approx(0.4 * np.interp(progress, *knots), abs=1e-15)


def test_cosine_is_torchs() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(21):
        assert learning_rate(Phase(1, 0.3, schedule="cosine"), step / 20) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_constant_stays() -> None:
    assert {learning_rate(Phase(1, 0.3, schedule="constant"), progress) for progress in (0, 0.5, 1)} == {0.3}


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_the_rate_is_never_negative_beyond_the_end(schedule: str) -> None:
    phase = Phase(1, 0.3, schedule=schedule)
    assert learning_rate(phase, 1.01) == learning_rate(phase, 1) == pytest.approx(0)
    assert learning_rate(phase, -0.01) == learning_rate(phase, 0)


# Batches -------------------------------------------------------------------------------------------------------


def batches(images: np.ndarray, **changes: Any) -> Batches:
    recipe = lenet(**{"crop_padding": 0, "flip": False, **changes})
    return Batches(LabelledImages(images, np.arange(len(images)) % 10), recipe, CPU)


def uniform_images(count: int) -> np.ndarray:
    """Image i is all i, however it is cropped."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), (count, 32, 32, 3)).copy()


def drawn(source: Batches, epoch: int) -> list[int]:
    """The numbers of the `uniform_images` of an epoch, in order; their labels must have come along."""
    numbers: list[int] = []
    for images, labels in source.epoch(epoch):
        numbers += images[:, 0, 0, 0].tolist()
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert labels.tolist() == [number % 10 for number in images[:, 0, 0, 0].tolist()]
    return numbers


def test_every_image_is_drawn_once_per_epoch_in_another_order_each() -> None:
    source = batches(uniform_images(60), batch_size=12, crop_padding=4, flip=True)
    first, second = drawn(source, 0), drawn(source, 1)
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != second != list(range(60))


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(60, 20, [20] * 3), (61, 20, [20] * 3), (79, 20, [20] * 3), (5, 20, [5])]
)
def test_an_incomplete_last_batch_is_dropped_unless_it_is_the_only_one(
    count: int, batch_size: int, sizes: list[int]
) -> None:
    source = batches(uniform_images(count), batch_size=batch_size)
    assert [len(labels) for _, labels in source.epoch(0)] == sizes
    assert len(source) == len(sizes)
    assert len(set(drawn(source, 0))) == sum(sizes)


def random_images(count: int) -> np.ndarray:
    """Noise without 122, the grey of the holes."""
    images = np.random.default_rng(0).integers(255, size=(count, 32, 32, 3), dtype=np.uint8)
    return images + (images >= 122)


AUGMENTED = {"crop_padding": 4, "flip": True, "cutout": 8}


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    images = random_images(30)

    def epoch(seed: int, number: int) -> Tensor:
        source = batches(images, seed=seed, batch_size=10, **AUGMENTED)
        torch.manual_seed(int(torch.randint(1000, ())))  # whatever the global generator says
        return torch.cat([batch for batch, _ in source.epoch(number)])

    assert torch.equal(epoch(1, 2), epoch(1, 2))
    different = [epoch(1, 2), epoch(1, 3), epoch(2, 2), epoch(0, 2)]
    assert not any(torch.equal(a, b) for i, a in enumerate(different) for b in different[:i])


def test_an_epoch_does_not_depend_on_the_epochs_before() -> None:
    source = batches(random_images(30), batch_size=10, **AUGMENTED)
    early = list(source.epoch(5))
    list(source.epoch(4))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(early, source.epoch(5), strict=True))


def test_without_augmentation_images_are_themselves() -> None:
    images = random_images(20)
    source = batches(images, batch_size=20)
    ((result, _),) = source.epoch(0)
    assert sorted(image.tobytes() for image in result.numpy()) == sorted(image.tobytes() for image in images)


def explanations(image: np.ndarray, original: np.ndarray, padding: int) -> list[tuple[int, int, bool]]:
    """All (top, left, mirrored) whose crop of the original equals the image outside its hole."""
    padded = np.pad(original, ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    hole = (image == 122).all(axis=2)
    found = []
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            for mirrored in (False, True):
                crop = padded[top : top + 32, left : left + 32]
                crop = crop[:, ::-1] if mirrored else crop
                if np.array_equal(crop[~hole], image[~hole]):
                    found.append((top, left, mirrored))
    return found


def augmented(**changes: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Augmented images and their originals: the labels tell which is which."""
    images = random_images(10)
    for epoch in range(12):
        for batch, labels in batches(images, batch_size=10, **{**AUGMENTED, **changes}).epoch(epoch):
            for image, label in zip(batch.numpy(), labels.tolist(), strict=True):
                yield image, images[label]


@pytest.mark.parametrize("padding", [1, 4])
def test_each_image_is_one_mirrored_or_plain_crop_of_the_padded_original(padding: int) -> None:
    found = []
    for image, original in augmented(crop_padding=padding):
        assert image.shape == (32, 32, 3)
        (only,) = explanations(image, original, padding)
        found.append(only)
    places = set(range(2 * padding + 1))
    assert {top for top, _, _ in found} == {left for _, left, _ in found} == places
    assert 40 < sum(mirrored for _, _, mirrored in found) < 80  # of 120
    assert sum(top == left for top, left, _ in found) < 70


def test_without_flip_no_image_is_mirrored() -> None:
    assert all(not explanations(image, original, 4)[0][2] for image, original in augmented(flip=False))


@pytest.mark.parametrize("side", [7, 8])
def test_the_hole_is_a_grey_square_that_the_border_may_cut(side: int) -> None:
    heights = []
    for image, _ in augmented(cutout=side):
        grey = image == 122
        assert (grey.any(axis=2) == grey.all(axis=2)).all()
        rows, columns = np.nonzero(grey.all(axis=2))
        assert grey.all(axis=2).sum() == len(set(rows)) * len(set(columns))
        for places in (sorted(set(rows)), sorted(set(columns))):
            assert places == list(range(places[0], places[-1] + 1))
            assert len(places) == side or (len(places) < side and (places[0] == 0 or places[-1] == 31))
        heights.append(len(set(rows)))
    assert side in heights
    assert min(heights) < side


def test_without_cutout_there_is_no_hole() -> None:
    assert not any((image == 122).any() for image, _ in augmented(cutout=0))
