"""The figure of a comparison: its pictures, the chart of their gains, and what the numbers say.

The page hands over what plays a playback; its result travels on with its tape, so that nothing is looked up twice.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from engine import batch_norm, deconv, pictures
from engine.batch_norm import BatchNormComparison
from engine.deconv import Reconstruction
from engine.playbacks import CLASS, Comparison, Playback
from engine.reconstructions import (
    Milestone,
    additivity_in_words,
    contents_in_words,
    milestones,
    sizes_in_words,
)
from pages.common import charts, sheets
from pages.common.kept import keep
from pages.common.resources import PlaybackResult


@dataclass(frozen=True)
class Picture:
    """One picture: PNGs on the scale that it shares with the others and on its own, and how far that stretches.

    `layer`, `channels`: of its tiles, if it has several; `words`: what hovering over each says.
    """

    label: str
    shared: bytes
    own: bytes
    stretch: str
    layer: str = ""
    channels: tuple[int, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """Everything to be seen of one comparison.

    Attributes:
        pictures: one for each variant.
        signals: PNGs of the signals, one for each variant, where these differ from layer to layer.
        gain_spec: the gain chart, in Vega-Lite; `gain_table` its numbers.
        sentence: what the numbers say.
        notes: which maps and channels the pictures are of.
    """

    pictures: tuple[Picture, ...]
    signals: tuple[bytes, ...]
    gain_spec: dict[str, Any]
    gain_table: pd.DataFrame
    sentence: str
    notes: tuple[str, ...]


@keep()
def figure_of(comparison: Comparison, _play: Callable[[Playback], PlaybackResult]) -> Figure:
    """The figure of a comparison, kept: a rerun is then one look-up. `_play` is called for new figures only."""
    return draw(comparison, {variant.label: _play(variant.playback) for variant in comparison.variants})


def draw(comparison: Comparison, results: Mapping[str, PlaybackResult]) -> Figure:
    """The figure of a comparison, whose variants' `results` go by their labels."""
    reconstructions = {label: one.reconstruction for label, one in results.items()}
    curves = {label: milestones(one.tape, one.reconstruction, one.layers) for label, one in results.items()}
    return Figure(
        pictures=_pictures(results),
        signals=tuple(_signals(one) for one in results.values()) if comparison.by == "layers" else (),
        gain_spec=charts.gain_chart(curves, comparison.by).to_dict(),
        gain_table=_gain_table(curves, comparison.by),
        sentence=_in_words(comparison, results, reconstructions),
        notes=_notes(results),
    )


def row(drawn: Sequence[Picture]) -> bytes:
    """A PNG of the pictures in a row, each on its own scale."""
    tiles = np.stack([np.asarray(Image.open(io.BytesIO(picture.own))) for picture in drawn])
    return pictures.png(pictures.sheet(tiles, len(tiles), gap=16))


def _pictures(results: Mapping[str, PlaybackResult]) -> tuple[Picture, ...]:
    scales = {label: pictures.scale_of(one.reconstruction.pixels) for label, one in results.items()}
    shared = max(scales.values())
    return tuple(_picture(label, one, scales[label], shared) for label, one in results.items())


def _picture(label: str, result: PlaybackResult, own: float, shared: float) -> Picture:
    one, layer, channels = result.reconstruction, result.playback.view.layer, result.channels
    strongest = result.signals.flatten(1).amax(dim=1).tolist()
    words = (f"channel {c}: {value:.3g}" for c, value in zip(channels, strongest, strict=False))
    stretch = pictures.stretch_in_words(shared, own)
    return Picture(label, _png(one, shared), _png(one, own), stretch, layer, channels, tuple(words))


def _png(reconstruction: Reconstruction, scale: float) -> bytes:
    return pictures.png(sheets.signed(reconstruction.pixels, scale))


def _signals(result: PlaybackResult) -> bytes:
    """The signals, added up over their channels, on their own scale."""
    total = pictures.overlaid(result.signals)
    return pictures.png(sheets.signed(total, pictures.scale_of(total)))


def _gain_table(curves: Mapping[str, Sequence[Milestone]], by: str) -> pd.DataFrame:
    rows = [(name, point.label, point.gain) for name, curve in curves.items() for point in curve]
    return pd.DataFrame(rows, columns=[by, "at", "gain"])


def _in_words(
    comparison: Comparison, results: Mapping[str, PlaybackResult], reconstructions: Mapping[str, Reconstruction]
) -> str:
    if comparison.by == "batch norm":
        both = BatchNormComparison(reconstructions["on"], reconstructions["off"])
        return batch_norm.in_words(both, batch_norm.has_batch_norm(results["on"].tape))
    words = [sizes_in_words(reconstructions)]
    if comparison.same_content:
        words.append(contents_in_words(reconstructions))
    if comparison.by == "paths":
        branches = reconstructions["residual"], reconstructions["shortcut"]
        words.append(additivity_in_words(reconstructions["both"], branches))
    return " ".join(words)


def _notes(results: Mapping[str, PlaybackResult]) -> tuple[str, ...]:
    """How many maps there are, and which channels: once for all pictures, or for each where they differ."""
    if any(one.playback.signal == CLASS for one in results.values()):
        return ()
    maps = "; ".join(dict.fromkeys(_maps_in_words(one) for one in results.values()))
    channels = {label: _channels_in_words(one) for label, one in results.items() if one.channels}
    words = list(dict.fromkeys(channels.values()))
    if len(words) > 1:
        words = ["  \n".join(f"**{label}**: {listed}" for label, listed in channels.items())]
    if any(len(one.channels) > 1 and not _adds_up(one) for one in results.values()):
        words.append("The channels need not add up to the picture of all: ReLUs come between.")
    return (f"{maps}. Grey is zero, bright positive, dark negative.", *words)


def _adds_up(result: PlaybackResult) -> bool:
    """Whether the pictures of single channels add up to that of all: no rule on the way back is nonlinear."""
    return deconv.is_linear(result.tape, result.playback.relu)


def _maps_in_words(result: PlaybackResult) -> str:
    _, count, height, width = result.tape.activation.shape
    return f"{result.playback.view.layer}: {count} maps of {height} x {width}"


def _channels_in_words(result: PlaybackResult) -> str:
    listed = ", ".join(str(channel) for channel in result.channels)
    words = f"Channels {listed}, row by row." if len(result.channels) > 1 else f"Channel {listed}."
    inactive = sorted(set(deconv.silent_channels(result.tape.activation)) & set(result.channels))
    if inactive:
        words += (
            f" Inactive on this image (zero everywhere), and therefore grey: channel {', '.join(map(str, inactive))}."
        )
    return words
