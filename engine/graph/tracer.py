"""Traces a network that others are using, without their noticing.

`torch.fx` writes down what a network's `forward` does by running it on a stand-in for the image. While it does so it
replaces methods of `nn.Module` for the whole process: forward passes in other threads run into that, and two traces at
once can leave it there for good. Here the network has a stand-in as well: modules of its own that share the network's
tensors, of classes whose calls and attributes go by way of the tracer. Nobody else's modules have such methods.

Beside each stand-in the tracer computes what it stands for, on a small image. So it knows every size that a `forward`
asks for, and (`engine.graph.memory`) which values share memory when one of them is overwritten.

Limits: no control flow that depends on pixel values.

Reference: Reed et al. (2022), "torch.fx: practical program capture and transformation".
"""

import inspect
import operator
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from types import MethodType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import Node
from torch.fx._symbolic_trace import _autowrap_check, _new_patcher, _patch_wrapped_functions
from torch.fx.node import map_aggregate, map_arg
from torch.fx.proxy import TraceError
from torch.overrides import TorchFunctionMode
from torchvision.models.feature_extraction import NodePathTracer

from engine.errors import ConvscopeError
from engine.graph.memory import SharedMemory
from engine.operations.base import Call, tensors_in

# `torch.fx.wrap` marks functions that are not to be looked into; a tracer replaces them where they are defined, by
# functions that do what they did unless they meet a stand-in. Two tracers must not put them back in the wrong order.
# This lock is held while a graph is traced, once for each; recording, playing back and optimising do not wait for it.
_WRAPPING = threading.Lock()

# What a tensor answers without looking at its values; its attributes are of this kind as well.
_ASKS_FOR_SIZE = (
    *("size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "get_device", "__len__", "type"),
    *("element_size", "is_complex", "is_floating_point", torch.is_complex, torch.is_floating_point, torch.numel),
)
_WATCHES_GRADIENTS = ("register_hook", "retain_grad")
"""What Grad-CAM adds to a `forward`; if it changes gradients as well, the check finds out."""
_ASK_FOR_TENSORS = ("torchvision.transforms.functional", "torchvision.transforms._functional_tensor")
"""Modules whose functions ask `isinstance(x, Tensor)`."""


def innermost(model: nn.Module) -> nn.Module:
    """The network inside PyTorch's own wrappers, such as `nn.DataParallel`."""
    name = _wrapped(model)
    return model if name is None else innermost(model.get_submodule(name))


def image_argument(model: nn.Module) -> str:
    """The name of the argument of `forward` that takes the image.

    Raises:
        ConvscopeError: it takes more than one argument that has no default.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    single = [parameter for parameter in parameters if parameter.kind not in (parameter.VAR_KEYWORD,)]
    needed = [parameter for parameter in single if parameter.default is parameter.empty]
    needed = [parameter for parameter in needed if parameter.kind is not parameter.VAR_POSITIONAL] or single[:1]
    if len(needed) != 1:
        what = f"{type(model).__name__} takes {len(needed)} inputs"
        raise ConvscopeError(f"{what}: use a network that takes one image.")
    return needed[0].name


def _wrapped(module: nn.Module) -> str | None:
    """The name that a wrapper of PyTorch's has for what is in it; None if `module` is no wrapper."""
    of_torch = type(module).__module__.startswith("torch.")
    return next((name for name in ("module", "_orig_mod") if of_torch and name in module._modules), None)


def _ignore(*_: Any) -> None: ...


class StandIn(fx.Proxy):
    """Stands for a value; `torch.fx` asks the tracer what it does not know."""

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", set_item, (self, index, value), {})

    def __getattr__(self, name: str) -> Any:
        if name in _WATCHES_GRADIENTS:
            return _ignore
        value = getattr(self.tracer.values[self.node], name)
        plain = self.tracer.sizes_as_numbers and not callable(value) and not tensors_in(value)
        return value if plain else super().__getattr__(name)

    def __len__(self) -> int:
        return len(list(self.tracer.iter(self)))

    def __int__(self) -> int:
        return int(self.tracer.number(self))

    def __float__(self) -> float:
        return float(self.tracer.number(self))

    __index__ = __int__


def _in_place(operation: Callable, name: str) -> Callable:
    """What `+=` and its like do to a stand-in; `name`: what torchvision calls the node."""

    def record(stand_in: StandIn, other: Any) -> Any:
        return stand_in.tracer.create_proxy("call_function", operation, (stand_in, other), {}, name)

    return record


for _name in ("add", "sub", "mul", "truediv", "floordiv", "pow"):
    setattr(StandIn, f"__i{_name}__", _in_place(getattr(operator, f"i{_name}"), _name))


def set_item(x: Tensor, index: Any, value: Any) -> Tensor:
    """`x[index] = value`, as an operation in place like others."""
    x[index] = value
    return x


def _check_no_relu_in(scripted: torch.jit.ScriptModule | torch.jit.ScriptFunction) -> None:
    """What was made by `torch.jit` counts as one operation, so that no rule could be applied to a ReLU in it."""
    if re.search("aten::(relu|hardtanh)", str(scripted.inlined_graph)):
        name = getattr(scripted, "original_name", None) or scripted.name
        raise ConvscopeError(f"{name!r} was made by torch.jit, and a ReLU in it is hidden: use it as it was before.")


def _is_instance(values: Mapping[Node, Any], value: Any, kinds: Any) -> bool:
    """`isinstance`, to which a stand-in is what it stands for."""
    return isinstance(value, kinds) or (isinstance(value, StandIn) and isinstance(values[value.node], kinds))


class StandInTracer(NodePathTracer):
    """Names nodes as torchvision does; `root` is the stand-in, `node_to_qualname` gives each node's name.

    Attributes:
        image: a small image that fits the network.
        sizes_as_numbers: whether a `forward` that asks for a size gets a number, which then stays the same in the
            graph, or another stand-in, with which it can do less.
        values: what each node computes for the image.
    """

    root: nn.Module

    def __init__(self, image: Tensor, sizes_as_numbers: bool) -> None:
        super().__init__()
        self.image, self.sizes_as_numbers = image, sizes_as_numbers
        self.values: dict[Node, Any] = {}
        self._of_pixels: set[Node] = set()
        self._memory = SharedMemory(self._add_node)
        self._made_up: dict[Tensor, Node] = {}

    @torch.no_grad()
    def trace(self, model: nn.Module) -> fx.Graph:
        """The graph of `model`, of which nothing is changed; raises what its `forward` raises on a stand-in image."""
        self.root = self._stand_in(model, {})
        self.root_module_name = type(model).__name__
        self.graph = fx.Graph(tracer_cls=type(self))
        self.submodule_paths = {module: name for name, module in self.root.named_modules()}
        self._wrappers = {
            f"{name}.{_wrapped(module)}".lstrip(".") for name, module in model.named_modules() if _wrapped(module)
        }
        self._model = model
        # Tensors that `forward` makes up become attributes of the stand-in, not of the model.
        self.tensor_attrs: dict[Any, str] = {}
        self._parameter_proxies: dict[str, fx.Proxy] = {}
        with _WRAPPING, _new_patcher() as self._patcher, _PixelsInMadeUpTensors(self):
            _patch_wrapped_functions(self._patcher)
            self._patcher.patch(vars(torch), "is_tensor", partial(_is_instance, self.values, kinds=Tensor))
            for module in filter(None, map(sys.modules.get, _ASK_FOR_TENSORS)):
                self._wrap_functions_in(vars(module))
            self._wrap_functions_in(getattr(type(model).forward, "__globals__", {}))
            image = self.create_proxy("placeholder", image_argument(innermost(model)), (), {})
            self.create_node("output", "output", (self.create_arg(self.root.forward(image)),), {})
        for node in self.graph.nodes:
            if node not in self.node_to_qualname:
                self.node_to_qualname[node] = self._free_name(node.name)
        self.values.clear()  # they would wait for the garbage collector
        return self.graph

    def _wrap_functions_in(self, names: dict[str, Any]) -> None:
        if id(names) not in self._patcher.visited and not names.get("__name__", "").startswith("torch."):
            self._patcher.patch(names, "isinstance", partial(_is_instance, self.values))
            scripted = (value for value in names.values() if isinstance(value, torch.jit.ScriptFunction))
            self._autowrap_function_ids.update(map(id, scripted))
        _autowrap_check(self._patcher, names, self._autowrap_function_ids)

    # Modules ---------------------------------------------------------------------------------------------------

    def _stand_in(self, module: nn.Module, made: dict[nn.Module, nn.Module]) -> nn.Module:
        if module not in made and isinstance(module, torch.jit.ScriptModule):
            _check_no_relu_in(module)
            made[module] = twin = object.__new__(self._class_of_stand_in(nn.Module, None))
            nn.Module.__init__(twin)
        elif module not in made:
            made[module] = twin = object.__new__(self._class_of_stand_in(type(module), _wrapped(module)))
            twin.__dict__.update(module.__dict__)
            children = module._modules.items()
            twin.__dict__["_modules"] = {name: child and self._stand_in(child, made) for name, child in children}
            twin.__dict__ |= {kind: dict(module.__dict__[kind]) for kind in ("_parameters", "_buffers")}
            forward = twin.__dict__.pop("forward", None)  # of this module alone, not of its class
            if isinstance(forward, MethodType) and not _wrapped(module):
                twin.__dict__["forward"] = MethodType(forward.__func__, twin)
        return made[module]

    def _class_of_stand_in(self, kind: type[nn.Module], wrapped: str | None) -> type[nn.Module]:
        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            self._wrap_functions_in(getattr(kind.forward, "__globals__", {}))
            if module not in self.submodule_paths:  # made by `forward`: a part of an nn.Sequential, say
                return kind.__call__(module, *args, **kwargs)
            return self.call_module(module, partial(kind.__call__, module), args, kwargs)

        def getattr_(module: nn.Module, name: str) -> Any:
            return self.getattr(name, kind.__getattr__(module, name), self._parameter_proxies)

        def forward_of_wrapper(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return module._modules[wrapped](*args, **kwargs)

        # `torch.fx` tells by a class's module whether it is one of torch.nn's, which are not looked into.
        members = {"__module__": kind.__module__, "__call__": call, "__getattr__": getattr_}
        if wrapped is not None:
            members["forward"] = forward_of_wrapper
        return type(kind.__name__, (kind,), members)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Of PyTorch's modules, those that hold no others; torchvision's transforms, which compute on pixels alone."""
        if type(m).__module__.startswith("torchvision.transforms."):
            return True
        holds_others = m._modules.keys() - {"parametrizations"} and not isinstance(m, nn.MultiheadAttention)
        return super().is_leaf_module(m, module_qualified_name) and not holds_others

    def _get_node_qualname(self, module_qualname: str, node: Node) -> str:
        """As torchvision has it, without the names that PyTorch's wrappers have for what is in them."""
        parts = module_qualname.split(".") if module_qualname else []
        paths = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
        kept = [part for part, path in zip(parts, paths, strict=True) if path not in self._wrappers]
        name = ".".join(kept if node.op == "call_module" and kept else [*kept, str(node)])
        return self._free_name(re.sub(r"(?<=.)_[0-9]+$", "", name))

    def _free_name(self, stem: str) -> str:
        """`stem`, or with the first number that makes it a new name."""
        names, taken = (f"{stem}_{index}" if index else stem for index in count()), self.node_to_qualname.values()
        return next(name for name in names if name not in taken)

    # Values ----------------------------------------------------------------------------------------------------

    def create_node(self, kind: str, target: Any, args: tuple, kwargs: dict, *names: Any) -> Node:
        """A node that reads what operations in place have left, and its value."""
        if not args and "input" in kwargs and target is not torch.where:  # relu(input=x)
            args, kwargs = (kwargs["input"],), {name: value for name, value in kwargs.items() if name != "input"}
        args, kwargs = map_arg((args, kwargs), self._memory.now)
        if isinstance(target, torch.jit.ScriptFunction):
            _check_no_relu_in(target)
        node = super().create_node(kind, target, args, kwargs, *names)
        if kind != "output":
            call = Call(node, self._model, vars(self.root))
            try:
                self.values[node] = value = self._compute(call)
            except Exception:  # `forward` may have something else in store
                self.graph.erase_node(node)
                raise
            node.meta["dimensions"] = tuple(tensor.dim() for tensor in tensors_in(value))
            asks = target in (getattr, *_ASKS_FOR_SIZE) and not tensors_in(value)
            if kind == "placeholder" or (not asks and not self._of_pixels.isdisjoint(node.all_input_nodes)):
                self._of_pixels.add(node)
            self._memory.add(node, call.function, value)
        return node

    def _compute(self, call: Call) -> Any:
        """What the network computes there, overwriting what it overwrites; but no tensor of its own."""
        node = call.node
        if node.op == "placeholder":
            return self.image.clone()
        if node.op == "get_attr":
            return call.copied_constant(node)
        args, kwargs = map_arg((node.args, node.kwargs), self.values.__getitem__)
        versions = [(tensor, tensor._version) for tensor in tensors_in([args, kwargs])]
        value = call.function(*args, **kwargs)
        written = [tensor for tensor, version in versions if tensor._version != version]
        node.meta["in_place"] = bool(written)
        if written and not any(tensor is args[0] for tensor in written):
            raise TypeError(f"{call.name} overwrites another tensor than its first")
        return value

    def _add_node(self, kind: str, target: Any, args: tuple, kwargs: dict, like: Node) -> Node:
        """A node for what has become of the value of `like`."""
        node = super().create_node(kind, target, args, kwargs)
        self.node_to_qualname[node] = self._get_node_qualname(self.current_module_qualname, node)
        self.values[node] = self.values[like]
        node.meta |= {"in_place": False, "dimensions": like.meta["dimensions"]}
        self._of_pixels.update([node] if not self._of_pixels.isdisjoint(node.all_input_nodes) else [])
        return node

    # What a `forward` asks -------------------------------------------------------------------------------------

    def proxy(self, node: Node) -> StandIn:
        """The stand-in for the value of `node`."""
        return StandIn(node, self)

    def create_proxy(self, kind: str, target: Any, args: tuple, kwargs: dict, *names: Any, **more: Any) -> Any:
        """A stand-in for what is computed; where sizes are numbers, whatever holds no tensor is itself."""
        if target == "__setitem__":  # of a tensor that `forward` makes up
            kind, target = "call_function", set_item
        stand_in = super().create_proxy(kind, target, args, kwargs, *names, **more)
        node = stand_in.node
        value = self.values[node]
        if not self.sizes_as_numbers or isinstance(value, Tensor):
            return stand_in
        if type(value) in (tuple, list) and tensors_in(value):
            return type(value)(stand_in[index] for index in range(len(value)))
        if tensors_in(value) or node in self._of_pixels:
            return stand_in
        self.graph.erase_node(node)
        del self.node_to_qualname[node]
        return value

    def create_arg(self, a: Any) -> Any:
        """What `a` is in the graph; a tensor that `forward` makes up has one node, since it may be overwritten."""
        if not isinstance(a, Tensor) or isinstance(a, nn.Parameter):
            return super().create_arg(a)
        if a not in self._made_up:
            if a._base is None or any(a is buffer for buffer in self.root.buffers()):
                self._made_up[a] = super().create_arg(a)
            else:
                where = a.size(), a.stride(), a.storage_offset()
                self._made_up[a] = self.create_node("call_method", "as_strided", (self.create_arg(a._base), *where), {})
        return self._made_up[a]

    def overwritten(self, value: Any) -> Any:
        """The stand-in for a tensor that `forward` has made up, if it holds pixels now; else `value` itself."""
        node = self._made_up.get(value) if isinstance(value, Tensor) else None
        return value if node is None or not self._memory.is_overwritten(node) else self.proxy(node)

    def number(self, stand_in: fx.Proxy) -> Any:
        """The value of a stand-in that `forward` needs now, to go on."""
        if stand_in.node in self._of_pixels:
            raise TraceError("computes with pixel values outside of tensors, or branches on them")
        if not self.sizes_as_numbers:
            raise TraceError("asks for a size")
        return self.values[stand_in.node]

    def to_bool(self, obj: fx.Proxy) -> bool:
        """For `if` and `assert`."""
        return bool(self.number(obj))

    def iter(self, obj: fx.Proxy) -> Iterator:
        """For loops: over the entries of a list; over a tensor only if its size is known."""
        value = self.values[obj.node]
        if isinstance(value, Tensor) and not self.sizes_as_numbers:
            raise TraceError("asks for a size")
        return iter([obj[index] for index in range(len(value))])


class _PixelsInMadeUpTensors(TorchFunctionMode):
    """A tensor that `forward` makes up (`zeros(x.size(0), 6)`) is a real one, until pixels are written into it."""

    def __init__(self, tracer: StandInTracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if all(self._tracer.overwritten(tensor) is tensor for tensor in tensors_in([args, kwargs])):
            return func(*args, **kwargs)
        swapped = map_aggregate((args, kwargs), self._tracer.overwritten)
        if func.__name__ != "__get__":
            return StandIn.__torch_function__(func, types, *swapped)
        value = func(*args)
        return getattr(swapped[0][0], func.__self__.__name__) if tensors_in(value) else value
