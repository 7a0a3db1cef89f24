"""What the five student reports measured: the only figures in this project that are typed, since they are citations.

`FIGURES` are their accuracies, network by network. Four things keep them from being compared with ours to the digit:
they come from single runs; most reports do not mention how many images were tested; two networks were trained on
ImageNet-10, a subset of ImageNet that is not shipped; and reports 0 and 1 enlarged the images to 224 px.

`TESTS` are three tests class by class, with what is known of their uncertainty:

* A ResNet-18 on CIFAR-10, accuracy 81.89 %, with ten figures per class in two decimals. 71.79 % cannot come from the
  1,000 test images of a class, for then every figure would end after one decimal. It is 28 of 39, and
  `fitting_samples` finds such a fraction for each figure: all ten fit samples of 20 to 45 images. Where several
  fit, the smallest stands here, so the interval is the widest that the figure allows.
* Two networks on 1,800 images of an ImageNet-10, with confusion matrices and with a printed list per class. The list
  and the matrix disagree (cat: 54 % in the list, 78 of 175 = 45 % in the matrix), so the list was counted on other,
  probably fewer, images. The matrices add up to the overall figures (714 and 1,162 of 1,800): shares and intervals come
  from them.

Intervals are Wilson's (`engine.accuracy.figures`): with 18 of 23 images recognised, anything from 58 to 90 % is
possible. That is the lesson: a ranking of classes by such figures is mostly luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.accuracy.figures import Share, wilson
from engine.data import CIFAR10_CLASSES

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
        dataset: `CIFAR10` or `IMAGENET10`.
        note: what a reader should know of it.
    """

    report: int
    network: str
    split: str
    accuracy: float
    where: str
    dataset: str = CIFAR10
    note: str = ""

    @property
    def recipe(self) -> str:
        """The name of the recipe in recipes/as_reported/ that trains as the report says it did."""
        return "report2_adam_then_sgd" if self.report == 2 else f"report{self.report}_{self.network}"


_LENET = "which counts 390,400 parameters: it leaves out the ten output biases"
_CONVNET_4 = "ImageNet-10 at 256 px, dropout 0.1; the report rounds down to 39 %"
_RESNET = "ImageNet-10; the report rounds down to 64 %"

FIGURES = (
    Reported(0, "resnet18", "train", 1.0, "section 2.2", note="at 224 px; the last epoch's"),
    Reported(0, "resnet18", "test", 0.83, "section 2.2", note="at 224 px"),
    Reported(1, "resnet18", "train", 0.9244, "Training result", note="at 224 px, 900 epochs"),
    Reported(1, "resnet18", "validation", 0.8189, "Validation", note="at 224 px, 900 epochs"),
    Reported(2, "resnet18_strided", "train", 0.93022, "page 1", note="Adam, then SGD"),
    Reported(2, "resnet18_strided", "test", 0.7112, "page 1", note="Adam, then SGD"),
    Reported(3, "convnet4", "test", 714 / 1800, "Experiments", dataset=IMAGENET10, note=_CONVNET_4),
    Reported(3, "resnet18", "test", 1162 / 1800, "Improving network performance", IMAGENET10, _RESNET),
    Reported(4, "lenet", "train", 0.9233, "table 1"),
    Reported(4, "lenet", "validation", 0.7092, "table 1"),
    Reported(4, "lenet", "test", 0.7149, "table 1", note=_LENET),
    Reported(4, "model_one", "train", 0.9833, "table 3"),
    Reported(4, "model_one", "validation", 0.7792, "table 3", note="79.04 % in epoch 9"),
    Reported(4, "model_one", "test", 0.7792, "table 3"),
    Reported(4, "model_two", "train", 0.9638, "table 3"),
    Reported(4, "model_two", "validation", 0.7386, "table 3", note="75.82 % in epoch 7"),
    Reported(4, "model_two", "test", 0.7528, "table 3"),
)

QUOTED = {
    (0, "parameters"): "11,181,642",
    (1, "cross_entropy"): "0.8189",
    (1, "epochs"): "900",
    (1, "accuracy"): "81.89 %",
    (2, "adam_epochs"): "6",
    (2, "train"): "93.022 %",
    (2, "test"): "71.120 %",
    (3, "four_layers"): "39 %",
    (3, "resnet18"): "64 %",
    (3, "dropout_before"): "0.3",
    (3, "dropout_after"): "0.1",
    (4, "parameters"): "390,400",
    (4, "last_layer"): "640",
    (4, "lenet_lowest_loss"): "0.8024",
    (4, "lenet_lowest_loss_epoch"): "6",
    (4, "training_loss"): "0.0532",
    (4, "validation_loss"): "0.8744",
    (4, "lowest_loss"): "0.6595",
    (4, "lowest_loss_epoch"): "5",
    (4, "gain_of_model_one"): "3 %",
    (4, "gain_of_dropout"): "1 %",
    (4, "dropout"): "30 %",
    (4, "epochs"): "10",
}
"""Other figures of the reports, by report and what they are of, as they print them."""


def unseen(network: str) -> tuple[Reported, ...]:
    """Of each report that has `network`, its figures on images that it did not train on: test, or else validation."""
    figures = [figure for figure in FIGURES if figure.network == network]
    tested = {figure.report for figure in figures if figure.split == "test"}
    return tuple(figure for figure in figures if figure.split == ("test" if figure.report in tested else "validation"))


# Class by class ------------------------------------------------------------------------------------------------

FEWEST, MOST = 20, 45
"""The sizes of the samples behind the CIFAR-10 figures: within them, all ten figures are fractions."""


@dataclass(frozen=True)
class ReportedTest:
    """One test of a report.

    Attributes:
        name: a few words that tell it from the others.
        source: whose figures these are.
        classes: the classes' names.
        printed: the recall of each class as the report lists it, 0-1.
        shares: the same with sample sizes and intervals, as far as the report lets one tell (see above).
        overall: of all images of the test.
        confusion: int64 `[K, K]`, counts of (true class, predicted class); None where the report has none.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    printed: tuple[float, ...]
    shares: tuple[Share, ...]
    overall: Share
    confusion: np.ndarray | None


def fitting_samples(percent: float, fewest: int = FEWEST, most: int = MOST, decimals: int = 2) -> list[Share]:
    """All (hits, total) with `fewest` to `most` images that round to `percent`, the smallest sample first."""
    nearest = ((round(percent / 100 * total), total) for total in range(fewest, most + 1))
    return [wilson(hits, total) for hits, total in nearest if round(100 * hits / total, decimals) == percent]


def matching(classes: Sequence[str]) -> list[ReportedTest]:
    """The reported tests on the same classes in the same order."""
    return [test for test in TESTS if test.classes == tuple(classes)]


def _from_percentages(name: str, source: str, percentages: Sequence[float], overall: Share) -> ReportedTest:
    shares = tuple(fitting_samples(percent)[0] for percent in percentages)
    printed = tuple(percent / 100 for percent in percentages)
    return ReportedTest(name, source, CIFAR10_CLASSES, printed, shares, overall, None)


def _from_matrix(name: str, source: str, percentages: Sequence[int], counts: Sequence[Sequence[int]]) -> ReportedTest:
    confusion = np.array(counts, dtype=np.int64)
    confusion.setflags(write=False)
    hits, totals = np.diag(confusion).tolist(), confusion.sum(axis=1).tolist()
    shares = tuple(wilson(hit, total) for hit, total in zip(hits, totals, strict=True))
    printed = tuple(percent / 100 for percent in percentages)
    return ReportedTest(name, source, IMAGENET10_CLASSES, printed, shares, wilson(sum(hits), sum(totals)), confusion)


IMAGENET10_CLASSES = ("baboon", "banana", "canoe", "cat", "desk", "drill", "dumbbell", "football", "mug", "orange")

TESTS = (
    _from_percentages(
        "report: ResNet-18 on CIFAR-10",
        "a student's report of 2019: ResNet-18, 900 epochs of SGD, batch 256",
        (79.31, 86.49, 71.79, 71.43, 86.67, 75.56, 90.32, 82.14, 86.11, 78.26),
        wilson(8_189, 10_000),
    ),
    _from_matrix(
        "report: four layers on ImageNet-10",
        "a student's report on ImageNet-10: four convolutions, dropout 0.1, 256 pixels",
        (42, 52, 41, 54, 14, 44, 18, 34, 41, 80),
        (
            (82, 2, 15, 50, 8, 5, 3, 4, 5, 2),
            (5, 90, 9, 12, 4, 3, 2, 8, 10, 43),
            (16, 11, 86, 26, 8, 6, 5, 11, 12, 3),
            (35, 11, 7, 78, 6, 4, 8, 10, 15, 1),
            (20, 8, 21, 17, 38, 12, 21, 13, 18, 6),
            (14, 12, 10, 15, 13, 65, 14, 3, 25, 6),
            (31, 7, 12, 21, 14, 25, 45, 8, 23, 9),
            (18, 16, 10, 37, 8, 8, 11, 40, 16, 3),
            (25, 21, 11, 14, 9, 11, 16, 10, 61, 19),
            (1, 25, 1, 4, 2, 0, 1, 1, 5, 129),
        ),
    ),
    _from_matrix(
        "report: ResNet-18 on ImageNet-10",
        "a student's report on ImageNet-10: ResNet-18, Adam 0.001",
        (91, 43, 78, 58, 76, 41, 65, 48, 49, 85),
        (
            (153, 2, 2, 14, 0, 0, 4, 1, 0, 0),
            (6, 93, 6, 9, 7, 1, 5, 3, 6, 50),
            (22, 2, 128, 2, 11, 4, 5, 8, 2, 0),
            (33, 1, 2, 114, 5, 1, 10, 3, 4, 2),
            (0, 1, 1, 1, 140, 4, 13, 6, 8, 0),
            (3, 1, 5, 4, 23, 78, 46, 10, 5, 2),
            (11, 5, 1, 4, 13, 13, 127, 7, 11, 3),
            (15, 11, 4, 8, 3, 8, 24, 77, 13, 4),
            (3, 6, 1, 7, 28, 2, 17, 11, 111, 11),
            (2, 5, 4, 1, 8, 1, 1, 0, 6, 141),
        ),
    ),
)
