"""The controls in which a training is put together; all of them are in the link.

A starting point gives every control its value. A change of the starting point, or of the network, sets the controls to
the values that belong to it.
"""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from engine.models import ARCHITECTURES
from engine.training.recipe import INITIALISATIONS, OPTIMIZERS, PRECISIONS, Recipe
from pages.common import selection, texts
from pages.common.controls import bound, draw_control, notice
from pages.train import controls
from pages.train.controls import Values

WHY_RANDOM = (
    "Each training image gets a class at random, and keeps it: can the network memorise that, and what does it "
    "then know of other images? (Zhang et al. 2017)"
)
WHY_STATES = "The network after epochs 1, 2, 4, 8 ... too, for the slider over the epochs; otherwise the one halfway."
WHY_MIXUP = (
    "Blends each image with another one of its batch, and what is asked of the network with it, so that the images "
    "cannot be memorised; 0 for none (Zhang et al. 2018)."
)
TAKEN = "_recipe_taken"
"""The starting point whose values the controls were last given."""


class Form:
    """Draws controls that begin with the values of `usual`, and collects what they say."""

    def __init__(self, usual: Values) -> None:
        self.usual = usual
        self.chosen: Values = {}

    def one_of(self, label: str, key: str, options: Sequence[str], **details: Any) -> str:
        """A few options side by side."""
        offered = list(options) if self.usual[key] in options else [*options, self.usual[key]]
        self.chosen[key] = selection.segments(label, offered, key, preferred=self.usual[key], **details)
        return self.chosen[key]

    def number(self, label: str, key: str, low: float, high: float, **details: Any) -> None:
        """A number from `low` to `high`; a whole one, if both are."""
        bound(key, self.usual[key])
        fits = _fits(key, low, high, self.usual[key])
        value = type(low)(self.usual[key])
        self.chosen[key] = draw_control(st.number_input, fits, label, low, high, value, key=key, **details)

    def switch(self, label: str, key: str, why: str = "") -> None:
        """On or off."""
        self.chosen[key] = selection.switch(label, key, True, why, usual=self.usual[key])


def _fits(key: str, low: float, high: float, usual: float) -> bool:
    """Whether the address asks for a number that is on offer, or for none; says so if not."""
    asked = st.query_params.get(key)
    try:
        fits = asked is None or low <= type(low)(asked) <= high
    except ValueError:
        fits = False
    if not fits:
        number = "a whole number" if isinstance(low, int) else "a number"
        st.session_state.pop(key, None)
        offered = f"it must be {number} from {low:,.10g} to {high:,.10g}: {usual:g} is shown instead."
        notice(f"The link asks for {key} {asked[:20]!r}, but {offered}")
    return fits


def draw(base: Recipe) -> Recipe:
    """The whole form; returns the recipe that it describes, which differs from `base` where a reader has chosen so.

    Raises:
        ConvscopeError: no training can use these settings.
    """
    form = Form(controls.settings_of(base))
    _draw_network(form, base)
    _draw_images(form)
    _draw_phases(form, base)
    notes = st.container()
    with st.expander("More settings"):
        _draw_more(form)
    recipe = controls.recipe_of({**form.usual, **form.chosen}, base)
    if remarks := controls.remarks(recipe, base):
        notes.caption(texts.plain(" ".join(remarks)))
    return recipe


def starting_point() -> Recipe:
    """The recipe to begin with; a change of it sets all controls that are drawn after this one.

    Raises:
        ConvscopeError: its file cannot be understood.
    """
    names = controls.starting_points()
    name = selection.choose("Begin with", "recipe", names, names[0])
    base = controls.starting_point(name)
    if st.session_state.setdefault(TAKEN, name) != name:
        st.session_state.update(controls.settings_of(base))
        st.session_state[TAKEN] = name  # only now: this script may be interrupted by a rerun before it gets here
    return base


# The network ---------------------------------------------------------------------------------------------------


def _draw_network(form: Form, base: Recipe) -> None:
    form.one_of("Network", "architecture", controls.networks(), on_change=_take_over_network)
    if form.chosen["architecture"] == controls.CONVNET:
        form.one_of("Depth", "depth", controls.depths(), on_change=_take_over_network)
    name = controls.architecture({**form.usual, **form.chosen})
    if name != base.architecture:
        form.usual |= _of_architecture(name)
    st.caption(ARCHITECTURES[name].summary)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for option in controls.usual_options(name):
            OPTION_CONTROLS[option](form)


def _take_over_network() -> None:
    """Set the options and the image size to what is usual for the chosen network."""
    if "architecture" not in st.session_state:  # a link that is being followed sets all of them
        return
    depth = st.session_state.get("depth", controls.depths()[-2])
    name = controls.architecture({"architecture": st.session_state["architecture"], "depth": depth})
    st.session_state.update(_of_architecture(name))


def _of_architecture(name: str) -> Values:
    values = controls.network_settings(name, {}) | {"input_size": str(ARCHITECTURES[name].input_size)}
    return {key: value for key, value in values.items() if key not in ("architecture", "depth")}


OPTION_CONTROLS = {
    "dropout": lambda form: form.number("Dropout", "dropout", 0.0, 0.9, step=0.05, width=170),
    "kernel_size": lambda form: form.one_of("Kernels", "kernel_size", controls.KERNELS),
    "pool_size": lambda form: form.one_of("Pooling", "pool_size", ("2", "3")),
    "width": lambda form: form.number("Dense units", "width", 8, 4096, step=8, width=170),
    "strided": lambda form: form.switch("Strides instead of pooling", "strided"),
    "batch_norm": lambda form: form.switch("Batch norm", "batch_norm"),
}


# Images and phases ---------------------------------------------------------------------------------------------


def _draw_images(form: Form) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        form.one_of("Images", "dataset", tuple(controls.DATA))
        form.one_of("Size, px", "input_size", tuple(str(size) for size in controls.SIZES))
        form.number("Batch", "batch_size", 2, 4096, width=150)


def _draw_phases(form: Form, base: Recipe) -> None:
    numbers = range(1, max(controls.PHASES, len(base.phases)) + 1)
    count = int(form.one_of("Phases, one after the other", "phases", [str(number) for number in numbers]))
    for number in range(1, count + 1):
        optimizer, rate, epochs, schedule = st.columns([1.55, 1, 0.8, 1.85], vertical_alignment="bottom")
        with optimizer:
            form.one_of(f"Phase {number}" if count > 1 else "Optimizer", f"optimizer{number}", OPTIMIZERS)
        with rate:
            form.number("Learning rate", f"learning_rate{number}", 1e-6, 10.0, format="%g", step=0.001)
        with epochs:
            form.number("Epochs", f"epochs{number}", 1, 1000)
        with schedule:
            form.one_of("Schedule", f"schedule{number}", tuple(controls.SCHEDULES))


def _draw_more(form: Form) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        form.switch("Mirror half of the images", "flip")
        form.number("Shift by up to, px", "crop_padding", 0, 16, width=190)
        why = "The side of a grey square that hides a part of each image; 0 for none."
        form.number("Cutout, px", "cutout", 0, 32, width=190, help=why)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        form.number("Label smoothing", "label_smoothing", 0.0, 0.9, step=0.05, width=170)
        form.number("Mixup", "mixup", 0.0, 10.0, step=0.1, width=170, help=WHY_MIXUP)
        why = "The moving average of the weights over the steps is what is measured and kept; 0 for none."
        form.number("EMA of the weights", "ema", 0.0, 0.9999, step=0.001, format="%g", width=170, help=why)
        form.number("Seed", "seed", 0, 1_000_000_000, width=170, help="Of weights, order and augmentation.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        form.one_of("Initialisation", "initialisation", INITIALISATIONS)
        form.one_of("Precision", "precision", PRECISIONS)
        form.switch("Random labels", "random_labels", WHY_RANDOM)
        form.switch("Keep states over time", "keep_states", WHY_STATES)
