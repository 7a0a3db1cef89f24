"""The strongest patches against a search by brute force; the stored index; crops and supports."""

import copy
import hashlib
import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine import checkpoints, patches, settings
from engine.checkpoints import Trained
from engine.data import LabelledImages, prepare
from engine.deconv import reconstruct, strongest_unit
from engine.errors import ConvscopeError
from engine.feature_maps import all_maps
from engine.graph.receptive_field import WHOLE, Box, receptive_field
from engine.objectives import ALL, STRONGEST_UNIT, excitation
from engine.patches import CLASSES, Index, TopPatches, crop, squared, support, top_patches, unit_pictures, unit_seeds
from engine.tape import features, layers, logits, record
from tests.oracles import Chunked, SlowTwin, fingerprint, images, network, noise, randomised

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def pictures_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def in_single_precision(name: str) -> nn.Module:
    return copy.deepcopy(network(name)).float()


def brute_force(model: nn.Module, pixels: np.ndarray, layer: str, channel: int, size: int) -> list[tuple]:
    """(value, image, row, column) of every image, strongest first: one forward pass per image, sorted by Python."""
    found = []
    for number in range(len(pixels)):
        maps = features(model, prepare(pixels[number : number + 1], size, MEAN, STD), layer)[0, channel]
        places = [(float(maps[i, j]), -i, -j) for i in range(maps.shape[0]) for j in range(maps.shape[1])]
        value, row, column = max(places)
        found.append((value, number, -row, -column))
    return sorted(found, key=lambda entry: (-entry[0], entry[1]))


@pytest.mark.parametrize("name", ["app:resnet18_strided", "app:lenet", "app:model_two"])
def test_top_patches_are_those_of_a_search_by_brute_force(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "BATCH", 7)
    model, pixels = in_single_precision(name), pictures_of(20)
    found = top_patches(model, pixels, input_size=32, mean=MEAN, std=STD, count=9)
    assert list(found) == list(layers(model))
    for layer in [*found][:: len(found) // 2]:
        top = found[layer]
        for channel in (0, len(top) // 2, len(top) - 1):
            values, numbers, rows, columns = zip(*brute_force(model, pixels, layer, channel, 32)[:9], strict=True)
            np.testing.assert_allclose(top.values[channel], values, rtol=1e-5, atol=1e-6)
            if values[0] > 0:  # batches round differently: of equal zeros any may come first there
                clear = [k for k in range(9) if values[k] > 1e-3]
                assert [top.images[channel][k] for k in clear] == [numbers[k] for k in clear]
                assert [top.rows[channel][k] for k in clear] == [rows[k] for k in clear]
                assert [top.columns[channel][k] for k in clear] == [columns[k] for k in clear]


@pytest.mark.parametrize("objective", ALL)
def test_images_are_ranked_by_each_objective(objective: str, bundled_test: LabelledImages) -> None:
    trained, pixels = checkpoints.load("lenet"), bundled_test.images[:60]
    card = trained.card
    normalisation = {"input_size": 32, "mean": card.mean, "std": card.std}
    top = patches.rank(trained.model, pixels, ["conv2_relu"], **normalisation)["conv2_relu", objective]
    slow, units = [], []
    for image in pixels:
        maps = features(trained.model, prepare(image[None], 32, card.mean, card.std), "conv2_relu")
        slow.append(excitation(maps, objective)[0].numpy())
        units.append(maps[0].numpy())
    slow = np.stack(slow)
    for channel in (0, 17, 63):
        expected = sorted(slow[:, channel], reverse=True)[:9]
        assert np.allclose(top.values[channel], expected, atol=1e-5)
        assert np.allclose(slow[top.images[channel], channel], expected, atol=1e-5)
        for image, row, column in zip(top.images[channel], top.rows[channel], top.columns[channel], strict=True):
            assert units[image][channel, row, column] == pytest.approx(units[image][channel].max(), abs=1e-5)


def test_the_strongest_images_of_the_classes_are_those_with_the_largest_scores(bundled_test: LabelledImages) -> None:
    trained = checkpoints.load("lenet")
    normalisation = {"input_size": 32, "mean": trained.card.mean, "std": trained.card.std}
    tops = patches.rank(trained.model, bundled_test.images[:500], [CLASSES], **normalisation)
    stored = checkpoints.predictions("lenet").test.logits[:500]
    for objective in ALL:
        assert np.allclose(tops[CLASSES, objective].values[:, 0], stored.max(axis=0), atol=0.02)


def test_of_equal_activations_the_earlier_image_and_the_first_unit_come_first() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval().requires_grad_(False)
    grey = np.full((250, 8, 8, 3), 90, dtype=np.uint8)
    grey[130, 5, 6] = 255
    found = top_patches(model, grey, ["conv1_relu"], input_size=8, mean=MEAN, std=STD)["conv1_relu"]
    rising = [c for c in range(4) if found.images[c][0] == 130]
    silent = [c for c in range(4) if not found.values[c].any()]
    for channel in range(4):
        if channel in rising:
            assert (found.rows[channel][0], found.columns[channel][0]) == (5, 6)
        rest = found.images[channel][1 if channel in rising else 0 :].tolist()
        assert rest == [image for image in range(10) if image != 130][: len(rest)]
    assert len(rising) + len(silent) > 0


def test_fewer_images_than_asked_for_and_none() -> None:
    model = in_single_precision("app:lenet")
    found = top_patches(model, pictures_of(4), ["conv1"], input_size=32, mean=MEAN, std=STD)
    assert found["conv1"].images.shape == (32, 4)
    with pytest.raises(ConvscopeError, match=r"^There are no images to search for strong patches: give at least one"):
        top_patches(model, pictures_of(0), input_size=32, mean=MEAN, std=STD)


def test_progress_is_told_and_raising_stops_the_search_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "BATCH", 4)
    model, seen = in_single_precision("app:lenet"), []
    before = fingerprint(model)

    def stop_at_eight(done: int) -> None:
        seen.append(done)
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        top_patches(model, pictures_of(20), ["conv1"], input_size=32, mean=MEAN, std=STD, on_batch=stop_at_eight)
    assert seen == [4, 8]
    assert fingerprint(model) == before


@pytest.mark.parametrize(("size", "batches"), [(32, [100, 110]), (64, [100, 110]), (128, [25, 50, 75, 100, 110])])
def test_of_large_images_fewer_are_searched_together(size: int, batches: list[int]) -> None:
    model, seen = nn.Sequential(nn.Conv2d(3, 2, 1, 8), nn.ReLU()).eval(), []
    pixels = pictures_of(110)
    top_patches(model, pixels, ["conv1_relu"], input_size=size, mean=MEAN, std=STD, on_batch=seen.append)
    assert seen == batches


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "densenet121"])
def test_all_maps_come_from_one_pass(name: str) -> None:
    model, x = network(name), images(name, 2)
    found = all_maps(model, x)
    assert list(found) == list(layers(model))
    twin = SlowTwin(model)
    for layer in list(found)[:: max(1, len(found) // 5)]:
        assert torch.equal(found[layer], twin.run_to(x, layers(model)[layer]))


def test_all_maps_of_nodes_that_do_not_lie_behind_each_other() -> None:
    torch.manual_seed(0)
    model, x = randomised(Chunked()), noise((1, 3, 9, 9))
    before = fingerprint(model)
    found = all_maps(model, x, ["relu", "sigmoid", "conv"])
    assert list(found) == ["relu", "sigmoid", "conv"]
    for name, maps in found.items():
        assert torch.equal(maps, features(model, x, name))
    assert fingerprint(model) == before


# ---------------------------------------------------------------------------------------------- the stored index


@pytest.fixture
def small(tmp_path: Path, bundled_test: LabelledImages, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the shipped LeNet without an index; only 60 test images are searched."""
    shutil.copytree(settings.folders.checkpoints / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / patches.FILE).unlink(missing_ok=True)
    monkeypatch.setattr(patches, "bundled", lambda split: bundled_test.subset(np.arange(60)))
    return tmp_path


def test_an_index_is_stored_and_read_back(small: Path) -> None:
    trained = checkpoints.load("lenet", small)
    assert patches.load(trained, small) is None
    path = patches.build("lenet", small)
    stored, fresh = patches.load(trained, small), patches.search(trained)
    assert path == small / "lenet" / "top9.npz"
    assert (stored.weights_sha256, stored.input_size) == (trained.card.weights_sha256, 32)
    assert stored.tops.keys() == fresh.tops.keys() == set(itertools.product([*layers(trained.model), CLASSES], ALL))
    for key, top in fresh.tops.items():
        for part in ("images", "rows", "columns", "values"):
            np.testing.assert_array_equal(getattr(stored.of(*key), part), getattr(top, part))


def test_an_index_from_before_there_were_other_objectives_is_read(small: Path) -> None:
    trained = checkpoints.load("lenet", small)
    whole = patches.search(trained)
    former = {(layer, by): top for (layer, by), top in whole.tops.items() if by == STRONGEST_UNIT and layer != CLASSES}
    patches.save(Index(former, whole.input_size, whole.weights_sha256), "lenet", small)
    index = patches.load(trained, small)
    assert index.tops.keys() == former.keys()
    assert index.of("conv1") is not None
    assert index.of("conv1", "whole map") is index.of(CLASSES, "whole map") is None


def test_an_index_of_other_weights_or_a_damaged_one_is_not_used(small: Path) -> None:
    trained = checkpoints.load("lenet", small)
    path = patches.build("lenet", small)
    whole = path.read_bytes()
    other = Trained(trained.model, replace(trained.card, weights_sha256="0" * 64))
    assert patches.load(other, small) is None
    for content in (b"", whole[:1000], whole[:-20], b"not an archive"):
        path.write_bytes(content)
        assert patches.load(trained, small) is None
    path.write_bytes(whole)
    assert patches.load(trained, small) is not None


def test_an_interrupted_build_leaves_the_old_index(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = patches.build("lenet", small)
    before = hashlib.sha256(path.read_bytes()).hexdigest()

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patches.build("lenet", small, on_batch=stop)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [file.name for file in path.parent.glob(".top9*")] == []


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_the_shipped_index_fits_and_holds_the_strongest_images(name: str, bundled_test: LabelledImages) -> None:
    trained = checkpoints.load(name)
    index, card = patches.load(trained), trained.card
    assert index is not None
    assert (settings.folders.checkpoints / name / patches.FILE).stat().st_size < 500_000
    layer = list(layers(trained.model))[-1]
    top = index.of(layer)
    channel = int(top.values[:, 0].argmax())
    assert (np.diff(top.values, axis=1) <= 0).all()
    chosen = np.concatenate([top.images[channel], np.arange(40)])
    x = prepare(bundled_test.images[chosen], card.input_size, card.mean, card.std)
    maps = features(trained.model, x, layer)[:, channel]
    places = (np.arange(9), top.rows[channel], top.columns[channel])
    np.testing.assert_allclose(maps.numpy()[places], top.values[channel], rtol=1e-3)
    weakest = top.values[channel].min()
    assert all(maps[9 + k].max() <= weakest * 1.001 or k in top.images[channel] for k in range(40))


def test_the_command_says_what_it_did(small: Path, use_folders: Callable[..., None], capsys) -> None:
    use_folders(checkpoints=small)
    assert patches.main(["lenet"]) == 0
    assert "top9.npz is stored" in capsys.readouterr().out
    assert patches.main(["nothing"]) == 1
    assert capsys.readouterr().out.startswith("There is no checkpoint 'nothing': choose one of lenet.")


# ------------------------------------------------------------------------------------- reconstructions and crops


def test_a_batch_of_units_is_played_back_like_each_image_alone() -> None:
    model, x = network("app:resnet18_strided"), images("app:resnet18_strided", 3)
    tape = record(model, x, "conv3_x")
    channel = int(tape.activation.amax(dim=(0, 2, 3)).argmax())
    width = tape.activation.shape[3]
    places = tape.activation[:, channel].flatten(1).argmax(dim=1)
    pixels = unit_pictures(tape, [channel] * 3, (places // width).tolist(), (places % width).tolist())
    for k in range(3):
        alone = record(model, x[k : k + 1], "conv3_x")
        expected = reconstruct(alone, strongest_unit(alone.activation, channel)).pixels[0]
        torch.testing.assert_close(pixels[k], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("channel", "rows", "columns"), [(4, [0], [0]), (-1, [0], [0]), (0, [3], [0]), (0, [], [])])
def test_a_unit_must_exist(channel: int, rows: list[int], columns: list[int]) -> None:
    with pytest.raises(ConvscopeError, match=r"^There is no such unit: the layer has 4 maps of 3 x 2"):
        unit_seeds(noise((1, 4, 3, 2)), [channel], rows, columns)


def test_each_unit_is_played_back_on_its_own_image(bundled_test: LabelledImages) -> None:
    lenet, images, channels = checkpoints.load("lenet"), bundled_test.images[:18], list(range(18))
    x = prepare(images, 32, lenet.card.mean, lenet.card.std)
    maps = features(lenet.model, x, "conv2_relu")
    places = [int(maps[k, k].flatten().argmax()) for k in channels]
    width = maps.shape[3]
    units = channels, [place // width for place in places], [place % width for place in places]
    together = patches.reconstructions(lenet, "conv2_relu", images, *units)
    assert together.shape == (18, 3, 32, 32)
    alone = record(lenet.model, x[17:], "conv2_relu")
    expected = reconstruct(alone, strongest_unit(alone.activation, 17)).pixels[0]
    assert torch.allclose(together[17], expected, atol=1e-5)


def test_a_class_is_played_back_like_its_score(bundled_test: LabelledImages) -> None:
    lenet, images = checkpoints.load("lenet"), bundled_test.images[:2]
    together = patches.reconstructions(lenet, CLASSES, images, [3, 8], [0, 0], [0, 0])
    alone = record(lenet.model, prepare(images[1:], 32, lenet.card.mean, lenet.card.std), logits(lenet.model))
    expected = reconstruct(alone, strongest_unit(alone.activation, 8)).pixels[0]
    assert torch.allclose(together[1], expected, atol=1e-5)


def test_trimming_keeps_all_that_is_not_zero() -> None:
    images = torch.zeros(3, 3, 8, 9)
    images[0, 1, 2:4, 5:8], images[1, 0, 7, 8] = 1, -2
    trimmed = patches.trimmed(images)
    assert trimmed.shape == (3, 3, 3, 3)
    assert torch.equal(trimmed[0], images[0, :, 2:5, 5:8])
    assert torch.equal(trimmed[1], images[1, :, 5:, 6:])
    whole = noise((2, 3, 4, 4))
    assert torch.equal(patches.trimmed(whole), whole)
    assert patches.trimmed(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 4, 4)


def slow_support(pixels: Tensor, share: float) -> Box:
    """Cut rows and columns off each end for as long as not more than its half of the rest goes with them."""
    energy = (pixels.double() ** 2).sum(0).numpy()
    bounds = []
    for lines in (energy.sum(1), energy.sum(0)):
        allowed, first, last = (1 - share) / 2 * lines.sum(), 0, len(lines)
        while lines[: first + 1].sum() <= allowed:
            first += 1
        while lines[last - 1 :].sum() <= allowed:
            last -= 1
        bounds.append((first, last))
    (top, bottom), (left, right) = bounds
    return Box(top, left, bottom, right)


@pytest.mark.parametrize("seed", range(5))
def test_support_holds_the_middle_of_the_energy(seed: int) -> None:
    pixels = noise((3, 24, 17), seed) * torch.exp(-(torch.linspace(-3, 4, 24)[:, None] ** 2)).double()
    assert support(pixels) == slow_support(pixels, 0.9)
    assert support(pixels, 0.5) == slow_support(pixels, 0.5)


def test_support_of_a_block_and_of_nothing() -> None:
    pixels = torch.zeros(3, 10, 12)
    assert support(pixels) == Box(0, 0, 10, 12)
    pixels[:, 2:5, 7:9] = -1
    assert support(pixels) == Box(2, 7, 5, 9)


def test_boxes_become_squares_inside_the_image() -> None:
    assert squared(Box(2, 7, 5, 9), (10, 12)) == Box(2, 7, 5, 10)
    assert squared(Box(0, 0, 2, 9), (10, 12)) == Box(0, 0, 9, 9)
    assert squared(Box(0, 0, 10, 12), (10, 12)) == Box(0, 1, 10, 11)


def test_crops_fill_what_lies_outside() -> None:
    picture = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    cut = crop(picture, Box(-1, 4, 2, 8), fill=7)
    assert cut.shape == (3, 4, 3)
    assert (cut[0] == 7).all()
    assert (cut[:, 2:] == 7).all()
    np.testing.assert_array_equal(cut[1:, :2], picture[:2, 4:])


def test_patch_boxes_are_what_the_units_see() -> None:
    top = TopPatches(*(np.array([[3, 1]]) for _ in range(3)), np.ones((1, 2), np.float32))
    field = receptive_field(network("app:lenet"), "conv2")
    assert top.boxes(0, field, (32, 32)) == (field.box(3, 3, (32, 32)), field.box(1, 1, (32, 32)))
    assert top.boxes(0, WHOLE, (32, 30)) == (Box(0, 0, 32, 30),) * 2
    assert Index({("conv2", STRONGEST_UNIT): top}, 32, "").of("conv2") is top
