"""Random weights that follow from a seed alone, whatever other threads do.

PyTorch's modules draw their first weights from one generator that the whole process shares. Between the seeding and the
last draw nobody else may use it: who draws from it, and who seeds it, holds a lock meanwhile.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch's shared generator is this thread's and begins at `seed`; afterwards it is as it was before."""
    with _lock, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
