"""What every operation of a network must be able to say about itself.

An `Operation` is a kind of operation (convolution, ReLU ...), not one place in one network. It recognises the calls
in a traced network that are of its kind, and answers for each of them: what comes out and what its reversal will
need, which window of its input a unit reads, how many multiply-adds it costs, how its parameters are counted, and what
it is called. A `Call` is one such place. A `Record` is what is left of one call after a forward pass: enough to send a
signal back through it.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.fx import Node

from engine.operations.signals import Signals
from engine.operations.windows import HERE, Windows

Shape = tuple[int, ...]
Shapes = Mapping[Node, Shape]


@dataclass(frozen=True)
class Rules:
    """How to play a tape backwards; see `engine.deconv.reconstruct`, whose arguments these are."""

    batch_norm: bool = True
    relu: str = "deconvnet"
    weight_scale: float = 1.0
    switches: str = "recorded"


class Record:
    """What is kept of one call: no more than its reversal needs. A subclass defines one of the two reversals.

    `copies`: each input gets the whole signal, not a share of it.
    """

    copies: ClassVar[bool] = False

    def reverse(self, signal: Tensor, rules: Rules) -> tuple[Tensor, ...]:
        """What each input gets when `signal`, of the output's shape, arrives at the output."""
        raise NotImplementedError

    def reverse_windows(self, signals: Signals, rules: Rules) -> tuple[Signals, ...]:
        """The same of K signals, of which only windows may be kept; unless it is defined, `reverse` gets the maps.

        It is mapped over the signals, or gets one after the other where it cannot be mapped.
        """
        each = signals.everything()
        reverse = partial(self.reverse, rules=rules)
        if len(each) == 1:
            return tuple(Signals(part[None]) for part in reverse(each[0]))
        try:
            parts = torch.func.vmap(reverse, randomness="same")(each)
        except RuntimeError:
            parts = map(torch.stack, zip(*map(reverse, each), strict=True))
        return tuple(map(Signals, parts))

    def without_values(self) -> "Record":
        """The same record, without values that its reversal does not need."""
        return self


Recorded = tuple[Any, Record | None]
"""What an operation computes, and what its reversal needs; None if that is not known but by its derivative."""


@dataclass(frozen=True)
class Call:
    """One operation in one network, as the traced graph has it.

    Attributes:
        node: the graph's node; its arguments that are nodes stand for values that other operations compute.
        model: the network, which owns the module, if the node calls one.
        constants: tensors that the network's `forward` makes up, by the name the graph gives them.
        normalised: of a convolution, whether a batch norm alone reads it (directly or through dropout); of a batch
            norm, whether it alone reads a convolution.
    """

    node: Node
    model: nn.Module
    constants: Mapping[str, Any]
    normalised: bool = False

    @cached_property
    def module(self) -> nn.Module | None:
        """The module that is called; None if it is a function, a method or no call at all."""
        return operator.attrgetter(str(self.node.target))(self.model) if self.node.op == "call_module" else None

    @property
    def name(self) -> str:
        """The name of the module's class, of the function or of the method."""
        if self.module is not None:
            return type(self.module).__name__
        target = self.node.target
        return target if isinstance(target, str) else getattr(target, "__name__", "operation")

    @property
    def in_place(self) -> bool:
        """Whether it overwrites its first input, as it did when the network was traced."""
        return self.node.meta.get("in_place", False)

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Of each tensor that it gave when the network was traced; none, if that was a shape or a number."""
        return self.node.meta.get("dimensions", ())

    @property
    def function(self) -> Callable[..., Any]:
        """What the network calls here: it may overwrite its first input."""
        if self.node.op == "call_method":
            return partial(_call_method, str(self.node.target))
        return self.module or self.node.target

    def settings(self, names: Sequence[str], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> dict:
        """The settings `names`, which follow the input in a function's signature; those not passed are left out.

        Args:
            args, kwargs: the function's arguments behind the input, once they are computed; else as in the graph.
        """
        if self.module is not None:
            attributes = vars(self.module)
            return {name: attributes[name] for name in names if name in attributes}
        args, kwargs = (self.node.args[1:], self.node.kwargs) if kwargs is None else (args, kwargs)
        passed = dict(zip(names, args, strict=False)) | dict(kwargs)
        return {name: value for name, value in passed.items() if name in names}

    def constant(self, node: Node) -> Any:
        """The parameter, buffer or made-up tensor that a `get_attr` node reads."""
        target = str(node.target)
        return self.constants[target] if target in self.constants else operator.attrgetter(target)(self.model)

    def copied_constant(self, node: Node) -> Any:
        """The same, where the network's own operations follow: what they overwrite is a copy."""
        value = self.constant(node)
        return value.clone() if isinstance(value, Tensor) else value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the network computes here, without overwriting anything."""
        if self.in_place:
            lifted = [tensor.new_zeros(()) for tensor in tensors_in(args[1:]) if args[0].dtype == tensor.dtype]
            args = (sum(lifted, args[0].clone()), *args[1:])  # a copy of the first, and a function of them all
        return self.function(*args, **kwargs)


def _call_method(name: str, value: Any, /, *args: Any, **kwargs: Any) -> Any:
    return getattr(value, name)(*args, **kwargs)


class Operation:
    """A kind of operation; a subclass in this package is all that it takes to add one (see `engine.operations`).

    Attributes:
        modules, functions, methods: what in PyTorch is of this kind.
        linear: whether its derivative is the same at every input.
        keeps_places: whether each unit of the output reads the place where it is itself, and no other.
        ends_maps: whether what comes out is no feature map any more.
        words: what it is called on a page; empty: as PyTorch calls it.
    """

    modules: ClassVar[tuple[type[nn.Module], ...]] = ()
    functions: ClassVar[tuple[Callable, ...]] = ()
    methods: ClassVar[tuple[str, ...]] = ()
    linear: ClassVar[bool] = False
    keeps_places: ClassVar[bool] = False
    ends_maps: ClassVar[bool] = False
    words: ClassVar[str] = ""

    def recognises(self, call: Call) -> bool:
        """Whether the call is of this kind."""
        if call.module is not None:
            return isinstance(call.module, self.modules)
        return call.node.target in (self.methods if call.node.op == "call_method" else self.functions)

    # Forward and backward --------------------------------------------------------------------------------------

    def run(self, call: Call, *args: Any, **kwargs: Any) -> Any:
        """What it computes from its arguments, none of which it overwrites."""
        return call(*args, **kwargs)

    def record(self, call: Call, *args: Any, **kwargs: Any) -> Recorded:
        """What it computes, and what its reversal needs.

        None instead of a record: it is reversed by its vector-Jacobian product, like any operation that is not known.
        """
        return self.run(call, *args, **kwargs), None

    def is_linear(self, call: Call, inputs: Sequence[Node]) -> bool:
        """Whether its derivative by `inputs`, which are some of those that it reads, is the same everywhere."""
        return self.linear

    def output(self, value: Any) -> Any:
        """The tensor that is its output, of what it computes."""
        return value

    # The table of the network ----------------------------------------------------------------------------------

    def window(self, call: Call) -> Windows | None:
        """What a unit of its output reads, down and across; None for everything that there is."""
        return HERE if self.keeps_places else None

    def multiply_adds(self, call: Call, shapes: Shapes) -> int:
        """Products that it sums, for inputs and an output of these shapes."""
        return 0

    def parameters(self, call: Call) -> Iterable[nn.Parameter]:
        """What it learns."""
        return () if call.module is None else call.module.parameters()

    def arithmetic(self, call: Call, parameters: Sequence[nn.Parameter], shapes: Shapes) -> str:
        """How many numbers `parameters` hold, written as in a paper: "5 × 5 × 3 × 32 + 32"."""
        return " + ".join(product_in_words(parameter.shape) for parameter in parameters)

    def title(self, call: Call, shapes: Shapes) -> str:
        """What it is called on a page; its parts are divided by ", "."""
        return self.words or call.name.strip("_").replace("_", " ")


def product_in_words(factors: Iterable[int]) -> str:
    """(5, 5, 3) as "5 × 5 × 3"."""
    return " × ".join(map(str, factors))


def inner_product(signal: Tensor, tensor: Tensor) -> Tensor:
    """<signal, tensor>, one real number, whose gradient by `tensor` is `signal`.

    `torch.autograd.grad` takes signals too, but first imports a library of symbolic algebra to compare their shapes.
    """
    with torch.enable_grad():
        return (signal.conj() * tensor).real.sum()


def is_differentiable(value: Any) -> bool:
    """Whether it is a tensor of real or complex numbers."""
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a tensor, or in lists and mappings of them."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]
