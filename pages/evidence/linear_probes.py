"""How much can be read off each layer by a weighted sum alone? (Zeiler & Fergus, table 7; Alain & Bengio)"""

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import probes
from engine.probes import Probes
from pages.common import downloads, jobs, layout, texts
from pages.common.selection import Selection
from pages.evidence import charts, code
from pages.evidence.jobs import probing, stored_probes


def draw(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    if not chosen.card.dataset.startswith("cifar10"):
        st.info("The images are of classes that this network does not know: choose one trained on CIFAR-10.")
        return
    stored = stored_probes(chosen.network)
    if stored is not None:
        draw_probes(chosen, stored, complete=True)
    else:
        job = probing(chosen.network)
        with row:
            jobs.buttons(job, start="Fit the probes", key="probes")
        if job.found is None and not job.alive:
            st.caption("Nobody has fitted probes to these weights yet: it takes some minutes. The app stays usable.")
        jobs.follow(job, look=lambda: job.found and draw_probes(chosen, job.found, job.complete))
    texts.what_to_look_at(
        "From bar to bar the classes become easier to separate linearly: where is the largest step?",
        "Does the last probe reach the network itself? Then all that is left to do there is one weighted sum.",
        "Choose untrained weights and fit the probes: what do the layers already give before training?",
    )
    st.latex(
        r"\min_{W,b}\ \operatorname{mean}_x\left[-\log\operatorname{softmax}(W f(x)+b)_y\right]+\tfrac{\lambda}{2}|W|^2"
    )


def draw_probes(chosen: Selection, found: Probes, complete: bool) -> None:
    """The bars, and what they say."""
    rows = table(found)
    spec = charts.probe_chart(rows, found.network_accuracy.value, 1 / len(chosen.card.classes))
    with layout.stage():
        st.altair_chart(spec, height="stretch", key="probes_chart", alt="Accuracy of a linear probe on each layer")
    st.info(probes.in_words(found))
    st.caption(
        f"Logistic regression on each layer's maps, averaged over {probes.GRID} × {probes.GRID} fields, and on the "
        f"pixels, averaged over {probes.PIXEL_GRID} × {probes.PIXEL_GRID}; fitted to {found.trained_on:,} training "
        f"images and tried on {found.tested_on:,} test images. Grey: the 95 % interval."
    )
    if complete:
        caption = f"How much a linear classifier reads off each layer of {chosen.network}"
        downloads.chart(spec, rows, f"{chosen.network.file_name}-probes", "Linear probes", caption)
        downloads.code(code.of_probes(chosen.network))


def table(found: Probes) -> pd.DataFrame:
    """One row per layer: `layer`, `features`, and its `accuracy` with the interval from `low` to `high`, 0-1."""
    rows = []
    for reading in found.readings:
        share = found.accuracy(reading)
        rows.append((reading.layer, reading.features, share.value, share.low, share.high))
    return pd.DataFrame(rows, columns=["layer", "features", "accuracy", "low", "high"])
