"""Linear probes against scikit-learn's logistic regression, and their stored results."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from engine import checkpoints, probes, settings
from engine.data import LabelledImages, prepare
from engine.errors import ConvscopeError
from engine.probes import PIXELS, Probe, Probes, Reading, fit, in_words, load, pooled, probe_in_steps, save
from tests.oracles import fingerprint, noise


@pytest.mark.parametrize("l2", [0.003, 0.1])
def test_a_probe_is_scikit_learns_logistic_regression(l2: float) -> None:
    features, labels = noise((120, 7)) * torch.arange(1, 8) + 3, torch.arange(120) % 4
    features[:, 0] += labels
    features[:, 3] = 5  # the same on all images
    found = fit(features, labels, 4, l2)
    std = features.numpy().std(axis=0)
    standard = (features.numpy() - features.numpy().mean(axis=0)) / np.where(std > 0, std, 1)
    expected = LogisticRegression(C=1 / (l2 * 120), tol=1e-12, max_iter=10_000).fit(standard, labels.numpy())
    unseen = noise((40, 7), seed=9) * torch.arange(1, 8) + 3
    theirs = expected.predict_proba((unseen.numpy() - features.numpy().mean(axis=0)) / np.where(std > 0, std, 1))
    assert np.allclose(found.logits(unseen).softmax(dim=1).numpy(), theirs, atol=1e-6)
    assert np.allclose(found.weight.numpy(), expected.coef_, atol=1e-5)


def test_maps_are_averaged_over_four_fields() -> None:
    maps = noise((2, 3, 4, 6))
    found = pooled(maps).reshape(2, 3, 2, 2)
    assert torch.allclose(found[1, 2, 0, 1], maps[1, 2, :2, 3:].mean())
    assert pooled(noise((2, 3, 1, 1))).shape == (2, 3)
    assert pooled(noise((2, 3, 32, 32)), probes.PIXEL_GRID).shape == (2, 3 * 64)
    assert pooled(noise((2, 5))).shape == (2, 5)


@pytest.fixture(scope="module")
def few(bundled_train: LabelledImages, bundled_test: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
    return bundled_train.subset(np.arange(100)), bundled_test.subset(np.arange(60))


def test_each_stage_is_probed_and_the_network_is_left_as_it_is(few: tuple) -> None:
    trained, (training, test) = checkpoints.load("lenet"), few
    before, done = fingerprint(trained.model), list[int]()
    steps = list(probe_in_steps(trained, training, test, done.append))
    assert fingerprint(trained.model) == before
    assert done[-1] == 160
    last = steps[-1]
    assert [step.readings for step in steps] == [last.readings[:count] for count in range(1, 5)]
    assert [reading.layer for reading in last.readings] == [PIXELS, "conv1_relu", "conv2_relu", "conv3_relu"]
    assert [reading.features for reading in last.readings] == [192, 128, 256, 512]
    x = [prepare(images.images, 32, trained.card.mean, trained.card.std) for images in (training, test)]
    features = [torch.nn.functional.adaptive_avg_pool2d(trained.model.features[:5](one), 2).flatten(1) for one in x]
    mean, std = features[0].mean(0), features[0].std(0, correction=0)
    seen, unseen = ((one - mean) / torch.where(std > 0, std, 1) for one in features)
    expected = LogisticRegression(C=1 / (probes.L2 * 100), tol=1e-8, max_iter=5000).fit(seen, training.labels)
    hits = int((expected.predict(unseen) == test.labels).sum())
    assert abs(last.readings[2].hits - hits) <= 1  # single precision
    assert last.network_hits == int((trained.model(x[1]).argmax(1).numpy() == test.labels).sum())


FOUND = Probes((Reading(PIXELS, 192, 20), Reading("a", 4, 50), Reading("b", 4, 70)), 80, 10, 100, "f" * 64)


def test_results_in_words() -> None:
    assert in_words(FOUND) == (
        "A linear classifier on the pixels is right for 20 % of the test images, one on b for 70 %; the network itself "
        "for 80 %. Most is gained from pixels to a: 30 points."
    )
    first = in_words(replace(FOUND, readings=FOUND.readings[:1]))
    assert first == "A linear classifier on the pixels is right for 20 % of the test images; the layers follow."
    assert FOUND.accuracy(FOUND.readings[1]).value == 0.5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(settings.folders.checkpoints / "lenet", tmp_path / "lenet")
    return tmp_path


def test_results_are_stored_and_bound_to_the_weights(folder: Path) -> None:
    trained = checkpoints.load("lenet", folder)
    layers = [PIXELS, *probes.layers_to_probe(trained.model)]
    found = replace(
        FOUND, readings=tuple(Reading(layer, 192, 50) for layer in layers), weights_sha256=trained.card.weights_sha256
    )
    path = save(found, "lenet", folder)
    assert load(trained, folder) == found
    save(replace(found, weights_sha256="0" * 64), "lenet", folder)
    assert load(trained, folder) is None
    sound = json.loads(json.dumps(json.loads(path.read_text()) | {"weights_sha256": trained.card.weights_sha256}))
    for damage in (
        {"readings": sound["readings"][1:]},
        {"readings": [sound["readings"][0] | {"features": 12}, *sound["readings"][1:]]},  # another grid
        {"readings": 3},
        {"network_hits": 101},
        {"tested_on": 0},
        {"trained_on": "many"},
        {"more": 1},
    ):
        path.write_text(json.dumps(sound | damage))
        assert load(trained, folder) is None
    path.write_text("[1]")
    assert load(trained, folder) is None
    path.write_text(json.dumps(sound))
    assert load(trained, folder) == found


def test_every_shipped_network_has_its_probes() -> None:
    for name, card in checkpoints.available().items():
        stored = json.loads(probes.path_of(name).read_text())
        assert stored["weights_sha256"] == card.weights_sha256
        assert (stored["trained_on"], stored["tested_on"]) == (2000, 2000)
        assert abs(stored["network_hits"] / 2000 - card.test_accuracy) < 0.03
        hits = [reading["hits"] for reading in stored["readings"]]
        assert hits[0] < hits[len(hits) // 2] < hits[-1]
    assert load(checkpoints.load("lenet")) is not None


def test_what_cannot_be_probed_is_refused(few: tuple, use_folders: Callable[..., None]) -> None:
    trained, (training, test) = checkpoints.load("lenet"), few
    strangers = replace(training, classes=("a", "b"))
    with pytest.raises(ConvscopeError, match="knows other classes"):
        next(probe_in_steps(trained, strangers, test))
    with pytest.raises(ConvscopeError, match="0 images with 0 labels"):
        fit(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 2)
    assert isinstance(fit(noise((4, 2)), torch.arange(4) % 2, 2), Probe)
