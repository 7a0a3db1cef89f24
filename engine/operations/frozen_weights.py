"""What follows from frozen weights alone: made at its first use, and kept for the next image.

Part of what a network computes is the same for every image: batch norm's factor gamma / sqrt(var + eps), or the order
in which a convolution reads its weights (`engine.operations.prepacking`). It may be kept where nobody changes the
weights. So whoever loads a network for all to look at says so, with `FROZEN.mark`; a copy of it is not frozen. Of any
other network nothing is kept.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any, TypeVar
from weakref import WeakSet, finalize

from torch import Tensor, nn

Made = TypeVar("Made")
State = list[tuple[int, int]]
"""Of each source its version and its address."""

MOST_BYTES = 70_000_000
"""Of all that is kept; what has not been used for longest makes room."""


class FrozenWeights:
    """Tensors made from the weights of modules, `limit` bytes of them; any number of threads may ask for them."""

    def __init__(self, limit: int = MOST_BYTES) -> None:
        self.limit, self.bytes = limit, 0
        self._made: OrderedDict[tuple[int, str], tuple[State, Any, int]] = OrderedDict()
        self._frozen: WeakSet[nn.Module] = WeakSet()
        self._lock = RLock()

    def mark(self, model: nn.Module) -> None:
        """Keep what is made from the weights of `model` from now on: nobody will change them."""
        for module in model.modules():
            if module not in self._frozen:
                self._frozen.add(module)
                finalize(module, self._forget, id(module)).atexit = False

    def holds(self, module: nn.Module) -> bool:
        """Whether its weights stay as they are, and no hook changes what it computes."""
        changing = module._forward_pre_hooks or module._forward_hooks
        return not changing and module in self._frozen

    def derived(self, module: nn.Module, what: str, sources: Sequence[Tensor], make: Callable[[], Made]) -> Made:
        """What `make` gives, from the `sources` alone, which are weights of the `module`."""
        state = _state(sources) if self.holds(module) else None
        if state is None:
            return make()
        key = id(module), what
        with self._lock:
            found = self._made.get(key)
            if found is not None and found[0] == state:
                self._made.move_to_end(key)
                return found[1]
        made = make()
        self._keep(key, state, made, sum(source.nbytes for source in sources))
        return made

    def _keep(self, key: tuple[int, str], state: State, made: Any, size: int) -> None:
        with self._lock:
            self._drop(key)
            self._made[key] = state, made, size
            self.bytes += size
            while self.bytes > self.limit:
                self._drop(next(iter(self._made)))

    def _drop(self, key: tuple[int, str]) -> None:
        self.bytes -= self._made.pop(key, (None, None, 0))[2]

    def _forget(self, module: int) -> None:
        with self._lock:
            for key in [key for key in self._made if key[0] == module]:
                self._drop(key)


def _state(sources: Sequence[Tensor]) -> State | None:
    """None if one of them learns, or has no version.

    A change in place counts the version up; a conversion, to another precision say, puts other memory there.
    """
    state = []
    for source in sources:
        if source.requires_grad or source.is_inference():
            return None
        state.append((source._version, source.data_ptr()))
    return state


FROZEN = FrozenWeights()
