"""A damaged or strange file is one sentence, and everything else goes on."""

import hashlib
import json
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import all_networks, checkpoints, filters, settings, stored, stored_tensors
from engine.errors import ConvscopeError
from engine.training import histories, live_files
from engine.training.queue import jobs
from engine.training.records import Status
from engine.training.run import RunFolder, stored_recipe
from tests.runs import lenet

DEEP = "[" * 100_000


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with the checkpoint lenet, and a copy of it, strange, to be damaged."""
    for name in ("lenet", "strange"):
        shutil.copytree(settings.folders.checkpoints / "lenet", tmp_path / name)
    return tmp_path


def one_sentence(action: Callable[[], object], name: str) -> None:
    with pytest.raises(ConvscopeError) as caught:
        action()
    assert name in str(caught.value)
    assert len(str(caught.value)) < 1_500
    assert "\n" not in str(caught.value)


CARDS: list[dict[str, Any]] = [
    {"input_size": 0},
    {"input_size": 3_000},
    {"input_size": True},
    {"input_size": 1e9},
    {"mean": [0.5]},
    {"mean": [0.5, 0.5, float("nan")]},
    {"std": [0.2, 0.2, 0.0]},
    {"std": [0.2, 0.2, float("inf")]},
    {"classes": []},
    {"classes": ["x" * 1_000] * 10},
    {"classes": ["x"] * 100_000},
    {"classes": [["x"]] * 10},
    {"parameters": -1},
    {"epochs": 10**4_000},
    {"test_accuracy": 2.0},
    {"options": [1]},
    {"versions": "x" * 100_000_000},
]


@pytest.mark.parametrize("damage", CARDS, ids=lambda damage: f"{next(iter(damage))}-{str(damage)[:30]}")
def test_a_card_with_an_impossible_value_is_left_out(shelf: Path, damage: dict[str, Any]) -> None:
    card = json.loads((shelf / "strange" / "card.json").read_text())
    (shelf / "strange" / "card.json").write_text(json.dumps({**card, **damage}))
    one_sentence(lambda: checkpoints.read_card(shelf / "strange"), "strange")
    assert list(checkpoints.available(shelf)) == ["lenet"]


@pytest.mark.parametrize("content", [DEEP, "[]", "3", "null", "", '{"a":' * 50_000])
def test_a_card_that_is_none_is_left_out(shelf: Path, content: str) -> None:
    (shelf / "strange" / "card.json").write_text(content)
    one_sentence(lambda: checkpoints.load("strange", shelf), "strange")
    assert list(checkpoints.available(shelf)) == ["lenet"]


def test_an_untrained_network_of_a_strange_card_takes_no_memory(shelf: Path) -> None:
    card = json.loads((shelf / "strange" / "card.json").read_text())
    card |= {"architecture": "convnet3", "options": {"width": 10**8}}
    (shelf / "strange" / "card.json").write_text(json.dumps(card))
    one_sentence(lambda: checkpoints.untrained("strange", shelf), "strange")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(shelf: Path, value: float) -> None:
    file = shelf / "strange" / "weights.pt"
    weights = torch.load(file, weights_only=True)
    next(iter(weights.values())).fill_(value)
    torch.save(weights, file)
    card = json.loads((shelf / "strange" / "card.json").read_text())
    card["weights_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (shelf / "strange" / "card.json").write_text(json.dumps(card))
    one_sentence(lambda: checkpoints.load("strange", shelf), "strange")


ARRAYS: list[Callable[[dict[str, np.ndarray]], dict[str, Any]]] = [
    lambda known: {"labels": known["labels"][:-1]},
    lambda known: {"logits": known["logits"][:, :7]},
    lambda known: {"logits": known["logits"][0]},
    lambda known: {"logits": known["logits"] * np.nan},
    lambda known: {"labels": known["labels"] + np.uint8(200)},
    lambda known: {"labels": known["labels"].astype(np.int64) - 1},
    lambda known: {"val_labels": known["val_labels"][:3]},
    lambda known: {"logits": np.array([{}], dtype=object)},
]


@pytest.mark.parametrize("damage", ARRAYS)
def test_predictions_that_do_not_belong_together_are_one_sentence(
    shelf: Path, damage: Callable[[dict[str, np.ndarray]], dict[str, Any]], use_folders: Callable[..., None]
) -> None:
    file = shelf / "strange" / "predictions.npz"
    with np.load(file) as opened:
        known = dict(opened)
    np.savez(file, **{**known, **damage(known)})
    use_folders(checkpoints=shelf)
    candidates = all_networks.candidates()
    one_sentence(lambda: all_networks.entry(candidates["strange"]), "strange")
    assert all_networks.entry(candidates["lenet"]).name == "lenet"


def test_a_file_takes_as_much_memory_as_it_has_bytes_however_much_it_may_have(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(bytes(100_000))
    tracemalloc.start()
    try:
        assert stored.read_bytes(file, 1 << 30) == bytes(100_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert stored.read_bytes(file, 100_000) == bytes(100_000)
    with pytest.raises(ValueError, match="more than"):
        stored.read_bytes(file, 99_999)


def test_an_archive_that_unpacks_to_more_than_the_limit_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MOST_ARRAYS", 1_000)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(10_000))
    with pytest.raises(ValueError, match="more than"):
        stored.read_arrays(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("y.npy", b"nothing")
    with pytest.raises(ValueError, match="something else"):
        stored.read_arrays(tmp_path / "y.npz")


def test_kernels_that_are_damaged_are_one_sentence(shelf: Path) -> None:
    (shelf / "strange" / "filters.npz").write_bytes(b"PK\x03\x04" + b"\x00" * 100)
    one_sentence(lambda: filters.snapshots("strange", shelf), "strange")


# Runs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def strange(tmp_path: Path) -> RunFolder:
    """A run that has stopped."""
    folder = RunFolder(tmp_path / "strange")
    folder.begin(lenet())
    live_files.write_status(folder, Status("stopped", epoch=1, epochs=2))
    return folder


STATUS: list[Any] = [
    *[{"epoch": value} for value in ("x", None, -1, [1], 1.5, True)],
    *[{"seconds_left": value} for value in (float("inf"), float("nan"), "x")],
    *[{"message": value} for value in (None, 3, ["x"])],
    {"state": 3},
    {"learning_rate": "x"},
]


@pytest.mark.parametrize("damage", STATUS, ids=str)
def test_a_status_with_an_impossible_value_counts_as_missing(strange: RunFolder, damage: dict[str, Any]) -> None:
    known = asdict(live_files.read_status(strange))
    (strange.path / "status.json").write_text(json.dumps({**known, **damage}))
    assert jobs.look(strange) == Status("interrupted", epochs=2)


@pytest.mark.parametrize("content", [DEEP, "[]", "3", '{"a":' * 50_000, "x" * (1 << 23)])
@pytest.mark.parametrize("name", ["status.json", "recipe.json", "cuts.json", "keep.json"])
def test_a_run_with_a_strange_file_can_still_be_looked_at(strange: RunFolder, name: str, content: str) -> None:
    (strange.path / name).write_text(content)
    assert jobs.look(strange).state in ("stopped", "interrupted")
    assert jobs.keeping(strange) is None
    assert (stored_recipe(strange) is None) == (name == "recipe.json")


LINES = ["1," * 500_000, "9" * 1_000_000, '"' + "x" * 1_000_000, "1\n" * 200_000]


@pytest.mark.parametrize("line", LINES, ids=["many cells", "many digits", "an open quote", "many lines"])
def test_a_table_with_a_strange_line_is_one_sentence_at_once(strange: RunFolder, line: str) -> None:
    shutil.copy(settings.folders.checkpoints / "lenet" / "history.csv", strange.path)
    with (strange.path / "history.csv").open("a") as file:
        file.write(line)
    one_sentence(lambda: histories.read(histories.HistoryFolder("runs", "strange", strange.path)), "strange")
    assert live_files.read_history(strange) == []
    (strange.path / "steps.csv").write_text(f"header\n{line}\n")
    assert len(live_files.read_steps(strange)) == 0
    (strange.path / "events.jsonl").write_text(f"{DEEP}\n{line}\n")
    assert live_files.read_events(strange) == []


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (2, 4, 1, 5, 5), (2, 0, 3, 5, 5), (2,)])
def test_strange_kernels_of_a_run_count_as_missing(strange: RunFolder, shape: tuple[int, ...]) -> None:
    kernels = np.zeros(shape, np.float16)
    np.savez(strange.path / "filters.npz", filters=kernels, epochs=np.arange(2))
    np.save(strange.path / "filters_now.npy", kernels[0] if kernels.size else kernels)
    assert live_files.read_filters(strange) is None
    assert live_files.read_filters_now(strange) is None or shape == (2, 4, 3, 5)


# Tensors -------------------------------------------------------------------------------------------------------

ODD: dict[str, Callable[[], Any]] = {
    "a view that repeats one number": lambda: torch.zeros(1).expand(10**12),
    "no numbers at all": lambda: torch.zeros(3, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "complex": lambda: torch.zeros(3, dtype=torch.complex64),
}


@pytest.mark.parametrize("odd", ODD)
def test_unusual_tensors_are_not_read(tmp_path: Path, odd: str) -> None:
    torch.save({"whole": torch.ones(3), "deep": [{"odd": ODD[odd]()}]}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="claim more than it holds"):
        stored_tensors.read_tensors(tmp_path / "x.pt")


def test_tensors_that_are_packed_or_too_large_are_not_unpacked(tmp_path: Path) -> None:
    torch.save(torch.zeros(100_000), tmp_path / "x.pt")
    assert stored_tensors.read_tensors(tmp_path / "x.pt").shape == (100_000,)
    with pytest.raises(ValueError, match="more than"):
        stored_tensors.read_tensors(tmp_path / "x.pt", most=100_000)
    with zipfile.ZipFile(tmp_path / "x.pt") as known, zipfile.ZipFile(tmp_path / "y.pt", "w", 8) as packed:
        for entry in known.infolist():
            packed.writestr(entry.filename, known.read(entry))
    with pytest.raises(ValueError, match="unpacks to more than it has"):
        stored_tensors.read_tensors(tmp_path / "y.pt")


def test_weights_of_whole_numbers_are_one_sentence(shelf: Path) -> None:
    file = shelf / "strange" / "weights.pt"
    weights = torch.load(file, weights_only=True)
    torch.save({**weights, "classifier.0.weight": next(iter(weights.values())).to(torch.int8)}, file)
    card = json.loads((shelf / "strange" / "card.json").read_text())
    card["weights_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (shelf / "strange" / "card.json").write_text(json.dumps(card))
    one_sentence(lambda: checkpoints.load("strange", shelf), "strange")
