"""Which units and maps are inactive, on one image and on a hundred: a part of the view of every layer."""

from collections.abc import Sequence

import streamlit as st

from engine import inactivity
from engine.inactivity import Inactivity
from engine.weights import Weights
from pages.common import downloads, jobs, strongest_images
from pages.feature_maps import charts
from pages.feature_maps.jobs import Counting, counting


def draw(network: Weights) -> None:
    """The button that counts them, and what was counted."""
    job = counting(network)
    st.markdown("**Inactive units over a hundred test images: who never responds?**")
    jobs.buttons(job, start="Count on 100 test images", key="inactive")
    jobs.follow(job, look=lambda: show(network, job))


def show(network: Weights, job: Counting) -> None:
    """The chart, and in words the layers in which most is dead."""
    if not job.counted:
        return
    rows = charts.inactive_table(job.counted)
    images = job.counted[0].images
    spec = charts.inactive(rows)
    st.info(inactivity.in_words(job.counted))
    st.altair_chart(spec, key="inactive_chart", alt="Share of inactive units and of inactive maps, layer by layer")
    st.caption(f"Measured on {images} test images. {of_all_images(network, job.counted)}")
    if job.complete:
        downloads.chart(spec, rows, f"{network.file_name}-inactive", "Inactive units", f"Inactive units of {network}")


def of_all_images(network: Weights, counted: Sequence[Inactivity]) -> str:
    """How many maps no test image excites at all, where the strongest images of each map are known."""
    index = strongest_images.index(network)
    if index is None:
        return "Once the strongest test images have been searched for, it also says which maps none of all excites."
    rectified = [index.of(layer.layer) for layer in counted if not layer.signed]
    dead = sum(inactivity.dead_maps(top) for top in rectified if top is not None)
    return f"Maps that none of all 10,000 test images excites: {dead}."
