"""Occlusion against brute force, one square at a time, and against Captum's."""

from collections.abc import Sequence

import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor, nn

from engine.errors import ConvscopeError
from engine.occlusion import FIRST, occlude, occlude_in_steps, squares
from engine.tape import features
from tests.oracles import assert_same, noise, randomised, relative_error


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return randomised(nn.Sequential(*layers, nn.Linear(6, 4)))


def by_hand(model: nn.Module, image: Tensor, patch: int, stride: int, fill: float | Sequence[float]) -> Tensor:
    """Pixel by pixel: what is inside the square is filled."""
    height, width = image.shape[2:]
    colours = [fill] * 3 if isinstance(fill, float) else list(fill)
    answers = []
    for top in range(0, height, stride):
        for left in range(0, width, stride):
            hidden = image.clone()
            for row in range(top, min(top + patch, height)):
                for column in range(left, min(left + patch, width)):
                    for channel in range(3):
                        hidden[0, channel, row, column] = colours[channel]
            answers.append(model(hidden)[0])
    return torch.stack(answers)


@pytest.mark.parametrize(
    ("patch", "stride", "fill"), [(3, 2, 0.0), (5, 4, 0.7), (1, 5, (0.1, -2.0, 3.0)), (14, 14, 0.0)]
)
def test_each_square_is_hidden_as_by_hand(
    model: nn.Module, patch: int, stride: int, fill: float | Sequence[float]
) -> None:
    image = noise((1, 3, 14, 11))
    before = image.clone()
    found = occlude(model, image, patch=patch, stride=stride, fill=fill)
    rows, columns = -(-14 // stride), -(-11 // stride)
    assert found.logits.shape == (rows, columns, 4)
    assert_same(found.logits.flatten(0, 1), by_hand(model, image, patch, stride, fill))
    assert found.boxes[-1, -1].tolist() == [
        (rows - 1) * stride,
        (columns - 1) * stride,
        min((rows - 1) * stride + patch, 14),
        min((columns - 1) * stride + patch, 11),
    ]
    assert torch.equal(image, before)
    assert found.squares == found.done == rows * columns


@pytest.mark.parametrize("patch", [4, 5])
def test_the_drop_of_a_logit_is_captums(model: nn.Module, patch: int) -> None:
    image, label = noise((1, 3, 12, 12)), 2
    found = occlude(model, image, patch=patch, stride=patch)
    drop = model(image)[0, label] - found.logits[..., label]
    expected = CaptumOcclusion(model).attribute(
        image, sliding_window_shapes=(3, patch, patch), strides=(3, patch, patch), target=label
    )
    # Captum sums in single precision.
    assert relative_error(found.over_pixels(drop).expand(3, -1, -1), expected[0]) < 1e-6


def test_over_pixels_is_the_mean_of_the_squares_that_hide_a_pixel(model: nn.Module) -> None:
    found = occlude(model, noise((1, 3, 7, 9)), patch=3, stride=2)
    values = noise(found.boxes.shape[:2])
    heat = found.over_pixels(values)
    for row, column in ((0, 0), (2, 4), (6, 8), (3, 3)):
        inside = [
            float(value)
            for value, (top, left, bottom, right) in zip(values.flatten(), found.boxes.flatten(0, 1), strict=True)
            if top <= row < bottom and left <= column < right
        ]
        assert float(heat[row, column]) == pytest.approx(sum(inside) / len(inside))
    assert heat.shape == (7, 9)
    apart = occlude(model, noise((1, 3, 7, 7)), patch=1, stride=3)
    assert apart.over_pixels(apart.probability(0)).isnan().sum() == 49 - 9


def test_over_pixels_has_the_images_size_where_no_square_reaches_its_far_borders(model: nn.Module) -> None:
    found = occlude(model, noise((1, 3, 8, 9)), patch=1, stride=5)
    heat = found.over_pixels(found.probability(0))
    assert heat.shape == (8, 9)
    assert (~heat.isnan()).nonzero().tolist() == [[0, 0], [0, 5], [5, 0], [5, 5]]


def test_the_activity_is_the_sum_of_the_chosen_map(model: nn.Module) -> None:
    image = noise((1, 3, 10, 10))
    found = occlude(model, image, patch=4, stride=5, unit_map=("conv1_relu", 3))
    hidden = image.clone()
    hidden[..., 5:9, 0:4] = 0
    expected = features(model, hidden, "conv1_relu")[0, 3].sum()
    assert float(found.activity[1, 0]) == pytest.approx(float(expected), rel=1e-12)
    assert occlude(model, image, patch=4, stride=5).activity is None


def test_the_first_squares_are_there_before_the_others(model: nn.Module) -> None:
    image = noise((1, 3, 12, 12))
    steps = list(occlude_in_steps(model, image, patch=2, stride=1))
    assert [step.done for step in steps] == [FIRST, FIRST + 48, FIRST + 96, 144]
    whole = occlude(model, image, patch=2, stride=1)
    for step in steps:
        flat, finished = step.logits.flatten(0, 1), whole.logits.flatten(0, 1)
        assert_same(flat[: step.done], finished[: step.done])
        assert flat[step.done :].isnan().all()
        predicted = step.predicted().flatten()
        assert torch.equal(predicted[: step.done], finished[: step.done].argmax(1))
        assert (predicted[step.done :] == -1).all()
    assert_same(whole.probability(1).flatten(), finished.softmax(1)[:, 1])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 3, 8, 8), {}, "one image, not 2"),
        ((1, 3, 8, 8), {"patch": 0}, "A square of 0 px"),
        ((1, 3, 8, 8), {"stride": 9}, "A stride of 9 px does not fit an image of 8 px"),
        ((1, 3, 8, 8), {"fill": (0.0, 1.0)}, "one number, or with one for each colour"),
        ((1, 3, 8, 8), {"fill": float("nan")}, "one number"),
        ((1, 3, 8, 8), {"unit_map": ("conv1_relu", 6)}, "no channel 6: conv1_relu has channels 0 to 5"),
        ((1, 3, 8, 8), {"unit_map": ("nowhere", 0)}, "no layer 'nowhere'"),
        ((1, 4, 8, 8), {}, "shape"),
    ],
)
def test_what_does_not_fit_is_refused(model: nn.Module, shape: tuple[int, ...], options: dict, message: str) -> None:
    with pytest.raises(ConvscopeError, match=message):
        occlude(model, noise(shape), **{"patch": 2, "stride": 2, **options})


def test_squares_are_clipped_at_the_far_borders() -> None:
    assert squares(4, 5, 3, 3).tolist() == [[[0, 0, 3, 3], [0, 3, 3, 5]], [[3, 0, 4, 3], [3, 3, 4, 5]]]
