"""Tensors as pictures: zero is mid-grey, the scale is symmetric, and nothing is blurred."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from engine import pictures


def test_zero_is_mid_grey_and_the_scale_is_symmetric():
    pixels = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    drawn = pictures.signed(pixels, 1.0)
    assert drawn.shape == (1, 1, 5, 3)
    assert drawn[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_without_a_usable_scale_all_is_grey(scale):
    assert (pictures.signed(torch.randn(2, 3, 4, 4), scale) == 128).all()


def test_the_scale_ignores_the_few_largest_values():
    pixels = torch.linspace(-1, 1, 3 * 100 * 100).view(1, 3, 100, 100).clone()
    pixels[0, 0, 0, 0] = 1000.0
    assert 0.99 < pictures.scale_of(pixels) < 1.01


def test_a_picture_of_few_pixels_still_has_a_scale():
    pixels = torch.zeros(1, 3, 200, 200)
    pixels[0, 0, 5, 5] = -3.0
    assert pictures.scale_of(pixels) == 3.0


@pytest.mark.parametrize("share", [0.0019, 0.0021, 0.0025, 0.01])
def test_of_a_small_patch_on_an_empty_ground_only_the_few_beyond_are_clipped(share):
    pixels = torch.zeros(3 * 200 * 200)
    inside = int(share * len(pixels))
    pixels[:inside] = torch.randn(inside, generator=torch.Generator().manual_seed(0))
    scale = pictures.scale_of(pixels.view(1, 3, 200, 200))
    assert (pixels.abs() > scale).sum() <= 0.005 * inside
    assert scale <= pixels.abs().max()


def test_an_empty_picture_has_scale_zero():
    assert pictures.scale_of(torch.zeros(1, 3, 8, 8)) == 0.0


def test_enlarging_repeats_pixels():
    images = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)
    large = pictures.enlarged(images, 7)
    assert large.shape == (2, 6, 6, 3)
    assert (large[:, ::3, ::3] == images).all()
    assert (large[:, 1::3, 2::3] == images).all()


def test_large_pictures_are_left_alone():
    images = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    assert pictures.enlarged(images, 32).shape == images.shape


def test_a_sheet_places_every_tile_and_leaves_gaps_transparent():
    tiles = np.stack([np.full((4, 4, 3), shade, dtype=np.uint8) for shade in (10, 20, 30)])
    sheet = pictures.sheet(tiles, columns=2, gap=2)
    assert sheet.shape == (10, 10, 4)
    assert sheet[0, 0].tolist() == [10, 10, 10, 255]
    assert sheet[0, 6].tolist() == [20, 20, 20, 255]
    assert sheet[6, 0].tolist() == [30, 30, 30, 255]
    assert sheet[0, 4, 3] == 0
    assert sheet[6, 6, 3] == 0


def shades(count: int, side: int = 4) -> np.ndarray:
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.full((1, side, side, 3), 20, np.uint8)


def test_a_sheet_has_a_frame_around_one_tile():
    sheet = pictures.sheet(shades(6), 3, width=300, gap=6, marked=4)
    step = (sheet.shape[0] - 6) // 2
    for index in range(6):
        row, column = index // 3 * step + step // 2, index % 3 * step + step // 2
        assert (sheet[row, column, :3] == 20 * index).all()
    frames = [tuple(sheet[6 + step - 3, column * step + step // 2, :3]) == pictures.FRAME for column in range(3)]
    assert frames == [False, True, False]


def test_tiles_are_enlarged_by_the_largest_whole_factor_that_fits():
    widths = {1: 28, 39: 28, 40: 40, 51: 40, 52: 52, 448: 448}
    assert {width: pictures.sheet(shades(6), 3, width=width).shape[1] for width in widths} == widths
    assert pictures.sheet(shades(9), width=100).shape == (100, 100, 4)
    assert pictures.sheet(shades(5), width=100).shape == (64, 100, 4)


def test_labels_stand_below_their_tiles_and_heads_above_their_columns():
    plain, labelled = (pictures.sheet(shades(5, 30), 3, gap=5, labels=labels) for labels in ((), "abcde"))
    rows = [labelled[5 + 54 * row : 5 + 54 * row + 30, 5:-5] for row in range(2)]
    assert (np.concatenate([rows[0], rows[1]]) == np.concatenate([plain[:30], plain[35:]])).all()
    assert all(labelled[40:54, left : left + 30, 3].any() for left in (5, 40, 75))
    assert labelled[94:108, 5:35, 3].any()
    assert not labelled[94:108, 75:105, 3].any()
    headed = pictures.sheet(shades(5, 30), 3, gap=5, heads=[("one", "two")] * 3)
    assert (headed[48:] == plain).all()
    assert all(headed[:48, left : left + 30, 3].any() for left in (0, 35, 70))


def test_each_picture_can_have_its_own_scale():
    noise = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    pixels = noise * torch.tensor([1, 0, 9]).view(3, 1, 1, 1)
    each = [pictures.signed(one[None], pictures.scale_of(one))[0] for one in pixels]
    assert (pictures.signed_each(pixels) == np.stack(each)).all()


def test_a_png_is_lossless():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(pictures.png(image)))) == image).all()


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.0123"), (4.56, "4.56"), (1234.0, "1,230"), (2e-7, "2.00 × 10⁻⁷"), (0, "0")]
)
def test_factors_have_three_digits(value, text):
    assert pictures.factor(value) == text


@pytest.mark.parametrize(
    ("shared", "own", "words"),
    [(34.0, 1.0, "stretched ×34"), (1.0, 1.0, "not stretched"), (1.0, 0.0, "empty: nothing arrived")],
)
def test_stretching_in_words(shared, own, words):
    assert pictures.stretch_in_words(shared, own) == words
