"""What changes with depth: figures against slow twins, and words that differ when the images do."""

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import checkpoints
from engine.data import LabelledImages, prepare
from engine.errors import ConvscopeError
from engine.feature_maps import (
    LayerFigures,
    all_maps,
    cosine_similarity,
    depth_in_words,
    figures,
    is_signed,
    kernel,
    kernel_pictures,
    maps_for_half,
    order_by_strength,
    pair_in_words,
    scales,
    strongest_units,
)
from engine.tape import layers
from tests.oracles import fingerprint, images, network, noise


def slow_half(activation: Tensor) -> int:
    """Take the strongest map away until less than half of the response is left."""
    responses = [float(max(0.0, plane[plane > 0].sum())) for plane in activation[0].numpy()]
    total, taken = sum(responses), 0
    while responses and sum(responses) > total / 2:
        responses.remove(max(responses))
        taken += 1
    return taken


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_the_slow_twins(seed: int) -> None:
    activation = noise((1, 23, 6, 5), seed) - 0.5
    found = figures("conv9", activation)
    values = activation.flatten().tolist()
    assert found.inactive == pytest.approx(sum(value <= 0 for value in values) / len(values))
    assert found.half == maps_for_half(activation) == slow_half(activation)
    assert (found.maps, found.height, found.width, found.signed) == (23, 6, 5, True)
    assert not figures("conv9", activation.clamp(min=0)).signed


def test_half_of_the_response_of_plain_cases() -> None:
    even = torch.ones(1, 8, 3, 3)
    assert maps_for_half(even) == 4
    assert maps_for_half(torch.zeros(1, 8, 3, 3)) == 0
    one = torch.zeros(1, 8, 3, 3)
    one[0, 5, 1, 1] = 2
    assert maps_for_half(one) == 1


def test_cosine_similarity_is_that_of_the_responses() -> None:
    a, b = noise((1, 4, 3, 3), 1), noise((1, 4, 3, 3), 2)
    assert cosine_similarity(a, a) == pytest.approx(1)
    assert cosine_similarity(a, -a) == 0
    assert cosine_similarity(a, b) == pytest.approx(cosine_similarity(3 * a, b))
    positive = [np.clip(maps.numpy().ravel(), 0, None) for maps in (a, b)]
    cosine = positive[0] @ positive[1] / np.sqrt((positive[0] ** 2).sum() * (positive[1] ** 2).sum())
    assert cosine_similarity(a, b) == pytest.approx(cosine)
    assert cosine_similarity(a, torch.zeros_like(a)) == 0
    with pytest.raises(ConvscopeError, match=r"^The two images' maps differ in size"):
        cosine_similarity(a, b[:, :, :2])


def words(images_: np.ndarray, name: str = "resnet18") -> tuple[str, ...]:
    trained = checkpoints.load(name)
    card = trained.card
    maps = all_maps(trained.model, prepare(images_, card.input_size, card.mean, card.std))
    return depth_in_words([figures(layer, found) for layer, found in maps.items()], card.input_size)


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_words_differ_between_a_photograph_and_a_grey_wall(name: str, bundled_test: LabelledImages) -> None:
    photograph, wall = words(bundled_test.images[:1], name), words(np.full((1, 32, 32, 3), 120, np.uint8), name)
    assert len(photograph) == len(wall) == 3
    assert photograph[0] == wall[0]  # the resolution is the network's, whatever the image
    assert photograph[1] != wall[1]
    assert photograph[2] != wall[2]


def layer(name: str, inactive: float, half: int, maps: int = 100, side: int = 16) -> LayerFigures:
    return LayerFigures(name, maps, side, side, inactive, half, False)


@pytest.mark.parametrize(
    ("inactive", "half", "said"),
    [
        ((0.2, 0.8), (30, 5), ("grows with depth, 20 % in a and 80 % in b", "gathers over fewer of the maps: half")),
        ((0.8, 0.2), (5, 30), ("falls with depth", "spreads more widely: half of it comes from 5 of 100 maps in a")),
        ((0.5, 0.52), (20, 20), ("stays about the same with depth", "is spread about as widely: half")),
        ((0.5, 1.0), (20, 0), ("grows", "nothing in b responds to this image")),
    ],
)
def test_words_say_which_way_it_went(inactive: tuple, half: tuple, said: tuple) -> None:
    found = depth_in_words([layer("a", inactive[0], half[0]), layer("b", inactive[1], half[1], side=4)], 32)
    assert "a has 100 maps of 16 × 16, one unit for 2 pixels along each side; b has" in found[0]
    assert said[0] in found[1]
    assert said[1] in found[2]


def test_words_do_not_call_a_way_up_and_down_a_growth() -> None:
    shares = {"a": 0.47, "b": 0.27, "c": 0.40, "d": 0.62, "e": 0.28, "f": 0.91}
    found = depth_in_words([layer(name, share, 5) for name, share in shares.items()], 32)
    assert "goes up and down with depth, 27 % in b and 91 % in f" in found[1]
    steady = depth_in_words([layer("a", 0.3, 5), layer("b", 0.28, 5), layer("c", 0.6, 5)], 32)
    assert "grows with depth, 30 % in a and 60 % in c" in steady[1]


def test_words_leave_raw_convolutions_out_and_cope_with_one_layer() -> None:
    raw = LayerFigures("raw", 10, 32, 32, 0.5, 5, True)
    found = depth_in_words([raw, layer("a", 0.3, 4, side=32), layer("b", 0.6, 2)], 32)
    assert "raw" not in "".join(found)
    assert "one unit per pixel" in found[0]
    assert depth_in_words([raw, layer("a", 0.3, 4)], 32)[0].startswith("a is the only layer after a ReLU here")
    assert len(depth_in_words([raw], 32)) == 1


def test_two_images_in_words() -> None:
    words = pair_in_words({"a": 0.9, "c": 0.5, "b": 0.1})
    assert "become less similar with depth: cosine similarity 0.90 in a and 0.10 in b" in words
    assert "become more similar" in pair_in_words({"a": 0.1, "b": 0.9})
    assert "stay about as similar" in pair_in_words({"a": 0.5})


def test_trained_networks_tell_classes_apart_with_depth(bundled_test: LabelledImages) -> None:
    trained = checkpoints.load("resnet18")
    card, pair = trained.card, []
    for label in (0, 7):
        index = int(np.flatnonzero(bundled_test.labels == label)[0])
        pixels = bundled_test.images[index : index + 1]
        pair.append(all_maps(trained.model, prepare(pixels, card.input_size, card.mean, card.std)))
    similar = {name: cosine_similarity(pair[0][name], pair[1][name]) for name in ("conv1_relu", "conv5_x")}
    same = {name: cosine_similarity(pair[0][name], pair[0][name]) for name in similar}
    assert "become less similar" in pair_in_words(similar)
    assert pair_in_words(similar) != pair_in_words(same)


def test_order_and_strongest_units() -> None:
    activation = noise((1, 7, 4, 5))
    peaks = [float(plane.max()) for plane in activation[0]]
    assert order_by_strength(activation) == tuple(sorted(range(7), key=lambda c: -peaks[c]))
    for channel, (row, column) in enumerate(strongest_units(activation)):
        assert activation[0, channel, row, column] == peaks[channel]
    assert strongest_units(torch.zeros(1, 2, 3, 3)) == ((0, 0), (0, 0))
    with pytest.raises(ConvscopeError, match=r"^Figures of feature maps need the maps of one image"):
        order_by_strength(noise((2, 7, 4, 5)))


def test_a_maps_kernel_is_that_of_its_last_convolution() -> None:
    model = network("app:resnet18")
    before = fingerprint(model)
    found = kernel(model, "conv5_x", 17)
    assert (found.node, found.of_image) == ("layer4.1.conv2", False)
    assert torch.equal(found.weight, model.layer4[1].conv2.weight[17])
    first = kernel(model, "pool1", 3)
    assert (first.node, first.of_image, first.weight.shape) == ("conv1", True, (3, 7, 7))
    assert fingerprint(model) == before
    assert kernel(network("app:efficientnet_lite0"), "conv1", 3).of_image  # behind a border of zeros
    assert kernel(network("squeezenet1_1"), "features.3.cat", 0) is None
    with pytest.raises(ConvscopeError, match=r"^There is no map 64: this layer has maps 0 to 63"):
        kernel(model, "conv1", 64)


def test_a_kernel_on_pixels_is_in_colour_and_others_show_their_strongest_slices() -> None:
    model = network("app:resnet18")
    assert torch.equal(kernel_pictures(kernel(model, "conv1", 5)), model.conv1.weight[5][None])
    shown = kernel_pictures(kernel(model, "conv3_x", 9), count=4)
    slices = sorted(model.layer2[1].conv2.weight[9], key=lambda one: -float(one.norm()))[:4]
    assert shown.shape == (4, 3, 3, 3)
    for picture, expected in zip(shown, slices, strict=True):
        assert all(torch.equal(plane, expected) for plane in picture)


def test_scales_of_one_or_two_images() -> None:
    a, b = noise((1, 4, 3, 3), 1), 2 * noise((1, 4, 5, 2), 2)
    peaks = [max(float(a[0, c].abs().max()), float(b[0, c].abs().max())) for c in range(4)]
    assert scales([a, b], together=False).tolist() == peaks
    assert scales([a, b], together=True).tolist() == [max(peaks)] * 4
    assert is_signed(a)
    assert not is_signed(a.abs())


@pytest.mark.parametrize("name", ["app:model_one", "app:lenet"])
def test_every_named_layers_kernel_makes_as_many_maps(name: str) -> None:
    model = network(name)
    for named, maps in all_maps(model, images(name)).items():
        last = maps.shape[1] - 1
        assert kernel(model, named, last) is not None
        assert named in layers(model)
