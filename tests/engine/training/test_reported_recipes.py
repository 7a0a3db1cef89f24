"""The recipes "as reported": every one parses, says what the report does not, and can train."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine import settings
from engine.data import LabelledImages
from engine.training import recipe as recipes
from engine.training.datasets import Splits
from engine.training.loop import StepReport, Training
from engine.training.run import RunFolder
from tests.runs import CPU, Stop

FILES = sorted((settings.folders.recipes / "as_reported").glob("*.toml"))
HEAVY = {"report3_convnet2", "report3_convnet3"}
"""47 and 14 million parameters at 256 px, which would take seconds."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_parses_and_says_where_it_comes_from(file: Path):
    recipe = recipes.read(file)
    first = file.read_text().splitlines()[0]
    assert recipe.name == file.stem
    assert first.startswith(f"# Report {file.stem.removeprefix('report')[0]}")
    assert recipe.dataset == "cifar10"
    assert all(phase.schedule == "constant" and phase.weight_decay == 0 for phase in recipe.phases)
    assert (recipe.crop_padding, recipe.flip, recipe.cutout, recipe.label_smoothing, recipe.ema) == (0, False, 0, 0, 0)


def test_every_report_has_one():
    assert {file.stem.removeprefix("report")[0] for file in FILES} == set("01234")


def test_the_settings_that_the_reports_state():
    (one,) = recipes.read("as_reported/report1_resnet18").phases
    assert (one.optimizer, one.learning_rate, one.momentum, one.epochs) == ("sgd", 5e-4, 0.9, 900)
    assert recipes.read("as_reported/report1_resnet18").batch_size == 256
    adam, sgd = recipes.read("as_reported/report2_adam_then_sgd").phases
    assert (adam.optimizer, adam.epochs, sgd.optimizer) == ("adam", 6, "sgd")
    for depth in (2, 3, 4, 5):
        recipe = recipes.read(f"as_reported/report3_convnet{depth}")
        (phase,) = recipe.phases
        assert (phase.optimizer, phase.learning_rate, phase.momentum, phase.epochs) == ("sgd", 1e-3, 0.9, 10)
        assert recipe.options == {"dropout": 0.3}
    recipe = recipes.read("as_reported/report4_model_two")
    assert (recipe.phases[0].optimizer, recipe.phases[0].learning_rate, recipe.batch_size) == ("adam", 1e-3, 64)
    assert recipe.initialisation == "xavier"


@pytest.mark.parametrize("file", [file for file in FILES if file.stem not in HEAVY], ids=lambda file: file.stem)
def test_it_trains_a_step(file: Path, tmp_path: Path, bundled_train: LabelledImages):
    few = Splits(bundled_train.subset(np.arange(2)), bundled_train.subset(np.arange(2)))
    recipe = replace(recipes.read(file), name="tiny")
    steps: list[StepReport] = []

    def stop(report: StepReport) -> None:
        steps.append(report)
        raise Stop

    folder = RunFolder(tmp_path / "run")
    folder.begin(recipe)
    with pytest.raises(Stop):
        Training(recipe, few, folder, CPU, stop).run()
    assert np.isfinite(steps[0].loss)
    assert steps[0].learning_rate == recipe.phases[0].learning_rate
