"""Feature maps: where each pattern of a layer is in the image, and which test images excite a map most."""

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from engine import feature_maps, map_sheets, pictures, views
from engine.deconv import silent_channels
from engine.feature_maps import LayerFigures
from engine.graph.receptive_field import Pair
from engine.map_sheets import BRIGHTNESS, HALF_WIDE, MAPS, ORDERS, TILES, columns, in_order
from engine.maximization import OBJECTIVES, PRESETS, stored
from engine.maximization.stored import MaximizationSettings
from engine.patch_sheets import CROPS
from engine.playbacks import CHOSEN, STRONGEST
from engine.views import View
from pages.common import (
    ascents,
    controls,
    downloads,
    layout,
    resources,
    selection,
    sheets,
    texts,
    touch,
)
from pages.common.charts import ink
from pages.common.controls import Option
from pages.common.jobs import panel
from pages.common.kept import keep
from pages.common.selection import Selection
from pages.common.touch import Grid
from pages.feature_maps import charts, code, drawings, many_maps, never_active, over_training, search
from pages.feature_maps.drawings import Sheet, Top, TopNine

OPTIONS = {
    "tiles": Option("show", TILES),
    "order": Option("order", ORDERS),
    "brightness": Option("brightness", BRIGHTNESS),
}
UNITS = (STRONGEST, CHOSEN)


def main() -> None:
    """The page."""
    chosen = selection.current()
    texts.headline(f"How {chosen.network} responds to this image, and where")
    row = layout.row()
    with row:
        view = selection.segments("Look at", tuple(VIEWS), "view")
    VIEWS[view](chosen, row)


def beside_options() -> DeltaGenerator:
    """The place of what is changed mid-sentence, before the options on which it depends."""
    return st.container(horizontal=True, gap="small", vertical_alignment="bottom", width="stretch")


def map_number(activation: Tensor) -> int:
    """The map to look at closely; the strongest one unless the reader or the link names another."""
    strongest, count = feature_maps.order_by_strength(activation)[0], activation.shape[1]
    if not names_another_map(count):
        st.session_state["channel"] = st.session_state["_strongest_map"] = strongest
    return selection.number_in_link(f"Map (strongest: {strongest})", "channel", count, strongest)


def names_another_map(count: int) -> bool:
    """Whether the control, or at first the link, names another map than the strongest one of the view before."""
    named = st.session_state.get("channel")
    if named is None:
        return "channel" in st.query_params
    return named < count and named != st.session_state.get("_strongest_map")


# One layer -----------------------------------------------------------------------------------------------------


def one_layer(chosen: Selection, row: DeltaGenerator) -> None:
    """All maps of the layer as one sheet, and one of them closely."""
    with row:
        beside = beside_options()
        with layout.options(OPTIONS | {"unit": Option("unit", UNITS), "size": selection.size_option(chosen)}):
            view = chosen.view(size=selection.viewing_size(chosen))
            tiles = selection.segments("Show", TILES, "tiles")
            order = selection.segments("Order", ORDERS, "order")
            brightness = selection.segments("Brightness", BRIGHTNESS, "brightness", disabled=tiles != MAPS)
            activation = resources.recording(view).activation
            unit = chosen_unit(activation)
    with beside:
        channel = map_number(activation)
    unit = unit or strongest_unit(activation[0, channel])
    channels = in_order(activation, order)
    sheet = Sheet(view, channels, columns(len(channels)), brightness)
    with layout.stage():
        left, right = st.columns([1, 4.2], gap="small")
    with left:
        show_image(chosen, view, channel, activation, unit)
    with right:
        words = laid_out(sheet, activation, order)
        draw = show_maps if tiles == MAPS else show_patches
        draw(sheet, activation, channel, words)
    one_map(chosen, view, channel, activation, unit)
    explain_one_layer()


def chosen_unit(activation: Tensor) -> Pair | None:
    """The unit of each map that the reader has chosen; None for its strongest one."""
    of_each = selection.segments("Unit", UNITS, "unit")
    return touch.place(*activation.shape[2:]) if of_each == CHOSEN else None


def strongest_unit(one_map: Tensor) -> Pair | None:
    """Where a map `[H, W]` is largest; None if it is inactive."""
    return feature_maps.strongest_units(one_map[None, None])[0] if one_map.any() else None


def show_image(chosen: Selection, view: View, channel: int, activation: Tensor, unit: Pair | None) -> None:
    """The image; the receptive field of a map's unit has a frame, and a click chooses another unit."""
    one, field = activation[0, channel], resources.field(view.network, view.layer)
    touch.show_units(
        drawings.image(view),
        f"The image, with the receptive field of a unit of map {channel}",
        "image",
        touch.units(one, field, view.size),
        unit,
    )
    words = "inactive." if unit is None else f"the frame is the receptive field of its unit at {unit_in_words(unit)}."
    st.caption(f"{named(chosen.truth, chosen.image_name)}. {predicted(chosen, view)} Map {channel}: {words}")
    if unit is not None:
        here = activation[:, :, unit[0], None, unit[1], None]
        strongest = ", ".join(map(str, feature_maps.order_by_strength(here)[:5]))
        st.caption(f"Strongest maps there: {strongest}.")


def predicted(chosen: Selection, view: View) -> str:
    """The predicted class of the image."""
    answer = resources.answer(view)
    return (
        f"Predicted: {texts.plain(chosen.card.classes[answer.classes[0]])}, {texts.percent(answer.probabilities[0])}."
    )


def named(truth: str | None, image_name: str) -> str:
    return texts.plain(image_name if truth is None else f"{truth}, {image_name}")


def show_maps(sheet: Sheet, activation: Tensor, channel: int, words: str) -> None:
    png, layer = drawings.maps(sheet, activation), sheet.view.layer
    show_sheet(png, f"All {len(sheet.order)} maps of {layer}", "maps", sheet, activation, channel)
    signed = feature_maps.is_signed(activation)
    st.caption(f"{words} {'Grey is zero, bright above, dark below.' if signed else 'Dark is zero, yellow is strong.'}")
    downloads.picture("Maps", png, f"{layer}-maps.png", f"All {len(sheet.order)} maps of {layer}")
    downloads.code(code.of_maps(sheet))


def show_patches(sheet: Sheet, activation: Tensor, channel: int, words: str) -> None:
    png, view = drawings.patches_in_image(sheet, activation), sheet.view
    alt = f"The strongest patch of each map of {view.layer} in the image"
    show_sheet(png, alt, "patches", sheet, activation, channel)
    whole = resources.field(view.network, view.layer).holds(view.size)
    dot = " The receptive field holds the whole image: the dot is where the strongest unit sits." if whole else ""
    st.caption(f"{words} Lit: the receptive field of the map's strongest unit.{dot}")
    downloads.picture("Patches", png, f"{view.layer}-patches.png", alt)
    downloads.code(code.of_patches(sheet, whole))


def show_sheet(png: bytes, alt: str, key: str, sheet: Sheet, activation: Tensor, channel: int) -> None:
    """A sheet of maps, each of which can be chosen; the chosen one has a frame."""
    places, maxima = feature_maps.strongest_units(activation), activation[0].amax(dim=(1, 2)).tolist()
    words = [f"map {c}: at most {maxima[c]:.3g}, at {unit_in_words(places[c])}" for c in sheet.order]
    note = touch.in_words(resources.field(sheet.view.network, sheet.view.layer), sheet.view.size)
    grid = Grid(len(words), sheet.columns, sheet.gap, words=words, note=note)
    touch.show(
        png, alt, key, grid, "Map", sheet.order.index(channel), lambda cell: controls.put("channel", sheet.order[cell])
    )


def unit_in_words(unit: Pair) -> str:
    return "row {}, column {}".format(*unit)


def laid_out(sheet: Sheet, activation: Tensor, order: str) -> str:
    """How many maps there are, in which `order`, and how many are inactive."""
    height, width = activation.shape[2:]
    first, silent = ", ".join(str(channel) for channel in sheet.order[:5]), len(silent_channels(activation))
    inactive = f" Inactive (zero everywhere) on this image: {silent}." if silent else ""
    return (
        f"{len(sheet.order)} maps of {height} × {width}, {order} row by row ({first} …), "
        f"{sheet.columns} in a row. Click one to look at it below.{inactive}"
    )


# One map -------------------------------------------------------------------------------------------------------


def one_map(chosen: Selection, view: View, channel: int, activation: Tensor, unit: Pair | None) -> None:
    """All that there is of one map, side by side: kernel, map, strongest test images, and maximisation."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        st.markdown(f"## Map {channel} of {view.layer}")
        crop = selection.segments("Crop the nine images to", CROPS, "crop")
    kernel, here, nine, maximised = st.columns([1, 1, 3, 1], gap="small")
    with kernel:
        st.markdown("**Its kernel**")
        show_kernel(view, channel)
    with here:
        st.markdown("**The map**")
        grid = touch.units(activation[0, channel], resources.field(view.network, view.layer), view.size).own
        png, alt = drawings.one_map(view, channel, activation), f"Map {channel}, on its own scale"
        touch.show_units(png, alt, "map", grid, unit)
        st.caption("on its own scale")
    with nine:
        strongest(chosen, view, channel, crop)
    with maximised:
        st.markdown("**Its maximisation**")
        show_maximization(chosen, view, channel)


def show_kernel(view: View, channel: int) -> None:
    kernel = drawings.kernel(view.network, view.layer, channel)
    if kernel is None:
        st.caption("No single kernel belongs to this map: several branches are joined before it.")
        return
    sheets.show(kernel.png, f"The kernel of map {channel}")
    st.caption(kernel.words)


def show_maximization(chosen: Selection, view: View, channel: int) -> None:
    """The picture that the Maximisation page makes of the map at first; or the button that makes it."""
    size, (objective, preset) = chosen.card.input_size, (OBJECTIVES[0], next(iter(PRESETS)))
    settings = MaximizationSettings(
        view.network, view.layer, channel, 1, objective, preset, stored.STEPS, stored.SEED, size
    )
    job = ascents.ascent(settings)
    if job.complete and not job.alive:
        picture = pictures.png(pictures.enlarged(job.maximization.pictures, sheets.SIDE)[0])
        sheets.show(picture, f"An optimised picture that excites map {channel}")
        st.caption(f"{preset}, {objective}, {stored.STEPS} steps")
    else:
        panel(job, start="Make the picture", key="ascent")


def strongest(chosen: Selection, view: View, channel: int, crop: str) -> None:
    """The strongest test images with the deconvnet reconstruction from each; or the button that searches for them."""
    top = search.strongest_of(view, "**Its nine strongest test images**")
    if top is not None:
        nine = drawings.top_nine(Top(view.network, view.layer, channel, chosen.batch_norm, crop), top)
        show_top_nine(chosen, view, channel, nine)


def show_top_nine(chosen: Selection, view: View, channel: int, nine: TopNine) -> None:
    left, right = st.columns(2, gap="small")
    with left:
        st.markdown("**Its nine strongest test images**")
        sheets.show(nine.patches, f"The nine test images that excite map {channel} most")
    with right:
        st.markdown("**Deconvnet reconstruction from each**")
        sheets.show(nine.reconstructions, "The deconvnet reconstruction from the strongest unit of each")
    st.caption(top_in_words(nine, chosen, view))
    heading, name = "Strongest test images", f"{view.layer}-map{channel}-top9"
    caption = f"The nine test images that excite map {channel} of {view.layer} most, and the reconstruction from each"
    downloads.picture(heading, nine.both, f"{name}.png", caption)
    downloads.table(heading, nine.table, f"{name}.csv")


def top_in_words(nine: TopNine, chosen: Selection, view: View) -> str:
    """Which images these are, and how much of them the receptive field holds."""
    rows = nine.table.itertuples()
    images = "; ".join(f"{row[2]} {row.image} ({row.activation:.2f})" for row in rows)
    seen, own = resources.field(view.network, view.layer), chosen.card.input_size
    if seen.size is None:
        field = "Receptive field: the whole image, so the patch is the image."
    elif seen.holds(own):
        field = f"Receptive field {seen.size[0]} px, the whole image of {own} px, so the patch is the image."
    else:
        field = f"Receptive field {seen.size[0]} × {seen.size[1]} px; the image has {own} px."
    inactive = "" if (nine.table["activation"] > 0).any() else " The map is inactive on all test images."
    return f"{field}{inactive} Of 10,000, strongest first (activation): {images}."


# Every layer ---------------------------------------------------------------------------------------------------


def every_layer(chosen: Selection, row: DeltaGenerator) -> None:
    """Four maps of every layer, and what changes with depth."""
    with row:
        view = chosen.view(size=selection.viewing_size(chosen))
    of_all = maps_of_all(anywhere(view))
    maps = map_sheets.with_room(resources.trained(view.network).model, of_all)
    of_stages = len(maps) < len(of_all)
    layers = f"each stage's last layer (of {len(of_all)} layers)" if of_stages else "each layer"
    png = drawings.four_of_every_layer(anywhere(view), ink(), pictures.CLEAR, maps)
    with layout.stage():
        sheets.show(png, "The four strongest maps of every layer, from the first layer to the last")
    st.caption(
        f"{named(chosen.truth, chosen.image_name)}. {predicted(chosen, view)} The four strongest maps of {layers}, "
        "each layer on its own scale. Yellow is strong; layers before a ReLU are grey, with zero at mid-grey."
    )
    downloads.picture(
        "Maps of every layer",
        lambda: drawings.four_of_every_layer(anywhere(view), downloads.INK, pictures.WHITE, maps),
        "every-layer.png",
        f"The four strongest maps of every layer: {chosen.image_name}",
    )
    downloads.code(code.of_every_layer(view, map_sheets.side_of_four(len(maps)), of_stages))
    show_depth(figures(anywhere(view)), view.size)
    never_active.draw(chosen.network)
    explain_every_layer()


def anywhere(view: View) -> View:
    """The view without its layer, as the key of what concerns all layers."""
    return replace(view, layer="")


@keep("Running the network …")
def maps_of_all(view: View) -> dict[str, Tensor]:
    """The maps of every named layer on the view's image."""
    return feature_maps.all_maps(resources.trained(view.network).model, resources.network_input(view))


@st.cache_data(max_entries=64, show_spinner=False)
def figures(view: View) -> tuple[LayerFigures, ...]:
    """The figures of every layer's maps."""
    return tuple(feature_maps.figures(name, maps) for name, maps in maps_of_all(view).items())


def show_depth(of_layers: tuple[LayerFigures, ...], size: int) -> None:
    chart, words = st.columns([3, 2], gap="medium")
    with chart:
        spec = charts.depth(of_layers)
        st.markdown("**Inactive units, and the maps that hold half of the response**")
        st.vega_lite_chart(spec, alt="Share of inactive units, and of the maps that hold half of the response")
    with words:
        st.markdown("**What changes with depth**")
        for sentence in feature_maps.depth_in_words(of_layers, size):
            st.info(sentence)
    downloads.chart(spec, charts.table(of_layers), "depth", "What changes with depth")


# Two images ----------------------------------------------------------------------------------------------------


def two_images(chosen: Selection, row: DeltaGenerator) -> None:
    """The same layer on two images of different classes, on one scale."""
    with row:
        beside = beside_options()
        with layout.options(OPTIONS | {"unit": Option("unit", UNITS), "size": selection.size_option(chosen)}):
            first = chosen.view(size=selection.viewing_size(chosen))
            help = "The same for both images, in either case."
            brightness = selection.segments("Brightness", BRIGHTNESS, "brightness", help=help)
            order = selection.segments("Order", ORDERS, "order")
            activation = resources.recording(first).activation
            channel, unit = map_number(activation), chosen_unit(activation)
    with beside:
        classes = resources.images(selection.BUNDLED[0]).classes
        other_image = selection.second_image(selection.BUNDLED[0], views.another_class(classes, chosen.truth))
    second = replace(first, split=other_image.split, index=other_image.index)
    other, channels = resources.recording(second).activation, in_order(activation, order)
    sheet = Sheet(first, channels, columns(len(channels), HALF_WIDE), brightness, second)
    with layout.stage():
        left, right = st.columns(2, gap="small")
    with left:
        show_one_of_two(sheet, activation, other, channel, unit, named(chosen.truth, chosen.image_name), order)
        st.caption(predicted(chosen, first))
    with right:
        swapped, name = replace(sheet, view=second, partner=first), f"{other_image.truth}, {other_image.name}"
        show_one_of_two(swapped, other, activation, channel, unit, name, "in the order of the first image")
        st.caption(predicted(chosen, second))
    downloads.code(code.of_two_images(sheet))
    show_similarity(similarities(anywhere(first), anywhere(second)))
    explain_two_images()


def show_one_of_two(
    sheet: Sheet, activation: Tensor, partner: Tensor, channel: int, unit: Pair | None, name: str, order: str
) -> None:
    """One of the images and its maps, on the scale that both share."""
    view, one, key = sheet.view, activation[0, channel], order.replace(" ", "-")
    image, maps = st.columns([1, 5.5], gap="small")
    with image:
        grid = touch.units(one, resources.field(view.network, view.layer), view.size)
        touch.show_units(drawings.image(view), name, f"image-{key}", grid, unit or strongest_unit(one))
    with maps:
        alt = f"All maps of {view.layer} on {name}"
        png = drawings.maps(sheet, activation, partner)
        show_sheet(png, alt, f"maps-{key}", sheet, activation, channel)
        downloads.picture(f"Maps on {name}", png, f"{view.layer}-maps-{view.split}-{view.index}.png", alt)
    st.caption(f"{name}. {laid_out(sheet, activation, order)}")


@st.cache_data(max_entries=64, show_spinner=False)
def similarities(first: View, second: View) -> dict[str, float]:
    """The cosine similarity of two images' responses, layer by layer; layers before a ReLU are left out."""
    one, other = maps_of_all(first), maps_of_all(second)
    rectified = [name for name in one if not feature_maps.is_signed(one[name])]
    return {name: feature_maps.cosine_similarity(one[name], other[name]) for name in rectified}


def show_similarity(of_layers: dict[str, float]) -> None:
    chart, words = st.columns([3, 2], gap="medium")
    with chart:
        spec = charts.similarity(of_layers)
        st.markdown("**Cosine similarity of the two images' responses, layer by layer**")
        st.vega_lite_chart(spec, alt="Cosine similarity of the two images' responses, layer by layer")
    with words:
        st.info(feature_maps.pair_in_words(of_layers))
        downloads.chart(spec, charts.similarity_table(of_layers), "similarity", "Similarity layer by layer")


# Words ---------------------------------------------------------------------------------------------------------


def explain_one_layer() -> None:
    texts.what_to_look_at(
        "Near the image a map is a picture of the image; deep inside it only shows whether something is there.",
        "The nine images of one map: what do they share? Compare a map of conv1 with one of the last layer.",
        "The reconstructions are meant to show what the unit responded to: how much do those of another map differ?",
    )
    st.latex(r"\text{top}_9(c) = \text{the nine images } x \text{ with the largest } \max_{i,j} A_c(x)_{ij}")


def explain_every_layer() -> None:
    texts.what_to_look_at(
        "From left to right the maps get smaller: do more of them turn dark?",
        "Where can you no longer tell what the image shows?",
        "Choose another image: which columns change, and which look the same?",
    )
    st.latex(
        r"\text{inactive} = \frac{\#\{A \le 0\}}{C\,H\,W} \qquad"
        r"\text{response of map } c:\ a_c = \sum_{i,j}\max(A_{c,ij}, 0)"
    )


def explain_two_images() -> None:
    texts.what_to_look_at(
        "The same place in both sheets is the same map: which ones respond to one image only?",
        "In the first layers both images light up the same maps, at other places. Do they in the last ones, too?",
        "Try two images of one class: do they stay more similar than two of different classes?",
    )
    st.latex(
        r"\text{cosine similarity} = \frac{\langle A, B\rangle}{|A|\,|B|} \qquad "
        r"A, B:\ \text{the two images' responses}"
    )


VIEWS = {
    "one layer": one_layer,
    "every layer": every_layer,
    "two images": two_images,
    "many maps": many_maps.draw,
    "over training": over_training.draw,
}

main()
