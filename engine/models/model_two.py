"""Model 2: LeNet with batch norm between each convolution and its ReLU, and a little dropout at the start.

    conv 32 - dropout - BN - ReLU - pool    conv 64 - BN - ReLU - pool    conv 128 - BN - ReLU - pool
    dense 64 - BN - ReLU - dense 10

All convolutions are 5x5 with padding 2. With `batch_norm=False` it is the ablation of the report.

Reference: Ioffe & Szegedy (2015), "Batch normalization"; Tompson et al. (2015) for dropout of whole maps;
Glorot & Bengio (2010) for the initial weights.
"""

from torch import Tensor, nn

from engine.models.blocks import dense_side
from engine.models.initialisation import initialise_

WIDTHS = (32, 64, 128)


class ModelTwo(nn.Module):
    """Logits `[N, num_classes]` of images `[N, 3, input_size, input_size]`; at least 8 px."""

    def __init__(
        self, num_classes: int = 10, input_size: int = 32, dropout: float = 0.1, batch_norm: bool = True
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for inputs, outputs in zip((3, *WIDTHS), WIDTHS, strict=False):
            stages.append(nn.Conv2d(inputs, outputs, kernel_size=5, padding=2))
            stages += [nn.Dropout2d(dropout)] if inputs == 3 else []
            stages += [nn.BatchNorm2d(outputs)] if batch_norm else []
            stages += [nn.ReLU(), nn.MaxPool2d(2)]
        side = dense_side("Model 2", stages, input_size)
        self.features = nn.Sequential(*stages)
        normalisation = [nn.BatchNorm1d(64)] if batch_norm else []
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(WIDTHS[-1] * side * side, 64), *normalisation, nn.ReLU(), nn.Linear(64, num_classes)
        )
        initialise_(self, "xavier")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
