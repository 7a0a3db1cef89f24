"""The sidebar, the same on every page: network, layer, batch norm and image."""

import random
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.uploaded_file_manager import UploadedFile

from engine import checkpoints, pretrained, views, weights
from engine.checkpoints import Card
from engine.data import CIFAR10_CLASSES, photographs
from engine.errors import ConvscopeError
from engine.views import PHOTOGRAPHS, View
from engine.weights import Weights
from pages import directory
from pages.common import controls, pretrained_download, resources, texts
from pages.common.controls import Option, choose, number_in_link, segments, steps, switch
from pages.common.resources import OWN

__all__ = ["choose", "number_in_link", "segments", "steps", "switch"]

USUAL = {
    "checkpoint": views.USUAL_NETWORK,
    "weights": weights.TRAINED,
    "layer": "conv5_x",
    "bn": "true",
    "images": "test",
    "class": "airplane",
    "number": "0",
}
"""What the sidebar says at first, as a link says it."""
PREFERRED = USUAL["checkpoint"]
PREDICTED = "predicted"
"""Instead of a class: the one that the network predicts."""
BUNDLED = ("test", "train")
SPLITS = (*BUNDLED, PHOTOGRAPHS, OWN)
HELD = "_own_held"
"""In the session: page and key of the uploader that held an own picture when the sidebar was last drawn."""


@dataclass(frozen=True)
class Selection:
    """What the sidebar says.

    Attributes:
        card: of the chosen checkpoint.
        network: which weights of which network; as text, what a headline calls it.
        layer: a friendly name of a layer.
        batch_norm: whether batch norm takes part in reconstructions.
        image: the image.
    """

    card: Card
    network: Weights
    layer: str
    batch_norm: bool
    image: "ChosenImage"

    @property
    def split(self) -> str:
        return self.image.split

    @property
    def index(self) -> int:
        return self.image.index

    @property
    def truth(self) -> str | None:
        """The image's class, or None where nobody has said it."""
        return self.image.truth

    @property
    def image_name(self) -> str:
        """What a caption calls the image: "test image 17"."""
        return self.image.name

    def view(self, layer: str | None = None, size: int | None = None) -> View:
        """What the reader looks at, at the network's own input size, unless another layer or size is given."""
        layer = self.layer if layer is None else layer
        return View(self.network, layer, self.split, self.index, size or self.card.input_size)


@dataclass(frozen=True)
class ChosenImage:
    """An image as `resources.pixels` takes it (`split`, `index`), its class if it has one, and what to call it."""

    split: str
    index: int
    truth: str | None
    name: str


def current() -> Selection:
    """What was chosen in the sidebar in this run; ends the page if the sidebar has reported an error instead."""
    selection = st.session_state.get("_selection")
    if selection is None:
        st.stop()
    return selection


def from_the_beginning(link: Mapping[str, str | list[str]]) -> dict[str, str | list[str]]:
    """`link`, with the usual value of whatever else the reader has changed in the sidebar: a click keeps the rest."""
    return {key: value for key, value in USUAL.items() if key in st.query_params} | dict(link)


def load_what_is_shown_first() -> None:
    """Fill the caches with what the first visitor sees: the preferred network, and its answer to the first image."""
    beside = threading.Thread(target=resources.images, args=(BUNDLED[0],))  # unpacked by the other core
    beside.start()
    card = weights.cards()[PREFERRED]
    network = Weights.of(card)
    resources.has_batch_norm(network)
    beside.join()
    first = int(resources.indices_by_class(BUNDLED[0])[0][0])
    layer = list(resources.layers(network))[-1]
    resources.recording(View(network, layer, BUNDLED[0], first, card.input_size))


def draw_sidebar(page: directory.Entry) -> None:
    """Draw the controls and remember what they say for `current`; those that the page does not use, out of sight.

    They keep their values that way. Whoever comes to a page without them has none to keep, and waits for no network.
    """
    used = page.sidebar
    st.session_state["_selection"] = None
    cards = weights.cards()
    if not cards:
        raise ConvscopeError(
            "There are no trained networks in checkpoints/: get them with `git checkout -- checkpoints`."
        )
    if not used and not controls.may_have_values("checkpoint"):
        return
    with _part(directory.NETWORK, used):
        name = choose("Network", "checkpoint", list(cards), PREFERRED, _why_no_checkpoint, tells_of_loss=True)
        if weights.is_pretrained(name):
            st.caption(pretrained.reported(name))
        moment = _moment(name)
        network = Weights.of(cards[name], moment)
    layers = list(resources.layers(network))
    with _part(directory.LAYER, used):
        usual = views.usual_layer(cards[name], layers, page.plays_back)
        layer = choose("Layer", "layer", layers, usual, lambda asked: f"{name} has no layer {asked!r}")
    with _part(directory.BATCH_NORM, used):
        batch_norm = _batch_norm_toggle(network)
    with _part(directory.IMAGE, used):
        image = _image_controls(page)
    with _part(directory.NETWORK, used, "more"):
        pretrained_download.offer()
    st.session_state["_selection"] = Selection(cards[name], network, layer, batch_norm, image)


def _part(name: str, used: Collection[str], key: str = "") -> DeltaGenerator:
    """The place of some controls in the sidebar, which the style hides where they are not used."""
    return st.sidebar.container(key=f"{'used' if name in used else 'unused'}_{key or name.replace(' ', '_')}")


def _why_no_checkpoint(name: str) -> str:
    try:
        (pretrained if weights.is_pretrained(name) else checkpoints).load(name)
    except ConvscopeError as error:
        return str(error)
    return f"The checkpoint {name!r} has just appeared"


def _moment(name: str) -> str:
    """Before, in the course of, or after the training: a slider over the states of the network that are kept."""
    why = (
        "Untrained: the weights that training began with, random ones or another network's; a number: the weights "
        "after that epoch."
    )
    return steps("Weights", weights.moments(name), "weights", weights.TRAINED, help=why)


def _batch_norm_toggle(network: Weights) -> bool:
    has = resources.has_batch_norm(network)
    why = "Batch norm takes part when a signal is played back." if has else "This network has no batch norm."
    return switch("Batch norm in the reconstruction", "bn", has, why) or not has


# The image -----------------------------------------------------------------------------------------------------


def _image_controls(page: directory.Entry) -> ChosenImage:
    from_link = controls.brings("images", OWN)
    split = choose("Images", "images", list(SPLITS), "test")
    if split == OWN:
        image = _own_picture(page)
        if from_link and image.split != OWN and directory.IMAGE in page.sidebar:
            _say_whose_picture_is_missing(image)
        return image
    st.session_state.pop(HELD, None)
    return _photograph() if split == PHOTOGRAPHS else _bundled_image(split, directory.IMAGE in page.sidebar)


def _bundled_image(split: str, is_used: bool) -> ChosenImage:
    image = _of_class(split, "class", "number", CIFAR10_CLASSES[0], label="Class")
    if is_used:  # a button that is out of sight would still hear its key
        st.button("Random image", on_click=_choose_at_random, args=(split,), width="stretch", shortcut="N")
    return image


def viewing_size(chosen: Selection) -> int:
    """The input size to look at."""
    option = size_option(chosen)
    fixed = len(option.offered) == 1
    reason = (
        "Its dense layer fits one input size only." if fixed else "A larger input gives larger maps in every layer."
    )
    return int(segments("Size, px", option.offered, "size", preferred=option.usual, disabled=fixed, help=reason))


def size_option(chosen: Selection) -> Option:
    """The sizes to look at; a network with a dense layer on its maps has only its own."""
    return Option("size", [str(size) for size in views.sizes(chosen.card)], str(chosen.card.input_size))


def second_image(split: str, usual: str = "") -> ChosenImage:
    """Another bundled image, to set beside the sidebar's; its controls appear where this is called.

    Args:
        usual: its class at first; the second one if not given.
    """
    split = split if split in BUNDLED else BUNDLED[0]
    return _of_class(split, "class2", "number2", usual or CIFAR10_CLASSES[1], label="Second image")


def class_to_explain(chosen: Selection, view: View) -> int:
    """The class whose logit is looked at: one that the reader picks, or the one that the network predicts."""
    return classes_to_explain(chosen, [view])[0]


def classes_to_explain(chosen: Selection, views: Sequence[View]) -> list[int]:
    """The same for several images: one class for all of them, or of each the predicted one."""
    asked = choose("Class", "logit", [PREDICTED, *chosen.card.classes], PREDICTED)
    if asked == PREDICTED:
        return [resources.answer(view).classes[0] for view in views]
    return [chosen.card.classes.index(asked)] * len(views)


def _of_class(split: str, class_key: str, number_key: str, usual: str, label: str) -> ChosenImage:
    truth = choose(label, class_key, list(CIFAR10_CLASSES), usual)
    indices = resources.indices_by_class(split)[CIFAR10_CLASSES.index(truth)]
    index = int(indices[number_in_link(f"Number (0 to {len(indices) - 1})", number_key, len(indices))])
    return ChosenImage(split, index, truth, f"{split} image {index}")


def _photograph() -> ChosenImage:
    offered = _offered_photographs()
    name = choose("Photograph", "photograph", list(offered), offered[0])
    return ChosenImage(PHOTOGRAPHS, offered.index(name), None, f"photograph: {name}")


def _own_picture(page: directory.Entry) -> ChosenImage:
    """The reader's file or camera picture, which stays in this session; the first photograph until there is one."""
    camera = st.toggle("Camera", key="camera", help="Take a picture instead of choosing a file.")
    if camera and not allows_camera(st.context.url):
        st.info("The camera needs HTTPS: choose a file instead, a phone offers its camera there.")
        camera = False
    if camera:
        file = st.camera_input("Take a picture", key="own_camera", on_change=controls.end_notices)
    else:
        file = st.file_uploader(
            photographs.KINDS,
            photographs.SUFFIXES,
            key="own_file",
            help="It is not written to disk, and nobody else is shown it.",
            on_change=controls.end_notices,
        )
    _take(file, (page.address, "own_camera" if camera else "own_file"))
    if "_own" not in st.session_state:
        st.info("Choose a picture here; until then you see a photograph.")
        return _first_photograph()
    number, name = st.session_state["_own"]
    return ChosenImage(OWN, number, None, f"your picture {name}")


def _take(file: UploadedFile | None, uploader: tuple[str, str]) -> None:
    """Keep the picture that an uploader holds; forget it when the reader has taken it out.

    On another page, or after another choice of images, the uploader may be a new one, which is empty too: that is no
    reason to forget a picture.
    """
    held = st.session_state.get(HELD)
    st.session_state[HELD] = None if file is None else uploader
    if file is not None:
        with texts.readable_errors():  # the last picture that could be read stays
            st.session_state["_own"] = (resources.bring_own_picture(file.getvalue(), file.name), file.name)
    elif held == uploader:
        st.session_state.pop("_own", None)


def allows_camera(url: str | None) -> bool:
    """Whether a browser lets the page at this address use a camera: over HTTPS, or on the server's own machine."""
    parts = urlsplit(url or "")
    return parts.scheme != "http" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def _first_photograph() -> ChosenImage:
    return ChosenImage(PHOTOGRAPHS, 0, None, f"photograph: {_offered_photographs()[0]}")


def _say_whose_picture_is_missing(shown: ChosenImage) -> None:
    controls.notice(
        "The link means somebody's own picture, which stayed in their session: "
        f"the {shown.name.replace(': ', ' ')} is shown instead."
    )


def _offered_photographs() -> tuple[str, ...]:
    """The names of the shipped photographs; raises ConvscopeError if there are none."""
    if not (offered := photographs.names()):
        raise ConvscopeError("There are no photographs in data/bundled: get them with `git checkout -- data/bundled`.")
    return offered


def _choose_at_random(split: str) -> None:
    """Put a random image of any class into the controls, and so into the link."""
    label = random.randrange(len(CIFAR10_CLASSES))
    st.session_state["class"] = CIFAR10_CLASSES[label]
    st.session_state["number"] = random.randrange(len(resources.indices_by_class(split)[label]))
