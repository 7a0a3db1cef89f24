"""Traces a network that others are using, without their noticing.

`torch.fx` writes down what a network's `forward` does by running it on a stand-in for the image. While it does so it
replaces methods of `nn.Module` for the whole process: forward passes in other threads run into that, and two traces at
once can leave it there for good. Here the network has a stand-in as well: modules of its own that share the network's
tensors, of classes whose calls and attributes go by way of the tracer. Nobody else's modules have such methods.

Limits: those of `torch.fx` (no control flow that depends on pixel values).

Reference: Reed et al. (2022), "torch.fx: practical program capture and transformation".
"""

import threading
from functools import partial
from typing import Any

from torch import fx, nn
from torch.fx._symbolic_trace import _autowrap_check, _new_patcher, _patch_wrapped_functions
from torchvision.models.feature_extraction import NodePathTracer

# `torch.fx.wrap` marks functions that are not to be looked into; a tracer replaces them where they are defined, by
# functions that do what they did unless they meet a stand-in. Two tracers must not put them back in the wrong order.
# This is the engine's only lock, taken once per model: recording, playing back and optimising take none.
_WRAPPING = threading.Lock()


class StandInTracer(NodePathTracer):
    """Names nodes as torchvision does; `root` is the stand-in, `node_to_qualname` gives each node's name."""

    root: nn.Module

    def trace(self, model: nn.Module) -> fx.Graph:
        """The graph of `model`, of which nothing is changed; raises what its `forward` raises on a stand-in image."""
        self.root = self._stand_in(model, {})
        self.root_module_name = type(model).__name__
        self.graph = fx.Graph(tracer_cls=type(self))
        self.submodule_paths = {module: name for name, module in self.root.named_modules()}
        # Tensors that `forward` makes up become attributes of the stand-in, not of the model.
        self.tensor_attrs: dict[Any, str] = {}
        self._parameter_proxies: dict[str, fx.Proxy] = {}
        forward, args = self.create_args_for_root(type(model).forward, True)
        with _WRAPPING, _new_patcher() as self._patcher:
            _patch_wrapped_functions(self._patcher)
            self._wrap_functions_in(forward.__globals__)
            self.create_node("output", "output", (self.create_arg(forward(*args)),), {})
        return self.graph

    def _wrap_functions_in(self, names: dict[str, Any]) -> None:
        _autowrap_check(self._patcher, names, self._autowrap_function_ids)

    def _stand_in(self, module: nn.Module, made: dict[nn.Module, nn.Module]) -> nn.Module:
        if module not in made:
            made[module] = twin = object.__new__(self._class_of_stand_in(type(module)))
            twin.__dict__.update(module.__dict__)
            children = module._modules.items()
            twin.__dict__["_modules"] = {name: child and self._stand_in(child, made) for name, child in children}
        return made[module]

    def _class_of_stand_in(self, kind: type[nn.Module]) -> type[nn.Module]:
        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            self._wrap_functions_in(getattr(kind.forward, "__globals__", {}))
            return self.call_module(module, partial(kind.__call__, module), args, kwargs)

        def getattr_(module: nn.Module, name: str) -> Any:
            return self.getattr(name, kind.__getattr__(module, name), self._parameter_proxies)

        # `torch.fx` tells by a class's module whether it is one of torch.nn's, which are not looked into.
        return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__call__": call, "__getattr__": getattr_})
