"""Learning curves: how trainings went, epoch by epoch, and what that says of them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from engine.errors import ConvscopeError
from engine.training import comparisons, curves, histories, verdicts
from engine.training.comparisons import CurveComparison
from engine.training.histories import History, HistoryFolder
from engine.training.run import RunFolder
from pages.common import downloads, layout, selection, texts
from pages.common.charts import ink
from pages.common.controls import Option, bound, notice
from pages.learning_curves import as_reported, charts, code, images_per_class
from pages.learning_curves.charts import AXES, IMAGES, SCALES, SMOOTHING, Style
from pages.learning_curves.reading import HistoryVersion, history, ready_made, usual_curves, version

OWN_CHOICE = "my choice"
OPTIONS = {
    "axis": Option("against", AXES),
    "measured_on": Option("images", tuple(IMAGES)),
    "loss_scale": Option("loss", SCALES),
    "smoothing": Option("smoothing", tuple(SMOOTHING)),
    "reports": Option("the reports' figures", (True, False)),
}
EVERY = 2.0  # seconds, after which the page looks again at a training that goes on


# What is chosen ------------------------------------------------------------------------------------------------


def choose_comparison(places: Mapping[str, HistoryFolder]) -> CurveComparison | None:
    """The ready-made comparison that the reader chose, if any."""
    ready = ready_made(places)
    if images_per_class.measured():
        ready[images_per_class.COMPARISON.name] = images_per_class.COMPARISON
    return ready.get(selection.segments("Compare", [OWN_CHOICE, *ready], "comparison"))


def own_choice(keys: list[str]) -> list[str]:
    """The curves that the reader picked, which are part of the link; a warning names an unknown one."""
    default = usual_curves(keys)
    bound("curves", default)
    unknown = [key for key in st.query_params.get_all("curves") if key and key not in keys]
    if unknown:
        notice(f"There is no learning curve {unknown[0][:20]!r} here: it is left out.")
    kept = [key for key in st.session_state.get("curves", []) if key in keys]
    if "curves" in st.session_state and len(kept) < len(st.session_state["curves"]):
        st.session_state["curves"] = kept
    why = "Checkpoints stand there by name; experiments and runs of the Train page with their folder."
    control = {"key": "curves", "bind": "query-params", "max_selections": charts.MOST}
    return st.multiselect("Curves", keys, default=default, help=why, **control)


def choose_style() -> Style:
    """How the curves are drawn."""
    with layout.options(OPTIONS):
        axis = selection.segments("Against", AXES, "axis")
        images = selection.segments("Images", tuple(IMAGES), "measured_on")
        scale = selection.segments("Loss", SCALES, "loss_scale")
        smoothing = selection.segments("Smoothing", tuple(SMOOTHING), "smoothing")
        why = "Long-dashed lines: what the reports measured on CIFAR-10 with the same kind of network."
        reports = selection.switch("The reports' figures", "reports", True, why)
    return Style(axis == "time", IMAGES[images], scale == "log", SMOOTHING[smoothing], reports)


# What is shown -------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=64, show_spinner=False)
def drawing(
    versions: tuple[HistoryVersion, ...], metric: str, style: Style, ink: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The chart (a Vega-Lite spec), with names for a page of that ink, and its numbers."""
    chosen = [history(version) for version in versions]
    return charts.chart(chosen, metric, style, ink).to_dict(), charts.rows(chosen, metric, style)


def show_charts(versions: tuple[HistoryVersion, ...], style: Style) -> None:
    """Loss and accuracy side by side."""
    against = "time" if style.time else "epochs"
    with layout.stage():
        columns = st.columns(2, gap="small")
    for column, metric in zip(columns, ("loss", "accuracy"), strict=True):
        spec, numbers = drawing(versions, metric, style, ink())
        with column:
            st.vega_lite_chart(spec, height="stretch", alt=f"Learning curves: {metric} against {against}")
            downloads.chart(
                partial(_spec, versions, metric, style),
                numbers,
                f"learning-curves-{metric}",
                metric.capitalize(),
                f"{metric} against {against}",
            )
    st.caption(
        "A ring marks the best epoch: of the lowest validation loss on the left, of the highest validation accuracy on "
        "the right. A dotted upright line marks images of a new size; across it losses cannot be compared. "
        + charts.meaning_of_mark([history(version) for version in versions], style)
    )


def _spec(versions: tuple[HistoryVersion, ...], metric: str, style: Style, ink: str) -> dict[str, Any]:
    return drawing(versions, metric, style, ink)[0]


def show_verdicts(chosen: Sequence[History]) -> None:
    """One computed sentence for each curve."""
    names = charts.labels(chosen)
    lines = [f"- **{texts.plain(names[one.key])}.** {verdicts.verdict(one.table).sentence}" for one in chosen]
    st.markdown("\n".join(lines))


def figures(name: str, one: History) -> dict[str, str]:
    """A line of the table: the best epochs, and what was measured at the one of the highest validation accuracy."""
    by_loss, by_accuracy = curves.best_epochs(one.table)
    kept = curves.kept_epoch(one.table)
    gap = curves.gaps(one.table).set_index("epoch").loc[int(kept.name)]
    return {
        "curve": name,
        "epochs": str(len(one.table)),
        "best by loss": _epoch(by_loss),
        "best by accuracy": _epoch(by_accuracy),
        "train loss": _number(kept["train_loss"]),
        "validation loss": _number(kept["val_loss"]),
        "test loss": _number(one.test_loss),
        "gap": _number(gap["loss"]),
        "train": _share(kept["train_accuracy"]),
        "validation": _share(kept["val_accuracy"]),
        "test": _share(one.test_accuracy),
    }


def _epoch(epoch: int | None) -> str:
    return "none" if epoch is None else f"epoch {epoch}"


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def _share(value: float) -> str:
    return "" if pd.isna(value) else texts.percent(value)


def show_table(chosen: Sequence[History]) -> None:
    """Loss and accuracy on training, validation and test images."""
    names = charts.labels(chosen)
    table = pd.DataFrame([figures(names[one.key], one) for one in chosen])
    st.table(table.set_index(table["curve"].map(texts.plain)).drop(columns="curve"))
    st.caption(
        "Measured at the epoch of the highest validation accuracy, whose weights are kept: training figures on at "
        "most 5,000 training images, as they are, test figures once, from the stored weights. A run that was not kept "
        "has none."
    )
    downloads.table("Table", table, "learning-curves-table.csv")


def explain() -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(
        "Where do training and validation part? The gap is that of generalisation; where the validation loss rises, "
        "the network overfits.",
        "Is the best epoch by loss also the best by accuracy? Where it comes earlier, the network grew too sure.",
        "Against time, a small network may be the best one for a while.",
    )
    st.latex(r"\text{gap} = L_\text{validation} - L_\text{training},\qquad L = -\frac{1}{n}\sum_{i=1}^{n} \log p_i")


def readable(places: Sequence[HistoryFolder]) -> list[HistoryVersion]:
    """The newest versions of those histories that can be read; the others are named."""
    versions = []
    for place in places:
        with texts.readable_errors():
            newest = version(place)
            history(newest)
            versions.append(newest)
    return versions


def any_alive(places: Sequence[HistoryFolder]) -> bool:
    """Whether one of the trainings goes on."""
    return any(place.source == "runs" and RunFolder(place.path).alive for place in places)


def show(places: Sequence[HistoryFolder], style: Style, was_alive: bool) -> None:
    """Charts, verdicts and table, of the histories as they are now."""
    versions = readable(places)
    if versions:
        chosen = [history(version) for version in versions]
        show_charts(tuple(versions), style)
        show_verdicts(chosen)
        show_table(chosen)
        downloads.code(code.of([one.key for one in chosen], style))
    if was_alive and not any_alive(places):
        st.rerun()


def main() -> None:
    """The page."""
    places = histories.find()
    if not places:
        raise ConvscopeError("There is no learning curve yet: train a network on the page Train.")
    statement = st.container()
    with layout.row():
        comparison = choose_comparison(places)
        if of_curves := comparison is not images_per_class.COMPARISON:
            keys = list(comparison.keys[: charts.MOST]) if comparison else own_choice(list(places))
            style = choose_style()
    with statement:
        question = comparison.question if comparison else ""
        texts.headline(question or "How training went, epoch by epoch, and when it should have stopped")
    if of_curves:
        draw_curves([places[key] for key in keys], style, comparison is not None)
        if comparison and comparison.name == comparisons.AS_REPORTED.name:
            as_reported.show()
    else:
        images_per_class.show()


def draw_curves(chosen: Sequence[HistoryFolder], style: Style, compared: bool) -> None:
    """The view of epochs, and whether it is a comparison, of whose arms the budget is said."""
    if not chosen:
        st.info("Choose at least one curve.")
        return
    alive = any_alive(chosen)
    st.fragment(show, run_every=EVERY if alive else None)(chosen, style, alive)
    if compared:
        st.caption(texts.plain(comparisons.budget_in_words(history(version).budget for version in readable(chosen))))
    explain()


main()
