"""View "one convolution" of the Network page: the network's first convolution, step by step."""

import streamlit as st

from engine.network import convolution
from engine.network.convolution import Convolved
from engine.views import View
from pages.common import downloads, layout, resources, selection, texts
from pages.common.charts import ink
from pages.common.kept import keep
from pages.common.selection import Selection
from pages.network import code, step_drawings, svg

PLAY_SECONDS = 0.8


def show(chosen: Selection, playing: bool) -> None:
    """The view: window, kernel, products and sum at one output position."""
    view = chosen.view("")
    # Alone only while it plays: a step by hand changes the code in the menu too.
    step = st.fragment(_show_step, run_every=PLAY_SECONDS) if playing else _show_step
    step(chosen, view, _first_convolution(view))
    texts.what_to_look_at(
        "The orange frame is the window: the kernel lies on it, number on number.",
        "Step on: the window slides over the image, and each sum becomes one number of the feature map.",
        "The kernel is the same at every position; only the window changes.",
    )
    st.latex(
        r"\text{output}_{i,j} = \text{bias} + \sum_{c,u,v} \text{kernel}_{c,u,v}\;\cdot\;"
        r"\text{input}_{c,\;s\,i - p + u,\;s\,j - p + v}"
    )


@keep("Running the network …")
def _first_convolution(view: View) -> Convolved:
    model = resources.trained(view.network).model
    return convolution.convolved(model, resources.network_input(view), convolution.first_convolution(model))


def _show_step(chosen: Selection, view: View, convolved: Convolved) -> None:
    """The controls and the pictures of one step; runs on its own while the steps play."""
    if st.session_state.get("play"):
        _move_on(convolved)
    channel, row, column = _position(convolved)
    step = convolution.window_sum(convolved, channel, row, column)
    with layout.stage(2):
        image, feature_map, numbers = st.columns([0.75, 0.75, 1.6], gap="small")
    with image:
        pixels = convolution.as_the_network_gets_it(resources.pixels(view.split, view.index), view.size)
        picture = step_drawings.image_with_window(pixels, convolved, step)
        st.image(picture, width="stretch", alt=f"{chosen.image_name} with the window at row {row}, column {column}")
        st.caption("**The image** and the window")
    with feature_map:
        picture = step_drawings.map_with_position(convolved, channel, row, column)
        st.image(picture, width="stretch", alt=f"Feature map {channel} with row {row}, column {column} marked")
        st.caption(f"**Feature map {channel}** at this position")
    with numbers:
        colour = selection.segments("Colour", step_drawings.COLOURS, "colour")
        words = step_drawings.sum_in_words(step, convolved.has_bias)
        st.markdown(f"## {words}")
        _say_where(chosen, convolved, channel, row, column)
    index = step_drawings.COLOURS.index(colour)
    alt = f"Window × kernel = products of the {colour} channel, and their sum"
    with st.container(key="in_numbers"):
        st.image(step_drawings.products(step, index, ink()), width="stretch", alt=alt)
    drawing = step_drawings.products(step, index, "black", "white")
    downloads.drawing("This step", drawing, "convolution", words.replace("*", ""))
    downloads.code(code.of_one_step(view, channel, row, column))


def _position(convolved: Convolved) -> tuple[int, int, int]:
    """The channel and the position that the reader steps to; at first where the output is furthest from zero."""
    rows, columns = convolved.positions
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        last = convolved.channels - 1
        channel = selection.number_in_link(f"Feature map (0 to {last})", "channel", convolved.channels)
        strongest = convolution.strongest_position(convolved, channel)
        for key, value in zip(("row", "column"), strongest, strict=True):
            if key not in st.session_state and key not in st.query_params:
                st.session_state[key] = value
        row = selection.number_in_link(f"Row (0 to {rows - 1})", "row", rows)
        column = selection.number_in_link(f"Column (0 to {columns - 1})", "column", columns)
        st.button("Next position", on_click=_move_on, args=(convolved,), shortcut="Right", key="next_position")
        st.button("Strongest position", on_click=_go_to, args=strongest, key="strongest_position")
    return channel, row, column


def _go_to(row: int, column: int) -> None:
    """Put a position into the controls, and so into the link."""
    st.session_state["row"], st.session_state["column"] = row, column


def _move_on(convolved: Convolved) -> None:
    """To the next position, row by row, and from the last one back to the first."""
    rows, columns = convolved.positions
    index = st.session_state.get("row", 0) * columns + st.session_state.get("column", 0) + 1
    _go_to(*divmod(index % (rows * columns), columns))


def _say_where(chosen: Selection, convolved: Convolved, channel: int, row: int, column: int) -> None:
    """Which numbers these are."""
    exact = svg.short(float(convolved.output[channel, row, column]), 4)
    kernel = "×".join(map(str, convolved.kernels.shape[2:]))
    st.caption(
        f"{texts.plain(chosen.image_name)}, {chosen.card.input_size} px. Kernel {channel} of {convolved.channels}: "
        f"{kernel} pixels in 3 colours, stride {convolved.windows[0].stride}. The numbers of the window are normalised "
        f"colours: 0 is the colour that is subtracted from all pixels. The network's own output here: {exact}."
    )
