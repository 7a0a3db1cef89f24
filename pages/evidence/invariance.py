"""The image is moved step by step: how much do the first and the last layer notice? (Zeiler & Fergus, figure 5)"""

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import data
from engine.invariance import KINDS, moved
from engine.views import View
from pages.common import downloads, jobs, layout, resources, selection, sheets, texts
from pages.common.selection import BUNDLED, Selection
from pages.evidence import charts, code, drawings
from pages.evidence.jobs import Moving, MovingSettings, moving_of

OTHERS = 4
"""How many images of other classes stand beside the chosen one."""


def draw(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    view = chosen.view()
    with row:
        kind = selection.segments("Move", tuple(KINDS), "kind")
        amounts = amounts_of(kind, view.size)
        usual = f"{amounts[3 * len(amounts) // 4]:g}"
        amount = selection.steps(KINDS[kind].unit.capitalize(), [f"{a:g}" for a in amounts], "by", usual)
        stages = list(resources.stages(chosen.network).values())
        views = [view, *(replace(view, split="test", index=index) for index in others(chosen))]
        job = moving_of(MovingSettings(tuple(views), kind, amounts, (stages[0], stages[-1])))
    jobs.follow(job, look=lambda: draw_all(job, view, kind, float(amount)))
    texts.what_to_look_at(
        "The first layer notices every step: its curve rises at once. The last one rises later, and less steeply."
        if kind == "shift"
        else "Both curves rise at once: which layer notices a small step more, and which a large one?",
        "Is p(class) flat near the middle? Training has shifted the images by a few pixels, and never turned them.",
        "A quarter turn: do the features come back, for objects that look the same when turned?",
    )
    st.latex(r"\text{distance}=\frac{\lVert f(Tx)-f(x)\rVert}{\lVert f(x)\rVert}")


def amounts_of(kind: str, size: int) -> tuple[float, ...]:
    """The amounts of the curves, around that at which nothing changes."""
    if kind == "shift":
        step = max(1, size // 32)
        return tuple(float(step * index) for index in range(-8, 9))
    if kind == "scale":
        return tuple(round(2 ** (index / 6), 2) for index in range(-6, 7))
    return tuple(float(15 * index) for index in range(-12, 13))


def others(chosen: Selection) -> list[int]:
    """The first test image of each of the classes that follow the chosen one's."""
    of_class = resources.indices_by_class("test")
    start = chosen.card.classes.index(chosen.truth) if chosen.truth in chosen.card.classes else 0
    known = len(of_class) if tuple(chosen.card.classes) == tuple(resources.images("test").classes) else 0
    return [int(of_class[(start + step) % known][0]) for step in range(1, OTHERS + 1)] if known else []


def draw_all(job: Moving, view: View, kind: str, amount: float) -> None:
    """The moved image, and three charts with a curve per image."""
    card = resources.trained(view.network).card
    turned = data.pixels_of(moved(resources.network_input(view), kind, amount), card.mean, card.std)[0]
    rows = curve_rows(job)
    with layout.stage(2):
        left, right = st.columns(2, gap="small")
        below = st.columns(2, gap="small")
    with left:
        sheets.show(drawings.large(turned), f"The image, moved: {kind} {amount:g} {KINDS[kind].unit}")
        if len(rows):
            st.html(charts.names_in_html(dict.fromkeys(rows["image"]), charts.SHAPE_LETTERS))
    first, last = job.settings.layers
    places = (
        (right, charts.PROBABILITY, "p(class of the image)"),
        (below[0], first, f"distance in {first}"),
        (below[1], last, f"distance in {last}"),
    )
    for column, what, title in places:
        with column:
            highest = 1.0 if what == charts.PROBABILITY else highest_distance(rows)
            spec = charts.moving_chart(rows[rows["what"] == what], title, KINDS[kind].unit, amount, highest)
            st.altair_chart(spec, height="stretch", key=f"moving_{what}", alt=f"{title}, by {kind}")
    if job.complete:
        st.info(in_words(rows, job))
        downloads.table("Numbers (CSV)", rows, "invariance.csv")
        downloads.code(code.of_invariance(job.settings, *job.images[0]))


def curve_rows(job: Moving) -> pd.DataFrame:
    """A row per image, amount and figure: `image`, `amount`, `what` (a layer, or the probability) and `value`."""
    rows = []
    for (view, label), curve in zip(job.images, list(job.curves), strict=False):
        name = image_name(job, view, label)
        figures = {charts.PROBABILITY: curve.probability(label)}
        figures |= dict(zip(job.settings.layers, curve.distances, strict=True))
        for what, values in figures.items():
            rows += [(name, at, what, value) for at, value in zip(job.settings.amounts, values.tolist(), strict=True)]
    return pd.DataFrame(rows, columns=["image", "amount", "what", "value"])


def highest_distance(rows: pd.DataFrame) -> float | None:
    """The largest distance in any layer, on whose axis the layers are compared; None before there is any."""
    distances = rows.loc[rows["what"] != charts.PROBABILITY, "value"]
    return float(distances.max()) if distances.notna().any() else None


def image_name(job: Moving, view: View, label: int) -> str:
    return (
        f"{resources.trained(view.network).card.classes[label]} {view.index if view.split in BUNDLED else ''}".strip()
    )


def in_words(rows: pd.DataFrame, job: Moving) -> str:
    """How far both layers go on average, and in how many images the class stays most of the way."""
    moved = [(layer, float(rows[rows["what"] == layer]["value"].mean())) for layer in job.settings.layers]
    said = [
        f"{layer} move by {distance:.2f} of their size" if np.isfinite(distance) else f"{layer} are zero without a move"
        for layer, distance in moved
    ]
    by_image = rows[rows["what"] == charts.PROBABILITY].groupby("image")["value"]
    lost = int(np.sum(by_image.min().to_numpy() < by_image.max().to_numpy() / 2))
    return (
        f"On average the features of {said[0]}, those of {said[1]}. In {lost} of {by_image.ngroups} images the "
        "probability falls below half of its best somewhere on the way."
    )
