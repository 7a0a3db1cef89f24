"""A LeNet-like network: three times convolution, ReLU, max-pooling, then two dense layers.

    conv 5x5, 32 - ReLU - pool 2    conv 5x5, 64 - ReLU - pool 2    conv 5x5, 128 - ReLU - pool 2
    dense 64 - ReLU - dense 10

Padding 2 keeps each convolution's output as large as its input, so 32 px become 16, 8 and 4. It has
2,432 + 51,264 + 204,928 + 131,136 + 650 = 390,410 parameters; the report that it comes from counted 390,400,
since it left out the ten biases of the last layer.

Reference: LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document recognition".
"""

from torch import Tensor, nn

from engine.models.blocks import dense_side

WIDTHS = (32, 64, 128)


class LeNet(nn.Module):
    """Logits `[N, num_classes]` of images `[N, 3, input_size, input_size]`; at least 8 px."""

    def __init__(self, num_classes: int = 10, input_size: int = 32) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for inputs, outputs in zip((3, *WIDTHS), WIDTHS, strict=False):
            stages += [nn.Conv2d(inputs, outputs, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        side = dense_side("LeNet", stages, input_size)
        self.features = nn.Sequential(*stages)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(WIDTHS[-1] * side * side, 64), nn.ReLU(), nn.Linear(64, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
