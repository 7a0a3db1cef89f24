"""Model 1: deeper than LeNet, with two convolutions between poolings and batch norm before each pooling.

    conv 32 - ReLU - dropout - BN - pool
    conv 64 - ReLU - conv 128 - ReLU - BN - pool
    conv 256 - ReLU - conv 512 - ReLU - BN - pool
    dense 2048 - ReLU - dense 64 - ReLU - BN - dense 10

All convolutions are 3x3 with padding 1, so 32 px become 16, 8 and 4. Here batch norm follows the ReLU, and some
convolutions have none: the "weight scale" of the reconstruction page therefore does not apply to it.

Reference: Ioffe & Szegedy (2015), "Batch normalization"; Tompson et al. (2015) for dropout of whole maps;
Glorot & Bengio (2010) for the initial weights.
"""

from torch import Tensor, nn

from engine.models.blocks import dense_side
from engine.models.initialisation import initialise_


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.ReLU()]


def _normalise_and_pool(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.MaxPool2d(2)]


class ModelOne(nn.Module):
    """Logits `[N, num_classes]` of images `[N, 3, input_size, input_size]`; at least 8 px."""

    def __init__(self, num_classes: int = 10, input_size: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        stages = [*_convolution(3, 32), nn.Dropout2d(dropout), *_normalise_and_pool(32)]
        stages += [*_convolution(32, 64), *_convolution(64, 128), *_normalise_and_pool(128)]
        stages += [*_convolution(128, 256), *_convolution(256, 512), *_normalise_and_pool(512)]
        side = dense_side("Model 1", stages, input_size)
        self.features = nn.Sequential(*stages)
        dense = [nn.Linear(512 * side * side, 2048), nn.ReLU(), nn.Linear(2048, 64), nn.ReLU()]
        self.classifier = nn.Sequential(nn.Flatten(), *dense, nn.BatchNorm1d(64), nn.Linear(64, num_classes))
        initialise_(self, "xavier")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
