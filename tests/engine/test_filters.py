"""Kernels in words and pictures: synthetic filters of known preference, slow twins, and the shipped snapshots."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from engine import checkpoints, filters
from engine.errors import ConvscopeError
from engine.filters import words as filter_words
from tests.oracles import Lambda, network, randomised

GREY, RED, GREEN = (1, 1, 1), (1, 0, 0), (0, 1, 0)


def gabor(side, orientation, period, phase, colour, spread=0.35):
    """A wave under a bell: stripes at `orientation` degrees (0 horizontal, 45 rising), built pixel by pixel."""
    kernel = torch.zeros(3, side, side, dtype=torch.float64)
    angle = math.radians(orientation)
    for row in range(side):
        for column in range(side):
            x, y = column - (side - 1) / 2, (side - 1) / 2 - row
            across = -math.sin(angle) * x + math.cos(angle) * y
            bell = math.exp(-(x * x + y * y) / (2 * (spread * side) ** 2))
            for c in range(3):
                kernel[c, row, column] = colour[c] * bell * math.cos(2 * math.pi * across / period - phase)
    return kernel


def words_of(kernel):
    return filters.describe(kernel[None])[0]


# Words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [5, 7, 11])
@pytest.mark.parametrize(
    ("orientation", "name"), [(0, "horizontal"), (45, "rising"), (90, "vertical"), (135, "falling")]
)
@pytest.mark.parametrize(
    ("colour", "called"),
    [(GREY, "black-and-white"), (GREEN, "green"), ((1, -1, 0), "red-green"), ((1, 1, -1), "yellow-blue")],
)
def test_edges_of_known_orientation_and_colour(side, orientation, name, colour, called):
    words = words_of(gabor(side, orientation, 1.6 * side, math.pi / 2, colour))
    assert words.text == f"{name} {called} edges"
    assert abs((words.orientation - orientation + 90) % 180 - 90) <= 5


def test_the_reports_green_horizontal_kernel():
    rows = torch.tensor([-1.0, -1, 0, 1, 1, 0, 0], dtype=torch.float64)
    kernel = torch.zeros(3, 7, 7, dtype=torch.float64)
    kernel[1] = rows[:, None]
    assert words_of(kernel).text.startswith("horizontal green")


@pytest.mark.parametrize("orientation", [10, 30, 75, 100, 165])
@pytest.mark.parametrize("period", [2.8, 3.5])
@pytest.mark.parametrize("phase", [0.0, 1.0, 2.5])
def test_stripes_of_known_orientation_and_frequency(orientation, period, phase):
    kernel = gabor(9, orientation, period, phase, GREY)
    words = words_of(kernel - kernel.mean(dim=(1, 2), keepdim=True))
    assert words.kind == "stripes"
    assert abs((words.orientation - orientation + 90) % 180 - 90) <= 5
    assert words.period == pytest.approx(period, rel=0.1)


def test_a_line_has_its_crest_in_the_middle_and_an_edge_changes_sign_there():
    assert words_of(gabor(7, 0, 6, 0.0, GREY)).kind == "lines"
    assert words_of(gabor(7, 0, 6, math.pi, GREY)).kind == "lines"
    assert words_of(gabor(7, 0, 9, math.pi / 2, GREY)).kind == "edges"


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        (GREY, "bright"),
        ((-1, -1, -1), "dark"),
        (RED, "red"),
        ((-1, -1, 1), "blue"),
        ((1, 1, -1), "yellow"),
        ((-1, 1, -1), "green"),
        ((1, -1, 1), "magenta"),
        ((-1, 1, 1), "cyan"),
    ],
)
@pytest.mark.parametrize("side", [3, 5, 7])
def test_flat_areas_of_known_colour(colour, name, side):
    kernel = torch.tensor(colour, dtype=torch.float64)[:, None, None].expand(3, side, side)
    words = words_of(kernel)
    assert words.text == f"flat {name} areas"
    assert words.explained == pytest.approx(1)
    assert words.orientation is None


def test_a_spot_with_its_surround_has_no_orientation():
    place = torch.arange(9, dtype=torch.float64) - 4
    squared = place[:, None] ** 2 + place[None, :] ** 2
    spot = torch.exp(-squared / 4) - 0.25 * torch.exp(-squared / 16)
    kernel = torch.stack([spot, spot, spot])
    words = words_of(kernel - kernel.mean())
    assert words.text == "black-and-white spots, no clear orientation"


@pytest.mark.parametrize("side", [3, 5, 7])
def test_noise_has_no_clear_orientation(side):
    noise = torch.randn(200, 3, side, side, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    unclear = sum(words.text == "no clear orientation" for words in filters.describe(noise))
    assert 180 <= unclear <= 199


def test_a_filter_of_zeros_has_no_words_and_no_warning():
    words = words_of(torch.zeros(3, 5, 5))
    assert words.text == "no clear orientation"
    assert words.explained == 0


def test_scale_does_not_change_the_words():
    kernels = torch.stack([gabor(7, 30, 9, 1.2, GREEN), gabor(7, 100, 3, 0.3, RED)])
    texts = [[words.text for words in filters.describe(kernels * factor)] for factor in (1e-4, 1, 1e4)]
    assert texts[0] == texts[1] == texts[2]


def test_a_quarter_turn_of_the_kernel_turns_the_orientation():
    kernel = gabor(7, 20, 7, 1.4, GREEN)
    turned = torch.rot90(kernel, 1, dims=(1, 2))
    assert (words_of(turned).orientation - words_of(kernel).orientation) % 180 == pytest.approx(90)


@pytest.mark.parametrize(
    ("degrees", "name"), [(22, "horizontal"), (23, "rising"), (158, "horizontal"), (157, "falling")]
)
def test_orientations_are_named_by_the_nearest(degrees, name):
    assert filter_words.orientation_in_words(degrees) == name


# Responses, against gratings that are really shown ----------------------------------------------------------------


def test_responses_are_the_largest_answers_to_gratings_that_are_shown():
    kernel = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    kernel -= kernel.mean(dim=(1, 2), keepdim=True)
    tuned = filters.tuning(kernel[None])
    place = torch.arange(5, dtype=torch.float64) - 2
    for f, d in ((3, 0), (10, 7), (20, 30)):
        frequency = tuned.gratings.frequencies[f]
        angle = math.radians(tuned.gratings.directions[d])
        along = place[None, :] * math.cos(angle) + place[:, None] * math.sin(angle)
        answers = []
        for phase in torch.linspace(0, math.pi, 181, dtype=torch.float64):
            wave = torch.cos(2 * math.pi * frequency * along - phase)
            answers.append(float((kernel * wave).sum(dim=(1, 2)).norm()))
        assert float(tuned.responses[0, f, d]) == pytest.approx(max(answers), rel=1e-3)


def test_the_share_is_what_least_squares_with_the_preferred_grating_explains():
    kernel = gabor(7, 40, 5, 1.0, (0.2, 1, -0.3)) + 0.1
    tuned = filters.tuning(kernel[None])
    place = torch.arange(7, dtype=torch.float64) - 3
    angle = math.radians(float(tuned.direction[0]))
    along = place[None, :] * math.cos(angle) + place[:, None] * math.sin(angle)
    phase = 2 * math.pi * float(tuned.frequency[0]) * along
    waves = torch.stack([torch.cos(phase).flatten(), torch.sin(phase).flatten()], dim=1)
    without_mean = waves - waves.mean(dim=0)
    pattern = (kernel - kernel.mean(dim=(1, 2), keepdim=True)).flatten(1)
    fitted = without_mean @ torch.linalg.lstsq(without_mean, pattern.T).solution
    best = torch.linalg.svdvals(fitted)[0] ** 2
    assert float(tuned.share[0]) == pytest.approx(float(best / kernel.square().sum()), rel=1e-9)
    left = torch.linalg.svd(pattern @ waves).U[:, 0]
    assert abs(float(left @ tuned.colour[0])) == pytest.approx(1)


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("across", [False, True])
def test_a_wave_that_is_zero_but_for_rounding_explains_nothing(side, across):
    place = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    one_in_two = torch.cos(math.pi * place)
    row = one_in_two * (1 + place / side)  # the second part has the shape of sin(pi x) as it is rounded
    pattern = row[:, None].expand(side, side) if across else row.expand(side, side)
    pattern = pattern - pattern.mean()
    tuned = filters.tuning(pattern.expand(1, 3, side, side))
    assert float(tuned.frequency[0]) == 0.5
    assert float(tuned.direction[0]) == (90 if across else 0)
    wave = one_in_two - one_in_two.mean()
    expected = (pattern[:, 0] if across else pattern[0]) @ wave / wave.norm()
    assert float(tuned.share[0]) == pytest.approx(float(expected**2 * side / pattern.square().sum()))
    assert float(tuned.share[0]) < 0.97


def test_flat_share_is_the_energy_of_the_mean():
    kernel = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.3
    mean = kernel.mean(dim=(2, 3), keepdim=True).expand_as(kernel)
    expected = mean.square().sum(dim=(1, 2, 3)) / kernel.square().sum(dim=(1, 2, 3))
    assert torch.allclose(filters.tuning(kernel).flat_share, expected)


def test_selectivity_is_low_for_all_directions_and_high_for_one():
    place = torch.arange(11, dtype=torch.float64) - 5
    ring = torch.cos(2 * torch.hypot(place[:, None], place[None, :]).clamp(max=5))
    round_, striped = ring.expand(3, -1, -1), gabor(11, 0, 4, 0, GREY)
    low, high = filters.tuning(torch.stack([round_, striped])).selectivity
    assert low < 0.1
    assert high > 0.7


def test_kernels_that_are_not_square_or_not_in_colour_are_refused():
    with pytest.raises(ConvscopeError, match="square kernels"):
        filters.tuning(torch.zeros(2, 3, 3, 5))
    with pytest.raises(ConvscopeError, match="square kernels"):
        filters.tuning(torch.zeros(2, 3, 1, 1))
    with pytest.raises(ConvscopeError, match="first layer"):
        filters.describe(torch.zeros(2, 4, 3, 3))


# Pictures and snapshots -------------------------------------------------------------------------------------------


def test_what_is_shown_of_a_colour_kernel():
    kernels = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(filters.in_form(kernels, "RGB"), kernels)
    for channel, name in enumerate(("red", "green", "blue")):
        alone = filters.in_form(kernels, name)
        assert torch.equal(alone[:, channel], kernels[:, channel])
        assert float(alone.abs().sum()) == pytest.approx(float(kernels[:, channel].abs().sum()))
    grey = filters.in_form(kernels, "grey")
    assert torch.allclose(grey[:, 0], kernels.mean(1))
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_a_deep_kernel_is_one_grey_picture_per_input_channel():
    kernel = torch.randn(6, 3, 3)
    shown = filters.as_grey(kernel)
    assert shown.shape == (6, 3, 3, 3)
    assert all(torch.equal(shown[:, c], kernel) for c in range(3))


def test_all_convolutions_in_order_and_their_kernels():
    model = network("app:resnet18")
    names = filters.convolutions(model)
    assert len(names) == 20
    assert names[:3] == ("conv1", "layer1.0.conv1", "layer1.0.conv2")
    assert filters.kernels(model, "layer2.0.downsample.0").shape == (128, 64, 1, 1)
    assert torch.equal(filters.kernels(network("app:lenet"), "conv2"), network("app:lenet").features[3].weight)


@pytest.mark.parametrize(("outputs", "groups"), [(8, 1), (8, 2), (12, 4), (8, 8)])
def test_a_kernel_reads_the_maps_of_its_group(outputs, groups):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, outputs, 3, groups=groups)).eval()
    maps = torch.rand(1, 8, 3, 3, requires_grad=True)
    for output in range(outputs):
        (gradient,) = torch.autograd.grad(model[1](maps)[0, output].sum(), maps)
        read = gradient[0].flatten(1).any(dim=1).nonzero().flatten().tolist()
        assert list(filters.maps_read(model, "1", output)) == read


def test_what_is_no_convolution_has_no_kernels():
    with pytest.raises(ConvscopeError, match="no convolution"):
        filters.kernels(network("app:lenet"), "pool1")
    model = randomised(Lambda(lambda self, x: self.conv(x), conv=nn.ConvTranspose2d(3, 4, 3)))
    with pytest.raises(ConvscopeError, match="no convolution"):
        filters.kernels(model, "conv1")


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_the_shipped_snapshots_end_with_the_networks_own_kernels(name):
    kept = filters.snapshots(name)
    trained = checkpoints.load(name)
    own = filters.kernels(trained.model, "conv1")
    assert kept.epochs[0] == 0
    assert kept.epochs[kept.halfway] == trained.card.epochs // 2
    last = kept.epochs.index(trained.card.best_epoch)
    assert torch.allclose(kept.kernels[last], own.float(), atol=2e-3)


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_training_gives_filters_a_pattern(name):
    kept = filters.snapshots(name)
    before, after = (
        sum(words.kind == filter_words.NO_PATTERN for words in filters.describe(kept.kernels[index]))
        for index in (0, -1)
    )
    assert before > 0.8 * kept.kernels.shape[1]
    assert after < 0.2 * kept.kernels.shape[1]


@pytest.mark.parametrize("content", [None, b"no archive", "kernels of a wrong shape", "an entry missing"])
def test_missing_and_damaged_snapshots_are_told_in_one_sentence(tmp_path, content):
    (tmp_path / "net").mkdir()
    path = tmp_path / "net" / "filters.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None and "shape" in content:
        np.savez(path, filters=np.zeros((2, 4, 3, 5)), epochs=np.arange(2))
    elif content is not None:
        np.savez(path, filters=np.zeros((2, 4, 3, 5, 5)))
    with pytest.raises(ConvscopeError, match=r"filters.npz of the checkpoint 'net'"):
        filters.snapshots("net", tmp_path)
