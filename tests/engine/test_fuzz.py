"""Made-up archives, pictures, cards, runs, recipes, histories, weights, arrays and lectures: the right thing, or a
sentence. See tests/fuzzing.py.
"""

import csv
import functools
import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine import checkpoints, filters, lectures, patches, settings
from engine.checkpoints import Card, states
from engine.checkpoints.weight_files import fitted
from engine.data import archives, photographs
from engine.maximization import stored as maximizations
from engine.models import blank
from engine.training import histories, live_files, recipe
from engine.training.histories import HistoryFolder
from engine.training.queue import jobs
from engine.training.recipe import Recipe
from engine.training.records import STATES, Status
from engine.training.run import RunFolder
from tests.fuzzing import NAMES, NUMBERS, PLAIN, VALUES, cases, changed, damaged, little_memory, result_or_sentence
from tests.runs import lenet

CLASSES = ("cat", "dog", "Straße")
PAGES = ("home", "accuracy", "reconstruction")


@pytest.fixture(autouse=True, scope="module")
def memory() -> Iterator[None]:
    """All cases of this file together."""
    with little_memory():
        yield


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder for the files of each case, which replace those of the case before."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@functools.cache
def shipped(file: str) -> bytes:
    """A file of the checkpoint lenet."""
    return (settings.folders.checkpoints / "lenet" / file).read_bytes()


def in_utf_8(text: str) -> bytes:
    return text.encode(errors="replace")


# Archives and pictures -----------------------------------------------------------------------------------------


@functools.cache
def picture(kind: str, mode: str, side: int) -> bytes:
    """A small picture that is not damaged."""
    noise = np.random.default_rng(side).integers(0, 256, (side, side + 3, 4), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert(mode).save(content, kind)
    return content.getvalue()


@functools.cache
def claiming(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, and has none."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zipfile.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"\x78\x9c\x03\x00\x00\x00\x00\x01") + chunk(b"IEND", b"")


SIDES = st.sampled_from([1, 100, 5_000, 9_000, 70_000, 2**31 - 1])
COLOURS = {"PNG": ["RGBA", "I;16", "P"], "JPEG": ["RGB", "CMYK"], "WEBP": ["RGBA"], "GIF": ["P"], "BMP": ["RGB"]}
COLOURS |= {"TIFF": ["RGB", "F"], "AVIF": ["RGB"], "PPM": ["L"]}
KINDS = st.sampled_from([(kind, mode) for kind, modes in COLOURS.items() for mode in modes])
PICTURES = st.builds(lambda kind, side: picture(*kind, side), KINDS, st.sampled_from([1, 9, 40]))
FILES = PICTURES | PICTURES.flatmap(damaged) | st.builds(claiming, SIDES, SIDES) | st.binary(max_size=60)


@cases(250)
@given(content=FILES, side=st.sampled_from([None, 8, 64]))
def test_pictures(content: bytes, side: int | None) -> None:
    read = result_or_sentence(lambda: photographs.read(content, "a.png", side))
    assert read is None or (read.shape[0] == read.shape[1] and read.shape[2] == 3 and read.dtype == np.uint8)
    assert read is None or read.shape[0] <= photographs.SIDE
    assert read is None or side is None or read.shape[0] == side


FOLDERS = st.sampled_from([*CLASSES, "CAT", "strasse", "a/b/dog", "cat/dog", "..", "x\\cat", "ca\u0301t", ""]) | NAMES
ENTRIES = st.lists(
    st.tuples(
        FOLDERS,
        st.sampled_from(["a.png", "b.JPG", "c.txt", ".hidden.png", ""]),
        st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
        FILES,
    ),
    max_size=4,
)


def packed(entries: list[tuple[str, str, int, bytes]], lie: int | None) -> bytes:
    """A ZIP archive; every entry claims to unpack to `lie` bytes, if that is not None."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for folder, name, how, file in entries:
            archive.writestr(f"{folder}/{name}".replace("\x00", "_")[:60_000], file, how)
    archive_bytes = bytearray(content.getvalue())
    if lie is not None:
        for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            at = archive_bytes.find(mark)
            while at >= 0:
                archive_bytes[at + offset : at + offset + 4] = struct.pack("<I", lie)
                at = archive_bytes.find(mark, at + 4)
    return bytes(archive_bytes)


@cases(150)
@given(entries=ENTRIES, lie=st.sampled_from([None, None, None, 0, 10, 2**32 - 1]), data=st.data())
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives(entries: list[tuple[str, str, int, bytes]], lie: int | None, data: st.DataObject) -> None:
    archive = packed(entries, lie)
    if data.draw(st.integers(0, 2)) == 0:
        archive = data.draw(damaged(archive))
    read = result_or_sentence(lambda: archives.class_folders(archive, "a.zip", CLASSES, 16))
    assert read is None or (read.images.shape == (len(read.labels), 16, 16, 3) and len(read.labels) > 0)
    assert read is None or set(read.labels) <= {0, 1, 2}


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_unpacks_to_a_gigabyte(how: int) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", how) as archive, archive.open("cat/a.png", "w") as entry:
        for _ in range(30):
            entry.write(bytes(1_000_000))
    assert result_or_sentence(lambda: archives.class_folders(content.getvalue(), "a.zip", CLASSES, 16)) is None


# Checkpoints ---------------------------------------------------------------------------------------------------


def write_checkpoint(place: Path, card: bytes | None = None, **files: bytes) -> Path:
    """A copy of the checkpoint lenet with other files."""
    folder = place / "made_up"
    folder.mkdir(exist_ok=True)
    for name, content in {"card.json": card or shipped("card.json"), **files}.items():
        (folder / name).unlink(missing_ok=True)  # another inode is another version of the card
        (folder / name).write_bytes(content)
    return folder


CARD = json.loads(shipped("card.json"))
JSON = VALUES.map(json.dumps).map(str.encode) | st.sampled_from([b"", b"[" * 100_000, b"\xff\xfe", b'{"a":' * 50_000])
CARDS = changed(CARD).map(json.dumps).map(str.encode) | JSON | damaged(shipped("card.json"))


@cases(150)
@given(content=CARDS)
def test_cards(place: Path, content: bytes) -> None:
    write_checkpoint(place, content, **{"weights.pt": shipped("weights.pt")})
    card = result_or_sentence(lambda: checkpoints.read_card(place / "made_up"))
    assert (card is not None) == ("made_up" in checkpoints.available(place))
    trained = result_or_sentence(lambda: checkpoints.load("made_up", place))
    assert trained is None or isinstance(trained.card, Card)


@functools.cache
def lenet_weights() -> dict[str, torch.Tensor]:
    return torch.load(io.BytesIO(shipped("weights.pt")), weights_only=True)


ODD = st.sampled_from(
    [
        lambda value: value.double(),
        lambda value: value[:1],
        lambda value: value.flatten(),
        lambda value: value * torch.nan,
        lambda value: value.to(torch.int8),
        lambda value: value.to(torch.complex64),
        lambda value: torch.zeros(()).expand(value.shape),
        lambda value: torch.zeros(1).expand(10**12),
        lambda value: value.to_sparse(),
        lambda value: value.to("meta"),
        lambda value: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8),
        lambda value: torch.nn.Parameter(value),
        lambda value: value.numpy().tolist(),
        lambda value: value.T if value.dim() == 2 else value,
    ]
)


@st.composite
def odd_weights(draw: st.DrawFn) -> Any:
    """The weights of lenet with something odd among them, or in place of them."""
    weights: dict[Any, Any] = dict(lenet_weights())
    for name in draw(st.lists(st.sampled_from(sorted(weights)), min_size=1, max_size=3, unique=True)):
        match draw(st.sampled_from(["odd", "odd", "value", "without", "renamed", "twice"])):
            case "odd":
                weights[name] = draw(ODD)(weights[name])
            case "value":
                weights[name] = draw(VALUES)
            case "without":
                del weights[name]
            case "renamed":
                weights[draw(NAMES)] = weights.pop(name)
            case "twice":
                weights[f"{draw(NAMES)}.{name}"] = weights[name]
    return draw(st.sampled_from([weights, weights, weights, list(weights.values()), {"weights": weights}, "weights"]))


def saved(content: Any, repacked: bool = False, old: bool = False) -> bytes:
    """A file of `torch.save`; `repacked` is one that unpacks to more than it has."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    if not repacked:
        return file.getvalue()
    smaller = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(smaller, "w", zipfile.ZIP_DEFLATED) as other:
        for entry in archive.infolist():
            other.writestr(entry.filename, archive.read(entry))
    return smaller.getvalue()


def like_lenet(weights: dict[str, torch.Tensor]) -> bool:
    needed = blank("lenet", num_classes=10).state_dict()
    return {name: value.shape for name, value in weights.items()} == {name: v.shape for name, v in needed.items()}


@cases(60)
@given(content=odd_weights(), how=st.integers(0, 9), data=st.data())
def test_weights(place: Path, content: Any, how: int, data: st.DataObject) -> None:
    file = saved(content, repacked=how == 0, old=how == 1)
    file = data.draw(damaged(file)) if how in (2, 3) else file
    card = {**CARD, "weights_sha256": hashlib.sha256(file).hexdigest()}
    half = saved({"epoch": data.draw(PLAIN | st.just(2)), "weights": content}) if how > 4 else file
    write_checkpoint(place, json.dumps(card).encode(), **{"weights.pt": file})
    (place / "made_up" / states.FOLDER).mkdir(exist_ok=True)
    (place / "made_up" / states.FOLDER / "2.pt").write_bytes(half)
    trained = result_or_sentence(lambda: checkpoints.load("made_up", place))
    snapshot = result_or_sentence(lambda: states.load("made_up", 2, place))
    for model in [found.model for found in (trained, snapshot) if found]:
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    needed = blank("lenet", num_classes=10).state_dict()
    own = result_or_sentence(lambda: fitted(place / "made_up" / "weights.pt", needed, "lenet"))
    assert own is None or like_lenet(own.weights)
    folder = RunFolder(place / "made_up")
    for name in ("state.pt", "best.pt"):
        (folder.path / name).write_bytes(file)
    result_or_sentence(folder.load)
    result_or_sentence(folder.best)


@st.composite
def odd_arrays(draw: st.DrawFn, known: dict[str, np.ndarray]) -> bytes:
    """The arrays of a file, some of them of other types, shapes or values; perhaps damaged."""
    arrays: dict[str, Any] = dict(known)
    for name in draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=2, unique=True)):
        array = np.atleast_1d(arrays[name])
        odd = [
            lambda array=array: array[:1],
            lambda array=array: array.reshape(-1),
            lambda array=array: array[..., None],
            lambda array=array: array.astype("U8"),
            lambda array=array: array.astype(np.complex64) if array.dtype.kind in "fiu" else array,
            lambda array=array: array * np.nan if array.dtype.kind in "fiu" else array,
            lambda array=array: array.astype(np.int64) - 1 if array.dtype.kind in "fiu" else array,
            lambda: np.zeros(0),
            lambda: np.array({"a": 1}, dtype=object),
            lambda: np.array(draw(NUMBERS.filter(lambda number: abs(number) < 2**62))),
        ]
        arrays[name] = draw(st.sampled_from(odd))()
        if draw(st.integers(0, 5)) == 0:
            del arrays[name]
    file = io.BytesIO()
    draw(st.sampled_from([np.savez, np.savez_compressed]))(file, **arrays)
    return draw(damaged(file.getvalue())) if draw(st.integers(0, 3)) == 0 else file.getvalue()


def few_predictions() -> dict[str, np.ndarray]:
    logits, labels = np.zeros((20, 10), np.float16), np.arange(20, dtype=np.uint8) % 10
    return {"logits": logits, "labels": labels, "val_logits": logits, "val_labels": labels}


SHIPPED_FILTERS = dict(np.load(io.BytesIO(shipped("filters.npz"))))
SHA = CARD["weights_sha256"]
MAXIMIZED = {
    "pictures": np.zeros((4, 8, 8, 3), np.uint8),
    "steps": np.arange(3),
    "activations": np.zeros((3, 4), np.float32),
    "weights": np.array(SHA),
}


@cases(80)
@given(data=st.data())
def test_arrays(place: Path, data: st.DataObject) -> None:
    files = {
        "predictions.npz": data.draw(odd_arrays(few_predictions())),
        "filters.npz": data.draw(odd_arrays(SHIPPED_FILTERS)),
    }
    folder = write_checkpoint(place, **files)
    predictions = result_or_sentence(lambda: checkpoints.predictions("made_up", place))
    assert predictions is None or predictions.test.logits.shape == (len(predictions.test.labels), 10)
    snapshots = result_or_sentence(lambda: filters.snapshots("made_up", place))
    assert snapshots is None or len(snapshots.epochs) == len(snapshots.kernels)
    live = live_files.read_filters(RunFolder(folder))
    assert live is None or live.filters.ndim == 5
    (folder / "m.npz").write_bytes(data.draw(odd_arrays(MAXIMIZED)))
    maximization = maximizations.load(folder / "m.npz", SHA)
    assert maximization is None or maximization.pictures.dtype == np.uint8


@functools.cache
def one_layer() -> dict[str, np.ndarray]:
    """The entries of top9.npz that lenet's first layers need, all alike."""
    with np.load(io.BytesIO(shipped("top9.npz"))) as stored:
        return {name: stored[name] for name in stored}


@cases(20)
@given(data=st.data())
def test_strongest_images(place: Path, data: st.DataObject) -> None:
    write_checkpoint(place, **{"weights.pt": shipped("weights.pt"), "top9.npz": data.draw(odd_arrays(one_layer()))})
    index = patches.load(checkpoints.load("made_up", place), place)
    for top in index.tops.values() if index else ():
        assert top.images.shape == top.values.shape
        assert top.images.max() < 10_000


# Runs ----------------------------------------------------------------------------------------------------------

STATUS = vars(Status("running", epoch=1, epochs=3, loss=1.0, learning_rate=0.1, seconds_left=3.0))
RECIPE = json.loads(json.dumps(recipe.to_dict(lenet()), default=vars))
HISTORY = shipped("history.csv").decode().splitlines()[:6]
LINES = st.lists(JSON | st.sampled_from([b"1,2,3,4,5", b'{"time": 1, "kind": "info", "message": "x"}']), max_size=5)
RUN_FILES = {
    "status.json": changed({**STATUS, "state": "stopped"}).map(json.dumps).map(str.encode) | JSON,
    "recipe.json": changed(RECIPE).map(json.dumps).map(str.encode) | JSON,
    "cuts.json": st.lists(st.lists(NUMBERS, max_size=3), max_size=3).map(json.dumps).map(str.encode) | JSON,
    "keep.json": JSON,
    "events.jsonl": LINES.map(b"\n".join),
    "steps.csv": LINES.map(lambda lines: b"step,epoch,loss,rate,speed\n" + b"\n".join(lines) + b"\n"),
    "command": st.binary(max_size=20) | st.sampled_from([b"pause", b"stop", b"x" * 100_000]),
    "filters_now.npy": st.binary(max_size=200) | st.just(b"\x93NUMPY\x01\x00F\x00{'descr': '<f8', 'fortran_order'"),
}


@cases(120)
@given(data=st.data())
def test_run_folders(place: Path, data: st.DataObject) -> None:
    folder = RunFolder(place / "run")
    folder.path.mkdir(exist_ok=True)
    for file in folder.path.iterdir():
        file.unlink()
    for name in data.draw(st.lists(st.sampled_from(sorted(RUN_FILES)), min_size=1, unique=True)):
        (folder.path / name).write_bytes(data.draw(RUN_FILES[name]))
    assert jobs.look(folder).state in STATES
    jobs.keeping(folder)
    live_files.read_events(folder)
    live_files.read_steps(folder)
    live_files.read_filters_now(folder)
    stored = result_or_sentence(folder.recipe)
    assert stored is None or isinstance(stored, Recipe)
    plan = result_or_sentence(lambda: folder.plan(stored or lenet()))
    assert plan is None or plan.epochs >= 0


@st.composite
def histories_as_text(draw: st.DrawFn) -> str:
    """A few lines of a history with other cells, lines and letters."""
    rows = list(csv.reader(HISTORY))
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.sampled_from(rows))
        cell = draw(NUMBERS.map(str) | NAMES | st.sampled_from(["", "nan", "1e999", "9" * 300]))
        if row:
            row[draw(st.integers(0, len(row) - 1))] = cell
    text = io.StringIO()
    csv.writer(text).writerows(draw(st.permutations(rows)) if draw(st.integers(0, 5)) == 0 else rows)
    return text.getvalue()


@cases(120)
@given(
    content=histories_as_text().map(lambda text: text.encode(errors="replace")) | damaged("\n".join(HISTORY).encode())
)
def test_histories(place: Path, content: bytes) -> None:
    folder = write_checkpoint(place, **{"history.csv": content})
    history = result_or_sentence(lambda: histories.read(HistoryFolder("checkpoints", "made_up", folder)))
    assert history is None or len(history.table) > 0
    assert (history is None) == (live_files.read_history(RunFolder(folder)) == [])


# Recipes and lectures ------------------------------------------------------------------------------------------


@functools.cache
def texts(kind: str) -> list[str]:
    """The shipped files of a kind."""
    return [file.read_text() for file in sorted(getattr(settings.folders, kind).rglob("*.toml"))[:6]]


@st.composite
def toml(draw: st.DrawFn, kind: str) -> str:
    """A shipped file with other values, lines left out or twice, or letters that do not belong there."""
    lines = draw(st.sampled_from(texts(kind))).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["value", "value", "without", "twice", "letters"])):
            case "value":
                lines[at] = f"{lines[at].partition('=')[0]}= {json.dumps(draw(VALUES))}"
            case "without":
                lines[at] = ""
            case "twice":
                lines.insert(at, lines[at])
            case "letters":
                lines[at] += draw(NAMES)
    return "\n".join(lines)


@cases(150)
@given(text=toml("recipes") | NAMES, values=changed(RECIPE) | VALUES)
def test_recipes(text: str, values: Any) -> None:
    for read in (lambda: recipe.parse(text, "x", "x.toml"), lambda: recipe.from_dict(values)):
        found = result_or_sentence(read)
        assert found is None or repr(recipe.checked_recipe(found)) == repr(found)
        assert found is None or found.epochs > 0


@cases(120)
@given(content=toml("lectures").map(in_utf_8) | st.binary(max_size=50) | JSON)
def test_lectures(content: bytes) -> None:
    pages = {file.name for file in (settings.ROOT / "pages").iterdir() if file.is_dir()}
    found = result_or_sentence(lambda: lectures.parse(content, "x", pages, "x.toml"))
    assert found is None or lectures.parse(lectures.to_toml(found).encode(), "x", pages, "x.toml") == found
