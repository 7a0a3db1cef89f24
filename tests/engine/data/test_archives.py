"""A ZIP archive of class folders: read right, or refused in one sentence."""

import io
import zipfile
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from PIL import Image

from engine.data import archives
from engine.data.archives import class_folders
from engine.data.photographs import KINDS
from engine.errors import ConvscopeError
from tests.memory import peak_memory

CLASSES = ("airplane", "cat", "dog")


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def packed(files: dict[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
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
        (
            packed({"cat/a.png": picture((1, 2, 3)), "b.png": picture((1, 2, 3))}),
            "mine.zip has pictures in no folder ('b.png' is one): each class needs a folder of its name (airplane, cat",
        ),
        (packed({"cat/a.png": b"broken"}), "cat/a.png is not a picture in PNG, JPEG, WebP, GIF"),
        (packed({"cat/a.png": picture((1, 2, 3))})[:60], "mine.zip is not a readable ZIP archive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "archive",
)
def test_what_cannot_be_read_is_one_sentence(archive: bytes, message: str) -> None:
    with pytest.raises(ConvscopeError) as caught:
        read(archive)
    assert str(caught.value).startswith(message)


def test_files_that_are_no_pictures_are_counted_by_kind() -> None:
    names = ("cat/a.png", "cat/b.HEIC", "dog/c.heic", "dog/IMG_1", "dog/.DS_Store", "__MACOSX/cat/._a.heic", "../")
    archive = packed(dict.fromkeys(names, picture((1, 2, 3))))
    assert read(archive).labels.tolist() == [1]
    assert archives.skipped(archive, CLASSES) == (
        "Files that were skipped (3): 2 .heic, 1 without a suffix.",
        f"Pictures must be {KINDS} files: save the .heic files as one of them.",
    )


@pytest.mark.parametrize("name", ["", "/", ".."])
def test_an_entry_without_a_name_of_its_own_is_no_file(name: str) -> None:
    archive = packed({"cat/a.png": picture((1, 2, 3)), zipfile.ZipInfo(name): b""})
    assert read(archive).labels.tolist() == [1]
    assert archives.skipped(archive, CLASSES) == ()


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
    monkeypatch.setattr(archives, "MOST_BYTES", 1_000)
    monkeypatch.setattr(archives, "MOST_TOTAL", 200)
    with pytest.raises(ConvscopeError, match="unpack to more than"):
        read(archive)
    monkeypatch.setattr(archives, "MOST_ENTRIES", 2)
    with pytest.raises(ConvscopeError, match="holds more than 2 files"):
        read(archive)


# Names ---------------------------------------------------------------------------------------------------------


def renamed(names: Sequence[bytes | str], content: bytes | None = None) -> bytes:
    """An archive of pictures under exactly these names; bytes are stored without saying what they mean."""
    content = content or picture((1, 2, 3), (9, 9))
    stand_ins = [f"{number:03}" + "x" * (len(name) - 3) for number, name in enumerate(names) if isinstance(name, bytes)]
    archive = packed({name if isinstance(name, str) else stand_ins.pop(0): content for name in names})
    for number, name in enumerate(name for name in names if isinstance(name, bytes)):
        archive = archive.replace((f"{number:03}" + "x" * (len(name) - 3)).encode(), name)
    return archive


NAMES: dict[str, tuple[tuple[str, ...], list[bytes | str]]] = {
    "backslashes": (("cat", "dog"), [b"cat\\a.png", b"mine\\dog\\b.png"]),
    "letters apart": (("Bär", "Café"), ["Ba\u0308r/a.png", "Cafe\u0301/b.png"]),
    "classes' letters apart": (("Ba\u0308r", "cat"), ["Bär/a.png", "cat/b.png"]),
    "classes in both capitals": (("cat", "Cat"), ["cat/a.png", "Cat/b.png"]),
    "capitals": (("cat", "dog"), ["CAT/a.png", "Dog/b.png"]),
    "sub-folders": (("cat", "dog"), ["cat/close up/a.png", "mine/dog/far/away/b.png"]),
    "UTF-8 unsaid": (("Bär", "Öl"), ["Bär/a.png".encode(), "Öl/b.png".encode()]),
    "German code pages": (("Bär", "Öl"), ["Bär/a.png".encode("cp850"), "Öl/b.png".encode("cp1252")]),
    "Russian code pages": (("кот", "пёс"), ["кот/a.png".encode("cp866"), "пёс/b.png".encode("cp1251")]),
    "more code pages": (("γάτα", "čaj"), ["γάτα/a.png".encode("cp1253"), "čaj/b.png".encode("cp852")]),
    "thumbnails": (("cat", "dog"), ["cat/a.png", "cat/@eaDir/a.png/THUMB.png", "dog/b.png", "dog/thumbs/b.png"]),
    "folders above": (("cat", "dog"), ["../cat/a.png", "./x/../dog/b.png"]),
    "a class like a hidden folder": ((".net", "#"), [".net/a.png", "#/b.png"]),
    "eastern code pages": (("猫", "犬"), ["猫/a.png".encode("gb18030"), "犬/b.png".encode("shift_jis")]),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_every_system_are_read(kind: str) -> None:
    classes, names = NAMES[kind]
    assert class_folders(renamed(names), "mine.zip", classes, 8).labels.tolist() == [0, 1]


def test_a_name_that_stood_beside_in_unicode_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python reads that field from 3.12 on."""
    listed = zipfile.ZipFile.infolist

    def later(opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        listed(opened)[0].filename = "кот/a.png"
        return listed(opened)

    monkeypatch.setattr(zipfile.ZipFile, "infolist", later)
    archive = renamed([b"???/a.png", "dog/b.png"])
    assert class_folders(archive, "mine.zip", ("кот", "dog"), 8).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("classes", "names", "message"),
    [
        (("cat", "dog"), ["cat/a.png", "Cat/b.png"], "has the folders 'cat' and 'Cat', which differ in capitals only"),
        (("cat", "Cat"), ["CAT/a.png", "cat/b.png"], "has pictures in 'CAT', which is no class"),
        (("cat", "dog"), ["dog/cat/a.png"], "dog/cat/a.png lies in folders of two classes"),
    ],
)
def test_folders_that_could_be_two_classes_are_refused(
    classes: tuple[str, ...], names: list[bytes | str], message: str
) -> None:
    with pytest.raises(ConvscopeError) as caught:
        class_folders(renamed(names), "mine.zip", classes, 8)
    assert message in str(caught.value)


# Memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_an_archive_that_lies_about_its_sizes_takes_no_memory(method: int) -> None:
    whole = 250_000_000
    archive = packed({"cat/a.png": bytes(whole)}, method)
    for claimed in (whole, 1_000, 2**32 - 2):
        lying = archive.replace(whole.to_bytes(4, "little"), claimed.to_bytes(4, "little"))
        with peak_memory() as peak, pytest.raises(ConvscopeError):
            read(lying)
        assert peak() < 100_000_000
