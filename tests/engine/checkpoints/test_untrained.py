"""A checkpoint's network before its training is the very one that its run began with."""

from pathlib import Path

import pytest
import torch

from engine import checkpoints, settings
from engine.training.recipe import Phase, Recipe
from engine.training.start import fresh_network
from tests.engine.checkpoints.test_checkpoints import make_card, make_contents

PHASES = (Phase(epochs=1, learning_rate=0.1),)


@pytest.mark.parametrize("initialisation", ["default", "xavier", "kaiming"])
def test_the_weights_are_those_that_the_seed_gives(tmp_path: Path, initialisation: str) -> None:
    checkpoints.save(make_card(seed=7, initialisation=initialisation), make_contents(), tmp_path)
    recipe = Recipe("tiny", "lenet", PHASES, input_size=8, seed=7, initialisation=initialisation)
    begun, before = fresh_network(recipe, 10), checkpoints.untrained("tiny", tmp_path)
    for mine, theirs in zip(before.model.parameters(), begun.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert not before.model.training


def test_the_shipped_snapshot_before_training_is_the_untrained_networks_first_layer() -> None:
    import numpy as np

    with np.load(settings.folders.checkpoints / "lenet" / "filters.npz") as stored:
        first = torch.from_numpy(stored["filters"][0].astype(np.float32))
    kernels = checkpoints.untrained("lenet").model.features[0].weight
    assert torch.allclose(kernels, first, atol=1e-3)
