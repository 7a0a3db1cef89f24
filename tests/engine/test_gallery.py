"""The pictures and images that are kept with a checkpoint, against slow searches and what was put in."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import checkpoints, data, gallery, tape, weights
from engine.gallery import Request, Strongest
from engine.maximization import OBJECTIVES, PRESETS, excitation
from tests.oracles import noise


@pytest.fixture(scope="module")
def lenet() -> checkpoints.Trained:
    return checkpoints.load("lenet")


def request_for(layer: str, **changes) -> Request:
    values = {"network": weights.find("lenet"), "layer": layer, "first": 0, "count": 3, "objective": "whole map",
              "preset": "Fourier", "steps": 3, "seed": 0, "size": 32}  # fmt: skip
    return Request(**(values | changes))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_strongest_images_are_those_of_a_slow_search(lenet, bundled_test, objective):
    images = bundled_test.images[:60]
    found = gallery.strongest(lenet, "conv2_relu", images)[objective]
    slow = []
    for image in images:
        x = data.prepare(image[None], 32, lenet.card.mean, lenet.card.std)
        slow.append(excitation(tape.record(lenet.model, x, "conv2_relu").activation, objective)[0].numpy())
    slow = np.stack(slow)
    for channel in (0, 17, 63):
        expected = sorted(slow[:, channel], reverse=True)[:9]
        assert np.allclose(found.activations[channel], expected, atol=1e-5)
        assert np.allclose(slow[found.images[channel], channel], expected, atol=1e-5)
    assert found.total == 60


def test_the_strongest_images_of_the_classes_are_those_with_the_largest_scores(lenet, bundled_test):
    found = gallery.strongest(lenet, gallery.CLASSES, bundled_test.images[:500])["whole map"]
    stored = checkpoints.predictions("lenet").test.logits[:500]
    assert np.allclose(found.activations[:, 0], stored.max(axis=0), atol=0.02)


def test_the_search_can_be_stopped_and_tells_how_far_it_is(lenet, bundled_test):
    done = []
    gallery.strongest(lenet, "conv1", bundled_test.images[:600], on_batch=done.append)
    assert done == [250, 500, 600]

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gallery.strongest(lenet, "conv1", bundled_test.images[:600], on_batch=stop)


def test_of_large_images_fewer_are_searched_together(lenet, bundled_test):
    done = []
    large = checkpoints.Trained(lenet.model, replace(lenet.card, input_size=512))
    gallery.strongest(large, "conv1", bundled_test.images[:4], on_batch=done.append)
    assert done == [3, 4]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("layer", ["conv1", "conv3_relu", gallery.CLASSES])
def test_pictures_form_and_are_kept(lenet, tmp_path, layer, preset):
    request = request_for(layer, preset=preset)
    *_, made = gallery.pictures(lenet, request)
    assert made.pictures.shape == (3, 32, 32, 3)
    assert made.pictures.dtype == np.uint8
    assert made.steps.tolist() == [0, 1, 2, 3]
    assert made.activations.shape == (4, 3)
    path = tmp_path / request.file_name
    gallery.save(made, path, "abc")
    again = gallery.load(path, "abc")
    assert np.array_equal(again.pictures, made.pictures)
    assert np.array_equal(again.activations, made.activations)


def test_pictures_of_other_weights_and_damaged_files_are_ignored(lenet, tmp_path):
    *_, made = gallery.pictures(lenet, request_for("conv1"))
    path = tmp_path / "pictures.npz"
    assert gallery.load(path, "abc") is None
    gallery.save(made, path, "abc")
    assert gallery.load(path, "other") is None
    path.write_bytes(path.read_bytes()[:500])
    assert gallery.load(path, "abc") is None


def test_what_was_found_is_kept(tmp_path):
    found = {
        objective: Strongest(np.arange(18).reshape(2, 9), np.linspace(9, 1, 18, dtype=np.float32).reshape(2, 9), 700)
        for objective in OBJECTIVES
    }
    path = tmp_path / "strongest.npz"
    gallery.save_strongest(found, path, "abc")
    again = gallery.load_strongest(path, "abc")
    for objective in OBJECTIVES:
        assert np.array_equal(again[objective].images, found[objective].images)
        assert np.array_equal(again[objective].activations, found[objective].activations)
        assert again[objective].total == 700
    assert gallery.load_strongest(path, "other") is None


def test_the_deconvnet_plays_each_channel_back_on_its_own_image(lenet, bundled_test):
    images = bundled_test.images[:18]
    channels = list(range(18))
    together = gallery.deconvnet(lenet, "conv2_relu", images, channels)
    alone = gallery.deconvnet(lenet, "conv2_relu", images[17:], [17])
    assert together.shape == (18, 3, 32, 32)
    assert torch.allclose(together[17], alone[0], atol=1e-5)


def test_cropping_keeps_all_that_is_not_zero():
    images = torch.zeros(3, 3, 8, 9)
    images[0, 1, 2:4, 5:8], images[1, 0, 7, 8] = 1, -2
    seen = gallery.cropped(images)
    assert seen.shape == (3, 3, 3, 3)
    assert torch.equal(seen[0], images[0, :, 2:5, 5:8])
    assert torch.equal(seen[1], images[1, :, 5:, 6:])
    whole = noise((2, 3, 4, 4))
    assert torch.equal(gallery.cropped(whole), whole)
    assert gallery.cropped(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 4, 4)


def test_only_what_the_command_stores_counts_as_stored(lenet):
    stored = gallery.standard(lenet, gallery.layers_of(lenet))
    assert all(gallery.is_stored(request, lenet) for request in stored)
    assert len({request.file_name for request in stored}) == len(stored)
    assert not gallery.is_stored(request_for("conv1"), lenet)
    assert {request.layer for request in stored} == {"conv1", "conv1_relu", "conv2_relu", "conv3_relu", "classes"}


def test_the_command_stores_what_the_page_reads(monkeypatch, tmp_path, capsys, bundled_test):
    monkeypatch.setattr(gallery, "STEPS", 3)
    monkeypatch.setattr(gallery.data, "bundled", lambda split: bundled_test.subset(np.arange(40)))
    monkeypatch.setattr(gallery, "folder_of", lambda name: tmp_path / name)
    assert gallery.main(["lenet", "conv1"]) == 0
    assert capsys.readouterr().out.count("above every test image") == 2
    assert len(list((tmp_path / "lenet").iterdir())) == 3
    assert gallery.main(["nothing"]) == 1
    assert "There is no checkpoint 'nothing'" in capsys.readouterr().out
    assert gallery.main(["lenet", "conv9"]) == 1
