"""Weights files as people save them: the network's parameters, name by name, or what both sides hold."""

import argparse
import os
import re
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.checkpoints.weight_files import fitted
from engine.errors import ConvscopeError
from engine.models import build
from engine.names import is_name, name_of

State = dict[str, Tensor]


class Network(nn.Module):
    """A stem and a block, with one of the wrappers' names among its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.features = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.Conv2d(4, 2, 1)))
        self.net = nn.Linear(2, 3)


@pytest.fixture
def own() -> State:
    torch.manual_seed(0)
    return Network().state_dict()


def saved(content: Any, folder: Path, **options: Any) -> Path:
    file = folder / "theirs.pth"
    torch.save(content, file, **options)
    return file


def fit(content: Any, own: State, folder: Path, **options: Any) -> tuple[str, ...]:
    """The remarks on a file whose weights are those of `own`."""
    read = fitted(saved(content, folder, **options), own, "a network")
    assert read.weights.keys() == own.keys()
    assert all(torch.equal(value, own[name]) for name, value in read.weights.items())
    return read.remarks


def refusal(content: Any, own: State, folder: Path) -> str:
    with pytest.raises(ConvscopeError) as caught:
        fitted(saved(content, folder), own, "a network")
    return str(caught.value)


def prefixed(own: State, prefix: str) -> State:
    return {prefix + name: value for name, value in own.items()}


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module.model.", "net.model.", "mine."],
)
def test_prefixes_in_any_order_and_depth_are_taken_off(prefix: str, own: State, tmp_path: Path) -> None:
    remarks = fit(prefixed(own, prefix), own, tmp_path)
    assert [remark for remark in remarks if remark.startswith("Taken off the names: '")] == list(remarks)


@pytest.mark.parametrize("inner", ["features.module.0", "features._orig_mod.module.0", "features.0._orig_mod"])
def test_wrappers_inside_the_network_are_taken_off(inner: str, own: State, tmp_path: Path) -> None:
    fit({name.replace("features.0", inner): value for name, value in own.items()}, own, tmp_path)


CONTAINERS: dict[str, Callable[[State], Any]] = {
    **{
        key: lambda own, key=key: {key: own, "epoch": 7}
        for key in ("state_dict", "model", "net", "weights", "params", "model_state", "state_dict_ema", "my_network")
    },
    "nested": lambda own: {"checkpoint": {"model": prefixed(own, "module.")}, "optimizer": {"state": {0: {"m": own}}}},
    "in a list": lambda own: [3, {"weights": own}],
    "beside numbers": lambda own: {**own, "epoch": 7, "arch": "mine"},
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_weights_are_found_beside_other_things(kind: str, own: State, tmp_path: Path) -> None:
    assert fit(CONTAINERS[kind](own), own, tmp_path)


COMPANIONS = [
    {"n_averaged": torch.tensor(3)},
    {"total_ops": torch.zeros(1), "features.0.total_ops": torch.zeros(1), "features.0.total_params": torch.zeros(1)},
    {"criterion.weight": torch.ones(3)},
    {"loss_fn.pos_weight": torch.ones(3)},
    {"aux1.conv.weight": torch.ones(3), "aux2.fc.bias": torch.ones(3)},
    {"AuxLogits.conv0.weight": torch.ones(3)},
]


@pytest.mark.parametrize("companions", COMPANIONS, ids=lambda companions: next(iter(companions)))
@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod."])
def test_companions_are_left_out_and_named(companions: State, prefix: str, own: State, tmp_path: Path) -> None:
    remarks = fit({**prefixed(own, prefix), **companions}, own, tmp_path)
    assert remarks[-1] == (
        f"Left out, since they are no part of the network ({len(companions)}): {', '.join(companions)}."
    )


def test_an_average_beside_the_weights_is_left_out_and_named(own: State, tmp_path: Path) -> None:
    other = {name: value * 2 if value.is_floating_point() else value for name, value in own.items()}
    remarks = fit({"state_dict_ema": other, "state_dict": own}, own, tmp_path)
    assert remarks[-2:] == (
        "Left out, further copies of the weights: 'state_dict_ema'.",
        "Beside the weights, and not read: state_dict_ema.",
    )
    flat = {**prefixed(other, "ema_model."), **prefixed(own, "model.")}
    assert fit(flat, own, tmp_path)[-1] == "Left out, further copies of the weights: 'ema_model'."


def test_of_two_equal_networks_none_is_chosen(own: State, tmp_path: Path) -> None:
    other = {name: value + 1 for name, value in own.items()}
    both = {**prefixed(own, "left."), **prefixed(other, "right.")}
    assert "holds two sets of weights that fit, 'left' and 'right': save the one" in refusal(both, own, tmp_path)
    twice = {**own, **prefixed(other, "module.")}
    assert "twice, as 'conv1.weight' and as 'module.conv1.weight'" in refusal(twice, own, tmp_path)


class Settings(dict):
    """Settings that can be written as attributes, as several packages have them."""

    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


@pytest.mark.parametrize("zipped", [True, False], ids=["new", "before 1.6"])
@pytest.mark.parametrize(
    "beside",
    [
        *(np.float64(0.93), np.int64(3), np.eye(2), argparse.Namespace(lr=0.1)),
        *(defaultdict(list, loss=[0.5]), deque([0.9], 5), Settings(lr=Settings(start=0.1))),
    ],
    ids=lambda beside: type(beside).__name__,
)
def test_what_lies_beside_the_weights_is_no_obstacle(beside: object, zipped: bool, own: State, tmp_path: Path) -> None:
    fit({"net": own, "best": beside}, own, tmp_path, _use_new_zipfile_serialization=zipped)


class Attack:
    """Runs a command when it is unpickled without care."""

    def __init__(self, file: Path, run: Callable[..., Any]) -> None:
        self.file, self.run = file, run

    def __reduce__(self) -> tuple[Any, ...]:
        return self.run, (f"touch {self.file}",)


@pytest.mark.parametrize("zipped", [True, False], ids=["new", "before 1.6"])
@pytest.mark.parametrize("run", [os.system, eval, exec], ids=["system", "eval", "exec"])
def test_nothing_in_a_file_is_run(run: Callable[..., Any], zipped: bool, own: State, tmp_path: Path) -> None:
    content = {"net": own, "trap": Attack(tmp_path / "touched", run)}
    with suppress(ConvscopeError):
        assert fit(content, own, tmp_path, _use_new_zipfile_serialization=zipped)
    assert not (tmp_path / "touched").exists()


def test_counts_of_batches_may_be_fractions(own: State, tmp_path: Path) -> None:
    assert fit({name: value.float() for name, value in own.items()}, own, tmp_path) == ()


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("bn1.running_var", lambda value: value - 5, "holds variances below zero, in 'bn1.running_var'"),
        ("net.weight", lambda value: value.to_sparse(), "cannot be read safely, since its tensors .* such as sparse"),
        ("net.weight", lambda value: value.numpy(), "it has no 'net.weight'"),
    ],
)
def test_values_that_are_no_weights_are_refused(
    name: str, change: Callable[[Tensor], Any], reason: str, own: State, tmp_path: Path
) -> None:
    assert re.search(reason, refusal({**own, name: change(own[name])}, own, tmp_path))


def test_arrays_instead_of_tensors_are_called_so(own: State, tmp_path: Path) -> None:
    arrays = {name: value.numpy() for name, value in own.items()}
    assert "holds NumPy's arrays, not PyTorch's tensors: write one" in refusal(arrays, own, tmp_path)


def test_densenets_old_names_are_read(tmp_path: Path) -> None:
    own = build("torchvision:densenet121", num_classes=2).state_dict()
    old = {name: value for name, value in own.items() if "num_batches" not in name}
    for part in ("norm", "conv"):
        for number in "12":
            old = {name.replace(f".{part}{number}.", f".{part}.{number}."): value for name, value in old.items()}
    read = fitted(saved(old, tmp_path), own, "a network")
    assert all(torch.equal(value, own[name]) for name, value in read.weights.items())
    assert len(read.weights) == len(old)
    assert "DenseNet's old names, such as 'norm.1', were read as 'norm1'." in read.remarks


def test_safetensors_are_read(own: State, tmp_path: Path) -> None:
    save_file(prefixed(own, "module."), tmp_path / "theirs.safetensors")
    read = fitted(tmp_path / "theirs.safetensors", own, "a network")
    assert all(torch.equal(value, own[name]) for name, value in read.weights.items())
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "theirs.safetensors").read_bytes()[:90])
    with pytest.raises(ConvscopeError, match=r"^cut\.safetensors is no file of weights that can be read safely"):
        fitted(tmp_path / "cut.safetensors", own, "a network")


def test_a_refusal_names_both_sides_and_the_nearest_names(own: State, tmp_path: Path) -> None:
    theirs = {name.replace("conv1", "stem"): value for name, value in own.items()}
    assert refusal(theirs, own, tmp_path) == (
        "theirs.pth holds 13 tensors ('stem.weight' to 'net.bias') and does not fit a network, which needs 13 "
        "tensors ('conv1.weight' to 'net.bias'): it has no 'conv1.weight' (4 x 3 x 3 x 3), and nearest are "
        "'bn1.weight' (4), 'net.weight' (3 x 2), 'stem.weight' (4 x 3 x 3 x 3); "
        "check --architecture, --classes and --input-size."
    )
    wider = {**own, "net.weight": torch.zeros(7, 2)}
    assert "its 'net.weight' is 7 x 2, not 3 x 2" in refusal(wider, own, tmp_path)
    more = {**own, "layer9.weight": torch.zeros(7)}
    assert "the network has no 'layer9.weight' (7), and nearest are" in refusal(more, own, tmp_path)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("best model (1).pth", "best_model_1"),
        ("model_best.pth.tar", "model_best"),
        ("résumé v1.2.safetensors", "resume_v1_2"),
        ("模型.pt", "own"),
        ("x" * 99 + ".ckpt", "x" * 60),
    ],
)
def test_a_file_gives_a_name(file: str, name: str) -> None:
    assert name_of(file) == name
    assert is_name(name)
