"""How many images does it take? Test accuracy against training images of each class (Zeiler & Fergus, figure 9)."""

from dataclasses import asdict

import altair as alt
import pandas as pd
import streamlit as st

from engine.training import images_per_class
from engine.training.comparisons import CurveComparison
from engine.training.images_per_class import REPEATED, SEEDS
from pages.common import downloads, layout, texts
from pages.common.charts import legend, sized, told_apart
from pages.learning_curves import code
from pages.learning_curves.charts import HEIGHT

COMPARISON = CurveComparison("images", "How many images does it take?", ())
"""Not of histories, but offered among those that are."""


def measured() -> bool:
    """Whether there is something to show."""
    return images_per_class.results_file().exists()


def show() -> None:
    """The chart, what it says, and its figures."""
    known = images_per_class.results()
    found = images_per_class.points(known)
    rows = pd.DataFrame([asdict(point) for point in found])
    spec = chart(rows)
    words = "Test accuracy against training images of each class"
    with layout.stage():
        st.altair_chart(spec, height="stretch", key="images_per_class", alt=words)
    st.info(images_per_class.in_words(found))
    st.caption(caption(len(images_per_class.planned()) - len(known)))
    with st.expander("All figures"):
        st.table(in_percent(rows))
    downloads.chart(spec, rows, "images-per-class", "Images of each class", "Accuracy against images of each class")
    downloads.code(code.of_images_per_class())
    explain()


def in_percent(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per number of images, a column per way to learn: "74.4 % (72.1 to 76.0 %)"."""
    cells = [
        f"{texts.percent(row.accuracy)} ({row.low * 100:.1f} to {texts.percent(row.high)})" for row in rows.itertuples()
    ]
    wide = rows.assign(cell=cells).pivot(index="images", columns="method", values="cell").fillna("not measured")
    wide.index = pd.Index(wide.index.map("{:,}".format), name="images of each class")
    return wide[rows["method"].unique()].rename_axis(columns=None)


def chart(rows: pd.DataFrame) -> alt.LayerChart:
    """A curve for each way to learn, with an upright bar at each point."""
    methods, sizes = rows["method"].unique().tolist(), sorted(set(rows["images"]))
    around = alt.Scale(type="log", nice=False, domain=[0.85 * sizes[0], 1.15 * sizes[-1]])
    axis = alt.Axis(values=sizes, format=",d")
    x = alt.X("images:Q", scale=around, axis=axis, title="training images of each class")
    y = {"scale": alt.Scale(zero=False), "axis": alt.Axis(format="%", tickCount=5), "title": "test accuracy"}
    look = told_apart("method", methods, legend(""))
    shares = [alt.Tooltip(f"{column}:Q", format=".1%") for column in ("accuracy", "low", "high")]
    base = alt.Chart(rows).encode(x=x, color=look["color"])
    line = base.mark_line(strokeWidth=3).encode(y=alt.Y("accuracy:Q", **y))
    bars = base.mark_rule(strokeWidth=4).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    spots = base.mark_point(size=110, filled=True, opacity=1).encode(
        y=alt.Y("accuracy:Q", **y),
        shape=look["shape"],
        tooltip=["method", "images", "runs", *shares],
    )
    return sized(alt.layer(line, bars, spots), HEIGHT)


def caption(missing: int) -> str:
    """How it was measured, and whether something is not yet."""
    text = (
        "Scratch: all of Model 2 learns. Linear: EfficientNet-Lite0 has learned from ImageNet, and only W and b learn. "
        "Transfer: g, its last five convolutions, learns, too. A point is the mean of "
        f"{len(SEEDS)} runs, each with other images; above {REPEATED} images of each class it is one run. The bar "
        "holds all their 95 % intervals. Each run is measured once, on the 10,000 test images."
    )
    return text + (
        f" {missing} runs have not been measured yet: their points are the mean of fewer." if missing else ""
    )


def explain() -> None:
    """What to look at, and what learns."""
    texts.what_to_look_at(
        "Go sideways: how many more images does a network from scratch need? With features from ImageNet, Zeiler & "
        "Fergus (2014) beat on 6 images of each class of Caltech-256 what the best method before reached with 60.",
        "Where do transfer and the linear classifier part? With so many images it pays to train more than one layer.",
        "How long are the bars at the left? With ten images of each class it matters which ten.",
    )
    st.latex(r"\text{logits}=W\,g(f(x))+b")
