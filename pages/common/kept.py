"""Values that all sessions share, kept in memory as long as together they take no more than `BYTES`.

Streamlit's caches count entries: sixteen of LeNet take 25 MB, sixteen of a VGG-16 take 9 GB. Here networks, recorded
forward passes and playbacks share one limit in bytes. What was used least recently goes first; the newest value stays,
however large it is.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from threading import Lock
from typing import Any

import numpy as np
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from torch import Tensor, nn

BYTES = 160_000_000


class Kept:
    """Values by key, the least recently used first. Two sessions that ask for one value at once compute it once."""

    def __init__(self, most: int = BYTES) -> None:
        self._most = most
        self._values: OrderedDict[tuple[str, Hashable], tuple[Any, dict[int, int]]] = OrderedDict()
        self._lock = Lock()
        self._in_work: defaultdict[tuple[str, Hashable], Lock] = defaultdict(Lock)

    def get(self, key: tuple[str, Hashable], make: Callable[[], Any]) -> Any:
        """The value of `key`, which begins with its kind; if it is not kept, `make` computes it (or raises)."""
        with self._lock:
            in_work = self._in_work[key]
        try:
            with in_work:
                found = self._find(key)
                return self._keep(key, make()) if found is None else found[0]
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


def keep(spinner: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function whose first argument says all that its value depends on: its values are kept.

    Args:
        spinner: what the page says meanwhile.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def found(key: Hashable, *others: Any) -> Any:
            def make() -> Any:
                visited = get_script_run_ctx(suppress_warning=True)
                with st.spinner(spinner) if visited else nullcontext():
                    return function(key, *others)

            return _kept().get((function.__qualname__, key), make)

        found.__doc__ = function.__doc__
        found.clear = lambda: _kept().forget(function.__qualname__)
        return found

    return decorate


def memory(value: Any) -> dict[int, int]:
    """The bytes of each piece of memory that a value's tensors and arrays refer to, by its address."""
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()}
    if isinstance(value, np.ndarray):
        return {id(value): value.nbytes}
    return {place: taken for part in _parts(value) for place, taken in memory(part).items()}


def _parts(value: Any) -> Iterable[Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return (getattr(value, field.name) for field in fields(value))
    if isinstance(value, nn.Module):
        return value.state_dict().values()
    if isinstance(value, Mapping):
        return tuple(value.values())  # at once: a job may add one meanwhile
    return value if isinstance(value, tuple | list) else ()
