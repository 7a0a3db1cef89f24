"""ResNet-18, as torchvision builds it, and a strided variant for 32 px images.

A residual block computes `relu(x + F(x))`: the shortcut carries x past two convolutions F, so that they only have to
learn what to change (He et al. 2016, equation 1). Where a stage halves the map, a 1x1 convolution fits x to it.

    conv1: 7x7, stride 2, BN, ReLU, 3x3 max-pool, stride 2      (to a quarter of the input's side)
    conv2_x ... conv5_x: two blocks each, 64 / 128 / 256 / 512 channels, each stage but the first halves the side
    global average pooling, dense 10

Since the average is taken over whatever side is left, the network accepts any input size, and can be viewed at
another size than it was trained at. With 10 classes it has 11,181,642 parameters.

The strided variant, from the report that trained at 32 px, has no max-pool and lets all four stages halve the map:
32 px become 16, 8, 4, 2 and 1.

Reference: He, Zhang, Ren & Sun (2016), "Deep residual learning for image recognition".
"""

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


def resnet18(num_classes: int = 10) -> ResNet:
    """Torchvision's ResNet-18: logits `[N, num_classes]` of images `[N, 3, H, W]`."""
    return ResNet(BasicBlock, [2, 2, 2, 2], num_classes=num_classes)


class StridedResNet(ResNet):
    """ResNet-18 without max-pool, whose first stage has stride 2 as well."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=num_classes)
        self.maxpool = nn.Identity()
        self.inplanes = 64
        self.layer1 = self._make_layer(BasicBlock, 64, blocks=2, stride=2)
        for module in self.layer1.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
