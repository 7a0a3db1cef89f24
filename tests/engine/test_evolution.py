"""One map over a training: the pictures of a moment are those of its network alone, similarities are plain cosines."""

import numpy as np
import pytest
import torch
from torch import nn

from engine import checkpoints, deconv, evolution, patches, pictures, tape, tiles
from engine.checkpoints import Trained
from engine.evolution import FROM_STRONGEST, KERNEL, MAP, PICTURE, STRONGEST, Moment
from engine.graph.receptive_field import receptive_field

LAYER, CHANNEL = "conv2_relu", 7


@pytest.fixture(scope="module")
def lenet() -> Trained:
    return checkpoints.untrained("lenet")


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def test_the_map_and_the_reconstruction_are_those_of_its_strongest_unit(lenet: Trained) -> None:
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    recorded = tape.record(lenet.model, x, LAYER)
    both = evolution.of_image(recorded, CHANNEL, batch_norm=False)
    one = recorded.activation[0, CHANNEL]
    signal = torch.zeros_like(recorded.activation)
    place = divmod(int(one.argmax()), one.shape[1])
    signal[0, CHANNEL][place] = one[place]
    pixels = deconv.reconstruct(recorded, signal, batch_norm=False).pixels
    np.testing.assert_array_equal(both[PICTURE], pictures.signed_each(pixels)[0])
    shares = (one / one.max()).numpy()
    np.testing.assert_array_equal(both[MAP], pictures.viridis(shares))


def test_the_strongest_image_is_the_first_of_all_and_is_cropped_to_what_the_unit_sees(lenet: Trained) -> None:
    searched, seen = images(12), receptive_field(lenet.model, LAYER)
    how = {"input_size": 32, "mean": lenet.card.mean, "std": lenet.card.std}
    top = patches.top_patches(lenet.model, searched, [LAYER], **how)[LAYER]
    both = evolution.of_strongest(lenet, LAYER, seen, top, CHANNEL, searched)
    [box, *_] = top.boxes(CHANNEL, seen, (32, 32))
    crop = patches.crop(searched[top.images[CHANNEL, 0]], box, round(pictures.MID_GREY))
    assert np.abs(both[STRONGEST].astype(int) - crop).max() <= 1  # to the network's numbers, and back
    assert both[FROM_STRONGEST].shape == both[STRONGEST].shape


def test_only_a_kernel_that_reads_the_pixels_is_a_picture(lenet: Trained) -> None:
    kernel = evolution.of_kernel(lenet.model, "conv1_relu", CHANNEL)[KERNEL]
    weight = lenet.model.features[0].weight[[CHANNEL]]
    np.testing.assert_array_equal(kernel, pictures.signed_each(weight)[0])
    assert evolution.of_kernel(lenet.model, LAYER, CHANNEL) == {}


def test_rows_that_nobody_has_are_left_out_and_places_are_those_of_the_columns() -> None:
    red, blue = (np.full((4, 4, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    moments = [Moment(("a",), {MAP: red}), Moment(("b", "cat 90 %"), {MAP: red, STRONGEST: blue})]
    assert evolution.rows_of(moments) == [MAP, STRONGEST]
    sheet = evolution.sheet(moments)
    high, wide = sheet.shape[:2]
    rows = []
    for left, top, across, down in evolution.places(moments):
        inside = slice(round(top * high), round((top + down) * high))
        column = sheet[inside, round(left * wide) : round((left + across) * wide)]
        assert column.shape[1] == evolution.TILE
        rows.append([column[evolution.TILE // 2, 80].tolist(), column[-evolution.TILE // 2, 80].tolist()])
    assert rows == [[[255, 0, 0, 255], [0, 0, 0, 0]], [[255, 0, 0, 255], [0, 0, 255, 255]]]


def test_similarities_are_cosines_with_the_last_network_and_signed_layers_are_left_out() -> None:
    networks = {}
    for seed, moment in enumerate(("untrained", "epoch 1", "trained")):
        torch.manual_seed(seed)
        networks[moment] = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).double().eval()
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    found = evolution.similarities(networks, x, ["conv1_relu", "conv2"])
    last = networks["trained"][:2](x).flatten()
    for moment, network in networks.items():
        expected = torch.cosine_similarity(network[:2](x).flatten(), last, dim=0).item()
        assert found[moment] == {"conv1_relu": pytest.approx(expected, abs=1e-12)}
    assert found["trained"]["conv1_relu"] == pytest.approx(1)


def test_a_layer_has_settled_once_it_stays_similar() -> None:
    values = {"untrained": (0.2, 0.1), "epoch 1": (0.95, 0.3), "epoch 2": (0.91, 0.95), "epoch 4": (0.93, 0.89)}
    of_moments = {moment: {"low": low, "high": high} for moment, (low, high) in (values | {"trained": (1, 1)}).items()}
    assert evolution.settled(of_moments, "low") == "epoch 1"
    assert evolution.settled(of_moments, "high") == "trained"
    assert evolution.in_words(of_moments).endswith("at least 0.9: low: epoch 1; high: trained.")


def test_texts_stand_on_clear_tiles() -> None:
    tile = pictures.text_tile(["one", "two"], 70, "black")
    assert tile.shape == (70, 70, 4)
    lines = np.flatnonzero(tile[..., 3].any(axis=1))
    assert 70 * 0.3 < lines.mean() < 70 * 0.7
    assert tiles.fitted(tile[..., :3], 70).max() == 0
