"""The batches of one epoch: shuffled, cropped, mirrored, and with a hole, whole batches at a time.

Order and augmentation are drawn from a generator that is seeded with (seed, epoch) alone. An epoch that is trained
again after a kill sees exactly the same batches, so resuming needs no random state on disk.

All images lie in memory as one uint8 array with mirrored borders. A crop is then a matter of indices: for image i,
row r and column c, take `padded[i, top_i + r, left_i + c]`, with the columns counted backwards to mirror it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.data import LabelledImages, prepare
from engine.training.recipe import Recipe
from engine.training.team import ALONE, Team


def generator(seed: int, epoch: int) -> torch.Generator:
    """Random numbers that depend on (seed, epoch) and nothing else."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


class Batches:
    """The training images on `device`, ready to be drawn from.

    Args:
        data: uint8 images `[N, H, W, 3]` and labels `[N]`.
        team: the processes that train together; this one draws whole batches, and yields its own share of each.

    Raises:
        ConvscopeError: the batches cannot be shared out equally.
    """

    def __init__(self, data: LabelledImages, recipe: Recipe, device: torch.device, team: Team = ALONE) -> None:
        images = torch.from_numpy(data.images)
        self.height, self.width = images.shape[1:3]
        self.padded = _mirror_borders(images, recipe.crop_padding).to(device)
        self.labels = torch.from_numpy(data.labels).to(device)
        self.recipe = recipe
        self.device = device
        self.share = team.share(min(recipe.batch_size, len(self.labels)))

    def __len__(self) -> int:
        """Batches per epoch. A last, incomplete batch is dropped: batch norm cannot learn from a single image."""
        return max(1, len(self.labels) // self.recipe.batch_size)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 `[B, H, W, 3]` and labels `[B]` of epoch `number` (the first is 0), this process's share."""
        random = generator(self.recipe.seed, number)
        order = torch.randperm(len(self.labels), generator=random).to(self.device)
        for start in range(0, len(self) * self.recipe.batch_size, self.recipe.batch_size):
            indices = order[start : start + self.recipe.batch_size]
            yield self._augmented(indices, random, self.share), self.labels[indices[self.share]]

    def network_input(self, batch: Tensor, pixels: int) -> Tensor:
        """What the network is fed with at a side of `pixels`, of a batch that `epoch` gave."""
        return prepare(batch, pixels, *self.recipe.statistics)

    def _augmented(self, indices: Tensor, random: torch.Generator, share: slice) -> Tensor:
        rows = self._offsets(len(indices), random) + torch.arange(self.height)
        columns = self._offsets(len(indices), random) + torch.arange(self.width)
        if self.recipe.flip:
            mirrored = torch.randint(2, (len(indices), 1), generator=random).bool()
            columns = torch.where(mirrored, columns.flip(1), columns)
        hole = self._hole(len(indices), random) if self.recipe.cutout else None
        # Random numbers are drawn for the whole batch, pixels are moved for the share of one process only.
        rows, columns = rows[share].to(self.device), columns[share].to(self.device)
        images = self.padded[indices[share, None, None], rows[:, :, None], columns[:, None, :]]
        return images if hole is None else images.masked_fill_(hole[share].to(self.device), 122)

    def _offsets(self, count: int, random: torch.Generator) -> Tensor:
        return torch.randint(2 * self.recipe.crop_padding + 1, (count, 1), generator=random)

    def _hole(self, count: int, random: torch.Generator) -> Tensor:
        """bool `[B, H, W, 1]`: a square around a random pixel of each image (DeVries & Taylor 2017, cutout)."""
        rows = self._near_random_centre(count, self.height, random)
        columns = self._near_random_centre(count, self.width, random)
        return (rows[:, :, None] & columns[:, None, :])[..., None]

    def _near_random_centre(self, count: int, side: int, random: torch.Generator) -> Tensor:
        distance = torch.arange(side) - torch.randint(side, (count, 1), generator=random)
        half = self.recipe.cutout // 2
        return (distance >= -half) & (distance < self.recipe.cutout - half)


def _mirror_borders(images: Tensor, padding: int) -> Tensor:
    """uint8 `[N, H, W, 3]` with `padding` mirrored pixels on each side."""
    if padding == 0:
        return images
    rows = _mirrored_indices(images.shape[1], padding)
    columns = _mirrored_indices(images.shape[2], padding)
    return images[:, rows][:, :, columns]


def _mirrored_indices(side: int, padding: int) -> Tensor:
    line = torch.arange(side, dtype=torch.float32).view(1, 1, -1)
    return F.pad(line, (padding, padding), mode="reflect").flatten().long()
