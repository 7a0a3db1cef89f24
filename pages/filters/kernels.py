"""What the Filters page keeps for everybody, by the kernels themselves: their preferences, and pictures of them."""

import streamlit as st
from torch import Tensor

from engine import filters, pictures
from engine.filters import Snapshots, Tuning, sheets
from engine.filters.sheets import SCALES
from engine.filters.words import Description
from pages.common import layout, selection
from pages.common.controls import Option

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


@st.cache_resource(max_entries=256, show_spinner=False, hash_funcs=BY_CONTENT)
def sheet(kernels: Tensor, form: str, scale: str) -> bytes:
    """A PNG of kernels `[K, 3, k, k]` with their numbers."""
    return pictures.png(sheets.of_first_layer(kernels, form, scale))


@st.cache_resource(max_entries=64, show_spinner=False, hash_funcs=BY_CONTENT)
def deeper_sheet(kernel: Tensor, maps: range) -> bytes:
    """A PNG of a kernel `[C, k_h, k_w]`: one grey picture per map that it reads, `maps`, all on one scale."""
    return pictures.png(sheets.of_deeper_layer(kernel, maps))


def enlarged(kernels: Tensor, form: str, scale: str, number: int) -> bytes:
    """A PNG of one kernel, large, on the scale that it has in the sheet."""
    return pictures.png(pictures.enlarged(sheets.tiles(kernels, form, scale)[[number]], 420)[0])
