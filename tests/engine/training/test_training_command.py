"""`python -m engine.training`, from a recipe to a checkpoint."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import engine.data
import engine.training.loop
from engine import checkpoints
from engine.accuracy.figures import accuracy, cross_entropy
from engine.data import LabelledImages, split_validation
from engine.errors import ConvscopeError
from engine.evaluation import evaluate
from engine.training import device, live_files
from engine.training.__main__ import main
from engine.training.batches import Batches
from engine.training.continuation import continued
from engine.training.recipe import Phase, from_dict
from engine.training.run import RunFolder
from engine.training.telemetry import StepReport
from tests.engine.checkpoints.test_checkpoints import make_card, make_contents

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
        "tiny",
        "model_two",
        "cifar10_bundled",
        3,
        4,
        32,
    )
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
    monkeypatch.setattr(Batches, "epoch", None)
    assert main(command) == 0
    assert checkpoints.load("tiny", tmp_path / "checkpoints").card == card


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(
    command: list[str],
    tmp_path: Path,
    small_data: dict[str, LabelledImages],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save = RunFolder.save

    def interrupted(folder: RunFolder, *args: Any) -> None:
        save(folder, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save", interrupted)
        assert main(command) == 130
    assert "Stopped; the same command goes on after the last whole epoch.\n" in capsys.readouterr().out
    assert RunFolder(tmp_path / "run").load()["epoch"] == 1
    assert not (tmp_path / "checkpoints").exists()
    assert main(command) == 0
    assert checkpoints.load("tiny", tmp_path / "checkpoints").card.epochs == 3


@pytest.mark.parametrize(("accurate", "dtype"), [(True, torch.float16), (False, torch.float32)])
def test_weights_are_halved_only_if_the_validation_images_tell_no_loss(
    command: list[str],
    tmp_path: Path,
    small_data: dict[str, LabelledImages],
    monkeypatch: pytest.MonkeyPatch,
    accurate: bool,
    dtype: torch.dtype,
) -> None:
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


def test_a_mistake_in_data_or_device_leaves_no_run_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.toml").write_text(
        'architecture = "lenet"\ndataset = "folder"\n[[phases]]\nepochs = 1\nlearning_rate = 0.1\n'
    )
    (tmp_path / "tiny.toml").write_text(
        'architecture = "lenet"\ndataset = "cifar10_bundled"\n[[phases]]\nepochs = 1\nlearning_rate = 0.1\n'
    )
    paths = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints")]
    for mistake, sentence in (
        (["own.toml"], "The recipe learns from a folder and does not say which: "),
        (["own.toml", "--data", str(tmp_path / "nosuch")], "There is no folder "),
        (["lenet", "--data", str(tmp_path)], "The whole of CIFAR-10 is not on this machine ("),
        (["tiny.toml", "--device", "tpu"], "This machine cannot compute on 'tpu'"),
    ):
        name, *rest = mistake
        assert main([str(tmp_path / name) if name.endswith(".toml") else name, *rest, *paths]) == 1
        assert capsys.readouterr().out.startswith(sentence)
    assert not (tmp_path / "runs").exists()


# Runs ----------------------------------------------------------------------------------------------------------


def at_step(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int, action: Any) -> None:
    """Act once a certain step is done."""
    from engine.training.progress_bar import ProgressBar

    show = ProgressBar.show

    def observe(bar: ProgressBar, report: StepReport) -> None:
        show(bar, report)
        if (report.epoch, report.step) == (epoch, step):
            action()

    monkeypatch.setattr(ProgressBar, "show", observe)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_step(
    command: list[str],
    tmp_path: Path,
    small_data: dict[str, LabelledImages],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    status: int,
) -> None:
    handlers = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        at_step(patch, 1, 2, lambda: os.kill(os.getpid(), number))
        assert main(command) == status
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == handlers
    folder = RunFolder(tmp_path / "run")
    assert folder.load()["epoch"] == 1
    told = live_files.read_status(folder)
    assert (told.state, told.message) == ("stopped", "Stopped; it can go on after epoch 1 of 3.")
    assert "Stopped; the same command goes on after the last whole epoch.\n" in capsys.readouterr().out
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_is_stopped_after_some_epochs_resumed_listed_kept_and_deleted(
    command: list[str], tmp_path: Path, small_data: dict[str, LabelledImages], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["--runs", str(tmp_path), "--checkpoints", str(tmp_path / "checkpoints"), "--device", "cpu"]
    assert main([*command, "--stop-after", "1"]) == 0
    assert f"Stopped; `--resume {tmp_path / 'run'}` goes on.\n" in capsys.readouterr().out
    assert live_files.read_status(RunFolder(tmp_path / "run")).state == "stopped"
    assert main(["--keep", "run", "--as", "early", *paths]) == 0
    early = checkpoints.load("early", tmp_path / "checkpoints").card
    assert (early.name, early.epochs, early.best_epoch) == ("early", 1, 1)
    assert main(["--keep", "run", "--as", "early", *paths]) == 1
    assert "There is a network called 'early' already: choose another name with --as." in capsys.readouterr().out

    assert main(["--resume", "run", "--no-checkpoint", *paths]) == 0
    assert RunFolder(tmp_path / "run").load()["epoch"] == 3
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["early"]
    capsys.readouterr()
    assert main(["--list", *paths]) == 0
    words = capsys.readouterr().out.splitlines()[1].split()
    best = max(record.val_accuracy for record in live_files.read_history(RunFolder(tmp_path / "run")))
    assert words == ["run", "finished", "3/3", f"{best:.2%}"]
    assert main(["--keep", "run", *paths]) == 0
    assert checkpoints.load("tiny", tmp_path / "checkpoints").card.epochs == 3
    kinds = [event.kind for event in live_files.read_events(RunFolder(tmp_path / "run"))]
    assert kinds == ["started", "stopped", "kept", "resumed", "finished", "kept"]
    capsys.readouterr()
    assert main(["--delete", "run", *paths]) == 0
    assert capsys.readouterr().out == "The run 'run' is deleted.\n"
    assert not (tmp_path / "run").exists()
    assert main(["--delete", "run", *paths]) == 1
    assert main(["--list", *paths]) == 0
    refusal = "There is no run 'run' to delete: name one that `--list` shows, without its folder."
    assert capsys.readouterr().out.endswith(f"{refusal}\nNo runs in {tmp_path}.\n")


def test_a_run_without_a_whole_epoch_has_nothing_to_keep(
    command: list[str],
    tmp_path: Path,
    small_data: dict[str, LabelledImages],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_step(monkeypatch, 0, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert main(command) == 130
    assert main(["--keep", str(tmp_path / "run"), "--checkpoints", str(tmp_path / "checkpoints")]) == 1
    assert "The run 'run' has nothing to keep yet" in capsys.readouterr().out


def test_an_experiment_keeps_everything_but_its_weights(
    command: list[str], tmp_path: Path, small_data: dict[str, LabelledImages]
) -> None:
    file = Path(command[0])
    lines = 'keep_weights = false\nname = "arm"\ngroup = "tests"\ninitialisation = "xavier"\nsample = 15\n'
    file.write_text(lines + file.read_text())
    assert main([*command, "--experiments", str(tmp_path / "experiments")]) == 0
    assert not (tmp_path / "checkpoints").exists()
    folder = tmp_path / "experiments" / "arm"
    names = {"card.json", "history.csv", "filters.npz", "predictions.npz", "recipe.json"}
    assert {path.name for path in folder.iterdir()} == names
    card = checkpoints.read_card(folder)
    assert (card.weights_sha256, card.group, card.initialisation, card.name) == ("", "tests", "xavier", "arm")
    assert card.test_accuracy == accuracy(checkpoints.predictions("arm", tmp_path / "experiments").test).value
    assert from_dict(json.loads((folder / "recipe.json").read_text())).sample == 15
    with pytest.raises(ConvscopeError, match=r"weights\.pt cannot be read"):
        checkpoints.load("arm", tmp_path / "experiments")


def test_a_finished_checkpoint_is_trained_for_some_more_epochs(
    command: list[str], tmp_path: Path, small_data: dict[str, LabelledImages], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    folder = tmp_path / "checkpoints"
    base = checkpoints.load("tiny", folder)
    paths = ["--runs", str(tmp_path), "--checkpoints", str(folder), "--device", "cpu"]
    more = ["--continue", "tiny", "--epochs", "2", "--learning-rate", "1e-12", "--as", "more", *paths]
    assert main(more) == 0
    card = checkpoints.load("more", folder).card
    assert (card.base, card.base_sha256, card.epochs) == ("tiny", base.card.weights_sha256, 2)
    recipe = RunFolder(tmp_path / "more").recipe()
    assert recipe.phases == (Phase(2, 1e-12),)
    assert (recipe.label_smoothing, recipe.batch_size, recipe.seed) == (0.1, 30, 4)
    # A rate of nearly nothing leaves the weights where they were, so this run has really started from them.
    ours = checkpoints.load("more", folder).model.state_dict()
    for key, value in base.model.state_dict().items():
        if "running" not in key and "tracked" not in key:
            torch.testing.assert_close(ours[key], value, rtol=2e-3, atol=2e-3)

    # The base is trained again: a run that started from the old one is not mixed with the new one.
    Path(command[0]).write_text(Path(command[0]).read_text().replace("seed = 4", "seed = 5"))
    assert main(["--delete", "run", *paths]) == 0
    assert main(command) == 0
    capsys.readouterr()
    assert main(more) == 1
    assert "holds a run of another recipe" in capsys.readouterr().out
    (tmp_path / "more" / "state.pt").unlink()
    assert main(["--resume", "more", *paths]) == 1
    assert "its weights have changed since" in capsys.readouterr().out
    assert live_files.read_status(RunFolder(tmp_path / "more")).state == "failed"


def test_what_cannot_be_continued_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConvscopeError, match="There is no checkpoint 'nosuch'"):
        continued("nosuch", "more", 1, folder=tmp_path)
    for recipe, why in (("", "nothing is known of its training"), ("lost", "its recipe 'lost' is not known")):
        checkpoints.save(make_card("own", recipe=recipe), make_contents(), tmp_path)
        with pytest.raises(ConvscopeError, match=f"'own' cannot be continued, since {why}: name it as `base` in a rec"):
            continued("own", "more", 1, folder=tmp_path)
    recipe = continued("lenet", "more", 3, 0.5)
    assert (recipe.phases[0].epochs, recipe.phases[0].learning_rate) == (3, 0.5)
    assert recipe.base_sha256 == checkpoints.load("lenet").card.weights_sha256
    with pytest.raises(ConvscopeError, match="The recipe: learning_rate must lie between"):
        continued("lenet", "more", 3, -0.5)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["lenet", "--list"],
        ["--continue", "lenet"],
        ["lenet", "--stop-after", "0"],
    ],
)
def test_a_command_that_makes_no_sense_shows_its_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lenet", "--epochs", "5"], "--epochs goes with --continue, not with a recipe"),
        (["lenet", "--learning-rate", "0"], "--learning-rate goes with --continue, not with a recipe"),
        (["lenet", "--as", "mine"], "--as goes with --keep or --continue, not with a recipe"),
        (
            ["--resume", "lenet", "--precision", "float32"],
            "--precision goes with a recipe or --continue, not with",
        ),
        (["--resume", "lenet", "--run", "runs/other"], "--run goes with a recipe or --continue, not with --resume"),
        (["--keep", "lenet", "--stop-after", "1"], "--stop-after goes with a recipe or --resume or --continue, not"),
        (["--list", "--range-test"], "--range-test goes with a recipe or --resume or --continue, not with --list"),
        (["lenet", "--range-test", "--stop-after", "1"], "--range-test trains nothing: leave out --stop-after"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert sentence in capsys.readouterr().err


def test_a_device_that_is_not_there_is_one_sentence(
    command: list[str], small_data: dict[str, LabelledImages], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command[:-1], "tpu"]) == 1
    assert "This machine cannot compute on 'tpu': use --device cpu.\n" in capsys.readouterr().out


def test_bfloat16_is_said_to_be_slow_where_it_is_and_float32_takes_its_place(
    tmp_path: Path,
    small_data: dict[str, LabelledImages],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "has_bfloat16", lambda: False)
    (tmp_path / "tiny.toml").write_text(
        'architecture = "lenet"\ndataset = "cifar10_bundled"\nbatch_size = 180\nprecision = "bfloat16"\n'
        "[[phases]]\nepochs = 1\nlearning_rate = 0.05\n"
    )
    for name, options in {"coarse": [], "exact": ["--precision", "float32"]}.items():
        where = ["--run", str(tmp_path / name), "--no-checkpoint", "--device", "cpu"]
        assert main([str(tmp_path / "tiny.toml"), *where, *options]) == 0
        assert RunFolder(tmp_path / name).recipe().precision == ("float32" if options else "bfloat16")
        assert (device.SLOW_BFLOAT16 in capsys.readouterr().out) is not bool(options)


def test_an_exploding_loss_is_told_in_the_runs_folder(
    command: list[str], tmp_path: Path, small_data: dict[str, LabelledImages], capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(command[0])
    text = file.read_text().replace("model_two", "lenet").replace("0.05", '1000\nschedule = "constant"')
    file.write_text(text)
    assert main(command) == 1
    told = live_files.read_status(RunFolder(tmp_path / "run"))
    assert told.state == "failed"
    assert told.message.startswith("The loss became ")
    assert told.message in capsys.readouterr().out
    assert live_files.read_events(RunFolder(tmp_path / "run"))[-1].message == told.message
    assert main(["--list", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split(maxsplit=4) == ["run", "failed", "0/3", "-", told.message]
