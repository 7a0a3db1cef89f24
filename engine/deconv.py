"""Plays a tape backwards: from one unit's activation to the picture that caused it.

Zeiler & Fergus attach to each layer its reverse and let one activation run back to pixels: unpool at the
recorded switches, rectify, filter with the transposed weights. With s the signal at an operation's output:

    convolution          transposed convolution with the same weights, no bias
    max-pooling          s goes to the switches; where windows overlap, what meets there is added
    ReLU, "deconvnet"    max(s, 0)                    (Zeiler & Fergus 2014)
    ReLU, "gradient"     s * (forward > 0)            (Simonyan et al. 2013)
    ReLU, "guided"       max(s, 0) * (forward > 0)    (Springenberg et al. 2015)
    batch norm           s * gamma / sqrt(var + eps), or s itself when it is left out
    residual add         s to both branches, or to one of them
    anything else        its adjoint at the recorded input

A unit's signal reaches its receptive field only, so of each map no more than a window is played back
(`engine.operations.signals`).

With "gradient" the result is exactly the gradient of <seed, activation>. With the other two it is not linear
in the seed: doubling the seed doubles the picture, but two seeds together do not give the sum of their
pictures, and the residual's picture plus the shortcut's is not the whole one.

What it does not show: Nie, Zhang & Patel (2018), "A theoretical explanation for perplexing behaviors of
backpropagation-based visualizations", prove that "deconvnet" and "guided" recover parts of the image whatever
the network decides; compare with untrained weights. Nothing rectifies the last step, so pixels may be
negative: draw zero as mid-grey.

References: Zeiler & Fergus (2014), "Visualizing and understanding convolutional networks"; Simonyan et al.
(2013), "Deep inside convolutional networks"; Springenberg et al. (2015), "Striving for simplicity".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.errors import ConvscopeError
from engine.graph.runs import Cut, norm_of_each, play_back
from engine.operations import Convolution, ReLU, Rules
from engine.operations.convolution import ConvolutionRecord
from engine.operations.signals import Signals
from engine.tape import Tape

RELU_RULES = ("deconvnet", "gradient", "guided")
PATHS = ("both", "residual", "shortcut")
SWITCHES = ("recorded", "centre")
_PIXELS_AT_ONCE = 8 * 224 * 224
"""Many signals on a large image are played back in groups, whose maps stay in the processor's cache."""


@dataclass(frozen=True)
class Gain:
    """After reversing `node`: `ratio` `[K]`, each signal's norm over that of its seed (0 for a zero seed)."""

    node: str
    ratio: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """K pictures.

    Attributes:
        pixels: `[K, 3, H, W]`, signed.
        gains: in the order of playback, from the layer to the image; empty if they were not asked for.
        sent: `[K]`, the norm of each signal; where it is 0, the picture is empty.
    """

    pixels: Tensor = field(repr=False)
    gains: tuple[Gain, ...] = field(repr=False)
    sent: Tensor = field(repr=False)

    @property
    def gain(self) -> Tensor:
        """`[K]`: each picture's norm over that of its signal (0 for a zero signal).

        The last of `gains` is not it where several operations read the image: that is one operation's share.
        """
        return _ratio(norm_of_each(self.pixels), self.sent)


def reconstruct(
    tape: Tape,
    signal: Tensor,
    *,
    batch_norm: bool = True,
    relu: str = "deconvnet",
    path: str | Mapping[str, str] = "both",
    weight_scale: float = 1.0,
    switches: str = "recorded",
    gains: bool = True,
) -> Reconstruction:
    """Play `signal` back from the tape's layer to pixels (Zeiler & Fergus 2014, section 2.1).

    Args:
        tape: what `engine.tape.record` gave, for one image or for K images.
        signal: K seeds `[K, C, H, W]` of the activation's shape (`[K, C]` for a dense layer). With a tape of
            one image all K play back on it; with a tape of K images, seed k on image k.
        batch_norm: whether batch norm scales the signal, or lets it pass as it is.
        relu: "deconvnet", "gradient" or "guided".
        path: where a residual add sends the signal, "both", "residual" or "shortcut": one choice for all
            blocks, or `{block: choice}` (blocks not named: "both").
        weight_scale: plays back as if every convolution's weights were that many times as large and its batch
            norm's statistics adjusted, which leaves the network's own answers as they are: with batch norm in
            the path the picture stays the same, without it changes with every convolution.
        switches: max-pooling sends the signal to where the window's maximum was, "recorded", or to the middle
            of the window, "centre", as one would without a recording.
        gains: whether to measure the gain after each step; else `Reconstruction.gains` is empty.

    Raises:
        ConvscopeError: the signal does not have the layer's shape, an unknown rule, choice or block, a weight
            scale that is not positive and finite, or that does not apply (see `weight_scale_applies`).
    """
    rules = Rules(
        batch_norm=batch_norm,
        relu=_one_of("relu", relu, RELU_RULES),
        weight_scale=weight_scale,
        switches=_one_of("switches", switches, SWITCHES),
    )
    cut = _cut_paths(tape, path)
    _check_weight_scale(tape, weight_scale)
    _check_signal(tape, signal)
    # One signal for all of the tape's images together, or many for its only one.
    signals = signal[None] if tape.input_shape[0] == len(signal) else signal.unsqueeze(1)
    at_once = _signals_at_once(tape)
    groups = [signals] if len(signals) <= at_once else signals.split(at_once)
    with torch.no_grad():
        played = [_play(tape, group, rules, cut, gains) for group in groups]
    pixels, sent, norms = zip(*played, strict=True)
    together = _joined(sent)
    measured: tuple[Gain, ...] = ()
    if norms[0]:
        after_each = _joined([torch.stack(list(each.values())) for each in norms], dim=1)
        measured = tuple(map(Gain, norms[0], _ratio(after_each, together)))
    return Reconstruction(_joined(pixels), measured, together)


def weight_scale_applies(tape: Tape) -> str | None:
    """None if `weight_scale` applies to this tape, else a sentence that says why not.

    Scaling a convolution's weights leaves the network as it is only if a batch norm, and nothing else, reads
    the convolution's output, and takes the factor out again.
    """
    for step in tape.steps:
        cancels = isinstance(step.record, ConvolutionRecord) and step.record.followed_by_batch_norm
        if isinstance(step.operation, Convolution) and not cancels:
            return (
                "The weight scale does not apply to this network: no batch norm directly follows its "
                f"convolution {step.name!r}, so larger weights would change its answers."
            )
    return None


def residual_blocks(tape: Tape) -> tuple[str, ...]:
    """The residual blocks on the tape, in forward order: the ones where `path` matters."""
    on_the_way = {step.name for step in tape.steps}
    return tuple(name for name, block in tape.blocks.items() if block.add in on_the_way)


def _signals_at_once(tape: Tape) -> int:
    return max(1, _PIXELS_AT_ONCE // math.prod(tape.input_shape[2:]))


def _play(
    tape: Tape, signals: Tensor, rules: Rules, cut: Cut, gains: bool
) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
    """Of `signals` `[K, *shape of the activation]` the pixels, the norms, and if asked for those after each step."""
    seeds = Signals.narrowed(signals)
    norms: dict[str, Tensor] | None = {} if gains else None
    pixels = play_back(tape.steps, {tape.node: seeds}, tape.input, tape.input_shape, rules, cut, norms)
    return pixels, norm_of_each(seeds.values, tape.input_shape[0]), norms or {}


def _joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Of one part no copy is made."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _ratio(norm: Tensor, sent: Tensor) -> Tensor:
    return torch.where(sent > 0, norm / sent, 0)


# ---------------------------------------------------------------------------------------------------- checks


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ConvscopeError(f"{name} must be one of {', '.join(known)}, not {value!r}.")
    return value


def _cut_paths(tape: Tape, path: str | Mapping[str, str]) -> Cut:
    if isinstance(path, str):
        path = dict.fromkeys(tape.blocks, _one_of("path", path, PATHS))
    cut: dict[str, str] = {}
    for name, choice in path.items():
        if name not in tape.blocks:
            known = ", ".join(tape.blocks) or "it has none"
            raise ConvscopeError(f"There is no residual block {name!r} in this network: choose from {known}.")
        block = tape.blocks[name]
        if _one_of(f"The path of block {name!r}", choice, PATHS) != "both":
            cut[block.add] = block.shortcut if choice == "residual" else block.residual
    return cut


def _check_weight_scale(tape: Tape, weight_scale: float) -> None:
    if not (math.isfinite(weight_scale) and weight_scale > 0):
        raise ConvscopeError(f"weight_scale must be a positive number, not {weight_scale}.")
    reason = weight_scale_applies(tape) if weight_scale != 1 else None
    if reason is not None:
        raise ConvscopeError(reason)


def _check_signal(tape: Tape, signal: Tensor) -> None:
    shape, images = tuple(tape.activation.shape[1:]), tape.input_shape[0]
    if tape.activation.shape[:1] != (images,):
        raise ConvscopeError(
            f"The layer {tape.layer!r} holds {list(tape.activation.shape)} numbers for {images} images, and no row for "
            "each: choose another layer, or keep the images apart (with x.flatten(1) in place of x.squeeze(), say)."
        )
    if signal.dim() == 0 or len(signal) == 0 or tuple(signal.shape[1:]) != shape:
        raise ConvscopeError(
            f"A signal for layer {tape.layer!r} must have shape {['K', *shape]}, not {list(signal.shape)}: "
            "make it from the tape's activation."
        )
    if images not in (1, len(signal)):
        raise ConvscopeError(
            f"The tape holds {images} images but there are {len(signal)} signals: "
            "give one signal for each image, or record one image."
        )


# ----------------------------------------------------------------------------------------------------- seeds


def strongest_unit(activation: Tensor, channel: int) -> Tensor:
    """The seed of Zeiler & Fergus: the channel's maximum at its place, everything else zero.

    `activation` and the seed: `[N, C, H, W]` (one maximum per image), or `[N, C]` for a dense layer.

    Raises:
        ConvscopeError: there is no such channel.
    """
    if activation.dim() == 2:
        return whole_map(activation, channel)
    units = _of_channel(activation, channel).flatten(1)
    largest, place = units.max(dim=1, keepdim=True)
    return _seed(activation, channel, torch.zeros_like(units).scatter_(1, place, largest))


def unit(activation: Tensor, channel: int, row: int, column: int) -> Tensor:
    """One unit of `activation` `[N, C, H, W]`, everything else zero.

    Raises:
        ConvscopeError: there is no such unit.
    """
    return whole_map(units_at(activation, row, column), channel)


def units_at(activation: Tensor, row: int, column: int) -> Tensor:
    """The units of all channels of `activation` `[N, C, H, W]` at one place, everything else zero.

    Raises:
        ConvscopeError: these are not maps, or have no such place.
    """
    if activation.dim() != 4:
        raise ConvscopeError("A dense layer has no rows and columns: choose a channel only.")
    height, width = activation.shape[2:]
    if row not in range(height) or column not in range(width):
        raise ConvscopeError(f"There is no unit at row {row}, column {column}: the maps are {height} x {width}.")
    seed = torch.zeros_like(activation)
    seed[:, :, row, column] = activation[:, :, row, column]
    return seed


def whole_map(activation: Tensor, channel: int) -> Tensor:
    """One channel of `activation` `[N, C, H, W]` (or `[N, C]`), the others zero.

    Raises:
        ConvscopeError: there is no such channel.
    """
    return _seed(activation, channel, _of_channel(activation, channel))


def _of_channel(activation: Tensor, channel: int) -> Tensor:
    channels = activation.shape[1]
    if channel not in range(channels):
        raise ConvscopeError(f"There is no channel {channel}: this layer has channels 0 to {channels - 1}.")
    return activation[:, channel]


def _seed(activation: Tensor, channel: int, values: Tensor) -> Tensor:
    """`values` in one channel, the others zero."""
    seed = torch.zeros_like(activation)
    seed[:, channel] = values.reshape(-1, *seed.shape[2:])
    return seed


def all_channels(activation: Tensor) -> Tensor:
    """The whole activation as one seed per image: a copy."""
    return activation.clone()


def unit_signals(activation: Tensor, channels: Sequence[int]) -> Tensor:
    """`strongest_unit` for each of K channels of one image, stacked: `[1, C, H, W]` -> `[K, C, H, W]`.

    Raises:
        ConvscopeError: no channel is chosen, there is no such channel, or the activation is of several images.
    """
    return _stacked(strongest_unit, activation, channels)


def map_signals(activation: Tensor, channels: Sequence[int]) -> Tensor:
    """`whole_map` for each of K channels of one image, stacked; arguments and errors as of `unit_signals`."""
    return _stacked(whole_map, activation, channels)


def _stacked(seed: Callable[[Tensor, int], Tensor], activation: Tensor, channels: Sequence[int]) -> Tensor:
    if len(channels) == 0:
        raise ConvscopeError("No channel is chosen: choose at least one.")
    if len(activation) != 1:
        raise ConvscopeError(f"Signals for channels need one image, not {len(activation)}: record one.")
    return torch.cat([seed(activation, channel) for channel in channels])


def is_linear(tape: Tape, relu: str) -> bool:
    """Whether the pictures of two signals add up to that of both: no ReLU of this rule lies on the way back."""
    return relu == "gradient" or not any(isinstance(step.operation, ReLU) for step in tape.steps)


def strongest_channels(activation: Tensor, count: int) -> list[int]:
    """The `count` channels of `activation` `[N, C, H, W]` with the largest maxima, strongest first.

    Raises:
        ConvscopeError: `count` is not between 1 and the number of channels.
    """
    channels = activation.shape[1]
    if count not in range(1, channels + 1):
        raise ConvscopeError(f"Cannot pick {count} of {channels} channels: choose 1 to {channels}.")
    maxima = activation.transpose(0, 1).flatten(1).amax(dim=1)
    return maxima.sort(descending=True, stable=True).indices[:count].tolist()


def silent_channels(activation: Tensor) -> list[int]:
    """The channels of `activation` `[N, C, H, W]` that are inactive, zero everywhere: their pictures are empty."""
    return (~activation.transpose(0, 1).flatten(1).any(dim=1)).nonzero().flatten().tolist()
