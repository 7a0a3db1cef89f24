"""Kernels: as pictures, over training time, and in words.

A kernel of the first layer has one weight per pixel and colour, so it can be drawn as a small picture of what it
responds to. Weights can be negative: zero is drawn as mid-grey, on a symmetric scale, per filter (what does it look
like?) or for all filters together (which are strong?). A deeper kernel has one such picture per channel of the layer
before.

What a filter responds to can also be measured. A grating is a pattern of parallel stripes

    g(x, y) = c * cos(2 pi f (x cos(theta) + y sin(theta)) - phi)

with frequency f (stripes per pixel), wave direction theta, phase phi and colour c (|c| = 1). The kernel's response to
it is a projection on its Fourier transform. Let W(f, theta) be the transform of each colour, a 3 x 2 matrix of real and
imaginary parts: the largest response over all phases and colours is W's largest singular value, the best colour is the
left singular vector, and the right one says how much of the best grating is even (a line through the kernel's middle)
and how much odd (an edge there). The grating with the largest response is the preferred one. The kernel's mean
colour is its response to a flat area; it is subtracted first.

Limits: a filter of 3 x 3 pixels cannot be tuned sharply; noise has a best grating as well. So a filter has a preference
only if its best single stimulus (a flat area, or a grating) explains more of it than of 95 in 100 kernels of random
numbers of the same size, and an orientation only if its response depends on the direction.

References: Ringach, Shapley & Shawley (2002), "Orientation selectivity in macaque V1", equation 1 (selectivity);
Zeiler & Fergus (2014), section 4.1 (what first-layer filters look like); Krizhevsky et al. (2012), figure 3.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engine import settings
from engine.errors import ConvscopeError
from engine.filters.words import Description, Preference, in_words
from engine.graph import trace
from engine.operations import Convolution
from engine.stored import read_arrays

DIRECTIONS = 36
FREQUENCIES = 24
RANDOM_KERNELS = 400
NOISE_QUANTILE = 0.95
"""A filter's best stimulus must explain more of it than of this share of random kernels."""


# Which kernels -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshots:
    """The first layer's kernels during training: `kernels` `[S, O, 3, k, k]` at the ends of `epochs` `[S]`."""

    kernels: Tensor = field(repr=False)
    epochs: tuple[int, ...]

    @property
    def halfway(self) -> int:
        """The index of the snapshot nearest to the middle of training."""
        middle = (self.epochs[0] + self.epochs[-1]) / 2
        return min(range(len(self.epochs)), key=lambda index: abs(self.epochs[index] - middle))

    def index_after(self, epoch: int) -> int:
        """The index of the snapshot after `epoch` epochs; of the last one if none was kept then."""
        return self.epochs.index(epoch) if epoch in self.epochs else len(self.epochs) - 1

    @property
    def moments(self) -> dict[str, int]:
        """The index of the snapshot before, halfway through and after training; a short training has none halfway."""
        names = {self.halfway: "halfway", 0: "before training", len(self.epochs) - 1: "after training"}
        return {names[index]: index for index in sorted(names)}


def snapshots(name: str, folder: Path | None = None) -> Snapshots:
    """The kernels that were kept while checkpoint `name` was trained; epoch 0 is before training.

    Raises:
        ConvscopeError: filters.npz is missing or damaged.
    """
    try:
        stored = read_arrays((folder or settings.folders.checkpoints) / name / "filters.npz")
        if stored["filters"].dtype.kind != "f" or stored["epochs"].dtype.kind not in "iu":
            raise ValueError("they are no numbers")
        kernels = torch.from_numpy(stored["filters"].astype(np.float32))
        epochs = tuple(int(epoch) for epoch in stored["epochs"])
        if kernels.dim() != 5 or len(epochs) != len(kernels) or not epochs:
            raise ValueError("shapes")
    except Exception as error:  # a damaged archive shows itself as a zip, zlib, value, key or end-of-file error
        raise ConvscopeError(
            f"The kernels kept during training cannot be read: filters.npz of the checkpoint {name!r} is missing or "
            f"damaged. Get it again with `git checkout -- checkpoints/{name}`."
        ) from error
    return Snapshots(kernels, epochs)


def convolutions(model: nn.Module) -> tuple[str, ...]:
    """The node names of all convolutions that are modules, in the order of execution.

    Raises:
        ConvscopeError: the model cannot be traced.
    """
    graph = trace(model)
    found = (node for node, operation in graph.operations.items() if isinstance(operation, Convolution))
    return tuple(graph.names[node] for node in found if node.op == "call_module")


def kernels(model: nn.Module, layer: str) -> Tensor:
    """`[O, C, k_h, k_w]`: the kernels of a convolution, given by its friendly name or its node's.

    Raises:
        ConvscopeError: there is no such layer, or it is no convolution.
    """
    return _convolution(model, layer).weight.detach()


def maps_read(model: nn.Module, layer: str, output: int) -> range:
    """The numbers of the maps below that kernel `output` of a convolution reads: of several groups those of its own.

    Raises:
        ConvscopeError: there is no such layer, or it is no convolution.
    """
    module = _convolution(model, layer)
    count = module.in_channels // module.groups
    group = output * module.groups // module.out_channels
    return range(group * count, (group + 1) * count)


def _convolution(model: nn.Module, layer: str) -> nn.Conv2d:
    node = trace(model).resolve(layer)
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    if not isinstance(module, nn.Conv2d):
        raise ConvscopeError(f"The layer {layer!r} is no convolution and has no kernels: choose one that is.")
    return module


# Kernels as pictures -------------------------------------------------------------------------------------------

FORMS = ("RGB", "red", "green", "blue", "grey")
"""How a colour kernel can be drawn: in colour, one colour's weights alone, or the mean of the three."""


def in_form(colour_kernels: Tensor, form: str) -> Tensor:
    """Kernels `[K, 3, k, k]` to draw in one of `FORMS`; beside a single colour the others are zero, mid-grey."""
    if form == "grey":
        return colour_kernels.mean(dim=1, keepdim=True).expand_as(colour_kernels)
    if form == "RGB":
        return colour_kernels
    channel = FORMS.index(form) - 1
    alone = torch.zeros_like(colour_kernels)
    alone[:, channel] = colour_kernels[:, channel]
    return alone


def as_grey(channel_kernels: Tensor) -> Tensor:
    """`[C, 3, k, k]` to draw: a kernel `[C, k, k]`, one grey picture per input channel."""
    return channel_kernels[:, None].expand(-1, 3, -1, -1)


# Gratings ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gratings:
    """Gratings of all frequencies `[F]` (stripes per pixel) and directions `[D]` (degrees), `side` pixels wide.

    `waves` `[F, D, 2, side * side]`: cosine and sine about the kernel's middle.
    """

    side: int
    frequencies: tuple[float, ...]
    directions: tuple[float, ...]
    waves: Tensor = field(repr=False)


@lru_cache(maxsize=16)
def gratings(side: int) -> Gratings:
    """From a third of a stripe in the kernel to one stripe in two pixels, in all directions."""
    frequencies = np.linspace(1 / (3 * side), 0.5, FREQUENCIES)
    directions = np.arange(DIRECTIONS) * 180 / DIRECTIONS
    place = np.arange(side) - (side - 1) / 2
    y, x = np.meshgrid(place, place, indexing="ij")
    angle = np.deg2rad(directions)[None, :, None]
    along = x.ravel() * np.cos(angle) + y.ravel() * np.sin(angle)
    phase = 2 * math.pi * frequencies[:, None, None] * along
    waves = torch.from_numpy(np.stack([np.cos(phase), np.sin(phase)], axis=2))
    return Gratings(side, tuple(frequencies.tolist()), tuple(directions.tolist()), waves)


@dataclass(frozen=True)
class Tuning:
    """How kernels respond to gratings.

    Attributes:
        gratings: the stimuli.
        responses: `[K, F, D]`, the largest response over phase and colour to a grating of contrast 1.
        flat: `[K, C]`, the response to a flat area of each colour alone (the sum of its weights).
        flat_share: `[K]`, the share (0-1) of each kernel's energy that its mean colour holds.
        frequency, direction: `[K]`, of the preferred grating, in stripes per pixel and degrees.
        colour: `[K, C]`, its colour, of length 1; its sign means nothing.
        oddness: `[K]`, 0 if it is a line through the kernel's middle, 1 if it is an edge there.
        share: `[K]`, the share (0-1) of the kernel's energy that the preferred grating explains.
        selectivity: `[K]`, 0 if all directions have the same response, near 1 if only one has a response.
    """

    gratings: Gratings
    responses: Tensor = field(repr=False)
    flat: Tensor = field(repr=False)
    flat_share: Tensor = field(repr=False)
    frequency: Tensor = field(repr=False)
    direction: Tensor = field(repr=False)
    colour: Tensor = field(repr=False)
    oddness: Tensor = field(repr=False)
    share: Tensor = field(repr=False)
    selectivity: Tensor = field(repr=False)

    @property
    def explained(self) -> Tensor:
        """`[K]`: the share of each kernel's energy that its best single stimulus explains, flat or striped."""
        return torch.maximum(self.flat_share, self.share)

    def preference(self, index: int) -> Preference:
        """Of one kernel."""
        numbers = {name: getattr(self, name)[index].tolist() for name in Preference._fields}
        return Preference(**numbers)


def tuning(colour_kernels: Tensor) -> Tuning:
    """The responses of kernels `[K, C, k, k]` to gratings (any number C of colours).

    Raises:
        ConvscopeError: the kernels are not square, or have one pixel only.
    """
    weights = colour_kernels.double()
    side = weights.shape[-1]
    if weights.shape[-2] != side or side < 2:
        raise ConvscopeError("Only square kernels of at least 2 x 2 pixels respond to gratings: choose another layer.")
    stimuli = gratings(side)
    flat = weights.sum(dim=(2, 3))
    energy = weights.square().sum(dim=(1, 2, 3)).clamp_min(1e-30)
    pattern = (weights - weights.mean(dim=(2, 3), keepdim=True)).flatten(2)
    spectrum = torch.einsum("kcp,fdwp->kfdcw", pattern, stimuli.waves)
    responses = _largest_singular(spectrum)[0]
    best = responses.flatten(1).argmax(dim=1)
    frequency, direction = best // DIRECTIONS, best % DIRECTIONS
    at_best = spectrum[torch.arange(len(weights)), frequency, direction]
    _, colour, mixture = _largest_singular(at_best)
    return Tuning(
        gratings=stimuli,
        responses=responses,
        flat=flat,
        flat_share=flat.square().sum(dim=1) / side**2 / energy,
        frequency=torch.tensor(stimuli.frequencies)[frequency],
        direction=torch.tensor(stimuli.directions)[direction],
        colour=colour,
        oddness=mixture[:, 1].square(),
        share=_explained(pattern, stimuli.waves[frequency, direction]) / energy,
        selectivity=_selectivity(responses[torch.arange(len(weights)), frequency], stimuli),
    )


def _largest_singular(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The largest singular value of `[..., C, 2]` and its left and right vectors, from the 2 x 2 Gram matrix."""
    gram = matrices.transpose(-1, -2) @ matrices
    a, b, c = gram[..., 0, 0], gram[..., 0, 1], gram[..., 1, 1]
    value = ((a + c) / 2 + torch.hypot((a - c) / 2, b)).clamp_min(0).sqrt()
    angle = torch.atan2(2 * b, a - c) / 2
    right = torch.stack([angle.cos(), angle.sin()], dim=-1)
    left = (matrices @ right[..., None])[..., 0]
    return value, left / left.norm(dim=-1, keepdim=True).clamp_min(1e-30), right


def _explained(pattern: Tensor, waves: Tensor) -> Tensor:
    """`[K]`: the energy of `[K, C, P]` in the best mixture, of one colour, of its cosine and sine `[K, 2, P]`."""
    without_mean = waves - waves.mean(dim=2, keepdim=True)
    basis, sizes, _ = torch.linalg.svd(without_mean.transpose(1, 2), full_matrices=False)
    # At half a stripe per pixel, cosine or sine may be zero on all pixels; what remains of it is rounding, not a wave.
    basis = basis * (sizes > 1e-8 * sizes[:, :1])[:, None]
    return _largest_singular(pattern @ basis)[0].square()


def _selectivity(responses: Tensor, stimuli: Gratings) -> Tensor:
    """1 - circular variance over directions (Ringach et al. 2002, equation 1), of the squared responses `[K, D]`."""
    doubled = torch.deg2rad(torch.tensor(stimuli.directions, dtype=responses.dtype)) * 2
    energy = responses.square()
    total = energy.sum(dim=1).clamp_min(1e-30)
    return torch.hypot(energy @ doubled.cos(), energy @ doubled.sin()) / total


# Words ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def noise_level(side: int, colours: int = 3) -> float:
    """The share of a kernel of random numbers that its best stimulus explains; 95 in 100 stay below."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(RANDOM_KERNELS, colours, side, side, generator=generator, dtype=torch.float64)
    return float(tuning(noise).explained.quantile(NOISE_QUANTILE))


def describe(colour_kernels: Tensor) -> tuple[Description, ...]:
    """The preference of each of the kernels `[K, 3, k, k]` in words, such as "horizontal green edges".

    Raises:
        ConvscopeError: as `tuning`; or they do not read three colours.
    """
    if colour_kernels.shape[1] != 3:
        raise ConvscopeError("Only kernels that read red, green and blue can be described: choose the first layer.")
    measured = tuning(colour_kernels)
    side = colour_kernels.shape[-1]
    level = noise_level(side)
    return tuple(in_words(measured.preference(index), side, level) for index in range(len(colour_kernels)))
