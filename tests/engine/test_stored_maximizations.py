"""The pictures that are kept with a checkpoint: what was put in comes out, and nothing else."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from engine import checkpoints, patches, settings, weights
from engine.maximization import PRESETS, stored
from engine.maximization.__main__ import main
from engine.maximization.stored import MaximizationSettings
from engine.patches import CLASSES


@pytest.fixture(scope="module")
def lenet() -> checkpoints.Trained:
    return checkpoints.load("lenet")


def settings_for(layer: str, preset: str = "Fourier") -> MaximizationSettings:
    return MaximizationSettings(weights.find("lenet"), layer, 0, 3, "whole map", preset, steps=3, seed=0, size=32)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("layer", ["conv1", "conv3_relu", CLASSES])
def test_pictures_form_and_are_kept(lenet, tmp_path, layer, preset):
    chosen = settings_for(layer, preset=preset)
    *_, made = stored.pictures(lenet, chosen)
    assert made.pictures.shape == (3, 32, 32, 3)
    assert made.pictures.dtype == np.uint8
    assert made.steps.tolist() == [0, 1, 2, 3]
    assert made.activations.shape == (4, 3)
    path = tmp_path / chosen.file_name
    stored.save(made, path, "abc")
    again = stored.load(path, "abc")
    assert np.array_equal(again.pictures, made.pictures)
    assert np.array_equal(again.activations, made.activations)


def test_pictures_of_other_weights_and_damaged_files_are_ignored(lenet, tmp_path):
    *_, made = stored.pictures(lenet, settings_for("conv1"))
    path = tmp_path / "pictures.npz"
    assert stored.load(path, "abc") is None
    stored.save(made, path, "abc")
    assert stored.load(path, "other") is None
    path.write_bytes(path.read_bytes()[:500])
    assert stored.load(path, "abc") is None


def test_only_what_the_command_stores_counts_as_stored(lenet):
    standard = stored.standard(lenet, stored.layers_of(lenet))
    assert all(stored.is_stored(chosen, lenet) for chosen in standard)
    assert len({chosen.file_name for chosen in standard}) == len(standard)
    assert not stored.is_stored(settings_for("conv1"), lenet)
    assert {chosen.layer for chosen in standard} == {"conv1", "conv1_relu", "conv2_relu", "conv3_relu", "classes"}


def test_the_command_stores_what_the_page_reads(monkeypatch, use_folders, tmp_path, capsys, bundled_test):
    shutil.copytree(settings.folders.checkpoints / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / patches.FILE).unlink()
    monkeypatch.setattr(stored, "STEPS", 3)
    monkeypatch.setattr(patches, "bundled", lambda split: bundled_test.subset(np.arange(40)))
    use_folders(checkpoints=tmp_path)
    assert main(["lenet", "conv1"]) == 0
    assert capsys.readouterr().out.count("above every test image") == 2
    assert len(list((tmp_path / "lenet" / "maximization").iterdir())) == 2
    assert patches.load(checkpoints.load("lenet")).of("conv1", "whole map").images.max() < 40
    assert main(["nothing"]) == 1
    assert "There is no checkpoint 'nothing'" in capsys.readouterr().out
    assert main(["lenet", "conv9"]) == 1
    assert "lenet has no layer 'conv9': choose among conv1, " in capsys.readouterr().out


def test_one_picture_is_found_among_those_stored_together(lenet, monkeypatch, tmp_path):
    monkeypatch.setattr(stored, "path_of", lambda chosen: tmp_path / chosen.file_name)
    batch = next(iter(stored.standard(lenet, ["conv1"])))
    made = stored.Maximization(
        np.arange(16 * 32 * 32 * 3, dtype=np.uint8).reshape(16, 32, 32, 3),
        np.array([0, batch.steps]),
        np.arange(32, dtype=np.float32).reshape(2, 16),
    )
    one = replace(batch, first=5, count=1)
    assert stored.find(one, lenet) is None
    stored.save(made, stored.path_of(batch), lenet.card.weights_sha256)
    assert np.array_equal(stored.find(one, lenet).pictures, made.pictures[5:6])
    assert np.array_equal(stored.find(one, lenet).activations, made.activations[:, 5:6])
    others = ({"first": 15, "count": 2}, {"first": 16}, {"steps": 64}, {"preset": "pixels"}, {"size": 64})
    assert not any(stored.find(replace(one, **other), lenet) for other in others)
