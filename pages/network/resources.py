"""What the Network page computes once and shows to everybody: thin caches on small keys."""

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from engine import network
from engine.errors import ConvscopeError
from engine.models import ARCHITECTURES
from engine.network import NetworkTable, OperationRow, StageRow, convolution, diagram
from engine.network.convolution import Convolved
from engine.network.diagram import Diagram
from engine.weights import Weights
from pages.common import resources
from pages.common.resources import View

SIZES = (32, 64, 128, 224, 256)


def own_size(name: Weights) -> int:
    """The input size in pixels that the network was trained at."""
    return resources.trained(name).card.input_size


@st.cache_data(max_entries=64, show_spinner=False)
def sizes(name: Weights) -> tuple[int, ...]:
    """The input sizes, in pixels, that the network, or one of its kind built for them, can take."""
    offered = sorted({own_size(name), *SIZES})
    return tuple(size for size in offered if _takes(name, size))


def _takes(name: Weights, size: int) -> bool:
    try:
        described(name, size)
    except ConvscopeError:
        return False
    return True


@st.cache_resource(max_entries=128, show_spinner=False)
def described(name: Weights, size: int) -> NetworkTable:
    """The layer table of the network's kind at an input size in pixels."""
    trained = resources.trained(name)
    card = trained.card
    if card.architecture not in ARCHITECTURES:
        return network.describe(trained.model, size)
    empty = network.shapes_only(card.architecture, len(card.classes), size, card.options)
    return network.describe(empty, size)


@st.cache_resource(max_entries=128, show_spinner=False)
def boxes(name: Weights, size: int) -> Diagram:
    """The block diagram at an input size in pixels."""
    return diagram.diagram(described(name, size))


def is_rebuilt(name: Weights, size: int) -> bool:
    """Whether the network itself does not take this size, so that the table is of a fresh one of its kind."""
    card = resources.trained(name).card
    known = ARCHITECTURES.get(card.architecture)
    return size != card.input_size and known is not None and known.fixed_input


def table(rows: tuple[StageRow, ...] | tuple[OperationRow, ...]) -> pd.DataFrame:
    """The layer table as a page shows it, every column in words."""
    return pd.DataFrame(
        {
            "Part": [row.name if isinstance(row, StageRow) else f"{row.name}: {row.title}" for row in rows],
            "Output": [network.shape_in_words(row.output) for row in rows],
            "Parameters": [f"{row.parameters:,}" if row.parameters else "" for row in rows],
            "How they are counted": [row.arithmetic.partition(" = ")[0] for row in rows],
            "Multiply-adds": [f"{row.multiply_adds:,}" if row.multiply_adds else "" for row in rows],
            "Receptive field": [_seen(row) for row in rows],
        }
    )


def _seen(row: StageRow | OperationRow) -> str:
    size = row.receptive_field.size
    return "the whole image" if size is None else f"{size[0]} × {size[1]} px"


def beyond_the_image(name: Weights, side: int) -> str:
    """The first part whose units' windows are larger than an image of `side` px; empty if there is none."""
    parts = network.stages(described(name, side))
    return next((part.name for part in parts if max(part.receptive_field.size or (0,)) > side), "")


def numbers(rows: tuple[StageRow, ...] | tuple[OperationRow, ...]) -> pd.DataFrame:
    """The same for a file: numbers as numbers."""
    return pd.DataFrame(
        {
            "part": [row.name for row in rows],
            "output": [network.shape_in_words(row.output) for row in rows],
            "parameters": [row.parameters for row in rows],
            "arithmetic": [row.arithmetic for row in rows],
            "multiply_adds": [row.multiply_adds for row in rows],
            "receptive_field_px": [(row.receptive_field.size or (None,))[0] for row in rows],
        }
    )


# One convolution -----------------------------------------------------------------------------------------------


def first_convolution(view: View) -> Convolved:
    """The first convolution on the view's image, whatever the view's layer is."""
    return _first_convolution(replace(view, layer=""))


@st.cache_resource(max_entries=16, show_spinner="Running the network …")
def _first_convolution(view: View) -> Convolved:
    model = resources.trained(view.network).model
    return convolution.convolved(model, resources.network_input(view), convolution.first_convolution(model))


def as_seen(view: View) -> np.ndarray:
    """uint8 `[size, size, 3]`: the view's image at the size at which the network gets it."""
    return convolution.as_the_network_gets_it(resources.pixels(view.split, view.index), view.size)
