"""A square slides over the image: what becomes of the answer, and of the strongest map? (Zeiler & Fergus, figure 7)"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import deconv, pictures
from engine.agreement import rank_correlation
from engine.occlusion import Occlusion
from engine.playbacks import Playback
from engine.views import View
from pages.common import downloads, jobs, layout, resources, selection, sheets, texts, touch
from pages.common.controls import Option
from pages.common.selection import Selection
from pages.evidence import charts, code, drawings
from pages.evidence.jobs import FILLS, Occluding, OcclusionSettings, occlusion_of

NO_OTHER = "none"
USUAL_FILL = next(iter(FILLS))
SQUARES, STRIDES = (8, 4, 2), (32, 16, 8)
"""The side of the image over these gives the squares and strides on offer; the middle one of each at first."""

BRIGHTNESS = ("one scale", "each its own")
BRIGHTNESS_HELP = "One scale: probabilities from 0 to 1. Each its own: from the smallest to the largest on this image."
MOST_PROBABLE = "Most probable"
AS_CAPTION = "font-size: 0.875rem; color: color-mix(in srgb, currentColor 72%, transparent)"
"""HTML that looks like Streamlit's captions, which cannot have colours of their own."""
AGREE = 0.3
"""Rank correlations nearer to 0 say nothing."""


@dataclass(frozen=True)
class Shown:
    """What the view shows.

    Attributes:
        label: the class whose probability is drawn; `other`: the one beside it, if there is one.
        classes: the class names.
        brightness: one of `BRIGHTNESS`.
    """

    settings: OcclusionSettings
    label: int
    classes: tuple[str, ...]
    brightness: str
    other: int | None = None

    @property
    def drawn(self) -> tuple[int, ...]:
        """The classes that have a map."""
        return (self.label,) if self.other is None else (self.label, self.other)

    @property
    def view(self) -> View:
        return self.settings.view


def draw(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    with row:
        shown = draw_controls(chosen)
        job = occlusion_of(shown.settings)
        jobs.buttons(job, start="Start", again="Again", key="occlusion")
    jobs.follow(job, look=lambda: draw_maps(shown, job))
    explain()


def draw_controls(chosen: Selection) -> Shown:
    """Size, stride and fill of the square, the class and the scale; the rest follows from the sidebar."""
    view = chosen.view()
    squares, strides = ([str(max(1, view.size // part)) for part in parts] for parts in (SQUARES, STRIDES))
    square = selection.segments("Square, px", list(dict.fromkeys(squares)), "square", preferred=squares[1])
    options = {
        "logit": Option("class", usual=selection.PREDICTED),
        "beside": Option("beside it", (NO_OTHER, *chosen.card.classes)),
        "stride": Option("stride", strides, strides[1]),
        "fill": Option("fill", tuple(FILLS)),
        "brightness": Option("brightness", BRIGHTNESS),
    }
    with layout.options(options):
        stride = selection.segments("Stride, px", list(dict.fromkeys(strides)), "stride", preferred=strides[1])
        fill = selection.segments("Fill", tuple(FILLS), "fill")
        brightness = selection.segments("Brightness", BRIGHTNESS, "brightness", help=BRIGHTNESS_HELP)
        label = selection.class_to_explain(chosen, view)
        beside = selection.choose("Another class beside it", "beside", [NO_OTHER, *chosen.card.classes], NO_OTHER)
    (channel,) = deconv.strongest_channels(resources.recording(view).activation, 1)
    settings = OcclusionSettings(view, int(square), int(stride), fill, channel)
    other = None if beside in (NO_OTHER, chosen.card.classes[label]) else chosen.card.classes.index(beside)
    return Shown(settings, label, tuple(chosen.card.classes), brightness, other)


def usual_settings(view: View) -> OcclusionSettings:
    """What hides parts of a view's image at first."""
    (channel,) = deconv.strongest_channels(resources.recording(view).activation, 1)
    return OcclusionSettings(view, view.size // SQUARES[1], max(1, view.size // STRIDES[1]), USUAL_FILL, channel)


# The pictures --------------------------------------------------------------------------------------------------


def draw_maps(shown: Shown, job: Occluding) -> None:
    """The probability of the class, large; beside it the image, the answers, the strongest map and its picture."""
    found, image, channel = job.found, resources.input_pixels(shown.view), shown.settings.channel
    alone = len(shown.drawn) == 1
    with layout.stage():
        large, beside = st.columns([1.08, 1] if alone else [2.06, 0.42], gap="small")
    for place, label in zip(large.columns(len(shown.drawn), gap="small"), shown.drawn, strict=True):
        with place:
            draw_probability(replace(shown, label=label), found, image)
            name, scale = texts.plain(shown.classes[label]), scale_in_words(shown, label, found)
            st.caption(f"**p({name})**, mean over the squares that hide a pixel: {scale}. Point at a square.")
    classes = commonest(shown, found)
    with beside, layout.stage(2, all_named=True):
        left, right = st.columns(2, gap="small") if alone else [st.container()] * 2
    with left:
        show(image, "The image", prediction(shown))
        show(activity(found, image), f"Map {channel} of {shown.view.layer}", "its sum, mean over the squares")
    with right:
        sheets.show(drawings.large(most_probable(found, classes, image)), MOST_PROBABLE)
        st.html(f'<div style="{AS_CAPTION}"><strong>{MOST_PROBABLE}</strong>: {legend(shown, found, classes)}</div>')
        show(reconstruction(shown), f"Deconvnet of map {channel}", "its strongest unit; grey is zero")
    if found is not None:
        with st.container() if alone else large:
            st.info(in_words(shown, found) if shown.other is None else two_in_words(shown, shown.other, found))
        with st.container(horizontal=True):
            for label in shown.drawn:
                file, of_label = f"occlusion-{shown.classes[label]}.png", replace(shown, label=label)
                png = drawings.large(probability(of_label, found, image))
                downloads.picture(f"p({shown.classes[label]})", png, file if label != shown.label else "occlusion.png")
            downloads.table("Numbers (CSV)", table(shown, found), "occlusion.csv")
            downloads.code(code.of_occlusion(shown.settings, shown.label, shown.brightness == BRIGHTNESS[0]))


def show(picture: np.ndarray, title: str, caption: str) -> None:
    sheets.show(drawings.large(picture), title)
    st.caption(f"**{title}**: {caption}")


def draw_probability(shown: Shown, found: Occlusion | None, image: np.ndarray) -> None:
    """The map of the class's probability over the image; pointing at a square frames it and gives its numbers."""
    words = f"The probability of {shown.classes[shown.label]} with a square hidden at each place"
    if found is None:
        sheets.show(drawings.large(pictures.over_image(np.full(image.shape[:2], np.nan), image)), words)
        return
    rows, columns = found.boxes.shape[:2]
    steps = (0, shown.settings.stride, shown.settings.patch)
    grid = touch.Grid(
        rows * columns, columns, words=square_words(shown, found), field=(steps, steps), side=shown.view.size
    )
    png = drawings.large(probability(shown, found, image))
    touch.show(png, words, f"occlusion-{shown.label}", grid, "Square", None, lambda _cell: None)


def probability(shown: Shown, found: Occlusion, image: np.ndarray) -> np.ndarray:
    """uint8 `[S, S, 3]`: at each pixel the mean over the squares that hide it."""
    means = found.over_pixels(found.probability(shown.label))
    one_scale = shown.brightness == BRIGHTNESS[0]
    return pictures.over_image(means.double().numpy() if one_scale else pictures.stretched(means), image)


def scale_in_words(shown: Shown, label: int, found: Occlusion | None) -> str:
    """What is bright on the map of the class's probability, and what is dark."""
    if shown.brightness == BRIGHTNESS[0] or found is None:
        return "bright 1, dark 0"
    means = found.over_pixels(found.probability(label))
    known = means[~means.isnan()]
    return f"bright {float(known.max()):.2f}, dark {float(known.min()):.2f}"


def activity(found: Occlusion | None, image: np.ndarray) -> np.ndarray:
    """uint8 `[S, S, 3]`: at each pixel the mean of the strongest map's sum over the squares that hide it, stretched."""
    if found is None or found.activity is None:
        return pictures.over_image(np.full(image.shape[:2], np.nan), image)
    return pictures.over_image(pictures.stretched(found.over_pixels(found.activity)), image)


def most_probable(found: Occlusion | None, classes: tuple[int, ...], image: np.ndarray) -> np.ndarray:
    if found is None:
        return pictures.over_image(np.full(image.shape[:2], np.nan), image)
    return drawings.answers(found, classes, image)


@st.cache_resource(max_entries=64, show_spinner=False)
def _reconstruction(view: View, channel: int) -> np.ndarray:
    pixels = resources.play(Playback(view, "strongest unit", (channel,))).reconstruction.pixels
    return pictures.signed_each(pixels)[0]


def reconstruction(shown: Shown) -> np.ndarray:
    """uint8 `[S, S, 3]`: the deconvnet picture of the strongest map's strongest unit."""
    return _reconstruction(shown.view, shown.settings.channel)


# Words ---------------------------------------------------------------------------------------------------------


def prediction(shown: Shown) -> str:
    """What the network predicts for the whole image."""
    answer = resources.answer(shown.view)
    return f"{texts.plain(shown.classes[answer.classes[0]])}, {texts.percent(answer.probabilities[0])}"


def square_words(shown: Shown, found: Occlusion) -> list[str]:
    """What pointing at each square says."""
    of_class, predicted = found.probability(shown.label).flatten().tolist(), found.predicted().flatten().tolist()
    most = found.logits.softmax(dim=-1).amax(dim=-1).flatten().tolist()
    active = [float("nan")] * found.squares if found.activity is None else found.activity.flatten().tolist()
    words = []
    for index, (top, left, bottom, right) in enumerate(found.boxes.flatten(0, 1).tolist()):
        place = f"rows {top}-{bottom - 1}, columns {left}-{right - 1} hidden"
        if predicted[index] < 0:
            words.append(f"{place}: not yet")
            continue
        words.append(
            f"{place}\np({shown.classes[shown.label]}) = {of_class[index]:.3f}\n"
            f"most probable: {shown.classes[predicted[index]]}, {most[index]:.3f}\n"
            f"map {shown.settings.channel}: {active[index]:.3g}"
        )
    return words


def commonest(shown: Shown, found: Occlusion | None) -> tuple[int, ...]:
    """The classes that are most probable somewhere: the whole image's first, then by how often."""
    own = resources.answer(shown.view).classes[0]
    if found is None:
        return (own,)
    counted = Counter(label for label in found.predicted().flatten().tolist() if label >= 0)
    return (own, *(label for label, _ in counted.most_common() if label != own))


def legend(shown: Shown, found: Occlusion | None, classes: tuple[int, ...]) -> str:
    """The names of the classes beside their colours, as HTML; "others" where several share the last colour."""
    if found is None:
        return ""
    names = [shown.classes[label] for label in classes]
    if len(names) > len(drawings.COLOURS):
        names[len(drawings.COLOURS) - 1 :] = ["others"]
    return charts.names_in_html(names)


def in_words(shown: Shown, found: Occlusion) -> str:
    """What hiding does to the answer, in two sentences computed from the maps."""
    of_class, answer = found.probability(shown.label), resources.answer(shown.view)
    before = answer.probability(shown.label)
    known = of_class[~of_class.isnan()]
    name = texts.plain(shown.classes[shown.label])
    flat = of_class.nan_to_num(2.0).flatten()
    top, left, bottom, right = found.boxes.flatten(0, 1)[int(flat.argmin())].tolist()
    own = answer.classes[0]
    turned = int(((found.predicted() != own) & (found.predicted() >= 0)).sum())
    return (
        f"Of the whole image p({name}) is {before:.2f}. Hidden squares leave between {float(known.min()):.2f} "
        f"(rows {top}-{bottom - 1}, columns {left}-{right - 1}) and {float(known.max()):.2f}. "
        f"{turned} of {found.done} squares change the predicted class."
    )


def two_in_words(shown: Shown, other: int, found: Occlusion) -> str:
    """What hiding does to two classes, and whether what one loses is what the other gains."""
    of_each = [found.probability(label) for label in (shown.label, other)]
    if any(values.isnan().any() for values in of_each):
        return in_words(shown, found)
    said = []
    for label, values in zip((shown.label, other), of_each, strict=True):
        before = resources.answer(shown.view).probability(label)
        name, low, high = texts.plain(shown.classes[label]), float(values.min()), float(values.max())
        said.append(f"p({name}) is {before:.2f}, with hidden squares {low:.2f} to {high:.2f}")
    rho = rank_correlation(*of_each)
    how = "no clear relation"
    if abs(rho) > AGREE:
        how = "fall and rise together" if rho > 0 else "one rises where the other falls"
    return f"{'; '.join(said)}. Rank correlation of the two maps: {rho:.2f} ({how})."


def table(shown: Shown, found: Occlusion) -> pd.DataFrame:
    """A row per square."""
    rows = pd.DataFrame(found.boxes.flatten(0, 1).numpy(), columns=["top", "left", "bottom", "right"])
    for label in shown.drawn:
        rows[f"p({shown.classes[label]})"] = found.probability(label).flatten().numpy()
    rows["most probable"] = [
        shown.classes[label] if label >= 0 else "" for label in found.predicted().flatten().tolist()
    ]
    if found.activity is not None:
        rows[f"map {shown.settings.channel}"] = found.activity.flatten().numpy()
    return rows


def explain() -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(
        "Where is the map dark? That part of the image must be visible for the answer. Is it the object?",
        "A larger square hides whole parts, a smaller one says more exactly where. Black or white instead of the mean "
        "colour: a square is an image, too.",
        "Does the strongest map fall where its deconvnet picture is? Then that picture shows what excites it.",
    )
    st.latex(
        r"p(\text{class}\mid x_{rc}),\qquad x_{rc}=x\text{ with the square at row }r\text{, column }c\text{ filled}"
    )
