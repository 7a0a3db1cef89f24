"""View "over training": one map after each epoch that is kept, as Zeiler & Fergus print it in their figure 4."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from engine import evolution, feature_maps, pictures, weights
from engine.evolution import Moment
from engine.views import View
from engine.weights import TRAINED
from pages.common import controls, downloads, jobs, layout, resources, selection, strongest_images, texts, touch
from pages.common.charts import ink
from pages.common.kept import keep
from pages.common.selection import Selection
from pages.common.touch import Grid
from pages.feature_maps import charts, code

NUMBER = 190
"""Pixels: how wide the control of the map is."""
BESIDE = 4
"""So many moments leave room for a chart beside them."""


def draw(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    with row:
        with layout.options({"size": selection.size_option(chosen)}):
            view = chosen.view(size=selection.viewing_size(chosen))
        with st.container(width=NUMBER):
            channel = choose_map(resources.recording(at(view, TRAINED)).activation)
    views = {moment: at(view, moment) for moment in weights.moments(chosen.network.checkpoint)}
    searches = [strongest_images.search(one.network) for one in views.values() if not strongest_known(one)]
    if searches:
        with row:
            jobs.buttons(*searches, start="Search images", key="search")
    moments = [moment_of(one, channel, chosen.batch_norm, strongest_known(one)) for one in views.values()]
    of_moments = similarities(View(view.network.at(TRAINED), "", view.split, view.index, view.size))
    beside = BESIDE >= len(moments) > 2
    sheet, chart = st.columns([1.05, 1], gap="medium") if beside else (st.container(), None)
    with sheet:
        draw_sheet(chosen, channel, moments, list(views))
    downloads.code(code.over_training(view, channel, chosen.batch_norm, list(views)))
    if searches:
        jobs.follow(*searches)
        st.caption(
            f"At {len(searches)} of these moments the strongest test images are not known yet: search the 10,000, and "
            "the rows appear. The app stays usable meanwhile."
        )
    if len(of_moments) > 2:
        with chart if beside else st.container():
            draw_similarities(of_moments, beside)
    texts.what_to_look_at(
        "From which epoch on can you tell what the map is going to respond to?",
        "A sudden jump in the last two rows: another image has become the strongest one.",
        "Compare a layer near the image with one deep inside: which of them changes for longer?",
    )
    st.latex(r"s_t = \frac{\langle A_t, A_T\rangle}{|A_t|\,|A_T|} \qquad A_t:\ \text{the layer's maps after epoch } t")


def at(view: View, moment: str) -> View:
    """The same view of the network at another moment."""
    return View(view.network.at(moment), view.layer, view.split, view.index, view.size)


def choose_map(trained: Tensor) -> int:
    """The map to follow; at first the one that is strongest in the trained network."""
    strongest = feature_maps.order_by_strength(trained)[0]
    return selection.number_in_link(f"Map (strongest: {strongest})", "channel", trained.shape[1], strongest)


def strongest_known(view: View) -> bool:
    """Whether somebody has searched for the strongest images of the network at this moment."""
    return strongest_images.index(view.network) is not None


# The sheet -----------------------------------------------------------------------------------------------------


@keep("Playing the signal back …")
def moment_of(view: View, channel: int, batch_norm: bool, with_strongest: bool) -> Moment:
    """One map at one moment."""
    trained, rules = resources.trained(view.network), {"batch_norm": batch_norm}
    of_moment = evolution.of_kernel(trained.model, view.layer, channel)
    of_moment |= evolution.of_image(resources.recording(view), channel, **rules)
    index = strongest_images.index(view.network) if with_strongest else None
    if index is not None and (top := index.of(view.layer)) is not None:
        seen, images = resources.field(view.network, view.layer), resources.images("test").images
        of_moment |= evolution.of_strongest(trained, view.layer, seen, top, channel, images, **rules)
    return Moment(evolution.heads(view.network.moment, trained.card, resources.answer(view)), of_moment)


def draw_sheet(chosen: Selection, channel: int, moments: list[Moment], names: list[str]) -> None:
    """All moments side by side; a click chooses one for all views and pages."""
    words = [f"{weights.when(name)}\nclick to look at this network" for name in names]
    grid = Grid(len(names), len(names), words=words, boxes=evolution.places(moments))
    title = f"Map {channel} of {chosen.layer} over the training of {chosen.card.name}"
    now, png = names.index(chosen.network.moment), pictures.png(evolution.sheet(moments, ink()))
    with layout.stage():
        touch.show(png, title, "moments", grid, "Moment", now, lambda cell: controls.put("weights", names[cell]))
    st.caption(
        f"{title}: {texts.plain(chosen.image_name)}, and what the network says of it. Each map and reconstruction has "
        "its own scale; grey is zero. Click a column to look at that network on all pages."
    )
    downloads.picture(
        "Over training",
        lambda: pictures.png(evolution.sheet(moments, downloads.INK, pictures.WHITE)),
        f"{chosen.layer}-map{channel}-over-training.png",
        title,
    )


# When layers settle --------------------------------------------------------------------------------------------


@st.cache_data(max_entries=64, show_spinner="Comparing the moments …")
def similarities(view: View) -> dict[str, dict[str, float]]:
    """Of each stage's responses to the view's image, by moment; whichever moment and layer `view` names."""
    layers = list(resources.stages(view.network).values())
    names = weights.moments(view.network.checkpoint)
    models = {evolution.short(name): resources.trained(view.network.at(name)).model for name in names}
    return evolution.similarities(models, resources.network_input(view), layers)


def draw_similarities(of_moments: dict[str, dict[str, float]], beside: bool) -> None:
    """The chart, and what it says; `beside`: in a column of the page."""
    chart, words = (st.container(), st.container()) if beside else st.columns([3, 2], gap="medium")
    with chart:
        title = "Cosine similarity of each layer's responses with those of the trained network"
        st.markdown(f"**{title}**")
        spec = charts.over_training(of_moments)
        st.vega_lite_chart(spec, alt=title)
    with words:
        st.info(evolution.in_words(of_moments))
        downloads.chart(spec, charts.over_training_table(of_moments), "over-training", title)
