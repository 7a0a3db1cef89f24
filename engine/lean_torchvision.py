"""Torchvision without the compiler, whoever in the process is the first to import it.

One function of `torchvision.ops` asks `torch._dynamo`, the front of `torch.compile`, a question when it is called. To
have that answer at hand, torchvision imports all of the compiler: one to three seconds, and 150 MB, before a server can
show its first page or a command begins. Here the question waits until somebody asks it. The compiler itself stays as it
is: whoever needs it imports it then.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
UTILITIES = f"{COMPILER}.utils"


@contextmanager
def _compiler_postponed() -> Iterator[None]:
    """Meanwhile the compiler's modules are empty ones; whatever is asked of them but the one question loads it."""
    if COMPILER in sys.modules:
        yield
        return
    package, utilities = ModuleType(COMPILER), ModuleType(UTILITIES)
    package.__path__ = []
    for module in (package, utilities):
        module.__getattr__ = partial(_of_the_compiler, module.__name__)
    utilities.is_compile_supported = _is_compile_supported
    sys.modules |= {COMPILER: package, UTILITIES: utilities}
    try:
        yield
    finally:
        for name, module in ((COMPILER, package), (UTILITIES, utilities)):
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _is_compile_supported(device: str) -> Any:
    return _loaded(UTILITIES).is_compile_supported(device)


def _of_the_compiler(module: str, name: str) -> Any:
    if name.startswith("__"):  # asked by whoever looks through all modules
        raise AttributeError(name)
    return getattr(_loaded(module), name)


def _loaded(name: str) -> ModuleType:
    """The compiler's own module."""
    for each in (COMPILER, UTILITIES):
        if getattr(sys.modules.get(each), "__spec__", None) is None:
            sys.modules.pop(each, None)
    return importlib.import_module(name)


class _Finder(MetaPathFinder):
    """Finds torchvision as Python does, and postpones the compiler while it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == "torchvision" else None
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = partial(_imported, spec.loader.exec_module)
        return spec


def _imported(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    with _compiler_postponed():
        execute(module)


def postpone_compiler() -> None:
    """From now on; without effect on a torchvision that is imported already."""
    sys.meta_path.insert(0, _Finder())
