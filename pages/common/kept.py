"""Values that all sessions share, kept in memory as long as together they take no more than `BYTES`.

Streamlit's caches count entries: sixteen of LeNet take 25 MB, sixteen of a VGG-16 take 9 GB. Here networks, recorded
forward passes, playbacks and what is drawn of them share one limit in bytes. What was used least recently goes first;
the newest value stays, however large it is.
"""

import inspect
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from itertools import compress
from threading import Lock
from typing import Any

import numpy as np
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from torch import Tensor, nn

BYTES = 120_000_000


class Kept:
    """Values by key, the least recently used first. Two sessions that ask for one value at once compute it once."""

    def __init__(self, most: int = BYTES) -> None:
        self._most = most
        self._values: OrderedDict[tuple[str, Hashable], tuple[Any, dict[int, int]]] = OrderedDict()
        self._lock = Lock()
        self._in_work: defaultdict[tuple[str, Hashable], Lock] = defaultdict(Lock)

    def get(
        self,
        key: tuple[str, Hashable],
        make: Callable[[], Any],
        meanwhile: Callable[[], AbstractContextManager] = nullcontext,
    ) -> Any:
        """The value of `key`, which begins with its kind; if it is not kept, `make` computes it (or raises).

        Args:
            meanwhile: what is shown while it is computed. A click ends the run as that goes: then the value is kept.
        """
        with self._lock:
            in_work = self._in_work[key]
        try:
            with in_work:
                found = self._find(key)
                if found is not None:
                    return found[0]
                with meanwhile():
                    return self._keep(key, make())
        finally:
            with self._lock:
                self._in_work.pop(key, None)

    def _find(self, key: tuple[str, Hashable]) -> tuple[Any, dict[int, int]] | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def _keep(self, key: tuple[str, Hashable], value: Any) -> Any:
        with self._lock:
            self._values[key] = value, memory(value)
            while self.bytes > self._most and len(self._values) > 1:
                self._values.popitem(last=False)
        return value

    def forget(self, kind: str) -> None:
        """Drop all values whose key begins with `kind`."""
        with self._lock:
            for key in [key for key in self._values if key[0] == kind]:
                del self._values[key]

    @property
    def bytes(self) -> int:
        """What all values take together; what two of them share, as a network and its tapes, counts once."""
        return sum({place: taken for _, each in self._values.values() for place, taken in each.items()}.values())


@st.cache_resource(show_spinner=False)
def _kept() -> Kept:
    return Kept()


def keep(spinner: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function: its values are kept by its arguments, but for those whose names begin with an underscore.

    Args:
        spinner: what the page says meanwhile, if anything.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        name = f"{function.__module__}.{function.__qualname__}"
        in_key = [not argument.startswith("_") for argument in inspect.signature(function).parameters]

        def meanwhile() -> AbstractContextManager:
            visited = get_script_run_ctx(suppress_warning=True)
            return st.spinner(spinner) if spinner and visited else nullcontext()

        def found(*arguments: Any) -> Any:
            key = name, tuple(compress(arguments, in_key))
            return _kept().get(key, lambda: function(*arguments), meanwhile)

        found.__doc__ = function.__doc__
        found.clear = lambda: _kept().forget(name)
        return found

    return decorate


def memory(value: Any) -> dict[int, int]:
    """The bytes of each piece of memory that a value's tensors, arrays and files refer to, by its address."""
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()}
    if isinstance(value, np.ndarray):
        return {id(value): value.nbytes}
    if isinstance(value, bytes):
        return {id(value): len(value)}
    return {place: taken for part in _parts(value) for place, taken in memory(part).items()}


def _parts(value: Any) -> Iterable[Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return (getattr(value, field.name) for field in fields(value))
    if isinstance(value, nn.Module):
        return value.state_dict().values()
    if isinstance(value, Mapping):
        return tuple(value.values())  # at once: a job may add one meanwhile
    return value if isinstance(value, tuple | list) else ()
