"""A ZIP archive of class folders: read right, or refused in one sentence."""

import io
import zipfile
from functools import partial

import numpy as np
import pytest
from PIL import Image

from engine.data import archives
from engine.data.archives import class_folders
from engine.errors import ConvscopeError

CLASSES = ("airplane", "cat", "dog")


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return file.getvalue()


read = partial(class_folders, name="mine.zip", classes=CLASSES, side=32)


def test_each_picture_has_the_label_of_its_folder() -> None:
    found = read(
        packed(
            {
                "mine/cat/a.png": picture((250, 0, 0)),
                "mine/Dog/b.JPG": picture((0, 250, 0), (64, 64), "JPEG"),
                "airplane/c.webp": picture((0, 0, 250), (10, 90), "WEBP"),
                "__MACOSX/cat/._a.png": b"not a picture",
                "cat/.hidden.png": b"not a picture",
                "cat/notes.txt": b"words",
            }
        )
    )
    assert found.labels.tolist() == [1, 2, 0]
    assert (found.images.shape, found.images.dtype, found.classes) == ((3, 32, 32, 3), np.uint8, CLASSES)
    assert [int(image.mean(axis=(0, 1)).argmax()) for image in found.images] == [0, 1, 2]


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"no archive", "mine.zip is not a readable ZIP archive: pack the class folders again."),
        (packed({}), "mine.zip holds no pictures: pack one folder"),
        (packed({"cat/readme.txt": b"words"}), "mine.zip holds no pictures: pack one folder"),
        (packed({"zebra/a.png": picture((1, 2, 3))}), "mine.zip has pictures in 'zebra', which is no class of this"),
        (packed({"a.png": picture((1, 2, 3))}), "mine.zip has pictures in '', which is no class of this network"),
        (packed({"cat/a.png": b"broken"}), "cat/a.png is not a picture in PNG, JPEG or WebP format"),
        (packed({"cat/a.png": picture((1, 2, 3))})[:60], "mine.zip is not a readable ZIP archive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "archive",
)
def test_what_cannot_be_read_is_one_sentence(archive: bytes, message: str) -> None:
    with pytest.raises(ConvscopeError) as caught:
        read(archive)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_is_damaged_anywhere_is_read_or_refused(method: int) -> None:
    whole = packed({"cat/a.png": picture((1, 2, 3), (9, 9)), "dog/b.png": picture((200, 2, 3), (9, 9))}, method)
    refused = 0
    for place in range(len(whole)):
        for flipped in (0xFF, 0x01):
            archive = bytearray(whole)
            archive[place] ^= flipped
            try:
                assert len(read(bytes(archive)).images) >= 1
            except ConvscopeError:
                refused += 1
    assert refused > len(whole) / 2


def test_too_many_and_too_large_pictures_are_refused_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed({f"cat/{number}.png": picture((1, 2, 3)) for number in range(3)})
    monkeypatch.setattr(archives, "MOST_IMAGES", 2)
    with pytest.raises(ConvscopeError, match="holds 3 pictures: leave at most 2"):
        read(archive)
    monkeypatch.setattr(archives, "MOST_IMAGES", 3)
    monkeypatch.setattr(archives, "MOST_BYTES", 10)
    with pytest.raises(ConvscopeError, match=r"cat/0\.png is larger than"):
        read(archive)
