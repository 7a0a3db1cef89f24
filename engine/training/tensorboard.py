"""The curves and the filters for TensorBoard: `tensorboard --logdir runs` shows all runs side by side.

Per epoch: loss and accuracy of training and validation images, the learning rate, and the first layer's filters as
one picture. Each process writes an event file of its own, which begins with the last whole epoch and replaces whatever
a killed one has written from there on (`purge_step`).
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from engine import pictures
from engine.training.records import EpochRecord, RunProgress

COLUMNS = 8
SIDE = 40
"""The side in pixels that a filter is enlarged to, at least."""


class Board:
    """The event file of one process; a full disk costs the curves but not the run."""

    def __init__(self, folder: Path, progress: RunProgress) -> None:
        # TensorBoard takes a third of a second to import, so only a process that trains does.
        from torch.utils.tensorboard import SummaryWriter

        self.writer = None
        with suppress(OSError):
            self.writer = SummaryWriter(str(folder), purge_step=progress.epoch, flush_secs=5)
        self.add(progress)

    def add(self, progress: RunProgress) -> None:
        """The epoch that was done last, or what there is before the first."""
        if self.writer is None:
            return
        with suppress(OSError):
            for record in progress.history[-1:]:
                for name, value in _figures(record).items():
                    self.writer.add_scalar(name, value, record.epoch)
            picture = filter_grid(progress.filters[-1])
            self.writer.add_image("filters", picture, progress.epoch, dataformats="HWC")
            self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            with suppress(OSError):
                self.writer.close()


def _figures(record: EpochRecord) -> dict[str, float]:
    losses = {"loss/train": record.train_loss, "loss/validation": record.val_loss}
    accuracies = {"accuracy/train": record.train_accuracy, "accuracy/validation": record.val_accuracy}
    return {**losses, **accuracies, "learning_rate": record.learning_rate}


def filter_grid(filters: np.ndarray) -> np.ndarray:
    """uint8 RGB `[H, W, 3]`: kernels `[O, 3, k, k]` as pictures on one scale, zero as mid-grey."""
    kernels = torch.from_numpy(filters.astype(np.float32))
    tiles = pictures.enlarged(pictures.signed(kernels, pictures.scale_of(kernels)), SIDE)
    return pictures.sheet(tiles, COLUMNS, gap=4)[..., :3]
