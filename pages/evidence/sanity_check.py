"""Do the pictures depend on what the network has learnt? Random layers, random signals, another image's switches."""

import math
from functools import partial

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import pictures, sanity
from engine.sanity import TRAINED, Check, SignalChecks
from engine.views import View
from pages.common import downloads, jobs, layout, resources, selection, sheets, texts
from pages.common.charts import ink
from pages.common.controls import Option
from pages.common.kept import keep
from pages.common.selection import Selection
from pages.evidence import charts, code, drawings
from pages.evidence.jobs import Checking, SanitySettings, sanity_of

TILE = 160
SEEDS = 1000
SURVIVES, FALLS = 0.5, 0.25
"""Rank correlations with every layer random: above the one a map has survived, below the other it has not."""


def draw(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    view = chosen.view()
    with row:
        with layout.options(
            {"logit": Option("class", usual=selection.PREDICTED), "seed": Option("seed", range(SEEDS))}
        ):
            label = selection.class_to_explain(chosen, view)
            seed = selection.number_in_link("Seed of the random weights", "seed", SEEDS)
            other = selection.second_image(chosen.split)
        settings = SanitySettings(view, label, seed)
        job = sanity_of(settings)
        jobs.buttons(job, start="Start", again="Again", key="sanity")
    jobs.follow(job, look=lambda: draw_cascade(settings, job))
    draw_signals(view, View(view.network, view.layer, other.split, other.index, view.size), seed)
    texts.what_to_look_at(
        "The gradient's map falls apart as soon as the last layers are random. Do guided and deconvnet maps?",
        "With every layer random, nothing is learnt. What is still to be seen then comes from the image.",
        "Noise in place of the signal: is the image still there? Then the switches drew it, not the signal.",
    )
    st.latex(r"\rho(\text{map of the trained network},\ \text{map with all layers from here up random})")


# Random layers -------------------------------------------------------------------------------------------------


def draw_cascade(settings: SanitySettings, job: Checking) -> None:
    """A row of maps per method, from the trained network to one that is all random, and the rank correlations."""
    checks = job.checks
    if not checks:
        st.caption("The maps appear here.")
        return
    words = f"Heat maps of {', '.join(checks)}, while the network becomes random from the answer down"
    sheet = partial(cascade_sheet, resources.input_pixels(settings.view), checks)
    with layout.stage():
        sheets.show(sheet(ink()), words)
    st.caption("Each map has its own scale; the number is its rank correlation with the trained network's.")
    st.info(cascade_in_words(checks))
    rows = charts.correlation_rows(checks)
    alt = "Rank correlation with the trained network's map, step by step"
    with layout.below():
        st.altair_chart(charts.correlation_chart(rows), height="stretch", key="correlations", alt=alt)
    with st.container(horizontal=True):
        caption = f"{words}, with rank correlations"
        downloads.picture("Maps (PNG)", partial(sheet, downloads.INK), "sanity.png", caption)
        downloads.table("Rank correlations (CSV)", rows, "sanity.csv")
    downloads.code(code.of_sanity_check(settings, TILE, downloads.INK))


def cascade_sheet(image: np.ndarray, checks: dict[str, list[Check]], colour: str) -> bytes:
    """A PNG of all maps: a column for each stage, a row for each method."""
    every = [check for of_method in checks.values() for check in of_method]
    tiles = [pictures.over_image(pictures.stretched(check.heat), image) for check in every]
    columns = len(every) // len(checks)
    return pictures.png(
        pictures.sheet(
            pictures.enlarged(np.stack(tiles), TILE),
            columns,
            labels=[
                name if check.stage == TRAINED else check.in_words
                for name, of_method in checks.items()
                for check in of_method
            ],
            heads=[(check.stage,) for check in every[:columns]],
            ink=colour,
        )
    )


def cascade_in_words(checks: dict[str, list[Check]]) -> str:
    """Which methods' maps survive when nothing of the network is left."""
    if any(of_method[-1].stage == TRAINED for of_method in checks.values()):
        return "So far only the trained network."
    last = {name: of_method[-1].correlation for name, of_method in checks.items()}
    known = {name: rho for name, rho in last.items() if not math.isnan(rho)}
    survive = [f"{name} ({rho:.2f})" for name, rho in known.items() if rho > SURVIVES]
    fall = [f"{name} ({rho:.2f})" for name, rho in known.items() if abs(rho) < FALLS]
    stage = next(iter(checks.values()))[-1].stage
    said = [f"With everything from {stage} up random"]
    if survive:
        said.append(f"the maps of {', '.join(survive)} are still much the same: they hardly depend on what was learnt")
    if fall:
        said.append(f"the maps of {', '.join(fall)} have nothing left of the trained network's")
    if not (survive or fall):
        said.append("every map keeps some of the trained network's, and none keeps most")
    return f"{said[0]}, {'; '.join(said[1:])} (rank correlations in brackets)."


# Signals and switches ------------------------------------------------------------------------------------------


@keep()
def _signals(view: View, other: View, seed: int) -> SignalChecks:
    model = resources.trained(view.network).model
    return sanity.check_signals(model, resources.network_input(view), resources.network_input(other), view.layer, seed)


def draw_signals(view: View, other: View, seed: int) -> None:
    """The deconvnet pictures of the layer's own signal, of noise, and through another image's switches."""
    found = _signals(view, other, seed)
    shown = {
        f"its own activation in {view.layer}": (found.own, ""),
        "positive noise in its place": (found.noise, f", rank correlation {found.noise_correlation:.2f}"),
        "the other image's switches": (found.others_switches, f", rank correlation {found.others_correlation:.2f}"),
    }
    st.markdown("**Deconvnet: what is played back, and through which switches**")
    columns = st.columns(5, gap="small")
    ends = ((columns[0], view, "the image"), (columns[4], other, "the other image"))
    for column, of, caption in ends:
        with column:
            sheets.show(drawings.large(resources.input_pixels(of)), caption)
            st.caption(caption)
    for column, (caption, (picture, figure)) in zip(columns[1:4], shown.items(), strict=True):
        with column:
            sheets.show(drawings.large(pictures.signed_each(picture.pixels)[0]), caption)
            st.caption(f"{caption}{figure}")
