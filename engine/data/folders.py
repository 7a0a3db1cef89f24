"""Any folder of pictures as a dataset: one folder for each class, named after it.

    my-images/                  imagenette2-160/
        cat/   tom.jpg ...          train/  n01440764/ ...
        dog/   rex.png ...          val/    n01440764/ ...

Folders named `train`, `valid`, `Testing`, `Testdaten` and the like are parts, around the classes or inside each of
them: of two, the second is the test set, and the last tenth of each class of `train` picks epochs; of all three, the
validation part does. Without parts each class is split 80 / 10 / 10, in the order of the SHA-256 of its files' names:
the same on every machine, and pictures in a row (of one film, say) are apart.

Every picture becomes a square as any photograph does (`engine.data.photographs.read`). All of them are kept in memory
as bytes: 10,000 pictures of 224 pixels take 1.5 GB, and twice that for a moment. Whatever is not read is counted.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unicodedata import normalize

import numpy as np

from engine.data import LONGEST_CLASS, MOST_CLASSES, LabelledImages, split_validation
from engine.data.photographs import SUFFIXES, how_to_save
from engine.data.photographs import read as read_picture
from engine.errors import ConvscopeError, quoted

FEWEST = 10
"""Pictures that a class needs to learn from: 8, 1 and 1 for the three parts."""
TRAIN, VALIDATION, TEST = "train", "val", "test"
_ROUND = (
    "(?:set|data|dataset|images?|imgs?|pics?|pictures?|photos?|split|part|folder|seg|my|x|v|public|private"
    "|daten|datensatz|bilder|datos|dados|集|数据|数据集)*"
)
_PART_WORDS = {
    TRAIN: "train(?:ing)?|trn|learn(?:ing)?|trainings|entrainement|apprentissage|entrenamiento|addestramento|treino"
    "|treinamento|trening|uczenie|egitim|обучение|训练|訓練|学習",
    VALIDATION: "val|valid|validat(?:e|ion)|dev|development|eval|evaluation|validierung|validierungs|validacion"
    "|validacao|validazione|walidacja|валидация|проверка|验证|驗證|検証",
    TEST: "test(?:ing)?|tst|hold(?:out)?|heldout|prueba|teste|prova|тест|测试|測試|テスト",
}
_PART = {name: re.compile(f"{_ROUND}(?:{words}){_ROUND}") for name, words in _PART_WORDS.items()}
"""Names of parts, as small letters without accents."""
NOT_CLASSES = re.compile(r"[.@#$].*|__.*|_?thumb(nail)?s|system volume information|lost\+found", re.IGNORECASE)
"""Folders that systems and programs make: hidden ones, thumbnails, what was deleted."""


@dataclass(frozen=True)
class Report:
    """What was left out.

    Attributes:
        unreadable: files that are no pictures, or damaged ones, relative to the folder.
        too_few: classes with fewer than `FEWEST` readable pictures to learn from, and how many they have.
        unknown: class folders of the validation or test pictures that nothing was learned of.
        skipped: how many files were not tried, by kind.
        taken: which folders were taken as which parts, where the folder has parts.
    """

    unreadable: tuple[str, ...] = ()
    too_few: tuple[tuple[str, int], ...] = ()
    unknown: tuple[str, ...] = ()
    skipped: tuple[tuple[str, int], ...] = ()
    taken: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same for a person; none if nothing was left out and there are no parts."""
        said = [self.taken] if self.taken else []
        if self.unreadable:
            said.append(f"Files that are no readable pictures ({len(self.unreadable)}): {_few(self.unreadable)}.")
        if self.skipped:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.skipped)
            said.append(f"Files that were skipped ({sum(count for _, count in self.skipped)}): {kinds}.")
        if advice := how_to_save(dict(self.skipped)):
            said.append(advice)
        if self.too_few:
            named = [f"{name} ({count})" for name, count in self.too_few]
            said.append(f"Classes with fewer than {FEWEST} pictures, which are left out ({len(named)}): {_few(named)}.")
        if self.unknown:
            said.append(f"Classes with no pictures to learn from ({len(self.unknown)}): {_few(self.unknown)}.")
        return tuple(said)


@dataclass(frozen=True)
class FolderImages:
    """The three parts of a folder's pictures, all with the same classes, and what was left out."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages
    report: Report


@dataclass(frozen=True)
class _Part:
    """The pictures of one part, uint8 `[N, S, S, 3]` by class, files that could not be read, and how many others."""

    images: dict[str, list[np.ndarray]]
    unreadable: tuple[str, ...]
    skipped: Counter[str]


def read(folder: Path, side: int) -> FolderImages:
    """The pictures in `folder`, `side` x `side` pixels, and their classes in alphabetical order.

    Raises:
        ConvscopeError: there is no such folder, or it has no two classes with enough pictures.
    """
    if not folder.is_dir():
        raise ConvscopeError(f"There is no folder {str(folder)!r}: name one with a folder of pictures for each class.")
    try:
        return _read(folder, side)
    except OSError as error:
        raise ConvscopeError(f"{error.filename or folder} cannot be read: {error.strerror}.") from error


def _read(folder: Path, side: int) -> FolderImages:
    layout = _layout(folder)
    parts = {name: _part(classes, folder, side) for name, classes in layout.parts.items()}
    skipped = sum((part.skipped for part in parts.values()), _outside(layout))
    unreadable = tuple(name for part in parts.values() for name in part.unreadable)
    classes, too_few = _enough(parts[TRAIN], folder, _left_out(skipped, unreadable))
    unknown = {name for part in parts.values() for name in part.images} - set(parts[TRAIN].images)
    kinds = tuple(sorted(skipped.items()))
    report = Report(unreadable, too_few, tuple(sorted(unknown)), kinds, layout.taken)
    if len(parts) == 1:
        return FolderImages(*_split(parts[TRAIN], classes, side), report)
    labelled = {name: _labelled(part.images, classes, side) for name, part in parts.items()}
    for name, images in labelled.items():
        if not len(images):
            raise ConvscopeError(f"{folder} has no pictures of its classes in {layout.names[name]!r}: put some there.")
    train, validation = labelled[TRAIN], labelled.get(VALIDATION)
    if len(parts) == 2:
        train, validation = split_validation(train)
    return FolderImages(train, validation, labelled[layout.last], report)


# Which folders are what ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """Which folders hold what.

    Attributes:
        parts: by part the class folders, by name; all under `TRAIN` if there are no parts.
        names: what the folder calls its parts.
        around: folders around class folders, whose own files belong to no class.
        beside: folders beside them that are neither.
        taken: the same in a sentence, if there is something to say.
    """

    parts: dict[str, dict[str, Path]]
    names: dict[str, str]
    around: tuple[Path, ...]
    beside: tuple[Path, ...] = ()
    taken: str = ""

    @property
    def last(self) -> str:
        """The part that judges the result."""
        return TEST if TEST in self.parts else VALIDATION


def _layout(folder: Path) -> _Layout:
    """Tell parts from classes.

    Raises:
        ConvscopeError: what is there can be read in two ways, or has parts without classes or nothing to learn from.
    """
    around = (folder, *_wrappers(folder))
    inner = around[-1]
    children = _visible(inner)
    named = [child for child in children if _part_of(child)]
    nested = [child for child in named if _visible(child)]
    others = [child for child in children if child not in named]
    if nested:
        parts = _by_part(nested, folder)
        if TRAIN not in parts or (len(parts) == 1 and others):
            raise ConvscopeError(
                f"{folder} has {_quoted(nested)}{' beside ' + _quoted(others) if others else ''}, so that it is "
                "unclear what to learn from: put all class folders to learn from into a folder named 'train'."
            )
        beside = (*others, *(child for child in named if child not in nested))
        inside = {name: (part, *_wrappers(part)) for name, part in parts.items()}
        learned = _classes(inside[TRAIN][-1])
        classes = {name: _classes(inside[name][-1], learned) for name in parts}
        around = (*around, *(path for paths in inside.values() for path in paths))
        names = {name: part.name for name, part in parts.items()}
        return _Layout(classes, names, around, beside, _taken(names))
    if named and not others:
        raise ConvscopeError(
            f"{folder} has no class folders in {_quoted(named)}: put one folder of pictures for each class there."
        )
    splits = [_visible(child) for child in children]
    if all(splits) and all(_part_of(split) for inside in splits for split in inside):
        by_class = {name: _by_part(_visible(path), folder) for name, path in _classes(inner).items()}
        found = {name: part.name for parts in by_class.values() for name, part in parts.items()}
        names = {name: found[name] for name in (TRAIN, VALIDATION, TEST) if name in found}
        if children and TRAIN in names:
            classes = {name: {kind: parts[name] for kind, parts in by_class.items() if name in parts} for name in names}
            return _Layout(classes, names, (*around, *children), taken=_taken(names, " of each class"))
    taken = f"The class folders are those in {inner.relative_to(folder).as_posix()!r}." if inner != folder else ""
    alike = {tuple(path.name for path in inside) for inside in splits}
    if len(splits) > 1 and len(alike) == 1 and len(splits[0]) > 1:
        taken += (
            f"{' ' if taken else ''}The folders {_quoted(children)} are taken as classes, and each holds "
            f"{_quoted(splits[0])}: if they are parts, call them 'train' and 'test'."
        )
    return _Layout({TRAIN: _classes(inner)}, {}, around, taken=taken)


def _classes(folder: Path, learned: Iterable[str] = ()) -> dict[str, Path]:
    """The class folders in `folder` by name, with letters put together, and capitals as in the classes `learned`.

    Raises:
        ConvscopeError: two differ in that alone, a name is none, or there are too many.
    """
    found: dict[str, Path] = {}
    if len(paths := _visible(folder)) > MOST_CLASSES:
        raise ConvscopeError(f"{folder} has {len(paths):,} class folders: leave at most {MOST_CLASSES:,} of them.")
    for path in paths:
        name = _class_name(path)
        known = [other for other in learned if other.casefold() == name.casefold()]
        name = known[0] if len(known) == 1 else name
        if other := next((other for other in found if other.casefold() == name.casefold()), None):
            raise ConvscopeError(
                f"{folder} has the folders {found[other].name!r} and {path.name!r}, which differ in capitals or in "
                "how letters are stored only: rename one."
            )
        found[name] = path
    return found


def _class_name(path: Path) -> str:
    """The name of a class folder, with letters put together."""
    name = normalize("NFC", path.name)
    if name != _printable(name):
        raise ConvscopeError(f"{path.parent} has a folder {_printable(name)!r}, whose name is no Unicode: rename it.")
    if len(name) > LONGEST_CLASS:
        raise ConvscopeError(
            f"{path.parent} has a folder {quoted(name)}, whose name has more than {LONGEST_CLASS} letters: rename it."
        )
    return name


def _wrappers(folder: Path) -> tuple[Path, ...]:
    """The folders inside `folder` that each hold nothing but one folder of folders, which is no other part."""
    inside = _visible(folder)
    if len(inside) != 1 or _part_of(inside[0]) not in (None, _part_of(folder)) or not (deeper := _visible(inside[0])):
        return ()
    if len(deeper) == 1 and not _visible(deeper[0]) and not _part_of(deeper[0]):
        return ()
    return inside[0], *_wrappers(inside[0])


def _by_part(folders: Iterable[Path], root: Path) -> dict[str, Path]:
    parts: dict[str, Path] = {}
    for path in folders:
        if (other := parts.setdefault(_part_of(path), path)) != path:
            raise ConvscopeError(
                f"{root} has {other.name!r} and {path.name!r}, which are names for one part: leave one of them out."
            )
    return {name: parts[name] for name in (TRAIN, VALIDATION, TEST) if name in parts}


def _part_of(folder: Path) -> str | None:
    """The part that a folder is named like."""
    letters = re.sub(r"[\W\d_]", "", normalize("NFKD", folder.name.lower()))
    return next((part for part, names in _PART.items() if names.fullmatch(letters)), None)


def _taken(names: Mapping[str, str], where: str = "") -> str:
    uses = {TRAIN: "learned from", VALIDATION: "what picks the epoch", TEST: "the test set"}
    if len(names) == 1:
        return f"The folder {names[TRAIN]!r}{where} is split 80 / 10 / 10."
    last = next(reversed(names))
    uses[last] = uses[TEST]
    said = ", ".join(f"{folder!r} is {uses[name]}" for name, folder in names.items())
    tenth = f", and a tenth of {names[TRAIN]!r} picks the epoch" if len(names) == 2 else ""
    return f"Of the folders{where}, {said}{tenth}."


def _quoted(folders: Sequence[Path]) -> str:
    return _few([repr(folder.name) for folder in folders])


# The parts -----------------------------------------------------------------------------------------------------


def _split(part: _Part, classes: Sequence[str], side: int) -> Iterator[LabelledImages]:
    """80, 10 and 10 % of each class."""
    shares: list[dict[str, list[np.ndarray]]] = [{}, {}, {}]
    for name in classes:
        count = len(part.images[name])
        cuts = [0, count - 2 * (count // 10), count - count // 10, count]
        for share, start, stop in zip(shares, cuts, cuts[1:], strict=False):
            share[name] = part.images[name][start:stop]
    return (_labelled(share, tuple(classes), side) for share in shares)


def _left_out(skipped: Mapping[str, int], unreadable: Sequence[str]) -> str:
    """The end of a sentence: what was left out, in brackets; and what to do about it."""
    counts = {**skipped, "that are no readable pictures": len(unreadable)}
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    ends = f" (skipped: {kinds})." if kinds else "."
    return f"{ends} {how_to_save(skipped)}".rstrip()


def _enough(part: _Part, folder: Path, left_out: str) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """The classes that can be learned, and those with too few pictures."""
    counts = {name: len(images) for name, images in part.images.items()}
    classes = tuple(name for name, count in counts.items() if count >= FEWEST)
    too_few = tuple((name, count) for name, count in counts.items() if count < FEWEST)
    if len(classes) < 2:
        found = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none at all"
        raise ConvscopeError(
            f"{folder} needs at least two folders, one for each class, with at least {FEWEST} pictures each; "
            f"it has {found}{left_out}"
        )
    return classes, too_few


def _labelled(images: dict[str, list[np.ndarray]], classes: tuple[str, ...], side: int) -> LabelledImages:
    counts = [len(images.get(name, [])) for name in classes]
    pixels = np.zeros((sum(counts), side, side, 3), dtype=np.uint8)
    for index, image in enumerate(image for name in classes for image in images.get(name, [])):
        pixels[index] = image
    return LabelledImages(pixels, np.repeat(np.arange(len(classes), dtype=np.int64), counts), classes)


# Files ---------------------------------------------------------------------------------------------------------


def _part(classes: Mapping[str, Path], root: Path, side: int) -> _Part:
    images: dict[str, list[np.ndarray]] = {}
    unreadable: list[str] = []
    skipped = Counter[str]()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for name, folder in classes.items():
            files = _pictures(folder, skipped)
            squares = list(pool.map(partial(_square, side=side), files))
            images[name] = [square for square in squares if square is not None]
            unreadable += [
                _printable(file.relative_to(root).as_posix())
                for file, square in zip(files, squares, strict=True)
                if square is None
            ]
    return _Part(images, tuple(sorted(unreadable)), skipped)


def _visible(folder: Path) -> list[Path]:
    """The folders in `folder` that can be classes or parts."""
    with os.scandir(folder) as entries:
        inside = [Path(entry) for entry in entries if entry.is_dir() and not NOT_CLASSES.fullmatch(entry.name)]
    return sorted(
        path for path in inside if not (path.is_symlink() and folder.resolve().is_relative_to(path.resolve()))
    )


def _pictures(folder: Path, skipped: Counter[str]) -> list[Path]:
    """The class's pictures, in an order that depends on their names and on nothing else; counts all other files."""
    files = []
    for place, folders, names in os.walk(folder, onerror=_refuse):
        for inner in [name for name in folders if NOT_CLASSES.fullmatch(name)]:
            folders.remove(inner)
            skipped.update(_all_in(Path(place, inner)))
        skipped["links to folders"] += sum(Path(place, inner).is_symlink() for inner in folders)
        for file in (Path(place, name) for name in names):
            if (kind := _why_not(file)) is None:
                files.append(file)
            else:
                skipped[kind] += 1
    return sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file.relative_to(folder).as_posix())).digest())


def _refuse(error: OSError) -> None:
    """A folder that cannot be read is not passed over."""
    raise error


def _outside(layout: _Layout) -> Counter[str]:
    """The files that are in no class folder."""
    skipped = Counter[str]()
    for folder in layout.around:
        for entry in folder.iterdir():
            if entry.is_dir() and NOT_CLASSES.fullmatch(entry.name):
                skipped.update(_all_in(entry))
            elif not entry.is_dir():
                skipped[_why_not(entry) or "pictures outside the class folders"] += 1
    for folder in layout.beside:
        skipped.update(_all_in(folder))
    return skipped


def _all_in(folder: Path) -> Counter[str]:
    return Counter({f"in {folder.name!r}": sum(len(names) for _, _, names in os.walk(folder))})


def _why_not(file: Path) -> str | None:
    """What kind of file it is that is not tried; None for a picture."""
    if not file.is_file():
        return "broken links" if file.is_symlink() else "that are no regular files"
    if file.name.startswith("."):
        return "hidden"
    suffix = file.suffix.lower()
    return None if suffix in SUFFIXES else _printable(suffix) or "without a suffix"


def _square(file: Path, side: int) -> np.ndarray | None:
    """uint8 `[side, side, 3]`, or None if the file is no readable picture."""
    try:
        return read_picture(file, file.name, side)
    except ConvscopeError:
        return None


def _printable(name: str) -> str:
    """A name of the disk without what is no Unicode."""
    return name.encode(errors="replace").decode()


def _few(names: Iterable[str], most: int = 5) -> str:
    """The first names, and how many there are besides."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
