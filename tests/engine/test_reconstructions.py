"""Gains and similarities of reconstructions, and true sentences on them, also where a picture is empty."""

import pytest
import torch
from torch import Tensor, nn

from engine import deconv, reconstructions, tape
from engine.deconv import Reconstruction
from engine.models import build
from engine.reconstructions import ZERO_SIGNAL, Milestone
from tests.oracles import Lambda, noise, randomised

PICTURE, OTHER, EMPTY = noise((1, 3, 4, 4), 1), noise((1, 3, 4, 4), 2), torch.zeros(1, 3, 4, 4).double()


def made(pixels: Tensor, sent: float | None = 1.0) -> Reconstruction:
    """A reconstruction with these pixels of signals of one norm; None: that of the pixels."""
    norms = pixels.flatten(1).norm(dim=1) if sent is None else torch.full((len(pixels),), sent).double()
    return Reconstruction(pixels, (), norms)


def test_cosines_are_the_median_of_those_of_the_pairs() -> None:
    first, second = noise((4, 3, 5, 5), 3), noise((4, 3, 5, 5), 4)
    alone = sorted(float(a.flatten() @ b.flatten() / (a.norm() * b.norm())) for a, b in zip(first, second, strict=True))
    assert reconstructions.cosine_similarity(made(first), made(second)) == pytest.approx((alone[1] + alone[2]) / 2)
    faint = reconstructions.cosine_similarity(made((first * 1e-30).float()), made((second * 1e-20).float()))
    assert faint == pytest.approx((alone[1] + alone[2]) / 2, rel=1e-5)


def test_sizes_in_words() -> None:
    sentence = reconstructions.sizes_in_words(
        {"one": made(PICTURE, None), "two": made(EMPTY), "three": made(EMPTY, 0.0)}
    )
    assert sentence == (
        "By the time it reached the pixels the signal - **one**: kept its size; **two**: vanished altogether; "
        "**three**: was zero from the start."
    )


def test_where_nothing_is_sent_nothing_else_is_said() -> None:
    pictures = {"one": made(EMPTY, 0.0), "two": made(EMPTY, 0.0)}
    assert reconstructions.sizes_in_words(pictures) == ZERO_SIGNAL
    assert reconstructions.contents_in_words(pictures) == ""
    assert reconstructions.additivity_in_words(pictures["one"], (pictures["one"], pictures["two"])) == ""


def test_an_empty_picture_has_no_content_to_agree_with() -> None:
    assert reconstructions.contents_in_words({"one": made(EMPTY), "two": made(PICTURE)}) == ""
    sentence = reconstructions.contents_in_words({"one": made(PICTURE), "two": made(EMPTY), "three": made(2 * PICTURE)})
    assert sentence == "Cosine similarity to one (1: the same content): three 1.00."


def test_additivity_is_said_as_it_is() -> None:
    parts = made(PICTURE), made(OTHER)
    assert reconstructions.additivity_in_words(made(PICTURE + OTHER), parts).endswith("here they do add up.")
    missed = float((PICTURE + OTHER - PICTURE).norm() / PICTURE.norm())
    assert reconstructions.additivity_in_words(made(PICTURE), parts) == (
        f"Residual plus shortcut misses the picture along both by {missed:.0%} of its size: they do not add up."
    )


def test_the_gain_at_the_pixels_is_that_of_the_picture():
    model = Lambda(lambda net, x: net.conv(torch.cat([x[:, :1], 2 * x[:, 1:2]], dim=1)), conv=nn.Conv2d(2, 4, 3))
    tape_ = tape.record(randomised(model), torch.ones(1, 3, 9, 9, dtype=torch.float64), "conv1")
    signal = deconv.all_channels(tape_.activation)
    played = deconv.reconstruct(tape_, signal)
    expected = float(played.pixels.norm() / signal.norm())
    assert reconstructions.milestones(tape_, played, tape.layers(model))[-1].gain == pytest.approx(expected, rel=1e-12)


def test_milestones_are_stem_and_block_outputs_in_the_order_of_playback():
    torch.manual_seed(3)
    resnet = randomised(build("resnet18"))
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    recorded = tape.record(resnet, image, "conv4_x")
    played = deconv.reconstruct(recorded, deconv.all_channels(recorded.activation))
    milestones = reconstructions.milestones(recorded, played, tape.layers(resnet))
    labels = [point.label for point in milestones]
    assert labels == ["conv4_x", "conv4_1", "conv3_x", "conv3_1", "conv2_x", "conv2_1", "pool1", "conv1_relu", "pixels"]
    by_node = {gain.node: float(gain.ratio[0]) for gain in played.gains}
    assert milestones[1] == Milestone("conv4_1", by_node["layer3.0.relu_1"])
    assert milestones[-1] == Milestone("pixels", float(played.gain[0]))


def test_a_curve_from_a_convolution_begins_at_one():
    model = randomised(build("lenet"))
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tape_ = tape.record(model, image, "conv3")
    played = deconv.reconstruct(tape_, deconv.all_channels(tape_.activation))
    milestones = reconstructions.milestones(tape_, played, tape.layers(model))
    assert [point.label for point in milestones] == ["conv3", "pool2", "conv2_relu", "pool1", "conv1_relu", "pixels"]
    assert milestones[0].gain == 1.0


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (52.04, "grew 52-fold"),
        (1 / 34, "shrank 34-fold"),
        (1.02, "kept its size"),
        (0.0, "vanished altogether"),
        (1.25e7, "grew 1.25 × 10⁷-fold"),
    ],
)
def test_changes_are_put_into_words(gain, words):
    assert reconstructions.change_in_words(gain) == words
