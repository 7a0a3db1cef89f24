"""Charts that a back row can read: few marks, large labels, colours told apart by everyone."""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from engine.reconstructions import Milestone

ON, OFF = "#0072B2", "#E69F00"
"""Okabe & Ito's blue and orange: batch norm on and off, everywhere."""

OKABE_ITO = (ON, OFF, "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#686868", "#8B5CF6")
"""Colours that everyone tells apart, on white and on black pages: six of Okabe & Ito (2008), a grey, and a violet."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
"""Of the points of curves: not every eye, and no print in grey, tells the colours apart."""
SPOTS = 8
"""About how many points stand on a long curve."""
GROUNDS = {"black": np.array([255, 255, 255]), "white": np.array([23, 22, 20])}
"""The colour of a page by that of its ink."""
LEGIBLE = 4.5
"""The contrast of letters that the Web Content Accessibility Guidelines ask for."""
LABEL_SIZE = 18
ON_PHONE = "(windowSize()[0] < 640)"
"""Of Vega: the screen is a phone's. False where no screen is known, as in a saved picture."""
LOW = "(windowSize()[1] < 500)"
"""Of Vega: the screen is a phone's that lies on its side."""
LETTERS = alt.ExprRef(
    f"{ON_PHONE} || {LOW} ? 15 : "
    f"isValid(windowSize()[0]) ? max({LABEL_SIZE}, 9 + 0.007 * windowSize()[0]) : {LABEL_SIZE}"
)
"""`LABEL_SIZE`; smaller on a phone, and larger on screens of more than 1280 pixels, as the page's own letters are."""
MOST_NAMED = 16
"""Of more layers only some are named along an axis."""
PHONE = 330
"""Pixels between the axes of a chart that is as wide as a phone."""
IN_A_ROW = 4
"""How many entries of a legend have room side by side."""
CUT = "…"
"""Stands for the letters of a name that have no room."""


def gain_chart(curves: dict[str, Sequence[Milestone]], by: str) -> alt.Chart:
    """Gain (log scale) against the way from the layer to the pixels, one curve per entry of `curves`.

    Args:
        by: in what respect the curves differ.
    """
    rows = [
        {by: name, "at": point.label, "order": order, "gain": point.gain}
        for name, curve in curves.items()
        for order, point in enumerate(curve)
        if point.gain > 0
    ]
    longest = max(curves.values(), key=len)
    # No more than two pictures leave room for the chart beside them, and no more than that.
    names = legend(by, len(curves), narrow=len(curves) == 2) if len(curves) > 1 else None
    look = told_apart(by, list(curves), names, _colours(list(curves)))
    base = alt.Chart(pd.DataFrame(rows, columns=[by, "at", "order", "gain"])).encode(
        x=alt.X(
            "at:N",
            sort=[point.label for point in longest],
            title=None,
            axis=alt.Axis(
                labelAngle=-90, labelLimit=120, labelOverlap="greedy" if len(longest) > MOST_NAMED else False
            ),
        ),
        y=alt.Y(
            "gain:Q", scale=alt.Scale(type="log"), title="gain", axis=_powers_of_ten([row["gain"] for row in rows])
        ),
        color=look["color"],
        tooltip=[by, "at", alt.Tooltip("gain:Q", format=".3g")],
    )
    line = base.mark_line(strokeWidth=3)
    points = base.mark_point(size=110, filled=True, opacity=1).encode(shape=look["shape"])
    rule = alt.Chart(pd.DataFrame({"gain": [1.0]})).mark_rule(strokeDash=[6, 4], color="#888888").encode(y="gain:Q")
    return sized(rule + line + points, 340 if len(curves) <= IN_A_ROW else 420)


def _colours(names: Sequence[str]) -> list[str]:
    """A colour for each curve; "on" and "off" have theirs, whichever comes first."""
    if set(names) <= {"on", "off"}:
        return [ON if name == "on" else OFF for name in names]
    return [OKABE_ITO[index % len(OKABE_ITO)] for index in range(len(names))]


def told_apart(
    field: str, names: Sequence[str], key: alt.Legend | None, colours: Sequence[str] = OKABE_ITO
) -> dict[str, Any]:
    """Colour and shape of the points of several curves: the encodings "color" and "shape".

    Args:
        key: the legend, which shows both.
    """
    look = ("color", alt.Color, colours), ("shape", alt.Shape, SHAPES)
    return {
        channel: encoding(
            f"{field}:N", scale=alt.Scale(domain=list(names), range=list(marks[: len(names)])), legend=key
        )
        for channel, encoding, marks in look
    }


def spots(rows: pd.DataFrame, curve: str) -> pd.DataFrame:
    """Those `rows` at which a point stands on a long curve: `SPOTS` or so, of each value of the column `curve`."""
    longest = rows[curve].value_counts().max() if len(rows) else 1
    return rows[rows.groupby(curve).cumcount() % max(1, round(longest / SPOTS)) == 0]


def _powers_of_ten(values: Sequence[float]) -> alt.Axis:
    """An axis with a line at each power of ten, or at some of them if there are many."""
    if not values:
        return alt.Axis()
    low, high = (math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))))
    step = max(1, math.ceil((high - low) / 6))
    return alt.Axis(format="~g", values=[10.0**exponent for exponent in range(low, high + 1, step)])


def legend(title: str, entries: int = 2, narrow: bool = False) -> alt.Legend:
    """A legend above the chart: its entries in one row, or in two columns, without the title, if they are many.

    Above a narrow chart, or on a phone, they stand one below the other.
    """
    sizes = {"labelFontSize": LETTERS, "titleFontSize": LETTERS}
    if narrow:
        return alt.Legend(orient="top", columns=1, title=title, labelLimit=400, **sizes)
    if entries > IN_A_ROW:
        return alt.Legend(orient="top", columns=2, title=None, **sizes)
    columns = alt.ExprRef(f"width < {PHONE} ? 1 : 0")
    return alt.Legend(
        orient="top", direction="horizontal", columns=columns, title=title, titleOrient="left", labelLimit=400, **sizes
    )


def every_name(room: int = 800) -> alt.Axis:
    """An axis of ten names or fewer; a chart that is narrower than `room`, as on a phone, has room if they slant."""
    return alt.Axis(
        labelAngle=alt.ExprRef(f"width < {room} ? -40 : 0"),
        labelAlign=alt.ExprRef(f"width < {room} ? 'right' : 'center'"),
        labelOverlap=False,
        labelLimit=180,
    )


def short_names(names: Sequence[str], letters: int) -> dict[str, str]:
    """Each of `names` in at most so many letters: cut in the middle, or where that makes two the same, where they part.

    Args:
        letters: at least 5.
    """
    short = {name: _cut(name, letters) for name in names}
    alike = defaultdict(list)
    for name, words in short.items():
        alike[words].append(name)
    for group in alike.values():
        if len(group) > 1:
            short |= _short_where_they_part(group, letters)
    return short


def _short_where_they_part(names: Sequence[str], letters: int) -> dict[str, str]:
    """Each name's start, as far as there is room, and its end, from the word or number in which it differs."""
    part = next(at for at, each in enumerate(zip_longest(*names)) if len(set(each)) > 1)
    word = max(names[0].rfind(gap, 0, part) for gap in " _") + 1
    start = word if word and word == part - 1 else part
    rests = short_names([name[start:] for name in names], max(5, letters - 1))
    ends = {name: CUT + rests[name[start:]] for name in names}
    return {name: name[: max(0, letters - len(end))].rstrip(" _") + end for name, end in ends.items()}


def _cut(name: str, letters: int) -> str:
    """A name without its middle; its end begins with a word if there is one."""
    if len(name) <= letters:
        return name
    end = name[-(letters // 2) :]
    end = re.split("[ _]", end, maxsplit=1)[-1] or end
    start = name[: letters - len(end) - 1].rstrip(" _") or name[0]
    return start + CUT + end


def ink() -> str:
    """Black on a light page, white on a dark one; Streamlit's theme colours axes, not text marks."""
    return "white" if st.context.theme.type == "dark" else "black"


def letters_in(colour: str, ink: str) -> str:
    """`colour`, with as much `ink` in it as its letters need to be read on the page: a contrast of 4.5 to 1."""
    pure, end = np.array(list(bytes.fromhex(colour.removeprefix("#")))), 255 * (ink == "white")
    shades = (np.round(pure + share * (end - pure)) for share in np.linspace(0, 1, 21))
    shade = next(shade for shade in shades if _contrast(shade, GROUNDS[ink]) >= LEGIBLE)
    return "#" + bytes(shade.astype(int).tolist()).hex()


def _contrast(one: np.ndarray, other: np.ndarray) -> float:
    """The contrast ratio of two colours `[3]`, 0-255 (Web Content Accessibility Guidelines 2.2)."""
    shares = np.stack([one, other]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return high / low


def sized(chart: alt.Chart | alt.LayerChart, height: int) -> alt.Chart | alt.LayerChart:
    return chart.properties(height=height).configure_axis(labelFontSize=LETTERS, titleFontSize=LETTERS, labelLimit=180)
