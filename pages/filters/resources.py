"""What the Filters page computes once and shows to everybody: thin caches on small keys, and its pictures."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from torch import Tensor

from engine import filters, pictures
from engine.filters import Snapshots, Tuning
from engine.filters.words import Words
from engine.network.convolution import first_convolution
from engine.weights import Weights
from pages.common import resources

NOW = -1
"""In place of an epoch: the kernels of the network itself, as it is used on all pages."""
WIDTH = 1200
"""How many pixels wide a sheet is at most."""
SCALES = ("each filter", "all together")


@dataclass(frozen=True)
class Moment:
    """The first layer's kernels of a network at the end of an epoch (`NOW`: its own); small enough to be a key."""

    network: Weights
    epoch: int = NOW


@st.cache_resource(max_entries=16, show_spinner=False)
def snapshots(network: Weights) -> Snapshots:
    """The kernels kept during training."""
    return filters.snapshots(network.checkpoint)


@st.cache_data(max_entries=32, show_spinner=False)
def convolutions(network: Weights) -> tuple[str, ...]:
    """The names of all convolutions; see `engine.filters.convolutions`."""
    return filters.convolutions(resources.trained(network).model)


def kernels(when: Moment) -> Tensor:
    """`[O, 3, k, k]`: the first layer's kernels at a moment."""
    if when.epoch == NOW:
        model = resources.trained(when.network).model
        return filters.kernels(model, first_convolution(model))
    kept = snapshots(when.network)
    return kept.kernels[kept.epochs.index(when.epoch)]


@st.cache_resource(max_entries=128, show_spinner=False)
def tuning(when: Moment) -> Tuning:
    """How the first layer's kernels answer to gratings."""
    return filters.tuning(kernels(when))


@st.cache_data(max_entries=128, show_spinner=False)
def words(when: Moment) -> tuple[Words, ...]:
    """What each of the first layer's kernels prefers, in words."""
    return filters.described(kernels(when))


def deeper_kernels(network: Weights, layer: str) -> Tensor:
    """`[O, C, k_h, k_w]`: the kernels of any convolution."""
    return filters.kernels(resources.trained(network).model, layer)


# Pictures ------------------------------------------------------------------------------------------------------


def tiles(shown: Tensor, scale: str) -> np.ndarray:
    """uint8 `[K, k, k, 3]`: kernels `[K, 3, k, k]` with zero at mid-grey, on one of `SCALES`."""
    if scale == "all together":
        return pictures.signed(shown, pictures.scale_of(shown))
    return pictures.signed_each(shown)


@st.cache_resource(max_entries=256, show_spinner=False)
def sheet(when: Moment, how: str, scale: str, marked: int | None) -> bytes:
    """A PNG of all first-layer kernels with their numbers, `marked` in a frame."""
    drawn = tiles(filters.shown_as(kernels(when), how), scale)
    return _numbered(drawn, columns_for(len(drawn)), marked)


@st.cache_resource(max_entries=256, show_spinner=False)
def large(when: Moment, how: str, scale: str, number: int) -> bytes:
    """A PNG of one first-layer kernel, large, on the scale that it has in the sheet."""
    drawn = tiles(filters.shown_as(kernels(when), how), scale)[number : number + 1]
    return pictures.png(pictures.enlarged(drawn, 420)[0])


def columns_for(count: int, wide: bool = False) -> int:
    """How many kernels stand in a row: 8 up to 64 kernels, as papers draw them; more on a `wide` sheet."""
    if wide or count > 64:
        return min(count, max(16, math.ceil(math.sqrt(2 * count))))
    return min(count, 8)


def _numbered(tiles: np.ndarray, columns: int, marked: int | None) -> bytes:
    labels = [str(number) for number in range(len(tiles))]
    return pictures.png(pictures.sheet(tiles, columns, width=WIDTH, marked=marked, labels=labels))


@st.cache_resource(max_entries=64, show_spinner=False)
def deeper_sheet(network: Weights, layer: str, output: int) -> bytes:
    """A PNG of the kernel that makes feature map `output`: one grey picture per map that it reads, one scale."""
    shown = filters.as_grey(deeper_kernels(network, layer)[output])
    drawn = pictures.signed(shown, pictures.scale_of(shown))
    return _numbered(drawn, columns_for(len(drawn), wide=True), None)


# Tables --------------------------------------------------------------------------------------------------------


def table(when: Moment) -> pd.DataFrame:
    """A row per filter: what it prefers."""
    rows = words(when)
    return pd.DataFrame(
        {
            "filter": range(len(rows)),
            "prefers": [row.text for row in rows],
            "orientation_degrees": [row.orientation for row in rows],
            "period_px": [None if row.period is None else round(row.period, 2) for row in rows],
            "colour": [row.colour for row in rows],
            "explained": [round(row.explained, 3) for row in rows],
            "of_noise": [round(row.noise, 3) for row in rows],
        }
    )


def responses(when: Moment, number: int) -> pd.DataFrame:
    """Long table of one filter's answers: orientation of the stripes (degrees), stripes per pixel, response."""
    measured = tuning(when)
    rows = [
        ((90 - direction) % 180, frequency, float(measured.responses[number, f, d]))
        for f, frequency in enumerate(measured.gratings.frequencies)
        for d, direction in enumerate(measured.gratings.directions)
    ]
    return pd.DataFrame(rows, columns=["orientation", "frequency", "response"])
