"""Reconstruction: what a layer says of an image, sent back to the pixels, with batch norm and without it."""

import streamlit as st

from engine import deconv
from engine.models import ARCHITECTURES
from engine.tape import Tape
from pages.common import drawings, guard, resources, selection, sheets, texts
from pages.common.drawings import ReconstructionDrawing
from pages.common.resources import Playback, View
from pages.common.selection import Selection

guard.run_through_app()

SHOW = ("all channels", "one channel", "top 9", "top 16")
SEEDS = ("strongest unit", "whole map")
SIZES = (64, 128, 224)
SWITCH = {True: "on", False: "off"}


# The controls --------------------------------------------------------------------------------------------------


def draw_controls(chosen: Selection) -> tuple[Playback, bool]:
    """The row of controls above the pictures; gives what to play back, and whether to compare on and off."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        show = selection.segments("Send back", SHOW, "show")
        seed = "all channels" if show == "all channels" else selection.segments("of each channel", SEEDS, "seed")
        view = View(chosen.network, chosen.layer, chosen.split, chosen.index, viewing_size(chosen))
        recorded = resources.recording(view)
        channels = channels_to_send(show, recorded)
        rule = selection.segments("ReLU rule", deconv.RELU_RULES, "rule")
        path = residual_path(recorded)
        compare = comparison_toggle(chosen)
    return Playback(view, seed, channels, rule, path), compare


def viewing_size(chosen: Selection) -> int:
    """The input size to look at; a network with a dense layer on its maps has only its own."""
    own = chosen.card.input_size
    fixed = ARCHITECTURES[chosen.card.architecture].fixed_input
    sizes = [str(own)] if fixed else [str(size) for size in sorted({own, *SIZES})]
    reason = (
        "Its dense layer fits one input size only." if fixed else "A larger input gives larger maps in every layer."
    )
    return int(selection.segments("Size, px", sizes, "size", preferred=str(own), disabled=fixed, help=reason))


def channels_to_send(show: str, recorded: Tape) -> tuple[int, ...]:
    """The channels to send back: none in particular, one that the reader picks, or the strongest ones."""
    count = recorded.activation.shape[1]
    if show == "all channels":
        return ()
    if show == "one channel":
        strongest = deconv.strongest_channels(recorded.activation, 1)[0]
        return (selection.number_in_link(f"Channel (strongest: {strongest})", "channel", count, strongest),)
    return tuple(deconv.strongest_channels(recorded.activation, min(count, int(show.removeprefix("top ")))))


def residual_path(recorded: Tape) -> str:
    """Where residual adds send the signal, if it meets any."""
    meets = bool(deconv.residual_blocks(recorded))
    reason = "Which branch of each residual block the signal goes back along." if meets else "No residual block here."
    return selection.segments(
        "Path", deconv.PATHS if meets else deconv.PATHS[:1], "path", disabled=not meets, help=reason
    )


def comparison_toggle(chosen: Selection) -> bool:
    has = resources.has_batch_norm(chosen.network)
    why = "Batch norm on and off, side by side." if has else "This network has no batch norm."
    return selection.switch("Compare", "compare", has, why) and has


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


def show_comparison(drawing: ReconstructionDrawing, first: bool) -> None:
    """On and off on one shared scale, and each on its own; the state of the sidebar's switch comes first."""
    order = [(state, drawing.on if state else drawing.off) for state in (first, not first)]
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**On one shared scale**: how strong is each?")
        for column, (state, picture) in zip(st.columns(2), order, strict=True):
            with column:
                sheets.show(picture.shared, f"Batch norm {SWITCH[state]}, shared scale")
                st.caption(f"batch norm **{SWITCH[state]}**")
    with right:
        st.markdown("**Each on its own**: what does each show?")
        for column, (state, picture) in zip(st.columns(2), order, strict=True):
            with column:
                sheets.show(picture.own, f"Batch norm {SWITCH[state]}, own scale")
                st.caption(f"batch norm **{SWITCH[state]}**, {picture.stretch}")


def show_one(drawing: ReconstructionDrawing, state: bool, normalised: bool) -> None:
    """The one picture that the switch asks for, large."""
    caption = f"Batch norm {SWITCH[state]}" if normalised else "This network has no batch norm"
    column, _ = st.columns([2, 3])
    with column:
        st.markdown(f"**{caption}**")
        sheets.show((drawing.on if state else drawing.off).own, f"The reconstruction. {caption}")


def show_gains(drawing: ReconstructionDrawing) -> None:
    """The gain at each stage of the way back."""
    st.markdown("**How strong the signal is on its way back**")
    st.vega_lite_chart(drawing.gain_spec, alt="Gain per layer, from the layer back to the pixels")


def show_notes(chosen: Selection, playback: Playback) -> None:
    """What has to be said of this very view: silent maps, tiles that do not add up, an unusual size."""
    view, activation = playback.view, resources.recording(playback.view).activation
    _, count, height, width = activation.shape
    st.caption(f"{view.layer}: {count} maps of {height} x {width}. Grey is zero, bright is positive, dark is negative.")
    silent = set(deconv.silent_channels(activation)) & set(playback.channels)
    if silent:
        listed = ", ".join(str(channel) for channel in sorted(silent))
        st.caption(f"Silent on this image, and therefore grey: channel {listed}.")
    if len(playback.channels) > 1:
        listed = ", ".join(str(channel) for channel in playback.channels)
        st.caption(f"Channels {listed}, row by row. They do not add up to the picture of all: ReLUs come between.")
    if view.size != chosen.card.input_size:
        st.caption(
            f"The 32 px image is enlarged to {view.size} px, but it was trained at {chosen.card.input_size} px: "
            "each unit sees another share of the image, and the answers on the left are those at this size."
        )


def downloads(drawing: ReconstructionDrawing) -> None:
    """Both pictures side by side, each on its own scale, and the gains."""
    with st.container(horizontal=True):
        st.download_button("on | off (PNG)", drawing.both, "reconstruction.png", "image/png", on_click="ignore")
        texts.csv_download("Gains (CSV)", drawing.gain_table, "gains.csv")


def explain() -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(
        [
            "Upper row: deep in the network one picture drowns the other: without batch norm its size is chance.",
            "Lower row: size aside, do they show the same? Leaving batch norm out weighs the channels differently.",
            "Turn to conv1: between it and the pixels there is no batch norm, and both pictures are the same.",
        ]
    )
    st.latex(
        r"\text{on: } s \mapsto s\,\frac{\gamma}{\sqrt{\mathrm{var}+\varepsilon}} \qquad \text{off: } s \mapsto s"
        r"\qquad\text{(the signal } s \text{ passing batch norm)}"
    )


def main() -> None:
    """The page."""
    chosen = selection.current()
    statement = f"What {chosen.layer} of {chosen.title} says of this image, sent back to the pixels"
    texts.headline(statement)
    playback, compare = draw_controls(chosen)
    drawing = drawings.reconstruction(playback)
    image, pictured = st.columns([1, 4.2], gap="medium")
    with image:
        show_image(chosen)
    with pictured:
        if compare:
            show_comparison(drawing, chosen.batch_norm)
        else:
            show_one(drawing, chosen.batch_norm, resources.has_batch_norm(chosen.network))
    answer, gains, words = st.columns([1, 2.4, 1.8], gap="medium")
    with answer:
        show_answer(chosen, playback.view)
    with gains:
        show_gains(drawing)
    with words:
        st.info(drawing.sentence)
        show_notes(chosen, playback)
        downloads(drawing)
    explain()


with texts.readable_errors():
    main()
