"""What the Filters page keeps for everybody, by the kernels themselves: their preferences, and pictures of them."""

import math

import numpy as np
import streamlit as st
from torch import Tensor

from engine import filters, pictures
from engine.filters import Snapshots, Tuning
from engine.filters.words import Description
from pages.common import layout, selection
from pages.common.controls import Option

WIDTH = 1200
"""How many pixels wide a sheet is at most."""
GAP = 8
"""Pixels between two tiles, and around all of them."""
SCALES = ("each filter", "all together")

BY_CONTENT = {Tensor: lambda kernels: (tuple(kernels.shape), kernels.numpy().tobytes())}
"""A layer's kernels are a few kilobytes, so caches can tell them apart by their weights."""


@st.cache_resource(max_entries=16, show_spinner=False)
def snapshots(checkpoint: str, weights_sha256: str) -> Snapshots:
    """The kernels that were kept while the checkpoint with these weights was trained."""
    return filters.snapshots(checkpoint)


@st.cache_resource(max_entries=128, show_spinner=False, hash_funcs=BY_CONTENT)
def tuning(kernels: Tensor) -> Tuning:
    """How kernels `[K, 3, k, k]` respond to gratings."""
    return filters.tuning(kernels)


@st.cache_resource(max_entries=128, show_spinner=False, hash_funcs=BY_CONTENT)
def describe(kernels: Tensor) -> tuple[Description, ...]:
    """The preferences of kernels `[K, 3, k, k]` in words."""
    return filters.describe(kernels)


def drawing_controls() -> tuple[str, str]:
    """Which colours to draw, and on which scale."""
    with layout.options({"form": Option("weights as", filters.FORMS), "brightness": Option("scale", SCALES)}):
        form = selection.segments("Weights as", filters.FORMS, "form")
        why = "Each filter on its own scale: what does it look like? All on one: which are strong?"
        return form, selection.segments("Scale", SCALES, "brightness", help=why)


# Pictures ------------------------------------------------------------------------------------------------------


def tiles(kernels: Tensor, form: str, scale: str) -> np.ndarray:
    """uint8 `[K, k, k, 3]`: kernels `[K, 3, k, k]` in a form, with zero at mid-grey, on one of `SCALES`."""
    pixels = filters.in_form(kernels, form)
    return pictures.signed(pixels, pictures.scale_of(pixels)) if scale == SCALES[1] else pictures.signed_each(pixels)


@st.cache_resource(max_entries=256, show_spinner=False, hash_funcs=BY_CONTENT)
def sheet(kernels: Tensor, form: str, scale: str) -> bytes:
    """A PNG of kernels `[K, 3, k, k]` with their numbers."""
    return _numbered(tiles(kernels, form, scale), columns(len(kernels)))


def columns(count: int) -> int:
    """How many kernels of a first layer stand in a row: 8, as papers draw them, unless there are many."""
    return min(count, 8) if count <= 64 else wide(count)


@st.cache_resource(max_entries=64, show_spinner=False, hash_funcs=BY_CONTENT)
def deeper_sheet(kernel: Tensor, maps: range) -> bytes:
    """A PNG of a kernel `[C, k_h, k_w]`: one grey picture per map that it reads, `maps`, all on one scale."""
    pixels = filters.as_grey(kernel)
    return _numbered(pictures.signed(pixels, pictures.scale_of(pixels)), wide(len(kernel)), maps)


def wide(count: int) -> int:
    """How many kernels stand in a row of a sheet that is wider than high."""
    return min(count, max(16, math.ceil(math.sqrt(2 * count))))


def _numbered(tiles: np.ndarray, columns: int, numbers: range | None = None) -> bytes:
    labels = [str(number) for number in numbers or range(len(tiles))]
    return pictures.png(pictures.sheet(tiles, columns, width=WIDTH, gap=GAP, labels=labels))


def enlarged(kernels: Tensor, form: str, scale: str, number: int) -> bytes:
    """A PNG of one kernel, large, on the scale that it has in the sheet."""
    return pictures.png(pictures.enlarged(tiles(kernels, form, scale)[[number]], 420)[0])
