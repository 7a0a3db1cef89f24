"""Maximisation: pictures made to excite a channel or a class, beside the images that excite it most."""

import numpy as np
import streamlit as st

from engine import gallery
from engine.gallery import CLASSES, Maximization, Request, Strongest
from engine.maximization import OBJECTIVES, PRESETS
from engine.models import ARCHITECTURES
from engine.weights import Weights
from pages.common import downloads, resources, selection, sheets, texts
from pages.common.jobs import Job
from pages.common.selection import Selection
from pages.maximization import charts as climbing
from pages.maximization import drawings, jobs
from pages.maximization.jobs import Making

SHOW = ("16 channels", "all channels", "one channel", "classes")
STEPS = ("64", "128", "256", "512")
SIZES = (64, 128, 224)
SEEDS = 100
NUMBER_WIDTH = 170


# The controls --------------------------------------------------------------------------------------------------


def draw_controls(chosen: Selection) -> Request:
    """The row of controls; gives what is asked for."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        show = selection.segments("Pictures for", SHOW, "mx_show")
        layer = CLASSES if show == "classes" else chosen.layer
        with st.container(width=NUMBER_WIDTH):
            first, count = channels(show, channel_count(chosen.network, layer))
        objective = selection.segments(
            "Excite", OBJECTIVES, "mx_objective", disabled=show == "classes",
            help="The mean of the whole feature map, or one unit in its middle; a class has one unit only.",
        )  # fmt: skip
        preset = selection.segments(
            "Climb on", list(PRESETS), "mx_preset", help="Plain: pixels. Fourier: waves, in a moving picture."
        )
        steps = int(selection.segments("Steps", STEPS, "mx_steps", preferred=str(gallery.STEPS)))
        size = picture_size(chosen)
        with st.container(width=NUMBER_WIDTH):
            seed = selection.number_in_link("Start noise", "mx_seed", SEEDS)
    return Request(chosen.network, layer, first, count, objective, preset, steps, seed, size)


def channels(show: str, count: int) -> tuple[int, int]:
    """The first channel and how many."""
    if show == "one channel":
        return selection.number_in_link("Channel", "mx_channel", count), 1
    if show == "16 channels" and count > gallery.AT_ONCE:
        first = selection.number_in_link("From channel", "mx_first", count - gallery.AT_ONCE + 1)
        return first, gallery.AT_ONCE
    return 0, count


@st.cache_data(max_entries=128, show_spinner=False)
def channel_count(network: Weights, layer: str) -> int:
    """How many channels a layer has."""
    return gallery.channel_count(resources.trained(network), layer)


def picture_size(chosen: Selection) -> int:
    """The side of the pictures; a network with a dense layer on its maps takes only its own."""
    own = chosen.card.input_size
    fixed = ARCHITECTURES[chosen.card.architecture].fixed_input
    sizes = [str(own)] if fixed else [str(size) for size in sorted({own, *SIZES})]
    return int(selection.segments("Size, px", sizes, "mx_size", preferred=str(own), disabled=fixed))


# Long work -----------------------------------------------------------------------------------------------------


def draw_buttons(request: Request, job: Making, searching: jobs.Search) -> None:
    """What begins and stops the jobs; outside the fragment, since only a whole run sets its clock.

    A job that has not begun may be given up after it was drawn: so it is asked for again when its button is pressed.
    """
    with st.container(horizontal=True):
        if job.alive:
            st.button("Stop making them", key="mx_making_stop", on_click=job.stop)
        else:
            begin = "Make the pictures" if job.made is None else "Make them again" if job.complete else "Begin again"
            st.button(begin, key="mx_making_start", on_click=lambda: jobs.making(request).start())
        if searching.alive:
            st.button("Stop the search", key="mx_search_stop", on_click=searching.stop)
        elif searching.found is None:
            st.button(
                "Find the strongest images", key="mx_search_start", help="One pass over all test images.",
                on_click=lambda: jobs.search(request.network, request.layer).start(),
            )  # fmt: skip


def draw_progress(job: Job) -> None:
    """How far a job is, or what has gone wrong."""
    job.watch()
    if job.alive:
        st.progress(job.share, job.words)
    if job.error:
        st.error(job.error, icon="⚠️")


# What is shown -------------------------------------------------------------------------------------------------


def show_made(request: Request, job: Making) -> None:
    """The pictures as they form."""
    st.markdown("**Made by climbing**")
    if job.made is None:
        st.info("Nobody has made these pictures yet.")
    else:
        sheets.show(drawings.sheet(job.made.pictures).png, f"Pictures that excite {request.layer}")
        st.caption(f"After {job.made.steps[-1]} steps, {request.size} px. {in_rows(request)}")
    draw_progress(job)


def in_rows(request: Request) -> str:
    """Which picture is which."""
    if request.layer == CLASSES:
        return "Row by row: " + ", ".join(drawings.names(request)) + "."
    if request.count == 1:
        return f"Channel {request.first}."
    return f"Channels {request.first} to {request.first + request.count - 1}, row by row."


def show_found(request: Request, strongest: Strongest | None, searching: jobs.Search) -> None:
    """The images that excite the same units most."""
    st.markdown("**Found among the test images**")
    if strongest is None:
        st.info("Which test images excite these units most is not known yet.")
        draw_progress(searching)
        return
    images, _ = drawings.examples(request, strongest)
    sheets.show(drawings.found(tuple(images)).png, "The strongest test images")
    what = "The nine strongest, row by row" if request.count == 1 else "The strongest one for each"
    st.caption(f"{what}, of {strongest.total:,}.")


def show_played(request: Request, strongest: Strongest | None) -> None:
    """The deconvnet's pictures on those images."""
    st.markdown("**The deconvnet's picture of these**")
    if strongest is None:
        return
    images, whose = drawings.examples(request, strongest)
    if len(images) > drawings.PLAYED_AT_MOST:
        st.caption(f"For at most {drawings.PLAYED_AT_MOST} channels: choose 16 of them.")
        return
    played = drawings.played_back(request.network, request.layer, tuple(images), tuple(whose))
    sheets.show(played.sheet.png, "The deconvnet's pictures on the strongest test images")
    part = f" Only the {played.side} x {played.side} px that it sees." if played.cropped else ""
    st.caption(f"Each channel's strongest unit on that image, sent back to its pixels.{part} Grey is zero.")


def show_climb(request: Request, made: Maximization, top: np.ndarray | None, total: int) -> None:
    """The activations, in words and step by step, and what can be taken home."""
    chart, words = st.columns([2.4, 1.6], gap="medium")
    table = climbing.climb_table(made, drawings.names(request), top)
    spec = climbing.climb_chart(table)
    with chart:
        st.markdown("**How high they climb**")
        st.vega_lite_chart(spec, alt="Activation against steps")
    with words:
        st.info(drawings.verdict(made, top, total))
        if top is None:
            st.caption("Compared with the test images once these are known, at the network's own size.")
        downloads.picture("Pictures (PNG)", drawings.sheet(made.pictures).png, "maximization.png")
        downloads.chart(spec, table, "maximization")


EQUATIONS = {
    "plain": r"x \leftarrow x + \eta\,\frac{\nabla h(x)}{|\nabla h(x)|}\,,\qquad |x| \le r"
    r"\qquad\text{(}h\text{: the activation, }r\text{: the norm of a typical image)}",
    "Fourier": r"z \leftarrow z + \eta\,\nabla_z\, h\big(\text{moved } x\big)\,,\qquad "
    r"x = \text{sigmoid}\big(M\,F^{-1}(z / f^{1.5})\big)"
    r"\qquad\text{(}f\text{: frequency, }M\text{: colours of photographs)}",
}


def explain(request: Request) -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(
        [
            "Layer by layer: stripes and spots of one colour at conv1, parts of animals and vehicles at the end.",
            "Do the pictures made and the images found agree? Where they do not, what else may the unit answer to?",
            "Plain against Fourier: grain that no eye would read can excite a unit as much as a pattern does.",
        ]
    )
    st.latex(EQUATIONS[request.preset])


# The page ------------------------------------------------------------------------------------------------------


def draw_results(request: Request, job: Making, searching: jobs.Search) -> None:
    """Everything that changes while work goes on."""
    strongest = None if searching.found is None else searching.found[request.objective]
    made, found, played = st.columns(3, gap="medium")
    with made:
        show_made(request, job)
    with found:
        show_found(request, strongest, searching)
    with played:
        show_played(request, strongest)
    if job.made is not None:
        show_climb(request, job.made, drawings.top_of(request, strongest), strongest.total if strongest else 0)


def main() -> None:
    """The page."""
    chosen = selection.current()
    top = st.container()
    request = draw_controls(chosen)
    what = "the class scores" if request.layer == CLASSES else f"channels of {chosen.layer}"
    with top:
        texts.headline(f"What excites {what} of {chosen.network} most: pictures made, and images found")
    job, searching = jobs.making(request), jobs.search(chosen.network, request.layer)
    alive = (job.alive, searching.alive)
    draw_buttons(request, job, searching)

    @st.fragment(run_every=0.5 if any(alive) else None)
    def watch() -> None:
        with texts.readable_errors():
            draw_results(request, job, searching)
        if (job.alive, searching.alive) != alive:  # other buttons, and another clock
            st.rerun()

    watch()
    explain(request)


main()
