"""Who sees what an operation in place has overwritten: everybody whose value shares the memory.

`relu_` overwrites its input, and with it whatever is only another view of that: the input of an identity, the map that
a slice was cut from, the other chunks. A graph knows values, no memory. So after an operation in place each node that
shares the memory gets a successor, made without overwriting anything, which later operations read in its place:

    the same units (an identity before it)     the operation in place itself
    the tensor that the memory was made for    a copy of it with the new values in their place
    another view of it                         the same view of that copy

Two values share memory if they do on the image that the network is traced with.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from engine.operations.base import tensors_in

Place = tuple[Any, ...]
"""Which part of its memory a value is."""
AddNode = Callable[..., Node]


@dataclass
class _Memory:
    """What one tensor was made in: `base` is the first node that held it, `writes` the operations in place since.

    `newest` maps a place to the node that holds what is there, and how many of the writes that includes.
    """

    base: Node
    writes: list[Node] = field(default_factory=list)
    newest: dict[Place, tuple[Node, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _View:
    """A node's value in its memory, after so many `writes`.

    `path`: the operations that make it of its base, None if that is not known; `function`: the last of them.
    """

    memory: _Memory
    place: Place
    path: tuple[Node, ...] | None
    writes: int
    function: Callable


class SharedMemory:
    """Follows the values of a network while it is traced.

    Args:
        add_node: adds a node (kind, target, args, kwargs, like): `like` is the node whose successor it is.
    """

    def __init__(self, add_node: AddNode) -> None:
        self._add_node = add_node
        self._memories: dict[int, _Memory] = {}
        self._views: dict[Node, _View] = {}

    def add(self, node: Node, function: Callable, value: Any) -> None:
        """Note a new node and its value, of which `node.meta["in_place"]` says whether it was written in place."""
        tensors = tensors_in(value)
        storages = {tensor.untyped_storage()._cdata for tensor in tensors}
        if len(storages) != 1:
            return
        memory = self._memories.setdefault(storages.pop(), _Memory(node))
        source = next(
            (view for view in map(self._views.get, node.all_input_nodes) if view and view.memory is memory), None
        )
        path = source.path if source else () if node is memory.base else None
        if node.meta.get("in_place"):
            memory.writes.append(node)
        elif source and path is not None:
            path = (*path, node)
        self._note(node, _View(memory, tuple(map(_place, tensors)), path, len(memory.writes), function))

    def now(self, node: Node) -> Node:
        """The node that holds what the value of `node` has become."""
        view = self._views.get(node)
        if view is None or view.writes == len(view.memory.writes):
            return node
        memory = view.memory
        newest, included = memory.newest[view.place]
        late = memory.writes[included:]
        if late and view.place == self._views[memory.base].place:
            for write in late:
                newest = self._overwrite(newest, self._views[write], write)
        elif late:
            newest = self._view_again(view)
        self._note(newest, replace(view, writes=len(memory.writes)))
        return newest

    def is_overwritten(self, node: Node) -> bool:
        """Whether anything that shares memory with the value of `node` was overwritten."""
        view = self._views.get(node)
        return view is not None and bool(view.memory.writes)

    def _note(self, node: Node, view: _View) -> None:
        self._views[node] = view
        view.memory.newest[view.place] = node, view.writes

    def _view_again(self, view: _View) -> Node:
        newest = self.now(view.memory.base)
        for step in _known(view.path):
            read = partial(self._outside, view.memory, newest)
            newest = self._add_node(step.op, step.target, *map_arg((step.args, step.kwargs), read), step)
        return newest

    def _outside(self, memory: _Memory, inside: Node, source: Node) -> Node:
        """`source`, or `inside` if it is in `memory`."""
        return inside if source in self._views and self._views[source].memory is memory else source

    def _overwrite(self, whole: Node, part: _View, written: Node) -> Node:
        base = part.memory.base
        steps = [(step, self._views[step].function) for step in _known(part.path)]
        read = {self._outside(part.memory, base, source) for step, _ in steps for source in step.all_input_nodes}
        others = tuple(read - {base})

        def overwrite(before: Tensor, values: Tensor, *others_read: Any) -> Tensor:
            places = torch.arange(before.numel(), device=before.device).reshape(before.shape)
            known = dict(zip(others, others_read, strict=True))
            for step, function in steps:  # which units the part holds: the same view of their numbers
                args, kwargs = map_arg((step.args, step.kwargs), lambda source, part=places: known.get(source, part))
                places = function(*args, **kwargs)
            return before.flatten().scatter(0, places.flatten(), values.flatten()).reshape(before.shape)

        return self._add_node("call_function", overwrite, (whole, written, *others), {}, base)


def _known(path: tuple[Node, ...] | None) -> tuple[Node, ...]:
    if path is None:
        raise TypeError("an operation in place overwrites memory that is shared in an unknown way")
    return path


def _place(tensor: Tensor) -> tuple:
    return tensor.dtype, tensor.storage_offset(), tensor.shape, tensor.stride()
