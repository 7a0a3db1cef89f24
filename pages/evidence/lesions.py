"""Parts of the network are switched off: what can it still do? (Zeiler & Fergus, table 3, without training again)"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import deconv, lesions
from engine.accuracy.figures import accuracy, accuracy_per_class
from engine.accuracy.predictions import Predictions
from engine.lesions import RESIDUAL, SHORTCUT
from pages.common import downloads, jobs, layout, resources, selection, texts
from pages.common.controls import Option
from pages.common.selection import Selection
from pages.evidence import charts, code
from pages.evidence.jobs import Lesion, operation_on

CHANNELS = "channels"
STRONGEST, AT_RANDOM = WHICH = ("strongest on this image", "at random")
COUNTS = ("1", "2", "4", "8", "16", "32", "64", "128", "256")
SEEDS = 1000


def draw(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    card = chosen.card
    if not card.dataset.startswith("cifar10"):
        st.info("The test images are of classes that this network does not know: choose one trained on CIFAR-10.")
        return
    with row:
        lesion = draw_controls(chosen)
        job = operation_on(chosen.network, lesion.layer)
        job.ask(lesion)
        jobs.buttons(job, start="Start", key="lesion")
    jobs.follow(job, look=lambda: draw_figures(chosen, lesion, job.found))
    downloads.code(code.of_lesion(chosen.view(), lesion, job.of_each_class))
    texts.what_to_look_at(
        "The strongest maps of this image against as many at random: which lesion hurts its class more?",
        "Near the pixels a few maps cost every class; deep down they cost some classes, and others hardly notice.",
        "A ResNet without one block's residual still works: the shortcut carries the image past it. Which costs most?",
    )
    st.latex(r"A_k:=0\ \text{ for the chosen maps } k")


def draw_controls(chosen: Selection) -> Lesion:
    """What is switched off: maps of the sidebar's layer, or one branch of a block."""
    blocks = lesions.blocks(resources.trained(chosen.network).model)
    parts = (CHANNELS, RESIDUAL, SHORTCUT) if blocks else (CHANNELS,)
    beside = st.container(width="stretch")
    offered = {"part": Option("part", parts), "which": Option("which", WHICH), "seed": Option("seed", range(SEEDS))}
    with layout.options(offered):
        part = selection.segments("Switch off", parts, "part")
        which = selection.segments("Which", WHICH, "which", disabled=part != CHANNELS)
        at_random = part == CHANNELS and which == AT_RANDOM
        seed = selection.number_in_link("Seed of the choice", "seed", SEEDS, disabled=not at_random)
    with beside:
        if part != CHANNELS:
            block = selection.choose("of block", "of_block", list(blocks), blocks[-1])
            return Lesion(chosen.layer, block=block, branch=part)
        return Lesion(chosen.layer, channels_of(chosen, which, seed))


def channels_of(chosen: Selection, which: str, seed: int) -> tuple[int, ...]:
    """As many maps of the sidebar's layer as the reader asks for."""
    activation = resources.recording(chosen.view()).activation
    offered = [count for count in COUNTS if int(count) < activation.shape[1]] or COUNTS[:1]
    count = int(selection.steps("Maps to switch off", offered, "count", offered[min(4, len(offered) - 1)]))
    if which == STRONGEST:
        return tuple(deconv.strongest_channels(activation, count))
    drawn = np.random.default_rng(seed).choice(activation.shape[1], count, replace=False)
    return tuple(sorted(drawn.tolist()))


# The figures ---------------------------------------------------------------------------------------------------


def draw_figures(chosen: Selection, lesion: Lesion, found: Mapping[Lesion, Predictions]) -> None:
    """The share of each class that is recognised, with the whole network and without the part."""
    whole, without = found.get(Lesion(lesion.layer)), found.get(lesion)
    rows = recall_rows(chosen.card.classes, whole, without)
    with layout.stage():
        spec = charts.recall_chart(rows, list(chosen.card.classes))
        st.altair_chart(
            spec, height="stretch", key="recalls", alt="Share recognised of each class, with and without the part"
        )
    if whole is not None and without is not None:
        st.info(in_words(chosen.card.classes, lesion, whole, without))
        downloads.table("Numbers (CSV)", rows, "lesion.csv")


def recall_rows(classes: tuple[str, ...], whole: Predictions | None, without: Predictions | None) -> pd.DataFrame:
    """A row per class and network: `class`, `network` and `recognised`, 0-1."""
    rows = [
        (label, name, share.value)
        for name, predictions in ((charts.WHOLE, whole), (charts.WITHOUT, without))
        if predictions is not None
        for label, share in zip(classes, accuracy_per_class(predictions), strict=True)
    ]
    return pd.DataFrame(rows, columns=["class", "network", "recognised"])


def in_words(classes: tuple[str, ...], lesion: Lesion, whole: Predictions, without: Predictions) -> str:
    """The accuracy before and after, and which class loses most."""
    before, after = accuracy(whole), accuracy(without)
    losses = [
        first.value - second.value
        for first, second in zip(accuracy_per_class(whole), accuracy_per_class(without), strict=True)
    ]
    most = int(np.argmax(losses))
    said = (
        f"Without {part_in_words(lesion)} the accuracy on {before.total:,} test images goes from "
        f"{texts.percent(before.value)} to {texts.percent(after.value)}."
    )
    if losses[most] <= 0:
        return f"{said} No class loses anything."
    return f"{said} {texts.plain(classes[most])} loses most: {losses[most] * 100:.0f} points."


def part_in_words(lesion: Lesion) -> str:
    if lesion.branch:
        return f"the {lesion.branch} of {lesion.block}"
    if len(lesion.channels) == 1:
        return f"map {lesion.channels[0]} of {lesion.layer}"
    listed = ", ".join(map(str, lesion.channels[:8])) + (", …" if len(lesion.channels) > 8 else "")
    return f"{len(lesion.channels)} maps of {lesion.layer} ({listed})"
