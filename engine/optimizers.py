"""PyTorch's optimizers, which take their first step without PyTorch's compiler.

`torch.optim` marks its methods as none to be compiled. The marks load all of the compiler, even where nothing is
compiled: seconds for whoever waits for the first picture or for the first step of a training, and 100 MB of memory in
each process. These are the same classes with the same methods, less the marks; their states are PyTorch's own.
"""

from inspect import unwrap

import torch
from torch import optim
from torch.optim import Optimizer

_MARKED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def _unmarked(kind: type[Optimizer]) -> type[Optimizer]:
    """`kind` with its methods as they are written, and no gradients taken in its steps."""
    methods = {name: unwrap(getattr(kind, name)) for name in _MARKED}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(unwrap(kind.step))})


SGD, Adam, AdamW = map(_unmarked, (optim.SGD, optim.Adam, optim.AdamW))
