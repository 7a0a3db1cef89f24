"""Learning curves of several trainings on one chart, with their own colours and shapes, named at their ends.

Validation is drawn in full, training dashed; a ring marks the best epoch, a dotted upright line a new image size, and
long dashes what the reports measured.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import altair as alt
import numpy as np
import pandas as pd

from engine import reports
from engine.models import ARCHITECTURES
from engine.pictures import INK
from engine.reports import Reported
from engine.training import curves
from engine.training.histories import History
from pages.common import texts
from pages.common.charts import LETTERS, LOW, OKABE_ITO, ON_PHONE, SHAPES, legend, letters_in, short_names, sized, spots

MOST = len(SHAPES)
"""More curves than these nobody can follow."""

TRAINING, VALIDATION = "training", "validation"
PREFERRED = ("lenet", "resnet18")
"""The curves that are drawn at first."""
AXES, SCALES = ("epochs", "time"), ("linear", "log")
IMAGES = {"both": (TRAINING, VALIDATION), VALIDATION: (VALIDATION,), TRAINING: (TRAINING,)}
SMOOTHING = {"none": 0.0, "light": 0.6, "strong": 0.9}
"""Choices of the page: what is drawn, and the weight of smoothing."""
COLUMNS = {
    "loss": {TRAINING: "train_loss", VALIDATION: "val_loss"},
    "accuracy": {TRAINING: "train_accuracy", VALIDATION: "val_accuracy"},
}
"""What of a history each chart shows."""

HEIGHT = 420
LINES = (18, 22, 28)
"""How many lines of text have room between the axes: of a saved chart, of one on a laptop, and on a large screen."""
IN_MARGIN, IN_NARROW_MARGIN = 20, 13
"""How many letters of a name have room beside a chart, and on a phone."""
VALIDATED = "*"
"""Stands in the margin, where there is no room for words, at figures that were measured on validation images."""
SEVERAL = ""
"""Is the owner of a report's figure that belongs to several curves; it is grey."""


@dataclass(frozen=True)
class Style:
    """How curves are drawn; small enough to be a key.

    Attributes:
        time: against time instead of epochs.
        images: those of `TRAINING` and `VALIDATION` that are shown.
        log: the loss on a logarithmic scale.
        weight: of smoothing, 0 to below 1.
        reports: whether the reports' figures are shown.
    """

    time: bool
    images: tuple[str, ...]
    log: bool
    weight: float
    reports: bool


def labels(chosen: Sequence[History]) -> dict[str, str]:
    """What a reader calls each training, by its key; where two would share a name, the keys stand beside it."""
    names = {history.key: _label(history) for history in chosen}
    if len(names) > 1 and all(history.source == "experiments" for history in chosen):
        names = _without_shared_word(names)
    shared = {name for name, count in Counter(names.values()).items() if count > 1}
    return {key: f"{name} ({key})" if name in shared else name for key, name in names.items()}


def _label(history: History) -> str:
    if history.source == "checkpoints" and history.name in ARCHITECTURES:
        return ARCHITECTURES[history.name].title
    words = history.name.replace("_", " ")
    return f"run {words}" if history.source == "runs" else words


def _without_shared_word(names: dict[str, str]) -> dict[str, str]:
    """ "ablation base", "ablation sgd" without the word that all begin with."""
    parts = {key: name.partition(" ") for key, name in names.items()}
    alike = len({first for first, _, _ in parts.values()}) == 1 and all(rest for _, _, rest in parts.values())
    return {key: rest for key, (_, _, rest) in parts.items()} if alike else names


# Numbers -------------------------------------------------------------------------------------------------------


def rows(chosen: Sequence[History], metric: str, style: Style) -> pd.DataFrame:
    """Long table curve, images, epoch, at (on the x axis), measured, shown (smoothed); `metric` as in `COLUMNS`."""
    divisor, _ = time_unit(chosen)
    names = labels(chosen)
    parts = [
        pd.DataFrame(
            {
                "curve": names[history.key],
                "images": images,
                "epoch": history.table["epoch"],
                "at": curves.elapsed(history.table) / divisor if style.time else history.table["epoch"],
                "measured": history.table[column],
                "shown": curves.smoothed_by_size(history.table, column, style.weight),
            }
        )
        for history in chosen
        for images, column in COLUMNS[metric].items()
        if images in style.images
    ]
    return pd.concat(parts, ignore_index=True)


def time_unit(chosen: Sequence[History]) -> tuple[float, str]:
    """How many seconds the unit of the time axis has, and its name, so that the longest training has a short number."""
    longest = max(curves.elapsed(history.table)[-1] for history in chosen)
    for seconds, name in ((3600.0, "hours"), (60.0, "minutes")):
        if longest > 3 * seconds:
            return seconds, name
    return 1.0, "seconds"


def apart(places: Sequence[float], distance: float) -> list[float]:
    """`places` in 0-1, moved as little as it takes to keep neighbours `distance` apart; their order stays."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    for _ in range(100):
        for below, above in pairwise(order):
            lacking = max(0.0, distance - (moved[above] - moved[below])) / 2
            moved[below], moved[above] = moved[below] - lacking, moved[above] + lacking
        _keep_inside(moved, order, distance)
    return moved


def _keep_inside(moved: list[float], order: Sequence[int], distance: float) -> None:
    """Push places beyond 0 or 1 back, as long as those after them have room."""
    for rank, index in enumerate(order):
        moved[index] = max(moved[index], rank * distance)
    for rank, index in enumerate(reversed(order)):
        moved[index] = min(moved[index], 1 - rank * distance)


# Charts --------------------------------------------------------------------------------------------------------


def chart(chosen: Sequence[History], metric: str, style: Style, ink: str = "black") -> alt.LayerChart:
    """Loss or accuracy of all `chosen` trainings, on a page whose letters are black or white."""
    numbers = rows(chosen, metric, style)
    logarithmic = style.log and metric == "loss"
    drawn = numbers[np.isfinite(numbers["shown"]) & ((numbers["shown"] > 0) | (not logarithmic))]
    cited = _cited(chosen, style) if metric == "accuracy" else pd.DataFrame()
    scale = _Scale.around([*drawn["shown"], *(cited["value"] if len(cited) else ())], logarithmic)
    look = _Look(labels(chosen), scale, metric, ink)
    title = time_unit(chosen)[1] if style.time else "epoch"
    layers = [*_new_sizes(chosen, numbers, look), *_lines(drawn, style, look, title)]
    layers += [*_best(chosen, drawn, metric, look), *_reference(cited, look), *_margin(drawn, cited, look)]
    return sized(alt.layer(*layers).resolve_scale(color="shared", fill="shared", shape="shared"), HEIGHT)


@dataclass(frozen=True)
class _Scale:
    """The y axis."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def around(cls, values: Sequence[float], logarithmic: bool) -> "_Scale":
        """The scale that holds all `values`, with a little room."""
        low, high = (min(values), max(values)) if values else (0.1, 1.0)
        if logarithmic:
            return cls(low / 1.1, high * 1.1, True)
        room = 0.05 * (high - low) or 0.05
        return cls(low - room, high + room, False)

    def fraction(self, value: float) -> float:
        """Where on the axis `value` lies, from 0 (below) to 1."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def value(self, fraction: float) -> float:
        """What lies there: the inverse of `fraction`."""
        if self.logarithmic:
            return self.low * (self.high / self.low) ** fraction
        return self.low + fraction * (self.high - self.low)


@dataclass(frozen=True)
class _Look:
    """What all layers of a chart share."""

    labels: Mapping[str, str]
    scale: _Scale
    metric: str
    ink: str

    @property
    def names(self) -> list[str]:
        return list(self.labels.values())

    def y(self, column: str) -> alt.Y:
        kind = "log" if self.scale.logarithmic else "linear"
        axis = alt.Axis(format="%", tickCount=5) if self.metric == "accuracy" else alt.Axis(tickCount=5, format="~g")
        title = "accuracy" if self.metric == "accuracy" else "loss (cross-entropy)"
        domain = alt.Scale(domain=[self.scale.low, self.scale.high], type=kind, nice=False, zero=False)
        return alt.Y(f"{column}:Q", scale=domain, axis=axis, title=title)

    @property
    def colours(self) -> list[str]:
        """Of each name, and of `SEVERAL`."""
        return [*OKABE_ITO[: len(self.names)], INK]

    def colour(self, field: str = "curve") -> alt.Color:
        scale = alt.Scale(domain=[*self.names, SEVERAL], range=self.colours)
        return alt.Color(f"{field}:N", scale=scale, legend=None)

    def letters(self, field: str = "curve") -> alt.Fill:
        """The colour of words that belong to a curve."""
        shades = [letters_in(colour, self.ink) for colour in self.colours]
        return alt.Fill(f"{field}:N", scale=alt.Scale(domain=[*self.names, SEVERAL], range=shades), legend=None)

    def shape(self) -> alt.Shape:
        return alt.Shape("curve:N", scale=alt.Scale(domain=self.names, range=SHAPES[: len(self.names)]), legend=None)


def _lines(drawn: pd.DataFrame, style: Style, look: _Look, title: str) -> list[alt.Chart]:
    """The curves, and shapes on those that are drawn in full."""
    dashes = alt.Scale(domain=[VALIDATION, TRAINING], range=[[1, 0], [7, 5]])
    base = alt.Chart(drawn).encode(
        x=alt.X("at:Q", title=title, axis=alt.Axis(format="d", tickMinStep=1, tickCount=8), scale=alt.Scale(zero=True)),
        y=look.y("shown"),
        color=look.colour(),
        tooltip=["curve", "images", "epoch", alt.Tooltip("measured:Q", format=".4f")],
    )
    together = legend("").copy()
    together.title, together.symbolSize, together.labelLimit = None, 900, 260
    line = base.mark_line(strokeWidth=3).encode(strokeDash=alt.StrokeDash("images:N", scale=dashes, legend=together))
    kept = drawn["images"] == style.images[-1]
    points = base.mark_point(size=110, filled=True, opacity=1).encode(shape=look.shape())
    points = points.properties(data=spots(drawn[kept], "curve"))
    return [line, points]


def _best(chosen: Sequence[History], drawn: pd.DataFrame, metric: str, look: _Look) -> list[alt.Chart]:
    """A ring around the best epoch: by loss on the chart of the loss, by accuracy on that of the accuracy."""
    which = 0 if metric == "loss" else 1
    best = {look.labels[history.key]: curves.best_epochs(history.table)[which] for history in chosen}
    of_validation = drawn[drawn["images"] == VALIDATION]
    rings = of_validation[of_validation["epoch"] == of_validation["curve"].map(best)]
    text = "lowest validation loss" if metric == "loss" else "highest validation accuracy"
    ring = alt.Chart(rings.assign(mark=text)).mark_point(size=420, filled=False, strokeWidth=3.5, opacity=1)
    tooltip = ["curve", "mark", "epoch", alt.Tooltip("measured:Q", format=".4f")]
    return [ring.encode(x="at:Q", y=look.y("shown"), color=look.colour(), tooltip=tooltip)]


def _margin(drawn: pd.DataFrame, cited: pd.DataFrame, look: _Look) -> list[alt.Chart]:
    """In the right margin, the name of each curve and of each report's figure, at its height where there is room."""
    ends = drawn.groupby("curve", sort=False).tail(1)
    names = pd.DataFrame({"owner": ends["curve"], "value": ends["shown"], "words": ends["curve"], "bold": True})
    names["screen"] = ends["curve"].map(short_names(look.names, IN_MARGIN))
    names["phone"] = ends["curve"].map(short_names(look.names, IN_NARROW_MARGIN))
    figures = cited.assign(bold=False, screen=cited["words"], phone=cited["words"]) if len(cited) else cited
    labels = pd.concat([names, figures], ignore_index=True) if len(cited) else names
    for lines in LINES:
        places = apart([look.scale.fraction(value) for value in labels["value"]], 1.35 / lines)
        labels[f"of_{lines}"] = [look.scale.value(place) for place in places]
    return [_text(labels[labels["bold"] == bold], look, "bold" if bold else "normal") for bold in (True, False)]


def _text(labels: pd.DataFrame, look: _Look, weight: str) -> alt.Chart:
    """The words, shortened on a screen so that the curves keep most of its width; a saved picture has room for all."""
    text = alt.ExprRef(f"{ON_PHONE} ? datum.phone : isValid(windowSize()[0]) ? datum.screen : datum.words")
    limit = alt.ExprRef(f"{ON_PHONE} ? 115 : isValid(windowSize()[0]) ? 0.19 * windowSize()[0] : 0")  # pixels; 0: none
    letters = f"({LOW} ? 12 : {LETTERS.expr})"  # more names than lines on a phone that lies on its side
    size = alt.ExprRef(letters)
    mark = {"align": "left", "dx": 18, "fontSize": size, "fontWeight": weight, "limit": limit, "text": text}
    place = f"datum.of_{LINES[0]}"
    for lines in LINES[1:]:  # the height between the axes is known only to the chart
        place = f"height > {lines} * {letters} ? datum.of_{lines} : {place}"
    return (
        alt.Chart(labels)
        .transform_calculate(place=place)
        .mark_text(**mark)
        .encode(
            x=alt.value("width"),
            y=look.y("place"),
            tooltip=alt.Tooltip("words:N", title=" "),
            fill=look.letters("owner"),
        )
    )


def _new_sizes(chosen: Sequence[History], numbers: pd.DataFrame, look: _Look) -> list[alt.LayerChart]:
    """An upright line where the images change their size."""
    changes = [
        {"curve": look.labels[history.key], "epoch": epoch, "words": f"{pixels} px"}
        for history in chosen
        for epoch, pixels in curves.size_changes(history.table)
    ]
    if not changes:
        return []
    where = numbers.drop_duplicates(["curve", "epoch"])[["curve", "epoch", "at"]]
    base = alt.Chart(pd.DataFrame(changes).merge(where, on=["curve", "epoch"])).encode(x="at:Q")
    rule = base.mark_rule(strokeDash=[2, 4], strokeWidth=2).encode(color=look.colour())
    text = base.mark_text(align="left", baseline="top", dx=6, fontSize=LETTERS)
    return [rule, text.encode(y=alt.value(2), text="words:N", fill=look.letters())]


def _cited(chosen: Sequence[History], style: Style) -> pd.DataFrame:
    """What the reports measured for the chosen networks on CIFAR-10's test images, or else on validation images.

    The owner of a figure is its curve, or `SEVERAL` if more curves are of its network.
    """
    names = labels(chosen)
    figures = [
        (names[history.key], figure.accuracy, _words(figure))
        for history in chosen
        if style.reports
        for figure in reports.unseen(history.architecture)
        if figure.dataset == reports.CIFAR10
    ]
    cited = pd.DataFrame(figures, columns=["owner", "value", "words"])
    cited["owner"] = cited["owner"].mask(cited["words"].duplicated(keep=False), SEVERAL)
    return cited.drop_duplicates("words")


def _words(figure: Reported) -> str:
    mark = VALIDATED if figure.split == "validation" else ""
    return f"report {figure.report}{mark}: {texts.percent(figure.accuracy)}"


def meaning_of_mark(chosen: Sequence[History], style: Style) -> str:
    """What the asterisk means, if one stands on the chart of the accuracy."""
    words = _cited(chosen, style)["words"]
    if not words.str.contains(VALIDATED, regex=False).any():
        return ""
    return "An asterisk marks a report's figure on validation images; the other reports' figures are on test images."


def _reference(cited: pd.DataFrame, look: _Look) -> list[alt.Chart]:
    if cited.empty:
        return []
    rule = alt.Chart(cited).mark_rule(strokeDash=[14, 6], strokeWidth=2, opacity=0.8)
    return [rule.encode(y=look.y("value"), color=look.colour("owner"))]
