"""A run keeps what its network was like after some of its epochs, and a checkpoint of it too."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
import torch

from engine import checkpoints, deconv, playbacks, tape, weights
from engine.checkpoints import states
from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.models import build
from engine.playbacks import Playback
from engine.training.datasets import Splits
from engine.training.finish import make_checkpoint
from engine.training.run import RunFolder
from engine.views import View
from pages.common import resources
from pages.reconstruction import figure
from tests.runs import TWO_PHASES, Stop, at, lenet, train

DOUBLING = replace(TWO_PHASES, keep_states=True)
"""Five epochs."""


def stop() -> None:
    raise Stop


def of_run(folder: RunFolder) -> dict[int, dict[str, torch.Tensor]]:
    """What the run has kept, by epoch."""
    kept = [torch.load(file, weights_only=True) for file in sorted((folder.path / states.FOLDER).iterdir())]
    return {one["epoch"]: one["weights"] for one in kept}


@pytest.fixture(scope="module")
def runs(bundled_train: LabelledImages, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, RunFolder]:
    """A run of five epochs that keeps the states whose epochs double, and one that does not; the last is the best."""
    splits = Splits(bundled_train.subset(np.arange(64)), bundled_train.subset(np.arange(4_000, 4_032)))
    runs = {one: RunFolder(tmp_path_factory.mktemp("run")) for one in (False, True)}
    for doubling, folder in runs.items():
        train(DOUBLING if doubling else TWO_PHASES, splits, folder)
        state = torch.load(folder.path / "state.pt", weights_only=True)
        torch.save({**state, "best": (state["best"][0], 5)}, folder.path / "state.pt")
        torch.save({"epoch": 5, "weights": state["model"]}, folder.path / "best.pt")
    return runs


@pytest.fixture
def made(splits: Splits, runs: dict[bool, RunFolder], tmp_path: Path) -> Callable[[bool], Path]:
    """Makes the checkpoint of one of the runs; gives the folder that it is in."""

    def make(doubling: bool) -> Path:
        recipe = DOUBLING if doubling else TWO_PHASES
        make_checkpoint(recipe, runs[doubling], splits.validation, splits.validation, tmp_path / "kept")
        return tmp_path / "kept"

    return make


@pytest.mark.parametrize(
    ("epochs", "doubling", "kept"),
    [(1, True, ()), (2, True, (1,)), (16, True, (1, 2, 4, 8)), (18, True, (1, 2, 4, 8, 16)), (5, False, (2,))],
)
def test_epochs_double_up_to_the_end_or_there_is_the_one_halfway(
    epochs: int, doubling: bool, kept: tuple[int, ...]
) -> None:
    assert states.epochs_to_keep(epochs, doubling) == kept


def test_a_state_is_the_network_after_its_epoch(made: Callable[[bool], Path]) -> None:
    kept = made(True)
    assert states.epochs("tiny", kept) == (1, 2, 4)
    with np.load(kept / "tiny" / "filters.npz") as stored:
        filters = stored["filters"].astype(np.float32)
    for epoch in (1, 2, 4):
        model = states.load("tiny", epoch, kept).model
        assert torch.equal(model.features[0].weight.half().float(), torch.from_numpy(filters[epoch]))
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())


def test_without_being_asked_a_run_keeps_the_one_halfway(made: Callable[[bool], Path]) -> None:
    kept = made(False)
    assert states.epochs("tiny", kept) == (2,)
    with np.load(kept / "tiny" / "filters.npz") as stored:
        filters = torch.from_numpy(stored["filters"][2].astype(np.float32))
    assert torch.equal(states.load("tiny", 2, kept).model.features[0].weight.half().float(), filters)


def test_a_run_of_one_epoch_keeps_it(splits: Splits, folder: RunFolder) -> None:
    one = lenet(phases=(TWO_PHASES.phases[1].__class__(1, 0.01),))
    train(one, splits, folder)
    assert list(of_run(folder)) == [1]


@pytest.mark.parametrize("epoch", [1, 3])
def test_states_survive_a_kill_and_are_those_of_an_uninterrupted_run(
    splits: Splits, runs: dict[bool, RunFolder], folder: RunFolder, epoch: int
) -> None:
    with pytest.raises(Stop):
        train(DOUBLING, splits, folder, at(epoch, 0, stop))
    half_written = folder.path / states.FOLDER / ".4.pt.abc"
    half_written.parent.mkdir(exist_ok=True)
    half_written.write_bytes(b"half of it")
    train(DOUBLING, splits, folder)
    assert not half_written.exists()
    expected, resumed = of_run(runs[True]), of_run(folder)
    assert list(expected) == list(resumed) == [1, 2, 4]
    assert all(torch.equal(expected[at][key], resumed[at][key]) for at in expected for key in expected[at])


def test_a_checkpoint_has_only_states_that_are_older_than_its_best_epoch(
    splits: Splits, runs: dict[bool, RunFolder], folder: RunFolder, tmp_path: Path
) -> None:
    shutil.copytree(runs[True].path, folder.path)
    state = torch.load(folder.path / "state.pt", weights_only=True)
    torch.save({**state, "best": (state["best"][0], 4)}, folder.path / "state.pt")
    torch.save({**torch.load(folder.path / "best.pt", weights_only=True), "epoch": 4}, folder.path / "best.pt")
    best = make_checkpoint(DOUBLING, folder, splits.validation, splits.validation, tmp_path).best_epoch
    assert (best, states.epochs("tiny", tmp_path)) == (4, (1, 2))


def test_a_disk_that_is_full_at_the_last_state_leaves_no_half_of_a_checkpoint(
    made: Callable[[bool], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = os.replace

    def failing(source: Any, target: Any) -> None:
        if Path(target).name == "4.pt":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ConvscopeError, match=r"could not be written \(No space left on device\)"):
        made(True)
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize("asked_for", [False, True])
def test_a_large_network_keeps_none_unless_it_is_asked_for(
    made: Callable[[bool], Path], monkeypatch: pytest.MonkeyPatch, asked_for: bool
) -> None:
    monkeypatch.setattr(states, "MOST_PARAMETERS", 1000)
    kept = made(asked_for)
    assert states.epochs("tiny", kept) == ((1, 2, 4) if asked_for else ())


def test_a_state_takes_about_as_many_bytes_as_are_said(made: Callable[[bool], Path]) -> None:
    kept = made(False)
    stored = (kept / "tiny" / states.FOLDER / "2.pt").stat().st_size
    assert states.size(states.load("tiny", 2, kept).model) == pytest.approx(stored, rel=0.02)


@pytest.mark.parametrize("damage", ["missing", "truncated", "another network", "another epoch", "not a number", "text"])
def test_a_damaged_state_is_one_sentence(made: Callable[[bool], Path], damage: str) -> None:
    kept = made(False)
    file = kept / "tiny" / states.FOLDER / "2.pt"
    content = torch.load(file, weights_only=True)
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:500])
    elif damage == "another network":
        states.write(file.parent.parent, 2, {"weight": torch.zeros(3)})
    elif damage == "another epoch":
        torch.save({**content, "epoch": 3}, file)
    elif damage == "not a number":
        content["weights"]["features.0.weight"][0, 0, 0, 0] = torch.nan
        torch.save(content, file)
    else:
        file.write_text("no weights")
    with pytest.raises(ConvscopeError, match=r"^The weights of 'tiny' after epoch 2 are missing or damaged: get tiny"):
        states.load("tiny", 2, kept)


def test_files_of_other_names_are_no_states(tmp_path: Path) -> None:
    for name in ("4.pt", "x.pt", ".8.pt.abc", "²2.pt", "16.txt", "-3.pt"):
        (tmp_path / "mine" / states.FOLDER).mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / states.FOLDER / name).touch()
    assert states.epochs("mine", tmp_path) == (4,)


def test_what_the_app_shows_of_a_state_is_what_that_state_shows_alone(
    made: Callable[[bool], Path], use_folders: Callable[..., None], bundled_test: LabelledImages
) -> None:
    st.cache_resource.clear()
    kept = made(True)
    use_folders(checkpoints=kept)
    assert weights.moments("tiny") == ("untrained", "1", "2", "4", "trained")
    for epoch in ("1", "4"):
        view = View(weights.find("tiny", epoch), "conv3_relu", "test", 0, 32)
        played = resources.play(Playback(view, "all channels"))
        content = torch.load(kept / "tiny" / states.FOLDER / f"{epoch}.pt", weights_only=True)["weights"]
        alone = build("lenet", num_classes=10, input_size=32)
        alone.load_state_dict({key: value.float() for key, value in content.items()})
        recorded = tape.record(checkpoints.freeze(alone), resources.network_input(view), "conv3_relu")
        assert torch.equal(played.tape.activation, recorded.activation)
        assert torch.equal(played.tape.activation, alone.features[:8](resources.network_input(view)))
        pixels = deconv.reconstruct(recorded, deconv.all_channels(recorded.activation)).pixels
        assert torch.equal(played.reconstruction.pixels, pixels)
    st.cache_resource.clear()


def test_reconstructions_are_compared_before_between_and_after(
    made: Callable[[bool], Path], use_folders: Callable[..., None], bundled_test: LabelledImages
) -> None:
    st.cache_resource.clear()
    use_folders(checkpoints=made(True))
    base = Playback(View(weights.find("tiny"), "conv3_relu", "test", 0, 32), "all channels")
    compared = playbacks.comparison("training", base)
    labels = ["before training", "after epoch 1", "after epoch 2", "after epoch 4", "trained"]
    assert [variant.label for variant in compared.variants] == labels
    results = {variant.label: resources.play(variant.playback) for variant in compared.variants}
    drawn = figure.draw(compared, results).pictures
    assert len({one.own for one in drawn}) == len(drawn)
    st.cache_resource.clear()
