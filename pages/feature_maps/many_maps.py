"""View "many maps": sixteen maps of a layer on one sheet, as Zeiler & Fergus print them in their figure 2."""

from collections.abc import Sequence
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import feature_maps, patch_sheets, pictures
from engine.patch_sheets import CROPS, MAPS, SUPPORT, Nine
from engine.patches import TopPatches
from pages.common import controls, downloads, jobs, layout, resources, selection, sheets, texts, touch
from pages.common.controls import Option
from pages.common.selection import Selection
from pages.common.touch import Grid
from pages.feature_maps import code
from pages.feature_maps.jobs import ManyMaps, PlayingMany, playing
from pages.feature_maps.search import strongest_of

STRONGEST, AT_RANDOM = WHICH = ("strongest on this image", "at random")
SEEDS = 1000


def draw(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    with row:
        which = selection.segments("Maps", WHICH, "which", AT_RANDOM)
        options = {"seed": Option("seed", range(SEEDS)), "crop": Option("crop", CROPS)}
        with layout.options(options):
            seed = selection.number_in_link("Seed of the choice", "seed", SEEDS, disabled=which != AT_RANDOM)
            crop = selection.segments("Crop the images to", CROPS, "crop")
    top = strongest_of(chosen.view(), f"**The nine strongest test images of each map of {chosen.layer}**")
    if top is None:
        return
    channels = channels_of(chosen, top, which, seed)
    if not channels:
        st.info(f"No map of {chosen.layer} responds to any of the 10,000 test images.")
        return
    settings = ManyMaps(chosen.network, chosen.layer, channels, chosen.batch_norm, crop)
    job = playing(settings, top)
    with row:
        jobs.buttons(job, start="Start", key="many")
    jobs.follow(job, look=lambda: draw_sheet(settings, job, which))
    texts.what_to_look_at(
        "A block of nine is one map. What do its nine patches have in common? That is what it responds to.",
        "The same block on the left: what the strongest unit gives back to the pixels. How much do the blocks differ?",
        "Go from layer to layer in the sidebar: edges and colours, then textures, then parts of objects.",
    )
    st.latex(r"\text{top}_9(c) = \text{the nine images } x \text{ with the largest } \max_{i,j} A_c(x)_{ij}")


def channels_of(chosen: Selection, top: TopPatches, which: str, seed: int) -> tuple[int, ...]:
    """Up to sixteen maps, in order."""
    if which == AT_RANDOM:
        return patch_sheets.at_random(top, seed)
    activation = resources.recording(chosen.view()).activation
    return tuple(sorted(feature_maps.order_by_strength(activation)[:MAPS]))


def draw_sheet(settings: ManyMaps, job: PlayingMany, which: str) -> None:
    """The maps so far; once all are done, or it was stopped, a click on one looks at it closely (see `jobs.follow`)."""
    nines, channels = job.nines, settings.channels
    png = sheet(settings, len(nines), nines)
    title = f"{len(channels)} maps of {settings.layer}, {which}"
    alt = f"{title}: on the left the reconstructions from the nine strongest test images of each, on the right patches"
    halves = ("its nine reconstructions", "its nine patches")
    words = [f"map {channel}: {half}\nclick to look at it closely" for half in halves for channel in channels]
    grid = Grid(len(words), len(words), words=words, boxes=patch_sheets.places(len(channels)))
    alive = job.alive
    with layout.stage():
        if alive:
            sheets.show(png, alt)
        else:
            touch.show(png, alt, "many", grid, "Map", None, partial(look_closely, channels), leads_away=True)
    st.caption(
        f"Left: the deconvnet reconstruction from each map's strongest unit; right: {patches_in_words(settings)}. "
        f"Maps {', '.join(map(str, channels))}, row by row.{'' if alive else ' Click one to look at it closely.'}"
    )
    if job.complete:
        caption = f"{settings.layer} of {settings.network}: {len(channels)} maps, {which}, with the nine test images"
        name = f"{settings.layer}-many-maps.png"
        downloads.picture("Many maps", png, name, f"{caption} that excite each most, and the reconstruction from each")
        downloads.code(code.of_many_maps(settings))


def patches_in_words(settings: ManyMaps) -> str:
    """What the images are cropped to."""
    if settings.crop == SUPPORT:
        return "the images, cropped to where the reconstruction is"
    size = resources.trained(settings.network).card.input_size
    whole = resources.field(settings.network, settings.layer).holds(size)
    return "the images, of which a unit can see all" if whole else "the patches, cropped to the receptive field"


@st.cache_resource(max_entries=16, show_spinner=False)
def sheet(settings: ManyMaps, done: int, _nines: list[Nine]) -> bytes:
    """A PNG of the maps that are done."""
    return pictures.png(patch_sheets.sheet(_nines, len(settings.channels)))


def look_closely(channels: Sequence[int], cell: int) -> None:
    """Show the map of a cell in the view of one layer; the maps stand on the sheet twice."""
    controls.put("channel", channels[cell % len(channels)])
    controls.put("view", "one layer")
