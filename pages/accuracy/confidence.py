"""View "Confidence" of the Accuracy page: is its confidence calibrated?"""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from engine.accuracy import calibration
from engine.accuracy.predictions import Predictions
from engine.errors import ConvscopeError
from pages.accuracy import charts as accuracy_charts
from pages.accuracy.data import Subject
from pages.common import charts, downloads, texts
from pages.common.selection import Selection


@dataclass(frozen=True)
class Drawing:
    """The charts (Vega-Lite specs) with their tables, by name, and what became of the calibration error."""

    charts: dict[str, tuple[dict[str, Any], pd.DataFrame]]
    sentence: str


def show(subject: Subject, chosen: Selection) -> None:
    """The view."""
    if subject.stored is None:
        st.info("A report gives no confidences: choose a network under “Figures of”.")
        return
    drawing = _drawing(subject.key, charts.ink(), subject)
    st.markdown(f"**{drawing.sentence}**")
    columns = st.columns(2, gap="large")
    with columns[0]:
        _show(drawing, subject, "reliability", "Reliability diagram: accuracy against mean confidence")
        _show(drawing, subject, "bins", "Number of predictions in each of the 15 bins of confidence")
    with columns[1]:
        _show(drawing, subject, "coverage", "Accuracy against coverage: only the most confident images are answered")
        _show(drawing, subject, "top", "Top-k accuracy: the true class is among the k most probable")
    texts.what_to_look_at(
        [
            "Below the dashed line the network is overconfident, above it underconfident.",
            "One temperature, fitted on validation images, moves the points to the line and changes no prediction.",
            "If the network may leave its least confident images out, its accuracy on the others rises.",
        ]
    )
    st.latex(
        r"\text{ECE} = \sum_b \frac{n_b}{N}\,\big|\text{accuracy}_b - \text{confidence}_b\big|,"
        r"\qquad p = \text{softmax}(z / T)"
    )


def _show(drawing: Drawing, subject: Subject, name: str, words: str) -> None:
    spec, table = drawing.charts[name]
    st.markdown(f"**{words}**")
    st.vega_lite_chart(spec=spec, width="stretch", alt=f"{words}: {subject.name}")
    downloads.chart(lambda ink: _drawing(subject.key, ink, subject).charts[name][0], table, f"{subject.name}-{name}")


@st.cache_resource(max_entries=64, show_spinner=False)
def _drawing(key: str, ink: str, _subject: Subject) -> Drawing:
    test = _subject.predictions
    states, sentence = _before_and_after(_subject)
    bins = pd.concat([_reliability(when, predictions) for when, predictions in states.items()])
    coverage, top = _coverage(test), _top_k(test)
    return Drawing(
        {
            "reliability": (accuracy_charts.reliability(bins[bins["images"] > 0], ink).to_dict(), bins),
            "bins": (accuracy_charts.bin_counts(bins).to_dict(), bins),
            "coverage": (accuracy_charts.coverage(coverage).to_dict(), coverage),
            "top": (accuracy_charts.top_k(top, ink).to_dict(), top),
        },
        sentence,
    )


def _before_and_after(subject: Subject) -> tuple[dict[str, Predictions], str]:
    """The test predictions before and, if there is one, after the fitted temperature; and both errors in words."""
    test = subject.predictions
    before = texts.percent(calibration.calibration_error(test))
    try:
        temperature = calibration.fit_temperature(subject.stored.validation)
    except ConvscopeError as error:
        return {"before": test}, f"On average confidence and accuracy are {before} apart. {error}"
    scaled = calibration.scaled(test, temperature)
    after = texts.percent(calibration.calibration_error(scaled))
    sentence = (
        f"On average confidence and accuracy are {before} apart (expected calibration error, 15 bins); after dividing "
        f"the logits by {temperature:.2f}, fitted on {len(subject.stored.validation):,} validation images, {after}."
    )
    return {"before": test, "after": scaled}, sentence


def _reliability(when: str, predictions: Predictions) -> pd.DataFrame:
    rows = [
        (when, entry.low, entry.high, entry.confidence, entry.accuracy.value, entry.accuracy.low, entry.accuracy.high,
         entry.accuracy.total)
        for entry in calibration.reliability(predictions)
    ]  # fmt: skip
    columns = ["when", "low edge", "high edge", "confidence", "accuracy", "low", "high", "images"]
    return pd.DataFrame(rows, columns=columns)


def _coverage(predictions: Predictions) -> pd.DataFrame:
    rows = [
        (point.answered.value, point.accuracy.value, point.accuracy.low, point.accuracy.high, point.threshold)
        for point in calibration.coverage(predictions)
    ]
    return pd.DataFrame(rows, columns=["answered", "accuracy", "low", "high", "threshold"])


def _top_k(predictions: Predictions) -> pd.DataFrame:
    most = min(5, predictions.logits.shape[1])
    shares = [calibration.top_k(predictions, k) for k in range(1, most + 1)]
    rows = [(k, share.value, share.low, share.high) for k, share in enumerate(shares, start=1)]
    return pd.DataFrame(rows, columns=["k", "accuracy", "low", "high"])
