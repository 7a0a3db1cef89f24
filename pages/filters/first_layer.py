"""View "first layer" of the Filters page: all filters at one moment of training, and one of them in detail."""

from dataclasses import dataclass
from functools import partial

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from engine import filters
from engine.errors import ConvscopeError
from engine.filters import Tuning
from engine.filters.sheets import GAP, columns
from engine.filters.words import NO_PATTERN, Description
from engine.network.convolution import first_convolution
from engine.weights import TRAINED, UNTRAINED, when
from pages.common import controls, downloads, layout, resources, selection, sheets, texts, touch
from pages.common.selection import Selection
from pages.common.touch import Grid
from pages.filters import charts, code, kernels


@dataclass(frozen=True)
class Moment:
    """The first layer's kernels `[O, 3, k, k]` at a moment of training, which `words` names.

    `epoch`: of the kept kernels that they are; None for those of the network itself.
    """

    kernels: Tensor
    words: str
    epoch: int | None = None


def show(chosen: Selection, row: DeltaGenerator) -> None:
    """The view; `row` is the place of its controls."""
    with row:
        moment = _choose_moment(chosen)
        descriptions = kernels.describe(moment.kernels)
        count = len(descriptions)
        number = selection.number_in_link(f"Filter (0 to {count - 1})", "channel", count)
        form, scale = kernels.drawing_controls()
    with layout.stage():
        sheet, filter_column, response = st.columns([1.8, 0.85, 2.05], gap="small")
    with sheet:
        picture = kernels.sheet(moment.kernels, form, scale)
        _show_filters(picture, f"{form}, {scale}", descriptions, number)
        st.markdown(f"**{count} filters** {moment.words}")
        st.caption("Mid-grey is zero, bright is positive, dark is negative. Click a filter to enlarge it.")
        name, caption = chosen.card.name, f"{count} filters {moment.words}"
        downloads.picture("Filters", picture, f"{name}-filters.png", caption)
        downloads.table("Filters", descriptions_table(descriptions), f"{name}-filters.csv")
    with filter_column:
        _show_one(number, descriptions[number], kernels.enlarged(moment.kernels, form, scale, number))
    with response:
        _show_responses(number, kernels.tuning(moment.kernels))
    downloads.code(code.of_first_layer(chosen.network, [moment.epoch], count, form, scale))
    st.info(summary(descriptions))
    with st.expander("All filters in words"):
        table = descriptions_table(descriptions)
        st.dataframe(table[["filter", "prefers", "explained"]], hide_index=True, row_height=44)
    texts.what_to_look_at(
        "Edges and stripes in all directions, and plain colours: what a first layer usually learns.",
        "Move the slider to 0: what was there before training? Random weights are noise, without a clear orientation.",
        "Grey filters respond to shapes, coloured ones to colours: which of them respond to fine stripes?",
    )
    st.latex(
        r"\text{response}(f,\theta) = \max_{\varphi,\,\|c\|=1}\ \sum_{k,x,y} (w_{k,x,y} - \bar w_k)\; c_k\,"
        r"\cos\!\big(2\pi f\,(x\cos\theta + y\sin\theta) - \varphi\big)"
    )


def _choose_moment(chosen: Selection) -> Moment:
    """The epoch that a slider picks; a network before its end, or without kept kernels, has only its own."""
    if chosen.network.moment != TRAINED:
        random = "with random weights, " if chosen.network.moment == UNTRAINED and not chosen.card.base else ""
        return Moment(_own_kernels(chosen), random + when(chosen.network.moment))
    try:
        kept = kernels.snapshots(chosen.card.name, chosen.card.weights_sha256)
    except ConvscopeError as error:
        st.caption(str(error))
        return Moment(_own_kernels(chosen), "after training")
    if len(kept.epochs) == 1:
        return Moment(_own_kernels(chosen), "after training")
    usual = kept.epochs[kept.index_after(chosen.card.best_epoch)]
    epochs = [str(epoch) for epoch in kept.epochs]
    epoch = selection.steps("Epoch (0 is before training)", epochs, "epoch", str(usual))
    words = "before training" if epoch == "0" else f"after epoch {epoch} of {chosen.card.epochs}"
    return Moment(kept.kernels[epochs.index(epoch)], words, int(epoch))


def _own_kernels(chosen: Selection) -> Tensor:
    """The kernels of the network itself, as it is used on all pages."""
    model = resources.trained(chosen.network).model
    return filters.kernels(model, first_convolution(model))


def _show_filters(picture: bytes, drawing: str, descriptions: tuple[Description, ...], number: int) -> None:
    words = [f"filter {index}: {one.text}" for index, one in enumerate(descriptions)]
    grid = Grid(len(words), columns(len(words)), GAP, GAP, words)
    alt = f"All filters of the first layer, {drawing}"
    touch.show(picture, alt, "filters", grid, "Filter", number, partial(controls.put, "channel"))


def _show_one(number: int, description: Description, picture: bytes) -> None:
    """One filter, large, and in words."""
    sheets.show(picture, f"Filter {number}: {description.text}")
    st.markdown(f"#### {description.text}")
    st.caption(_measured(description))


def _show_responses(number: int, tuning: Tuning) -> None:
    """How a filter responds to gratings."""
    responses = responses_table(tuning, number)
    alt = f"Response of filter {number} to stripes, by their orientation and frequency"
    chart = charts.response_chart(responses)
    st.altair_chart(chart, height="stretch", alt=alt)
    downloads.chart(chart, responses, f"filter-{number}-responses", f"Responses of filter {number}")


def _measured(description: Description) -> str:
    """The figures behind the words."""
    share, noise = texts.percent(description.explained), texts.percent(description.noise)
    if description.kind == NO_PATTERN:
        return (
            f"Its best pattern explains {share} of the filter, no more than a best pattern explains of noise ({noise})."
        )
    if description.orientation is None:
        return f"Its best pattern explains {share} of the filter (of a random one: at most {noise})."
    return (
        f"Best stripes: at {description.orientation:.0f}° (0° is horizontal), {description.period:.1f} px from one to "
        f"the next. They explain {share} of the filter (of a random one: at most {noise})."
    )


def summary(descriptions: tuple[Description, ...]) -> str:
    """How many filters prefer what."""
    counts = {kind: sum(one.kind == kind for one in descriptions) for kind in charts.KINDS}
    unclear, total = counts.pop(NO_PATTERN), len(descriptions)
    clear = ", ".join(f"{count} {kind if count > 1 else kind[:-1]}" for kind, count in counts.items() if count)
    prefer = f"Of {total} filters, {clear}" if clear else f"None of the {total} filters is clear"
    return f"{prefer}; {unclear} with {NO_PATTERN}." if unclear else f"{prefer}."


# Tables --------------------------------------------------------------------------------------------------------


def descriptions_table(descriptions: tuple[Description, ...]) -> pd.DataFrame:
    """A row per filter: what it prefers."""
    return pd.DataFrame(
        {
            "filter": range(len(descriptions)),
            "prefers": [one.text for one in descriptions],
            "orientation_degrees": [one.orientation for one in descriptions],
            "period_px": [None if one.period is None else round(one.period, 2) for one in descriptions],
            "colour": [one.colour for one in descriptions],
            "explained": [round(one.explained, 3) for one in descriptions],
            "of_noise": [round(one.noise, 3) for one in descriptions],
        }
    )


def responses_table(tuning: Tuning, number: int) -> pd.DataFrame:
    """Long table of one filter's responses: orientation of the stripes (degrees), stripes per pixel, response."""
    rows = [
        ((90 - direction) % 180, frequency, float(tuning.responses[number, f, d]))
        for f, frequency in enumerate(tuning.gratings.frequencies)
        for d, direction in enumerate(tuning.gratings.directions)
    ]
    return pd.DataFrame(rows, columns=["orientation", "frequency", "response"])
