"""Sentences on several reconstructions: true ones, also where a picture is empty."""

import pytest
import torch
from torch import Tensor

from engine import contrast
from engine.batch_norm import NOTHING_SENT
from engine.deconv import Reconstruction
from tests.oracles import noise

PICTURE, OTHER, EMPTY = noise((1, 3, 4, 4), 1), noise((1, 3, 4, 4), 2), torch.zeros(1, 3, 4, 4).double()


def made(pixels: Tensor, sent: float | None = 1.0) -> Reconstruction:
    """A reconstruction with these pixels of signals of one norm; None: that of the pixels."""
    norms = pixels.flatten(1).norm(dim=1) if sent is None else torch.full((len(pixels),), sent).double()
    return Reconstruction(pixels, (), norms)


def test_cosines_are_the_median_of_those_of_the_pairs() -> None:
    first, second = noise((4, 3, 5, 5), 3), noise((4, 3, 5, 5), 4)
    alone = sorted(float(a.flatten() @ b.flatten() / (a.norm() * b.norm())) for a, b in zip(first, second, strict=True))
    assert contrast.cosine(made(first), made(second)) == pytest.approx((alone[1] + alone[2]) / 2)
    faint = contrast.cosine(made((first * 1e-30).float()), made((second * 1e-20).float()))
    assert faint == pytest.approx((alone[1] + alone[2]) / 2, rel=1e-5)


def test_sizes_in_words() -> None:
    sentence = contrast.sizes_in_words({"one": made(PICTURE, None), "two": made(EMPTY), "three": made(EMPTY, 0.0)})
    assert sentence == (
        "By the time it reached the pixels the signal - **one**: kept its size; **two**: vanished altogether; "
        "**three**: was zero from the start."
    )


def test_where_nothing_is_sent_nothing_else_is_said() -> None:
    pictures = {"one": made(EMPTY, 0.0), "two": made(EMPTY, 0.0)}
    assert contrast.sizes_in_words(pictures) == NOTHING_SENT
    assert contrast.contents_in_words(pictures) == ""
    assert contrast.additivity_in_words(pictures["one"], (pictures["one"], pictures["two"])) == ""


def test_an_empty_picture_has_no_content_to_agree_with() -> None:
    assert contrast.contents_in_words({"one": made(EMPTY), "two": made(PICTURE)}) == ""
    sentence = contrast.contents_in_words({"one": made(PICTURE), "two": made(EMPTY), "three": made(2 * PICTURE)})
    assert sentence == "Agreement with one (cosine, 1 is the same content): three 1.00."


def test_additivity_is_said_as_it_is() -> None:
    parts = made(PICTURE), made(OTHER)
    assert contrast.additivity_in_words(made(PICTURE + OTHER), parts).endswith("here they do add up.")
    missed = float((PICTURE + OTHER - PICTURE).norm() / PICTURE.norm())
    assert contrast.additivity_in_words(made(PICTURE), parts) == (
        f"Residual plus shortcut misses the picture along both by {missed:.0%} of its size: they do not add up."
    )
