"""Files of weights as people save them, for a network that is there: which entry is which of its parameters.

    content -> sets of tensors -> names without wrappers -> the set that fits

A training program keeps the weights beside other things (`{"epoch": 3, "state_dict": ...}`), and wrappers such as
DataParallel, `torch.compile` or Lightning put their own names between: `module._orig_mod.model.conv1.weight`. Both are
looked through at any depth. What is left must be the network, parameter by parameter; only known companions, such as
the weights of a loss or a second classifier half-way up, may be left out.

No file runs anything: PyTorch reads tensors and plain values only (`weights_only=True`), and every other object in the
file, a numpy scalar as much as a function of the operating system, is replaced by an empty stand-in.
"""

import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from engine.errors import ConvscopeError
from engine.stored_tensors import check_tensors, check_unpacked

WRAPPERS = {"module", "_orig_mod", "model", "net", "network", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
CONTAINERS = {"state_dict", "model_state_dict", "model_state", "net_state_dict", "weights", "params", "parameters"}
"""Names that say nothing of which network's weights stand beneath: inside the names of tensors, and around them."""
AVERAGED = re.compile(r"ema|avg|average|swa|teacher|momentum|target")
COMPANIONS = re.compile(
    r"n_averaged|(.*\.)?total_(ops|params)|(aux\d?|AuxLogits)\..*"
    r"|([^.]*_)?(loss|losses|criterion|metrics?)(_[^.]*)?(\..*)?"
)
MOST_DEEP = 4
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
MOST_FOREIGN = 50
"""Kinds of objects beside the weights that a file of PyTorch before 1.6 may hold, which does not list them."""


@dataclass(frozen=True)
class Fitted:
    """A state dict in single precision, by the network's own names, and what a person should know of how it was got."""

    weights: dict[str, Tensor]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Set:
    """Tensors that may be the network: their file names by the network's, and where they stood.

    Attributes:
        path: the keys around them; `prefix`: what stands before their names, apart from wrappers.
        tensors: all tensors at `path`.
        names: for each of the network's names those of the file that mean it.
    """

    path: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, Tensor]
    names: Mapping[str, list[str]]

    @property
    def label(self) -> str:
        """Which network it is, in the words of the file; empty where they say nothing."""
        parts = [*self.path, *self.prefix.split(".")]
        return ".".join(part for part in parts if part and part not in WRAPPERS | CONTAINERS)

    @property
    def rank(self) -> tuple[int, bool, bool]:
        """The lowest is the one that is meant: it is the most complete, no average, and called nothing special."""
        return -len(self.names), AVERAGED.search(self.label.lower()) is not None, self.label != ""


def fitted(file: Path, needed: Mapping[str, Tensor], network: str) -> Fitted:
    """The weights in `file` for a network with the state dict `needed`, which a sentence calls `network`.

    Raises:
        ConvscopeError: the file cannot be read, is no file of weights, or its weights are not this network's.
    """
    content = _content(file)
    sets = sorted(
        (entry for path, tensors in _tensors(content) for entry in _sets(path, tensors, needed)),
        key=lambda entry: (entry.rank, len(entry.label), -len(entry.tensors)),
    )
    if not sets:
        raise ConvscopeError(f"{file.name} holds {_instead(content)}: {_how(file)}.")
    best, copies = sets[0], [entry for entry in sets[1:] if entry.rank[0] == sets[0].rank[0] < 0]
    reason = _misfit(best, needed, {name for copy in copies for names in copy.names.values() for name in names})
    if reason:
        raise ConvscopeError(
            f"{file.name} holds {_extent(best.tensors)} and does not fit {network}, which needs {_extent(needed)}: "
            f"{reason}; check --architecture, --classes and --input-size."
        )
    weights = {name: best.tensors[names[0]] for name, names in best.names.items()}
    if rival := next((copy for copy in copies if copy.rank == best.rank and not _equal(copy, weights)), None):
        raise ConvscopeError(
            f"{file.name} holds two sets of weights that fit, {_place(best)} and {_place(rival)}: save the one "
            "that you mean alone, with `torch.save(model.state_dict(), ...)`."
        )
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise ConvscopeError(
                f"{file.name} holds weights that are no numbers, in {name!r}: its training has diverged."
            )
        if name.endswith("running_var") and (value < 0).any():
            raise ConvscopeError(f"{file.name} holds variances below zero, in {name!r}: save the weights again.")
    single = {
        name: value.float() if needed[name].is_floating_point() else value.to(needed[name].dtype)
        for name, value in weights.items()
    }
    return Fitted(single, tuple(_remarks(content, best, copies)))


# Reading -------------------------------------------------------------------------------------------------------


class _StandIn:
    """Takes the place of an object that is not rebuilt."""

    def __init__(self, *values: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _Table:
    """Takes the place of a mapping of another kind, such as a defaultdict."""

    def __new__(cls, *values: Any) -> OrderedDict:  # what PyTorch fills
        return OrderedDict()


class _Row:
    """Takes the place of a sequence of another kind, such as a deque."""

    def __new__(cls, *values: Any) -> list:
        return []


def _content(file: Path) -> Any:
    try:
        with file.open("rb") as opened:
            start = opened.read(9)
        if start[8:] == b"{":  # safetensors: eight bytes of length, then JSON; no pickle and no ZIP begins like that
            from safetensors.torch import load_file

            return load_file(file)
        check_unpacked(file)
        content = _unpickled(file, _foreign(file), {})
        if reason := _refused(check_tensors, content):
            raise ConvscopeError(f"{file.name} cannot be read safely, since {reason}: {_how(file)}.")
        return content
    except ConvscopeError:
        raise
    except OSError as error:
        raise ConvscopeError(f"{file} cannot be read ({error.strerror or error}): name a file of weights.") from error
    except Exception as error:  # a foreign file shows itself as a pickle, zip, runtime or end-of-file error
        raise ConvscopeError(f"{file.name} is no file of weights that can be read safely: {_how(file)}.") from error


def _unpickled(file: Path, foreign: list[str], collections: Mapping[str, type]) -> Any:
    """What is in `file`, with stand-ins for the objects `foreign`; `collections`: those that are filled, as what."""
    kinds = [(collections.get(name) or type(name.rpartition(".")[2], (_StandIn,), {}), name) for name in foreign]
    try:
        with torch.serialization.safe_globals(kinds):
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        missing = re.search(r"GLOBAL ([\w.]+) was not an allowed global", str(error))
        name = missing and (missing[1] if "." in missing[1] else f"builtins.{missing[1]}")
        if name and name not in foreign and len(foreign) < MOST_FOREIGN:
            return _unpickled(file, [*foreign, name], collections)
        filled = re.search(r"Can only (SETITEM|append|extend).* but got <class '[^']*?(\w+)'>", str(error))
        name = filled and next((name for name in foreign if name.rpartition(".")[2] == filled[2]), None)
        if name is None or name in collections:
            raise
        return _unpickled(file, foreign, {**collections, name: _Table if filled[1] == "SETITEM" else _Row})


def _refused(check: Callable[[Any], None], content: Any) -> str | None:
    try:
        check(content)
    except ValueError as error:
        return str(error)
    return None


def _foreign(file: Path) -> list[str]:
    """The objects in `file` that are neither tensors nor plain values."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except ValueError:  # of an old PyTorch, or no such file at all
        return []


def _how(file: Path) -> str:
    return f"write one with `torch.save(model.state_dict(), {file.name!r})`"


def _instead(content: Any) -> str:
    """What a file without weights holds."""
    values = content.values() if isinstance(content, dict) else [content]
    whole = next((type(value).__name__ for value in values if isinstance(value, _StandIn)), None)
    if whole == "_reconstruct":
        return "NumPy's arrays, not PyTorch's tensors"
    return f"a whole object of the class {whole!r}, not its weights" if whole else "no weights by name"


# Which are meant -----------------------------------------------------------------------------------------------


def _tensors(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """All dictionaries that hold tensors, and where they stand."""
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, dict) or len(path) > MOST_DEEP:
        return
    if tensors := {str(key): value for key, value in content.items() if isinstance(value, Tensor)}:
        yield path, tensors
    for key, value in content.items():
        yield from _tensors(value, (*path, str(key)))


def _sets(path: tuple[str, ...], tensors: dict[str, Tensor], needed: Mapping[str, Tensor]) -> Iterator[_Set]:
    """The tensors by what stands before the network's names; all of them as one set if they have none of these."""
    wanted = {_plain(name): name for name in needed}
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in tensors:
        parts = _plain(name).split(".")
        for cut in range(len(parts)):
            if (own := wanted.get(".".join(parts[cut:]))) is not None:
                found[".".join(parts[:cut])][own].append(name)
    for prefix, names in (found or {"": {}}).items():
        yield _Set(path, prefix, tensors, names)


def _plain(name: str) -> str:
    """A parameter's name without wrappers, as DenseNet has it today."""
    return OLD_DENSENET.sub(r"\1", ".".join(part for part in name.split(".") if part not in WRAPPERS))


def _misfit(best: _Set, needed: Mapping[str, Tensor], copied: set[str]) -> str | None:
    """What does not fit first; None if all does. `copied`: names of further copies of the network."""
    for name, value in needed.items():
        names = best.names.get(name, [])
        # Batch norm's count of batches changes no answer; old files lack it, averaged weights have fractions of it.
        counts = name.endswith("num_batches_tracked")
        if not names and not counts:
            return f"it has no {name!r} ({_shape(value)}){_nearest(name, best.tensors)}"
        for own in names:
            if best.tensors[own].shape != value.shape:
                return f"its {own!r} is {_shape(best.tensors[own])}, not {_shape(value)}"
            if best.tensors[own].is_floating_point() != value.is_floating_point() and not counts:
                return f"its {own!r} is {_kind(best.tensors[own])}, not {_kind(value)}"
            if own != names[0] and not torch.equal(best.tensors[own], best.tensors[names[0]]):
                return f"it has {name!r} twice, as {names[0]!r} and as {own!r}, with different values"
    used = {name for names in best.names.values() for name in names} | copied
    extra = (name for name in best.tensors if name not in used and not COMPANIONS.fullmatch(_plain(name)))
    name = next(extra, None)
    return name and f"the network has no {name!r} ({_shape(best.tensors[name])}){_nearest(name, needed)}"


def _equal(copy: _Set, weights: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(copy.tensors[names[0]], weights[name]) for name, names in copy.names.items())


# Words ---------------------------------------------------------------------------------------------------------


def _remarks(content: Any, best: _Set, copies: list[_Set]) -> Iterator[str]:
    if best.path:
        yield f"Read from {'.'.join(best.path)!r} in the file."
    pairs = [(own, name) for own, names in best.names.items() for name in names]
    between = {part for own, name in pairs for part in name.split(".") if part in WRAPPERS - {*own.split(".")}}
    taken = sorted(between | ({best.prefix} if best.prefix else set()))
    if taken:
        yield f"Taken off the names: {', '.join(repr(f'{part}.') for part in taken)}."
    if any(OLD_DENSENET.search(name) for _, name in pairs):
        yield "DenseNet's old names, such as 'norm.1', were read as 'norm1'."
    if left := [name for name in best.tensors if name not in {name for _, name in pairs}]:
        yield f"Left out, since they are no part of the network ({len(left)}): {_few(left)}."
    if copies:
        yield f"Left out, further copies of the weights: {', '.join(_place(copy) for copy in copies)}."
    if beside := [str(key) for key in content if isinstance(content, dict) and key != next(iter(best.path), None)]:
        beside = [key for key in beside if key not in best.tensors]
    if beside:
        yield f"Beside the weights, and not read: {_few(beside)}."


def _place(entry: _Set) -> str:
    return repr(".".join([*entry.path, *filter(None, [entry.prefix])]) or "the names without a prefix")


def _extent(tensors: Mapping[str, Tensor]) -> str:
    names = list(tensors)
    return f"{len(names)} tensors ({names[0]!r} to {names[-1]!r})"


def _nearest(name: str, others: Mapping[str, Tensor]) -> str:
    """The most similar names on the other side."""
    near = get_close_matches(name, others, 3, cutoff=0)
    return f", and nearest are {', '.join(f'{other!r} ({_shape(others[other])})' for other in near)}"


def _few(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _kind(tensor: Tensor) -> str:
    return "of fractions" if tensor.is_floating_point() else "of whole numbers"


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"
