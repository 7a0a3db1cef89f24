"""The model of a run is kept whole: weights, card and history of one moment, and never over somebody else's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import engine.data
from engine import checkpoints, settings
from engine.accuracy.figures import accuracy
from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.training import finish, histories
from engine.training.__main__ import main
from engine.training.datasets import Splits
from engine.training.recipe import read, to_dict
from engine.training.run import RunFolder
from tests.engine.checkpoints.test_checkpoints import make_card, make_contents, on_disk
from tests.runs import lenet, train

RECIPE = """\
architecture = "lenet"
dataset = "cifar10_bundled"
batch_size = 20
[[phases]]
epochs = 6
learning_rate = 0.05
schedule = "constant"
"""


@pytest.fixture
def meanwhile(
    monkeypatch: pytest.MonkeyPatch, bundled_train: LabelledImages, bundled_test: LabelledImages
) -> list[Callable[[], object]]:
    """What happens while the test images are read, which are few."""
    happens: list[Callable[[], object]] = []
    small = {"train": bundled_train.subset(np.arange(200)), "test": bundled_test.subset(np.arange(50))}

    def bundled(split: str) -> LabelledImages:
        while split == "test" and happens:
            happens.pop()()
        return small[split]

    monkeypatch.setattr(engine.data, "bundled", bundled)
    return happens


@pytest.fixture
def paths(tmp_path: Path, meanwhile: list[Callable[[], object]]) -> list[str]:
    """The options of a command, after a run of six epochs has done two."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    options = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "kept"), "--device", "cpu"]
    assert main([str(tmp_path / "tiny.toml"), *options, "--stop-after", "2"]) == 0
    return options


# One moment ----------------------------------------------------------------------------------------------------


def test_what_is_kept_of_a_run_that_goes_on_is_of_one_moment(
    paths: list[str], tmp_path: Path, meanwhile: list[Callable[[], object]]
) -> None:
    meanwhile.append(lambda: main(["--resume", "tiny", *paths, "--no-checkpoint"]))
    assert main(["--keep", "tiny", "--as", "mine", *paths]) == 0
    card = checkpoints.load("mine", tmp_path / "kept").card
    table = histories.read_table(tmp_path / "kept" / "mine" / "history.csv").set_index("epoch")
    assert card.best_epoch > 2, "the run got no better meanwhile, so this test tests nothing"
    assert card.epochs == len(table)
    kept = accuracy(checkpoints.predictions("mine", tmp_path / "kept").validation).value
    assert kept == pytest.approx(table.val_accuracy[card.best_epoch], abs=1e-5)


@pytest.fixture
def between(splits: Splits, folder: RunFolder) -> tuple[RunFolder, bytes]:
    """A run whose best weights are those of epoch 2 already, its state still that of epoch 1; and the state of 2."""
    train(lenet(), splits, folder)
    later = folder.load()
    later["best"] = (0.9, 2)
    torch.save({**later, "best": (0.5, 1)}, folder.path / "state.pt")
    folder.save_best((2, later["model"]))
    return folder, later


def test_a_save_that_is_under_way_is_waited_for(between: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, later = between
    monkeypatch.setattr(finish.time, "sleep", lambda _: torch.save(later, folder.path / "state.pt"))
    with folder.held():
        state, weights = finish.state_and_best(folder)
    assert state["best"][1] == 2
    assert torch.equal(weights["features.0.weight"], later["model"]["features.0.weight"])


def test_a_save_that_broke_off_is_one_sentence(between: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConvscopeError, match="'run' broke off while it saved epoch 2: let it go on first"):
        finish.state_and_best(between[0])
    monkeypatch.setattr(finish, "PATIENCE", 0.0)
    with between[0].held(), pytest.raises(ConvscopeError, match="broke off"):
        finish.state_and_best(between[0])


def test_a_run_that_is_older_than_the_epoch_and_the_classes_is_kept_and_goes_on(
    splits: Splits, folder: RunFolder, tmp_path: Path
) -> None:
    train(lenet(), splits, folder)
    state, (_, weights) = folder.load(), folder.best()
    torch.save({key: value for key, value in state.items() if key != "classes"}, folder.path / "state.pt")
    torch.save(weights, folder.path / "best.pt")
    assert folder.best()[0] is None
    card = finish.make_checkpoint(lenet(), folder, splits.validation, splits.validation, tmp_path / "kept")
    assert card.best_epoch == state["best"][1]
    assert train(lenet(), splits, folder).epoch == 2


# One name ------------------------------------------------------------------------------------------------------


def test_a_name_that_is_taken_meanwhile_is_refused_and_the_other_model_is_unharmed(
    paths: list[str], tmp_path: Path, meanwhile: list[Callable[[], object]], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    meanwhile.append(lambda: checkpoints.save(make_card("mine"), make_contents(), kept))
    assert main(["--keep", "tiny", "--as", "mine", *paths]) == 1
    assert capsys.readouterr().out.endswith("There is a checkpoint 'mine' already: choose another name.\n")
    assert checkpoints.load("mine", kept).card.versions == make_card().versions
    assert [path.name for path in kept.iterdir()] == ["mine"]


def test_a_continuation_is_a_new_network_and_replaces_none(
    paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    assert main(["--keep", "tiny", "--as", "mine", *paths]) == 0
    checkpoints.save(make_card("other", recipe=""), make_contents(), kept)
    before = on_disk(kept)
    for name in ("mine", "other", "Mine", "imagenet_vgg16", "random_labels"):
        assert main(["--continue", "mine", "--epochs", "1", "--as", name, *paths]) == 1
        refusal = f"There is a network called {name!r} already: choose another name with --as.\n"
        assert capsys.readouterr().out.endswith(refusal)
    assert on_disk(kept) == before
    assert [run.name for run in (tmp_path / "runs").iterdir()] == ["tiny"]

    more = ["--continue", "mine", "--epochs", "2", "--as", "more", *paths]
    assert main([*more, "--stop-after", "1"]) == 0
    for _ in range(2):  # it goes on, and may be given again
        assert main(more) == 0
        assert checkpoints.load("more", kept).card.epochs == 2


def test_a_recipe_whose_name_another_network_has_is_refused_before_it_trains(
    paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    assert main(["--keep", "tiny", "--as", "mine", *paths]) == 0
    checkpoints.save(make_card("other", recipe=""), make_contents(), kept)
    other_recipe = to_dict(read(tmp_path / "tiny.toml")) | {"name": "rival", "batch_size": 99}
    checkpoints.save(make_card("rival"), replace(make_contents(), recipe=other_recipe), kept)
    before = on_disk(kept)
    for name in ("mine", "other", "rival", "efficientnet_lite0", "imagenet_vgg16"):
        (tmp_path / f"{name}.toml").write_text(RECIPE)
        assert main([str(tmp_path / f"{name}.toml"), *paths]) == 1
        how = f'such as name = "my_{name}" in the recipe'
        refusal = f"There is a network called {name!r} already: choose another name, {how}.\n"
        assert capsys.readouterr().out.endswith(refusal)
    assert on_disk(kept) == before
    assert [run.name for run in (tmp_path / "runs").iterdir()] == ["tiny"]


def test_a_run_whose_name_was_kept_meanwhile_goes_on_without_a_checkpoint(
    paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--keep", "tiny", *paths]) == 0
    before = on_disk(tmp_path / "kept")
    assert main(["--resume", "tiny", *paths]) == 1
    how = "go on with --no-checkpoint, and then --keep tiny --as NAME"
    assert capsys.readouterr().out.endswith(f"choose another name: {how}.\n")
    assert main(["--resume", "tiny", "--no-checkpoint", *paths]) == 0
    assert on_disk(tmp_path / "kept") == before


def test_a_finished_training_replaces_no_network_that_has_taken_its_name_meanwhile(
    paths: list[str], tmp_path: Path, meanwhile: list[Callable[[], object]], capsys: pytest.CaptureFixture[str]
) -> None:
    meanwhile.append(lambda: checkpoints.save(make_card("tiny"), make_contents(), tmp_path / "kept"))
    assert main(["--resume", "tiny", *paths]) == 1
    assert capsys.readouterr().out.endswith("There is a checkpoint 'tiny' already: choose another name.\n")
    assert checkpoints.load("tiny", tmp_path / "kept").card.versions == make_card().versions


def test_a_training_that_is_repeated_replaces_its_own_checkpoint(
    tmp_path: Path, meanwhile: list[Callable[[], object]]
) -> None:
    options = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "kept"), "--device", "cpu"]
    file = tmp_path / "tiny.toml"
    for change in ("seed = 7", 'precision = "float64"'):
        file.write_text(f"{change}\n{RECIPE.replace('epochs = 6', 'epochs = 1')}")
        assert main([str(file), *options]) == 0
        assert finish.recipe_of("tiny", tmp_path / "kept") == read(file)
        assert main(["--delete", "tiny", *options]) == 0


@pytest.mark.parametrize("name", sorted(path.name for path in settings.folders.checkpoints.glob("*/")))
def test_each_network_of_the_app_may_be_trained_again_by_its_recipe(name: str) -> None:
    recipe = read(name)
    finish.check_target(recipe, settings.folders.checkpoints)
    with pytest.raises(ConvscopeError, match=f"There is a network called '{name}' already"):
        finish.check_target(replace(recipe, batch_size=99), settings.folders.checkpoints)


def test_a_checkpoint_is_replaced_or_not(tmp_path: Path) -> None:
    checkpoints.save(make_card(seed=1), make_contents(), tmp_path, overwrite=False)
    before = on_disk(tmp_path)
    with pytest.raises(ConvscopeError, match="There is a checkpoint 'tiny' already"):
        checkpoints.save(make_card(seed=2), make_contents(), tmp_path, overwrite=False)
    assert on_disk(tmp_path) == before
    checkpoints.save(make_card(seed=2), make_contents(), tmp_path)
    assert checkpoints.load("tiny", tmp_path).card.seed == 2
