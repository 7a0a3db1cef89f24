"""View "Live" of the Accuracy page: run the network now, on all test images or on perturbed ones."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import pictures
from engine.accuracy import live as accuracy_live
from engine.accuracy.figures import Share, accuracy
from engine.accuracy.predictions import Predictions
from engine.data import perturbations
from engine.errors import ConvscopeError
from engine.weights import TRAINED, UNTRAINED, when
from pages.accuracy import charts, code, jobs, own_images
from pages.accuracy.jobs import PerturbedTest
from pages.accuracy.tables import interval, shares_table
from pages.common import downloads, layout, resources, selection, texts
from pages.common.jobs import buttons, follow, panel
from pages.common.selection import Selection

COUNTS = ("200", "500", "1000")


def headline(chosen: Selection) -> str:
    """What the view shows, in one line."""
    question = "are its predictions the stored ones, and what do worse images do to its accuracy?"
    return f"{chosen.network}, run now: {question}"


def show(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    if chosen.card.classes != resources.images("test").classes:
        raise ConvscopeError(
            f"{chosen.network} has other classes than the shipped test images: choose another network."
        )
    _show_perturbed(chosen, row)
    left, right = st.columns(2, gap="large")
    with left:
        _show_whole(chosen)
    with right:
        own_images.show(chosen)
    texts.what_to_look_at(
        "Do the live predictions match the stored ones? Then the figures on this page can be reproduced.",
        "Move the slider: at what strength do you yourself begin to doubt, and at what strength does the network?",
        "On fewer images the intervals are wider: small differences are then chance.",
    )
    st.latex(r"\text{pixel}' = \text{pixel} + s\,\varepsilon,\qquad \varepsilon \sim N(0, 1)\quad\text{(noise)}")


# All test images -----------------------------------------------------------------------------------------------


def _show_whole(chosen: Selection) -> None:
    test = resources.images("test")
    st.markdown(f"**{texts.plain(chosen.network)} on all {len(test):,} test images**")
    job = jobs.whole(chosen.network)
    panel(job, start="Run", again="Run", key="live")
    if (result := job.result) is not None:  # read once: another reader may begin anew at any time
        _compare_with_stored(chosen, result)


def _compare_with_stored(chosen: Selection, live: Predictions) -> None:
    share = accuracy(live)
    st.metric("Accuracy, live", texts.percent(share.value), help=interval(share))
    if chosen.network.moment == UNTRAINED and not chosen.card.base:
        st.info("These are random weights: guessing reaches an accuracy of 10 %.")
        return
    if chosen.network.moment != TRAINED:
        trained = texts.percent(chosen.card.test_accuracy)
        st.info(f"This is the network {when(chosen.network.moment)}; trained, its accuracy is {trained}.")
        return
    stored = resources.predictions(chosen.network).test
    st.info(accuracy_live.in_words(accuracy_live.differences(live, stored)))


# Perturbed images ----------------------------------------------------------------------------------------------


def _show_perturbed(chosen: Selection, row: DeltaGenerator) -> None:
    with row:
        kind = selection.segments("Perturbation", tuple(perturbations.PERTURBATIONS), "disturbance")
        count = int(selection.segments("Images", COUNTS, "images_tested"))
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        strength = _strength(kind)
        job = jobs.perturbed(PerturbedTest(chosen.network, count, kind, strength))
        buttons(job, start="Run", key="live_perturbed")
    follow(job)
    with st.container(key="under_a_slider"), layout.stage():
        figure, curve = st.columns([1, 1.15], gap="large")
    with figure:
        st.image(
            _examples(kind, strength), output_format="PNG", width="stretch", alt=f"A test image of each class, {kind}"
        )
        if (result := job.result) is not None:
            _show_share(accuracy(result))
            downloads.code(code.of_perturbed(job.test))
    with curve:
        _show_curve(job.test)


def _strength(kind: str) -> float:
    """One of the strengths on offer, kept in the link."""
    offered = perturbations.PERTURBATIONS[kind]
    strengths = [f"{strength:g}" for strength in offered.strengths]
    return float(selection.steps(f"{kind}, {offered.unit}", strengths, f"strength_{kind}", f"{offered.unchanged:g}"))


@st.cache_data(max_entries=128, show_spinner=False)
def _examples(kind: str, strength: float) -> bytes:
    images = perturbations.perturbed(jobs.first_images(10).images, kind, strength)
    return pictures.png(pictures.sheet(pictures.enlarged(images, 96), 4))


def _show_share(share: Share) -> None:
    st.metric("Accuracy", texts.percent(share.value), interval(share), delta_color="off", delta_arrow="off")


def _show_curve(test: PerturbedTest) -> None:
    """The accuracies that were measured so far with this kind of perturbation."""
    kept = jobs.results().by_strength(test)
    if not kept:
        return
    table = shares_table([accuracy(predictions) for predictions in kept.values()], strength=list(kept))
    offered = perturbations.PERTURBATIONS[test.kind]
    strengths = offered.mildest, offered.strongest
    spec = charts.accuracy_by_strength(table, f"{test.kind}, {offered.unit}", strengths).to_dict()
    st.vega_lite_chart(spec=spec, height="stretch", alt=f"Accuracy against the strength of {test.kind}")
    downloads.chart(spec, table, f"{test.network.file_name}-{test.kind}", f"Accuracy against {test.kind}")
