"""Reconstruction: what a layer says of an image, sent back to the pixels, with batch norm and without it."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from engine import deconv
from engine.operations import Convolution, MaxPool
from engine.tape import Tape
from pages.common import downloads, resources, selection, sheets, texts
from pages.common.resources import CLASS, PHOTOGRAPHS, Playback, View
from pages.common.selection import Selection
from pages.reconstruction import drawings, variants
from pages.reconstruction.drawings import ContrastDrawing, Drawing
from pages.reconstruction.variants import Contrast

SHOW = ("all channels", "one channel", "top 9", "top 16", CLASS)
SEEDS = ("strongest unit", "whole map")
SCALES = ("1/4", "1/2", "1", "2", "4")
BEFORE_BATCH_NORM = "This layer is a convolution before its batch norm: choose the layer behind it."
THE_ANSWER, ALL_BLOCKS = "the answer", "all"
NARROWEST = 4
"""Pictures are never wider than a row of so many."""


# The controls --------------------------------------------------------------------------------------------------


def draw_controls(chosen: Selection) -> tuple[Playback, Contrast]:
    """The rows of controls above the pictures; gives what they ask for, and what is to be set side by side."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        playback = playback_controls(chosen)
    recorded = resources.recording(playback.view)
    offered = contrasts_on_offer(chosen, playback, recorded)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        by = selection.segments("Compare", offered, "compare")
        other = second_view(chosen, playback.view) if by == "images" else None
        if by == "batch norm":
            playback = with_weight_scale(playback, recorded)
    return playback, variants.contrast(by, playback, other)


def playback_controls(chosen: Selection) -> Playback:
    """What to send back, and by which rules."""
    show = selection.segments("Send back", SHOW, "show")
    seed = selection.segments("of each channel", SEEDS, "seed") if show.startswith(("one", "top")) else show
    size = selection.viewing_size(chosen)
    layer = resources.logits(chosen.network) if show == CLASS else chosen.layer
    view = chosen.view(layer, size)
    recorded = resources.recording(view)
    channels = (class_to_send(chosen, view),) if show == CLASS else channels_to_send(show, recorded)
    rule = selection.segments("ReLU rule", deconv.RELU_RULES, "rule")
    path, block = residual_path(recorded)
    return Playback(view, seed, channels, rule, path, block, chosen.batch_norm)


def contrasts_on_offer(chosen: Selection, playback: Playback, recorded: Tape) -> tuple[str, ...]:
    """In what respects the playback can be varied."""
    pools = any(isinstance(step.operation, MaxPool) for step in recorded.steps)
    return variants.on_offer(chosen.network, deconv.residual_blocks(recorded), pools, playback.seed == CLASS)


def second_view(chosen: Selection, view: View) -> View:
    """The same layer on another image."""
    other = selection.second_image(chosen.split)
    return replace(view, split=other.split, index=other.index)


def class_to_send(chosen: Selection, view: View) -> int:
    """The class whose logit is sent back: one that the reader picks, or the network's answer."""
    asked = selection.choose("Class sent back", "logit", [THE_ANSWER, *chosen.card.classes], THE_ANSWER)
    return resources.answer(view).classes[0] if asked == THE_ANSWER else chosen.card.classes.index(asked)


def with_weight_scale(playback: Playback, recorded: Tape) -> Playback:
    """`playback` as if all weights were larger or smaller and their batch norms adjusted."""
    before_batch_norm = isinstance(recorded.steps[-1].operation, Convolution)
    reason = BEFORE_BATCH_NORM if before_batch_norm else deconv.weight_scale_applies(recorded)
    scale = selection.steps(
        "All weights times", SCALES, "scale", "1", disabled=reason is not None, width=300,
        help=reason or "Batch norm divides by it again: the network stays the same. Does the picture?",
    )  # fmt: skip
    number = 1 / int(scale[2:]) if scale.startswith("1/") else float(scale)
    return replace(playback, weight_scale=1.0 if reason else number)


def channels_to_send(show: str, recorded: Tape) -> tuple[int, ...]:
    """The channels to send back: none in particular, one that the reader picks, or the strongest ones."""
    count = recorded.activation.shape[1]
    if show == "all channels":
        return ()
    if show == "one channel":
        strongest = deconv.strongest_channels(recorded.activation, 1)[0]
        return (selection.number_in_link(f"Channel (strongest: {strongest})", "channel", count, strongest),)
    return tuple(deconv.strongest_channels(recorded.activation, min(count, int(show.removeprefix("top ")))))


def residual_path(recorded: Tape) -> tuple[str, str]:
    """Where residual adds send the signal, if it meets any, and the one block for which that is meant ("": all)."""
    blocks = deconv.residual_blocks(recorded)
    reason = "Which branch of each residual block the signal goes back along." if blocks else "No residual block here."
    path = selection.segments(
        "Path", deconv.PATHS if blocks else deconv.PATHS[:1], "path", disabled=not blocks, help=reason
    )
    if path == "both":
        return path, ""
    block = selection.choose("in block", "block", [ALL_BLOCKS, *blocks], ALL_BLOCKS)
    return path, "" if block == ALL_BLOCKS else block


# What is shown -------------------------------------------------------------------------------------------------


def show_image(chosen: Selection) -> None:
    """The image, and what it is."""
    st.markdown("**The image**")
    sheets.show(drawings.photograph(chosen.split, chosen.index), f"The image: {chosen.image_name}")
    st.caption(f"{chosen.truth}, {chosen.image_name}" if chosen.truth else chosen.image_name)


def show_answer(chosen: Selection, view: View) -> None:
    """What the network says of the image."""
    answer = resources.answer(view)
    st.markdown(f"**{texts.verdict(chosen.truth, chosen.card.classes, answer.classes[0])}**")
    for label, probability in list(zip(answer.classes, answer.probabilities, strict=True))[:3]:
        st.progress(probability, f"{chosen.card.classes[label]}  {texts.percent(probability)}")


def show_pictures(shown: Contrast, drawing: ContrastDrawing) -> None:
    """One picture large, two on both scales in one row, more in a row for each scale."""
    if len(drawing.pictures) == 1:
        show_one(shown, drawing.pictures[0])
    elif len(drawing.pictures) == 2:
        left, right = st.columns(2, gap="medium")
        with left:
            show_shared(shown, drawing, 2)
        with right:
            show_own(shown, drawing, 2)
    else:
        show_maps(drawing)
        show_own(shown, drawing, max(NARROWEST, len(drawing.pictures)))
        show_shared(shown, drawing, max(NARROWEST, len(drawing.pictures)))


def show_shared(shown: Contrast, drawing: ContrastDrawing, columns: int) -> None:
    st.markdown("**On one shared scale**: how strong is each?")
    for column, picture in zip(st.columns(columns), drawing.pictures, strict=False):
        with column:
            sheets.show(picture.shared, f"{named(shown, picture)}, shared scale")
            st.caption(f"**{named(shown, picture)}**")


def show_own(shown: Contrast, drawing: ContrastDrawing, columns: int) -> None:
    st.markdown("**Each on its own**: what does each show?")
    for column, picture in zip(st.columns(columns), drawing.pictures, strict=False):
        with column:
            sheets.show(picture.own, f"{named(shown, picture)}, own scale")
            st.caption(f"**{named(shown, picture)}**, {picture.stretch}")


def show_maps(drawing: ContrastDrawing) -> None:
    """What is sent back at each layer, above its picture."""
    if not drawing.maps:
        return
    st.markdown("**What is sent back**: the sum of the maps")
    columns = st.columns(max(NARROWEST, len(drawing.maps)))
    for column, picture, png in zip(columns, drawing.pictures, drawing.maps, strict=False):
        with column:
            sheets.show(png, f"What is sent back from {picture.label}")


def named(shown: Contrast, picture: Drawing) -> str:
    """What a caption calls one of the pictures."""
    return f"batch norm {picture.label}" if shown.by == "batch norm" else picture.label


def show_one(shown: Contrast, picture: Drawing) -> None:
    """The one picture, large."""
    playback = shown.variants[0].playback
    normalised = resources.has_batch_norm(playback.view.network)
    state = "on" if playback.batch_norm else "off"
    caption = f"Batch norm {state}" if normalised else "This network has no batch norm"
    column, _ = st.columns([2, 3])
    with column:
        st.markdown(f"**{caption}**")
        sheets.show(picture.own, f"The reconstruction. {caption}")


def show_gains(drawing: ContrastDrawing) -> None:
    """The gain at each stage of the way back."""
    st.markdown("**How strong the signal is on its way back**")
    st.vega_lite_chart(drawing.gain_spec, alt="Gain per layer, from the layer back to the pixels")


def show_notes(chosen: Selection, playback: Playback, notes: Sequence[str]) -> None:
    """What has to be said of this very view: its maps and channels, an unusual size."""
    view = playback.view
    if playback.seed == CLASS:
        st.caption(f"The logit of {chosen.card.classes[playback.channels[0]]}. Grey is zero, bright positive.")
    for note in notes:
        st.caption(note)
    if view.size != chosen.card.input_size:
        what = "The image is shown" if view.split == PHOTOGRAPHS else "The image is resized"
        st.caption(
            f"{what} to the network at {view.size} px, but it was trained at {chosen.card.input_size} px: "
            "each unit sees another share of the image, and the answers on the left are those at this size."
        )


def take_home(shown: Contrast, drawing: ContrastDrawing) -> None:
    """All pictures in a row, each on its own scale, and the gains."""
    with st.container(horizontal=True):
        downloads.picture("Pictures (PNG)", drawings.row(shown), "reconstruction.png")
        downloads.chart(drawing.gain_spec, drawing.gain_table, "gains")


LOOK_AT = {
    "batch norm": (
        "Left: deep in the network one picture drowns the other: without batch norm its size is chance.",
        "Right: size aside, do they show the same? Leaving batch norm out weighs the channels differently.",
        "Multiply all weights: the network stays the same, and so does the picture with batch norm. The other: no.",
    ),
    "layers": (
        "From left to right the maps grow coarser: what is left of where things are?",
        "Deeper layers send back parts that matter to them, no longer the whole image.",
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
    "training": ("What random weights show owes nothing to training. What is left for training to explain?",),
    "images": ("The same layer, the same rules: whatever differs comes from the images.",),
    "nothing": ("Grey is zero: the layer says nothing about these pixels.",),
}


def explain(by: str) -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(LOOK_AT[by])
    st.latex(
        r"\text{on: } s \mapsto s\,\frac{\gamma}{\sqrt{\mathrm{var}+\varepsilon}} \qquad \text{off: } s \mapsto s"
        r"\qquad\text{(the signal } s \text{ passing batch norm)}"
        if by == "batch norm"
        else r"\text{conv: } s \mapsto W^{\top} s \qquad \text{ReLU: } s \mapsto \max(s, 0) \qquad "
        r"\text{max-pool: } s \mapsto s \text{ at the switches}"
    )


def statement(chosen: Selection, playback: Playback, by: str) -> str:
    """What the page shows, in one line."""
    what = "each layer" if by == "layers" else chosen.layer
    if playback.seed == CLASS:
        what = f"the {chosen.card.classes[playback.channels[0]]} score"
    return f"What {what} of {chosen.network} says of this image, sent back to the pixels"


def main() -> None:
    """The page."""
    chosen = selection.current()
    top = st.container()
    playback, shown = draw_controls(chosen)
    with top:
        texts.headline(statement(chosen, playback, shown.by))
    drawing = drawings.drawn(shown)
    if shown.by == "batch norm" and not chosen.batch_norm:  # the picture that the switch asks for comes first
        drawing = replace(drawing, pictures=drawing.pictures[::-1])
        shown = replace(shown, variants=shown.variants[::-1])
    image, pictured = st.columns([1, 4.2], gap="medium")
    with image:
        show_image(chosen)
        if len(drawing.pictures) > 2:
            show_answer(chosen, playback.view)
    with pictured:
        show_pictures(shown, drawing)
    answer, gains, words = st.columns([1, 2.4, 1.8], gap="medium")
    with answer:
        if len(drawing.pictures) <= 2:
            show_answer(chosen, playback.view)
    with gains:
        show_gains(drawing)
    with words:
        st.info(drawing.sentence)
        show_notes(chosen, playback, drawing.notes)
        take_home(shown, drawing)
    explain(shown.by)


main()
