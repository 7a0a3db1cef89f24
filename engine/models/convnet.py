"""ConvNets of two to five layers: how much does depth matter?

Layer i is: convolution without padding, ReLU, max-pooling, dropout of whole maps. Channels and kernels are
16 (3x3), 24, 32, 40, 48 (4x4); then dense 512 + ReLU and dense 10. The report that they come from put another ReLU
behind the last layer, which cuts every negative logit to zero; it is left out here.

Without padding each layer takes k - 1 pixels off before the pooling halves the rest, so each depth needs a minimum
input size, and the dense layer depends on it: at 256 px it has 24x62x62, 32x29x29, 40x13x13 or 48x5x5 inputs.

Reference: Tompson et al. (2015), "Efficient object localization using convolutional networks", for dropout of maps;
Springenberg et al. (2015), "Striving for simplicity", for strided convolutions in place of pooling.
"""

from torch import Tensor, nn

from engine.errors import ConvscopeError
from engine.models.blocks import dense_side

WIDTHS = (16, 24, 32, 40, 48)
KERNELS = (3, 4, 4, 4, 4)


def _stages(depth: int, dropout: float, kernel_size: int | None, pool_size: int, strided: bool) -> list[nn.Module]:
    """`strided`: the convolution itself moves by `pool_size` pixels, and there is no pooling."""
    modules: list[nn.Module] = []
    for inputs, outputs, kernel in zip((3, *WIDTHS), WIDTHS[:depth], KERNELS, strict=False):
        stride = pool_size if strided else 1
        modules += [nn.Conv2d(inputs, outputs, kernel_size or kernel, stride=stride), nn.ReLU()]
        modules += [] if strided else [nn.MaxPool2d(pool_size)]
        modules.append(nn.Dropout2d(dropout))
    return modules


class ConvNet(nn.Module):
    """Logits `[N, num_classes]` of images `[N, 3, input_size, input_size]`.

    Args:
        depth: convolutional layers, 2 to 5.
        dropout: the share of maps that training silences after each layer, 0 to 1.
        kernel_size: one kernel size for all layers; None takes the report's (3, then 4).
        pool_size: window and stride of the pooling.
        width: units in the dense layer.
        strided: strided convolutions instead of pooling.

    Raises:
        ConvscopeError: the depth is not 2 to 5, or the images are too small for it.
    """

    def __init__(
        self,
        num_classes: int = 10,
        input_size: int = 128,
        depth: int = 4,
        dropout: float = 0.3,
        kernel_size: int | None = None,
        pool_size: int = 2,
        width: int = 512,
        strided: bool = False,
    ) -> None:
        super().__init__()
        if depth not in range(2, len(WIDTHS) + 1):
            raise ConvscopeError(f"A ConvNet has 2 to 5 convolutional layers, not {depth}.")
        stages = _stages(depth, dropout, kernel_size, pool_size, strided)
        side = dense_side(f"A ConvNet with {depth} layers", stages, input_size)
        self.features = nn.Sequential(*stages)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(WIDTHS[depth - 1] * side * side, width), nn.ReLU(), nn.Linear(width, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
