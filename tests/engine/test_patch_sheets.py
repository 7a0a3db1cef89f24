"""Many maps on one sheet: its patches and reconstructions against slow ones, and where each block is."""

import numpy as np
import pytest
import torch

from engine import checkpoints, patches, pictures
from engine.data import LabelledImages, pixels_of, prepare
from engine.errors import ConvscopeError
from engine.graph.receptive_field import receptive_field
from engine.patch_sheets import BLOCK, SUPPORT, TILE, Nine, at_random, nine_of, places, sheet
from engine.patches import TopPatches
from tests.oracles import SlowTwin, fingerprint

LAYER, CHANNEL = "conv2_relu", 17


@pytest.fixture(scope="module")
def found(bundled_test: LabelledImages) -> tuple:
    trained, images = checkpoints.load("lenet"), bundled_test.images[:40]
    card = trained.card
    top = patches.top_patches(trained.model, images, [LAYER], input_size=32, mean=card.mean, std=card.std)[LAYER]
    return trained, receptive_field(trained.model, LAYER), top, images


def test_patches_and_reconstructions_are_those_of_the_strongest_units(found: tuple) -> None:
    trained, seen, top, images = found
    before = fingerprint(trained.model)
    nine = nine_of(trained, LAYER, seen, top, CHANNEL, images)
    assert fingerprint(trained.model) == before
    assert (nine.channel, len(nine.patches), len(nine.reconstructions)) == (CHANNEL, 9, 9)
    twin, high = SlowTwin(trained.model, "deconvnet"), seen.size[0]
    for number in range(9):
        x = prepare(images[top.images[CHANNEL][[number]]], 32, trained.card.mean, trained.card.std)
        row, column = top.rows[CHANNEL][number], top.columns[CHANNEL][number]
        seed = torch.zeros(1, 64, 16, 16)
        seed[0, CHANNEL, row, column] = float(top.values[CHANNEL][number])
        played = twin.play_back(x, "features.4", seed)
        whole = [pixels_of(x, trained.card.mean, trained.card.std)[0], pictures.signed_each(played)[0]]
        for picture, crop in zip(whole, (nine.patches[number], nine.reconstructions[number]), strict=True):
            padded = np.pad(picture, ((32, 32), (32, 32), (0, 0)), constant_values=128)
            box = seen.box(row, column, (32, 32))
            expected = padded[box.top + 32 : box.top + 32 + high, box.left + 32 : box.left + 32 + high]
            assert crop.shape == expected.shape
            assert np.abs(crop.astype(int) - expected).max() <= 1


def test_crops_to_the_reconstruction_are_square_and_hold_most_of_it(found: tuple) -> None:
    trained, seen, top, images = found
    for crop in nine_of(trained, LAYER, seen, top, CHANNEL, images, SUPPORT).reconstructions:
        assert crop.shape[0] == crop.shape[1] <= 32
        assert (np.abs(crop.astype(int) - 128).max(axis=2) > 2).any()


def test_random_maps_respond_to_something_and_come_again_with_their_seed() -> None:
    values = np.ones((40, 9), np.float32)
    values[::2] = 0
    top = TopPatches(*[np.zeros((40, 9), np.int64)] * 3, values)
    first = at_random(top, 3)
    assert first == at_random(top, 3) != at_random(top, 4)
    assert len(set(first)) == 16
    assert all(channel % 2 for channel in first)
    assert list(first) == sorted(first)
    assert len(at_random(top, 0, 100)) == 20


def test_each_block_is_where_its_place_says() -> None:
    def of_grey(level: int) -> tuple[np.ndarray, ...]:
        return (np.full((5, 5, 3), level, np.uint8),) * 9

    nines = [Nine(channel, of_grey(200 + channel), of_grey(channel)) for channel in range(5)]
    for count in (5, 7):
        drawn, boxes = sheet(nines, count), places(count)
        assert len(boxes) == 2 * count
        for cell, (left, top, wide, high) in enumerate(boxes):
            y, x = round(top * drawn.shape[0]), round(left * drawn.shape[1])
            assert (round(high * drawn.shape[0]), round(wide * drawn.shape[1])) == (BLOCK, BLOCK)
            number = cell % count
            level, alpha = ((200 if cell >= count else 0) + number, 255) if number < 5 else (0, 0)
            corner = drawn[y : y + TILE, x : x + TILE]
            assert (corner == [level, level, level, alpha]).all()
    assert sheet(nines[:0], 16).shape[:2] == (886, 1804)


def test_a_map_that_is_not_there_is_refused(found: tuple) -> None:
    trained, seen, top, images = found
    with pytest.raises(ConvscopeError, match="no map 64: conv2_relu has maps 0 to 63"):
        nine_of(trained, LAYER, seen, top, 64, images)
