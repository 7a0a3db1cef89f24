"""What is computed once and shown to everybody: thin caches around the engine, keyed on small values.

Networks, images and recordings are shared by all sessions and changed by none. The recorded forward pass is kept, so
that a change of rule, path or batch norm costs one playback.
"""

from dataclasses import dataclass

import numpy as np
import streamlit as st
from torch import Tensor

from engine import batch_norm, checkpoints, data, deconv, evaluation, tape
from engine.batch_norm import Comparison
from engine.checkpoints import Card, StoredPredictions, Trained
from engine.data import LabelledImages
from engine.evaluation import Answer
from engine.tape import Tape


@dataclass(frozen=True)
class View:
    """Which layer of which network is looked at, on which image, at which input size; small enough to be a key."""

    checkpoint: str
    layer: str
    split: str
    index: int
    size: int


@dataclass(frozen=True)
class Playback:
    """What is sent back from a view's layer, and by which rules; small enough to be a key.

    Attributes:
        seed: one of `SEEDS`; `channels`: which ones, none for all at once.
        relu, path: see `engine.deconv.reconstruct`.
    """

    view: View
    seed: str
    channels: tuple[int, ...]
    relu: str
    path: str


def cards() -> dict[str, Card]:
    """The cards of all checkpoints on disk; read afresh, so that a new one appears at once."""
    return checkpoints.available()


def trained(name: str) -> Trained:
    """The network of a checkpoint, shared by all sessions; a replaced checkpoint is loaded again."""
    return _trained(name, checkpoints.read_card(checkpoints.FOLDER / name).weights_sha256)


@st.cache_resource(max_entries=16, show_spinner="Loading the network …")
def _trained(name: str, weights_sha256: str) -> Trained:
    return checkpoints.load(name)


@st.cache_resource(show_spinner="Unpacking the images …")
def images(split: str) -> LabelledImages:
    """The bundled images of a split, "test" or "train"."""
    return data.bundled(split)


@st.cache_data(show_spinner=False)
def indices_by_class(split: str) -> tuple[np.ndarray, ...]:
    """For each class, where its images lie in the split."""
    found = images(split)
    return tuple(np.flatnonzero(found.labels == label) for label in range(len(found.classes)))


@st.cache_resource(max_entries=16, show_spinner=False)
def predictions(name: str) -> StoredPredictions:
    """The stored logits of a checkpoint."""
    return checkpoints.predictions(name)


@st.cache_data(max_entries=64, show_spinner=False)
def layers(checkpoint: str) -> dict[str, str]:
    """`{friendly name: node name}` of a checkpoint's network, in order."""
    return tape.layers(trained(checkpoint).model)


@st.cache_data(max_entries=64, show_spinner=False)
def has_batch_norm(checkpoint: str) -> bool:
    """Whether a checkpoint's network normalises feature maps at all."""
    return batch_norm.normalises(trained(checkpoint).model)


def network_input(view: View) -> Tensor:
    """The view's image as its network takes it: `[1, 3, size, size]`."""
    card = trained(view.checkpoint).card
    picture = images(view.split).images[view.index : view.index + 1]
    return data.prepare(picture, view.size, card.mean, card.std)


@st.cache_resource(max_entries=24, show_spinner="Running the network …")
def recording(view: View) -> Tape:
    """The forward pass up to the view's layer."""
    return tape.record(trained(view.checkpoint).model, network_input(view), view.layer)


@st.cache_data(max_entries=64, show_spinner=False)
def answer(view: View) -> Answer:
    """What the network says of the view's image at the view's size."""
    return evaluation.answer(trained(view.checkpoint).model, network_input(view))


SEEDS = {
    "all channels": lambda activation, channels: deconv.all_channels(activation),
    "whole map": deconv.map_signals,
    "strongest unit": deconv.unit_signals,
}
"""What can be sent back: functions of the activation and the chosen channels."""


@st.cache_resource(max_entries=64, show_spinner="Playing the signal back …")
def comparison(playback: Playback) -> Comparison:
    """The same signals played back with batch norm and without it."""
    recorded = recording(playback.view)
    signal = SEEDS[playback.seed](recorded.activation, playback.channels)
    return batch_norm.compare(recorded, signal, relu=playback.relu, path=playback.path)
