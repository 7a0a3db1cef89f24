"""Moved images: exact where it can be, against plain tensor operations elsewhere."""

import pytest
import torch
from torch import Tensor, nn

from engine import tape
from engine.errors import ConvscopeError
from engine.invariance import KINDS, curve, moved
from tests.oracles import assert_same, images, network, noise, randomised


@pytest.fixture(scope="module")
def circular() -> nn.Module:
    """Convolutions on a torus, averaged over all places."""
    torch.manual_seed(0)
    ways = {"padding": 1, "padding_mode": "circular"}
    convolutions = (nn.Conv2d(3, 5, 3, **ways), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 7, 3, **ways), nn.ReLU())
    return randomised(nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 4)))


def test_shifts_are_invisible_to_averages_of_circular_convolutions(circular: nn.Module) -> None:
    image = noise((1, 3, 12, 12))
    found = curve(circular, image, "shift", [-5, 0, 1, 4, 12], ["conv1", "conv2_relu", "5", "7"])
    assert found.distances.shape == (4, 5)
    assert found.distances[2:].max() < 1e-14
    assert_same(found.logits, circular(image).expand(5, -1))
    features = tape.features(circular, image, "conv1")
    by_hand = (features.roll(4, 3) - features).norm() / features.norm()
    assert float(found.distances[0, 3]) == pytest.approx(float(by_hand), rel=1e-12)
    assert found.distances[:, 1].max() < 1e-14  # alone and among others an image's sums may be rounded differently


def test_periodic_images_do_not_change_at_all_when_shifted_by_their_period(circular: nn.Module) -> None:
    image = noise((1, 3, 12, 4)).repeat(1, 1, 1, 3)
    found = curve(circular, image, "shift", [4, 8, -4, 2], ["conv1", "conv2_relu"])
    assert found.distances[:, :3].eq(0).all()
    assert (found.distances[:, 3] > 0.1).all()


def test_distances_and_probabilities_are_those_of_the_moved_images_one_by_one() -> None:
    model, image = network("app:model_two"), images("app:model_two")
    amounts, layers = [-30.0, 0.0, 17.0, 90.0] * 3, ["conv1", "conv3_relu"]
    found = curve(model, image, "rotate", amounts, layers)
    for index, amount in enumerate(amounts[:4]):
        turned = moved(image, "rotate", amount)
        for row, layer in enumerate(layers):
            still, now = (tape.features(model, x, layer) for x in (image, turned))
            expected = float(((now - still) ** 2).sum().sqrt() / (still**2).sum().sqrt())
            assert float(found.distances[row, index]) == pytest.approx(expected, rel=1e-10)
        assert float(found.probability(2)[index]) == pytest.approx(float(model(turned).softmax(1)[0, 2]), rel=1e-10)
    assert_same(found.distances[:, 4:8], found.distances[:, :4])


def test_a_layer_that_does_not_respond_to_the_image_itself_has_no_distance() -> None:
    convolution = nn.Conv2d(3, 2, 1).requires_grad_(False)
    convolution.weight[:] = -1  # responds to black alone, which comes in at the rim
    convolution.bias[:] = 0.5
    model = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    found = curve(model, torch.ones(1, 3, 8, 8), "scale", [1, 0.5], ["conv1", "conv1_relu"])
    assert found.distances.isnan().tolist() == [[False, False], [True, True]]


def test_quarter_turns_and_halves_are_exact() -> None:
    image = noise((1, 3, 8, 8))
    for quarter in (1, 2, 3, -1):
        assert torch.allclose(moved(image, "rotate", 90 * quarter), image.rot90(quarter, (2, 3)), atol=1e-6)
    large = moved(image, "scale", 2)
    # Twice as large, about the middle: the middle pixels' colours lie half a pixel from the middle, now a whole one.
    middle = image[..., 3:5, 3:5]
    between = 0.75 * 0.75 * middle[..., 0, 0] + 0.75 * 0.25 * (middle[..., 0, 1] + middle[..., 1, 0])
    assert torch.allclose(large[..., 3, 3], between + 0.25 * 0.25 * middle[..., 1, 1], atol=1e-6)
    small = moved(torch.ones(1, 3, 8, 8), "scale", 0.5)
    assert small[..., 2:6, 2:6].eq(1).all()
    assert small[..., :1, :].eq(0).all()
    assert torch.equal(moved(image, "shift", 3)[..., 3:], image[..., :-3])
    for kind, chosen in KINDS.items():
        assert moved(image, kind, chosen.unchanged) is image


@pytest.mark.parametrize(
    ("kind", "amounts", "message"),
    [
        ("melt", [1], "cannot be moved by 'melt'"),
        ("shift", [0.5], "whole pixels"),
        ("scale", [0], "positive number"),
        ("rotate", [float("inf")], "give a number"),
        ("rotate", [], "nothing to compare"),
    ],
)
def test_what_does_not_fit_is_refused(circular: nn.Module, kind: str, amounts: list[float], message: str) -> None:
    with pytest.raises(ConvscopeError, match=message):
        curve(circular, noise((1, 3, 12, 12)), kind, amounts, ["conv1"])


def test_several_images_are_refused(circular: nn.Module) -> None:
    several: Tensor = noise((2, 3, 12, 12))
    with pytest.raises(ConvscopeError, match="One image"):
        curve(circular, several, "shift", [1], ["conv1"])
