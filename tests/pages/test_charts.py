"""Charts at the width of a phone, where all words are there, and charts for eyes that do not see every colour."""

import re
from typing import Any

import pandas as pd
import pytest

from engine.reconstructions import Milestone
from pages.common import downloads
from pages.common.charts import SHAPES, gain_chart
from pages.evidence.charts import SHAPE_LETTERS, correlation_chart, moving_chart, names_in_html
from pages.feature_maps.charts import over_training
from pages.filters.charts import KINDS, kinds_chart
from pages.inversion.charts import falling_chart
from pages.network.charts import running_chart

WIDTH, WITH_MARGINS = 300, 390
MOMENTS = ["before training", "halfway", "after training"]
LAYERS = [f"conv{number}_x" for number in range(1, 6)]


def words_on_a_phone(chart: dict[str, Any]) -> set[str]:
    """What stands on a chart, which has no room for more than a phone has."""
    svg = downloads.file_of({**chart, "width": WIDTH}, "svg").decode()
    assert float(re.search(r'width="([\d.]+)"', svg)[1]) <= WITH_MARGINS
    return set(re.findall(r"<text[^>]*>([^<]*)</text>", svg))


def test_every_kind_of_filters_and_every_moment_is_named() -> None:
    counted = [(when, kind, 60) for when in MOMENTS for kind in KINDS]
    chart = kinds_chart(pd.DataFrame(counted, columns=["when", "kind", "filters"]), MOMENTS)
    assert {*MOMENTS, *KINDS} <= words_on_a_phone(chart.to_dict())


def test_every_layer_of_a_row_of_inversions_is_named() -> None:
    chart = falling_chart(LAYERS, 200, columns=len(LAYERS))
    rows = [{"step": step, "curve": layer, "value": 0.1} for layer in LAYERS for step in (0, 9)]
    assert set(LAYERS) <= words_on_a_phone({**chart, "data": {"values": rows}})


def test_every_moment_of_a_training_is_named() -> None:
    moments = ["untrained", *(f"epoch {epoch}" for epoch in (1, 2, 4, 8, 16)), "trained"]
    chart = over_training({moment: dict.fromkeys(LAYERS, 0.5) for moment in moments})
    assert {*moments, *LAYERS} <= words_on_a_phone(chart)
    assert chart["layer"][0]["encoding"]["x"]["axis"]["labelAngle"] == {"expr": "width < 480 ? -40 : 0"}


def test_four_methods_leave_the_curves_room() -> None:
    methods = ("Grad-CAM", "gradient", "guided", "deconvnet")
    rows = pd.DataFrame([(method, layer, 0.5) for method in methods for layer in LAYERS])
    chart = correlation_chart(rows.set_axis(["method", "random from", "rank correlation"], axis=1))
    assert {*methods, *LAYERS} <= words_on_a_phone(chart.to_dict())
    assert chart.to_dict()["encoding"]["color"]["legend"]["columns"] == {"expr": "width < 330 ? 2 : 0"}


CURVES = [f"curve {number}" for number in range(4)]
ROWS = pd.DataFrame([(curve, step, 0.1 * step + 0.1) for curve in CURVES for step in range(9)])


def rows(*columns: str) -> pd.DataFrame:
    """Four curves with a point at each of nine steps, in columns of these names."""
    return ROWS.set_axis(list(columns), axis=1)


CHARTS = {
    "gains": gain_chart({curve: [Milestone(layer, 2.0) for layer in LAYERS] for curve in CURVES}, "network"),
    "inversion": {
        **falling_chart(CURVES, 8),
        "data": {"values": rows("curve", "step", "value").to_dict("records")},
    },
    "sanity check": correlation_chart(rows("method", "random from", "rank correlation")),
    "batch norm": running_chart(rows("batch", "step", "mean"), "mean", 0.5),
    "over training": over_training({moment: dict.fromkeys(CURVES, 0.5) for moment in MOMENTS}),
}


@pytest.mark.parametrize("name", CHARTS)
def test_curves_are_told_apart_without_colours(name: str) -> None:
    svg = downloads.file_of(CHARTS[name], "svg").decode()
    symbols = re.findall(r'role-legend-symbol"[^>]*><path[^>]* d="([^"]+)"', svg)
    assert len(set(symbols)) == len(CURVES), "the legend shows a shape of its own for each curve"


def test_moved_images_have_shapes_and_a_legend_of_them() -> None:
    chart = moving_chart(rows("image", "amount", "value"), "distance", "px", 4)
    points = re.findall(r"mark-symbol[^>]*>(.*?)</g>", downloads.file_of(chart, "svg").decode())
    assert len(set(re.findall(r' d="([^"]+)"', points[0]))) == len(CURVES)
    assert len(SHAPE_LETTERS) == len(SHAPES)
    assert re.findall(r">(\S)</span> curve", names_in_html(CURVES, SHAPE_LETTERS)) == list(SHAPE_LETTERS[:4])
