"""The charts of the Accuracy page: a mark per figure, its interval beside it, and a wide place to click."""

import json
import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from pages.common.charts import LETTERS, OFF, ON, ON_PHONE, legend, short_names, sized, told_apart

RED, GREY = "#D55E00", "#777777"
"""Okabe & Ito's vermilion, and a grey that reads on light and dark."""

NAMES = alt.Axis(labelOverlap=False, labelFlush=False, labelBound=False)
SLANTED = alt.Axis(labelAngle=-40, labelOverlap=False)
KINDS = ("checkpoint", "experiment")
MOST_NAMES = {"screen": 22, "phone": 12}
"""So many names have room, one below the other, beside a chart."""
LETTERS_BESIDE = {"screen": 28, "phone": 13}
"""How many letters of each."""
MOST_LETTERS = 30
"""How many letters of a name have room above half a page, or a phone."""
TENS = alt.Axis(format="%", values=[ten / 10 for ten in range(11)])
PERCENT = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], labelOverlap=False)


# Shared marks --------------------------------------------------------------------------------------------------


def _bars(base: alt.Chart, widest: float, text_format: str, ink: str) -> list[alt.Chart]:
    """Bars of the accuracy with their intervals, and the figures to the right of them."""
    scale = alt.Scale(domain=[0, widest])
    bars = base.mark_bar(color=ON).encode(x=alt.X("accuracy:Q", scale=scale, axis=PERCENT, title=None))
    intervals = base.mark_rule(color=OFF, strokeWidth=5).encode(x="low:Q", x2="high:Q")
    figures = base.mark_text(align="left", fontSize=LETTERS, fontWeight="bold", color=ink).encode(
        x=alt.datum(1.02), text=alt.Text("accuracy:Q", format=text_format)
    )
    return [bars, intervals, figures]


def _tip(*fields: str, text_format: str = ".1%") -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{field}:Q", format=text_format) for field in fields]


def _clickable(base: alt.Chart, fields: list[str], outlined: Any, width: int, **place: Any) -> alt.Chart:
    """Transparent rectangles that take a click, for the selection "pick"; the `outlined` one has a red frame."""
    outline = alt.when(outlined).then(alt.value(RED)).otherwise(alt.value(None))
    rectangles = base.mark_rect(fill="white", fillOpacity=0, strokeWidth=width, cursor="pointer")
    return rectangles.encode(stroke=outline, **place).add_params(
        alt.selection_point(name="pick", fields=fields, toggle="false")
    )


# Classes -------------------------------------------------------------------------------------------------------


def class_bars(
    table: pd.DataFrame, order: Sequence[str], outlined: str | None, marks: pd.DataFrame, ink: str
) -> alt.Chart:
    """A bar per class with its interval, in `order`; `marks` are a report's figures, and one class is `outlined`.

    `table` and `marks` have the columns class, accuracy, low, high (0-1), right and images.
    """
    known = table[table["images"] > 0]
    names = [name for name in order if name in set(known["class"])]
    encoding = {
        "y": alt.Y("class:N", sort=names, title=None, axis=NAMES),
        "tooltip": ["class", *_tip("accuracy"), "right", "images"],
    }
    base = alt.Chart(known).encode(**encoding)
    bars, intervals, figures = _bars(base, 1.35, ".1%", ink)
    reported = [] if marks.empty else _report_marks(alt.Chart(marks).encode(**encoding), ink)
    click = _clickable(base, ["class"], alt.datum["class"] == outlined, 3, x=alt.datum(0), x2=alt.datum(1.35))
    words = "Accuracy; orange: 95 % interval" + ("; diamonds: a report" if reported else "")
    title = alt.Title(words, anchor="start", color=ink, fontSize=LETTERS, fontWeight="normal")
    return sized(alt.layer(bars, intervals, *reported, figures, click).properties(title=title), 44 * len(known) + 60)


def _report_marks(base: alt.Chart, ink: str) -> list[alt.Chart]:
    points = base.mark_point(shape="diamond", size=130, color=ink, filled=True, opacity=1, yOffset=11)
    return [
        base.mark_rule(color=ink, strokeWidth=2, yOffset=11).encode(x="low:Q", x2="high:Q"),
        points.encode(x="accuracy:Q"),
    ]


# Confusion -----------------------------------------------------------------------------------------------------


def confusion(
    names: Sequence[str],
    cells: np.ndarray,
    order: Sequence[int],
    text_format: str,
    outlined: tuple[int, int] | None,
    most: float | None = None,
) -> alt.Chart:
    """`cells` `[K, K]` of (true class, predicted class), rows and columns in `order`; mistakes are coloured by size.

    Args:
        most: the size of a mistake that has the brightest colour; the largest one's if not given.
    """
    rows = [(names[i], names[j], float(cells[i, j]), i != j, (i, j) == outlined) for i in order for j in order]
    frame = pd.DataFrame(rows, columns=["true", "predicted", "value", "wrong", "outlined"])
    most = most or frame.loc[frame["wrong"], "value"].max()
    frame["shade"] = np.where(frame["wrong"], frame["value"] / (most if most > 0 else 1), np.nan)
    base = _matrix(frame, [names[label] for label in order], alt.Tooltip("value:Q", format=text_format))
    colour = alt.Color("shade:Q", scale=alt.Scale(scheme="viridis", domain=[0, 1]), legend=None)
    mistakes = base.transform_filter("datum.wrong").mark_rect().encode(color=colour)
    right = base.transform_filter("!datum.wrong").mark_rect(color=GREY)
    longest = max(len(format(value, text_format.replace("d", ".0f"))) for value in cells.flat)
    ink = alt.condition("datum.shade > 0.6", alt.value("black"), alt.value("white"))
    numbers = _numbers(base, longest, len(order)).encode(text=alt.Text("value:Q", format=text_format), color=ink)
    click = _clickable(base, ["true", "predicted"], "datum.outlined", 5)
    return sized(mistakes + right + numbers + click, 46 * len(order) + 100)


def confusion_difference(names: Sequence[str], cells: np.ndarray) -> alt.Chart:
    """Counts of the first network less those of the second: blue where it has more, orange where it has fewer."""
    labels = range(len(names))
    rows = [(names[i], names[j], int(cells[i, j])) for i in labels for j in labels]
    most = max(1, int(np.abs(cells).max(initial=0)))
    base = _matrix(pd.DataFrame(rows, columns=["true", "predicted", "difference"]), names, "difference")
    scale = alt.Scale(domain=[-most, 0, most], range=[OFF, "#f5f5f5", ON])
    boxes = base.mark_rect().encode(color=alt.Color("difference:Q", scale=scale, legend=None))
    ink = alt.condition(f"datum.difference > {most * 0.6}", alt.value("white"), alt.value("black"))
    numbers = _numbers(base, len(str(most)) + 1, len(names)).encode(
        text=alt.Text("difference:Q", format="+d"), color=ink
    )
    return sized(boxes + numbers, 46 * len(names) + 100)


def _matrix(frame: pd.DataFrame, names: Sequence[str], tip: str | alt.Tooltip) -> alt.Chart:
    return alt.Chart(frame).encode(
        x=alt.X("predicted:N", sort=list(names), title="predicted class", axis=SLANTED),
        y=alt.Y("true:N", sort=list(names), title="true class", axis=NAMES),
        tooltip=["true", "predicted", tip],
    )


def _numbers(base: alt.Chart, letters: int, columns: int) -> alt.Chart:
    """Numbers in a font in which so many letters fit into one of the columns, 22 pixels at most."""
    size = alt.ExprRef(f"min(22, width / {columns} / {0.66 * letters:.2f})")
    return base.mark_text(fontSize=size, fontWeight="bold")


# Several networks ----------------------------------------------------------------------------------------------


def dumbbells(table: pd.DataFrame, names: Sequence[str]) -> alt.Chart:
    """Per class the accuracy of two networks, joined by a line; `table`: class, network, accuracy, low, high."""
    order = list(table.loc[table["network"] == names[0]].sort_values("accuracy")["class"])
    base = alt.Chart(table).encode(y=alt.Y("class:N", sort=order, title=None, axis=NAMES))
    key = legend("network", narrow=True)
    key.labelExpr = f"{json.dumps(short_names(names, MOST_LETTERS))}[datum.label]"
    look = told_apart("network", names, key)
    lowest = max(0.0, float(np.floor(table["low"].min() * 10) / 10))
    x = alt.X("accuracy:Q", scale=alt.Scale(domain=[lowest, 1]), axis=alt.Axis(format="%"), title=None)
    joined = base.mark_line(color=GREY, strokeWidth=6, opacity=0.5).encode(x=x, detail="class:N")
    tip = ["class", "network", *_tip("accuracy", "low", "high")]
    intervals = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", color=look["color"])
    points = base.mark_point(size=260, filled=True, opacity=1).encode(x=x, tooltip=tip, **look)
    return sized(joined + intervals + points, 40 * len(order) + 90)


def all_networks(table: pd.DataFrame, against: str, ink: str) -> alt.Chart:
    """Accuracy against a cost on a log scale; `table`: network, kind, accuracy, low, high, `against`.

    The names stand beside the chart, apart from each other, with a thin line from each to its point.
    """
    names = named(table)
    limits = [min(table["low"].min(), names[list(MOST_NAMES)].min(axis=None)), table["high"].max()]
    room = (limits[1] - limits[0]) / min(MOST_NAMES.values())
    scale = alt.Scale(domain=[limits[0] - room / 2, limits[1] + room / 2], nice=False)
    y = {"scale": scale, "axis": TENS, "title": "test accuracy"}
    costs = alt.Scale(type="log", domain=[table[against].min() / 1.3, table[against].max() * 1.3], nice=False)
    x = alt.X(f"{against}:Q", scale=costs, axis=alt.Axis(format="~s", tickCount=4), title=against)
    tip = ["network", "kind", *_tip("accuracy", text_format=".2%"), *_tip(against, text_format=",")]
    base, look = alt.Chart(table).encode(x=x, tooltip=tip), told_apart("kind", KINDS, legend("kind"))
    intervals = base.mark_rule(strokeWidth=4).encode(y=alt.Y("low:Q", **y), y2="high:Q", color=look["color"])
    points = base.mark_point(size=180, filled=True, opacity=1).encode(y=alt.Y("accuracy:Q", **y), **look)
    at = f"{ON_PHONE} ? datum.phone : datum.screen"
    beside = base.properties(data=names).transform_calculate(at=at).transform_filter("isValid(datum.at)")
    leaders = beside.mark_rule(color=GREY, opacity=0.5).encode(
        x2=alt.value("width"), y=alt.Y("accuracy:Q", **y), y2="at:Q"
    )
    return sized(leaders + intervals + points + _names_beside(beside, ink).encode(y=alt.Y("at:Q", **y)), 560)


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The networks for whose names there is room, and where each stands on a screen and on a phone, if at all.

    Checkpoints come before experiments, and each from the most accurate.
    """
    order = table.sort_values(["kind", "accuracy"], ascending=[True, False], kind="stable")
    order = order.head(max(MOST_NAMES.values())).reset_index(drop=True)
    for place, most in MOST_NAMES.items():
        order[f"name on {place}"] = order["network"].map(short_names(list(table["network"]), LETTERS_BESIDE[place]))
        first = order["accuracy"].head(most)
        at = apart(first.to_numpy(), (table["high"].max() - table["low"].min()) / most)
        order[place] = pd.Series(at - max(0.0, at.max() - table["high"].max()), first.index)
    return order


def _names_beside(base: alt.Chart, ink: str) -> alt.Chart:
    """Names at the right edge, in letters of which a column fits into the height."""
    screen, phone = (1.2 * most for most in MOST_NAMES.values())
    size = alt.ExprRef(f"min({LETTERS.expr}, height / ({ON_PHONE} ? {phone} : {screen}))")
    shown = "isValid(windowSize()[0]) ? datum['name on screen'] : datum.network"
    text = alt.ExprRef(f"{ON_PHONE} ? datum['name on phone'] : {shown}")
    limit = alt.ExprRef(f"{ON_PHONE} ? 115 : isValid(windowSize()[0]) ? 0.25 * windowSize()[0] : 0")
    names = base.mark_text(align="left", dx=6, fontSize=size, color=ink, text=text, limit=limit)
    return names.encode(x=alt.value("width"))


def apart(values: np.ndarray, gap: float) -> np.ndarray:
    """Places near `values`, in the same order, at least `gap` from each other."""
    order = np.argsort(values, kind="stable")
    places = values[order].astype(float)
    for number in range(1, len(places)):
        places[number] = max(places[number], places[number - 1] + gap)
    places += (values.mean() - places.mean()) if len(places) else 0.0
    return places[np.argsort(order)]


# Confidence ----------------------------------------------------------------------------------------------------


def reliability(table: pd.DataFrame, ink: str) -> alt.Chart:
    """Accuracy in each bin of confidence with its interval and count; `table`: when, low edge, high edge, confidence,
    accuracy, low, high, images."""
    scale, look = alt.Scale(domain=[0, 1]), told_apart("when", ("before", "after"), legend("temperature"))
    x = alt.X("confidence:Q", scale=scale, axis=PERCENT, title="mean confidence in the bin")
    y = {"scale": scale, "axis": PERCENT, "title": "accuracy in the bin"}
    base = alt.Chart(table).encode(x=x)
    tip = ["when", "images", *_tip("confidence", "accuracy", "low", "high")]
    intervals = base.mark_rule(strokeWidth=3).encode(y=alt.Y("low:Q", **y), y2="high:Q", color=look["color"])
    points = base.mark_point(size=150, filled=True, opacity=1).encode(y=alt.Y("accuracy:Q", **y), tooltip=tip, **look)
    calibrated = alt.Chart(pd.DataFrame({"confidence": [0, 1], "accuracy": [0, 1]})).encode(
        x=x, y=alt.Y("accuracy:Q", **y)
    )
    line = calibrated.mark_line(strokeDash=[6, 4], color=ink, opacity=0.6)
    return sized(line + intervals + points, 430)


def bin_counts(table: pd.DataFrame) -> alt.Chart:
    """How many predictions lie in each bin of confidence; `table` as for `reliability`."""
    base = alt.Chart(table[table["when"] == "before"]).encode(
        x=alt.X("low edge:Q", scale=alt.Scale(domain=[0, 1]), axis=PERCENT, title="confidence"),
        x2="high edge:Q",
        tooltip=["images", *_tip("low edge", "high edge", text_format=".0%")],
    )
    bars = base.mark_bar(color=ON, stroke="white").encode(y=alt.Y("images:Q", title="images"), y2=alt.datum(0))
    return sized(bars, 190)


def coverage(table: pd.DataFrame) -> alt.Chart:
    """Accuracy against the share of images answered; `table`: answered, accuracy, low, high, threshold."""
    base = alt.Chart(table).encode(x=alt.X("answered:Q", axis=PERCENT, title="share of images answered"))
    lowest = math.floor(table["accuracy"].min() * 20) / 20  # the intervals of the first few images are cut off
    scale = alt.Scale(domain=[max(0.0, lowest - 0.05), 1])
    y = {"scale": scale, "axis": alt.Axis(format="%"), "title": "accuracy"}
    band = base.mark_area(opacity=0.3, color=ON, clip=True).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    tip = _tip("answered", "accuracy", "threshold")
    line = base.mark_line(color=ON, strokeWidth=3).encode(y=alt.Y("accuracy:Q", **y), tooltip=tip)
    return sized(band + line, 330)


def top_k(table: pd.DataFrame, ink: str) -> alt.Chart:
    """A bar per k: the share of images whose class is among the k most probable; `table`: k, accuracy, low, high."""
    base = alt.Chart(table).encode(y=alt.Y("k:O", title="k"))
    return sized(alt.layer(*_bars(base, 1.2, ".2%", ink)), 270)


# Live ----------------------------------------------------------------------------------------------------------


def accuracy_by_strength(table: pd.DataFrame, axis: str, strengths: tuple[float, float]) -> alt.Chart:
    """Accuracy against the strength of a perturbation within `strengths`; `table`: strength, accuracy, low, high."""
    scale = alt.Scale(domain=list(strengths), padding=12)
    base = alt.Chart(table).encode(x=alt.X("strength:Q", title=axis, scale=scale, axis=alt.Axis(format="~r")))
    y = {"scale": alt.Scale(domain=[0, 1]), "axis": PERCENT, "title": "accuracy"}
    intervals = base.mark_rule(strokeWidth=4, color=OFF).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    line = base.mark_line(color=ON, strokeWidth=3, point=alt.OverlayMarkDef(size=140, filled=True, color=ON))
    tip = ["strength", *_tip("accuracy")]
    return sized(line.encode(y=alt.Y("accuracy:Q", **y), tooltip=tip) + intervals, 360)
