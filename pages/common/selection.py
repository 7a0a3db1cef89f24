"""The sidebar, the same on every page: network, layer, image and batch norm, all kept in the link.

Every control is bound to the URL under its key, so each view is a link that restores it. Streamlit drops values from a
link that a control does not offer; `say_what_was_ignored` tells the reader so, instead of showing another view in
silence.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from engine import checkpoints
from engine.checkpoints import Card
from engine.errors import ConvscopeError
from pages.common import resources

PREFERRED = "resnet18"
SPLITS = ("test", "train")


@dataclass(frozen=True)
class Selection:
    """What the sidebar says.

    Attributes:
        card: of the chosen checkpoint.
        layer: a friendly name of its network.
        batch_norm: whether batch norm takes part in reconstructions.
        split, index: the image among the bundled ones.
        label: its class.
        number: its number among the images of its class, from 0.
    """

    card: Card
    layer: str
    batch_norm: bool
    split: str
    index: int
    label: int
    number: int


def current() -> Selection:
    """What was chosen in the sidebar in this run; ends the page if the sidebar has reported an error instead."""
    selection = st.session_state.get("_selection")
    if selection is None:
        st.stop()
    return selection


def draw_sidebar() -> None:
    """Draw the controls and remember what they say for `current`."""
    st.session_state["_selection"] = None
    cards = resources.cards()
    if not cards:
        raise ConvscopeError(
            "There are no trained networks in checkpoints/: get them with `git checkout -- checkpoints`."
        )
    with st.sidebar:
        name = _choose("Network", "checkpoint", list(cards), PREFERRED, _why_no_checkpoint)
        layers = list(resources.layers(name))
        layer = _choose("Layer", "layer", layers, layers[-1], lambda asked: f"{name} has no layer {asked!r}")
        batch_norm = _batch_norm_toggle(name)
        split, index, label, number = _image_controls()
    st.session_state["_selection"] = Selection(cards[name], layer, batch_norm, split, index, label, number)


Explain = Callable[[str], str]


def _choose(label: str, key: str, options: list[str], preferred: str, explain: Explain | None = None) -> str:
    """A select box bound to the link, which falls back to `preferred` when the link asks for something else."""
    default = preferred if preferred in options else options[0]
    _forget_what_is_not_on_offer(key, options, default, explain)
    return st.selectbox(label, options, index=options.index(default), key=key, bind="query-params")


def segments(label: str, options: Sequence[str], key: str, preferred: str | None = None, **settings: Any) -> str:
    """A choice among a few options side by side, kept in the link."""
    default = preferred or options[0]
    _forget_what_is_not_on_offer(key, options, default)
    return st.segmented_control(
        label, options, default=default, key=key, bind="query-params", required=True, **settings
    )


def switch(label: str, key: str, enabled: bool, why: str) -> bool:
    """A switch that is on at first, kept in the link; `why` explains it, or why it is not enabled."""
    _forget_what_is_not_on_offer(key, ("true", "false"), "true", known_state=(True, False))
    return st.toggle(label, value=True, key=key, bind="query-params", disabled=not enabled, help=why)


def _forget_what_is_not_on_offer(
    key: str, options: Sequence[str], default: str, explain: Explain | None = None, known_state: Sequence[Any] = ()
) -> None:
    """Drop a value that the control does not offer, and say so if it came with the link."""
    if st.session_state.get(key) not in (known_state or options):
        st.session_state.pop(key, None)
    asked = st.query_params.get(key)
    if asked is not None and asked.lower() not in options and asked not in options:
        reason = explain(asked) if explain else f"The link asks for {key} {asked!r}, which is not on offer here"
        st.warning(f"{reason.rstrip('.')}: {default} is shown instead.")


def _why_no_checkpoint(name: str) -> str:
    try:
        checkpoints.load(name)
    except ConvscopeError as error:
        return str(error)
    return f"The checkpoint {name!r} has just appeared"


def _batch_norm_toggle(checkpoint: str) -> bool:
    has = resources.has_batch_norm(checkpoint)
    why = "Batch norm takes part when a signal is played back." if has else "This network has no batch norm."
    return switch("Batch norm in the reconstruction", "bn", has, why) or not has


def _image_controls() -> tuple[str, int, int, int]:
    """Split, index in it, class, and number within the class of the chosen image."""
    split = _choose("Images", "images", list(SPLITS), "test")
    data = resources.images(split)
    of_class = resources.indices_by_class(split)
    label = data.classes.index(_choose("Class", "class", list(data.classes), data.classes[0]))
    number = number_in_link(f"Number (0 to {len(of_class[label]) - 1})", "number", len(of_class[label]))
    st.button("Random image", on_click=_choose_at_random, args=(split,), width="stretch", shortcut="N")
    return split, int(of_class[label][number]), label, number


def number_in_link(label: str, key: str, count: int, default: int = 0) -> int:
    """A number from 0 to `count` - 1, kept in the link."""
    asked = st.query_params.get(key)
    if asked is not None and not (asked.isdecimal() and int(asked) < count):
        st.warning(f"The link asks for {key} {asked!r}, but there are 0 to {count - 1}: {default} is shown instead.")
    if st.session_state.get(key, 0) not in range(count):
        st.session_state.pop(key, None)
    # A default other than the minimum would clash with a value that `_choose_at_random` has just put in.
    value = default or "min"
    return int(st.number_input(label, 0, count - 1, value, step=1, key=key, bind="query-params"))


def _choose_at_random(split: str) -> None:
    """Put a random image of any class into the controls, and so into the link."""
    data = resources.images(split)
    label = random.randrange(len(data.classes))
    st.session_state["class"] = data.classes[label]
    st.session_state["number"] = random.randrange(len(resources.indices_by_class(split)[label]))
