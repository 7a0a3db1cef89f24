"""A lecturer's own test set: a ZIP archive of folders, one for each class, named after it.

    my-images.zip
        cat/  tom.jpg  felix.png
        dog/  rex.jpg

The folder that is named like one of the network's classes tells a picture's class, in capitals or not; folders around
it and inside it tell nothing. Every picture becomes a square as any photograph does
(`engine.data.photographs.read`).

Names in archives come from many systems: with backslashes, with letters taken apart (NFD), in an old code page without
saying which. They are read in that spelling in which they name a class.

An archive is somebody's file, whose header may lie: entries are counted before they are read, and of each no more is
unpacked than is allowed.

A few pictures of one's own say little about a network, and the interval says how little; but they often come from a
world that its training images do not know, and that shows.
"""

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from unicodedata import normalize

import numpy as np

from engine.data import LabelledImages
from engine.data.folders import NOT_CLASSES, Report
from engine.data.photographs import KINDS, SUFFIXES, read
from engine.errors import ConvscopeError, listed, quoted

MOST_ENTRIES = 20_000
MOST_IMAGES = 500
MOST_BYTES = 20_000_000
"""That one picture may unpack to; `MOST_TOTAL`: all of them."""
MOST_TOTAL = 1_000_000_000
CODE_PAGES = (
    *("utf-8", "cp437", "cp850", "cp1252", "cp852", "cp1250", "cp866", "cp1251", "koi8_r", "cp737", "cp1253"),
    *("cp857", "cp1254", "gb18030", "shift_jis", "big5", "cp949"),
)
"""What names are tried in that do not say it; the second one is what ZIP means by that."""
ENTRY = b"PK\x01\x02"
"""How each entry of the archive's list begins."""
UTF_8, ENCRYPTED = 0x800, 0x1
OnPicture = Callable[[int, int], object]


@dataclass(frozen=True)
class _Picture:
    """An entry, its name, and the folders in it that are named like a class, by the class's label."""

    entry: zipfile.ZipInfo
    path: PurePosixPath
    folders: dict[int, str]

    @property
    def name(self) -> str:
        """What an error calls it; its end tells more than its beginning."""
        path = str(self.path)
        return path if len(path) <= 100 else f"…{path[-100:]}"


def class_folders(
    archive: bytes, name: str, classes: Sequence[str], side: int, on_picture: OnPicture = lambda done, total: None
) -> LabelledImages:
    """The pictures of a ZIP archive with a folder per class, uint8 `[N, side, side, 3]`, labels indices into `classes`.

    Args:
        archive: its content; `name`: what an error calls it.
        on_picture: called before each picture with the number of those that are read, and of all; raise from it to
            stop.

    Raises:
        ConvscopeError: it is no ZIP archive, holds no pictures in folders, too many or too large ones, a damaged one,
            or a folder that is named like none of the classes.
    """
    if archive.count(ENTRY) > MOST_ENTRIES:
        raise ConvscopeError(f"{name} holds more than {MOST_ENTRIES:,} files: pack only the class folders.")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            pictures = _checked(list(_pictures(opened, classes)), name, classes)
            labels = np.array([next(iter(picture.folders)) for picture in pictures], dtype=np.int64)
            images, left = np.zeros((len(pictures), side, side, 3), dtype=np.uint8), MOST_TOTAL
            for done, (image, picture) in enumerate(zip(images, pictures, strict=True)):
                on_picture(done, len(pictures))
                content = _unpacked(opened, picture, left)
                left -= len(content)
                image[:] = read(content, picture.name, side)
    except ConvscopeError:  # a ValueError itself, and already a sentence
        raise
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ConvscopeError(f"{name} is not a readable ZIP archive: pack the class folders again.") from error
    return LabelledImages(images, labels, tuple(classes))


def skipped(archive: bytes, classes: Sequence[str]) -> tuple[str, ...]:
    """A sentence on the files, by kind, that `class_folders` takes for no pictures; none if there are none."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        suffixes = Counter(spellings[0].suffix.lower() for _, spellings in _files(opened, classes))
    kinds = {suffix or "without a suffix": count for suffix, count in suffixes.items() if suffix not in SUFFIXES}
    return Report(skipped=tuple(sorted(kinds.items()))).sentences


# Names ---------------------------------------------------------------------------------------------------------


def _pictures(opened: zipfile.ZipFile, classes: Sequence[str]) -> Iterator[_Picture]:
    """The entries that are pictures."""
    for entry, spellings in _files(opened, classes):
        if spellings[0].suffix.lower() in SUFFIXES:
            meant = [_Picture(entry, path, _class_folders(path, classes)) for path in spellings]
            yield next((picture for picture in meant if picture.folders), meant[0])


def _files(opened: zipfile.ZipFile, classes: Sequence[str]) -> Iterator[tuple[zipfile.ZipInfo, list[PurePosixPath]]]:
    """The entries that are files, without what file managers add of their own, and what their names may be."""
    for entry in opened.infolist():
        spellings = list(dict.fromkeys(_spellings(entry)))
        name, folders = spellings[0].name, spellings[0].parts[:-1]
        hidden = any(NOT_CLASSES.fullmatch(folder) and folder not in classes for folder in folders)
        # Asked first: `is_dir` fails on an empty name.
        if name and not (entry.is_dir() or hidden or name.startswith((".", "__"))):
            yield entry, spellings


def _spellings(entry: zipfile.ZipInfo) -> Iterator[PurePosixPath]:
    """What the name of an entry may be: the first is the likeliest."""
    names = [entry.filename]
    if not entry.flag_bits & UTF_8 and not entry.filename.isascii():
        with suppress(UnicodeEncodeError):  # Python has read it in code page 437, or what Unicode stood beside it
            stored = entry.filename.encode("cp437")
            decoded = [stored.decode(page, errors="replace") for page in CODE_PAGES]
            names = [name for name in decoded if "\ufffd" not in name]
    for name in names:
        parts = PurePosixPath(normalize("NFC", name.replace("\\", "/"))).parts
        yield PurePosixPath(*(part for part in parts if part != ".."))


def _class_folders(path: PurePosixPath, classes: Sequence[str]) -> dict[int, str]:
    """The folders named like a class, by its label; a name that is written exactly so comes before other capitals."""
    names, folders = [normalize("NFC", name) for name in classes], {}
    for folder in path.parts[:-1]:
        alike = [number for number, name in enumerate(names) if name.casefold() == folder.casefold()]
        if folder in names or len(alike) == 1:
            folders[names.index(folder) if folder in names else alike[0]] = folder
    return folders


def _checked(pictures: list[_Picture], name: str, classes: Sequence[str]) -> list[_Picture]:
    """`pictures`, if there are some, not too many, and all of them in folders that tell one class."""
    if not pictures:
        raise ConvscopeError(f"{name} holds no pictures: pack one folder of {KINDS} files for each class.")
    if len(pictures) > MOST_IMAGES:
        raise ConvscopeError(f"{name} holds {len(pictures):,} pictures: leave at most {MOST_IMAGES} of them.")
    spelled: dict[int, str] = {}
    for picture in pictures:
        if not picture.path.parent.name:
            raise ConvscopeError(
                f"{name} has pictures in no folder ({quoted(picture.name)} is one): each class needs a folder of its "
                f"name ({listed(classes)})."
            )
        if not picture.folders:
            raise ConvscopeError(
                f"{name} has pictures in {quoted(picture.path.parent.name)}, which is no class of this network: name "
                f"the folders after its classes ({listed(classes)})."
            )
        if len(picture.folders) > 1:
            raise ConvscopeError(f"{picture.name} lies in folders of two classes: leave one of them out.")
        label, folder = next(iter(picture.folders.items()))
        if spelled.setdefault(label, folder) != folder:
            raise ConvscopeError(
                f"{name} has the folders {quoted(spelled[label])} and {quoted(folder)}, which differ in capitals "
                "only: rename one."
            )
    return pictures


# Content -------------------------------------------------------------------------------------------------------


def _unpacked(opened: zipfile.ZipFile, picture: _Picture, left: int) -> bytes:
    """The content of an entry, of which at most `MOST_BYTES` and `left` are unpacked, whatever its header says."""
    if picture.entry.flag_bits & ENCRYPTED:
        raise ConvscopeError(f"{picture.name} is encrypted: pack the class folders without a password.")
    if picture.entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ConvscopeError(
            f"{picture.name} is packed in an unusual way: pack the class folders as a plain ZIP archive."
        )
    with opened.open(picture.entry) as stream:
        content = stream.read(min(MOST_BYTES, left) + 1)
    if len(content) > MOST_BYTES:
        raise ConvscopeError(f"{picture.name} is larger than {MOST_BYTES // 1_000_000} MB: make it smaller.")
    if len(content) > left:
        raise ConvscopeError(f"The pictures unpack to more than {MOST_TOTAL // 1_000_000:,} MB: leave some out.")
    return content
