"""The description of a network at an input size, which table and diagram show, and what a reader should know of it."""

from typing import Any

import streamlit as st

from engine import network
from engine.checkpoints import Card
from engine.errors import ConvscopeError
from engine.models import ARCHITECTURES
from engine.network import NetworkTable
from engine.weights import Weights
from pages.common import resources, texts

SIZES = (32, 64, 128, 224, 256)


@st.cache_resource(max_entries=128, show_spinner=False)
def describe(weights: Weights, size: int) -> NetworkTable:
    """The operations of the network, or of its architecture built for this input size in pixels."""
    trained = resources.trained(weights)
    if not _is_rebuilt(trained.card, size):
        return network.describe(trained.model, size)
    return network.describe(network.shapes_only(*_build(trained.card, size)), size)


@st.cache_data(max_entries=64, show_spinner=False)
def sizes(weights: Weights, own: int) -> tuple[int, ...]:
    """The input sizes, in pixels, that the network, or its architecture built for them, can take; one is its `own`."""
    return tuple(size for size in sorted({own, *SIZES}) if _takes(weights, size))


def _takes(weights: Weights, size: int) -> bool:
    card = resources.trained(weights).card
    if _is_rebuilt(card, size):
        return network.takes(*_build(card, size))
    try:
        describe(weights, size)
    except ConvscopeError:
        return False
    return True


def _is_rebuilt(card: Card, size: int) -> bool:
    """Whether the network takes images of one other size only."""
    known = ARCHITECTURES.get(card.architecture)
    return size != card.input_size and known is not None and known.fixed_input


def _build(card: Card, size: int) -> tuple[str, int, int, dict[str, Any]]:
    return card.architecture, len(card.classes), size, card.options


def show_remarks(card: Card, described: NetworkTable, size: int) -> None:
    """Where the description is not that of the stored network itself, or receptive fields exceed the image."""
    if _is_rebuilt(card, size):
        st.caption(
            f"{texts.plain(card.name)} itself takes {card.input_size} px only, since its dense layer reads all of the "
            f"last maps. This is the same architecture, built for {size} px: its dense layer has another size."
        )
    beyond = [part.name for part in network.stages(described) if max(part.receptive_field.size or (0,)) > size]
    if beyond:
        st.caption(f"From {beyond[0]} on, the receptive field is larger than the whole image of {size} px.")
    if described.unused:
        st.caption("The last number counts parameters that only help in training.")
