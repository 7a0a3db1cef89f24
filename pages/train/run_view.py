"""A run as it goes on: where it stands, its curves, and its first filters."""

import streamlit as st

from engine.training import estimate
from engine.training.curves import StepCurve, best_epoch
from engine.training.queue import jobs
from engine.training.records import EpochRecord, Status
from engine.training.run import RunFolder
from pages.common import sheets, texts
from pages.train import charts, files

WORDS = {
    "queued": "waits for its turn",
    "running": "is training",
    "measuring": "is training",
    "paused": "is paused",
    "stopped": "was stopped",
    "finished": "has finished",
    "failed": "has failed",
    "interrupted": "was interrupted",
}
"""What the page says of a state; measuring comes after every epoch and is no news."""

SMALLER_FIGURES = """<style>
.st-key-train_figures [data-testid="stMetricValue"] { font-size: 1.9rem; min-width: 6.5rem; }
</style>"""


def in_words(status: Status, place: int = 0) -> str:
    """What a run is doing: "is training", "waits for its turn: number 2 in the queue"."""
    if status.state == "queued" and place > 0:
        return f"{WORDS['queued']}: number {place} in the queue"
    return WORDS[status.state]


# Figures -------------------------------------------------------------------------------------------------------


def show_figures(status: Status, history: list[EpochRecord], input_size: int) -> None:
    """A row of figures, and how far the run is; `input_size` is the side of the images at its end."""
    best = best_epoch(history, input_size)
    figures = {
        "Epoch": f"{_present_epoch(status)} of {status.epochs}",
        "Validation accuracy": texts.percent(history[-1].val_accuracy) if history else "…",
        "Best so far": texts.percent(best.val_accuracy) if best else "…",
        "Learning rate": _or_dots(status.learning_rate, "{:.2g}"),
        "Images per second": _or_dots(status.images_per_second, "{:,.0f}"),
        "Time left, about": estimate.in_words(status.seconds_left) if status.seconds_left is not None else "–",
    }
    st.html(SMALLER_FIGURES)
    with st.container(horizontal=True, gap="large", key="train_figures"):
        for label, value in figures.items():
            st.metric(label, value, width="content")
    st.progress(_share_done(status))


def _present_epoch(status: Status) -> int:
    """The epoch that is under way, or the last one."""
    under_way = status.state in ("running", "measuring", "paused")
    return min(status.epoch + under_way, status.epochs)


def _or_dots(value: float | None, form: str) -> str:
    return "…" if value is None else form.format(value)


def _share_done(status: Status) -> float:
    """How much of the run is done, 0 to 1."""
    within = status.step / status.steps_per_epoch if status.steps_per_epoch else 0.0
    return min(1.0, (status.epoch + within) / max(1, status.epochs))


HEIGHTS = """<style>
.st-key-stage_curves { --height: max(22.5rem, 42vh); }
.st-key-stage_rate { --height: max(12.5rem, 20vh); }
</style>"""
"""Of the curves: they grow with the screen, as their letters do."""


# Curves --------------------------------------------------------------------------------------------------------


def show_curves(status: Status, history: list[EpochRecord], steps: StepCurve) -> None:
    """Loss and accuracy side by side, and the learning rate below."""
    epochs = max(1, status.epochs)
    st.html(HEIGHTS)
    with st.container(key="stage_curves"):
        left, right = st.columns(2, gap="small")
    losses, accuracies, rates = charts.loss_rows(history, steps), charts.accuracy_rows(history), charts.rate_rows(steps)
    left.vega_lite_chart(
        losses, charts.loss_spec(epochs), height="stretch", key="train-loss", alt="Loss against epochs"
    )
    right.vega_lite_chart(
        accuracies, charts.accuracy_spec(epochs), height="stretch", key="train-accuracy", alt="Accuracy against epochs"
    )
    with st.container(key="stage_rate"):
        st.vega_lite_chart(
            rates, charts.rate_spec(epochs), height="stretch", key="train-rate", alt="Learning rate against epochs"
        )


# Filters -------------------------------------------------------------------------------------------------------


def show_filters(folder: RunFolder) -> None:
    """The first layer's filters now, large, and before training, on one scale."""
    filters = files.filters(folder)
    if filters is None:
        st.caption("The first layer's filters appear here as soon as training begins.")
        return
    st.markdown(f"**The {filters.count} filters of the first layer, now**")
    sheets.show(filters.now, "The first layer's filters now")
    label, picture = st.columns([1, 2.2], gap="small")
    with label:
        st.markdown("**Before training**")
        st.caption("Both on one scale: grey is zero, and stronger weights are more colourful.")
    with picture:
        sheets.show(filters.before, "The first layer's filters before training")


# The queue, and keeping ----------------------------------------------------------------------------------------


def show_keeping(folder: RunFolder) -> None:
    """How the keeping of the run's model goes on, if somebody has asked for it."""
    keeping = jobs.keeping(folder)
    if keeping is None:
        return
    name, message = texts.plain(keeping.name), texts.plain(keeping.message)
    if keeping.state == "working":
        st.info(f"Keeping the model as **{name}**: it answers the test images …", icon="⏳")
    elif keeping.state == "failed":
        st.error(message, icon="⚠️")
    else:
        st.success(f"Kept as **{name}**: all pages offer it now. {message}", icon="✅")
