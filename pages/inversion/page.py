"""Inversion: noise turned, step by step, into a picture that makes a layer say what it says of the image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import streamlit as st

from engine import deconv
from engine.evaluation import Answer
from engine.inversion import ALPHA_NORM, PRIORS, VARIATION, Prior
from pages.common import downloads, jobs, resources, selection, sheets, texts
from pages.common.resources import View
from pages.common.selection import Selection
from pages.inversion import charts, drawings
from pages.inversion.jobs import Inversion, Measured, Request, inversion_of

ONE, ROW = "one layer", "layers in a row"
PRIOR_NAMES = {
    "Mahendran-Vedaldi": "mahendran_vedaldi",
    "none": "none",
    "with jitter": "mahendran_vedaldi_jitter",
}
WHOLE, CHANNEL = "whole layer", "one channel"
STEPS = ("50", "100", "200", "400")
SEEDS = 1000

PRIOR_HELP = (
    "What is expected of a picture, besides the right features. Mahendran-Vedaldi: smooth, with values in the range of "
    "pixels; with jitter: also shifted a little in each step, which only deep layers bear; none: nothing."
)


@dataclass(frozen=True)
class Shown:
    """What the page is about: the requests, one for each layer, and what the deconvnet's pictures need."""

    requests: tuple[Request, ...]
    batch_norm: bool
    image_name: str

    @property
    def jobs(self) -> list[Inversion]:
        return [inversion_of(request) for request in self.requests]


# The controls --------------------------------------------------------------------------------------------------


def draw_controls(chosen: Selection) -> Shown:
    """The rows of controls above the pictures; gives what is to be shown."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        show = selection.segments("Show", (ONE, ROW), "inv_show")
        prior = selection.segments("Prior", tuple(PRIOR_NAMES), "inv_prior", help=PRIOR_HELP)
        steps = selection.segments("Steps", STEPS, "inv_steps", preferred="200")
        seed = selection.number_in_link("Seed of the noise", "inv_seed", SEEDS)
        view = chosen.view()
        channel = channel_to_match(view) if show == ONE else None
    request = Request(view, PRIOR_NAMES[prior], channel, int(steps), seed)
    names = (chosen.layer,) if show == ONE else tuple(resources.stages(chosen.network))
    requests = tuple(replace(request, view=replace(view, layer=name)) for name in names)
    return Shown(requests, chosen.batch_norm, chosen.image_name)


def channel_to_match(view: View) -> int | None:
    """The one channel whose map is to be matched; None for the whole layer."""
    if selection.segments("Match", (WHOLE, CHANNEL), "inv_target") == WHOLE:
        return None
    activation = resources.recording(view).activation
    strongest = deconv.strongest_channels(activation, 1)[0]
    label = f"Channel (strongest: {strongest})"
    return selection.number_in_link(label, "inv_channel", activation.shape[1], strongest)


def step_to_show(request: Request, job: Inversion) -> int:
    """The newest step while it is going on; afterwards the one that the reader picks."""
    numbers = list(job.pictures)
    if job.alive or len(numbers) < 2:
        return numbers[-1] if numbers else 0
    key = f"inv_step_{hash(request)}_{len(numbers)}"
    return st.select_slider("Step: drag to see the picture form", numbers, value=numbers[-1], key=key)


# One layer -----------------------------------------------------------------------------------------------------


def show_one(shown: Shown, job: Inversion, number: int) -> None:
    """The image, what has come back so far, the deconvnet's picture, and how the loss falls."""
    request = shown.requests[0]
    pictures = dict(job.pictures)
    original = drawings.seen(request.view)
    sent_back = drawings.deconvnet(request.view, request.channel, shown.batch_norm)
    came_back = pictures.get(number, drawings.nothing(request.view))
    columns = st.columns([1, 1, 1, 1.5], gap="medium")
    with columns[0]:
        show_picture("The image", original, shown.image_name)
    with columns[1]:
        show_picture(
            "What came back", came_back, f"step {number}" if pictures else "waiting" if job.alive else "press Start"
        )
    with columns[2]:
        show_picture("Deconvnet", sent_back, f"same target; {deconvnet_in_words(shown)}")
    with columns[3]:
        show_curves(request, job, number, pictures)
    show_numbers(request, job, number)
    if pictures and not job.alive:
        row = drawings.sheet([[original, came_back, sent_back]])
        save(row, charts.step_table(job.measured))


def show_picture(title: str, picture: np.ndarray, caption: str) -> None:
    """A picture `[S, S, 3]` under its title."""
    st.markdown(f"**{title}**")
    sheets.show(drawings.large(picture), f"{title}: {caption}")
    st.caption(caption)


def deconvnet_in_words(shown: Shown) -> str:
    if not resources.has_batch_norm(shown.requests[0].view.network):
        return "grey is zero"
    return f"grey is zero; batch norm {'on' if shown.batch_norm else 'off'}"


def show_curves(request: Request, job: Inversion, number: int, pictures: dict[int, np.ndarray]) -> None:
    """The error and the terms of the loss."""
    rows = charts.term_rows(job.measured, PRIORS[request.prior].jitter > 0)
    curves = list(dict.fromkeys(rows["curve"])) or [charts.ERROR]
    marked = number if pictures and not job.alive else None
    spec = charts.falling_chart(curves, request.steps, marked)
    st.markdown(f"**How the loss falls** (dashed: {charts.GOAL})")
    st.vega_lite_chart(rows, spec, key="inv_chart", alt="The relative feature error and the terms of the loss")


def show_numbers(request: Request, job: Inversion, number: int) -> None:
    """The figures of the step that is shown, and what the network says of the last picture."""
    at = next((measured for measured in job.measured if measured.number == number), None)
    if at is None:
        return
    columns = st.columns(4)
    columns[0].metric("Relative feature error", f"{at.error:.4f}")
    columns[1].metric("PSNR to the image", f"{at.psnr:.1f} dB")
    columns[2].metric("Loss", f"{at.loss:.4f}")
    if job.answer is not None:
        columns[3].metric("The network calls the last picture", answer_in_words(request, job.answer))


def answer_in_words(request: Request, answer: Answer) -> str:
    classes = resources.trained(request.view.network).card.classes
    return f"{classes[answer.classes[0]]}, {texts.percent(answer.probabilities[0])}"


# Layers in a row -----------------------------------------------------------------------------------------------


def show_row(shown: Shown, inversions: Sequence[Inversion]) -> None:
    """What came back from each layer, above the deconvnet's pictures, and how the errors fall."""
    views = [request.view for request in shown.requests]
    original = drawings.seen(views[0])
    newest = [next(reversed(job.pictures.values()), drawings.nothing(views[0])) for job in inversions]
    sent_back = [drawings.deconvnet(view, None, shown.batch_norm) for view in views]
    sheet = drawings.sheet([[original, *newest], [original, *sent_back]])
    for column, title in zip(st.columns(len(views) + 1), ["the image", *(view.layer for view in views)], strict=True):
        column.markdown(f"**{title}**")
    sheets.show(sheet, "Above: what came back from each layer. Below: the deconvnet's picture of the same target.")
    for column, words in zip(st.columns(len(views) + 1), ["", *(nearness(job) for job in inversions)], strict=True):
        column.markdown(words)
    st.caption(
        f"Above: what came back. Below: the deconvnet's picture of the same layer ({deconvnet_in_words(shown)})."
    )
    measured = {view.layer: list(job.measured) for view, job in zip(views, inversions, strict=True)}
    rows = charts.layer_rows(measured)
    spec = charts.falling_chart(list(measured), shown.requests[0].steps, columns=len(measured))
    st.markdown(f"**Relative feature error** (dashed: {charts.GOAL})")
    st.vega_lite_chart(rows, spec, key="inv_row_chart", alt="The relative feature error of each layer")
    if len(rows) and not any(job.alive for job in inversions):
        save(sheet, rows.rename(columns={"curve": "layer", "value": charts.ERROR}))


def nearness(job: Inversion) -> str:
    """The last figures of a job."""
    if not job.measured:
        return "not started" if not job.alive else "waiting"
    last: Measured = job.measured[-1]
    return f"error {last.error:.4f}  \nPSNR {last.psnr:.1f} dB"


# The page ------------------------------------------------------------------------------------------------------


def save(png: bytes, table: pd.DataFrame) -> None:
    with st.container(horizontal=True):
        downloads.picture("Pictures (PNG)", png, "inversion.png")
        downloads.table("Steps (CSV)", table, "inversion.csv")


def show(shown: Shown) -> None:
    """The button, and the pictures, looked at again and again while work is going on."""
    inversions = shown.jobs
    jobs.buttons(*inversions, start="Start", again="Once more", key="inv")
    jobs.follow(*inversions, look=lambda: draw(shown, inversions))


def draw(shown: Shown, inversions: Sequence[Inversion]) -> None:
    """One look at the inversions."""
    if len(inversions) == 1:
        show_one(shown, inversions[0], step_to_show(shown.requests[0], inversions[0]))
    else:
        show_row(shown, inversions)


def explain(prior: str) -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(
        [
            "Start it: the features soon agree. Is the picture recognisable? Choose the prior none, and compare.",
            "Go deeper: the features still agree, yet the picture comes back less and less (PSNR falls). "
            "What a layer has thrown away, nothing brings back.",
            "The deconvnet shows what excited the layer; inversion shows all that the layer knows.",
        ]
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
    top = st.container()
    shown = draw_controls(chosen)
    where = chosen.layer if len(shown.requests) == 1 else "each layer"
    with top:
        texts.headline(f"From noise to a picture that looks the same to {where} of {chosen.network}")
    show(shown)
    explain(shown.requests[0].prior)


main()
