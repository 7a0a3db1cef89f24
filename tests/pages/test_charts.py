"""Charts at the width of a phone, where all words are there, and charts for eyes that do not see every colour."""

import re
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import pictures
from engine.reconstructions import Milestone
from pages.common import downloads
from pages.common.charts import OKABE_ITO, ON, SHAPES, gain_chart, letters_in
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


# Machado, Oliveira and Fernandes (2009), severity 1: of linear RGB.
EYES = {
    "normal": np.eye(3),
    "without red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "without green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
PAGES = {"light": "#FFFFFF", "dark": "#171614"}


def linear(colour: str) -> np.ndarray:
    """Linear RGB `[3]` of a colour of sRGB, "#RRGGBB"."""
    shares = np.array(list(bytes.fromhex(colour.removeprefix("#")))) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB `[3]` of linear RGB, for white paper in daylight."""
    xyz = TO_XYZ @ rgb.clip(0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG, 1 to 21."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("eye", EYES)
def test_the_colours_of_curves_are_told_apart_by_every_eye(eye: str) -> None:
    seen = [lab(EYES[eye] @ linear(colour)) for colour in (*OKABE_ITO, *PAGES.values())]
    distances = {
        pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in combinations(range(len(seen)), 2)
    }
    assert {pair: distance for pair, distance in distances.items() if distance <= 12} == {}
    assert min(contrast(colour, page) for colour in OKABE_ITO for page in PAGES.values()) > 2.2


@pytest.mark.parametrize(("ink", "page"), [("black", "light"), ("white", "dark")])
def test_letters_in_the_colours_of_curves_can_be_read(ink: str, page: str) -> None:
    colours = (*OKABE_ITO, pictures.INK)
    assert min(contrast(letters_in(colour, ink), PAGES[page]) for colour in colours) >= 4.5
    assert letters_in(ON, "black") == ON.lower()  # dark enough as it is


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
