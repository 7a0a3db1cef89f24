"""How many images it takes: a run is what its recipe says, images are drawn fairly, and results survive."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import probes
from engine.accuracy.figures import wilson
from engine.accuracy.predictions import Predictions
from engine.data import prepare
from engine.errors import ConvscopeError
from engine.evaluation import evaluate
from engine.training import finish, images_per_class
from engine.training.datasets import Splits
from engine.training.images_per_class import (
    METHODS,
    REPEATED,
    SEEDS,
    SIZES,
    Experiment,
    Run,
    drawn,
    in_words,
    planned,
    points,
)
from engine.training.loop import Training
from engine.training.recipe import Phase, Recipe
from engine.training.run import RunFolder
from engine.training.start import starting_network
from tests.runs import CPU

SCRATCH = Recipe("scratch", "model_two", (Phase(2, 0.05),), input_size=16, batch_size=16, ema=0.9, label_smoothing=0.1)
TRANSFER = replace(
    SCRATCH,
    name="transfer",
    phases=(Phase(2, 0.002, "adam", schedule="cosine"),),
    base="scratch",
    train_last=1,
    keep_frozen=True,
    crop_padding=0,
    flip=False,
)
ALL, SEED = 100, 5
"""Images of each class, more than there are; and the seed of the runs."""


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, use_folders: Callable[..., None]) -> Path:
    """Empty folders of results and of kept features."""
    use_folders(features=tmp_path / "features", experiments=tmp_path)
    return tmp_path


def training(recipe: Recipe, splits: Splits, folder: Path) -> Training:
    """A run of the trainer that is over; the base is beside it."""
    run = RunFolder(folder / f"run_{recipe.name}_{recipe.seed}")
    run.begin(recipe)
    trained = Training(recipe, splits, run, CPU, bases=folder)
    trained.run()
    return trained


@pytest.fixture
def experiment(splits: Splits, folders: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """On 64 images and a base that was trained on them; the tests are validation's images."""
    base = training(SCRATCH, splits, folders).folder
    finish.make_checkpoint(SCRATCH, base, splits.validation, splits.validation, folders)
    for steps in images_per_class.STEPS.values():
        monkeypatch.setitem(steps, ALL, 8)  # two epochs of four batches
    return Experiment(splits, splits.validation, SCRATCH, TRANSFER, folders)


def test_a_run_is_the_trainer_s_run_of_its_recipe(experiment: Experiment, splits: Splits, folders: Path) -> None:
    alone, kept = (training(replace(recipe, seed=SEED), splits, folders) for recipe in (SCRATCH, TRANSFER))
    test, (mean, std) = splits.validation, SCRATCH.statistics
    expected = evaluate(alone.measured_model.eval(), test.images, test.labels, input_size=16, mean=mean, std=std)
    np.testing.assert_array_equal(experiment.predictions(Run("scratch", ALL, SEED)).logits, expected.logits)
    with torch.no_grad():
        expected = kept.kept.predictions(kept.measured_model.eval())[1]
    np.testing.assert_array_equal(experiment.predictions(Run("transfer", ALL, SEED)).logits, expected.logits)


def test_the_linear_classifier_reads_what_the_last_layer_of_the_base_reads(
    experiment: Experiment, splits: Splits, folders: Path
) -> None:
    base, seen = starting_network(TRANSFER, splits.train.classes, CPU, folders).eval(), []
    last = [module for module in base.modules() if isinstance(module, torch.nn.Linear)][-1]
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for data in (splits.train, splits.validation):
            base(prepare(data.images, 16, *TRANSFER.statistics))
    expected = probes.fit(seen[0], torch.from_numpy(splits.train.labels), 10).logits(seen[1])
    found = experiment.predictions(Run("linear", ALL, SEED)).logits
    np.testing.assert_allclose(found, expected, atol=0.02)  # kept in 16 bits


def test_each_seed_draws_other_images_and_a_size_holds_the_smaller_ones() -> None:
    labels = np.tile(np.arange(10), 30)
    one, other = drawn(labels, 5, 1), drawn(labels, 5, 2)
    assert np.bincount(labels[one]).tolist() == [5] * 10
    assert len(set(one)) == 50
    assert set(one) != set(other)
    assert set(one) < set(drawn(labels, 10, 1))
    assert len(drawn(labels, 1_000, 1)) == 300


def test_small_sizes_are_run_with_every_seed_and_the_first_seed_goes_first() -> None:
    runs, small = planned(), sum(size <= REPEATED for size in SIZES)
    assert len(set(runs)) == len(runs) == len(METHODS) * (len(SIZES) + small * (len(SEEDS) - 1))
    assert {run.images for run in runs[: len(METHODS) * len(SIZES)]} == set(SIZES)
    assert all(set(steps) >= set(SIZES) for steps in images_per_class.STEPS.values())


class Stopped:
    """In place of an experiment: half of two test images are right, and somebody stops it at one run, once."""

    def __init__(self, at: Run) -> None:
        self.at, self.asked = at, []

    def predictions(self, run: Run) -> Predictions:
        self.asked.append(run)
        if run == self.at and self.asked.count(run) == 1:
            raise KeyboardInterrupt
        return Predictions(np.eye(2), np.zeros(2, dtype=np.int64))


def test_the_command_goes_on_where_it_was_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    runs = [Run("linear", 10, seed) for seed in SEEDS]
    stopped = Stopped(runs[1])
    monkeypatch.setattr(images_per_class, "planned", lambda: runs)
    monkeypatch.setattr(images_per_class, "_experiment", lambda: stopped)
    assert images_per_class.main([]) == 130
    assert images_per_class.results() == {runs[0]: wilson(1, 2)}
    assert images_per_class.main([]) == 0
    assert images_per_class.results() == dict.fromkeys(runs, wilson(1, 2))
    assert stopped.asked == [runs[0], runs[1], runs[1], runs[2]]
    assert images_per_class.main([]) == 0
    assert capsys.readouterr().out.endswith("All is measured.\n")


def test_a_point_is_the_mean_of_its_runs_and_its_bar_holds_their_intervals() -> None:
    known = {Run("linear", 10, seed): wilson(hits, 100) for seed, hits in ((1, 40), (2, 50))}
    (point,) = points(known)
    assert (point.runs, point.accuracy) == (2, 0.45)
    assert (point.low, point.high) == (wilson(40, 100).low, wilson(50, 100).high)


def test_results_come_back_and_a_damaged_file_is_one_sentence() -> None:
    assert images_per_class.results() == {}
    known = {Run("linear", 10, 1): wilson(40, 100), Run("scratch", 30, 2): wilson(0, 100)}
    images_per_class.write(known)
    assert images_per_class.results() == known
    file = images_per_class.results_file()
    whole = file.read_text()
    header = whole.splitlines()[0]
    for damaged in (header, whole.replace("40", "101"), whole + "x,1,1,1,1\n", whole + "linear\n", "method\nlinear\n"):
        file.write_text(damaged)
        with pytest.raises(ConvscopeError, match=r"experiments/images_per_class/results\.csv is damaged"):
            images_per_class.results()


def test_words_are_computed() -> None:
    hits = {("scratch", 10): 20, ("linear", 10): 70, ("transfer", 10): 60, ("scratch", 100): 50, ("scratch", 300): 75}
    known = {Run(*key, 1): wilson(value, 100) for key, value in hits.items()}
    assert in_words(points(known)) == (
        "With 10 images of each class: scratch 20.0 %, linear 70.0 %, transfer 60.0 %. With 300 images of each class: "
        "scratch 75.0 %. From scratch it takes 300 for what the best way reaches with 10."
    )
    del known[Run("scratch", 300, 1)]
    assert in_words(points(known)).endswith(
        "From scratch not even 100 are enough for what the best way reaches with 10."
    )
