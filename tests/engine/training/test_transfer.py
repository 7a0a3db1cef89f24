"""A network learns something new with its first layers kept: they do not change, and are not stored twice."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from engine import checkpoints
from engine.checkpoints import reading
from engine.data import CIFAR10_CLASSES, LabelledImages
from engine.errors import ConvscopeError
from engine.evaluation import evaluate
from engine.files import sha256
from engine.models import build
from engine.own_checkpoint import Origin, add
from engine.training import finish, live_files, turns
from engine.training.continuation import continued
from engine.training.datasets import Splits
from engine.training.loop import Training
from engine.training.queue import jobs
from engine.training.recipe import Phase, Recipe, parse, read
from engine.training.run import RunFolder
from engine.training.start import starting_network, train_mode_, trained_keys
from tests.runs import CPU, train

PHASES = (Phase(1, 0.05, schedule="constant"),)
TWO = Recipe("first", "model_two", PHASES, input_size=16, batch_size=16, seed=2, ema=0.5)


def transfer(**changes: Any) -> Recipe:
    return replace(TWO, **{"name": "second", "base": "first", "train_last": 1, "seed": 9, **changes})


@pytest.fixture
def bases(tmp_path: Path, splits: Splits) -> Path:
    """A folder with the checkpoint `first`, which knows the ten classes."""
    kept(TWO, splits, tmp_path / "bases")
    return tmp_path / "bases"


def kept(recipe: Recipe, splits: Splits, target: Path) -> dict[str, torch.Tensor]:
    """Train `recipe` and store the checkpoint; gives the weights that the run kept."""
    folder = RunFolder(target.parent / "runs" / recipe.name)
    folder.begin(recipe)
    Training(recipe, splits, folder, CPU, bases=target).run()
    finish.make_checkpoint(recipe, folder, splits.validation, splits.validation, target)
    return folder.best()[1]


def with_hash(recipe: Recipe, bases: Path) -> Recipe:
    return replace(recipe, base_sha256=checkpoints.base(recipe.base, recipe.architecture, bases).sha256)


def five_classes(splits: Splits) -> Splits:
    """The images of five of the classes, under other names."""
    names = ("a", "b", "c", "d", "e")

    def few(data: LabelledImages) -> LabelledImages:
        chosen = np.flatnonzero(data.labels < 5)
        return LabelledImages(data.images[chosen], data.labels[chosen], names)

    return Splits(few(splits.train), few(splits.validation))


def test_the_first_layers_keep_weights_and_statistics(bases: Path, splits: Splits) -> None:
    before = checkpoints.load("first", bases).model.state_dict()
    after = kept(with_hash(transfer(), bases), splits, bases)
    third = "features.9."  # conv, dropout, BN, ReLU, pool; conv, BN, ReLU, pool; conv
    frozen = {key for key in after if key.startswith("features") and key < third and not key.startswith("features.1")}
    assert "features.2.running_mean" in frozen
    assert frozen == set(after) - trained_keys(build("model_two", input_size=16), 1)
    for key in after:
        assert torch.equal(after[key], before[key]) == (key in frozen), key


def test_the_checkpoint_keeps_what_was_trained_and_is_whole_when_loaded(bases: Path, splits: Splits) -> None:
    after = kept(with_hash(transfer(), bases), splits, bases)
    stored = torch.load(bases / "second" / "weights.pt", weights_only=True)
    assert set(stored) == trained_keys(build("model_two", input_size=16), 1)
    loaded = checkpoints.load("second", bases)
    assert (loaded.card.base, loaded.card.base_sha256) == ("first", sha256(bases / "first" / "weights.pt"))
    for key, value in loaded.model.state_dict().items():
        torch.testing.assert_close(value, after[key], rtol=1e-3, atol=1e-4)  # stored in half precision


def test_its_figures_are_those_of_the_network_as_it_is_loaded(bases: Path, splits: Splits) -> None:
    kept(with_hash(transfer(), bases), splits, bases)
    loaded, images = checkpoints.load("second", bases), splits.validation
    how = {"input_size": 16, "mean": loaded.card.mean, "std": loaded.card.std}
    live = evaluate(loaded.model, images.images, images.labels, **how)
    np.testing.assert_allclose(checkpoints.predictions("second", bases).test.logits, live.logits, atol=1e-5)


def test_a_base_that_is_gone_or_another_is_one_sentence(bases: Path, splits: Splits) -> None:
    kept(with_hash(transfer(), bases), splits, bases)
    shutil.move(bases / "first", bases.parent / "aside")
    with pytest.raises(ConvscopeError, match="'second' keeps only what was trained, and its base 'first' cannot be"):
        checkpoints.load("second", bases)
    shutil.rmtree(bases.parent / "runs")
    kept(replace(TWO, seed=77), splits, bases)
    with pytest.raises(ConvscopeError, match="'second' keeps only what was trained, and its base 'first' is not the"):
        checkpoints.load("second", bases)


def test_a_base_whose_hash_is_not_known_is_stored_with_the_rest(bases: Path, splits: Splits) -> None:
    kept(transfer(), splits, bases)
    shutil.rmtree(bases / "first")
    assert checkpoints.load("second", bases).card.base == "first"


def test_other_classes_start_with_a_fresh_last_layer(bases: Path, splits: Splits) -> None:
    recipe = with_hash(transfer(), bases)
    classes = five_classes(splits).train.classes
    model = starting_network(recipe, classes, CPU, bases)
    base = checkpoints.load("first", bases).model
    for (name, mine), theirs in zip(model.named_parameters(), base.parameters(), strict=True):
        assert mine.shape[1:] == theirs.shape[1:]
        assert (len(mine) == 5) == name.startswith("classifier.4.")
        assert len(mine) == 5 or torch.equal(mine, theirs)
    kept(recipe, five_classes(splits), bases)
    loaded = checkpoints.load("second", bases)
    assert loaded.card.classes == classes
    assert loaded.model(torch.zeros(1, 3, 16, 16)).shape == (1, 5)


def test_the_same_classes_keep_the_last_layer(bases: Path, splits: Splits) -> None:
    model = starting_network(transfer(), splits.train.classes, CPU, bases)
    for key, value in checkpoints.load("first", bases).model.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


def test_frozen_layers_are_in_evaluation_mode_while_the_rest_learns() -> None:
    model = build("resnet18")
    train_mode_(model, 5)
    assert {name for name, module in model.named_children() if module.training} == {"layer4", "avgpool", "fc"}
    assert model.training
    train_mode_(model, 0)
    assert all(module.training for module in model.modules())


def test_the_last_five_convolutions_of_resnet18_are_its_last_stage() -> None:
    keys = trained_keys(build("resnet18"), 5)
    assert keys == {key for key in build("resnet18").state_dict() if key.startswith(("layer4.", "fc."))}
    assert sum(key.endswith("weight") and "conv" in key for key in keys) == 4  # and the one on the shortcut


def test_a_run_can_be_resumed(bases: Path, splits: Splits, tmp_path: Path) -> None:
    recipe = with_hash(transfer(phases=(Phase(2, 0.05),)), bases)
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    for folder in (whole, parts):
        folder.begin(recipe)
    Training(recipe, splits, whole, CPU, bases=bases).run()
    Training(recipe, splits, parts, CPU, bases=bases).run(1)
    Training(recipe, splits, parts, CPU, bases=bases).run()
    mine, theirs = whole.load()["model"], parts.load()["model"]
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert live_files.read_history(parts)[-1].val_loss == live_files.read_history(whole)[-1].val_loss


def test_a_run_from_the_page_goes_on_with_no_other_base(
    bases: Path, splits: Splits, tmp_path: Path, use_folders: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_folders(checkpoints=bases)
    monkeypatch.setattr(turns, "join", lambda folder, *_rest: None)
    folder = jobs.submit(transfer(phases=(Phase(2, 0.05),)), tmp_path / "submitted")
    assert folder.recipe() == with_hash(transfer(phases=(Phase(2, 0.05),)), bases)
    Training(folder.recipe(), splits, folder, CPU).run(1)
    shutil.rmtree(tmp_path / "runs")
    kept(replace(TWO, seed=77), splits, bases)
    with pytest.raises(ConvscopeError, match="its weights have changed since"):
        Training(folder.recipe(), splits, folder, CPU)


# Torchvision's weights -----------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PyTorch's cache of downloads, empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def imagenet(hub: Path) -> nn.Module:
    """A ResNet-18 with random weights for 1,000 classes, lying where torchvision's weights are kept."""
    torch.manual_seed(3)
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), hub / "resnet18-f37072fd.pth")
    return model


FROM_IMAGENET = Recipe(
    "moved",
    "resnet18",
    (Phase(1, 5e-4, "adam", schedule="constant"),),
    input_size=32,
    batch_size=32,
    base="torchvision:IMAGENET1K_V1",
    train_last=5,
)


def test_torchvisions_weights_are_a_base(imagenet: nn.Module, hub: Path, splits: Splits, tmp_path: Path) -> None:
    recipe = with_hash(FROM_IMAGENET, tmp_path)
    assert recipe.base_sha256 == sha256(hub / "resnet18-f37072fd.pth")
    kept(recipe, splits, tmp_path / "kept")
    card = json.loads((tmp_path / "kept" / "moved" / "card.json").read_text())
    assert card["mean"] == [0.485, 0.456, 0.406]
    assert (card["base"], card["base_sha256"]) == ("torchvision:IMAGENET1K_V1", recipe.base_sha256)
    stored = torch.load(tmp_path / "kept" / "moved" / "weights.pt", weights_only=True)
    assert {key.split(".")[0] for key in stored} == {"layer4", "fc"}
    loaded = checkpoints.load("moved", tmp_path / "kept").model.state_dict()
    for key, value in imagenet.state_dict().items():
        assert key.startswith("fc") or torch.equal(loaded[key], value) != key.startswith("layer4"), key
    # Going on with it, pixels are normalised as before.
    assert continued("moved", "more", 1, folder=tmp_path / "kept").statistics[0] == (0.485, 0.456, 0.406)


def test_without_network_one_sentence_says_what_to_do(hub: Path, splits: Splits, folder: RunFolder) -> None:
    with pytest.raises(ConvscopeError, match=r"could not be downloaded .*: connect to the network and try") as raised:
        train(FROM_IMAGENET, splits, folder)
    assert "resnet18-f37072fd.pth" in str(raised.value)


def test_a_damaged_download_is_one_sentence(hub: Path, splits: Splits, folder: RunFolder) -> None:
    (hub / "resnet18-f37072fd.pth").write_bytes(b"half a file")
    with pytest.raises(ConvscopeError, match=r"resnet18-f37072fd\.pth is damaged: delete it"):
        train(FROM_IMAGENET, splits, folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "torchvision:V9"}, "Torchvision has no weights 'V9' for resnet18: choose one of IMAGENET1K_V1."),
        ({"architecture": "lenet"}, "Torchvision has no weights for 'lenet': start from a checkpoint of this app."),
    ],
)
def test_weights_that_do_not_exist_are_one_sentence(
    changes: dict[str, str], message: str, splits: Splits, folder: RunFolder
) -> None:
    with pytest.raises(ConvscopeError) as raised:
        train(replace(FROM_IMAGENET, **changes), splits, folder)
    assert str(raised.value) == message


# Recipes -------------------------------------------------------------------------------------------------------


def test_the_shipped_recipe_trains_the_last_five_convolutions_and_the_classifier() -> None:
    recipe = read("resnet18_transfer")
    assert (recipe.base, recipe.train_last, recipe.batch_size) == ("torchvision:IMAGENET1K_V1", 5, 64)
    assert [(phase.optimizer, phase.learning_rate) for phase in recipe.phases] == [("adam", 5e-4)]
    assert recipe.statistics[0] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_last = 2", "mine.toml, line 2: train_last needs base, the weights that the other layers keep."),
        ("train_last = -1", "mine.toml, line 2: train_last must lie between 0 and 10000, not -1."),
        ('data_folder = "x"', 'mine.toml, line 2: data_folder needs dataset = "folder".'),
        ('normalisation = "x"', "mine.toml, line 2: normalisation must be one of cifar10, imagenet, not 'x'."),
    ],
)
def test_impossible_settings_name_their_line(line: str, message: str) -> None:
    text = f'architecture = "lenet"\n{line}\n[[phases]]\nepochs = 1\nlearning_rate = 0.1\n'
    with pytest.raises(ConvscopeError) as raised:
        parse(text, "mine", "mine.toml")
    assert str(raised.value) == message


GOOGLENET = """
architecture = "torchvision:googlenet"
base = "{}"
[[phases]]
epochs = 1
learning_rate = 0.1
"""


def googlenets(transforms: bool) -> nn.Module:
    return torchvision.models.googlenet(
        weights=None, num_classes=10, aux_logits=False, init_weights=False, transform_input=transforms
    )


def test_torchvisions_googlenet_goes_on_normalising_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = googlenets(transforms=True)
    monkeypatch.setattr(reading, "pretrained", lambda name, weights: (theirs.state_dict(), "digits"))
    recipe = parse(GOOGLENET.format("torchvision:IMAGENET1K_V1"), "mine")
    assert recipe.options == {"transform_input": True}
    own = starting_network(replace(recipe, input_size=64), CIFAR10_CLASSES, CPU, None)
    assert own.transform_input


@pytest.mark.parametrize("transforms", [True, False])
def test_a_base_that_normalises_its_input_is_not_trained_by_a_recipe_that_does_not(
    transforms: bool, tmp_path: Path
) -> None:
    torch.save(googlenets(transforms).state_dict(), tmp_path / "theirs.pt")
    origin = Origin("torchvision:googlenet", "theirs", tuple("abcdefghij"), 64, transform_input=transforms)
    add(tmp_path / "theirs.pt", origin, tmp_path)
    recipe = replace(parse(GOOGLENET.format("theirs"), "mine"), input_size=64)
    fitting = replace(recipe, options={"transform_input": transforms})
    assert starting_network(fitting, CIFAR10_CLASSES, CPU, tmp_path).transform_input == transforms
    with pytest.raises(ConvscopeError, match=f"were trained with transform_input = {str(transforms).lower()}: write"):
        starting_network(replace(recipe, options={"transform_input": not transforms}), CIFAR10_CLASSES, CPU, tmp_path)


def test_before_its_training_it_has_the_weights_that_it_began_with(bases: Path, splits: Splits) -> None:
    recipe = with_hash(transfer(), bases)
    kept(recipe, splits, bases)
    began = starting_network(recipe, splits.train.classes, CPU, bases).state_dict()
    for key, value in checkpoints.untrained("second", bases).model.state_dict().items():
        assert torch.equal(value, began[key]), key
    shutil.rmtree(bases / "first")
    with pytest.raises(ConvscopeError, match="'second' did not begin with random weights, and its base 'first' cannot"):
        checkpoints.untrained("second", bases)
