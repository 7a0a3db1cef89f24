"""Activation maximisation against what must hold: its own filter, slow twins, and a model that nobody has touched."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine import tape
from engine.errors import ConvscopeError
from engine.graph import trace
from engine.maximization import OBJECTIVES, PRESETS, AscentStep, Plain, fourier, maximize
from engine.maximization.fourier import Canvas, Fourier, Movement
from engine.objectives import excitation
from tests.oracles import SIZES, Lambda, fingerprint, network, noise, randomised

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def canvas(size: int) -> Canvas:
    return Canvas(size, MEAN, STD)


def small() -> nn.Module:
    """Two convolutions with batch norm, a pooling and a dense layer: every kind of layer, in little time."""
    torch.manual_seed(3)
    parts = {
        "conv1": nn.Conv2d(3, 6, 3, padding=1),
        "bn1": nn.BatchNorm2d(6),
        "conv2": nn.Conv2d(6, 8, 3, padding=1),
        "bn2": nn.BatchNorm2d(8),
        "dense": nn.Linear(8 * 6 * 6, 5),
    }

    def forward(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(net.bn1(net.conv1(x))), 2)
        return net.dense(torch.flatten(F.relu(net.bn2(net.conv2(x))), 1))

    return randomised(Lambda(forward, **parts))


def last(steps) -> AscentStep:
    return list(steps)[-1]


# The objective and the ascent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", [0, 5])
def test_a_linear_unit_in_a_ball_becomes_its_own_filter(channel):
    model = network("app:resnet18")
    found = last(
        maximize(model, "conv1", [channel], canvas=canvas(33), preset=Plain(), objective="centre unit", steps=220)
    )
    expected = torch.zeros(3, 33, 33, dtype=torch.float64)
    row = 2 * (17 // 2) - 3  # stride 2, padding 3: where the window of unit 8 of 17 begins
    expected[:, row : row + 7, row : row + 7] = model.conv1.weight[channel]
    cosine = F.cosine_similarity(found.images[0].flatten(), expected.flatten(), dim=0)
    assert abs(float(cosine) - 1) < 1e-6
    assert float(found.images.norm()) == pytest.approx(math.sqrt(3 * 33 * 33))


def test_excitation_is_what_its_name_says():
    maps = noise((2, 3, 4, 5))
    assert torch.equal(excitation(maps, "centre unit"), maps[:, :, 2, 2])
    slow = [[sum(max(float(v), 0) for v in maps[n, c].flatten()) / 20 for c in range(3)] for n in range(2)]
    assert torch.allclose(excitation(maps, "whole map"), torch.tensor(slow, dtype=torch.float64))
    assert torch.equal(excitation(maps[:, :, 0, 0], "whole map"), maps[:, :, 0, 0])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("layer", ["conv1", "conv1_relu", "pool1", "conv2_relu", "dense"])
def test_every_activation_ends_above_its_start_and_is_that_of_its_picture(preset, objective, layer):
    model = small()
    how = {"canvas": canvas(12), "preset": PRESETS[preset], "objective": objective, "steps": 24}
    steps = list(maximize(model, layer, range(5), **how))
    assert (steps[-1].activations > steps[0].activations).all()
    for before, after in itertools.pairwise(steps):
        assert (after.activations >= before.activations).all()
    again = excitation(tape.features(model, steps[-1].images, layer), objective)
    assert torch.allclose(again[range(5), range(5)], steps[-1].activations)


@pytest.mark.parametrize(
    "name", ["app:lenet", "app:model_two", "app:resnet18_strided", "googlenet", "mobilenet_v3_small", "efficientnet_b0"]
)
def test_it_works_on_the_networks_of_the_app_and_of_torchvision(name):
    model = network(name)
    steps = list(maximize(model, tape.logits(model), [1, 7], canvas=canvas(SIZES[name]), preset=Plain(), steps=2))
    assert (steps[-1].activations > steps[0].activations).all()


def test_a_layer_at_another_size_than_the_networks_own():
    model = network("app:resnet18")
    for size in (40, 96):
        found = last(maximize(model, "conv3_x", [3], canvas=canvas(size), steps=2))
        assert found.images.shape == (1, 3, size, size)


def test_a_silent_relu_is_woken():
    model = small()
    model.bn1.bias[2] = -4.0
    steps = list(maximize(model, "conv1_relu", [2], canvas=canvas(12), preset=Plain(start=1e-6, contrast=4), steps=60))
    assert float(steps[0].activations) == 0
    assert float(steps[-1].activations) > 0


def test_a_channel_that_can_never_be_excited_stays_at_zero_without_an_error():
    model = small()
    model.bn1.bias[2] = -1e6
    found = last(maximize(model, "pool1", [2], canvas=canvas(12), steps=9))
    assert float(found.activations) == 0
    assert found.images.isfinite().all()


def test_a_batch_gives_what_single_runs_give():
    model = small()
    for preset in PRESETS.values():
        together = last(maximize(model, "conv2_relu", [0, 3, 6], canvas=canvas(12), preset=preset, steps=10))
        for index, channel in enumerate((0, 3, 6)):
            alone = last(maximize(model, "conv2_relu", [channel], canvas=canvas(12), preset=preset, steps=10))
            assert torch.allclose(together.images[index], alone.images[0], atol=1e-8)


def test_groups_that_go_through_the_network_one_after_the_other_change_nothing(monkeypatch):
    model = small()
    whole = last(maximize(model, "conv2_relu", range(7), canvas=canvas(12), steps=6))
    monkeypatch.setattr("engine.maximization._PIXELS_AT_ONCE", 2 * 12 * 12)
    assert torch.allclose(
        last(maximize(model, "conv2_relu", range(7), canvas=canvas(12), steps=6)).images, whole.images
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_seed_gives_the_same_pictures_again_and_another_seed_others(preset):
    def run(seed: int) -> torch.Tensor:
        how = {"canvas": canvas(12), "preset": PRESETS[preset], "steps": 5, "seed": seed}
        return last(maximize(small(), "conv2_relu", [1], **how)).images

    assert torch.equal(run(4), run(4))
    assert not torch.allclose(run(4), run(5), atol=1e-3)


def test_the_steps_that_are_given():
    numbers = [step.number for step in maximize(small(), "conv1", [0], canvas=canvas(12), steps=21)]
    assert numbers == [0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 21]


def breaking_after(calls: int, value: float | None = None) -> nn.Module:
    model = small()
    convolution = model.conv2

    class Broken(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Broken.calls += 1
            if Broken.calls <= calls:
                return super().forward(x)
            if value is None:
                raise KeyError("broken")
            return super().forward(x) * value

    Broken.calls = 0
    broken = Broken(6, 8, 3, padding=1).double().eval().requires_grad_(False)
    broken.load_state_dict(convolution.state_dict())
    Broken.__module__ = "torch.nn.modules.conv"  # so that the tracer does not look into it
    model.conv2 = broken
    if calls:  # the graph and its check call it too: they are not counted
        Broken.calls = -1000
        trace(model)
        Broken.calls = 0
    return model


def test_the_model_is_as_it_was_also_after_an_exception_and_a_stop():
    model = breaking_after(9)
    before = fingerprint(model)
    ascent = maximize(model, "conv2_relu", range(4), canvas=canvas(12))
    with pytest.raises(KeyError, match="broken"):
        list(ascent)
    assert fingerprint(model) == before
    stopped = maximize(small(), "conv2_relu", range(4), canvas=canvas(12))
    next(stopped)
    stopped.close()
    whole = small()
    before = fingerprint(whole)
    last(maximize(whole, "conv2_relu", range(4), canvas=canvas(12), steps=3))
    assert fingerprint(whole) == before


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_not_a_number_never_reaches_a_picture(preset):
    for step in maximize(
        breaking_after(6, math.nan), "conv2_relu", range(4), canvas=canvas(12), preset=PRESETS[preset], steps=12
    ):
        assert step.images.isfinite().all()
        assert step.activations.isfinite().all()


def test_a_network_whose_answer_is_no_number_is_refused():
    with pytest.raises(ConvscopeError, match="its weights are damaged"):
        next(maximize(breaking_after(0, math.nan), "conv2_relu", [0], canvas=canvas(12)))


@pytest.mark.parametrize(
    ("layer", "channels", "objective", "words"),
    [
        ("conv9", [0], "whole map", "no layer 'conv9'"),
        ("conv1", [6], "whole map", "has channels 0 to 5"),
        ("conv1", [-1], "whole map", "has channels 0 to 5"),
        ("conv1", [], "whole map", "No channel is chosen"),
        ("conv1", [0], "loudest", "no objective 'loudest'"),
    ],
)
def test_bad_requests_are_named(layer, channels, objective, words):
    with pytest.raises(ConvscopeError, match=words):
        next(maximize(small(), layer, channels, canvas=canvas(12), objective=objective))


# Waves, colours, movements -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 9])
def test_every_picture_is_a_sum_of_waves(size):
    pictures = noise((2, 3, size, size))
    spectrum = torch.fft.rfft2(pictures, norm="ortho") / fourier.amplitudes(size, 1.5)
    assert torch.allclose(fourier.from_waves(torch.view_as_real(spectrum), size, 1.5), pictures, atol=1e-12)


@pytest.mark.parametrize("size", [6, 7])
def test_waves_are_the_inverse_fourier_transform_with_amplitudes_that_fall(size):
    waves = noise((1, 1, size, size // 2 + 1, 2))
    spectrum = torch.zeros(size, size, dtype=torch.complex128)
    for row, column in itertools.product(range(size), range(size // 2 + 1)):
        down, right = (k / size if k <= size // 2 else k / size - 1 for k in (row, column))
        value = size * complex(*waves[0, 0, row, column].tolist()) / max(size * math.hypot(down, right), 1) ** 1.5
        mirrored = (-row) % size, (-column) % size
        spectrum[row, column] = value
        if column not in (0, size / 2):
            spectrum[mirrored] = value.conjugate()
    for column in {0, size // 2} if size % 2 == 0 else {0}:  # a real picture: opposite waves are conjugates
        mirrored = spectrum[(-torch.arange(size)) % size, column].conj()
        spectrum[:, column] = (spectrum[:, column] + mirrored) / 2
    expected = torch.zeros(size, size, dtype=torch.complex128)
    for row, column, y, x in itertools.product(range(size), repeat=4):
        turn = 2 * math.pi * (row * y + column * x) / size
        expected[y, x] += spectrum[row, column] * complex(math.cos(turn), math.sin(turn)) / size
    assert torch.allclose(fourier.from_waves(waves, size, 1.5)[0, 0], expected.real, atol=1e-12)


def test_the_colours_are_those_of_the_bundled_training_images(bundled_train):
    pixels = bundled_train.images.reshape(-1, 3) / 255
    covariance = np.cov(pixels, rowvar=False)
    assert np.allclose(covariance, fourier.COLOUR_COVARIANCE, atol=5e-6)
    matrix = fourier.colour_matrix().numpy()
    product = matrix @ matrix.T
    assert np.allclose(product / np.trace(product), covariance / np.trace(covariance), atol=1e-4)
    assert np.linalg.norm(matrix, axis=0).max() == pytest.approx(1)
    assert abs(matrix[:, 0]).min() > 0.4  # the first principal colour is brightness: all three alike


def test_random_waves_have_these_colours():
    amounts = noise((1, 3, 200, 200))
    mixed = torch.logit(fourier.colourful(amounts))[0].flatten(1)
    covariance = torch.cov(mixed)
    expected = torch.tensor(fourier.COLOUR_COVARIANCE, dtype=torch.float64)
    assert torch.allclose(covariance / covariance.trace(), expected / expected.trace(), atol=0.01)


def test_movements_are_what_they_say():
    picture = noise((2, 3, 11, 11))
    assert torch.allclose(fourier.warp(picture, Movement(0, 0, 1, 0)), picture)
    shifted = fourier.warp(picture, Movement(2, 3, 1, 0))
    assert torch.allclose(shifted[:, :, 3:, 2:], picture[:, :, :-3, :-2])
    assert shifted[:, :, :3].abs().max() < 1e-12
    assert torch.allclose(fourier.warp(picture, Movement(0, 0, 1, 90)), picture.rot90(1, (2, 3)), atol=1e-9)
    turned = fourier.warp(picture, Movement(1, 0, 1, 90))
    assert torch.allclose(turned[:, :, :, 1:], picture.rot90(1, (2, 3))[:, :, :, :-1], atol=1e-9)
    halved = fourier.warp(picture, Movement(0, 0, 0.5, 0))
    assert torch.allclose(halved[:, :, 5, 3:8], picture[:, :, 5, 1:10:2], atol=1e-9)


def test_movements_keep_the_size_and_are_differentiable():
    picture = noise((1, 3, 6, 6)).requires_grad_(True)
    movement = Movement(0.7, -0.4, 1.08, 7.0)
    assert fourier.warp(picture, movement).shape == picture.shape
    assert torch.autograd.gradcheck(lambda x: fourier.warp(x, movement), (picture,))


def test_painting_is_differentiable_and_stays_between_black_and_white():
    waves = noise((1, 3, 5, 3, 2)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda w: fourier.colourful(fourier.from_waves(w, 5, 1.5)), (waves,))
    found = last(maximize(small(), "conv2_relu", [0], canvas=canvas(12), preset=Fourier(rate=5.0), steps=30))
    pixels = found.images * torch.tensor(STD).double().view(3, 1, 1) + torch.tensor(MEAN).double().view(3, 1, 1)
    assert pixels.min() >= -1e-6
    assert pixels.max() <= 1 + 1e-6


def test_a_canvas_goes_there_and_back():
    pixels = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    assert torch.allclose(canvas(4).pixels(canvas(4).normalised(pixels)), pixels)
