"""One convolution step by step, against the network's own output and against plain loops."""

import numpy as np
import pytest
import torch
from torch import nn

from engine import checkpoints
from engine.errors import ConvscopeError
from engine.network import convolution
from tests.oracles import Lambda, fingerprint, images, network, randomised


def looped(read, module, channel, row, column):
    """The convolution's sum as five nested loops, taking pixels beyond the border as zero."""
    total = 0.0 if module.bias is None else float(module.bias[channel])
    for c in range(read.shape[0]):
        for u in range(module.kernel_size[0]):
            for v in range(module.kernel_size[1]):
                i = row * module.stride[0] - module.padding[0] + u * module.dilation[0]
                j = column * module.stride[1] - module.padding[1] + v * module.dilation[1]
                if 0 <= i < read.shape[1] and 0 <= j < read.shape[2]:
                    total += float(module.weight[channel, c, u, v]) * float(read[c, i, j])
    return total


@pytest.mark.parametrize("name", ["app:lenet", "app:resnet18", "app:model_two", "app:convnet5", "squeezenet1_1"])
def test_every_corner_of_the_first_convolution_is_the_networks_own_output(name):
    model, x = network(name), images(name)
    before = fingerprint(model)
    done = convolution.convolved(model, x, convolution.first_convolution(model))
    rows, columns = done.positions
    for channel in (0, done.channels - 1):
        for row in (0, rows // 2, rows - 1):
            for column in (0, columns // 3, columns - 1):
                step = convolution.window_sum(done, channel, row, column)
                assert step.total == pytest.approx(float(done.output[channel, row, column]), abs=1e-12)
                assert torch.equal(step.products, step.window * step.kernel)
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    "settings",
    [{}, {"stride": 2, "padding": 3}, {"dilation": 2, "padding": (1, 2)}, {"stride": (1, 3), "bias": False}],
)
def test_strides_padding_and_dilation_match_nested_loops(settings):
    torch.manual_seed(3)
    module = nn.Conv2d(3, 4, (3, 5), **settings)
    model = randomised(Lambda(lambda self, x: self.conv(x), conv=module))
    x = torch.randn(1, 3, 14, 13, dtype=torch.float64)
    done = convolution.convolved(model, x, "conv1")
    assert done.has_bias is (module.bias is not None)
    for channel, row, column in ((0, 0, 0), (1, 2, 1), (3, done.positions[0] - 1, done.positions[1] - 1)):
        step = convolution.window_sum(done, channel, row, column)
        assert step.total == pytest.approx(looped(x[0], module, channel, row, column), abs=1e-12)
        assert float(step.sums.sum()) + step.bias == pytest.approx(step.total, abs=1e-12)


def test_a_window_in_the_padding_is_zero_outside_the_image():
    model, x = network("app:resnet18"), images("app:resnet18")
    done = convolution.convolved(model, x, "conv1")
    step = convolution.window_sum(done, 5, 0, 1)
    assert (step.top, step.left) == (-3, -1)
    assert not step.window[:, :3].any()
    assert not step.window[:, :, :1].any()
    assert torch.equal(step.window[:, 3:, 1:], x[0, :, :4, :6])


def test_a_deeper_convolution_reads_the_maps_before_it():
    model, x = network("app:lenet"), images("app:lenet")
    done = convolution.convolved(model, x, "conv2")
    module = model.features[3]
    assert torch.equal(done.input, model.features[:3](x)[0])
    assert convolution.window_sum(done, 7, 3, 4).total == pytest.approx(looped(done.input, module, 7, 3, 4), abs=1e-12)


def test_the_shipped_networks_output_is_what_the_steps_add_up_to():
    trained = checkpoints.load("resnet18")
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    done = convolution.convolved(trained.model, x, "conv1")
    own = trained.model.conv1(x)[0]
    for channel in (0, 31, 63):
        assert convolution.window_sum(done, channel, 9, 20).total == pytest.approx(float(own[channel, 9, 20]), abs=1e-4)


@pytest.mark.parametrize("name", ["app:lenet", "app:resnet18"])
def test_the_strongest_position_is_the_furthest_from_zero_whose_window_lies_in_the_image(name):
    done = convolution.convolved(network(name), images(name), "conv1")
    side, kernel = done.input.shape[1], done.kernels.shape[2]
    for channel in (0, 4, 9):
        inside = {}
        for row in range(done.positions[0]):
            for column in range(done.positions[1]):
                step = convolution.window_sum(done, channel, row, column)
                if min(step.top, step.left) >= 0 and max(step.top, step.left) + kernel <= side:
                    inside[row, column] = abs(step.total)
        assert convolution.strongest_position(done, channel) == max(inside, key=inside.get)


def test_the_image_is_shown_at_the_size_at_which_the_network_gets_it(bundled_test):
    picture = bundled_test.images[:1]
    assert np.array_equal(convolution.as_the_network_gets_it(picture, 32), picture[0])
    larger = convolution.as_the_network_gets_it(picture, 64)
    assert larger.shape == (64, 64, 3)
    assert abs(float(larger.mean()) - float(picture.mean())) < 2


@pytest.mark.parametrize("layer", ["conv1_relu", "pool1"])
def test_what_is_no_convolution_is_refused(layer):
    with pytest.raises(ConvscopeError, match="no plain convolution"):
        convolution.convolved(network("app:lenet"), images("app:lenet"), layer)


def test_a_grouped_convolution_is_refused():
    model = randomised(Lambda(lambda self, x: self.conv(x), conv=nn.Conv2d(3, 6, 3, groups=3)))
    with pytest.raises(ConvscopeError, match="no plain convolution"):
        convolution.convolved(model, torch.zeros(1, 3, 8, 8, dtype=torch.float64), "conv1")


def test_a_position_that_does_not_exist_is_refused():
    done = convolution.convolved(network("app:lenet"), images("app:lenet"), "conv1")
    for channel, row, column in ((32, 0, 0), (0, 32, 0), (0, 0, -1)):
        with pytest.raises(ConvscopeError, match="no output at row"):
            convolution.window_sum(done, channel, row, column)


def test_a_network_without_convolutions_is_refused():
    model = randomised(Lambda(lambda self, x: self.dense(x.flatten(1)), dense=nn.Linear(12, 2)))
    with pytest.raises(ConvscopeError, match="has no convolution"):
        convolution.first_convolution(model)
