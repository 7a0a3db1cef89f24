"""View "before and after training" of the Filters page: the same filters before, halfway through and after it."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.filters.words import NO_PATTERN
from pages.common import downloads, layout, sheets, texts
from pages.common.selection import Selection
from pages.filters import charts, code, kernels


def show(chosen: Selection, row: DeltaGenerator) -> None:
    """The view; `row` is the place of its controls."""
    with row:
        form, scale = kernels.drawing_controls()
    name = chosen.card.name
    kept = kernels.snapshots(name, chosen.card.weights_sha256)
    moments = kept.moments
    descriptions = [kernels.describe(kept.kernels[index]) for index in moments.values()]
    with layout.stage():
        columns = st.columns(len(moments), gap="small")
    for column, (when, index) in zip(columns, moments.items(), strict=True):
        with column:
            epoch = kept.epochs[index]
            st.markdown(f"**{when}** (epoch {epoch})")
            picture = kernels.sheet(kept.kernels[index], form, scale)
            sheets.show(picture, f"All filters of the first layer, {when}")
            downloads.picture(f"Filters {when}", picture, f"{name}-filters-epoch-{epoch}.png")
    epochs = [kept.epochs[index] for index in moments.values()]
    downloads.code(code.of_first_layer(chosen.network, epochs, len(descriptions[0]), form, scale))
    table = charts.kinds_table(list(moments), descriptions)
    st.markdown("**Preferences of the filters**")
    chart = charts.kinds_chart(table, list(moments))
    st.altair_chart(chart, width="stretch", alt=f"How many filters prefer what: {', '.join(moments)}")
    downloads.chart(chart, table, f"{name}-filters-in-training", "Preferences of the filters")
    clear = [sum(one.kind != NO_PATTERN for one in at_moment) for at_moment in descriptions]
    counts = ", ".join(f"{count} {when}" for count, when in zip(clear, moments, strict=True))
    st.info(
        f"Filters with a clear preference: {counts}, of {len(descriptions[0])}. (Of random filters, about 1 in 20 "
        "looks clear by chance.)"
    )
    texts.what_to_look_at(
        "Find the same number in all three sheets: from which epoch on can you tell what it responds to?",
        'Scale "all together": training also decides which filters become strong.',
        "Much of the change happens early: compare halfway with the end.",
    )
    st.latex(r"w \leftarrow w - \eta\,\frac{\partial\,\text{loss}}{\partial w}")
