"""Network: its layers with their parameters, its block diagram, and one convolution step by step."""

import streamlit as st

from engine import network
from engine.network import convolution
from engine.network.convolution import Convolved
from pages.common import charts, downloads, selection, texts
from pages.common.resources import View
from pages.common.selection import Selection
from pages.network import convolution as network_convolution
from pages.network import diagram, resources, svg

VIEWS = ("table", "diagram", "one convolution")
ROWS = ("parts", "every operation")
PLAY_SECONDS = 0.8
TABLE_STYLE = """<style>
.st-key-layer_table :is(td, th) { font-size: 1rem !important; }
.st-key-layer_table td:nth-child(2) { white-space: nowrap; }
</style>"""


# The table -----------------------------------------------------------------------------------------------------


def input_size(chosen: Selection) -> int:
    """The input size that the table or the diagram is for."""
    own = resources.own_size(chosen.network)
    offered = [str(size) for size in resources.sizes(chosen.network)]
    words = f"It was trained at {own} px. Shapes and multiply-adds depend on the size of the image."
    return int(selection.segments("Input size, px", offered, "size", preferred=str(own), help=words))


def show_table(chosen: Selection, size: int, detail: str) -> None:
    """The network's parts with their shapes, parameters and multiply-adds, and the sums."""
    described = resources.described(chosen.network, size)
    rows = network.stages(described) if detail == "parts" else described.operations
    table = resources.table(rows)
    if detail == "parts":
        st.html(TABLE_STYLE)
        st.container(key="layer_table").table(table.set_index("Part"))
    else:
        st.dataframe(table, hide_index=True, height=620, row_height=44)
    st.markdown(
        f"**Parameters:** {network.arithmetic_of_all(described)}  \n"
        f"**Multiply-adds for one image:** {described.multiply_adds:,}"
    )
    say_what_it_is_of(chosen, size)
    downloads.table("Table (CSV)", resources.numbers(rows), f"{chosen.card.name}-{size}px-layers.csv")
    texts.what_to_look_at(
        [
            "Parameters do not depend on the size of the image; multiply-adds do. Choose another size and compare.",
            "Where do most parameters lie, and where most multiply-adds? Seldom in the same place.",
            "Deeper, the maps get smaller, there are more of them, and their receptive fields grow.",
        ]
    )
    st.latex(
        r"\text{parameters} = k \cdot k \cdot C_\text{in} \cdot C_\text{out} + C_\text{out}\qquad"
        r"\text{multiply-adds} = k \cdot k \cdot C_\text{in} \cdot C_\text{out} \cdot H_\text{out} \cdot W_\text{out}"
    )


def say_what_it_is_of(chosen: Selection, size: int) -> None:
    """Where the table is not that of the stored network itself."""
    if resources.is_rebuilt(chosen.network, size):
        st.caption(
            f"{chosen.card.name} itself takes {chosen.card.input_size} px only, since its dense layer reads all of the "
            f"last maps. This is the same architecture, built for {size} px: its dense layer has another size."
        )
    beyond = resources.beyond_the_image(chosen.network, size)
    if beyond:
        st.caption(f"From {beyond} on, the receptive field is larger than the whole image of {size} px.")
    if resources.described(chosen.network, size).unused:
        st.caption("The last number counts parameters that only help in training.")


# The diagram ---------------------------------------------------------------------------------------------------


def show_diagram(chosen: Selection, size: int) -> None:
    """Boxes and arrows."""
    made = resources.boxes(chosen.network, size)
    st.image(diagram.drawing(made, charts.ink()), width="stretch")
    say_what_it_is_of(chosen, size)
    file = diagram.drawing(made, "black", "white")
    name = f"{chosen.card.name}-{size}px.svg"
    st.download_button("Diagram (SVG)", file, name, "image/svg+xml", on_click="ignore", key="diagram_file")
    has_shortcuts = any(len(box.inputs) > 1 for box in made.boxes)
    texts.what_to_look_at(
        [
            "Below each box is the shape of its output: channels × height × width.",
            "Arcs are shortcuts: they carry a block's input around its convolutions, to be added to their output."
            if has_shortcuts
            else "There is one path: each box reads only the box before.",
            "Where do the maps shrink? At a stride of 2, or at a pooling.",
        ]
    )
    if has_shortcuts:
        st.latex(r"\text{output} = \mathrm{ReLU}\big(F(x) + x\big)")
    else:
        st.latex(r"\text{output} = f_n(\dots f_2(f_1(\text{image})))")


# One convolution -----------------------------------------------------------------------------------------------


def show_convolution(chosen: Selection, playing: bool) -> None:
    """Window, kernel, products and sum at one output position of the first convolution."""
    view = chosen.view("")
    done = resources.first_convolution(view)
    st.fragment(step_through, run_every=PLAY_SECONDS if playing else None)(chosen, view, done)
    texts.what_to_look_at(
        [
            "The orange frame is the window: the kernel lies on it, number on number.",
            "Step on: the window slides over the image, and each sum becomes one number of the feature map.",
            "The kernel is the same at every position; only the window changes.",
        ]
    )
    st.latex(
        r"\text{output}_{i,j} = \text{bias} + \sum_{c,u,v} \text{kernel}_{c,u,v}\;\cdot\;"
        r"\text{input}_{c,\;s\,i - p + u,\;s\,j - p + v}"
    )


def step_through(chosen: Selection, view: View, done: Convolved) -> None:
    """The controls and the pictures of one step; runs on its own while the steps play."""
    if st.session_state.get("play"):
        move_on(done)
    channel, row, column = position(done)
    step = convolution.window_sum(done, channel, row, column)
    pictured, mapped, described = st.columns([0.62, 0.62, 1.6], gap="medium")
    with pictured:
        st.markdown("**The image and the window**")
        st.image(network_convolution.picture_with_window(resources.as_seen(view), done, step), width="stretch")
    with mapped:
        st.markdown(f"**Feature map {channel} at this position**")
        st.image(network_convolution.map_with_position(done, channel, row, column), width="stretch")
    with described:
        colour = selection.segments("Colour", network_convolution.COLOURS, "colour")
        st.markdown(f"##### {network_convolution.sum_in_words(step, done.has_bias)}")
        say_where(chosen, done, channel, row, column)
    index = network_convolution.COLOURS.index(colour)
    st.image(network_convolution.products(step, index, charts.ink()), width="stretch")
    file = network_convolution.products(step, index, "black", "white")
    st.download_button("This step (SVG)", file, "convolution.svg", "image/svg+xml", on_click="ignore", key="step_file")


def position(done: Convolved) -> tuple[int, int, int]:
    """The channel and the position that the reader steps to; at first where the output is largest in size."""
    rows, columns = done.positions
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        channel = selection.number_in_link(f"Feature map (0 to {done.channels - 1})", "channel", done.channels)
        strongest = convolution.strongest_position(done, channel)
        for key, value in zip(("row", "column"), strongest, strict=True):
            if key not in st.session_state and key not in st.query_params:
                st.session_state[key] = value
        row = selection.number_in_link(f"Row (0 to {rows - 1})", "row", rows)
        column = selection.number_in_link(f"Column (0 to {columns - 1})", "column", columns)
        st.button("Next position", on_click=move_on, args=(done,), shortcut="Right", key="next_position")
        st.button("Strongest position", on_click=go_to, args=strongest, key="strongest_position")
    return channel, row, column


def go_to(row: int, column: int) -> None:
    """Put a position into the controls, and so into the link."""
    st.session_state["row"], st.session_state["column"] = row, column


def move_on(done: Convolved) -> None:
    """To the next position, row by row, and from the last one back to the first."""
    rows, columns = done.positions
    place = st.session_state.get("row", 0) * columns + st.session_state.get("column", 0) + 1
    go_to(*divmod(place % (rows * columns), columns))


def say_where(chosen: Selection, done: Convolved, channel: int, row: int, column: int) -> None:
    """Which numbers these are."""
    exact = svg.short(float(done.output[channel, row, column]), 4)
    kernel = "×".join(map(str, done.kernels.shape[2:]))
    st.caption(
        f"{chosen.image_name}, {chosen.card.input_size} px. Kernel {channel} of {done.channels}: {kernel} pixels in "
        f"3 colours; it moves by {done.windows[0].stride} px. The numbers of the window are colours as the network "
        f"gets them: 0 is an average picture's colour. The network's own output here: {exact}."
    )


def main() -> None:
    """The page."""
    chosen = selection.current()
    count = len(resources.described(chosen.network, chosen.card.input_size).operations)
    texts.headline(f"{chosen.network}: {count} operations, {chosen.card.parameters:,} parameters")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        shown = selection.segments("Show", VIEWS, "view")
        if shown == "one convolution":
            playing = st.toggle("Play: one step after the other", key="play")
        else:
            size = input_size(chosen)
        detail = selection.segments("Rows", ROWS, "rows") if shown == "table" else ""
    if shown == "table":
        show_table(chosen, size, detail)
    elif shown == "diagram":
        show_diagram(chosen, size)
    else:
        show_convolution(chosen, playing)


main()
