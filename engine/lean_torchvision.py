"""Torchvision without the compiler: import this module before anything that imports torchvision.

One function of `torchvision.ops` asks `torch._dynamo`, the front of `torch.compile`, a question when it is called. To
have that answer at hand, torchvision imports all of the compiler: more than a second, and 150 MB, before a server can
show its first page. Here the question waits until somebody asks it. The compiler itself stays as it is: whoever needs
it imports it then, as PyTorch's optimisers do before their first step.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
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


with _compiler_postponed():
    import torchvision  # noqa: F401
