"""Weights name what they are of, and load as that or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine import checkpoints, settings, weights
from engine.errors import ConvscopeError
from engine.weights import TRAINED, UNTRAINED, Weights
from tests.oracles import fingerprint


def test_they_load_as_the_checkpoint_does() -> None:
    lenet = weights.find("lenet")
    assert lenet == Weights.of(checkpoints.available()["lenet"])
    sources = {TRAINED: checkpoints.load, UNTRAINED: checkpoints.untrained}
    for moment, source in sources.items():
        assert fingerprint(weights.load(lenet.at(moment)).model) == fingerprint(source("lenet").model)


def test_each_moment_has_weights_words_and_a_file_name_of_its_own() -> None:
    between = weights.moments("lenet")[1]
    moments = [weights.find("lenet", moment) for moment in (TRAINED, UNTRAINED, between)]
    kernels = [weights.load(moment).model.features[0].weight for moment in moments]
    assert not any(torch.equal(kernels[a], kernels[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert [str(moment) for moment in moments] == ["lenet", "lenet before training", f"lenet after epoch {between}"]
    assert [moment.file_name for moment in moments] == ["lenet", f"lenet-{UNTRAINED}", f"lenet-epoch-{between}"]


def test_the_moments_of_a_network_are_its_states_and_the_two_ends() -> None:
    kept = [file.stem for file in (settings.ROOT / "checkpoints" / "lenet" / "states").iterdir()]
    assert kept
    assert weights.moments("lenet") == (UNTRAINED, *sorted(kept, key=int), TRAINED)
    assert weights.moments("convnet4") == (UNTRAINED, TRAINED)
    with pytest.raises(ConvscopeError, match=r"^The network 'lenet' has no weights '3': choose untrained, "):
        weights.find("lenet", "3")


def test_weights_that_were_replaced_are_not_loaded_in_place_of_others(
    tmp_path: Path, use_folders: Callable[..., None]
) -> None:
    use_folders(checkpoints=tmp_path)
    shutil.copytree(settings.ROOT / "checkpoints" / "lenet", tmp_path / "mine")
    before = weights.find("mine")
    shutil.rmtree(tmp_path / "mine")
    shutil.copytree(settings.ROOT / "checkpoints" / "model_two", tmp_path / "mine")
    with pytest.raises(ConvscopeError, match=r"^The network 'mine' has just been replaced by another one"):
        weights.load(before)
    assert weights.load(weights.find("mine")).card.architecture == "model_two"
