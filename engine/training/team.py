"""Several processes train one network: each computes its share of every batch, and all take the same step.

    torchrun --nproc_per_node=2 -m engine.training RECIPE

(`--run` is also an option of torchrun's, which takes it for its own: choose the folder with `--runs`.)

A batch's loss is a mean over its images, so its gradient is the mean of the gradients of equal shares of the batch:

    d/dw  1/B sum_b loss_b  =  1/P sum_p  ( d/dw  P/B sum_{b in share p} loss_b )

PyTorch's DistributedDataParallel takes the mean over the P processes while the backward pass goes on. Order and
augmentation of the batch are drawn whole by every process from the same (seed, epoch), so P processes follow one
process up to rounding, with two exceptions:

- Batch norm takes mean and variance of a process's own share, B / P images, so its training is noisier, and another
  one than that of a single process; the running statistics that are kept are those of process 0. PyTorch's
  SyncBatchNorm would take them over all shares, but works on CUDA only, and is not used here.
- Dropout silences other maps in each process.

Process 0 leads: it alone has the run's folder, measures the network, listens to commands and writes. The others get
from it what they need, and keep nothing. On CPU the processes talk through gloo, on CUDA through NCCL (written, but
nobody has run it with several GPUs yet).

Reference: Li et al. (2020), "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engine.errors import ConvscopeError
from engine.training.run import RunFolder

PATIENCE = timedelta(days=7)
"""How long a process waits for the others: a run may be paused over the weekend."""
STRENGTH = (None, "resume", "pause", "next_phase", "stop")
"""Commands from the weakest to the strongest."""


@dataclass(frozen=True)
class Team:
    """This process among the `size` ones that train together; `local_rank` counts those on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of `count` images of a batch are this process's.

        Raises:
            ConvscopeError: they cannot be shared out equally.
        """
        if count % self.size:
            raise ConvscopeError(
                f"A batch of {count} images cannot be shared out equally to {self.size} processes: "
                f"choose a batch_size that {self.size} divides."
            )
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """`model`, so that its backward pass averages the gradients of all processes."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over the processes."""
        if self.size > 1:
            dist.all_reduce(values, dist.ReduceOp.SUM)
            values /= self.size
        return values

    def strongest(self, command: str | None) -> str | None:
        """The strongest command that any of the processes has received."""
        if self.size == 1:
            return command
        strength = torch.tensor(STRENGTH.index(command))
        dist.all_reduce(strength, dist.ReduceOp.MAX)
        return STRENGTH[int(strength)]

    def from_leader(self, make: Callable[[], Any]) -> Any:
        """The result of `make`, which process 0 alone calls and sends to the others."""
        if self.size == 1:
            return make()
        box = [make() if self.leads else None]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


ALONE = Team()


@contextmanager
def joined(device: str) -> Iterator[Team]:
    """The processes that `torchrun` has started, this one among them; `ALONE` without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield Team(dist.get_rank(), size, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        dist.destroy_process_group()


class ScratchFolder(RunFolder):
    """What a process that does not lead has in place of the run's folder: nothing is kept there."""

    def save(self, state: object, progress: object) -> None:
        """Do nothing: process 0 keeps the state."""

    def save_weights(self, epoch: int, weights: object) -> None:
        """Do nothing: process 0 keeps the weights after some of the epochs."""

    def save_best(self, best: object) -> None:
        """Do nothing: process 0 keeps the best weights."""
