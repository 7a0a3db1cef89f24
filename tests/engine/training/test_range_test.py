"""The learning-rate range test: rising rates, plain gradient descent, and nothing else is touched."""

from itertools import pairwise, takewhile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.optim import SGD

from engine.data import prepare
from engine.training.__main__ import main
from engine.training.batches import Batches
from engine.training.datasets import Splits
from engine.training.range_test import RangeTestPoint, range_test, suggested, write_csv
from engine.training.recipe import Phase
from engine.training.start import fresh_network
from tests.pictures import class_folders
from tests.runs import CPU, lenet


def test_the_rate_rises_by_the_same_factor_from_low_to_high(splits: Splits) -> None:
    points = list(range_test(lenet(), splits, CPU, steps=9, low=1e-8, high=1e-4))
    assert [point.step for point in points] == list(range(9))
    assert points[0].learning_rate == pytest.approx(1e-8)
    assert points[-1].learning_rate == pytest.approx(1e-4)
    for one, two in pairwise(points):
        assert two.learning_rate / one.learning_rate == pytest.approx(10**0.5)


def test_each_step_is_gradient_descent_at_its_rate(splits: Splits) -> None:
    """The slow twin: torch's SGD, step by step, over the end of an epoch of four batches."""
    recipe = lenet(phases=(Phase(1, 0.5, momentum=0.0, weight_decay=0.0),))
    points = list(range_test(recipe, splits, CPU, steps=6, low=1e-3, high=1e-1))
    model = fresh_network(recipe, 10)
    source = Batches(splits.train, recipe, CPU)
    smoothed, weight = 0.0, 0.0
    for point, (images, labels) in zip(points, [*source.epoch(0), *source.epoch(1)], strict=False):
        loss = F.cross_entropy(model(prepare(images, 32, *recipe.statistics)), labels)
        smoothed, weight = 0.9 * smoothed + 0.1 * loss.item(), 0.9 * weight + 0.1
        assert point.loss == pytest.approx(loss.item(), rel=1e-4)
        assert point.smoothed == pytest.approx(smoothed / weight, rel=1e-4)
        model.zero_grad()
        loss.backward()
        SGD(model.parameters(), lr=point.learning_rate).step()


def test_it_stops_when_the_loss_explodes(splits: Splits) -> None:
    points = list(range_test(lenet(), splits, CPU, steps=40, low=1e-3, high=1e4))
    assert 5 < len(points) < 40
    assert all(np.isfinite(point.loss) for point in points)
    lowest = min(point.smoothed for point in points)
    calm = takewhile(lambda point: point.step < 5 or point.smoothed <= 4 * lowest, points)
    assert len(list(calm)) >= len(points) - 1


def test_a_tenth_of_the_rate_at_the_lowest_loss_is_suggested() -> None:
    losses = [2.3, 2.2, 1.9, 1.5, 1.7, 4.0]
    points = [RangeTestPoint(n, 10.0 ** (n - 5), 9.9 - loss, loss) for n, loss in enumerate(losses)]
    assert suggested(points) == pytest.approx(1e-3)
    assert suggested(points[:1]) is None
    assert suggested([]) is None


def test_the_curve_is_stored(tmp_path: Path) -> None:
    write_csv([RangeTestPoint(0, 1e-6, 2.5, 2.5), RangeTestPoint(1, 1e-5, 2.25, 2.375)], tmp_path / "curve.csv")
    assert np.loadtxt(tmp_path / "curve.csv", delimiter=",", skiprows=1).tolist() == [
        [0, 1e-6, 2.5, 2.5],
        [1, 1e-5, 2.25, 2.375],
    ]


@pytest.mark.parametrize("resumed", [False, True])
def test_the_command_prints_the_curve_and_leaves_the_run_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], resumed: bool
) -> None:
    pictures = class_folders(tmp_path / "pictures", {"a": 20, "b": 20})
    (tmp_path / "mine.toml").write_text(
        f'architecture = "lenet"\ndataset = "folder"\ndata_folder = "{pictures}"\ninput_size = 12\nbatch_size = 8\n'
        "[[phases]]\nepochs = 2\nlearning_rate = 0.01\n"
    )
    command = [str(tmp_path / "mine.toml"), "--runs", str(tmp_path / "runs"), "--device", "cpu", "--no-checkpoint"]
    assert main([*command, "--stop-after", "1"]) == 0
    folder = tmp_path / "runs" / "mine"
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    capsys.readouterr()
    torch.manual_seed(0)
    named = ["--resume", "mine", *command[1:]] if resumed else command
    assert main([*named, "--range-test"]) == 0
    counts, *printed = capsys.readouterr().out.splitlines()
    assert counts == "2 classes: 32 pictures to learn from, 4 to pick the epoch, 4 to test."
    assert printed[0].split() == ["learning", "rate", "loss", "smoothed"]
    assert printed[-2].startswith("Suggested: ")
    stored = np.loadtxt(folder / "range_test.csv", delimiter=",", skiprows=1)
    assert len(stored) == len(printed) - 3
    after = {file: file.read_bytes() for file in folder.rglob("*") if file.name != "range_test.csv" and file.is_file()}
    assert after == before
