"""Images come off the disk as they were stored, or not at all; and reach the network as torchvision would send them."""

import hashlib
import json
import pickle
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torchvision.transforms import v2

from engine import data, settings
from engine.data import (
    LabelledImages,
    bundled,
    bundled_indices,
    cifar10,
    download_cifar10,
    first_of_each_class,
    prepare,
    split_validation,
    write_bundled,
    write_cache,
)
from engine.errors import ConvscopeError


def random_images(count: int, side: int = 32, width: int | None = None, seed: int = 0) -> np.ndarray:
    shape = (count, side, width or side, 3)
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def some(count: int, seed: int = 0) -> LabelledImages:
    """Images of 2 x 2 squares, which are compressed quickly."""
    images = random_images(count, side=2, seed=seed).repeat(16, axis=1).repeat(16, axis=2)
    return LabelledImages(images, np.random.default_rng(seed).integers(10, size=count))


def same(one: LabelledImages, other: LabelledImages) -> bool:
    return np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)


# Bundled images ------------------------------------------------------------------------------------------------


def test_the_bundled_test_images_are_the_official_ones(bundled_test: LabelledImages) -> None:
    content = bundled_test.images.tobytes() + bundled_test.labels.astype(np.uint8).tobytes()
    official = "8193b3fbce55bec361cd1b8fd4880cb1649832dc4d6de6da1e7a21847a4843aa"
    assert hashlib.sha256(content).hexdigest() == official


@pytest.mark.parametrize(("split", "per_class"), [("test", 1000), ("train", 500)])
def test_bundled_splits_hold_equally_many_images_of_each_class(
    request: pytest.FixtureRequest, split: str, per_class: int
) -> None:
    loaded: LabelledImages = request.getfixturevalue(f"bundled_{split}")
    assert (loaded.images.shape, loaded.images.dtype) == ((10 * per_class, 32, 32, 3), np.uint8)
    assert (loaded.labels.shape, loaded.labels.dtype) == ((10 * per_class,), np.int64)
    assert np.bincount(loaded.labels).tolist() == [per_class] * 10
    assert len(loaded) == 10 * per_class


def test_no_bundled_training_image_is_a_test_image(bundled_test: LabelledImages, bundled_train: LabelledImages) -> None:
    known = {image.tobytes() for image in bundled_test.images}
    assert len(known) == 10_000
    assert not any(image.tobytes() in known for image in bundled_train.images)


def test_the_bundled_files_stay_below_40_megabytes() -> None:
    assert sum(path.stat().st_size for path in settings.folders.bundled.iterdir()) < 40e6


@pytest.mark.parametrize("count", [1, 100, 101])
def test_what_is_bundled_comes_back_unchanged(tmp_path: Path, count: int) -> None:
    stored = some(count)
    write_bundled("train", stored, tmp_path)
    assert same(bundled("train", tmp_path), stored)


def test_bundling_a_split_leaves_the_other_alone(tmp_path: Path) -> None:
    write_bundled("train", some(5, seed=1), tmp_path)
    write_bundled("test", some(6, seed=2), tmp_path)
    write_bundled("train", some(7, seed=3), tmp_path)
    assert same(bundled("train", tmp_path), some(7, seed=3))
    assert same(bundled("test", tmp_path), some(6, seed=2))


def refusal(file: str, reason: str) -> str:
    return (
        f"The bundled images in {file} cannot be used: {reason}. "
        f"Get the file again with `git checkout -- data/bundled/{file}`, or from a fresh copy of the app."
    )


def message_of_bundled(folder: Path) -> str:
    with pytest.raises(ConvscopeError) as caught:
        bundled("test", folder)
    return str(caught.value)


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundled")
    write_bundled("test", some(30), folder)
    return folder


@pytest.fixture
def small(thirty: Path, tmp_path: Path) -> Path:
    """A folder with 30 bundled test images."""
    shutil.copytree(thirty, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.parametrize("split", ["test", "train"])
def test_where_the_images_of_each_class_lie_is_known_without_them(split: str, tmp_path: Path) -> None:
    shutil.copy(settings.folders.bundled / "cifar10.json", tmp_path)
    labels = bundled(split).labels
    for label, indices in enumerate(bundled_indices(split, tmp_path)):
        assert indices.tolist() == [index for index, other in enumerate(labels) if other == label]


def test_a_manifest_without_a_class_is_refused(small: Path) -> None:
    manifest = json.loads((small / "cifar10.json").read_text())
    manifest["splits"]["test"]["labels"] = "012345678" * 4
    (small / "cifar10.json").write_text(json.dumps(manifest))
    with pytest.raises(ConvscopeError) as caught:
        bundled_indices("test", small)
    assert str(caught.value) == refusal("cifar10.json", "not every class has images in 'test'")


@pytest.mark.parametrize("file", ["cifar10.json", "test.webp"])
def test_a_missing_bundled_file_is_named(small: Path, file: str) -> None:
    (small / file).unlink()
    assert message_of_bundled(small) == refusal(file, "it is missing")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_sheet_is_refused(small: Path, share: float) -> None:
    content = (small / "test.webp").read_bytes()
    (small / "test.webp").write_bytes(content[: int(len(content) * share)])
    assert message_of_bundled(small) == refusal("test.webp", "it is damaged or incomplete")


def test_a_sheet_that_is_no_picture_is_refused(small: Path) -> None:
    (small / "test.webp").write_text("<html>404</html>")
    assert message_of_bundled(small) == refusal("test.webp", "it is damaged or incomplete")


def test_a_sheet_with_one_other_pixel_is_refused(small: Path) -> None:
    manifest = (small / "cifar10.json").read_text()
    changed = some(30)
    changed.images[17, 3, 4, 1] ^= 1
    write_bundled("test", changed, small)
    (small / "cifar10.json").write_text(manifest)
    assert message_of_bundled(small) == refusal("test.webp", "its pixels or labels are not the ones that were shipped")


def test_a_sheet_with_too_few_images_is_refused(small: Path) -> None:
    manifest = json.loads((small / "cifar10.json").read_text())
    manifest["splits"]["test"]["labels"] += "0" * 100
    (small / "cifar10.json").write_text(json.dumps(manifest))
    assert message_of_bundled(small) == refusal("test.webp", "it does not hold 130 images")


@pytest.mark.parametrize("place", [0, 29])
def test_a_changed_label_is_refused(small: Path, place: int) -> None:
    manifest = json.loads((small / "cifar10.json").read_text())
    labels = manifest["splits"]["test"]["labels"]
    manifest["splits"]["test"]["labels"] = labels[:place] + "x" + labels[place + 1 :]
    (small / "cifar10.json").write_text(json.dumps(manifest))
    assert message_of_bundled(small) == refusal("test.webp", "its pixels or labels are not the ones that were shipped")


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "null", "[]", "3", "{}", '{"splits": []}', '{"splits": {"train": {}}}', '{"splits": {"test": {}}}'),
        *('{"splits": {"test": 3}}', b"\xff\xfe\x00"),
    ],
)
def test_an_unreadable_manifest_is_refused(small: Path, content: str | bytes) -> None:
    (small / "cifar10.json").write_bytes(content.encode() if isinstance(content, str) else content)
    assert message_of_bundled(small) == refusal("cifar10.json", "it has no readable entry 'test'")


def test_the_first_images_of_each_class_keep_their_order() -> None:
    labels = np.array([2, 0, 2, 1, 0, 2, 0, 1, 1, 1])
    assert first_of_each_class(labels, 2).tolist() == [0, 1, 2, 3, 4, 7]


def test_bundle_takes_the_first_500_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    full = {"test": some(20, seed=1), "train": some(6_000, seed=2)}
    written: dict[str, LabelledImages] = {}
    monkeypatch.setattr(data, "cifar10", full.__getitem__)
    monkeypatch.setattr(data, "write_bundled", written.__setitem__)
    assert data.main(["bundle"]) == 0
    seen = np.zeros(10, dtype=int)
    wanted = []
    for index, label in enumerate(full["train"].labels):
        seen[label] += 1
        if seen[label] <= 500:
            wanted.append(index)
    assert same(written["test"], full["test"])
    assert same(written["train"], full["train"].subset(np.array(wanted)))


# The whole of CIFAR-10 -----------------------------------------------------------------------------------------


def message_of_cifar10(folder: Path, split: str = "test") -> str:
    with pytest.raises(ConvscopeError) as caught:
        cifar10(split, folder)
    return str(caught.value)


def test_the_cache_comes_back_unchanged(tmp_path: Path) -> None:
    stored = LabelledImages(np.zeros((10_000, 32, 32, 3), np.uint8), np.arange(10_000) % 10)
    stored.images[1234, 5, 6, 1] = 77
    write_cache("test", stored, tmp_path)
    loaded = cifar10("test", tmp_path)
    assert same(loaded, stored)
    assert loaded.labels.dtype == np.int64


def test_a_missing_cache_says_how_to_get_it(tmp_path: Path) -> None:
    assert message_of_cifar10(tmp_path, "train") == (
        f"The whole of CIFAR-10 is not on this machine ({tmp_path}/train.npz is missing): "
        "get it with `python -m engine.data download`."
    )


@pytest.mark.parametrize(("split", "expected"), [("train", "50,000"), ("test", "10,000")])
def test_a_cache_with_too_few_images_is_refused(tmp_path: Path, split: str, expected: str) -> None:
    write_cache(split, some(3), tmp_path)
    assert message_of_cifar10(tmp_path, split) == (
        f"{tmp_path}/{split}.npz does not hold the {expected} official images: "
        "delete it and get it with `python -m engine.data download`."
    )


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_cache_is_refused(tmp_path: Path, share: float) -> None:
    write_cache("test", some(50), tmp_path)
    content = (tmp_path / "test.npz").read_bytes()
    (tmp_path / "test.npz").write_bytes(content[: int(len(content) * share)])
    assert message_of_cifar10(tmp_path) == (
        f"{tmp_path}/test.npz is damaged: delete it and get it with `python -m engine.data download`."
    )


def test_a_cache_without_labels_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", images=random_images(2))
    assert message_of_cifar10(tmp_path).startswith(f"{tmp_path}/test.npz is damaged: ")


# Download: torchvision's own code, with a small archive in place of the official one ---------------------------


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine that offers the files in `tmp_path / "server"`."""
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "server")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> Path:
    """The served archive, of CIFAR-10's layout but with 5 x 4 training and 6 test images."""
    source = tmp_path / "server" / "cifar-10-batches-py"
    source.mkdir(parents=True)
    official = torchvision.datasets.CIFAR10
    lists: dict[str, list[list[str]]] = {"train_list": [], "test_list": []}
    names = [(f"data_batch_{number}", 4, "train_list") for number in range(1, 6)] + [("test_batch", 6, "test_list")]
    for seed, (name, count, kind) in enumerate(names):
        rows = np.random.default_rng(seed).integers(256, size=(count, 3072), dtype=np.uint8)
        labels = [(seed + row) % 10 for row in range(count)]
        (source / name).write_bytes(pickle.dumps({"data": rows, "labels": labels}, protocol=2))
        lists[kind].append([name, md5(source / name)])
    (source / "batches.meta").write_bytes(pickle.dumps({"label_names": list(data.CIFAR10_CLASSES)}, protocol=2))
    archive = tmp_path / "server" / official.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, official.base_folder)
    monkeypatch.setattr(official, "url", f"{address}/{official.filename}")
    monkeypatch.setattr(official, "tgz_md5", md5(archive))
    monkeypatch.setattr(official, "meta", {**official.meta, "md5": md5(source / "batches.meta")})
    for kind, entries in lists.items():
        monkeypatch.setattr(official, kind, entries)
    return archive


def decoded_by_hand(file: Path) -> tuple[list[np.ndarray], list[int]]:
    """CIFAR-10's pickles: each row is 1,024 reds, then greens, then blues, line by line."""
    stored = pickle.loads(file.read_bytes())
    images = []
    for row in stored["data"]:
        image = np.zeros((32, 32, 3), np.uint8)
        for channel in range(3):
            for line in range(32):
                start = 1024 * channel + 32 * line
                image[line, :, channel] = row[start : start + 32]
        images.append(image)
    return images, stored["labels"]


def test_a_download_fills_the_cache_in_the_official_order(server: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    download_cifar10(folder)
    batches = server.parent / "cifar-10-batches-py"
    for split, names in (("train", [f"data_batch_{n}" for n in range(1, 6)]), ("test", ["test_batch"])):
        decoded = [decoded_by_hand(batches / name) for name in names]
        with np.load(folder / f"{split}.npz") as stored:
            assert stored["images"].dtype == stored["labels"].dtype == np.uint8
            assert np.array_equal(stored["images"], [image for images, _ in decoded for image in images])
            assert stored["labels"].tolist() == [label for _, labels in decoded for label in labels]


def test_a_second_download_needs_no_server(server: Path, tmp_path: Path) -> None:
    download_cifar10(tmp_path / "cache")
    (tmp_path / "cache" / "train.npz").unlink()
    shutil.rmtree(server.parent)
    download_cifar10(tmp_path / "cache")
    assert (tmp_path / "cache" / "train.npz").exists()


def message_of_download(folder: Path) -> str:
    with pytest.raises(ConvscopeError) as caught:
        download_cifar10(folder)
    assert list(folder.glob("*.npz")) == []
    return str(caught.value)


ADVICE = "check the network and start again; everything but training on the full set works with the bundled images."


def test_an_archive_that_has_moved_is_one_sentence(server: Path, tmp_path: Path) -> None:
    server.unlink()
    message = message_of_download(tmp_path / "cache")
    assert message == f"CIFAR-10 could not be downloaded (HTTP Error 404: File not found): {ADVICE}"


def test_an_answer_that_is_not_http_is_one_sentence(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quiet, "send_response", lambda self, *_: self.wfile.write(b"log in first\r\n\r\n"))
    message = message_of_download(tmp_path / "cache")
    assert message.startswith("CIFAR-10 could not be downloaded (log in first")
    assert message.endswith(f"): {ADVICE}")


def test_no_network_at_all_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://192.0.2.1/cifar-10-python.tar.gz")
    message = message_of_download(tmp_path / "cache")
    assert message.startswith("CIFAR-10 could not be downloaded (")
    assert "192.0.2.1" in message
    assert message.endswith(f"): {ADVICE}")


def test_a_download_that_stops_halfway_is_refused_and_mended_by_the_next(server: Path, tmp_path: Path) -> None:
    whole = server.read_bytes()
    server.write_bytes(whole[: len(whole) // 2])
    message = message_of_download(tmp_path / "cache")
    assert message == f"CIFAR-10 could not be downloaded (File not found or corrupted.): {ADVICE}"
    server.write_bytes(whole)
    download_cifar10(tmp_path / "cache")
    assert (tmp_path / "cache" / "test.npz").exists()


def test_the_command_prints_the_sentence_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ConvscopeError("No network.")

    monkeypatch.setattr(data, "download_cifar10", fail)
    assert data.main(["download"]) == 1
    assert capsys.readouterr().out == "No network.\n"


# Splits --------------------------------------------------------------------------------------------------------


def test_the_validation_images_are_the_last_tenth_of_each_class() -> None:
    counts = [20, 0, 10, 70]
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), counts))
    numbered = LabelledImages(np.arange(len(labels)).reshape(-1, 1, 1, 1), labels)
    train, validation = split_validation(numbered)
    expected = []
    for label, count in enumerate(counts):
        members = [index for index, value in enumerate(labels) if value == label]
        expected += members[count - count // 10 :]
    assert validation.images.ravel().tolist() == sorted(expected)
    assert train.images.ravel().tolist() == sorted(set(range(len(labels))) - set(expected))
    assert np.array_equal(train.labels, labels[train.images.ravel()])
    assert np.array_equal(validation.labels, labels[validation.images.ravel()])


def test_the_bundled_training_images_give_50_per_class_for_validation(bundled_train: LabelledImages) -> None:
    train, validation = split_validation(bundled_train)
    assert np.bincount(train.labels).tolist() == [450] * 10
    assert np.bincount(validation.labels).tolist() == [50] * 10


# What a network is fed with ------------------------------------------------------------------------------------

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def by_torchvision(images: np.ndarray, size: int, antialias: bool) -> torch.Tensor:
    pipeline = v2.Compose(
        [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize((size, size), v2.InterpolationMode.BILINEAR, antialias=antialias),
            v2.Normalize(MEAN, STD),
        ]
    )
    return torch.stack([pipeline(image) for image in images])


@pytest.mark.parametrize(
    ("height", "width", "size", "antialias"),
    [
        *((32, 32, size, False) for size in (32, 64, 96, 33)),
        *((64, 64, 32, True), (64, 64, 63, True), (50, 80, 20, True), (80, 20, 32, True), (20, 80, 32, True)),
    ],
)
def test_images_are_prepared_as_torchvision_does(height: int, width: int, size: int, antialias: bool) -> None:
    images = random_images(3, height, width)
    prepared = prepare(images, size, MEAN, STD)
    assert (prepared.shape, prepared.dtype) == ((3, 3, size, size), torch.float32)
    torch.testing.assert_close(prepared, by_torchvision(images, size, antialias), rtol=0, atol=5e-6)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_prepared_images_are_channels_last_in_memory(size: int) -> None:
    assert prepare(random_images(4), size, MEAN, STD).is_contiguous(memory_format=torch.channels_last)


def test_arrays_and_tensors_are_prepared_alike_and_left_unchanged() -> None:
    images = random_images(2)
    tensor = torch.from_numpy(images.copy())
    assert torch.equal(prepare(images, 40, MEAN, STD), prepare(tensor, 40, MEAN, STD))
    assert np.array_equal(images, random_images(2))
    assert np.array_equal(tensor.numpy(), random_images(2))


def test_pixels_of_undoes_prepare_and_clips(bundled_test: LabelledImages) -> None:
    original = bundled_test.images[:2]
    x = prepare(original, 32, MEAN, STD)
    np.testing.assert_array_equal(data.pixels_of(x, MEAN, STD), original)
    shown = data.denormalised(10 * x, MEAN, STD)
    assert (float(shown.min()), float(shown.max())) == (0, 1)
