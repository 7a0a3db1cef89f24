"""View "one deconvnet layer" of the Network page: figure 1 of Zeiler & Fergus (2014) on a real map, in numbers."""

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.network import deconvnet_layer as deconvnet
from engine.network.deconvnet_layer import FILTERED, NORMALISED, RECTIFIED, UNPOOLED, DeconvnetLayer, FilteredSum
from engine.operations.windows import Window
from engine.views import View
from pages.common import downloads, layout, resources, selection, sheets, texts, touch
from pages.common.charts import ink
from pages.common.kept import keep
from pages.common.selection import Selection
from pages.common.touch import Grid
from pages.network import code, svg
from pages.network import deconvnet_drawings as drawings
from pages.network.deconvnet_drawings import SWITCH, TITLES

PLAY_SECONDS = 2.5
KEYS = ("channel", "row", "column")
STEP_FORMULAS = {
    UNPOOLED: ("u", r"\sum_{z(c,i,j)=(p,q)} LAST_{c,i,j}"),
    RECTIFIED: ("r", r"\max(LAST_{c,p,q}, 0)"),
    NORMALISED: ("n", r"\tfrac{\gamma_c}{\sigma_c}\,LAST_{c,p,q}"),
}
"""Each step: what it gives, and from what it reads, the LAST."""
Unit = tuple[int, int, int]
"""Channel, row and column."""


def show(chosen: Selection, playing: bool) -> None:
    """The view: one pooling window on the way back, from the signal to the filtered map."""
    view = chosen.view()
    done = layer_of(view)
    # Alone only while it plays: a step by hand changes the code in the menu too.
    step = st.fragment(show_step, run_every=PLAY_SECONDS) if playing else show_step
    step(chosen, view, done)
    if done.pooling is None:
        st.info(without_pooling(chosen))
    explain(done)


def show_step(chosen: Selection, view: View, done: DeconvnetLayer) -> None:
    """The controls, the maps and the numbers of one step; runs on its own while the steps play."""
    kinds = ([] if done.pooling is None else [SWITCH]) + [part.kind for part in done.parts]
    if st.session_state.get("play") and st.session_state.get("reverse") in kinds:
        st.session_state["reverse"] = kinds[(kinds.index(st.session_state["reverse"]) + 1) % len(kinds)]
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        unit = unit_of(done)
        kind = selection.segments("Step in numbers", kinds, "reverse", preferred=kinds[0])
    found = sum_below(done, unit)
    with layout.stage(2):
        strip = st.columns(len(done.parts) + 2, gap="small")
    show_maps(done, unit, found, strip)
    words = in_words(done, kind, unit, found)
    st.markdown(f"## {words}")
    with st.container(key="in_numbers"):
        st.image(drawn(done, kind, unit, found, ink()), width="stretch", alt=f"Numbers: {words}".replace("*", ""))
    st.caption(said_of(chosen, done, unit))
    drawing = drawn(done, kind, unit, found, "black", "white")
    downloads.drawing("This step", drawing, f"deconvnet-{kind}", words.replace("*", ""))
    downloads.code(code.of_deconvnet_layer(view, unit, found))


@keep("Playing the signal back …")
def layer_of(view: View) -> DeconvnetLayer:
    """The layer below the view's, with the signal on its way back."""
    model = resources.trained(view.network).model
    return deconvnet.deconvnet_layer(model, resources.network_input(view), view.layer)


def unit_of(done: DeconvnetLayer) -> Unit:
    """The map and the unit that the reader looks at; what nobody has named follows the strongest unit."""
    maps, rows, columns = done.signal.shape
    strongest = dict(zip(KEYS, deconvnet.strongest(done), strict=True))
    before = st.session_state.get("_strongest_unit", {})
    for key, size in zip(KEYS, done.signal.shape, strict=True):
        value = st.session_state.get(key)
        is_named = key in st.query_params if value is None else value < size and value != before.get(key)
        if not is_named:
            st.session_state[key] = strongest[key]
    st.session_state["_strongest_unit"] = strongest
    channel = selection.number_in_link(f"Map (0 to {maps - 1})", "channel", maps)
    row = selection.number_in_link(f"Row (0 to {rows - 1})", "row", rows)
    column = selection.number_in_link(f"Column (0 to {columns - 1})", "column", columns)
    st.button("Strongest", on_click=go_to, args=tuple(strongest.values()), key="strongest_unit")
    return channel, row, column


def go_to(channel: int, row: int, column: int) -> None:
    """Put a unit into the controls, and so into the link."""
    st.session_state.update(zip(KEYS, (channel, row, column), strict=True))


def sum_below(done: DeconvnetLayer, unit: Unit) -> FilteredSum:
    """The sum for the place below the unit's switch, in the map to which the unit's kernel gives most."""
    below = deconvnet.strongest_kernel(done, unit[0])
    return deconvnet.filtered_sum(done, unit[0], below, *deconvnet.below_the_middle(done, *done.switch(*unit)))


# The maps ------------------------------------------------------------------------------------------------------


def show_maps(done: DeconvnetLayer, unit: Unit, found: FilteredSum, strip: list[DeltaGenerator]) -> None:
    """Forward, the signal, and the map after each step of the way back, each with the window marked."""
    channel, row, column = unit
    window = drawings.window_of(done, row, column)
    with strip[0]:
        forward = drawings.map_with_box(done.forward[channel], *window)
        sheets.show(forward, f"Map {channel} on the way forward, with the window marked")
        st.caption(f"**forward**, map {channel}")
    with strip[1]:
        values = done.signal[channel]
        grid = Grid(values.numel(), values.shape[1], values=[float(f"{v:.3g}") for v in values.flatten().tolist()])
        png = drawings.signal_map(values)
        alt = f"The signal that arrives at map {channel}"
        touch.show_units(png, alt, "signal", grid, (row, column), partial(go_to, channel))
        source = "this layer itself" if done.source == done.node else texts.plain(done.source)
        st.caption(f"**the signal** from {source}: click a unit")
    for column_of_page, part in zip(strip[2:], done.parts, strict=True):
        with column_of_page:
            if part.kind == FILTERED:
                picture = drawings.filtered_map(done, found.below, found.row, found.column)
                name = "the pixels" if done.reads_image else name_below(done, found.below)
            else:
                picture, name = drawings.map_with_box(part.signal[channel], *window), f"map {channel}"
            sheets.show(picture, f"{part.kind}: {name}")
            st.caption(f"**{TITLES[part.kind]}**, {name}")


# One step ------------------------------------------------------------------------------------------------------


def drawn(done: DeconvnetLayer, kind: str, unit: Unit, found: FilteredSum, ink: str, background: str = "none") -> str:
    """The numbers of a step."""
    if kind == FILTERED:
        return drawings.filtering(found, ink, background)
    return drawings.step(done, kind, unit, ink, background)


def in_words(done: DeconvnetLayer, kind: str, unit: Unit, found: FilteredSum) -> str:
    """What the step does with the numbers."""
    channel, row, column = unit
    y, x = done.switch(*unit)
    arrived = svg.short(float(done.signal[unit]), 3)
    if kind == SWITCH:
        _, _, high, wide = drawings.window_of(done, row, column)
        return (
            f"The largest of the window's {high * wide} numbers, {svg.short(float(done.output[unit]), 3)}, is at "
            f"row {y}, column {x}: that is the switch."
        )
    if kind == UNPOOLED:
        said = (
            f"The signal {arrived} goes to the switch, row {y}, column {x}; the rest of the window gets nothing of it."
        )
        there = float(done.parts[0].signal[channel, y, x])
        if abs(there - float(done.signal[unit])) < 5e-4:
            return said
        return f"{said} Windows that overlap here send more: {svg.short(there, 3)}."
    if kind == FILTERED:
        below = name_below(done, found.below)
        return (
            f"{below}, row {found.row}, column {found.column}: {svg.short(found.share, 3)} of map {channel} + "
            f"{svg.short(found.others, 3)} of the other {len(done.kernels) - 1} maps = **{svg.short(found.total, 3)}**"
        )
    part = next(part for part in done.parts if part.kind == kind)
    before, after = float(done.before(kind)[channel, y, x]), float(part.signal[channel, y, x])
    if kind == RECTIFIED:
        how = "is negative and becomes 0" if before < 0 else "is not negative and stays"
        return f"{svg.short(before, 3)} at row {y}, column {x} {how}."
    factor = after / before if before else 0.0
    times = f" (× {svg.short(factor, 3)})" if kind == NORMALISED and before else ""
    return f"Batch norm makes {svg.short(before, 3)} at row {y}, column {x} into {svg.short(after, 3)}{times}."


def name_below(done: DeconvnetLayer, below: int) -> str:
    """What a map below is called."""
    return ("red", "green", "blue")[below] if done.reads_image else f"map {below} below"


def said_of(chosen: Selection, done: DeconvnetLayer, unit: Unit) -> str:
    """Which numbers these are."""
    what = "the layer's own activation" if done.source == done.node else f"all channels of {done.source}, played back"
    place = f"the unit at row {unit[1]}, column {unit[2]}"
    frame = place if done.pooling is None else f"the window of {place}; ring: its switch"
    return (
        f"{texts.plain(chosen.image_name)}. The signal: {texts.plain(what)} to {texts.plain(done.node)}. "
        f"Frame: {frame}. Each map has its own scale; grey is zero."
    )


def without_pooling(chosen: Selection) -> str:
    """What a network without max-pooling has in its place."""
    strided = deconvnet.strided_convolutions(resources.trained(chosen.network).model)
    listed = ", ".join(strided[:4]) + (", …" if len(strided) > 4 else "")
    return (
        f"{texts.plain(chosen.card.name)} has no max-pooling: its maps shrink by strided convolutions "
        f"({texts.plain(listed)}). So there are no switches and nothing to unpool: the transposed convolution spreads "
        "each number over its whole window, by the kernel's weights alone. Where in the window the pattern was, nobody "
        "has noted."
    )


def explain(done: DeconvnetLayer) -> None:
    removed = f"{deconvnet.negative_share(done):.0%}".replace("%", " %")
    rectified = f"Rectified: what is negative goes, {removed} of the numbers other than zero that arrive here."
    if all(part.kind != RECTIFIED for part in done.parts):
        rectified = "Nothing is rectified between this pooling and its convolution."
    if done.pooling is None:
        texts.what_to_look_at(
            "Compare with a network that pools, such as model_one: what did its switches know?",
            rectified,
            "Filtered: each place below meets only every second weight of the kernel, as the stride says.",
        )
    else:
        texts.what_to_look_at(
            "Switch, then unpooled: the number returns to exactly the place where the maximum was.",
            rectified,
            "Filtered: the same kernel as on the way forward, turned by 180°; all maps are added up.",
        )
    for line in formulas(done):
        st.latex(line)


def formulas(done: DeconvnetLayer) -> tuple[str, str]:
    """The steps of the way back in their order, and the filtering."""
    lines, last = [], "s"
    for part in done.parts:
        if part.kind != FILTERED:
            letter, term = STEP_FORMULAS[part.kind]
            lines.append(f"{letter}_{{c,p,q}} = {term.replace('LAST', last)}")
            last = letter
    filtered = rf"\text{{below}}_{{d,y,x}} = \sum_{{c,k,l}} K_{{c,d,k,l}}\,{last}_{{c,p,q}}"
    down, across = done.convolution
    return r"\qquad ".join(
        lines
    ), rf"{filtered},\quad y = {_place(down, 'p', 'k')},\quad x = {_place(across, 'q', 'l')}"


def _place(window: Window, position: str, offset: str) -> str:
    """Where a weight of the kernel lies below: t p - pad + k, with the convolution's own numbers."""
    stride, dilation = (f"{number} \\, " if number > 1 else "" for number in (window.stride, window.dilation))
    return f"{stride}{position} - {window.padding} + {dilation}{offset}".replace(" - 0", "")
