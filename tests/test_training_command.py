"""`python -m engine.training`, from a recipe to a checkpoint."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import engine.data
import engine.training.loop
from engine import checkpoints
from engine.data import LabelledImages, split_validation
from engine.evaluation import accuracy, cross_entropy, evaluate
from engine.training.__main__ import main
from engine.training.loop import Training
from engine.training.run import RunFolder

# The command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_data(
    monkeypatch: pytest.MonkeyPatch, bundled_train: LabelledImages, bundled_test: LabelledImages
) -> dict[str, LabelledImages]:
    """200 training and 120 test images in place of the bundled ones."""
    small = {"train": bundled_train.subset(np.arange(200)), "test": bundled_test.subset(np.arange(120))}
    monkeypatch.setattr(engine.data, "bundled", lambda split: small[split])
    return small


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "tiny.toml").write_text(
        'architecture = "model_two"\ndataset = "cifar10_bundled"\nbatch_size = 30\nlabel_smoothing = 0.1\nseed = 4\n'
        "ema = 0.5\n[[phases]]\nepochs = 3\nlearning_rate = 0.05\n"
    )
    paths = {"--run": tmp_path / "run", "--checkpoints": tmp_path / "checkpoints"}
    options = [part for name, path in paths.items() for part in (name, str(path))]
    return [str(tmp_path / "tiny.toml"), *options, "--device", "cpu"]


def test_the_command_makes_a_checkpoint_whose_card_is_true(
    command: list[str], tmp_path: Path, small_data: dict[str, LabelledImages], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    folder = tmp_path / "checkpoints"
    trained = checkpoints.load("tiny", folder)
    card = trained.card
    how = {"input_size": card.input_size, "mean": card.mean, "std": card.std}
    live = evaluate(trained.model, small_data["test"].images, small_data["test"].labels, **how)

    assert card.test_images == 120
    assert card.test_accuracy == accuracy(live).value
    assert card.test_loss == pytest.approx(cross_entropy(live), rel=1e-6)
    assert card.parameters == 390_986
    assert (card.name, card.architecture, card.dataset, card.epochs, card.seed, card.input_size) == (
        "tiny", "model_two", "cifar10_bundled", 3, 4, 32,
    )  # fmt: skip
    assert card.versions["torch"] == torch.__version__.split("+")[0]

    stored = checkpoints.predictions("tiny", folder)
    _, validation = split_validation(small_data["train"])
    np.testing.assert_allclose(stored.test.logits, live.logits, rtol=0, atol=1e-5)
    assert np.array_equal(stored.test.labels, small_data["test"].labels)
    seen = evaluate(trained.model, validation.images, validation.labels, **how)
    np.testing.assert_allclose(stored.validation.logits, seen.logits, rtol=0, atol=1e-5)
    assert np.array_equal(stored.validation.labels, validation.labels)

    rows = list(csv.DictReader((folder / "tiny" / "history.csv").read_text().splitlines()))
    accuracies = [float(row["val_accuracy"]) for row in rows]
    assert card.best_epoch == 1 + accuracies.index(max(accuracies))
    assert accuracy(stored.validation).value >= max(accuracies) - 5e-7  # the history has six digits
    with np.load(folder / "tiny" / "filters.npz") as filters:
        assert filters["filters"].shape == (4, 32, 3, 5, 5)
        assert filters["epochs"].tolist() == [0, 1, 2, 3]
    assert f"tiny: {card.test_accuracy:.2%} of 120 test images, epoch {card.best_epoch} kept" in capsys.readouterr().out


def test_the_command_given_twice_makes_the_same_checkpoint_without_training(
    command: list[str], tmp_path: Path, small_data: dict[str, LabelledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command) == 0
    card = checkpoints.load("tiny", tmp_path / "checkpoints").card
    monkeypatch.setattr(Training, "_train_epoch", None)
    assert main(command) == 0
    assert checkpoints.load("tiny", tmp_path / "checkpoints").card == card


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(
    command: list[str], tmp_path: Path, small_data: dict[str, LabelledImages], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    finish = Training._finish_epoch

    def interrupted(training: Training, *args: Any) -> None:
        finish(training, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_finish_epoch", interrupted)
        assert main(command) == 130
    assert "Stopped; the same command goes on after the last whole epoch.\n" in capsys.readouterr().out
    assert RunFolder(tmp_path / "run").load()["epoch"] == 1
    assert not (tmp_path / "checkpoints").exists()
    assert main(command) == 0
    assert checkpoints.load("tiny", tmp_path / "checkpoints").card.epochs == 3


@pytest.mark.parametrize(("accurate", "dtype"), [(True, torch.float16), (False, torch.float32)])
def test_weights_are_halved_only_if_that_costs_no_validation_accuracy(
    command: list[str], tmp_path: Path, small_data: dict[str, LabelledImages], monkeypatch: pytest.MonkeyPatch,
    accurate: bool, dtype: torch.dtype,
) -> None:  # fmt: skip
    def rounded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Half precision; or so rounded that every image is called the first class."""
        halved = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
        if not accurate:
            halved["classifier.4.weight"] = torch.zeros_like(halved["classifier.4.weight"])
            halved["classifier.4.bias"] = torch.tensor([9.0] + [0] * 9).half()
        return halved

    images = small_data["train"]
    small_data["train"] = images.subset(np.flatnonzero(images.labels > 0))
    monkeypatch.setattr("engine.training.finish.half_precision", rounded)
    assert main(command) == 0
    weights = torch.load(tmp_path / "checkpoints" / "tiny" / "weights.pt", weights_only=True)
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {dtype}


@pytest.mark.parametrize(
    ("recipe", "start"),
    [
        ("nosuch", "There is no recipe 'nosuch': name a TOML file or one of "),
        ("{tmp}/bad.toml", "bad.toml, line 1: there is no setting 'sead': the settings are "),
        ("{tmp}/options.toml", "The architecture 'lenet' cannot take the options "),
    ],
)
def test_a_mistake_is_one_printed_sentence(
    recipe: str, start: str, tmp_path: Path, small_data: dict[str, LabelledImages], capsys: pytest.CaptureFixture[str]
) -> None:
    rest = 'architecture = "lenet"\ndataset = "cifar10_bundled"\n[[phases]]\nepochs = 1\nlearning_rate = 0.1\n'
    (tmp_path / "bad.toml").write_text("sead = 1\n" + rest)
    (tmp_path / "options.toml").write_text("options = {colour = 3}\n" + rest)
    assert main([recipe.format(tmp=tmp_path), "--run", str(tmp_path / "run"), "--device", "cpu"]) == 1
    output = capsys.readouterr().out
    assert output.startswith(start)
    assert output.count("\n") == 1


def test_training_on_all_of_cifar10_without_it_is_one_printed_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["--run", str(tmp_path / "run"), "--data", str(tmp_path), "--checkpoints", str(tmp_path)]
    assert main(["lenet", *paths]) == 1
    assert capsys.readouterr().out.startswith("The whole of CIFAR-10 is not on this machine (")
