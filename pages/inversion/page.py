"""Inversion: step by step from noise to a picture with the same features as the image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import deconv
from engine.evaluation import Answer
from engine.inversion import ALPHA_NORM, PRIORS, VARIATION, Prior
from engine.views import View
from pages.common import downloads, jobs, layout, resources, selection, sheets, texts
from pages.common.charts import ink
from pages.common.controls import Option
from pages.common.selection import Selection
from pages.inversion import charts, code, tiles
from pages.inversion.jobs import FIRST_STEPS, Inversion, InversionSettings, Measurement, inversion_begun, inversion_of

ONE, ROW = "one layer", "layers in a row"
PRIOR_NAMES = {
    "Mahendran-Vedaldi": "mahendran_vedaldi",
    "none": "none",
    "with jitter": "mahendran_vedaldi_jitter",
}
WHOLE, CHANNEL = "whole layer", "one channel"
STEPS = ("50", "100", "200", "400")
SEEDS = 1000

OPTIONS = {
    "steps": Option("steps", STEPS, "200"),
    "seed": Option("seed", range(SEEDS)),
    "target": Option("match", (WHOLE, CHANNEL)),
}

PRIOR_HELP = (
    "What a picture should be like, besides having the right features. Mahendran-Vedaldi: smooth, with values in the "
    "range of pixels; with jitter: also shifted a little in each step, which suits only deep layers; none: anything."
)


@dataclass(frozen=True)
class Subject:
    """What the page shows: the settings of the inversions, one for each layer, and of the deconvnet beside them.

    Attributes:
        to_come: of a first look, how many steps there will be once a reader asks for them.
    """

    settings: tuple[InversionSettings, ...]
    batch_norm: bool
    image_name: str
    to_come: int = 0


# The controls --------------------------------------------------------------------------------------------------


def draw_controls(chosen: Selection) -> Subject:
    """The row of controls above the pictures."""
    shown = selection.segments("Show", (ONE, ROW), "view")
    prior = selection.segments("Prior", tuple(PRIOR_NAMES), "prior", help=PRIOR_HELP)
    with layout.options(OPTIONS):
        steps = selection.segments("Steps", STEPS, "steps", preferred=OPTIONS["steps"].usual)
        seed = selection.number_in_link("Seed of the noise", "seed", SEEDS)
        view = chosen.view()
        channel = channel_to_match(view) if shown == ONE else None
    names = (chosen.layer,) if shown == ONE else tuple(resources.stages(chosen.network))
    views = [replace(view, layer=name) for name in names]
    settings = [InversionSettings(one, PRIOR_NAMES[prior], channel, int(steps), seed) for one in views]
    return Subject(tuple(settings), chosen.batch_norm, chosen.image_name)


def channel_to_match(view: View) -> int | None:
    """The one channel whose map is matched; None for the whole layer."""
    if selection.segments("Match", (WHOLE, CHANNEL), "target") == WHOLE:
        return None
    activation = resources.recording(view).activation
    strongest = deconv.strongest_channels(activation, 1)[0]
    label = f"Channel (strongest: {strongest})"
    return selection.number_in_link(label, "channel", activation.shape[1], strongest)


def step_to_show(settings: InversionSettings, job: Inversion) -> int:
    """The newest step while it is going on; afterwards the one that the reader picks."""
    numbers = list(job.pictures)
    if job.alive or len(numbers) < 2:
        return numbers[-1] if numbers else 0
    key = f"inversion_step_{hash(settings)}_{len(numbers)}"
    return st.select_slider("Step: drag to see the picture form", numbers, value=numbers[-1], key=key)


# One layer -----------------------------------------------------------------------------------------------------


def show_one(subject: Subject, job: Inversion) -> None:
    """The image, its inversion so far, the deconvnet reconstruction, and how the loss falls."""
    (settings,) = subject.settings
    pictures = dict(job.pictures)
    original = tiles.image(settings.view)
    reconstructed = tiles.deconvnet(settings.view, settings.channel, subject.batch_norm)
    with layout.stage():
        large, beside, curves = st.columns([1.6, 0.8, 1], gap="small")
    with large:
        place = st.container()
        number = step_to_show(settings, job)
    inverted = pictures.get(number, tiles.grey(settings.view))
    with place:
        show_picture("Inversion", inverted, f"step {number}{to_come(subject)}" if pictures else "waiting")
    with beside, layout.stage(2, all_named=True):
        show_picture("The image", original, subject.image_name)
        show_picture("Deconvnet reconstruction", reconstructed, f"same target; {deconvnet_in_words(subject)}")
    with curves:
        show_curves(settings, job, number if pictures and not job.alive else None)
    show_numbers(settings, job, number)
    if pictures and not job.alive:
        caption = f"{subject.image_name}, its inversion after step {number}, and its deconvnet reconstruction"
        save(tiles.sheet([[original, inverted, reconstructed]]), charts.step_table(job.measurements), caption)
        downloads.code(code.of_one_layer(settings, number, subject.batch_norm))


def to_come(subject: Subject) -> str:
    """Of a first look, how to go on."""
    return f"; Start takes {subject.to_come} steps" if subject.to_come else ""


def show_picture(title: str, picture: np.ndarray, caption: str) -> None:
    """A picture `[S, S, 3]` above its title."""
    sheets.show(tiles.large(picture), f"{title}: {caption}")
    st.caption(f"**{title}**: {texts.plain(caption)}")


def deconvnet_in_words(subject: Subject) -> str:
    if not resources.has_batch_norm(subject.settings[0].view.network):
        return "grey is zero"
    return f"grey is zero; batch norm {'on' if subject.batch_norm else 'off'}"


def show_curves(settings: InversionSettings, job: Inversion, marked: int | None) -> None:
    """The error and the terms of the loss."""
    rows = charts.term_rows(job.measurements, PRIORS[settings.prior].jitter > 0)
    low = charts.below_the_axis(rows)
    curves = [curve for curve in dict.fromkeys(rows["curve"]) if curve not in low] or [charts.ERROR]
    spec = charts.falling_chart(curves, settings.steps, marked)
    st.vega_lite_chart(
        rows, spec, height="stretch", key="chart", alt="The relative feature error and the terms of the loss"
    )
    if low:
        st.caption(f"Below {charts.LOWEST:.4f} and not drawn: {', '.join(low)}.")


def show_numbers(settings: InversionSettings, job: Inversion, number: int) -> None:
    """The figures of the chosen step, and the network's prediction for the last picture."""
    at = next((measurement for measurement in job.measurements if measurement.number == number), None)
    if at is None:
        return
    columns = st.columns(4)
    columns[0].metric("Relative feature error", f"{at.error:.4f}")
    columns[1].metric("PSNR to the image", f"{at.psnr:.1f} dB")
    columns[2].metric("Loss", f"{at.loss:.4f}")
    if job.answer is not None:
        columns[3].metric("Predicted for the last picture", texts.plain(answer_in_words(settings, job.answer)))


def answer_in_words(settings: InversionSettings, answer: Answer) -> str:
    classes = resources.trained(settings.view.network).card.classes
    return f"{classes[answer.classes[0]]}, {texts.percent(answer.probabilities[0])}"


# Layers in a row -----------------------------------------------------------------------------------------------


def show_row(subject: Subject, inversions: Sequence[Inversion]) -> None:
    """The inversion of each layer, above the deconvnet reconstructions, and how the errors fall."""
    views = [settings.view for settings in subject.settings]
    original = tiles.image(views[0])
    newest = [next(reversed(job.pictures.values()), tiles.grey(views[0])) for job in inversions]
    reconstructed = [tiles.deconvnet(view, None, subject.batch_norm) for view in views]
    heads = ["the image", *(view.layer for view in views)]
    sheet = partial(tiles.sheet, [[original, *newest], [original, *reconstructed]], heads)
    words = "Above: the inversion of each layer. Below: the deconvnet reconstruction from the same layer"
    with layout.stage():
        sheets.show(sheet(ink()), f"{words}.")
    _, *columns = st.columns(len(views) + 1)
    for column, view, job in zip(columns, views, inversions, strict=True):
        column.markdown(f"**{view.layer}**  \n{last_figures(job)}")
    st.caption(f"{words} ({deconvnet_in_words(subject)}){to_come(subject)}.")
    measurements = {view.layer: list(job.measurements) for view, job in zip(views, inversions, strict=True)}
    rows = charts.layer_rows(measurements)
    spec = charts.falling_chart(list(measurements), subject.settings[0].steps, columns=len(measurements))
    st.markdown(f"**Relative feature error** (dashed: {charts.GOAL})")
    st.vega_lite_chart(rows, spec, key="row_chart", alt="The relative feature error of each layer")
    if len(rows) and not any(job.alive for job in inversions):
        save(partial(sheet, downloads.INK), rows.rename(columns={"curve": "layer", "value": charts.ERROR}), words)
        downloads.code(code.of_layers(subject.settings, subject.batch_norm, heads, downloads.INK))


def last_figures(job: Inversion) -> str:
    """Error and PSNR of the newest step."""
    if not job.measurements:
        return "waiting"
    last: Measurement = job.measurements[-1]
    return f"error {last.error:.4f}  \nPSNR {last.psnr:.1f} dB"


# The page ------------------------------------------------------------------------------------------------------


def save(png: downloads.Content, table: pd.DataFrame, caption: str) -> None:
    downloads.picture("Pictures", png, "inversion.png", caption)
    downloads.table("Steps", table, "inversion.csv")


def show(subject: Subject, row: DeltaGenerator) -> None:
    """The button, and the pictures, looked at again and again while work is going on."""
    inversions = [inversion_of(settings) for settings in subject.settings]
    with row:
        jobs.buttons(*inversions, start="Start", again="Start again", key="inversion")
    if any(job.is_begun for job in inversions):
        jobs.follow(*inversions, look=lambda: draw(subject, inversions))
    else:
        first = first_look(subject)
        begun = [inversion_begun(settings) for settings in first.settings]
        jobs.follow(*begun, look=lambda: draw(first, begun))


def first_look(subject: Subject) -> Subject:
    """The first steps of the same descents."""
    settings = [replace(one, steps=FIRST_STEPS) for one in subject.settings]
    return replace(subject, settings=tuple(settings), to_come=subject.settings[0].steps)


def draw(subject: Subject, inversions: Sequence[Inversion]) -> None:
    """One look at the inversions."""
    if len(inversions) == 1:
        show_one(subject, inversions[0])
    else:
        show_row(subject, inversions)


def explain(prior: str) -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(
        "Start it: the features soon agree. Is the picture recognisable? Choose the prior none, and compare.",
        "Go deeper: the features still agree, yet the picture is less and less like the image (PSNR falls). "
        "Nothing brings back what a layer has thrown away.",
        "The deconvnet plays a signal back; inversion looks for one of the images that the layer cannot tell apart.",
    )
    st.latex(equation(PRIORS[prior]))


def equation(prior: Prior) -> str:
    """What is minimised."""
    terms = [r"\frac{\lVert\varphi(x)-\varphi_0\rVert^2}{\lVert\varphi_0\rVert^2}"]
    for weight, mean, exponent, name in (
        (prior.alpha_weight, "|x/B|", prior.alpha, ALPHA_NORM),
        (prior.variation_weight, r"|\nabla x/V|", prior.beta, VARIATION),
    ):
        if weight:
            terms.append(rf"{weight:g}\,\underbrace{{\mathrm{{mean}}\,{mean}^{{{exponent:g}}}}}_{{\text{{{name}}}}}")
    return r"\min_x\quad " + " + ".join(terms)


def main() -> None:
    """The page."""
    chosen = selection.current()
    top, row = st.container(), layout.row()
    with row:
        subject = draw_controls(chosen)
    where = chosen.layer if len(subject.settings) == 1 else "each layer"
    with top:
        texts.headline(f"Inversion of {where} of {chosen.network}: from noise to a picture with the same features")
    show(subject, row)
    explain(subject.settings[0].prior)


main()
