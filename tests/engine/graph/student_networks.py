"""Small networks as students write them: every way to write a ReLU, a pooling, a norm, a shortcut, a flatten ...

`NETWORKS` maps what is special about each to its `forward`, a function of the network and the image; the modules that
these use are those of `Student`. `network_of` builds one.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision.ops import stochastic_depth

Forward = Callable[[Any, Tensor], Tensor]
NETWORKS: dict[str, Forward] = {}


class Student(nn.Module):
    """Modules that a forward may use; maps have 6 channels behind the stem."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.more = (nn.Conv2d(width, 6, 3, padding=1) for width in (3, 6, 6))
        self.norm, self.norm2 = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.down = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.shortcut = nn.Sequential(nn.Conv2d(6, 6, 1, stride=2), nn.BatchNorm2d(6))
        self.relu, self.relu_, self.relu6 = nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(inplace=True)
        self.drop, self.same, self.pool = nn.Dropout(0.3), nn.Identity(), nn.MaxPool2d(2)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(True)) for _ in range(2)])
        self.heads, self.fc, self.wide = (
            nn.MultiheadAttention(6, 2, batch_first=True),
            nn.Linear(6, 4),
            nn.Linear(96, 4),
        )
        self.squeeze, self.excite = nn.Linear(6, 3), nn.Linear(3, 6)
        self.token, self.alpha = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.tensor(0.7))
        self.coordinates = nn.Conv2d(8, 6, 3, padding=1)

    def start(self, x: Tensor) -> Tensor:
        return self.norm(self.stem(x))

    def head(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))

    def tail(self, x: Tensor) -> Tensor:
        """One more convolution, so that what comes before is played back through one."""
        return self.head(F.relu(self.body(x)))

    def small(self, x: Tensor) -> Tensor:
        """Maps of 4 x 4, for dense layers that read them flattened."""
        return F.max_pool2d(F.relu(self.start(x)), 4)

    def tokens(self, x: Tensor) -> Tensor:
        return self.small(x).flatten(2).transpose(1, 2)


def network_of(name: str) -> nn.Module:
    """The network of that name, with random batch norm statistics, in double precision, eval mode and frozen."""
    torch.manual_seed(sum(name.encode()))
    net = BUILT[name]() if name in BUILT else type("Student", (Student,), {"forward": NETWORKS[name]})()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            nn.init.normal_(module.running_mean, 0, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight)
    return net.double().eval().requires_grad_(False)


def student(forward: Forward) -> Forward:
    NETWORKS[forward.__name__] = forward
    return forward


# ------------------------------------------------------------------------------------------------------ ReLU

NETWORKS |= {
    "nn.ReLU": lambda net, x: net.tail(net.relu(net.start(x))),
    "nn.ReLU in place": lambda net, x: net.tail(net.relu_(net.start(x))),
    "F.relu": lambda net, x: net.tail(F.relu(net.start(x))),
    "F.relu in place": lambda net, x: net.tail(F.relu(net.start(x), inplace=True)),
    "F.relu in place by position": lambda net, x: net.tail(F.relu(net.start(x), True)),
    "F.relu of a keyword": lambda net, x: net.tail(F.relu(input=net.start(x))),
    "F.relu_": lambda net, x: net.tail(F.relu_(net.start(x))),
    "torch.relu": lambda net, x: net.tail(torch.relu(net.start(x))),
    "torch.relu_": lambda net, x: net.tail(torch.relu_(net.start(x))),
    "x.relu": lambda net, x: net.tail(net.start(x).relu()),
    "x.relu_": lambda net, x: net.tail(net.start(x).relu_()),
    "nn.ReLU6": lambda net, x: net.tail(net.relu6(3 * net.start(x))),
    "F.relu6": lambda net, x: net.tail(F.relu6(3 * net.start(x))),
    "clamp": lambda net, x: net.tail(net.start(x).clamp(min=0)),
    "threshold": lambda net, x: net.tail(F.threshold(net.start(x), 0.0, 0.0)),
    "maximum": lambda net, x: net.tail(torch.maximum(net.start(x), torch.zeros(1, dtype=x.dtype))),
    "product with a mask": lambda net, x: net.tail((y := net.start(x)) * (y > 0)),
    "torch.where": lambda net, x: net.tail(torch.where((y := net.start(x)) > 0, y, 0.1 * y)),
    "one ReLU many times": lambda net, x: net.tail(net.relu_(net.more(net.relu_(net.body(net.relu_(net.start(x))))))),
}

# --------------------------------------------------------------------------------------------------- pooling

NETWORKS |= {
    "nn.MaxPool2d": lambda net, x: net.tail(net.pool(net.start(x))),
    "overlapping windows": lambda net, x: net.tail(F.max_pool2d(net.start(x), 3, 2, 1)),
    "ceil mode": lambda net, x: net.tail(F.max_pool2d(net.start(x), 3, 2, ceil_mode=True)),
    "torch.max_pool2d": lambda net, x: net.tail(torch.max_pool2d(net.start(x), 2)),
    "average pool of all": lambda net, x: net.fc(F.avg_pool2d(F.relu(net.start(x)), x.shape[-1]).flatten(1)),
    "adaptive pool to half": lambda net, x: net.tail(
        F.adaptive_avg_pool2d(net.start(x), (x.shape[-2] // 2, x.size(3) // 2))
    ),
    "adaptive max pool": lambda net, x: net.tail(F.adaptive_max_pool2d(net.start(x), 5)),
    "amax": lambda net, x: net.fc(net.start(x).amax(dim=(2, 3))),
    "max over rows and columns": lambda net, x: net.fc(net.start(x).max(3)[0].max(dim=2).values),
    "interpolate": lambda net, x: net.tail(
        F.interpolate(net.down(net.start(x)), size=x.shape[-2:], mode="bilinear", align_corners=False)
    ),
}


@student
def unpooled(net: Any, x: Tensor) -> Tensor:
    y, places = F.max_pool2d(net.start(x), 2, return_indices=True)
    return net.tail(F.max_unpool2d(y, places, 2))


# ------------------------------------------------------------------------------------------------------ norm

NETWORKS |= {
    "group norm": lambda net, x: net.tail(F.group_norm(net.stem(x), 2)),
    "instance norm": lambda net, x: net.tail(F.relu(F.instance_norm(net.stem(x)))),
    "layer norm of channels last": lambda net, x: net.tail(
        F.layer_norm(net.stem(x).permute(0, 2, 3, 1), (6,)).permute(0, 3, 1, 2)
    ),
    "layer norm of the whole shape": lambda net, x: net.tail(F.layer_norm(y := net.stem(x), y.shape[1:])),
    "F.batch_norm": lambda net, x: net.tail(F.batch_norm(net.stem(x), net.norm.running_mean, net.norm.running_var)),
    "normalised by hand": lambda net, x: net.tail(
        ((y := net.stem(x)) - y.mean((2, 3), keepdim=True)) / (y.std((2, 3), keepdim=True) + 1e-3)
    ),
    "input normalised in place": lambda net, x: net.tail(net.start(x.sub_(0.4).div_(0.3))),
    "divided by its maximum": lambda net, x: net.tail(net.start(x / x.abs().max())),
}

# -------------------------------------------------------------------------------------------------- shortcut


@student
def shortcut_behind_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    return net.tail(net.more(net.relu_(x)) + x)


@student
def identity_then_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    return net.tail(net.more(net.relu_(net.same(x))) + x)


@student
def dropout_then_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    return net.tail(net.more(net.relu_(net.drop(x))) + x)


@student
def contiguous_then_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    return net.tail(net.more(x.contiguous().relu_()) + x)


@student
def added_in_place(net: Any, x: Tensor) -> Tensor:
    y = x = F.relu(net.start(x))
    x = net.norm2(net.more(x))
    x += y
    return net.tail(net.relu_(x))


@student
def downsampled(net: Any, x: Tensor) -> Tensor:
    x = F.relu(net.start(x))
    y = net.norm2(net.down(x))
    if y.shape != x.shape:
        x = net.shortcut(x)
    return net.tail(F.relu(y + x))


@student
def padded_shortcut(net: Any, x: Tensor) -> Tensor:
    x = F.relu(net.start(x))
    y = net.norm2(net.down(x))
    x = F.pad(x[:, :3, ::2, ::2], (0, 0, 0, 0, 0, y.size(1) - 3))
    return net.tail(F.relu(torch.add(y, x)))


@student
def dense_blocks(net: Any, x: Tensor) -> Tensor:
    features = [F.relu(net.start(x))]
    for block in net.blocks:
        features.append(block(torch.stack(features).sum(0)))
    return net.fc(torch.cat(features, 1).mean((2, 3))[:, 6:12])


@student
def dropped_blocks(net: Any, x: Tensor) -> Tensor:
    x = F.relu(net.start(x))
    return net.tail(x + stochastic_depth(net.more(x), 0.5, "row", net.training))


@student
def argument_that_is_none(net: Any, x: Tensor, skip: Tensor | None = None, double: bool = False) -> Tensor:
    x = net.start(x).relu()
    if skip is None:
        x = net.more(x).relu()
    return net.tail(2 * x if double else x)


# --------------------------------------------------------------------------------------------------- flatten

NETWORKS |= {
    "view of -1 and a number": lambda net, x: net.wide(net.small(x).view(-1, 96)),
    "view of the batch and -1": lambda net, x: net.wide((y := net.small(x)).view(y.size(0), -1)),
    "reshape": lambda net, x: net.wide(net.small(x).reshape(x.shape[0], 6 * 4 * 4)),
    "torch.flatten": lambda net, x: net.wide(torch.flatten(net.small(x), 1)),
    "product of the shape": lambda net, x: net.wide((y := net.small(x)).view(len(y), math.prod(y.shape[1:]))),
    "int of a size": lambda net, x: net.wide((y := net.small(x)).view(int(y.size(0)), int(y.numel() / y.size(0)))),
    "star of the shape": lambda net, x: net.wide((y := net.small(x)).view(*y.shape[:1], -1)),
    "squeeze": lambda net, x: net.fc(F.adaptive_avg_pool2d(F.relu(net.start(x)), 1).squeeze(3).squeeze(2)),
    "mean twice": lambda net, x: net.fc(F.relu(net.start(x)).mean(3).mean(2)),
}


@student
def flat_features_counted_in_a_loop(net: Any, x: Tensor) -> Tensor:
    x = net.small(x)
    count = 1
    for size in x.size()[1:]:
        count *= size
    return net.wide(x.view(-1, count))


@student
def sizes_unpacked(net: Any, x: Tensor) -> Tensor:
    batch, channels, height, width = net.small(x).size()
    return net.wide(net.small(x).view(batch, channels * height * width))


# ------------------------------------------------------------------------------------------------- attention


@student
def attention_module(net: Any, x: Tensor) -> Tensor:
    tokens = net.tokens(x)
    return net.fc(F.relu(tokens + net.heads(tokens, tokens, tokens, need_weights=False)[0]).mean(1))


@student
def attention_by_hand(net: Any, x: Tensor) -> Tensor:
    tokens = net.tokens(x)
    weights = (tokens @ tokens.transpose(-2, -1) / tokens.size(-1) ** 0.5).softmax(-1)
    return net.fc(F.relu(weights @ tokens).mean(1))


@student
def attention_function(net: Any, x: Tensor) -> Tensor:
    tokens = net.tokens(x)
    return net.fc(F.relu(F.scaled_dot_product_attention(tokens, tokens, tokens)).mean(1))


@student
def attention_by_einsum(net: Any, x: Tensor) -> Tensor:
    y = net.small(x)
    weights = torch.softmax(torch.einsum("bchw,bcij->bhwij", y, y).flatten(3), -1)
    return net.head(torch.einsum("bhwk,bck->bchw", weights, y.flatten(2)))


@student
def class_token(net: Any, x: Tensor) -> Tensor:
    tokens = net.tokens(x)
    tokens = torch.cat([net.token.expand(tokens.shape[0], -1, -1), tokens], 1)
    return net.fc(net.heads(tokens, tokens, tokens)[0][:, 0])


@student
def squeeze_and_excite(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    b, c, _, _ = x.shape
    gate = torch.sigmoid(net.excite(F.relu(net.squeeze(F.adaptive_avg_pool2d(x, 1).view(b, c)))))
    return net.tail(x * gate.view(b, c, 1, 1).expand_as(x))


@student
def spatial_attention(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    both = torch.cat([x.mean(1, keepdim=True), torch.max(x, 1, keepdim=True)[0]], dim=1)
    return net.tail(x * torch.sigmoid(both.sum(1, keepdim=True)))


# ------------------------------------------------------------------------------------- loops and conditions


@student
def loop_over_modules(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    for block in net.blocks:
        x = block(x)
    return net.head(x)


@student
def pooled_while_large(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    while x.shape[-1] > 4:
        x = F.max_pool2d(F.relu(net.body(x)), 2)
    return net.head(x)


@student
def loop_over_a_range_of_sizes(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    for _ in range(x.size(2) // 8):
        x = net.pool(F.relu(net.body(x)))
    return net.head(x)


@student
def branch_on_a_size(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    return net.tail(net.pool(x) if x.shape[2] >= 16 and x.dim() == 4 else x)


@student
def assertion_of_a_shape(net: Any, x: Tensor) -> Tensor:
    assert x.ndim == 4, "an image"
    assert isinstance(x.shape[0], int)
    if x.size(-1) < 8:
        raise ValueError("too small")
    return net.tail(net.start(x))


@student
def padded_to_a_multiple(net: Any, x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    x = F.pad(x, (0, (5 - width % 5) % 5, 0, (5 - height % 5) % 5))
    return net.tail(F.relu(net.start(x)))


@student
def zeros_of_a_size(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    state = torch.zeros(x.size(0), 6, x.size(2), x.size(3), dtype=x.dtype)
    for _ in range(2):
        state = torch.tanh(net.body(state) + x)
    return net.tail(F.relu(state))


@student
def coordinates(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    rows = torch.arange(x.shape[2], dtype=x.dtype).view(1, 1, -1, 1).expand(x.size(0), 1, *x.shape[2:])
    columns = torch.linspace(0, 1, x.shape[3], dtype=x.dtype).expand_as(rows)
    return net.head(F.relu(net.coordinates(torch.cat([x, rows, columns], 1))))


@student
def image_by_image(net: Any, x: Tensor) -> Tensor:
    return net.tail(torch.stack([F.relu(maps) for maps in net.start(x)]))


@student
def channel_by_channel(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    return net.tail(torch.stack([torch.relu(x[:, i]) * (i + 1) for i in range(x.shape[1])], dim=1))


@student
def channels_shuffled(net: Any, x: Tensor) -> Tensor:
    b, c, h, w = (x := net.start(x)).size()
    return net.tail(F.relu(x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, -1, h, w)))


@student
def branch_on_a_parameter(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    return net.tail(F.relu(x) * net.alpha if net.alpha > 0 else x)


@student
def quadrants(net: Any, x: Tensor) -> Tensor:
    x = F.relu(net.start(x))
    half = x.size(-1) // 2
    return net.tail(x[..., :half, :half] + x[..., half:, half:].flip(-1))


# -------------------------------------------------------------------------------------- in place, in views


@student
def slice_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    x[:, :3].relu_()
    return net.tail(x)


@student
def chunk_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    first, second = x.chunk(2, dim=1)
    first.relu_()
    return net.tail(torch.cat([second, first], 1) + x)


@student
def view_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    flat = x.view(x.size(0), -1)
    F.relu(flat, inplace=True)
    return net.tail(x)


@student
def transposed_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    rows = x.permute(0, 2, 3, 1)
    rows[..., 0].mul_(2)
    net.relu_(rows)
    return net.tail(x)


@student
def view_before_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    last = x[:, 3:]
    net.relu_(x)
    return net.tail(torch.cat([last, x[:, :3]], 1))


@student
def two_views_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    top, left = x[:, :, :8], x[..., :8]
    top.relu_()
    left += 0.5
    x.mul_(0.9)
    return net.tail(torch.cat([top, left.transpose(2, 3)], 3) + x.mean())


@student
def slice_assigned(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    x[:, 0] = F.relu(x[:, 1])
    x[:, 2:4] += x[:, 4:6]
    return net.tail(x)


@student
def negative_values_assigned(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    x[x < 0] = 0
    return net.tail(x)


@student
def canvas_filled(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    canvas = torch.zeros_like(x)
    canvas[:, :, 1:] = F.relu(x[:, :, :-1])
    return net.tail(canvas)


@student
def canvas_of_a_size_filled(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    canvas = x.new_zeros(x.size(0), 6, x.size(2) + 2, x.size(3) + 2)
    canvas[:, :, 1:-1, 1:-1] = x
    return net.tail(canvas)


@student
def flattened_in_place(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    net.relu_(nn.Flatten()(x))
    return net.tail(x)


@student
def relu_twice_in_place(net: Any, x: Tensor) -> Tensor:
    return net.tail((net.start(x) - 0.1).relu().relu_())


@student
def augmented_in_place(net: Any, x: Tensor) -> Tensor:
    y = x = net.start(x)
    y += 1
    y *= 0.5
    return net.tail(F.relu(x) - y / 3)


@student
def made_up_and_filled(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    canvas = torch.zeros(x.size(0), 6, x.size(2), x.size(3) + 1, dtype=x.dtype)
    for row in range(0, x.size(2), 8):
        canvas[:, :, row, 1:] = F.relu(x[:, :, row]) * (row + 1)
    canvas[:, 2:4].mul_(0.5)
    return net.tail(canvas / canvas.shape[-1])


@student
def made_up_and_summed(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    total = torch.zeros(x.size(0), 6, x.size(2), x.size(3), dtype=x.dtype)
    for shift in range(3):
        total.add_(F.relu(x - shift))
        total[:, 3:].copy_(x[:, :3])
    return net.tail(total * 2 + total[:, :1])


@student
def answers_put_together(net: Any, x: Tensor) -> Tensor:
    x = F.relu(net.start(x)).mean((2, 3))
    answers = torch.empty(x.size(0), 4, dtype=x.dtype)
    for index in range(x.size(0)):
        answers[index] = net.fc(x[index])
    return answers


def _chunk_out_of_place(net: Any, x: Tensor) -> Tensor:
    first, second = net.start(x).chunk(2, dim=1)
    first = first.relu()
    return net.tail(torch.cat([second, first], 1) + torch.cat([first, second], 1))


OUT_OF_PLACE: dict[str, Forward] = {"chunk_in_place": _chunk_out_of_place}
"""The same without operations in place, where autograd forbids those."""

# ------------------------------------------------------------------------------------------ and all the rest


@student
def fourier(net: Any, x: Tensor) -> Tensor:
    spectrum = torch.fft.rfft2(net.start(x))
    return net.tail(F.relu(torch.fft.irfft2(spectrum * spectrum.abs().sigmoid(), s=x.shape[-2:])))


@student
def complex_parts(net: Any, x: Tensor) -> Tensor:
    wave = torch.complex(net.start(x), net.more(net.stem(x)))
    return net.tail(F.relu((wave * wave).real) + wave.imag)


@student
def keywords(net: Any, x: Tensor) -> Tensor:
    x = net.start(x)
    x = torch.where(condition=x > 1, input=x, other=0.5 * x)
    return net.tail(x.masked_fill(mask=x < 0, value=0))


@student
def asks_for_the_type(net: Any, x: Tensor) -> Tensor:
    assert isinstance(x, Tensor)
    assert torch.is_tensor(x)
    assert x.is_floating_point()
    assert not torch.is_complex(x)
    return net.tail(net.start(x.type(net.fc.weight.type())))


@student
def normalised_by_torchvision(net: Any, x: Tensor) -> Tensor:
    return net.tail(net.start(torchvision.transforms.functional.normalize(x, [0.5] * 3, [0.2, 0.3, 0.4])))


@student
def gradients_watched_as_in_grad_cam(net: Any, x: Tensor) -> Tensor:
    x = F.relu(net.start(x))
    x.register_hook(lambda gradient: None)
    x.retain_grad()
    return net.tail(x)


@student
def parts_of_a_sequential(net: Any, x: Tensor) -> Tensor:
    return net.tail(net.shortcut[1:](F.relu(net.shortcut[:1](net.start(x)))))


class Named(nn.Module):
    """A block that is called with keywords and answers with a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)

    def forward(self, images: Tensor, *, scale: float = 1.0) -> dict[str, Tensor]:
        first = F.relu(self.conv_1(images)) * scale
        return {"first": first, "second": F.relu(self.conv_2(first))}


class Answers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.fc = Named(), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.block(images=x, scale=0.5)["second"].mean((2, 3)))


def _body() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(True))


def _with_head(body: nn.Module) -> nn.Sequential:
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def _one_relu() -> nn.Sequential:
    act = nn.ReLU()
    layers = [act, nn.Conv2d(3, 3, 1), act, nn.Conv2d(3, 3, 1), act]
    return nn.Sequential(nn.Identity(), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))


def _hooked() -> nn.Module:
    net = _with_head(_body())
    net[0].register_forward_hook(lambda module, inputs, output: F.relu(output - 0.1))
    return net


def _patched() -> nn.Module:
    net = _with_head(_body())
    net.forward = partial_forward.__get__(net)
    return net


def partial_forward(net: nn.Module, x: Tensor) -> Tensor:
    """A forward that is put on one network."""
    return net[3](net[2](net[1](F.relu(net[0](x) - 0.1))))


def _transformer() -> nn.Module:
    layer = partial(nn.TransformerEncoderLayer, 8, 2, 16, batch_first=True)
    tokens = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Flatten(2))
    net = nn.ModuleDict({"tokens": tokens, "first": layer(), "second": layer(norm_first=True), "fc": nn.Linear(8, 4)})
    net.forward = _transform.__get__(net)
    return net


def _transform(net: Any, x: Tensor) -> Tensor:
    return net["fc"](net["second"](net["first"](net["tokens"](x).transpose(1, 2))).mean(1))


class Recurrent(nn.Module):
    """An LSTM over the rows; what it returns is overwritten in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lstm, self.fc = nn.Conv2d(3, 8, 3), nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        states, (last, _) = self.lstm(self.conv(x).mean(3).transpose(1, 2))
        return self.fc(torch.relu_(states)[:, -1] + last[0])


BUILT: dict[str, Callable[[], nn.Module]] = {
    "an LSTM": Recurrent,
    "one ReLU in nn.Sequential": _one_relu,
    "nn.DataParallel": lambda: nn.DataParallel(_with_head(_body())),
    "nn.DataParallel inside": lambda: _with_head(nn.DataParallel(_body())),
    "averaged weights": lambda: torch.optim.swa_utils.AveragedModel(_with_head(_body())),
    "torch.compile": lambda: torch.compile(_with_head(_body())),
    "forward hook": _hooked,
    "a forward of its own": _patched,
    "keywords and dictionaries": Answers,
    "nn.TransformerEncoderLayer": _transformer,
    "torchvision's transform": lambda: nn.Sequential(torchvision.transforms.CenterCrop(12), _with_head(_body())),
    "torch.jit inside": lambda: _with_head(nn.Sequential(nn.Conv2d(3, 8, 3), torch.jit.script(nn.Hardswish()))),
    "weight norm": lambda: _with_head(nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), nn.ReLU())),
}
