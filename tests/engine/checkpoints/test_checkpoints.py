"""A checkpoint comes back as it was saved, or one sentence says why not."""

import errno
import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.checkpoints import (
    Card,
    Contents,
    StoredPredictions,
    available,
    card,
    half_precision,
    load,
    predictions,
    read_card,
    save,
    untrained,
)
from engine.data import CIFAR10_CLASSES
from engine.errors import ConvscopeError
from engine.evaluation import Predictions
from engine.models import build
from engine.stored import read_json

Weights = dict[str, Tensor]


def make_card(name: str = "tiny", **changes: Any) -> Card:
    card = Card(
        name=name,
        architecture="lenet",
        options={"input_size": 8},
        dataset="cifar10",
        classes=CIFAR10_CLASSES,
        input_size=8,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
        recipe="lenet",
        epochs=3,
        best_epoch=2,
        seed=1,
        parameters=267_530,
        test_images=4,
        test_accuracy=0.75,
        test_loss=1.25,
        weights_sha256="",
        versions={"torch": "2.15.0"},
    )
    return replace(card, **changes)


def fresh(name: str = "lenet", **options: Any) -> Weights:
    torch.manual_seed(0)
    return build(name, **(options or {"input_size": 8})).state_dict()


def make_contents(weights: Weights | None = None) -> Contents:
    random = np.random.default_rng(0)
    test = Predictions(random.normal(size=(4, 10)).astype(np.float32), np.array([9, 0, 3, 3]))
    validation = Predictions(random.normal(size=(3, 10)).astype(np.float32), np.array([1, 2, 0]))
    filters = {"filters": random.normal(size=(2, 32, 3, 5, 5)).astype(np.float16), "epochs": np.arange(2)}
    return Contents(weights or fresh(), StoredPredictions(test, validation), filters, "epoch,loss\n1,2.0\n")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A folder with the checkpoint "tiny"."""
    save(make_card(), make_contents(), tmp_path)
    return tmp_path


def on_disk(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def refused(folder: Path, name: str = "tiny", call: Any = load) -> str:
    """The sentence with which a checkpoint is refused; nothing on disk may change on the way."""
    before = on_disk(folder)
    with pytest.raises(ConvscopeError) as caught:
        call(name, folder)
    assert on_disk(folder) == before
    return str(caught.value)


def unusable(reason: str, name: str = "tiny") -> str:
    return (
        f"The checkpoint {name!r} cannot be used: {reason}. "
        f"Get it again with `git checkout -- checkpoints/{name}`, or choose another one."
    )


def put_weights(folder: Path, content: bytes) -> None:
    """Replace the weights of "tiny", with a card that agrees."""
    (folder / "tiny" / "weights.pt").write_bytes(content)
    change_card(folder, weights_sha256=hashlib.sha256(content).hexdigest())


def change_card(folder: Path, **changes: Any) -> None:
    file = folder / "tiny" / "card.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def torch_bytes(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


# There and back ------------------------------------------------------------------------------------------------


def test_a_saved_network_computes_the_same_again(stored: Path) -> None:
    original = build("lenet", input_size=8)
    original.load_state_dict(fresh())
    batch = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(load("tiny", stored).model(batch), original.eval()(batch), rtol=0, atol=1e-6)


def test_a_saved_card_comes_back_with_the_hash_of_its_weights(stored: Path) -> None:
    content = (stored / "tiny" / "weights.pt").read_bytes()
    expected = make_card(weights_sha256=hashlib.sha256(content).hexdigest())
    assert load("tiny", stored).card == read_card(stored / "tiny") == available(stored)["tiny"] == expected


def test_saved_predictions_come_back(stored: Path) -> None:
    wanted, loaded = make_contents().predictions, predictions("tiny", stored)
    for one, other in ((loaded.test, wanted.test), (loaded.validation, wanted.validation)):
        assert np.array_equal(one.logits, other.logits)
        assert np.array_equal(one.labels, other.labels)
        assert (one.logits.dtype, one.labels.dtype) == (np.float32, np.int64)


def test_history_and_filters_come_back(stored: Path) -> None:
    assert (stored / "tiny" / "history.csv").read_text() == "epoch,loss\n1,2.0\n"
    with np.load(stored / "tiny" / "filters.npz") as filters:
        assert {key: filters[key].tolist() for key in filters} == {
            key: value.tolist() for key, value in make_contents().filters.items()
        }


def test_a_checkpoint_is_five_files(stored: Path) -> None:
    names = {"weights.pt", "card.json", "history.csv", "filters.npz", "predictions.npz"}
    assert {path.name for path in (stored / "tiny").iterdir()} == names
    assert [path.name for path in stored.iterdir()] == ["tiny"]


@pytest.mark.parametrize("name", ["lenet", "model_two"])
def test_half_precision_comes_back_as_frozen_float32_in_evaluation_mode(tmp_path: Path, name: str) -> None:
    weights = fresh(name)
    save(make_card(architecture=name), make_contents(half_precision(weights)), tmp_path)
    model = load("tiny", tmp_path).model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    for key, value in model.state_dict().items():
        expected = weights[key].half().float() if weights[key].ndim > 1 else weights[key]
        assert value.dtype == weights[key].dtype
        assert torch.equal(value, expected)


def test_half_precision_halves_kernels_and_nothing_else() -> None:
    mixed = {"kernel": torch.full((2, 2), 1 / 3), "bias": torch.tensor([1 / 3]), "count": torch.tensor(2**40)}
    halved = half_precision(mixed)
    assert [value.dtype for value in halved.values()] == [torch.float16, torch.float32, torch.int64]
    assert halved["kernel"][0, 0].item() == np.float16(1 / 3)
    assert halved["bias"].item() == np.float32(1 / 3)
    assert halved["count"].item() == 2**40


def test_another_number_of_classes_is_rebuilt_from_the_card(tmp_path: Path) -> None:
    weights = fresh(num_classes=3, input_size=8)
    save(make_card(classes=("cat", "dog", "mug")), make_contents(weights), tmp_path)
    assert load("tiny", tmp_path).model(torch.zeros(1, 3, 8, 8)).shape == (1, 3)


# Replacing -----------------------------------------------------------------------------------------------------


def test_saving_again_replaces_all_of_the_old_checkpoint(stored: Path) -> None:
    (stored / "tiny" / "leftover.txt").write_text("old")
    weights = {key: value + 1 for key, value in fresh().items()}
    save(make_card(seed=7), make_contents(weights), stored)
    assert not (stored / "tiny" / "leftover.txt").exists()
    assert [path.name for path in stored.iterdir()] == ["tiny"]
    trained = load("tiny", stored)
    assert trained.card.seed == 7
    assert torch.equal(trained.model.state_dict()["classifier.1.bias"], weights["classifier.1.bias"])


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 6, 7])
def test_a_failing_write_at_any_moment_leaves_the_old_checkpoint(
    stored: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Five files take their names, then the old folder steps aside, then the new one takes its place."""
    before = on_disk(stored)
    moves = [0]
    move = os.replace

    def failing(source: Any, target: Any) -> None:
        moves[0] += 1
        if moves[0] == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ConvscopeError, match=r"could not be written \(No space left on device\): free some space"):
        save(make_card(seed=7), make_contents(), stored)
    assert on_disk(stored) == before
    assert [path.name for path in stored.iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    "changes", [{"classes": ("a" * 201, "b")}, {"classes": ()}, {"input_size": 4}, {"std": (0.2, 0.0, 0.3)}]
)
def test_a_card_that_could_not_be_read_again_leaves_the_old_checkpoint(stored: Path, changes: dict[str, Any]) -> None:
    (key,) = changes
    before = on_disk(stored)
    with pytest.raises(ConvscopeError, match=f"'tiny' cannot be stored, since {key} is .*: change that first"):
        save(make_card(**changes), make_contents(), stored)
    assert on_disk(stored) == before


def test_a_checkpoint_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConvscopeError) as caught:
        save(make_card(), make_contents(), tmp_path / "file" / "below")
    assert str(caught.value) == (
        f"{tmp_path}/file/below/tiny could not be written (Not a directory): free some space or choose a folder that "
        "you may write to; what was stored before is unharmed."
    )


# Cards are read once -------------------------------------------------------------------------------------------


def test_a_card_is_read_once_and_again_when_it_changes(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    monkeypatch.setattr(card, "read_json", lambda path: reads.append(path) or read_json(path))
    first = [read_card(stored / "tiny"), available(stored)["tiny"], load("tiny", stored).card]
    assert all(one is first[0] for one in first)
    assert len(reads) == 1
    save(replace(make_card("tiny"), seed=77), make_contents({key: value + 1 for key, value in fresh().items()}), stored)
    assert read_card(stored / "tiny").seed == 77
    assert len(reads) == 2
    assert load("tiny", stored).card.weights_sha256 != first[0].weights_sha256


def test_a_card_that_was_read_and_is_damaged_then_is_refused(stored: Path) -> None:
    assert read_card(stored / "tiny") == read_card(stored / "tiny")
    (stored / "tiny" / "card.json").write_text("{")
    assert refused(stored).startswith("The checkpoint 'tiny' cannot be used: card.json is missing or damaged (")
    (stored / "tiny" / "card.json").unlink()
    with pytest.raises(ConvscopeError, match=r"card\.json is missing or damaged"):
        read_card(stored / "tiny")


# Listing -------------------------------------------------------------------------------------------------------


def test_available_checkpoints_are_sorted_and_broken_ones_left_out(stored: Path) -> None:
    for name in ("zeta", "alpha", "broken"):
        save(make_card(name), make_contents(), stored)
    (stored / "broken" / "card.json").write_text("{")
    (stored / "empty").mkdir()
    (stored / "README.md").write_text("not a checkpoint")
    assert list(available(stored)) == ["alpha", "tiny", "zeta"]
    assert [card.name for card in available(stored).values()] == ["alpha", "tiny", "zeta"]


@pytest.mark.parametrize("name", [".tiny.k3j2h1", ".tiny.k3j2h1.old"])
def test_what_an_interrupted_save_leaves_behind_is_no_checkpoint(stored: Path, name: str) -> None:
    (stored / "tiny").rename(stored / name)
    assert available(stored) == {}
    assert refused(stored, name) == (
        f"There is no checkpoint {name!r}: train one with `python -m engine.training RECIPE`."
    )


def test_a_folder_that_is_missing_has_no_checkpoints(tmp_path: Path) -> None:
    assert available(tmp_path / "nowhere") == {}


def test_a_card_goes_by_its_folders_name(stored: Path) -> None:
    (stored / "tiny").rename(stored / "renamed")
    assert available(stored)["renamed"].name == "renamed"
    assert load("renamed", stored).card.name == "renamed"


# Refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [load, predictions])
@pytest.mark.parametrize("name", ["nosuch", "", ".", "..", "tiny/", "../tiny"])
def test_an_unknown_name_is_answered_with_the_known_ones(stored: Path, name: str, call: Any) -> None:
    save(make_card("big"), make_contents(), stored)
    assert refused(stored, name, call) == f"There is no checkpoint {name!r}: choose one of big, tiny."
    (stored / "big" / "card.json").write_text("{")
    assert refused(stored, name, call) == f"There is no checkpoint {name!r}: choose one of tiny."


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_truncated_weights_are_refused(stored: Path, share: float) -> None:
    content = (stored / "tiny" / "weights.pt").read_bytes()
    (stored / "tiny" / "weights.pt").write_bytes(content[: int(len(content) * share)])
    assert refused(stored) == unusable("weights.pt is damaged or not the file its card describes")


@pytest.mark.parametrize("place", [0, 5_000, 500_000, -1])
def test_a_single_flipped_bit_is_refused(stored: Path, place: int) -> None:
    content = bytearray((stored / "tiny" / "weights.pt").read_bytes())
    content[place] ^= 1
    (stored / "tiny" / "weights.pt").write_bytes(content)
    assert refused(stored) == unusable("weights.pt is damaged or not the file its card describes")


def test_missing_weights_are_refused(stored: Path) -> None:
    (stored / "tiny" / "weights.pt").unlink()
    assert refused(stored) == unusable("weights.pt cannot be read (No such file or directory)")


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_truncated_weights_with_a_matching_card_are_refused(stored: Path, share: float) -> None:
    content = (stored / "tiny" / "weights.pt").read_bytes()
    put_weights(stored, content[: int(len(content) * share)])
    assert refused(stored) == unusable("weights.pt is no PyTorch weights file")


@pytest.mark.parametrize(
    "other",
    [
        fresh("model_two"),
        fresh(input_size=32),
        fresh(num_classes=3, input_size=8),
        {},
        [torch.zeros(1)],
        torch.zeros(2),
        {1: torch.zeros(1)},
        {**fresh(), "features.0.weight": "text"},
        3,
    ],
    ids=["architecture", "size", "classes", "empty", "list", "tensor", "numbered", "text", "number"],
)
def test_weights_of_another_network_are_refused(stored: Path, other: Any) -> None:
    put_weights(stored, torch_bytes(other))
    assert refused(stored) == unusable("weights.pt does not fit a lenet")


class Malicious:
    """Unpickled, it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("pack", [torch_bytes, partial(pickle.dumps, protocol=2)], ids=["torch", "pickle"])
def test_a_pickle_from_a_stranger_runs_nothing(
    stored: Path, tmp_path_factory: pytest.TempPathFactory, pack: Callable[[Any], bytes]
) -> None:
    marker = tmp_path_factory.mktemp("marker") / "was-here"
    content = pack({"features.0.weight": Malicious(marker)})
    if pack is torch_bytes:
        torch.load(io.BytesIO(content), weights_only=False)
    else:
        pickle.loads(content)
    assert marker.exists()  # whoever trusts it falls into the trap
    marker.unlink()
    put_weights(stored, content)
    assert refused(stored) == unusable("weights.pt is no PyTorch weights file")
    assert not marker.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", '"text"', "\x00"])
def test_a_damaged_card_is_refused(stored: Path, content: str) -> None:
    (stored / "tiny" / "card.json").write_text(content)
    message = refused(stored)
    assert message.startswith("The checkpoint 'tiny' cannot be used: card.json is missing or damaged (")
    assert message.endswith("). Get it again with `git checkout -- checkpoints/tiny`, or choose another one.")
    assert available(stored) == {}


@pytest.mark.parametrize("key", [entry.name for entry in fields(Card) if entry.default is MISSING])
def test_a_card_that_lacks_an_entry_is_refused_and_names_it(stored: Path, key: str) -> None:
    file = stored / "tiny" / "card.json"
    entries = json.loads(file.read_text())
    del entries[key]
    file.write_text(json.dumps(entries))
    assert refused(stored) == unusable(f"card.json is missing or damaged ({key!r})")
    assert available(stored) == {}


def test_a_card_that_is_older_than_an_entry_has_its_default(stored: Path) -> None:
    file = stored / "tiny" / "card.json"
    entries = json.loads(file.read_text())
    for key in ("base", "base_sha256", "initialisation", "group"):
        del entries[key]
    file.write_text(json.dumps(entries))
    card = read_card(stored / "tiny")
    assert (card.base, card.base_sha256, card.initialisation, card.group) == ("", "", "default", "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", 3),
        ("std", None),
        ("std", ["a", "b", "c"]),
        ("classes", "cat"),
        ("classes", [1, 2]),
        ("options", None),
        ("options", []),
        ("input_size", "8"),
        ("input_size", 8.5),
        ("test_accuracy", None),
        ("parameters", None),
        ("weights_sha256", None),
        ("architecture", ["lenet"]),
        ("versions", "2"),
    ],
)
def test_a_card_with_an_entry_of_the_wrong_type_is_refused(stored: Path, key: str, value: Any) -> None:
    change_card(stored, **{key: value})
    assert refused(stored) == unusable(f"card.json is missing or damaged ({key} is {value!r})")
    assert available(stored) == {}


def test_whole_numbers_pass_for_figures(stored: Path) -> None:
    change_card(stored, test_accuracy=1, mean=[0, 0, 0])
    assert load("tiny", stored).card.test_accuracy == 1


@pytest.mark.parametrize("call", [load, untrained])
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architecture": "alexnet"}, "'alexnet' with the options {'input_size': 8}"),
        ({"architecture": "resnet18"}, "'resnet18' with the options {'input_size': 8}"),
        ({"architecture": "alexnet", "options": {}}, "'alexnet'"),
        ({"options": {"colour": "red"}}, "'lenet' with the options {'colour': 'red'}"),
    ],
)
def test_a_card_of_another_network_is_refused(stored: Path, changes: dict[str, Any], named: str, call: Any) -> None:
    change_card(stored, **changes)
    assert refused(stored, call=call) == unusable(
        f"its card names another network than its weights are of ({named}, which cannot be built)"
    )


@pytest.mark.parametrize("damage", ["truncated", "entry"])
def test_damaged_predictions_are_refused(stored: Path, damage: str) -> None:
    file = stored / "tiny" / "predictions.npz"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-30])
    else:
        np.savez(file, logits=np.zeros((4, 10)), labels=np.zeros(4))
    assert refused(stored, call=predictions) == unusable("predictions.npz is damaged")


def test_a_checkpoint_without_predictions_says_so(stored: Path) -> None:
    (stored / "tiny" / "predictions.npz").unlink()
    assert refused(stored, call=predictions) == (
        "There are no stored predictions of 'tiny' on the test images: choose a network trained on CIFAR-10."
    )
