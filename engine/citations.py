"""What the five student reports wrote down: the only figures in this project that are typed, since they are citations.

Four things keep them from being compared with ours to the digit: they come from single runs; most do not say how many
images were tested; two networks were trained on ImageNet-10, a subset of ImageNet that is not shipped; and reports 0
and 1 enlarged the images to 224 px.
"""

from dataclasses import dataclass

TITLES = (
    "Assignment 1, CNN for image recognition (26 October 2019)",
    "Assignment 1 of Artificial Intelligence of PKUSZ",
    "Model Training (ResNet-18 with SGD and Adam)",
    "Image Classification with Convolutional Neural Networks, ImageNet-10",
    "TDT4265, A2 (28 February 2019)",
)
"""Of the reports, by number."""

CIFAR10, IMAGENET10 = "cifar10", "imagenet10"


@dataclass(frozen=True)
class Reported:
    """One figure of a report.

    Attributes:
        report: its number, an index into `TITLES`.
        network: the checkpoint or architecture of ours that it belongs to.
        split: of which images: "train", "validation" or "test".
        accuracy: 0-1.
        where: the place in the report.
        loss: the cross-entropy in nats that stands beside it; None where the report gives none.
        images: how many were tested; None where the report does not say.
        dataset: `CIFAR10` or `IMAGENET10`.
        note: what a reader should know of it.
    """

    report: int
    network: str
    split: str
    accuracy: float
    where: str
    loss: float | None = None
    images: int | None = None
    dataset: str = CIFAR10
    note: str = ""


FIGURES = (
    Reported(0, "resnet18", "train", 1.0, "section 2.2", note="at 224 px; the last epoch's"),
    Reported(0, "resnet18", "test", 0.83, "section 2.2", note="at 224 px"),
    Reported(1, "resnet18", "train", 0.9244, "Training result", note="at 224 px, 900 epochs"),
    Reported(1, "resnet18", "validation", 0.8189, "Validation", note="at 224 px, 900 epochs"),
    Reported(2, "resnet18_strided", "train", 0.93022, "page 1", note="Adam, then SGD"),
    Reported(2, "resnet18_strided", "test", 0.7112, "page 1", note="Adam, then SGD"),
    Reported(3, "convnet4", "test", 714 / 1800, "Experiments", images=1800, dataset=IMAGENET10,
             note="ImageNet-10 at 256 px, dropout 0.1; the report rounds down to 39 %"),
    Reported(3, "resnet18", "test", 1162 / 1800, "Improving network performance", images=1800, dataset=IMAGENET10,
             note="ImageNet-10; the report rounds down to 64 %"),
    Reported(4, "lenet", "train", 0.9233, "table 1"),
    Reported(4, "lenet", "validation", 0.7092, "table 1"),
    Reported(4, "lenet", "test", 0.7149, "table 1",
             note="which counts 390,400 parameters: it leaves out the ten output biases"),
    Reported(4, "model_one", "train", 0.9833, "table 3", loss=0.0532),
    Reported(4, "model_one", "validation", 0.7792, "table 3", loss=0.8744, note="79.04 % in epoch 9"),
    Reported(4, "model_one", "test", 0.7792, "table 3", loss=0.9055),
    Reported(4, "model_two", "train", 0.9638, "table 3", loss=0.1196),
    Reported(4, "model_two", "validation", 0.7386, "table 3", loss=0.8879, note="75.82 % in epoch 7"),
    Reported(4, "model_two", "test", 0.7528, "table 3", loss=0.8628),
)  # fmt: skip


def unseen(network: str) -> tuple[Reported, ...]:
    """Of each report that has `network`, its figures on images that it did not train on: test, or else validation."""
    found = [figure for figure in FIGURES if figure.network == network]
    tested = {figure.report for figure in found if figure.split == "test"}
    return tuple(figure for figure in found if figure.split == ("test" if figure.report in tested else "validation"))
