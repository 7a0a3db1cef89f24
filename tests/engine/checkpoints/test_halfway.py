"""A run keeps what its network was like halfway, and a small checkpoint of it too."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
import torch

from engine import weights
from engine.checkpoints import halfway
from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.training.datasets import Splits
from engine.training.finish import make_checkpoint
from engine.training.run import RunFolder
from pages.common import resources
from pages.common.resources import Playback, View
from pages.reconstruction import comparisons, figure
from tests.runs import TWO_PHASES, lenet, train


@pytest.fixture
def kept(splits: Splits, folder: RunFolder, tmp_path: Path) -> Path:
    """A folder with the checkpoint of a run of five epochs."""
    train(TWO_PHASES, splits, folder)
    make_checkpoint(TWO_PHASES, folder, splits.validation, splits.validation, tmp_path / "kept")
    return tmp_path / "kept"


def test_the_snapshot_is_the_network_after_half_of_the_epochs(kept: Path) -> None:
    snapshot = halfway.load(TWO_PHASES.name, kept)
    assert snapshot.epoch == 2
    with np.load(kept / TWO_PHASES.name / "filters.npz") as stored:
        filters = torch.from_numpy(stored["filters"][2].astype(np.float32))
    assert torch.equal(snapshot.model.features[0].weight.half().float(), filters)
    assert not snapshot.model.training
    assert not any(parameter.requires_grad for parameter in snapshot.model.parameters())


def test_a_run_of_one_epoch_keeps_it(splits: Splits, folder: RunFolder) -> None:
    one = lenet(phases=(TWO_PHASES.phases[1].__class__(1, 0.01),))
    train(one, splits, folder)
    assert torch.load(folder.path / halfway.FILE, weights_only=True)["epoch"] == 1


def test_a_large_network_keeps_none(
    splits: Splits, folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halfway, "MOST_PARAMETERS", 1000)
    train(lenet(), splits, folder)
    make_checkpoint(lenet(), folder, splits.validation, splits.validation, tmp_path)
    assert not halfway.exists("tiny", tmp_path)


@pytest.mark.parametrize("damage", ["missing", "truncated", "another network"])
def test_a_damaged_snapshot_is_one_sentence(kept: Path, damage: str) -> None:
    file = kept / TWO_PHASES.name / halfway.FILE
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:500])
    else:
        halfway.write(file.parent, 2, {"weight": torch.zeros(3)})
    with pytest.raises(ConvscopeError, match=r"^The weights of 'tiny' halfway through its training are missing or"):
        halfway.load(TWO_PHASES.name, kept)


def test_reconstructions_are_compared_before_halfway_and_after(
    kept: Path, use_folders: Callable[..., None], bundled_test: LabelledImages
) -> None:
    st.cache_resource.clear()
    use_folders(checkpoints=kept)
    base = Playback(View(weights.find("tiny"), "conv3_relu", "test", 0, 32), "all channels")
    compared = comparisons.comparison("training", base, None)
    assert [variant.label for variant in compared.variants] == ["before training", "halfway", "trained"]
    results = {variant.label: resources.play(variant.playback) for variant in compared.variants}
    before, halfway, _ = figure.draw(compared, results).pictures  # the best epoch may be the one halfway
    assert before.own != halfway.own
    st.cache_resource.clear()
