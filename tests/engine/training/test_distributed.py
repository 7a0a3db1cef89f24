"""Two processes with half of each batch follow one process with whole batches, and only the first one writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.data import LabelledImages
from engine.errors import ConvscopeError
from engine.settings import ROOT
from engine.training import live_files
from engine.training.__main__ import main
from engine.training.batches import Batches
from engine.training.datasets import Splits
from engine.training.run import RunFolder
from engine.training.team import Team
from tests.pictures import class_folders
from tests.runs import CPU, lenet

RECIPE = """\
architecture = "lenet"
dataset = "folder"
data_folder = "{folder}"
input_size = 16
batch_size = 8
crop_padding = 2
cutout = 4
ema = 0.9
label_smoothing = 0.1
precision = "float64"
seed = 5
[[phases]]
epochs = 2
learning_rate = 0.05
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """20 steps: 80 pictures to learn from in two epochs of 10 batches."""
    folder = class_folders(tmp_path / "pictures", {"blue": 50, "green": 50}, side=16)
    file = tmp_path / "pair.toml"
    file.write_text(RECIPE.format(folder=folder))
    return file


def paths(recipe: Path, name: str) -> list[str]:
    return ["--runs", str(recipe.parent / name), "--checkpoints", str(recipe.parent / name), "--device", "cpu"]


def torchrun(recipe: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "engine.training", str(recipe), *paths(recipe, name), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_two_processes_follow_one(recipe: Path) -> None:
    done = torchrun(recipe, "two", "--no-checkpoint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert main([str(recipe), *paths(recipe, "one"), "--no-checkpoint"]) == 0
    one, two = RunFolder(recipe.parent / "one" / "pair"), RunFolder(recipe.parent / "two" / "pair")
    state, other = one.load(), two.load()
    assert other["epoch"] == 2
    for part in ("model", "average"):
        for key, value in state[part].items():
            torch.testing.assert_close(other[part][key], value, rtol=0, atol=1e-9)
    learned = state["model"]["features.0.weight"] - state["average"]["module.features.0.weight"]
    assert state["model"]["features.0.weight"].dtype == torch.float64
    assert learned.abs().max() > 1e-4
    for mine, theirs in zip(live_files.read_history(one), live_files.read_history(two), strict=True):
        assert theirs.val_loss == pytest.approx(mine.val_loss, abs=1e-6)
        assert theirs.batch_loss == pytest.approx(mine.batch_loss, abs=1e-6)
    # One writer: one line for the start, one status, one file of TensorBoard's.
    assert [event.kind for event in live_files.read_events(two)] == ["started", "finished"]
    assert len(list((two.path / "tensorboard").iterdir())) == 1


def test_a_batch_that_cannot_be_shared_out_is_refused_by_one_sentence(splits: Splits) -> None:
    data = LabelledImages(splits.train.images, splits.train.labels)
    with pytest.raises(ConvscopeError, match="A batch of 16 images cannot be shared out equally to 3 processes"):
        Batches(data, lenet(), CPU, Team(rank=0, size=3))


def test_the_shares_are_the_whole_batches_cut_into_pieces(splits: Splits) -> None:
    recipe = lenet(cutout=8)
    whole = Batches(splits.train, recipe, CPU)
    shares = [Batches(splits.train, recipe, CPU, Team(rank, 4)) for rank in range(4)]
    for epoch in (0, 3):
        for batch, *parts in zip(whole.epoch(epoch), *(share.epoch(epoch) for share in shares), strict=True):
            for index in (0, 1):
                assert torch.equal(torch.cat([part[index] for part in parts]), batch[index])
