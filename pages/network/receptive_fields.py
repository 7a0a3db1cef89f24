"""View "receptive fields" of the Network page: where a unit can look, and which pixels it makes use of."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import effective_field, pictures, tape, tiles
from engine.effective_field import EffectiveField
from engine.pictures import FRAME
from engine.weights import Weights
from pages.common import controls, downloads, jobs, layout, resources, selection, sheets, texts, touch
from pages.common.charts import ink
from pages.common.selection import Selection
from pages.common.touch import Grid
from pages.network import code
from pages.network.jobs import FieldSettings, MeasuringFields, fields_of

MOST = 8
"""How many layers stand side by side."""
WIDE, TILE, GAP = 1.7, 300, 16
"""How many times as wide as high the sheet is, about; pixels."""
WHITE = (255, 255, 255)


def show(chosen: Selection, row: DeltaGenerator) -> None:
    """The view; a click on a layer chooses it, once all are measured (see `jobs.follow`)."""
    with row:
        with layout.options({"size": selection.size_option(chosen)}):
            size = selection.viewing_size(chosen)
        settings = FieldSettings(chosen.network, layers_of(chosen.network), size)
        job = fields_of(settings)
        jobs.buttons(job, start="Start", key="fields")
    jobs.follow(job, look=lambda: show_fields(chosen, settings, job))
    texts.what_to_look_at(
        "Orange: where the middle unit can look. White: where at least nine tenths of its influence come from.",
        "From a unit many paths lead to the middle of its window, and few to the rim: influence falls off towards it.",
        "Choose untrained weights in the sidebar: does a unit use more of its window before training, or after it?",
    )
    st.latex(
        r"\text{influence}_{ij} = \operatorname{mean}_{x,k} \sum_{c}"
        r"\left(\frac{\partial A_k(x)_{\text{middle}}}{\partial x_{c,ij}}\right)^{2}"
    )


@st.cache_data(max_entries=64, show_spinner=False)
def layers_of(network: Weights) -> tuple[str, ...]:
    """The outputs of the network's stages, at most `MOST` of them, from the first to the last."""
    return tape.stage_outputs(resources.trained(network).model, MOST)


def show_fields(chosen: Selection, settings: FieldSettings, job: MeasuringFields) -> None:
    """A picture for each layer, and in words the chosen one's field, or the last one's."""
    found = job.found
    if not found:
        st.caption("The pictures appear here.")
        return
    layers, count = list(found), found[settings.layers[0]].images
    png = sheet(settings, count, ink(), found)
    words = [effective_field.in_words(found[name], resources.field(settings.network, name)) for name in layers]
    columns = pictures.columns_for(len(layers), WIDE)
    grid = Grid(len(layers), len(layers), words=words, boxes=places(len(layers), columns))
    at = layers.index(chosen.layer) if chosen.layer in layers else None
    alt = f"Effective receptive fields of {', '.join(layers)} of {settings.network}, over {count} images"
    alive = job.alive
    with layout.stage():
        if alive:
            sheets.show(png, alt)
        else:
            touch.show(png, alt, "fields", grid, "Layer", at, lambda cell: controls.put("layer", layers[cell]))
    st.info(words[len(layers) - 1 if at is None else at])
    st.caption(
        f"At {settings.size} px, over {count} test images. Bright: a small change there "
        "moves the unit much (root mean square of the derivative, each layer on its own scale)."
        f"{'' if alive else ' Click a layer.'}"
    )
    if job.complete:
        caption = f"What the middle units of {settings.network} can see (orange) and make use of (white)"
        name = f"{settings.network.file_name}-{settings.size}px-fields"
        drawn = partial(sheet, settings, count, downloads.INK, found)
        downloads.picture("Receptive fields", drawn, f"{name}.png", caption)
        downloads.table("Receptive fields", table(settings, found), f"{name}.csv")
        downloads.code(code.of_fields(settings))


@st.cache_resource(max_entries=16, show_spinner=False)
def sheet(settings: FieldSettings, count: int, ink: str, _found: Mapping[str, EffectiveField]) -> bytes:
    """A PNG of the fields over the first `count` images."""
    drawn = np.stack([tile(settings, name, field) for name, field in _found.items()])
    labels = [label(settings, name, field) for name, field in _found.items()]
    columns = pictures.columns_for(len(drawn), WIDE)
    return pictures.png(pictures.sheet(drawn, columns, labels=labels, ink=ink, gap=GAP))


def tile(settings: FieldSettings, name: str, found: EffectiveField) -> np.ndarray:
    """uint8 `[TILE, TILE, 3]`: the influence in colours, with frames around what is seen and what is used."""
    size = found.influence.sqrt()
    shares = (size / size.max().clamp(min=1e-30)).numpy()
    seen = resources.field(settings.network, name).box(*found.unit, shares.shape)
    return tiles.framed(pictures.viridis(shares), [(seen, FRAME), (found.used, WHITE)], TILE)


def label(settings: FieldSettings, name: str, found: EffectiveField) -> str:
    """ "conv3_x: 30 of 99 px"; the larger side of what is used."""
    size = resources.field(settings.network, name).size
    return f"{name}: {max(found.used.height, found.used.width)} of {'all' if size is None else max(size)} px"


def places(count: int, columns: int) -> list[tuple[float, float, float, float]]:
    """(left, top, width, height) of each layer's picture with its label, in shares of the sheet."""
    rows = -(-count // columns)
    return [(index % columns / columns, index // columns / rows, 1 / columns, 1 / rows) for index in range(count)]


def table(settings: FieldSettings, found: Mapping[str, EffectiveField]) -> pd.DataFrame:
    """One row per layer: the sides in pixels of what the unit can see (none: everything) and of what it uses."""
    rows = []
    for name, field in found.items():
        size = resources.field(settings.network, name).size or (None, None)
        rows.append((name, *size, field.used.height, field.used.width, field.images))
    return pd.DataFrame(rows, columns=["layer", "height", "width", "used height", "used width", "images"])
