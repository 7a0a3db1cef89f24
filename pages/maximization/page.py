"""Maximisation: pictures that excite a channel or a class, beside the test images that excite it most."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import streamlit as st

from engine.maximization import OBJECTIVES, PRESETS, stored
from engine.maximization.stored import MaximizationSettings
from engine.patches import CLASSES, TopPatches
from engine.weights import Weights
from pages.common import (
    ascents,
    controls,
    downloads,
    layout,
    resources,
    selection,
    sheets,
    strongest_images,
    texts,
    touch,
)
from pages.common.ascents import Ascent
from pages.common.charts import ink
from pages.common.controls import Option
from pages.common.jobs import buttons, follow
from pages.common.selection import Selection
from pages.common.touch import Grid
from pages.maximization import charts, code, drawings

VIEWS = ("16 channels", "all channels", "one channel", "classes")
STEPS = ("64", "128", "256", "512")
SEEDS = 100
NUMBER_WIDTH = 140
OPTIONS = {
    "objective": Option("objective", OBJECTIVES),
    "preset": Option("parametrisation", tuple(PRESETS)),
    "steps": Option("steps", STEPS, str(stored.STEPS)),
    "seed": Option("seed", range(SEEDS)),
}
Draw = Callable[[bytes, str, Sequence[float]], None]
"""Shows a sheet: its PNG, its words for those who cannot see it, and each channel's activation."""


def main() -> None:
    """The page."""
    chosen = selection.current()
    top, row = st.container(), layout.row()
    with row:
        settings = draw_controls(chosen)
    what = "the class scores" if settings.layer == CLASSES else f"channels of {chosen.layer}"
    with top:
        texts.headline(f"What excites {what} of {chosen.network} most: optimised pictures and test images")
    job, search = ascents.ascent(settings), strongest_images.search(chosen.network)
    with row:
        buttons(job, start="Make the pictures", again="Make them again", key="ascent")
        if search.alive or strongest(settings) is None:
            buttons(search, start=strongest_images.START, key="search")
    follow(job, search, look=lambda: draw_results(settings, job, job.alive or search.alive))
    explain(settings)


# The controls --------------------------------------------------------------------------------------------------


def draw_controls(chosen: Selection) -> MaximizationSettings:
    """The row of controls."""
    view = selection.segments("Pictures for", VIEWS, "view")
    layer = CLASSES if view == "classes" else chosen.layer
    with st.container(width=NUMBER_WIDTH):
        first, count = channels(view, channel_count(chosen.network, layer))
    with layout.options(OPTIONS | {"size": selection.size_option(chosen)}):
        of_class = (
            "The mean of the positive part of the whole map, or one unit in its middle; a class has one unit only."
        )
        objective = selection.segments("Objective", OBJECTIVES, "objective", disabled=view == "classes", help=of_class)
        of_preset = "Gradient ascent on the pixels themselves, or on Fourier coefficients of a picture that moves."
        preset = selection.segments("Parametrisation", list(PRESETS), "preset", help=of_preset)
        steps = int(selection.segments("Steps", STEPS, "steps", preferred=OPTIONS["steps"].usual))
        size = selection.viewing_size(chosen)
        seed = selection.number_in_link("Random seed", "seed", SEEDS)
    return MaximizationSettings(chosen.network, layer, first, count, objective, preset, steps, seed, size)


def channels(view: str, count: int) -> tuple[int, int]:
    """The first channel and how many."""
    if view == "one channel":
        return selection.number_in_link("Channel", "channel", count), 1
    if view == "16 channels" and count > stored.AT_ONCE:
        first = selection.number_in_link("First channel", "first_channel", count - stored.AT_ONCE + 1)
        return first, stored.AT_ONCE
    return 0, count


@st.cache_data(max_entries=128, show_spinner=False)
def channel_count(network: Weights, layer: str) -> int:
    """How many channels a layer has."""
    return stored.channel_count(resources.trained(network), layer)


# The results ---------------------------------------------------------------------------------------------------


def draw_results(settings: MaximizationSettings, job: Ascent, alive: bool) -> None:
    """Everything that changes while a job goes on; meanwhile no tile can be chosen (see `jobs.follow`)."""
    top, draw = strongest(settings), partial(show_sheet, settings, alive)
    is_made = job.maximization is not None
    pictures, images = partial(show_pictures, settings, job, draw), partial(show_images, settings, top, draw)
    first, second = (pictures, images) if is_made or top is None else (images, pictures)  # what there is, large
    with layout.stage():
        large, beside, ascent = st.columns([1.6, 0.8, 1] if is_made else [2.4, 0.8, 0.2], gap="small")
    with large:
        first()
    with beside, layout.stage(2, caption_lines=2):
        second()
        show_reconstructions(settings, top, draw)
    if is_made:
        with ascent:
            show_ascent(settings, job, top)


def strongest(settings: MaximizationSettings) -> TopPatches | None:
    """The test images that excite the layer's channels most, by the same objective; None before the search."""
    index = strongest_images.index(settings.network)
    return None if index is None else index.of(settings.layer, settings.objective)


def show_pictures(settings: MaximizationSettings, job: Ascent, draw: Draw) -> None:
    """The pictures as they form."""
    if job.maximization is None:
        st.info("Nobody has made these pictures yet.")
        return
    png, alt = drawings.sheet(job.maximization.pictures), f"Pictures that excite {settings.layer}"
    draw(png, alt, job.maximization.activations[-1])
    st.caption(
        f"**Optimised pictures** after {job.maximization.steps[-1]} steps, {settings.size} px. {in_rows(settings)}"
    )


def show_sheet(settings: MaximizationSettings, alive: bool, png: bytes, alt: str, values: Sequence[float]) -> None:
    """A sheet whose tiles can be chosen, if there is one for each of several channels; `values`: their activations."""
    if alive or settings.count == 1 or settings.layer == CLASSES:
        sheets.show(png, alt)
        return
    names = drawings.names(settings)
    words = [f"{name}: activation {value:.3g}" for name, value in zip(names, values, strict=True)]
    grid = Grid(settings.count, math.ceil(math.sqrt(settings.count)), drawings.gap(settings.count), words=words)
    key = alt.split()[0].lower()
    touch.show(
        png, alt, key, grid, "Channel", None, lambda cell: show_channel(settings.channels[cell]), leads_away=True
    )


def show_channel(channel: int) -> None:
    """Put one channel into the controls."""
    controls.put("view", VIEWS[2])
    controls.put("channel", channel)


def in_rows(settings: MaximizationSettings) -> str:
    """Which picture is which."""
    if settings.layer == CLASSES:
        return f"Row by row: {texts.plain(', '.join(drawings.names(settings)))}."
    if settings.count == 1:
        return f"Channel {settings.first}."
    return f"Channels {settings.first} to {settings.first + settings.count - 1}, row by row."


def show_images(settings: MaximizationSettings, top: TopPatches | None, draw: Draw) -> None:
    """The test images that excite the same units most."""
    if top is None:
        st.info("Nobody has searched for the test images that excite these units most.")
        return
    png = drawings.test_images(drawings.examples(settings, top))
    draw(png, "Strongest test images", largest_of(settings, top))
    what = "the nine strongest, row by row" if settings.count == 1 else "the strongest one for each"
    st.caption(f"**Strongest test images**: {what}, of {image_count():,}.")


def largest_of(settings: MaximizationSettings, top: TopPatches) -> np.ndarray:
    """`[K]`: each channel's largest activation on a test image."""
    return top.values[list(settings.channels), 0]


def image_count() -> int:
    return len(resources.images("test"))


def show_reconstructions(settings: MaximizationSettings, top: TopPatches | None, draw: Draw) -> None:
    """The deconvnet reconstructions on those images."""
    if top is None:
        return
    examples = drawings.examples(settings, top)
    if len(examples.images) > drawings.PLAYED_AT_MOST:
        st.caption(f"For at most {drawings.PLAYED_AT_MOST} channels: choose 16 of them.")
        return
    drawn = drawings.reconstructions(examples)
    alt = "Deconvnet reconstructions on the strongest test images"
    draw(drawn.png, alt, largest_of(settings, top))
    part = f" Only the {drawn.side} × {drawn.side} px that are not zero everywhere." if drawn.trimmed else ""
    st.caption(f"**Deconvnet reconstructions** from each channel's strongest unit on that image.{part} Grey is zero.")


def show_ascent(settings: MaximizationSettings, job: Ascent, top: TopPatches | None) -> None:
    """The activations in words and step by step, and the downloads."""
    largest = drawings.largest(settings, top)
    table = charts.ascent_table(job.maximization, drawings.names(settings), largest)
    spec = charts.ascent_chart(table, ink())
    st.vega_lite_chart(spec, height="stretch", alt="Activation after each step")
    st.info(drawings.verdict(job.maximization, largest, image_count()))
    if largest is None:
        st.caption("Compared with the test images once they have been searched, at the network's own size.")
    shown = drawings.sheet(job.maximization.pictures)
    downloads.picture("Optimised pictures", shown, "maximization.png", in_rows(settings))
    downloads.chart(partial(charts.ascent_chart, table), table, "ascent", "Activation after each step")
    downloads.code(code.of(settings))


# Words ---------------------------------------------------------------------------------------------------------

EQUATIONS = {
    "pixels": r"x \leftarrow x + \eta\,\frac{\nabla h(x)}{|\nabla h(x)|}\,,\qquad |x| \le r"
    r"\qquad\text{(}h\text{: the activation, }r\text{: the norm of a typical image)}",
    "Fourier": r"z \leftarrow z + \eta\,\mathrm{Adam}\big(\nabla_z\, h(\text{moved } x)\big)\,,\qquad "
    r"x = \text{sigmoid}\big(M\,F^{-1}(z / f^{1.5})\big)"
    r"\qquad\text{(}f\text{: frequency, }M\text{: colours of photographs)}",
}


def explain(settings: MaximizationSettings) -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(
        "Layer by layer: stripes and spots of one colour at conv1, parts of animals and vehicles at the end.",
        "Do optimised pictures and test images agree? Where they do not, what else may excite the unit?",
        "Pixels against Fourier: grain that no eye would read can excite a unit as much as a pattern does.",
    )
    st.latex(EQUATIONS[settings.preset])


main()
