"""The curves of a run, as Vega-Lite specifications whose data comes separately.

While a network trains, only the data changes, and the browser redraws the curves without building the chart anew.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from engine.training.curves import StepCurve
from engine.training.records import EpochRecord
from pages.common.charts import LETTERS, OFF, OKABE_ITO, ON

Spec = dict[str, Any]

BATCHES, TRAINING, VALIDATION = "batches", "training", "validation"
GREY, GREEN = "#8c8c8c", OKABE_ITO[2]
COLOURS = {BATCHES: GREY, TRAINING: ON, VALIDATION: OFF}
LETTERS_ACROSS = 18
"""So many letters' heights make the width of the legend, which has the names of all curves in one row."""
SHAPES = {BATCHES: "stroke", TRAINING: "circle", VALIDATION: "square"}


def loss_rows(history: Sequence[EpochRecord], steps: StepCurve) -> pd.DataFrame:
    """Long table epoch, value, curve: the loss of batches, and of training and validation images after each epoch."""
    return pd.concat([_rows(steps.epoch, steps.loss, BATCHES), _both(history, "loss")], ignore_index=True)


def accuracy_rows(history: Sequence[EpochRecord]) -> pd.DataFrame:
    """Long table epoch, value, curve: the accuracy after each epoch."""
    return _both(history, "accuracy")


def rate_rows(steps: StepCurve) -> pd.DataFrame:
    """Table epoch, value: the learning rate."""
    return pd.DataFrame({"epoch": steps.epoch, "value": steps.learning_rate})


def _both(history: Sequence[EpochRecord], metric: str) -> pd.DataFrame:
    """Loss or accuracy of training and validation images after each epoch."""
    epochs = [record.epoch for record in history]
    training = _rows(epochs, [getattr(record, f"train_{metric}") for record in history], TRAINING)
    validation = _rows(epochs, [getattr(record, f"val_{metric}") for record in history], VALIDATION)
    return pd.concat([training, validation], ignore_index=True)


def _rows(epochs: Sequence[float], values: Sequence[float], curve: str) -> pd.DataFrame:
    numbers = {"epoch": pd.Series(epochs, dtype=float), "value": pd.Series(values, dtype=float)}
    return pd.DataFrame({**numbers, "curve": curve})


def loss_spec(epochs: int) -> Spec:
    """Loss against epochs, 0 to `epochs`."""
    place = _place(epochs, "loss (cross-entropy)", {"zero": False, "nice": True})
    return _curves((TRAINING, VALIDATION, BATCHES), place)


def accuracy_spec(epochs: int) -> Spec:
    """Accuracy against epochs, 0 to `epochs`."""
    axis = {"format": "%", "values": [0, 0.2, 0.4, 0.6, 0.8, 1]}
    return _curves((TRAINING, VALIDATION), _place(epochs, "accuracy", {"domain": [0, 1]}, **axis))


def rate_spec(epochs: int) -> Spec:
    """Learning rate against epochs, 0 to `epochs`."""
    place = _place(epochs, "learning rate", {"zero": True}, tickCount=2, format="~g")
    return _layered([{"mark": {"type": "line", "strokeWidth": 3, "color": GREEN}, "encoding": place}])


def _curves(names: Sequence[str], place: Spec) -> Spec:
    letters = {"expr": f"min({LETTERS.expr}, width / {LETTERS_ACROSS})"}
    legend = {"orient": "top", "title": None, "labelFontSize": letters, "labelLimit": 260, "symbolSize": 140}
    # Colour and shape share one legend only if both name all curves.
    same, domain = {"field": "curve", "type": "nominal", "legend": legend}, {"domain": list(names)}
    place = {**place, "color": {**same, "scale": {**domain, "range": [COLOURS[name] for name in names]}}}
    shape = {**same, "scale": {**domain, "range": [SHAPES[name] for name in names]}}
    of_batches = {"field": "curve", "equal": BATCHES}
    batches = {"transform": [{"filter": of_batches}], "mark": {"type": "line", "strokeWidth": 1.5}, "encoding": place}
    of_epochs = {"transform": [{"filter": {"not": of_batches}}]}
    line = {**of_epochs, "mark": {"type": "line", "strokeWidth": 3.5}, "encoding": place}
    point = {"type": "point", "filled": True, "size": 90, "opacity": 1}
    return _layered([batches, line, {**of_epochs, "mark": point, "encoding": {**place, "shape": shape}}])


def _place(epochs: int, title: str, scale: Spec, **axis: Any) -> Spec:
    """Where a value lies, on an axis called `title`, against epochs from 0 to `epochs`."""
    ticks = {"scale": {"domain": [0, epochs]}, "axis": {"tickMinStep": 1, "tickCount": 6, "format": "d"}}
    epoch, value = (
        {"field": "epoch", "type": "quantitative"},
        {"field": "value", "type": "quantitative", "title": title},
    )
    return {
        "x": {**epoch, "title": "epoch", **ticks},
        "y": {**value, "scale": scale, "axis": {"tickCount": 5, **axis}},
        "tooltip": [{**epoch, "format": ".2f"}, {**value, "format": ".4g"}],
    }


def _layered(layers: list[Spec]) -> Spec:
    sizes = {"labelFontSize": LETTERS.to_dict(), "titleFontSize": LETTERS.to_dict()}
    return {"layer": layers, "config": {"axis": sizes}}
