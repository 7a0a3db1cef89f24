"""Reconstruction: the signal of a layer, played back to the pixels by a deconvnet, with batch norm and without it."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from engine import deconv, feature_maps, pictures, playbacks
from engine.playbacks import (
    CHOSEN,
    CLASS,
    OF_CHANNELS,
    ONE,
    SIGNALS,
    STRONGEST,
    TOP,
    UNITS,
    WEIGHT_SCALES,
    Comparison,
    Playback,
)
from engine.tape import Tape
from engine.views import PHOTOGRAPHS, View
from pages.common import controls, downloads, layout, resources, selection, sheets, texts, touch
from pages.common.controls import Option
from pages.common.selection import ChosenImage, Selection
from pages.common.touch import Grid
from pages.reconstruction import code, figure
from pages.reconstruction.figure import Figure, Picture

ALL_BLOCKS = "all"
OPTIONS = {
    "signal": Option("signal", SIGNALS),
    "unit": Option("unit", UNITS),
    "logit": Option("class", usual=selection.PREDICTED),
    "rule": Option("rule", deconv.RELU_RULES),
    "path": Option("path", deconv.PATHS),
    "block": Option("block", usual=ALL_BLOCKS),
}
BESIDE = 2
"""So many pictures leave room for the chart of the gains beside them."""


# The controls --------------------------------------------------------------------------------------------------


def draw_controls(chosen: Selection) -> tuple[Playback, Comparison, ChosenImage | None]:
    """The controls above the pictures: what to set side by side; and behind a button what to play back, and how.

    The image is the second one, where two are compared.
    """
    with layout.row():
        beside = st.container(horizontal=True, gap="small", vertical_alignment="bottom", width="stretch")
        with layout.options(OPTIONS | {"size": selection.size_option(chosen)}):
            signal = selection.segments("Signal", SIGNALS, "signal")
            unit = selection.segments("of each channel", UNITS, "unit") if signal in OF_CHANNELS else signal
            size = selection.viewing_size(chosen)
            layer = resources.logits(chosen.network) if signal == CLASS else chosen.layer
            view = chosen.view(layer, size)
            tape = resources.recording(view)
            place = touch.place(*tape.activation.shape[2:]) if unit == CHOSEN else None
            playback = Playback(view, unit, batch_norm=chosen.batch_norm, place=place)
            playback = with_channels(playback, signal, chosen, tape)
            playback = with_rules(playback, tape)
    with beside:
        offered = playbacks.on_offer(tape, resources.has_batch_norm(chosen.network), playback.signal == CLASS)
        by = selection.segments("Compare", offered, "compare")
        second = selection.second_image(chosen.split) if by == "images" else None
        if by == "batch norm":
            playback = with_weight_scale(playback, tape)
    other = second and replace(view, split=second.split, index=second.index)
    stages = resources.stages(chosen.network).values()
    return playback, playbacks.comparison(by, playback, stages, other), second


def with_channels(playback: Playback, signal: str, chosen: Selection, tape: Tape) -> Playback:
    """The channels of the signal: none in particular, one that the reader picks, or the strongest ones."""
    if signal == CLASS:
        return replace(playback, channels=(selection.class_to_explain(chosen, playback.view),))
    if signal == ONE:
        strongest = deconv.strongest_channels(tape.activation, 1)[0]
        label, count = f"Channel (strongest: {strongest})", tape.activation.shape[1]
        return replace(playback, channels=(selection.number_in_link(label, "channel", count, strongest),))
    return replace(playback, strongest=TOP.get(signal, 0))


def with_rules(playback: Playback, tape: Tape) -> Playback:
    """By which rules ReLUs and residual adds are reversed."""
    rule = selection.segments("ReLU rule", deconv.RELU_RULES, "rule")
    path, block = residual_path(tape)
    return replace(playback, relu=rule, path=path, block=block)


def residual_path(tape: Tape) -> tuple[str, str]:
    """Where residual adds send the signal, if it meets any, and the one block for which that is meant ("": all)."""
    blocks = deconv.residual_blocks(tape)
    reason = "Which branch of each residual block the signal goes back along." if blocks else "No residual block here."
    path = selection.segments(
        "Path", deconv.PATHS if blocks else deconv.PATHS[:1], "path", disabled=not blocks, help=reason
    )
    if path == "both":
        return path, ""
    block = selection.choose("in block", "block", [ALL_BLOCKS, *blocks], ALL_BLOCKS)
    return path, "" if block == ALL_BLOCKS else block


def with_weight_scale(playback: Playback, tape: Tape) -> Playback:
    """`playback` as if all weights were larger or smaller and their batch norms adjusted."""
    reason = playbacks.why_no_weight_scale(tape)
    why = reason or "All weights times this. Batch norm divides by it again: the network stays the same. The picture?"
    settings = {"disabled": bool(reason), "width": 180, "help": why}
    scale = selection.steps("Weight scale", tuple(WEIGHT_SCALES), "weight_scale", "1", **settings)
    return replace(playback, weight_scale=1.0 if reason else WEIGHT_SCALES[scale])


# What is shown -------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=64, show_spinner=False)
def image_png(split: str, index: int) -> bytes:
    """A PNG of an image as `resources.pixels` names it, enlarged without blur."""
    return pictures.png(pictures.enlarged(resources.pixels(split, index), sheets.SIDE)[0])


def show_image(image: ChosenImage, playback: Playback, key: str = "image", *more: str) -> None:
    """The image, and its class or name; a click chooses the unit whose receptive field is there.

    Args:
        key: tells it from the other images of the page.
        more: further lines below it.
    """
    png, alt = image_png(image.split, image.index), f"The image: {image.name}"
    if playback.signal == CLASS:
        sheets.show(png, alt)
    else:
        show_units(png, alt, key, playback)
    name = f"{image.truth}, {image.name}" if image.truth else image.name
    st.caption("  \n".join(map(texts.plain, (name, *more))))


def show_units(png: bytes, alt: str, key: str, playback: Playback) -> None:
    """The image with the layer's units over it; the receptive field of the one whose signal is sent has a frame."""
    view, activation = playback.view, resources.recording(playback.view).activation
    channel = playback.channels[0] if len(playback.channels) == 1 else None
    strongest = activation[0].amax(dim=0) if channel is None else activation[0, channel]
    unit = playback.place
    if unit is None and channel is not None and playback.signal == STRONGEST and strongest.any():
        [unit] = feature_maps.strongest_units(strongest[None, None])
    grid = touch.units(strongest, resources.field(view.network, view.layer), view.size)
    touch.show_units(png, alt, key, grid, unit, partial(put_unit, activation))


def put_unit(activation: Tensor, row: int, column: int) -> None:
    """Let the signal be that of a unit; where it was that of all channels, of the channel that is strongest there."""
    if controls.says("signal") in (None, SIGNALS[0]):
        controls.put("signal", SIGNALS[1])
        controls.put("channel", int(activation[0, :, row, column].argmax()))
    touch.put_unit(row, column)


def show_answer(chosen: Selection, view: View) -> None:
    """The classes that the network predicts for the image."""
    answer = resources.answer(view)
    st.markdown(f"**{texts.verdict(chosen.truth, chosen.card.classes, answer.classes[0])}**")
    for label, probability in list(zip(answer.classes, answer.probabilities, strict=True))[:3]:
        st.progress(probability, f"{texts.plain(chosen.card.classes[label])}  {texts.percent(probability)}")


def answer_in_words(view: View) -> str:
    """The class that the network predicts, in one line."""
    answer, classes = resources.answer(view), resources.trained(view.network).card.classes
    return f"predicted: {classes[answer.classes[0]]} {texts.percent(answer.probabilities[0])}"


def show_pictures(chosen: Selection, playback: Playback, comparison: Comparison, drawn: Figure) -> None:
    """The image; beside it the pictures in rows: on one scale and each on its own, or one of them large."""
    if len(drawn.pictures) == 1:
        image, picture = st.columns([1, 2], gap="small")
        with picture.container(key="stage_1"):
            show_one(comparison, drawn.pictures[0])
        rows = [image]
    else:
        shown = [show_shared, show_own] if len(drawn.pictures) == 2 else [show_signal, show_own, show_shared]
        rows = [show_row(comparison, drawn, show) for show in shown if drawn.signals or show is not show_signal]
    with rows[0]:
        show_image(chosen.image, playback)
    with rows[-1] if len(drawn.pictures) < 3 else rows[1]:
        show_answer(chosen, playback.view)


def show_two_images(images: Sequence[ChosenImage], comparison: Comparison, drawn: Figure) -> None:
    """A row for each of two images: the image, and its pictures on one scale and on its own."""
    for index, (image, variant) in enumerate(zip(images, comparison.variants, strict=True)):
        for column, show in zip(st.columns(3, gap="small"), (None, show_shared, show_own), strict=True):
            with column:
                if show:
                    show(comparison, drawn, index)
                else:
                    show_image(image, variant.playback, f"image-{index}", answer_in_words(variant.playback.view))


def show_row(comparison: Comparison, drawn: Figure, show: Callable[..., None]) -> DeltaGenerator:
    """One row of the pictures; gives the place that it leaves before them."""
    before, *columns = st.columns(1 + len(drawn.pictures), gap="small")
    for index, column in enumerate(columns):
        with column:
            show(comparison, drawn, index)
    return before


def show_shared(comparison: Comparison, drawn: Figure, index: int) -> None:
    picture = drawn.pictures[index]
    show_picture(picture, picture.shared, f"{named(comparison, picture)}, shared scale")
    st.caption(f"**{named(comparison, picture)}**, on one scale")


def show_own(comparison: Comparison, drawn: Figure, index: int) -> None:
    picture = drawn.pictures[index]
    show_picture(picture, picture.own, f"{named(comparison, picture)}, own scale")
    st.caption(f"**{named(comparison, picture)}**, {picture.stretch}")


def show_signal(comparison: Comparison, drawn: Figure, index: int) -> None:
    """The signal of a layer: the sum of its maps."""
    sheets.show(drawn.signals[index], f"The signal of {drawn.pictures[index].label}")
    st.caption(f"signal of **{drawn.pictures[index].label}**")


def show_picture(picture: Picture, png: bytes, alt: str) -> None:
    """A picture; where it has a tile for each of several channels, a click chooses one of them."""
    if len(picture.channels) < 2:
        sheets.show(png, alt)
        return
    count, key = len(picture.channels), re.sub(r"\W+", "-", alt)
    grid = Grid(count, math.ceil(math.sqrt(count)), sheets.GAP, words=picture.words)
    touch.show(png, alt, key, grid, "Channel", None, lambda cell: put_channel(picture, cell), leads_away=True)


def put_channel(picture: Picture, cell: int) -> None:
    """Let the signal be that of one of the picture's channels."""
    for control, value in {"signal": SIGNALS[1], "channel": picture.channels[cell], "layer": picture.layer}.items():
        controls.put(control, value)


def named(comparison: Comparison, picture: Picture) -> str:
    """What a caption calls one of the pictures."""
    return f"batch norm {picture.label}" if comparison.by == "batch norm" else picture.label


def show_one(comparison: Comparison, picture: Picture) -> None:
    """The one picture, large."""
    playback = comparison.variants[0].playback
    normalised = resources.has_batch_norm(playback.view.network)
    state = "on" if playback.batch_norm else "off"
    caption = f"Batch norm {state}" if normalised else "This network has no batch norm"
    show_picture(picture, picture.own, f"The reconstruction. {caption}")
    st.markdown(f"**{caption}**")


def show_gains(drawn: Figure) -> None:
    """The gain at each stage of the way back."""
    st.vega_lite_chart(drawn.gain_spec, height="stretch", alt="Gain per layer, from the layer back to the pixels")
    st.caption("Gain: how strong the signal is on its way back.")


def show_notes(chosen: Selection, playback: Playback, notes: Sequence[str]) -> None:
    """Notes on this very view: its maps and channels, an unusual size."""
    view = playback.view
    if playback.signal == CLASS:
        st.caption(
            f"The logit of {texts.plain(chosen.card.classes[playback.channels[0]])}. Grey is zero, bright positive."
        )
    for note in notes:
        st.caption(note)
    if view.size != chosen.card.input_size:
        what = "The image is shown" if view.split == PHOTOGRAPHS else "The image is resized"
        st.caption(
            f"{what} to the network at {view.size} px, but it was trained at {chosen.card.input_size} px: "
            "each unit sees another share of the image, and the predictions here are those at this size."
        )


def take_home(chosen: Selection, comparison: Comparison, drawn: Figure) -> None:
    """All pictures in a row, each on its own scale, and the gains."""
    labels = ", ".join(named(comparison, picture) for picture in drawn.pictures)
    caption = f"{labels}: {chosen.image_name}{f', {chosen.truth}' if chosen.truth else ''}"
    downloads.picture("Pictures", lambda: figure.row(drawn.pictures), "reconstruction.png", caption)
    downloads.chart(drawn.gain_spec, drawn.gain_table, "gains", "Gain at each stage of the way back")


LOOK_AT = {
    "batch norm": (
        "Above: deep in the network one picture drowns the other: without batch norm its size is arbitrary.",
        "Below: size aside, do they show the same? Leaving batch norm out weighs the channels differently.",
        "Change the weight scale: the network stays the same, and so does the picture with batch norm. The other: no.",
    ),
    "layers": (
        "From left to right the maps grow coarser: what is left of where things are?",
        "Deeper layers give coarser pictures: which parts of the image are still there?",
    ),
    "ReLU rules": (
        "The gradient follows the path of the forward pass alone, and looks like noise.",
        "Deconvnet and guided show edges of the image, whatever the network decides: compare with untrained weights.",
    ),
    "switches": ("Without the recorded switches edges lose their places: how much of the picture is the recording?",),
    "paths": (
        "Along the shortcuts only, the picture passes few convolutions.",
        "Do the two branches add up to the whole? ReLUs come between.",
    ),
    "training": ("What shows before training owes nothing to it. What is left for training to explain?",),
    "images": ("The same layer, the same rules: whatever differs comes from the images.",),
    "nothing": ("Grey is zero: the layer says nothing about these pixels.",),
}


RELU = {
    "deconvnet": r"s \mapsto \max(s, 0)",
    "gradient": r"s \mapsto s\,[a > 0]",
    "guided": r"s \mapsto \max(s, 0)\,[a > 0]",
}
"""What each rule makes of the signal s at a unit whose activation is a."""


def explain(by: str, rule: str) -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(*LOOK_AT[by])
    if by == "ReLU rules":
        st.latex(r" \qquad ".join(rf"\text{{{name}: }} {equation}" for name, equation in RELU.items()))
        return
    st.latex(
        r"\text{on: } s \mapsto s\,\frac{\gamma}{\sqrt{\mathrm{var}+\varepsilon}} \qquad \text{off: } s \mapsto s"
        r"\qquad\text{(the signal } s \text{ passing batch norm)}"
        if by == "batch norm"
        else r"\text{conv: } s \mapsto W^{\top} s \qquad \text{ReLU: } "
        + RELU[rule]
        + r" \qquad \text{max-pool: } s \mapsto s \text{ at the switches}"
    )


METHODS = {"deconvnet": "Deconvnet reconstruction", "gradient": "Gradient", "guided": "Guided backpropagation"}


def statement(chosen: Selection, playback: Playback, by: str) -> str:
    """What the page shows, in one line."""
    what = "each layer" if by == "layers" else chosen.layer
    if playback.signal == CLASS:
        what = f"the {chosen.card.classes[playback.channels[0]]} logit"
    method = "Reconstruction" if by == "ReLU rules" else METHODS[playback.relu]
    return f"{method} from {what} of {chosen.network}: what it says of this image, played back to the pixels"


def main() -> None:
    """The page."""
    chosen = selection.current()
    top = st.container()
    playback, comparison, second = draw_controls(chosen)
    with top:
        texts.headline(statement(chosen, playback, comparison.by))
    drawn = figure.figure_of(comparison, resources.play)
    by_label = {picture.label: picture for picture in drawn.pictures}
    in_order = comparison.in_order(chosen.batch_norm)
    drawn = replace(drawn, pictures=tuple(by_label[variant.label] for variant in in_order.variants))
    beside = len(drawn.pictures) <= BESIDE
    with layout.stage(3 if drawn.signals else 2, caption_lines=2 if second else 1):
        pictured, gains = st.columns([1 + len(drawn.pictures), 1.25], gap="small") if beside else (st.container(), None)
    with pictured:
        if second:
            show_two_images((chosen.image, second), comparison, drawn)
        else:
            show_pictures(chosen, playback, comparison, drawn)
    with gains.container(key="stage_gains") if gains else layout.below(high=True):
        show_gains(drawn)
    st.info(drawn.sentence)
    show_notes(chosen, playback, drawn.notes)
    take_home(chosen, comparison, drawn)
    downloads.code(code.of(in_order))
    explain(comparison.by, playback.relu)


main()
