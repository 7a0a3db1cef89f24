"""The charts of the Accuracy page: a mark per figure, its interval beside it, and a wide place to click."""

import math
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from pages.common import charts
from pages.common.charts import LABEL_SIZE, OFF, ON

GREEN, RED, GREY = "#009E73", "#D55E00", "#777777"
"""Okabe & Ito's bluish green and vermilion, and a grey that reads on light and dark."""

NAMES = alt.Axis(labelOverlap=False, labelFlush=False, labelBound=False)
KINDS = ["checkpoint", "experiment"]
ROW = 24
"""Pixels from one name to the next in a column of names."""
PERCENT = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], labelOverlap=False)


def class_bars(
    table: pd.DataFrame, order: Sequence[str], chosen: str | None, marks: pd.DataFrame, ink: str
) -> alt.Chart:
    """A bar per class with its interval, in `order`; `marks` are a report's figures, and `chosen` is outlined.

    `table` and `marks` have the columns class, accuracy, low, high (0-1), right and images.
    """
    known = table[table["images"] > 0]
    names = [name for name in order if name in set(known["class"])]
    y = alt.Y("class:N", sort=names, title=None, axis=NAMES)
    tip = ["class", alt.Tooltip("accuracy:Q", format=".1%"), "right", "images"]
    base = alt.Chart(known).encode(y=y, tooltip=tip)
    scale = alt.Scale(domain=[0, 1.35])
    bars = base.mark_bar(color=ON).encode(x=alt.X("accuracy:Q", scale=scale, axis=PERCENT, title=None))
    intervals = base.mark_rule(color=OFF, strokeWidth=5).encode(x="low:Q", x2="high:Q")
    numbers = base.mark_text(align="left", fontSize=LABEL_SIZE, fontWeight="bold", color=ink).encode(
        x=alt.datum(1.02), text=alt.Text("accuracy:Q", format=".1%")
    )
    layers = [bars, intervals, *_report_marks(marks, y, tip, ink), numbers]
    pick = alt.selection_point(name="pick", fields=["class"], toggle="false")
    outline = alt.when(alt.datum["class"] == chosen).then(alt.value(RED)).otherwise(alt.value(None))
    click = base.mark_rect(fill="white", fillOpacity=0, strokeWidth=3, cursor="pointer").encode(
        x=alt.datum(0), x2=alt.datum(1.35), stroke=outline
    )
    return charts.sized(alt.layer(*layers, click.add_params(pick)), 44 * len(known) + 30)


def _report_marks(marks: pd.DataFrame, y: alt.Y, tip: list, ink: str) -> list[alt.Chart]:
    if marks.empty:
        return []
    base = alt.Chart(marks).encode(y=y, tooltip=tip)
    points = base.mark_point(shape="diamond", size=130, color=ink, filled=True, opacity=1, yOffset=11)
    return [
        base.mark_rule(color=ink, strokeWidth=2, yOffset=11).encode(x="low:Q", x2="high:Q"),
        points.encode(x="accuracy:Q"),
    ]


def confusion(
    names: Sequence[str], cells: np.ndarray, order: Sequence[int], text_format: str, chosen: tuple[int, int] | None
) -> alt.Chart:
    """`cells` `[K, K]` of (true class, predicted class), rows and columns in `order`; mistakes are coloured by size."""
    rows = [(names[i], names[j], float(cells[i, j]), i != j, (i, j) == chosen) for i in order for j in order]
    frame = pd.DataFrame(rows, columns=["true", "predicted", "value", "wrong", "outlined"])
    most = frame.loc[frame["wrong"], "value"].max()
    frame["shade"] = np.where(frame["wrong"], frame["value"] / (most if most > 0 else 1), np.nan)
    sort = [names[label] for label in order]
    base = alt.Chart(frame).encode(
        x=alt.X("predicted:N", sort=sort, title="predicted class", axis=alt.Axis(labelAngle=-40, labelOverlap=False)),
        y=alt.Y("true:N", sort=sort, title="true class", axis=NAMES),
        tooltip=["true", "predicted", alt.Tooltip("value:Q", format=text_format)],
    )
    colour = alt.Color("shade:Q", scale=alt.Scale(scheme="viridis", domain=[0, 1]), legend=None)
    mistakes = base.transform_filter("datum.wrong").mark_rect().encode(color=colour)
    right = base.transform_filter("!datum.wrong").mark_rect(color=GREY)
    longest = max(len(format(value, text_format.replace("d", ".0f"))) for value in cells.flat)
    numbers = base.mark_text(fontSize=_fitting(longest, len(order)), fontWeight="bold").encode(
        text=alt.Text("value:Q", format=text_format),
        color=alt.condition("datum.shade > 0.6", alt.value("black"), alt.value("white")),
    )
    pick = alt.selection_point(name="pick", fields=["true", "predicted"], toggle="false")
    outline = alt.when("datum.outlined").then(alt.value(RED)).otherwise(alt.value(None))
    click = base.mark_rect(fill="white", fillOpacity=0, strokeWidth=5, cursor="pointer").encode(stroke=outline)
    return charts.sized(mistakes + right + numbers + click.add_params(pick), 46 * len(order) + 100)


def _fitting(letters: int, columns: int) -> alt.ExprRef:
    """The font size at which so many digits fit into one of the chart's columns, 16 at most."""
    return alt.ExprRef(f"min(16, width / {columns} / {0.6 * letters:.2f})")


def confusion_difference(names: Sequence[str], cells: np.ndarray) -> alt.Chart:
    """Counts of the first network less those of the second: blue where it has more, orange where it has fewer."""
    rows = [
        {"true": names[i], "predicted": names[j], "difference": int(cells[i, j])}
        for i in range(len(names))
        for j in range(len(names))
    ]
    most = max(1, int(np.abs(cells).max(initial=0)))
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X(
            "predicted:N", sort=list(names), title="predicted class", axis=alt.Axis(labelAngle=-40, labelOverlap=False)
        ),
        y=alt.Y("true:N", sort=list(names), title="true class", axis=NAMES),
        tooltip=["true", "predicted", "difference"],
    )
    scale = alt.Scale(domain=[-most, 0, most], range=[OFF, "#f5f5f5", ON])
    boxes = base.mark_rect().encode(color=alt.Color("difference:Q", scale=scale, legend=None))
    numbers = base.mark_text(fontSize=_fitting(len(str(most)) + 1, len(names)), fontWeight="bold").encode(
        text=alt.Text("difference:Q", format="+d"),
        color=alt.condition(f"datum.difference > {most * 0.6}", alt.value("white"), alt.value("black")),
    )
    return charts.sized(boxes + numbers, 46 * len(names) + 100)


def dumbbells(table: pd.DataFrame, names: Sequence[str]) -> alt.Chart:
    """Per class the accuracy of two networks, joined by a line; `table`: class, network, accuracy, low, high."""
    order = list(table.loc[table["network"] == names[0]].sort_values("accuracy")["class"])
    base = alt.Chart(table).encode(y=alt.Y("class:N", sort=order, title=None, axis=NAMES))
    colour = alt.Color(
        "network:N", scale=alt.Scale(domain=list(names), range=[ON, OFF]), legend=charts.legend("network")
    )
    lowest = max(0.0, float(np.floor(table["low"].min() * 10) / 10))
    x = alt.X("accuracy:Q", scale=alt.Scale(domain=[lowest, 1]), axis=alt.Axis(format="%"), title=None)
    joined = base.mark_line(color=GREY, strokeWidth=6, opacity=0.5).encode(x=x, detail="class:N")
    tip = ["class", "network", *(alt.Tooltip(f"{field}:Q", format=".1%") for field in ("accuracy", "low", "high"))]
    intervals = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", color=colour)
    shape = alt.Shape("network:N", scale=alt.Scale(domain=list(names), range=["circle", "diamond"]), legend=None)
    points = base.mark_point(size=260, filled=True, opacity=1).encode(x=x, color=colour, shape=shape, tooltip=tip)
    return charts.sized(joined + intervals + points, 40 * len(order) + 90)


def zoo(table: pd.DataFrame, against: str, ink: str) -> alt.Chart:
    """Accuracy against a cost on a log scale; `table`: network, kind, accuracy, low, high, `against`.

    The names stand in a column on the right, apart from each other, with a thin line from each to its point.
    """
    height = max(420, ROW * len(table) + 60)
    lowest, highest = table["low"].min(), table["high"].max()
    per_row = (highest - lowest) * ROW / (height - 60)
    first, last = table[against].min(), table[against].max()
    named = table.assign(at=_apart(table["accuracy"].to_numpy(), per_row), edge=last * (last / first) ** 0.12 * 1.3)
    domain = alt.Scale(type="log", domain=[first / 1.3, last * (last / first) ** 0.4 * 3], nice=False)
    limits = [min(lowest, named["at"].min()) - per_row, max(highest, named["at"].max()) + per_row]
    y = {"scale": alt.Scale(domain=limits, nice=False), "axis": alt.Axis(format="%"), "title": "test accuracy"}
    x = alt.X(f"{against}:Q", scale=domain, axis=alt.Axis(format="~s", tickCount=4), title=against)
    tip = ["network", "kind", alt.Tooltip("accuracy:Q", format=".2%"), alt.Tooltip(f"{against}:Q", format=",")]
    base = alt.Chart(named).encode(x=x, tooltip=tip)
    colour = alt.Color("kind:N", scale=alt.Scale(domain=KINDS, range=[ON, OFF]), legend=charts.legend("kind"))
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=KINDS, range=["circle", "diamond"]), legend=None)
    leaders = base.mark_rule(color=GREY, opacity=0.5).encode(x2="edge:Q", y=alt.Y("accuracy:Q", **y), y2="at:Q")
    intervals = base.mark_rule(strokeWidth=4).encode(y=alt.Y("low:Q", **y), y2="high:Q", color=colour)
    points = base.mark_point(size=180, filled=True, opacity=1).encode(y="accuracy:Q", color=colour, shape=shape)
    names = base.mark_text(align="left", dx=6, fontSize=LABEL_SIZE, color=ink).encode(
        x=alt.X("edge:Q", title=against), y="at:Q", text="network:N"
    )
    return charts.sized(leaders + intervals + points + names, height)


def _apart(values: np.ndarray, gap: float) -> np.ndarray:
    """Places near `values`, in the same order, at least `gap` from each other."""
    order = np.argsort(values, kind="stable")
    places = values[order].astype(float)
    for number in range(1, len(places)):
        places[number] = max(places[number], places[number - 1] + gap)
    places += (values.mean() - places.mean()) if len(places) else 0.0
    found = np.empty_like(places)
    found[order] = places
    return found


def reliability(table: pd.DataFrame, ink: str) -> alt.Chart:
    """Accuracy in each bin of confidence with its interval and count; `table`: when, low edge, high edge, confidence,
    accuracy, low, high, images."""
    scale = alt.Scale(domain=[0, 1])
    base = alt.Chart(table)
    colour = alt.Color(
        "when:N", scale=alt.Scale(domain=["before", "after"], range=[ON, OFF]), legend=charts.legend("temperature")
    )
    x_words, y_words = "mean confidence in the bin", "accuracy in the bin"
    x = alt.X("confidence:Q", scale=scale, axis=PERCENT, title=x_words)
    y = alt.Y("accuracy:Q", scale=scale, axis=PERCENT, title=y_words)
    tip = ["when", "images", *(alt.Tooltip(f"{f}:Q", format=".1%") for f in ("confidence", "accuracy", "low", "high"))]
    intervals = base.mark_rule(strokeWidth=3).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=colour)
    points = base.mark_point(size=150, filled=True, opacity=1).encode(
        x=x, y=y, color=colour, shape=alt.Shape("when:N", legend=None), tooltip=tip
    )
    line = alt.Chart(pd.DataFrame({"x": [0, 1], "y": [0, 1]})).mark_line(strokeDash=[6, 4], color=ink, opacity=0.6)
    return charts.sized(
        line.encode(x=alt.X("x:Q", title=x_words), y=alt.Y("y:Q", title=y_words)) + intervals + points, 430
    )


def bin_counts(table: pd.DataFrame) -> alt.Chart:
    """How many answers lie in each bin of confidence; `table` as for `reliability`."""
    base = alt.Chart(table[table["when"] == "before"]).encode(
        x=alt.X("low edge:Q", scale=alt.Scale(domain=[0, 1]), axis=PERCENT, title="confidence"),
        x2="high edge:Q",
        tooltip=["images", alt.Tooltip("low edge:Q", format=".0%"), alt.Tooltip("high edge:Q", format=".0%")],
    )
    bars = base.mark_bar(color=ON, stroke="white").encode(y=alt.Y("images:Q", title="images"), y2=alt.datum(0))
    return charts.sized(bars, 190)


def coverage(table: pd.DataFrame) -> alt.Chart:
    """Accuracy against the share of images answered; `table`: answered, accuracy, low, high, threshold."""
    base = alt.Chart(table).encode(
        x=alt.X("answered:Q", axis=PERCENT, title="coverage: share of images answered, most confident first")
    )
    lowest = math.floor(table["accuracy"].min() * 20) / 20  # the intervals of the first few answers are cut off
    scale = alt.Scale(domain=[max(0.0, lowest - 0.05), 1])
    y = {"scale": scale, "axis": alt.Axis(format="%"), "title": "accuracy"}
    band = base.mark_area(opacity=0.3, color=ON, clip=True).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    tip = [alt.Tooltip(f"{field}:Q", format=".1%") for field in ("answered", "accuracy", "threshold")]
    line = base.mark_line(color=ON, strokeWidth=3).encode(y=alt.Y("accuracy:Q", **y), tooltip=tip)
    return charts.sized(band + line, 330)


def top_k(table: pd.DataFrame, ink: str) -> alt.Chart:
    """A bar per k: the share of images whose class is among the k best; `table`: k, accuracy, low, high."""
    base = alt.Chart(table).encode(y=alt.Y("k:O", title="k"))
    bars = base.mark_bar(color=ON).encode(
        x=alt.X("accuracy:Q", scale=alt.Scale(domain=[0, 1.2]), axis=PERCENT, title=None)
    )
    intervals = base.mark_rule(color=OFF, strokeWidth=5).encode(x="low:Q", x2="high:Q")
    numbers = base.mark_text(align="left", fontSize=LABEL_SIZE, fontWeight="bold", color=ink).encode(
        x=alt.datum(1.02), text=alt.Text("accuracy:Q", format=".2%")
    )
    return charts.sized(bars + intervals + numbers, 270)


def falling(table: pd.DataFrame, axis: str, strengths: tuple[float, float]) -> alt.Chart:
    """Accuracy against the strength of a perturbation within `strengths`; `table`: strength, accuracy, low, high."""
    scale = alt.Scale(domain=list(strengths), padding=12)
    base = alt.Chart(table).encode(x=alt.X("strength:Q", title=axis, scale=scale, axis=alt.Axis(format="~g")))
    y = {"scale": alt.Scale(domain=[0, 1]), "axis": PERCENT, "title": "accuracy"}
    band = base.mark_rule(strokeWidth=4, color=OFF).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    line = base.mark_line(color=ON, strokeWidth=3, point=alt.OverlayMarkDef(size=140, filled=True, color=ON))
    tip = ["strength", alt.Tooltip("accuracy:Q", format=".1%")]
    return charts.sized(line.encode(y=alt.Y("accuracy:Q", **y), tooltip=tip) + band, 360)
