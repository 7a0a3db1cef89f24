"""View "Live" of the Accuracy page: run the network now, on all test images or on disturbed ones."""

import threading
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from engine import accuracy_live, evaluation, perturbations, pictures
from engine.accuracy_live import LiveRun
from engine.errors import ConvscopeError
from engine.evaluation import Predictions, evaluate
from pages.common import accuracy_charts, accuracy_own, downloads, resources, selection, texts
from pages.common.selection import Selection

COUNTS = ("200", "500", "1000")
BATCH = 50


@dataclass(frozen=True)
class Job:
    """What is run: a network on the first test images of each class, disturbed or not; small enough to be a key."""

    network: str
    count: int
    kind: str
    strength: float


@dataclass(frozen=True)
class Desk:
    """All runs of this server by their job; one at a time computes, lest thirty readers wait for each other."""

    runs: dict[Job, LiveRun]
    turn: threading.Lock


@st.cache_resource
def _desk() -> Desk:
    return Desk({}, threading.Lock())


def show(chosen: Selection) -> None:
    """The view."""
    texts.headline(f"{chosen.title}, run now: are its answers the stored ones, and what if the images get worse?")
    if chosen.card.classes != resources.images("test").classes:
        raise ConvscopeError(
            f"{chosen.title} knows other classes than the shipped test images: choose another network."
        )
    left, right = st.columns(2, gap="large")
    with left:
        _show_whole(chosen)
        accuracy_own.show(chosen)
    with right:
        _show_disturbed(chosen)
    texts.what_to_look_at(
        [
            "Do the live answers agree with the stored ones? Then the figures on this page can be believed.",
            "Move the slider: at what strength do you yourself begin to doubt, and at what strength does the network?",
            "On fewer images the strokes are longer: small differences are then luck.",
        ]
    )
    st.latex(r"\text{pixel}' = \text{pixel} + s\,\varepsilon,\qquad \varepsilon \sim N(0, 1)\quad\text{(noise)}")


# All test images -----------------------------------------------------------------------------------------------


def _show_whole(chosen: Selection) -> None:
    test = resources.images("test")
    st.markdown(f"**{chosen.title} on all {len(test):,} test images**")
    job = Job(chosen.network, len(test), "noise", 0)
    run = _desk().runs.get(job)
    with st.container(horizontal=True, gap="small"):
        alive = run is not None and run.alive
        st.button("Run", key="live_run", disabled=alive, type="primary", on_click=_begin, args=(job,))
        st.button("Stop", key="live_stop", disabled=not alive, on_click=_end, args=(job,))
    if run is not None:
        _watch(job, run.alive)
        if run.result is not None:
            _compare_with_stored(chosen, run.result)


def _begin(job: Job) -> None:
    run = _desk().runs.get(job)
    if run is None or not run.alive:  # somebody else may just have begun the same
        _desk().runs[job] = _start(job)


def _end(job: Job) -> None:
    _desk().runs[job].stop()


def _compare_with_stored(chosen: Selection, live: Predictions) -> None:
    share = evaluation.accuracy(live)
    interval = f"{texts.percent(share.low)} to {texts.percent(share.high)}"
    st.metric("Right, live", texts.percent(share.value), help=f"95 % interval {interval}")
    if chosen.network != chosen.card.name:
        st.info("These are random weights: guessing would be right about one image in ten.")
        return
    stored = resources.predictions(chosen.card.name).test
    st.info(accuracy_live.in_words(accuracy_live.differences(live, stored)))


# Disturbed images ----------------------------------------------------------------------------------------------


def _show_disturbed(chosen: Selection) -> None:
    st.markdown(f"**{chosen.title} on disturbed images**")
    with st.container(horizontal=True, gap="small"):
        kind = selection.segments("Disturbance", tuple(perturbations.PERTURBATIONS), "disturbance")
        count = int(selection.segments("Images", COUNTS, "live_images"))
    offered = perturbations.PERTURBATIONS[kind]
    strength = st.slider(
        f"{kind}, {offered.unit}", float(offered.mildest), float(offered.strongest), float(offered.unchanged),
        float(offered.step), key=f"strength_{kind}", bind="query-params",
    )  # fmt: skip
    job = Job(chosen.network, count, kind, strength)
    run = _desk().runs.get(job)
    if run is None or run.stopped or run.error:
        run = _desk().runs[job] = _start(job)
    _show_examples(kind, strength)
    _watch(job, run.alive)
    _show_curve(job)


def _show_examples(kind: str, strength: float) -> None:
    st.image(_examples(kind, strength), output_format="PNG", width="stretch", alt=f"A test image of each class, {kind}")


@st.cache_data(max_entries=128, show_spinner=False)
def _examples(kind: str, strength: float) -> bytes:
    disturbed = perturbations.perturbed(_images(10), kind, strength)
    return pictures.png(pictures.contact_sheet(pictures.enlarged(disturbed, 96), 5))


def _show_curve(job: Job) -> None:
    """The accuracies that were measured so far with this kind of disturbance."""
    shares = {
        other.strength: evaluation.accuracy(run.result)
        for other, run in list(_desk().runs.items())
        if (other.network, other.count, other.kind) == (job.network, job.count, job.kind) and run.result is not None
    }
    if job.strength in shares:
        share = shares[job.strength]
        interval = f"95 % interval {texts.percent(share.low)} to {texts.percent(share.high)}"
        st.metric("Right", texts.percent(share.value), interval, delta_color="off", delta_arrow="off")
    if not shares:
        return
    rows = [(strength, share.value, share.low, share.high) for strength, share in sorted(shares.items())]
    table = pd.DataFrame(rows, columns=["strength", "accuracy", "low", "high"])
    offered = perturbations.PERTURBATIONS[job.kind]
    strengths = offered.mildest, offered.strongest
    spec = accuracy_charts.falling(table, f"{job.kind}, {offered.unit}", strengths).to_dict()
    st.vega_lite_chart(spec=spec, width="stretch", alt=f"Accuracy against the strength of {job.kind}")
    downloads.chart(spec, table, f"{job.network}-{job.kind}")


# Running -------------------------------------------------------------------------------------------------------


def _images(count: int) -> np.ndarray:
    """uint8 `[count, 32, 32, 3]`: as many test images of each class, the first ones."""
    return resources.images("test").images[_indices(count)]


def _indices(count: int) -> np.ndarray:
    of_class = resources.indices_by_class("test")
    return np.sort(np.concatenate([indices[: count // len(of_class)] for indices in of_class]))


def _start(job: Job) -> LiveRun:
    trained = resources.trained(job.network)
    indices = _indices(job.count)
    images, labels = resources.images("test").images[indices], resources.images("test").labels[indices]
    run = partial(
        evaluate, trained.model, labels=labels, input_size=trained.card.input_size, mean=trained.card.mean,
        std=trained.card.std, batch_size=BATCH,
    )  # fmt: skip
    turn = _desk().turn

    def work(note: object) -> Predictions:
        with turn:
            return run(perturbations.perturbed(images, job.kind, job.strength), on_batch=note)

    return LiveRun(work, job.count)


def _watch(job: Job, alive: bool) -> None:
    """Show how far a run is, twice a second while it is at work, and draw the page once more when it ends."""

    @st.fragment(run_every=0.5 if alive else None)
    def progress() -> None:
        run = _desk().runs[job]
        if run.error:
            st.error(run.error)
        elif run.stopped:
            st.caption(f"Stopped after {run.done:,} of {run.total:,} images.")
        elif run.result is None:
            st.progress(run.done / run.total, f"{run.done:,} of {run.total:,} images")
        if alive and not run.alive:
            st.rerun()

    progress()
