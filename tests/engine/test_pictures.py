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


def test_a_contact_sheet_places_every_tile_and_leaves_gaps_transparent():
    tiles = np.stack([np.full((4, 4, 3), shade, dtype=np.uint8) for shade in (10, 20, 30)])
    sheet = pictures.contact_sheet(tiles, columns=2, gap=2)
    assert sheet.shape == (10, 10, 4)
    assert sheet[0, 0].tolist() == [10, 10, 10, 255]
    assert sheet[0, 6].tolist() == [20, 20, 20, 255]
    assert sheet[6, 0].tolist() == [30, 30, 30, 255]
    assert sheet[0, 4, 3] == 0
    assert sheet[6, 6, 3] == 0


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
