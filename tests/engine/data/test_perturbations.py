"""Disturbed images, against the same rule written out pixel by pixel."""

import math

import numpy as np
import pytest
import scipy.ndimage

from engine.data.perturbations import PERTURBATIONS, perturbed
from engine.errors import ConvscopeError


@pytest.fixture(scope="module")
def some() -> np.ndarray:
    """Five images that are not square."""
    return np.random.default_rng(0).integers(0, 256, size=(5, 14, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_every_strength_gives_images_of_the_same_kind_and_leaves_the_given_ones(kind: str, some: np.ndarray) -> None:
    before = some.copy()
    chosen = PERTURBATIONS[kind]
    for strength in np.arange(chosen.mildest, chosen.strongest + chosen.step / 2, chosen.step):
        result = perturbed(some, kind, min(float(strength), chosen.strongest))
        assert (result.shape, result.dtype) == (some.shape, np.uint8)
    assert np.array_equal(some, before)


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_one_strength_changes_nothing_and_no_images_stay_none(kind: str, some: np.ndarray) -> None:
    chosen = PERTURBATIONS[kind]
    assert np.array_equal(perturbed(some, kind, chosen.unchanged), some)
    assert not np.array_equal(perturbed(some, kind, chosen.strongest), some)
    assert perturbed(some[:0], kind, chosen.strongest).shape == some[:0].shape


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_the_strengths_on_offer_go_in_even_steps_from_the_mildest_to_the_strongest(kind: str) -> None:
    chosen = PERTURBATIONS[kind]
    assert (chosen.strengths[0], chosen.strengths[-1]) == (chosen.mildest, chosen.strongest)
    assert np.diff(chosen.strengths) == pytest.approx(chosen.step)
    assert chosen.unchanged in chosen.strengths
    assert len({f"{strength:g}" for strength in chosen.strengths}) == len(chosen.strengths)


def test_the_noise_has_the_strength_asked_for_and_comes_from_the_seed() -> None:
    grey = np.full((40, 32, 32, 3), 128, np.uint8)
    noisy = perturbed(grey, "noise", 10, seed=3)
    difference = noisy.astype(float) - 128
    assert abs(difference.mean()) < 0.1
    assert difference.std() == pytest.approx(math.sqrt(10**2 + 1 / 12), rel=0.01)  # rounding adds a little
    assert np.array_equal(noisy, perturbed(grey, "noise", 10, seed=3))
    assert not np.array_equal(noisy, perturbed(grey, "noise", 10, seed=4))


def test_stronger_noise_is_the_same_noise_enlarged() -> None:
    grey = np.full((4, 32, 32, 3), 128, np.uint8)
    weak, strong = (perturbed(grey, "noise", strength).astype(float) - 128 for strength in (5, 20))
    assert np.abs(strong - 4 * weak).max() <= 4 * 0.5 + 0.5  # both were rounded


def test_noise_stops_at_black_and_white() -> None:
    dark = np.zeros((2, 8, 8, 3), np.uint8)
    assert perturbed(dark, "noise", 40).min() == 0
    assert 0.4 < (perturbed(dark, "noise", 40) == 0).mean() < 0.6


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9, 1.3, 2.5])
def test_brightness_multiplies_each_value(strength: float, some: np.ndarray) -> None:
    expected = [min(255, max(0, round(np.float32(value) * np.float32(strength)))) for value in some.ravel().tolist()]
    assert perturbed(some, "brightness", strength).ravel().tolist() == expected


@pytest.mark.parametrize("pixels", [1, 4, 12])
def test_a_shift_repeats_the_left_edge(pixels: int, some: np.ndarray) -> None:
    shifted = perturbed(some, "shift", pixels)
    for column in range(20):
        assert np.array_equal(shifted[:, :, column], some[:, :, max(0, column - pixels)])


@pytest.mark.parametrize("sigma", [0.25, 0.75, 1.5, 3])
def test_blur_is_scipys_gaussian(sigma: float, some: np.ndarray) -> None:
    radius = math.ceil(3 * sigma)
    expected = scipy.ndimage.gaussian_filter(
        some.astype(float), (0, sigma, sigma, 0), mode="mirror", radius=(0, radius, radius, 0)
    )
    assert np.abs(perturbed(some, "blur", sigma).astype(float) - expected).max() <= 0.501


def test_blur_works_on_images_smaller_than_its_kernel() -> None:
    tiny = np.random.default_rng(1).integers(0, 256, size=(1, 3, 3, 3), dtype=np.uint8)
    assert perturbed(tiny, "blur", 3).shape == tiny.shape


@pytest.mark.parametrize(
    ("kind", "strength", "message"),
    [
        ("fog", 1, "There is no perturbation 'fog': choose one of noise, blur, brightness, shift."),
        ("noise", -1, "A noise of -1 is out of range: choose 0 to 80 grey levels."),
        ("shift", 33, "A shift of 33 is out of range: choose 0 to 12 pixels."),
        ("blur", math.nan, "A blur of nan is out of range: choose 0 to 3 pixels."),
    ],
)
def test_bad_requests_are_one_sentence(kind: str, strength: float, message: str, some: np.ndarray) -> None:
    with pytest.raises(ConvscopeError) as caught:
        perturbed(some, kind, strength)
    assert str(caught.value) == message
