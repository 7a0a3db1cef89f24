"""What frozen layers answer is computed once and kept, and training on it is training on the images."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.data import LabelledImages, prepare
from engine.errors import ConvscopeError
from engine.evaluation import evaluate
from engine.models import build
from engine.training import control, finish, frozen_features, live_files, run
from engine.training.batches import Batches, generator
from engine.training.datasets import Splits
from engine.training.frozen_features import FrozenFeatures, FrozenStart, cut_before_training, folded
from engine.training.loop import Training
from engine.training.recipe import Phase, Recipe, parse, read
from engine.training.run import RunFolder
from engine.training.start import freeze_, starting_network
from tests.runs import CPU, kinds

BASE = Recipe("first", "model_two", (Phase(1, 0.05),), input_size=16, batch_size=16, seed=2, crop_padding=0)
KEPT = replace(
    BASE,
    name="second",
    phases=(Phase(1, 0.005),),
    base="first",
    train_last=1,
    keep_frozen=True,
    seed=9,
    precision="float64",
    flip=False,
)


@pytest.fixture(autouse=True)
def features(tmp_path: Path, use_folders: Callable[..., None]) -> Path:
    """The folder of kept features, empty."""
    use_folders(features=tmp_path / "features")
    return tmp_path / "features"


@pytest.fixture
def bases(tmp_path: Path, splits: Splits) -> Path:
    """A folder with the checkpoint `first`."""
    trained(BASE, splits, tmp_path / "base", tmp_path / "bases")
    return tmp_path / "bases"


def trained(recipe: Recipe, splits: Splits, run: Path, bases: Path, keep: bool = True) -> RunFolder:
    folder = RunFolder(run)
    folder.begin(recipe)
    Training(recipe, splits, folder, CPU, bases=bases).run()
    if keep:
        finish.make_checkpoint(recipe, folder, splits.validation, splits.validation, bases)
    return folder


@pytest.fixture(scope="module")
def blocks() -> nn.Module:
    """An EfficientNet-Lite0 whose last five convolutions are trained; shared, so not to be changed."""
    return frozen("efficientnet_lite0", 5)


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """A Model 2 whose last convolution is trained; shared, so not to be changed."""
    return frozen("model_two", 1, input_size=16)


def frozen(name: str, last: int, **options: Any) -> nn.Module:
    torch.manual_seed(5)
    model = build(name, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if it had been trained
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    freeze_(model, last)
    return model.double()


# The cut -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "node"),
    [
        (5, "blocks.13.add"),  # inside a residual block two values cross: the cut is in front of it
        (4, "blocks.14.add"),
        (1, "blocks.15.residual.7"),  # no shortcut: one value crosses anywhere
    ],
)
def test_a_network_is_cut_where_one_value_crosses(blocks: nn.Module, last: int, node: str) -> None:
    cut = cut_before_training(blocks, last)
    assert cut.graph.names[cut.node] == node


def test_what_comes_before_and_what_comes_after_make_the_network(blocks: nn.Module) -> None:
    model, cut = blocks, cut_before_training(blocks, 5)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        whole = model(images)
        torch.testing.assert_close(cut.after(model, cut.before(model, images.clone())), whole)
        torch.testing.assert_close(cut.after(model, cut.before(folded(model, cut.graph), images)), whole)


def test_the_end_learns_as_it_does_in_the_network(blocks: nn.Module) -> None:
    model = blocks
    cut = cut_before_training(model, 5)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    direct = torch.autograd.grad(model(images).square().sum(), parameters)
    with torch.no_grad():
        features = cut.before(model, images)
    for mine, theirs in zip(
        torch.autograd.grad(cut.after(model, features).square().sum(), parameters), direct, strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_network_that_is_trained_from_its_first_layer_on_keeps_nothing() -> None:
    with pytest.raises(ConvscopeError, match=r"Nothing of LeNet can be kept: .* write keep_frozen = false"):
        cut_before_training(build("lenet"), 3)


# The files -----------------------------------------------------------------------------------------------------


def test_features_are_those_of_the_images_in_half_precision(small: nn.Module, splits: Splits) -> None:
    start = FrozenStart(small, KEPT, CPU)
    images = splits.train.images[:6]
    assert list(start.keep(images)) == [6]
    x = prepare(images, 16, *KEPT.statistics).double()
    with torch.no_grad():
        expected = start.cut.before(start.model, x)
    kept = torch.from_numpy(np.array(start.file(images).rows())).permute(0, 3, 1, 2)
    assert kept.dtype == torch.float16
    torch.testing.assert_close(kept.double(), expected, rtol=1e-3, atol=1e-4)


def test_a_file_that_was_cut_short_is_gone_on_with(
    small: nn.Module, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_features, "AT_ONCE", 4)
    start = FrozenStart(small, KEPT, CPU)
    images = splits.train.images[:10]
    assert list(start.keep(images)) == [4, 8, 10]
    file = start.file(images)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[: 5 * file.row + 7])  # in the middle of the sixth image
    assert list(start.keep(images)) == [9, 10]
    assert np.allclose(np.frombuffer(whole, np.float16), np.frombuffer(file.path.read_bytes(), np.float16), atol=1e-3)
    assert list(start.keep(images)) == []


def test_other_images_sizes_or_layers_are_another_file(splits: Splits) -> None:
    model = frozen("model_two", 1, input_size=32)
    images = splits.train.images[:2]
    recipe = replace(KEPT, input_size=32)
    start = FrozenStart(model, recipe, CPU)
    first = start.file(images).path
    assert start.file(images[::-1]).path != first
    assert FrozenStart(model, replace(recipe, input_size=40), CPU).file(images).path != first
    with torch.no_grad():
        model.classifier[-1].weight.add_(1)  # trained, so it does not matter
        assert FrozenStart(model, recipe, CPU).file(images).path == first
        model.features[0].weight.add_(1)
    assert FrozenStart(model, recipe, CPU).file(images).path != first


def test_a_folder_that_cannot_be_written_is_one_sentence(small: nn.Module, splits: Splits, features: Path) -> None:
    features.write_text("a file where the folder should be")
    start = FrozenStart(small, KEPT, CPU)
    with pytest.raises(ConvscopeError, match="could not be written"):
        list(start.keep(splits.train.images[:2]))


# Training ------------------------------------------------------------------------------------------------------


def test_it_trains_as_on_the_images(bases: Path, splits: Splits, tmp_path: Path) -> None:
    """The same order, so the same weights but for the rounding of features to 16 bits."""
    on_images, kept = (
        trained(replace(KEPT, keep_frozen=keep), splits, tmp_path / str(keep), bases, keep=False)
        for keep in (False, True)
    )
    mine, theirs = kept.load()["model"], on_images.load()["model"]
    moved = starting_network(KEPT, splits.train.classes, CPU, bases).state_dict()
    for key in mine:
        torch.testing.assert_close(mine[key], theirs[key], rtol=2e-2, atol=5e-3)
    assert not torch.allclose(mine["features.9.weight"], moved["features.9.weight"], atol=1e-3)
    one, other = live_files.read_history(kept)[-1], live_files.read_history(on_images)[-1]
    assert one.val_loss == pytest.approx(other.val_loss, abs=0.02)
    assert one.train_loss == pytest.approx(other.train_loss, abs=0.02)
    assert one.batch_loss == pytest.approx(other.batch_loss, abs=0.02)


def test_it_can_be_resumed_and_computes_nothing_twice(
    bases: Path, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(KEPT, phases=(Phase(2, 0.05),), flip=True, ema=0.5)
    whole = trained(recipe, splits, tmp_path / "whole", bases, keep=False)
    monkeypatch.setattr(FrozenStart, "keep", lambda self, images: iter(()))
    parts = RunFolder(tmp_path / "parts")
    parts.begin(recipe)
    Training(recipe, splits, parts, CPU, bases=bases).run(1)
    Training(recipe, splits, parts, CPU, bases=bases).run()
    mine, theirs = whole.load()["model"], parts.load()["model"]
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_a_stop_comes_through_while_features_are_computed(bases: Path, splits: Splits, folder: RunFolder) -> None:
    training = Training(KEPT, splits, folder, CPU, bases=bases)
    seen: list[tuple[int, int]] = []
    training.observe_kept = lambda *done: (seen.append(done), training.control.ask_to_stop())
    training.run()
    assert seen == [(0, 96)]
    assert training.progress.epoch == 0
    assert live_files.read_status(folder).state == "stopped"


@pytest.mark.parametrize(("ending", "epochs"), [("resume", 1), ("stop", 0)])
def test_a_pause_comes_through_while_features_are_computed(
    bases: Path, splits: Splits, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, ending: str, epochs: int
) -> None:
    monkeypatch.setattr(control, "INTERVAL", 0.0)
    training = Training(KEPT, splits, folder, CPU, bases=bases)
    waits: list[str] = []

    def waited(_: control.Control) -> str:
        waits.append(live_files.read_status(folder).state)
        return ending

    def pause_once(done: int, _count: int) -> None:
        if done == 0:
            run.send(folder, "pause")

    monkeypatch.setattr(control.Control, "wait", waited)
    training.observe_kept = pause_once
    assert training.run().epoch == epochs
    assert waits == ["paused"]
    assert kinds(folder)[:3] == ["started", "paused", "continued"]


def test_half_of_the_features_are_of_mirror_images(small: nn.Module, splits: Splits) -> None:
    recipe = replace(KEPT, batch_size=32, flip=True)
    source = FrozenFeatures(small, splits, recipe, CPU)
    assert source.count == 64 + 32 + 64
    for _ in ("computes them", "finds them"):
        assert list(source.keep())[-1] == source.count
    (first, labels), _ = source.epoch(0)
    plain, mirrored = (source._rows(which, np.arange(64)) for which in (0, 2))
    places = [
        next(i for i in range(64) if any(torch.equal(one, both[i]) for both in (plain, mirrored))) for one in first
    ]
    assert len(set(places)) == 32
    assert labels.tolist() == splits.train.labels[places].tolist()
    assert 4 < sum(torch.equal(one, mirrored[i]) for one, i in zip(first, places, strict=True)) < 28
    flipped = LabelledImages(np.ascontiguousarray(splits.train.images[:, :, ::-1]), splits.train.labels)
    x = prepare(flipped.images[:3], 16, *recipe.statistics).double()
    with torch.no_grad():
        torch.testing.assert_close(mirrored[:3].double(), source.start.cut.before(small, x), rtol=1e-3, atol=1e-4)


def test_each_step_draws_an_image_or_one_of_its_views(small: nn.Module, splits: Splits) -> None:
    recipe = replace(KEPT, batch_size=32, flip=True, crop_padding=4, cutout=8, views=3)
    source = FrozenFeatures(small, splits, recipe, CPU)
    list(source.keep())
    assert source.count == 64 + 32 + 3 * 64
    first, labels = map(torch.cat, zip(*source.epoch(0), strict=True))
    again, _ = map(torch.cat, zip(*source.epoch(0), strict=True))
    assert torch.equal(first, again)
    versions = [source._rows(which, np.arange(64)) for which in (0, 2, 3, 4)]
    drawn = [
        next((which, i) for i in range(64) for which, all_of in enumerate(versions) if torch.equal(one, all_of[i]))
        for one in first
    ]
    assert sorted(i for _, i in drawn) == list(range(64))
    assert labels.tolist() == splits.train.labels[[i for _, i in drawn]].tolist()
    assert min(Counter(which for which, _ in drawn).values()) > 4
    # A view is what another training would see of the images.
    seen = Batches(splits.train, recipe, CPU)._augmented(torch.arange(64), generator(recipe.seed, 1), slice(None))
    with torch.no_grad():
        x = prepare(seen, 16, *recipe.statistics).double()
        torch.testing.assert_close(versions[2].double(), source.start.cut.before(small, x), rtol=1e-3, atol=1e-3)


def test_figures_on_features_are_those_on_images(small: nn.Module, splits: Splits) -> None:
    source = FrozenFeatures(small, splits, KEPT, CPU)
    list(source.keep())
    for mine, data in zip(source.predictions(small.eval()), (splits.train, splits.validation), strict=True):
        mean, std = KEPT.statistics
        theirs = evaluate(small, data.images, data.labels, input_size=16, mean=mean, std=std)
        np.testing.assert_allclose(mine.logits, theirs.logits, atol=5e-3)
        assert (mine.labels == theirs.labels).all()


# Recipes -------------------------------------------------------------------------------------------------------


def test_the_shipped_recipe_trains_the_last_five_convolutions_of_efficientnet_lite0() -> None:
    recipe = read("transfer")
    assert (recipe.base, recipe.train_last, recipe.batch_size, recipe.keep_frozen) == (
        "efficientnet_lite0",
        5,
        64,
        True,
    )
    assert [(phase.optimizer, phase.learning_rate) for phase in recipe.phases] == [("adam", 5e-4)]
    assert recipe.statistics == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_its_base_comes_with_a_package(splits: Splits) -> None:
    model = starting_network(replace(read("transfer"), input_size=32), splits.train.classes, CPU, None)
    assert model.classifier.out_features == 10
    learning = {name.rpartition(".")[0] for name, p in model.named_parameters() if p.requires_grad and p.ndim == 4}
    assert len(learning) == 5
    assert "head.0" in learning


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "mine.toml, line 2: keep_frozen needs train_last, which says what is frozen."),
        (
            'base = "x"\ntrain_last = 1',
            "mine.toml, line 2: keep_frozen needs images that stay as they are: crop_padding = 0 and cutout = 0, "
            "or a number of views.",
        ),
        (
            'base = "x"\ntrain_last = 1\ncrop_padding = 0\nresolutions = [{from_epoch = 0, pixels = 32}]',
            "mine.toml, line 2: keep_frozen needs images of one size: no resolutions.",
        ),
        (
            'base = "x"\ntrain_last = 1\nviews = 101',
            "mine.toml, line 5: views must lie between 0 and 100, not 101.",
        ),
    ],
)
def test_impossible_settings_name_their_line(line: str, message: str) -> None:
    text = f'architecture = "lenet"\nkeep_frozen = true\n{line}\n[[phases]]\nepochs = 1\nlearning_rate = 0.1\n'
    with pytest.raises(ConvscopeError) as raised:
        parse(text, "mine", "mine.toml")
    assert str(raised.value) == message
