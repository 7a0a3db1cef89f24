"""Effective receptive fields against the Jacobian, channel by channel; inactive units against loops."""

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor, nn

from engine import effective_field, inactivity
from engine.effective_field import EffectiveField, in_words, influences, measure, measure_in_steps
from engine.errors import ConvscopeError
from engine.graph.receptive_field import Box, receptive_field
from engine.inactivity import count_in_steps, dead_maps
from engine.patches import TopPatches
from tests.oracles import assert_same, fingerprint, noise, randomised


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1)]
    return randomised(nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 25, 2)))


def by_channel(model: nn.Module, images: Tensor, depth: int) -> Tensor:
    """`[N, K, H, W]`: the squared Jacobian of the middle unit of each channel, one row after the other."""

    def middle(x: Tensor) -> Tensor:
        maps = model[:depth](x[None])
        return maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2]

    jacobians = [torch.autograd.functional.jacobian(middle, image) for image in images]
    return torch.stack(jacobians).square().sum(dim=2)


def test_over_all_signs_it_is_the_mean_square_of_the_jacobian(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noise((3, 3, 12, 12))
    expected = by_channel(model, images, 6)
    before = fingerprint(model)
    rows = iter(torch.tensor((hadamard(4) + 1) // 2))
    monkeypatch.setattr(torch, "randint", lambda high, size, **_: next(rows).expand(size))
    found = [influences(model, images, ["conv2_relu"], torch.Generator())["conv2_relu"] for _ in range(4)]
    assert {unit for unit, _ in found} == {(2, 2)}
    assert_same(torch.stack([summed for _, summed in found]).mean(0), expected.mean(1).sum(0))
    assert fingerprint(model) == before
    assert not images.requires_grad


def test_random_signs_come_near_and_the_field_lies_in_the_window(model: nn.Module) -> None:
    images = noise((1, 3, 12, 12)).expand(300, -1, -1, -1)
    found = measure(model, images, ["conv1_relu", "conv2"], seed=2)
    expected = by_channel(model, images[:1], 5)[0].mean(0)
    assert float((found["conv2"].influence - expected).norm() / expected.norm()) < 0.2
    for name, field in found.items():
        box = receptive_field(model, name).box(*field.unit, (12, 12))
        outside = field.influence.clone()
        outside[box.top : box.bottom, box.left : box.right] = 0
        assert not outside.any()
        assert field.used.clipped((12, 12)) == field.used
        assert field.images == 300


def test_steps_add_up_and_a_seed_repeats_them(model: nn.Module) -> None:
    images = noise((25, 3, 12, 12))
    steps = list(measure_in_steps(model, images, ["conv1"], seed=1))
    assert [step["conv1"].images for step in steps] == [10, 20, 25]
    assert torch.equal(measure(model, images, ["conv1"], seed=1)["conv1"].influence, steps[-1]["conv1"].influence)
    with pytest.raises(ConvscopeError, match="nothing to measure"):
        measure(model, images[:0], ["conv1"])
    with pytest.raises(ConvscopeError, match="has no maps"):
        measure(model, images[:1], ["7"])


def test_what_is_used_holds_nine_tenths_of_the_influence_and_hardly_more() -> None:
    bell = torch.exp(-((torch.arange(64.0) - 31.5) ** 2) / 128)  # the influence of many small convolutions
    influence = bell[:, None] * bell
    used = EffectiveField("conv5", (32, 32), influence, 1).used
    inside = influence[used.top : used.bottom, used.left : used.right].sum() / influence.sum()
    narrower = influence[used.top + 1 : used.bottom - 1, used.left + 1 : used.right - 1].sum() / influence.sum()
    assert narrower < 0.9 <= inside


def test_words_follow_from_the_figures(model: nn.Module) -> None:
    influence = torch.zeros(12, 12)
    influence[4:6, 3:5] = 1
    seen = receptive_field(model, "conv2_relu")
    words = in_words(EffectiveField("conv2_relu", (2, 2), influence, 7), seen)
    assert words == (
        "The middle unit of conv2_relu can see 8 × 8 px. At least 90 % of its influence, over 7 images, comes from "
        "2 × 2 px: 6 % of what it sees."
    )
    assert "inactive on all 7 images" in in_words(EffectiveField("conv2_relu", (2, 2), influence * 0, 7), seen)
    assert seen.box(2, 2, (12, 12)) == Box(2, 2, 10, 10)


# Inactive units ------------------------------------------------------------------------------------------------


def test_inactive_units_are_counted_as_by_hand(model: nn.Module) -> None:
    images = noise((23, 3, 12, 12))
    names, before = ["conv1", "conv1_relu", "pool1"], fingerprint(model)
    *_, last = steps = list(count_in_steps(model, images, names))
    assert fingerprint(model) == before
    assert [step[0].images for step in steps] == [10, 20, 23]
    for found, depth in zip(last, (1, 3, 4), strict=True):
        maps = model[:depth](images).numpy()
        off = maps <= 0
        assert found.now_and_then == pytest.approx(np.mean([image.mean() for image in off]), abs=1e-12)
        assert found.never_active == int(off.all(axis=0).sum())
        assert found.dead_maps == int(off.all(axis=(0, 2, 3)).sum())
        assert (found.maps, found.units) == (maps.shape[1], maps[0].size)
        assert found.signed == (found.layer == "conv1")


def test_dead_maps_are_counted_and_said() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval().requires_grad_(False)
    model[0].bias.data[:] = torch.tensor([9.0, -9.0, 9.0, 9.0])
    *_, (found,) = count_in_steps(model, torch.rand(3, 3, 4, 4), ["conv1_relu"])
    assert (found.dead_maps, found.never_active, found.units) == (1, 16, 64)
    words = inactivity.in_words([found])
    assert words.startswith("On an image 25 % in conv1_relu of the units are inactive, on average over 3 images.")
    assert words.endswith("16 of 64 units in conv1_relu, the largest share; whole maps: 1 of 4.")
    values = np.array([[1.0, 0.5], [0.0, 0.0], [-1.0, -2.0]], np.float32)
    assert dead_maps(TopPatches(*[np.zeros((3, 2), np.int64)] * 3, values)) == 2
    assert "No layer here" in inactivity.in_words([])
    with pytest.raises(ConvscopeError, match="no images"):
        next(count_in_steps(model, torch.zeros(0, 3, 4, 4), ["conv1"]))
    assert effective_field.SHARE == 0.9
