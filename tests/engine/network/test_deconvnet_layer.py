"""One layer of a deconvnet against PyTorch's own unpooling, autograd, the whole playback, and plain loops."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import tape
from engine.deconv import reconstruct
from engine.errors import ConvscopeError
from engine.models import build
from engine.network.deconvnet_layer import (
    FILTERED,
    RECTIFIED,
    UNPOOLED,
    DeconvnetLayer,
    below_the_middle,
    deconvnet_layer,
    filtered_sum,
    negative_share,
    strided_convolutions,
    strongest,
    strongest_kernel,
)
from tests.oracles import SlowTwin, assert_same, fingerprint, images, network, noise, randomised

NETWORKS = {
    # Network, the signal's layer, the node of the pooling, the node of its convolution.
    "app:lenet": ("pool3", "features.8", "features.6"),
    "app:model_two": ("conv3_relu", None, None),
    "app:model_one": ("pool5", None, None),
    "app:resnet18": ("conv3_x", "maxpool", "conv1"),
}


def of(name: str, source: str) -> tuple[nn.Module, Tensor, DeconvnetLayer]:
    model, image = network(name), images(name)
    before = fingerprint(model)
    done = deconvnet_layer(model, image, source)
    assert fingerprint(model) == before
    return model, image, done


@pytest.mark.parametrize("name", NETWORKS)
def test_the_signal_and_every_step_are_what_autograd_makes_of_them(name: str) -> None:
    source, pooling, convolution = NETWORKS[name]
    model, image, done = of(name, source)
    assert pooling in (None, done.node)
    assert convolution in (None, done.parts[-1].node)
    assert done.source == source if tape.layers(model)[source] != done.node else done.source == done.node
    # From the layer down to the pooled maps.
    twin = SlowTwin(model, "deconvnet")
    pooled = twin.run_to(image.clone().requires_grad_(), done.node)
    source_maps = twin.run_to(image, tape.layers(model)[source]).detach()
    if done.source == source:
        pixels = image.clone().requires_grad_()
        top = twin.run_to(pixels, tape.layers(model)[source])
        middle = next(value for node, value in twin.env.items() if twin.names[node] == done.node)
        (expected,) = torch.autograd.grad(top, middle, source_maps)
        assert_same(done.signal, expected[0])
    else:
        assert_same(done.signal, pooled[0].detach())
    # And on to the pixels: the rest of the way is that of the whole playback.
    recorded = tape.record(model, image, done.node)
    whole = reconstruct(recorded, done.signal[None]).pixels
    if done.reads_image:
        assert_same(done.filtered, whole[0])
    else:
        below = tape.record(model, image, step_below(recorded, done.parts[-1].node))
        assert_same(reconstruct(below, done.filtered[None]).pixels, whole)


def step_below(recorded: tape.Tape, name: str) -> str:
    return next(step.inputs[0] for step in recorded.steps if step.name == name)


def test_unpooling_is_pytorchs_and_rectifying_removes_what_is_negative() -> None:
    model, image, done = of("app:lenet", "pool3")
    assert_same(done.parts[0].signal, F.max_unpool2d(done.signal[None], done.switches[None], 2)[0])
    assert [part.kind for part in done.parts] == [UNPOOLED, RECTIFIED, FILTERED]
    assert_same(done.parts[1].signal, done.parts[0].signal.clamp(min=0))
    lower = deconvnet_layer(model, image, "conv3")
    assert (lower.node, lower.source) == ("features.5", "conv3")
    assert (lower.signal < 0).any()
    assert (lower.parts[0].signal < 0).any()
    assert (lower.parts[1].signal >= 0).all()
    for channel, row, column in ((0, 0, 0), (5, 2, 1), (127, 3, 3)):
        y, x = done.switch(channel, row, column)
        window = done.forward[channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert (y // 2, x // 2) == (row, column)
        assert done.forward[channel, y, x] == window.max() == done.output[channel, row, column]


@pytest.mark.parametrize(
    ("name", "source"), [("app:resnet18", "conv2_x"), ("app:lenet", "conv3"), ("app:resnet18_strided", "conv2_x")]
)
def test_a_filtered_number_is_a_plain_sum(name: str, source: str) -> None:
    _, _, done = of(name, source)
    rectified, (down, across) = done.before(FILTERED), done.convolution
    maps, height, width = done.filtered.shape
    for channel, below, row, column in ((3, 0, 0, 0), (0, maps - 1, height // 2, width // 3), (7, 1, 5, width - 1)):
        found = filtered_sum(done, channel, below, row, column)
        total = share = 0.0
        for c in range(len(rectified)):
            for p in range(rectified.shape[1]):
                u = row - down.first(p)
                for q in range(rectified.shape[2]):
                    v = column - across.first(q)
                    if 0 <= u < down.length and 0 <= v < across.length:
                        product = float(done.kernels[c, below, u, v] * rectified[c, p, q])
                        total, share = total + product, share + product * (c == channel)
        assert found.total == pytest.approx(total, abs=1e-9)
        assert found.share == pytest.approx(share, abs=1e-9)
        assert found.share + found.others == pytest.approx(found.total, abs=1e-12)
        assert found.values.shape == found.products.shape == (len(found.rows), len(found.columns))


def test_a_strided_network_has_nothing_to_unpool() -> None:
    model, _, done = of("app:resnet18_strided", "conv5_x")
    assert done.switches is None
    assert done.pooling is None
    assert [part.kind for part in done.parts] == [RECTIFIED, "normalised", FILTERED]
    assert strided_convolutions(model)[0] == "conv1"
    assert done.parts[-1].node == "layer4.0.conv1"
    assert done.switch(0, 3, 4) == (3, 4)
    assert strided_convolutions(network("app:lenet")) == ()


def test_where_to_look_first() -> None:
    _, _, done = of("app:resnet18", "conv2_x")
    channel, row, column = strongest(done)
    assert done.signal[channel, row, column] == done.signal.max()
    norms = [float(done.kernels[channel, d].norm()) for d in range(3)]
    assert norms[strongest_kernel(done, channel)] == max(norms)
    y, x = below_the_middle(done, *done.switch(channel, row, column))
    assert 0 <= y < done.filtered.shape[1]
    assert x == min(2 * done.switch(channel, row, column)[1], done.filtered.shape[2] - 1)


def test_what_cannot_be_drawn_is_refused() -> None:
    plain = randomised(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)))
    with pytest.raises(ConvscopeError, match="no pooling behind a convolution, and no strided one"):
        deconvnet_layer(plain, noise((1, 3, 8, 8)), "conv1")
    model = build("lenet").eval()
    with pytest.raises(ConvscopeError, match="one image"):
        deconvnet_layer(model, torch.zeros(2, 3, 32, 32), "pool1")
    done = deconvnet_layer(model, torch.zeros(1, 3, 32, 32), "conv1")
    assert (done.node, done.source) == ("features.2", "features.2")
    with pytest.raises(ConvscopeError, match="no number at row 32, column 0 of map 0"):
        filtered_sum(done, 0, 0, 32, 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_share_that_is_rectified_away_is_counted_where_numbers_arrive(name: str) -> None:
    *_, done = of(name, NETWORKS[name][0])
    arriving = done.before(RECTIFIED).flatten().tolist()
    gone, there = sum(number < 0 for number in arriving), sum(number != 0 for number in arriving)
    assert negative_share(done) == pytest.approx(gone / there)
