"""Feature maps: where each pattern of a layer was found in the image, and which test images excite a map most."""

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from engine import feature_maps
from engine.pictures import WHITE
from pages.common import downloads, resources, selection, sheets, texts
from pages.common.charts import ink
from pages.common.resources import View
from pages.common.selection import Selection
from pages.feature_maps import charts, drawings, index
from pages.feature_maps.drawings import CROPS, ORDERS, SCALES, Maps, Top
from pages.feature_maps.index import Search

SHOW = ("one layer", "every layer", "two images")
TILES = ("maps", "patches in the image")


# The controls --------------------------------------------------------------------------------------------------


def map_number(view: View) -> int:
    """The map that is looked at closely; the strongest one unless the reader or the link names another."""
    activation = resources.recording(view).activation
    strongest, count = feature_maps.order_by_strength(activation)[0], activation.shape[1]
    if not names_another_map(count):
        st.session_state["map"] = st.session_state["_strongest_map"] = strongest
    return selection.number_in_link(f"Map (strongest: {strongest})", "map", count)


def names_another_map(count: int) -> bool:
    """Whether the control, or at first the link, says something else than the strongest map of the view before."""
    said = st.session_state.get("map")
    if said is None:
        return "map" in st.query_params
    return said < count and said != st.session_state.get("_strongest_map")


# One layer -----------------------------------------------------------------------------------------------------


def one_layer(chosen: Selection, controls: Callable[[], int]) -> None:
    """All maps of the layer as one sheet, and one of them closely."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        view = chosen.view(size=controls())
        tiles = selection.segments("Show", TILES, "fm_tiles")
        order = selection.segments("Order", ORDERS, "fm_order")
        scale = selection.segments("Brightness", SCALES, "fm_scale", disabled=tiles != TILES[0])
        channel = map_number(view)
    maps = Maps(view, order, scale, channel)
    image, sheet = st.columns([1, 4], gap="medium")
    with image:
        show_image(chosen, view, channel)
    with sheet:
        show_maps(maps) if tiles == TILES[0] else show_patches(maps)
    one_map(chosen, view, channel)
    explain_one_layer()


def show_image(chosen: Selection, view: View, channel: int) -> None:
    sheets.show(drawings.image_with_patch(view, channel), f"The image, with what map {channel}'s strongest unit sees")
    frame = f"Frame: the strongest patch of map {channel}."
    st.caption(f"{named(chosen.truth, chosen.image_name)}. {answer(chosen, view)} {frame}")


def answer(chosen: Selection, view: View) -> str:
    """What the network says of the image."""
    said = resources.answer(view)
    return f"The network says: {chosen.card.classes[said.classes[0]]}, {texts.percent(said.probabilities[0])}."


def named(truth: str | None, image_name: str) -> str:
    return image_name if truth is None else f"{truth}, {image_name}"


def show_maps(maps: Maps) -> None:
    drawn = drawings.maps_sheet(maps)
    sheets.show(drawn.png, f"All {len(drawn.order)} maps of {maps.view.layer}")
    colours = "Grey is zero, bright above, dark below." if drawn.signed else "Dark is silent, yellow is strong."
    st.caption(f"{laid_out(maps, drawn)} {colours}")
    downloads.picture("Sheet (PNG)", drawn.png, f"{maps.view.layer}-maps.png")


def show_patches(maps: Maps) -> None:
    drawn = drawings.patches_sheet(maps)
    sheets.show(drawn.png, f"The strongest patch of each map of {maps.view.layer} in the image")
    whole = drawings.sees_everything(drawings.field(maps.view.network, maps.view.layer), maps.view.size)
    dot = " A unit here can see the whole image: the dot is where the strongest one sits." if whole else ""
    st.caption(f"{laid_out(maps, drawn)} Lit: what the map's strongest unit sees.{dot}")
    downloads.picture("Sheet (PNG)", drawn.png, f"{maps.view.layer}-patches.png")


def laid_out(maps: Maps, drawn: drawings.Sheet, order: str = "") -> str:
    """How many maps there are, in which `order` if not in their own, and how many have nothing to show."""
    height, width = resources.recording(maps.view).activation.shape[2:]
    first = ", ".join(str(channel) for channel in drawn.order[:5])
    silent = f" Silent on this image: {drawn.silent}." if drawn.silent else ""
    return (
        f"{len(drawn.order)} maps of {height} × {width}, {order or maps.order} row by row ({first} …), "
        f"{drawn.columns} in a row; map {maps.marked} has the frame.{silent}"
    )


# One map -------------------------------------------------------------------------------------------------------


def one_map(chosen: Selection, view: View, channel: int) -> None:
    """What makes the map, the map, and what it answers to."""
    st.markdown(f"##### Map {channel} of {view.layer}")
    kernel, drawn, right = st.columns([1, 1, 3], gap="medium")
    with kernel:
        st.markdown("**Its kernel**")
        show_kernel(view, channel)
    with drawn:
        st.markdown("**The map**")
        sheets.show(drawings.one_map(view, channel), f"Map {channel}, on its own scale")
        st.caption("on its own scale")
    with right:
        top_nine(chosen, view, channel)


def show_kernel(view: View, channel: int) -> None:
    found = drawings.kernel(view.network, view.layer, channel)
    if found is None:
        st.caption("No single kernel belongs to this map: several branches are joined before it.")
        return
    sheets.show(found.png, f"The kernel of map {channel}")
    st.caption(found.words)


def top_nine(chosen: Selection, view: View, channel: int) -> None:
    """The strongest of the test images, with what a deconvnet sends back from each; or the way to find them."""
    job = index.search(view.network)
    if index.index(view.network) is None or job.alive:
        search_panel(view.network)
        return
    crop = selection.segments("Crop the nine images to", CROPS, "fm_crop")
    drawn = drawings.top_images(Top(view.network, view.layer, channel, chosen.batch_norm, crop))
    if drawn is None:
        st.caption("This layer is not in the list of strongest images.")
        return
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Its nine strongest test images**")
        sheets.show(drawn.patches, f"The nine test images that excite map {channel} most")
    with right:
        st.markdown("**What comes back from each**")
        sheets.show(drawn.reconstructions, "What a deconvnet sends back from the strongest unit of each")
    st.caption(top_in_words(drawn, chosen, view))
    with st.container(horizontal=True):
        downloads.picture("Images | sent back (PNG)", drawn.both, f"{view.layer}-map{channel}-top9.png")
        downloads.table("The nine (CSV)", drawn.table, f"{view.layer}-map{channel}-top9.csv")


def top_in_words(drawn: drawings.TopDrawing, chosen: Selection, view: View) -> str:
    """Which images these are, and what of them is shown."""
    rows = drawn.table.itertuples()
    images = "; ".join(f"{row[2]} {row.image} ({row.activation:.2f})" for row in rows)
    seen, own = drawings.field(view.network, view.layer), chosen.card.input_size
    if seen.size is None:
        field = "A unit here sees the whole image, so the patch is the image."
    elif drawings.sees_everything(seen, own):
        field = f"A unit here can see {seen.size[0]} px, the whole image of {own} px, so the patch is the image."
    else:
        field = f"A unit here sees {seen.size[0]} × {seen.size[1]} of {own} px."
    silent = " No test image excites this map: it is silent on all of them." if drawn.silent else ""
    return f"{field}{silent} Of 10,000, strongest first (activation): {images}."


# The search for the strongest images ---------------------------------------------------------------------------


def search_panel(network: str) -> None:
    """The way to find the strongest images: a button, then progress and another button."""
    st.markdown("**Its nine strongest test images**")
    job = index.search(network)
    if job.alive:
        # Outside the fragment: in a browser, a click inside one ends its polling.
        st.button("Stop", key="fm_stop", on_click=job.stop)
        st.fragment(watch_search, run_every=0.5)(network)
        return
    if job.error:
        st.warning(job.error)
    st.write("Nobody has looked for them in this network yet. The app stays usable meanwhile.")
    st.button("Search the 10,000 test images", key="fm_search", on_click=job.start)


def watch_search(network: str) -> None:
    """Progress of the search; the page is drawn anew once it has ended."""
    job: Search = index.search(network)
    if not job.alive:
        st.rerun()
    job.watch()
    st.progress(job.done / job.total, f"{job.done:,} of {job.total:,} images searched")


# Every layer ---------------------------------------------------------------------------------------------------


def every_layer(chosen: Selection, controls: Callable[[], int]) -> None:
    """Four maps of every layer, and what changes with depth."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        here = chosen.view(size=controls())
    view = drawings.anywhere(here)
    drawn, words = st.columns([3, 2], gap="medium")
    with drawn:
        png = drawings.four_of_every_layer(view, ink())
        sheets.show(png, "The four strongest maps of every layer, from the first layer to the last")
        st.caption(
            f"{named(chosen.truth, chosen.image_name)}. {answer(chosen, here)} The four strongest maps of each layer. "
            "Yellow is strong; layers before a ReLU are grey, with zero at mid-grey."
        )
        file = drawings.four_of_every_layer(view, downloads.INK, WHITE)
        downloads.picture("Picture (PNG)", file, "every-layer.png")
    with words:
        figures = drawings.figures(view)
        st.markdown("**What changes with depth**")
        for sentence in feature_maps.depth_in_words(figures, view.size):
            st.info(sentence)
        spec = charts.depth(view)
        st.markdown("**Silent units, and the maps that hold half of the response**")
        st.vega_lite_chart(spec, alt="Share of silent units, and of the maps that hold half of the response")
        downloads.chart(spec, charts.table(figures), "depth")
    explain_every_layer()


# Two images ----------------------------------------------------------------------------------------------------


def two_images(chosen: Selection, controls: Callable[[], int]) -> None:
    """The same layer on two images of different classes, on one scale."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        first = chosen.view(size=controls())
        scale = selection.segments("Brightness", SCALES, "fm_scale", help="The same for both images, in either case.")
        order = selection.segments("Order", ORDERS, "fm_order")
        truth, second = other_image(chosen, first)
        channel = map_number(first)
    arranged = Maps(first, order, scale, channel)
    numbers = drawings.maps_sheet(arranged, second, 1.4).order
    left, right = st.columns(2, gap="medium")
    with left:
        show_one_of_two(arranged, second, numbers, named(chosen.truth, chosen.image_name))
        st.caption(answer(chosen, first))
    with right:
        other = Maps(second, order, scale, channel)
        show_one_of_two(other, first, numbers, f"{truth}, test image {second.index}", "in the order of the first image")
        st.caption(answer(chosen, second))
    likeness(first, second)
    explain_two_images()


def other_image(chosen: Selection, first: View) -> tuple[str, View]:
    """The second image: another class unless the reader says otherwise."""
    data, of_class = resources.images("test"), resources.indices_by_class("test")
    preferred = next(name for name in reversed(data.classes) if name != chosen.truth)
    truth = selection.choose("Second image", "class2", list(data.classes), preferred)
    indices = of_class[data.classes.index(truth)]
    number = selection.number_in_link("Number", "number2", len(indices))
    return truth, replace(first, split="test", index=int(indices[number]))


def show_one_of_two(maps: Maps, partner: View, order: tuple[int, ...], name: str, order_in_words: str = "") -> None:
    """One of the images and its maps, in the order of the first one's."""
    drawn = drawings.maps_sheet(maps, partner, 1.4, order)
    image, sheet = st.columns([1, 4], gap="small")
    with image:
        sheets.show(drawings.image_with_patch(maps.view, maps.marked), name)
    with sheet:
        sheets.show(drawn.png, f"All maps of {maps.view.layer} on {name}")
    st.caption(f"{name}. {laid_out(maps, drawn, order_in_words)}")


def likeness(first: View, second: View) -> None:
    """How alike the network finds the two, layer by layer."""
    alike = drawings.alikeness(drawings.anywhere(first), drawings.anywhere(second))
    chart, words = st.columns([3, 2], gap="medium")
    with chart:
        spec = charts.likeness(drawings.anywhere(first), drawings.anywhere(second))
        st.markdown("**How alike the network finds the two, layer by layer**")
        st.vega_lite_chart(spec, alt="How alike the two images are, layer by layer")
    with words:
        st.info(feature_maps.pair_in_words(alike))
        downloads.chart(spec, charts.likeness_table(alike), "likeness")


# Words ---------------------------------------------------------------------------------------------------------


def explain_one_layer() -> None:
    texts.what_to_look_at(
        [
            "Near the image a map is a picture of the image; deep inside it only says whether something is there.",
            "The nine images of one map: what do they share? Compare a map of conv1 with one of the last layer.",
            "What comes back shows which part of each image the unit answered to.",
        ]
    )
    st.latex(r"\text{top}_9(c) = \text{the nine images } x \text{ with the largest } \max_{i,j} A_c(x)_{ij}")


def explain_every_layer() -> None:
    texts.what_to_look_at(
        [
            "From left to right the maps get smaller: do more of them turn dark?",
            "Where can you no longer tell what the image shows?",
            "Choose another image: which columns change, and which look the same?",
        ]
    )
    st.latex(
        r"\text{silent} = \frac{\#\{A \le 0\}}{C\,H\,W} \qquad"
        r"\text{response of map } c:\ a_c = \sum_{i,j}\max(A_{c,ij}, 0)"
    )


def explain_two_images() -> None:
    texts.what_to_look_at(
        [
            "The same place in both sheets is the same map: which ones answer to one image only?",
            "In the first layers both images light up the same maps; in the last ones, other maps.",
            "Try two images of one class: do they stay more alike than two of different classes?",
        ]
    )
    st.latex(r"\text{likeness} = \frac{\langle A, B\rangle}{|A|\,|B|} \qquad A, B:\ \text{the two images' responses}")


PAGES = {"one layer": one_layer, "every layer": every_layer, "two images": two_images}


def main() -> None:
    """The page."""
    chosen = selection.current()
    texts.headline(f"What {chosen.network} finds in this image, and where")
    show = selection.segments("Look at", SHOW, "fm_show", label_visibility="collapsed")
    PAGES[show](chosen, lambda: selection.viewing_size(chosen))


main()
