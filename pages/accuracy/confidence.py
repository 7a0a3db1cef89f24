"""View "Confidence" of the Accuracy page: is the confidence of a network calibrated?"""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from engine.accuracy import calibration
from engine.accuracy.predictions import Predictions
from engine.errors import ConvscopeError
from pages.accuracy import charts, code
from pages.accuracy.subject import Subject
from pages.accuracy.tables import shares_table
from pages.common import downloads, texts
from pages.common.charts import ink
from pages.common.selection import Selection


@dataclass(frozen=True)
class Charts:
    """The view's charts (Vega-Lite specs) with their tables, by name, and the calibration error in words."""

    charts: dict[str, tuple[dict[str, Any], pd.DataFrame]]
    sentence: str


def show(subject: Subject, chosen: Selection) -> None:
    """The view."""
    if subject.stored is None:
        st.info("A report gives no confidences: choose a network under “Figures of”.")
        return
    view = _charts(subject.key, ink(), subject)
    st.markdown(f"**{view.sentence}**")
    downloads.code(code.of_confidence(subject.name))
    left, right = st.columns(2, gap="large")
    with left:
        _show_chart(view, subject, "reliability", "Reliability diagram: accuracy against mean confidence")
        _show_chart(view, subject, "bins", "Number of predictions in each of the 15 bins of confidence")
    with right:
        title = "Accuracy against coverage: only the most confident images are answered"
        _show_chart(view, subject, "coverage", title)
        _show_chart(view, subject, "top", "Top-k accuracy: the true class is among the k most probable")
    texts.what_to_look_at(
        "Below the dashed line the network is overconfident, above it underconfident.",
        "One temperature, fitted on validation images, mostly moves points towards the line; no prediction changes.",
        "If the network may leave its least confident images out, its accuracy on the others rises.",
    )
    st.latex(
        r"\text{ECE} = \sum_b \frac{n_b}{N}\,\big|\text{accuracy}_b - \text{confidence}_b\big|,"
        r"\qquad p = \text{softmax}(z / T)"
    )


def _show_chart(view: Charts, subject: Subject, name: str, title: str) -> None:
    spec, table = view.charts[name]
    st.markdown(f"**{title}**")
    st.vega_lite_chart(spec=spec, width="stretch", alt=f"{title}: {subject.name}")

    def drawing(ink: str) -> dict[str, Any]:
        return _charts(subject.key, ink, subject).charts[name][0]

    downloads.chart(drawing, table, f"{subject.name}-{name}", title.partition(":")[0], title)


@st.cache_resource(max_entries=64, show_spinner=False)
def _charts(key: str, ink: str, _subject: Subject) -> Charts:
    test = _subject.predictions
    states, sentence = _before_and_after(_subject)
    bins = pd.concat([_reliability(when, predictions) for when, predictions in states.items()])
    coverage, top = _coverage(test), _top_k(test)
    return Charts(
        {
            "reliability": (charts.reliability(bins[bins["images"] > 0], ink).to_dict(), bins),
            "bins": (charts.bin_counts(bins).to_dict(), bins),
            "coverage": (charts.coverage(coverage).to_dict(), coverage),
            "top": (charts.top_k(top, ink).to_dict(), top),
        },
        sentence,
    )


def _before_and_after(subject: Subject) -> tuple[dict[str, Predictions], str]:
    """The test predictions before and, if there is one, after the fitted temperature; and both errors in words."""
    test, validation = subject.predictions, subject.stored.validation
    before = texts.percent(calibration.calibration_error(test))
    try:
        temperature = calibration.fit_temperature(validation)
    except ConvscopeError as error:
        return {"before": test}, f"On average confidence and accuracy are {before} apart. {error}"
    scaled = calibration.scaled(test, temperature)
    after = texts.percent(calibration.calibration_error(scaled))
    sentence = (
        f"On average confidence and accuracy are {before} apart (expected calibration error, 15 bins); after dividing "
        f"the logits by {temperature:.2f}, fitted on {len(validation):,} validation images, {after}."
    )
    return {"before": test, "after": scaled}, sentence


def _reliability(when: str, predictions: Predictions) -> pd.DataFrame:
    bins = calibration.reliability(predictions)
    table = shares_table([entry.accuracy for entry in bins], when=when)
    table["confidence"] = [entry.confidence for entry in bins]
    table["low edge"], table["high edge"] = [entry.low for entry in bins], [entry.high for entry in bins]
    return table


def _coverage(predictions: Predictions) -> pd.DataFrame:
    points = calibration.coverage(predictions)
    table = shares_table([point.accuracy for point in points], answered=[point.answered.value for point in points])
    table["threshold"] = [point.threshold for point in points]
    return table


def _top_k(predictions: Predictions) -> pd.DataFrame:
    ranks = range(1, min(5, predictions.logits.shape[1]) + 1)
    return shares_table([calibration.top_k(predictions, k) for k in ranks], k=ranks)
