"""What is computed once and shown to everybody: thin caches around the engine, keyed on small values.

Networks, images and recordings are shared by all sessions and changed by none. The recorded forward pass is kept, so
that a change of rule, path or batch norm costs one playback.

A network is named by its `Weights`, which carry the weights' SHA-256: when a checkpoint is replaced under its name,
sessions and jobs go on with the key that they hold, and the new weights have entries of their own. An image is named by
where it comes from (`split`) and a number: its index among the bundled images or photographs; of a reader's own picture
the number is made from its content, and its pixels stay in that reader's session.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st
from torch import Tensor

from engine import batch_norm, checkpoints, data, evaluation, playbacks, tape, weights
from engine.checkpoints import StoredPredictions, Trained
from engine.data import LabelledImages, photographs
from engine.deconv import Reconstruction
from engine.errors import ConvscopeError
from engine.evaluation import Answer
from engine.graph.receptive_field import ReceptiveField, receptive_field
from engine.playbacks import Playback
from engine.tape import Tape
from engine.views import PHOTOGRAPHS, View
from engine.weights import Weights
from pages.common.kept import keep

OWN = "own"
"""The split of a picture that a reader has brought."""
MOST_OWN_PICTURES = 4
"""How many of a reader's pictures a session keeps, the latest ones."""


@dataclass(frozen=True)
class PlaybackResult:
    """A playback's pictures, with everything that they were made from.

    Attributes:
        tape: the forward pass of its view; `layers`: `{friendly name: node name}` of its network.
        channels: those of the signals, none for all at once.
        signals: K of them, `[K, C, H, W]` (of a class `[1, K]`).
        reconstruction: their K pictures.
    """

    playback: Playback
    tape: Tape
    layers: Mapping[str, str]
    channels: tuple[int, ...]
    signals: Tensor
    reconstruction: Reconstruction


@keep("Loading the network …")
def trained(network: Weights) -> Trained:
    """A network, shared by all sessions."""
    return weights.load(network)


@st.cache_resource(show_spinner=False)  # a spinner has no place where the server warms up
def images(split: str) -> LabelledImages:
    """The bundled images of a split, "test" or "train"."""
    return data.bundled(split)


@st.cache_data(show_spinner=False)
def indices_by_class(split: str) -> tuple[np.ndarray, ...]:
    """For each class, where its images lie in the split."""
    return data.bundled_indices(split)


@st.cache_resource(max_entries=16, show_spinner=False)
def predictions(network: Weights) -> StoredPredictions:
    """The logits that are stored with a checkpoint.

    Raises:
        ConvscopeError: it has none; torchvision's networks know other classes than the bundled images'.
    """
    if weights.is_pretrained(network.checkpoint):
        raise ConvscopeError(
            f"There are no stored predictions of {network.checkpoint} on the test images, whose classes it does not "
            "know: choose a network that was trained on CIFAR-10."
        )
    return checkpoints.predictions(network.checkpoint)


@st.cache_data(max_entries=64, show_spinner=False)
def layers(network: Weights) -> dict[str, str]:
    """`{friendly name: node name}` of a network, in order."""
    return tape.layers(trained(network).model)


@st.cache_data(max_entries=64, show_spinner=False)
def stages(network: Weights) -> dict[str, str]:
    """`{stage: the layer that is its output}` of a network, in order."""
    return tape.stages(trained(network).model)


@st.cache_data(max_entries=64, show_spinner=False)
def logits(network: Weights) -> str:
    """The node name of a network's output, which can be looked at like a layer."""
    return tape.logits(trained(network).model)


@st.cache_data(max_entries=64, show_spinner=False)
def has_batch_norm(network: Weights) -> bool:
    """Whether a network normalises feature maps at all."""
    return batch_norm.normalises(trained(network).model)


# Images --------------------------------------------------------------------------------------------------------


def pixels(split: str, index: int) -> np.ndarray:
    """uint8 `[1, S, S, 3]`: the image that a view names.

    Raises:
        ConvscopeError: a reader's own picture that this session does not hold (any more).
    """
    if split == PHOTOGRAPHS:
        return photograph(photograph_name(index))[np.newaxis]
    if split == OWN:
        return _own_picture(index)[1][np.newaxis]
    return images(split).images[index : index + 1]


def photograph_name(index: int) -> str:
    """The name of a shipped photograph."""
    return photographs.names()[index]


@st.cache_resource(show_spinner=False)
def photograph(name: str) -> np.ndarray:
    """uint8 `[S, S, 3]`: a shipped photograph."""
    return photographs.shipped(name)


def bring_own_picture(content: bytes, name: str) -> int:
    """Keep a reader's picture in this session; gives the number that names it.

    Raises:
        ConvscopeError: the file is not a readable picture.
    """
    number = int(hashlib.sha256(content).hexdigest()[:12], 16)
    kept = st.session_state.setdefault("_own_pictures", {})
    if number not in kept:
        kept[number] = name, photographs.read(content, name)
        while len(kept) > MOST_OWN_PICTURES:
            kept.pop(next(iter(kept)))
    return number


def own_picture_name(number: int) -> str:
    """The file name of a reader's picture; errors as of `pixels`."""
    return _own_picture(number)[0]


def _own_picture(number: int) -> tuple[str, np.ndarray]:
    kept = st.session_state.get("_own_pictures", {})
    if number not in kept:
        raise ConvscopeError("Your own picture is no longer here: choose its file again in the sidebar.")
    return kept[number]


def network_input(view: View) -> Tensor:
    """The view's image as its network takes it: `[1, 3, size, size]`."""
    card = trained(view.network).card
    return data.prepare(pixels(view.split, view.index), view.size, card.mean, card.std)


@st.cache_resource(max_entries=64, show_spinner=False)
def input_pixels(view: View) -> np.ndarray:
    """uint8 `[size, size, 3]`: the view's image at the network's input size."""
    card = trained(view.network).card
    return data.pixels_of(network_input(view), card.mean, card.std)[0]


@st.cache_resource(max_entries=64, show_spinner=False)
def field(network: Weights, layer: str) -> ReceptiveField:
    """The receptive field of a layer's units."""
    return receptive_field(trained(network).model, layer)


@keep("Running the network …")
def recording(view: View) -> Tape:
    """The forward pass up to the view's layer."""
    return tape.record(trained(view.network).model, network_input(view), view.layer)


def answer(view: View) -> Answer:
    """What the network says of the view's image at the view's size, whichever layer is looked at."""
    return _answer(replace(view, layer=""))


@st.cache_data(max_entries=64, show_spinner=False)
def _answer(view: View) -> Answer:
    return evaluation.answer(trained(view.network).model, network_input(view))


def play(playback: Playback) -> PlaybackResult:
    """The playback's signals, played back to the pixels; its tape travels on with the pictures."""
    tape = recording(playback.view)
    channels, signals = playbacks.signals_of(playback, tape)
    names = layers(playback.view.network)
    return PlaybackResult(playback, tape, names, channels, signals, reconstruction(playback, tape, signals))


@keep("Playing the signal back …")
def reconstruction(playback: Playback, _tape: Tape, _signals: Tensor) -> Reconstruction:
    """The playback's pictures; its key says all that the tape and the signals depend on."""
    return playbacks.reconstruct(playback, _tape, _signals)
