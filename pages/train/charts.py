"""The curves of a run, as Vega-Lite specifications whose data comes separately.

While a network trains, only the data changes, and the browser redraws the curves without building the chart anew.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from engine.training.curves import StepCurve
from engine.training.records import EpochRecord
from pages.common.charts import LABEL_SIZE, OFF, ON

Spec = dict[str, Any]

BATCHES, TRAINING, VALIDATION = "batches", "training", "validation"
GREY, GREEN = "#8c8c8c", "#009E73"
COLOURS = {BATCHES: GREY, TRAINING: ON, VALIDATION: OFF}
SHAPES = {BATCHES: "stroke", TRAINING: "circle", VALIDATION: "square"}


def loss_rows(history: Sequence[EpochRecord], steps: StepCurve) -> pd.DataFrame:
    """Long table epoch, value, curve: the loss of batches, and of training and validation images after each epoch."""
    return pd.concat(
        [
            _rows(steps.epoch, steps.loss, BATCHES),
            _rows([record.epoch for record in history], [record.train_loss for record in history], TRAINING),
            _rows([record.epoch for record in history], [record.val_loss for record in history], VALIDATION),
        ],
        ignore_index=True,
    )


def accuracy_rows(history: Sequence[EpochRecord]) -> pd.DataFrame:
    """Long table epoch, value, curve: the accuracy after each epoch."""
    epochs = [record.epoch for record in history]
    return pd.concat(
        [
            _rows(epochs, [record.train_accuracy for record in history], TRAINING),
            _rows(epochs, [record.val_accuracy for record in history], VALIDATION),
        ],
        ignore_index=True,
    )


def rate_rows(steps: StepCurve) -> pd.DataFrame:
    """Table epoch, value: the learning rate."""
    return pd.DataFrame({"epoch": steps.epoch, "value": steps.learning_rate})


def _rows(epochs: Sequence[float], values: Sequence[float], curve: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"epoch": pd.Series(epochs, dtype=float), "value": pd.Series(values, dtype=float), "curve": curve}
    )


def loss_spec(epochs: int, height: int) -> Spec:
    """Loss against epochs, 0 to `epochs`."""
    names = (TRAINING, VALIDATION, BATCHES)
    return _curves("loss (cross-entropy)", names, epochs, height, {"zero": False, "nice": True}, {})


def accuracy_spec(epochs: int, height: int) -> Spec:
    """Accuracy against epochs, 0 to `epochs`."""
    axis = {"format": "%", "values": [0, 0.2, 0.4, 0.6, 0.8, 1]}
    return _curves("accuracy", (TRAINING, VALIDATION), epochs, height, {"domain": [0, 1]}, axis)


def rate_spec(epochs: int, height: int) -> Spec:
    """Learning rate against epochs, 0 to `epochs`."""
    place = _at("learning rate", {"zero": True}, {"tickCount": 2, "format": "~g"})
    line = {"mark": {"type": "line", "strokeWidth": 3, "color": GREEN}, "encoding": place}
    return _sized([line], epochs, height)


def _curves(title: str, names: Sequence[str], epochs: int, height: int, scale: Spec, axis: Spec) -> Spec:
    legend = {"orient": "top", "title": None, "labelFontSize": LABEL_SIZE, "labelLimit": 260, "symbolSize": 140}
    # Colour and shape share one legend only if both name all curves.
    same, shown = {"field": "curve", "type": "nominal", "legend": legend}, {"domain": list(names)}
    colour = {**same, "scale": {**shown, "range": [COLOURS[name] for name in names]}}
    place = {**_at(title, scale, axis), "color": colour}
    batches = {"transform": [_only(BATCHES)], "mark": {"type": "line", "strokeWidth": 1.5}, "encoding": place}
    epochs_line = {"transform": [_but(BATCHES)], "mark": {"type": "line", "strokeWidth": 3.5}, "encoding": place}
    points = {
        "transform": [_but(BATCHES)],
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
        "encoding": {**place, "shape": {**same, "scale": {**shown, "range": [SHAPES[name] for name in names]}}},
    }
    return _sized([batches, epochs_line, points], epochs, height)


def _only(curve: str) -> Spec:
    return {"filter": {"field": "curve", "equal": curve}}


def _but(curve: str) -> Spec:
    return {"filter": {"not": {"field": "curve", "equal": curve}}}


def _at(title: str, scale: Spec, axis: Spec) -> Spec:
    return {
        "x": {"field": "epoch", "type": "quantitative", "title": "epoch"},
        "y": {
            "field": "value", "type": "quantitative", "title": title, "scale": scale, "axis": {"tickCount": 5, **axis}
        },
        "tooltip": [
            {"field": "epoch", "type": "quantitative", "format": ".2f"},
            {"field": "value", "type": "quantitative", "format": ".4g", "title": title},
        ],
    }  # fmt: skip


def _sized(layers: list[Spec], epochs: int, height: int) -> Spec:
    for layer in layers:
        x = layer["encoding"]["x"]
        layer["encoding"] = {
            **layer["encoding"],
            "x": {**x, "scale": {"domain": [0, epochs]}, "axis": {"tickMinStep": 1, "tickCount": 6, "format": "d"}},
        }
    sizes = {"labelFontSize": LABEL_SIZE, "titleFontSize": LABEL_SIZE}
    return {"layer": layers, "height": height, "config": {"axis": sizes}}
