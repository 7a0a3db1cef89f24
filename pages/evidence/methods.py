"""Five methods side by side: where each sees the evidence for one class, and how much they agree."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from engine import agreement, evidence, pictures
from engine.deconv import Reconstruction
from engine.graph.receptive_field import Pair
from engine.views import View
from pages.common import downloads, jobs, layout, resources, selection, sheets, texts
from pages.common.controls import Option
from pages.common.kept import keep
from pages.common.selection import Selection
from pages.evidence import code, drawings
from pages.evidence.jobs import GRAD_CAM, Occluding, OcclusionSettings, occlusion_of
from pages.evidence.occlusion import usual_settings

IMAGE, OCCLUSION, CAM = "The image", "occlusion", "class activation map"
FEWEST_PLACES = 4
"""Along a side of a map that is to say where."""
HEAT, PICTURE = DRAWN = ("heat map", "picture")
NOTHING, IMAGES = COMPARED = ("nothing", "images")
COLUMNS = 3
"""How many methods stand in a row."""
COLUMNS_OF_PAIRS = 2
"""The same of two images beside the sidebar: more of them would be small."""


@dataclass(frozen=True)
class Subject:
    """One of the images, and the class whose evidence is looked for.

    Attributes:
        settings: of its occlusion.
        image_name: what a caption calls the image.
    """

    settings: OcclusionSettings
    label: int
    class_name: str
    image_name: str

    @property
    def view(self) -> View:
        return self.settings.view


CAM_FORMULA = r"M(i,j)=\sum_k w_k A_k(i,j)"
GRAD_CAM_FORMULA = (
    r"M(i,j)=\max\Big(0,\ \sum_k \alpha_k A_k(i,j)\Big),\quad "
    r"\alpha_k=\operatorname{mean}_{i,j}\frac{\partial y}{\partial A_k(i,j)}"
)


@dataclass(frozen=True)
class OfClass:
    """The evidence for one class on one image, but for occlusion.

    Attributes:
        heats: `{method: heat [S, S]}`.
        played_back: `{rule: picture}`, the rules as methods.
        coarse: the method whose map is enlarged, and that map's rows and columns.
    """

    heats: dict[str, Tensor]
    played_back: dict[str, Reconstruction]
    coarse: tuple[str, Pair]


@keep("Looking for the evidence …")
def of_class(view: View, label: int) -> OfClass:
    """A class activation map where it is exact, else Grad-CAM of the view's layer; gradient, guided and deconvnet."""
    model, image = resources.trained(view.network).model, resources.network_input(view)
    if has_exact_map(view):
        name, coarse = CAM, evidence.class_activation_map(model, image, label)
    else:
        name, coarse = f"{GRAD_CAM} of {view.layer}", evidence.grad_cam(model, image, view.layer, label)
    played_back = evidence.of_class(model, image, label)
    heats = {name: evidence.enlarged(coarse, view.size, view.size)}
    heats |= {rule: evidence.heat(picture.pixels) for rule, picture in played_back.items()}
    return OfClass(heats, played_back, (name, tuple(coarse.shape[-2:])))


def draw(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    with row:
        drawn = selection.segments("Draw as", DRAWN, "drawn")
        with layout.options(
            {"compare": Option("compare", COMPARED), "logit": Option("class", usual=selection.PREDICTED)}
        ):
            subjects = draw_controls(chosen)
    of_each = [occlusion_of(subject.settings, anew=True) for subject in subjects]
    jobs.follow(*of_each, look=lambda: draw_methods(subjects, drawn, of_each))
    name, of_map = (
        ("class activation map", CAM_FORMULA) if has_exact_map(chosen.view()) else (GRAD_CAM, GRAD_CAM_FORMULA)
    )
    texts.what_to_look_at(
        "Saliency (or attribution) maps by several methods: which point at the object, at its edges, everywhere?",
        f"Options, another class: {name} and occlusion change; guided and deconvnet pictures hardly do.",
        "Occlusion asks the network itself: where another method disagrees with it, what does that one show?",
    )
    st.latex(of_map + r"\qquad \rho=\mathrm{corr}\,(\mathrm{rank}\,M_1,\ \mathrm{rank}\,M_2)")


def has_exact_map(view: View) -> bool:
    """Whether the network's class activation maps are exact: only an average lies between its maps and its answer."""
    return evidence.last_maps(resources.trained(view.network).model) is not None


def draw_controls(chosen: Selection) -> list[Subject]:
    """One image or two, and the class: one for both, or of each the predicted one."""
    view, names = chosen.view(), [chosen.image_name]
    views = [view]
    if selection.segments("Compare", COMPARED, "compare") == IMAGES:
        other = selection.second_image(chosen.split)
        views.append(replace(view, split=other.split, index=other.index))
        names.append(other.name)
    labels = selection.classes_to_explain(chosen, views)
    return [
        Subject(usual_settings(one), label, chosen.card.classes[label], name)
        for one, label, name in zip(views, labels, names, strict=True)
    ]


def draw_methods(subjects: Sequence[Subject], drawn: str, of_each: Sequence[Occluding]) -> None:
    """Of each method the map, or the maps of both images side by side; and in words which agree."""
    heats = [heats_of(subject, job) for subject, job in zip(subjects, of_each, strict=True)]
    tiles = [tiles_of(subject, maps, drawn) for subject, maps in zip(subjects, heats, strict=True)]
    methods = list(tiles[0])
    columns = COLUMNS if len(subjects) == 1 or layout.is_presenting() else COLUMNS_OF_PAIRS
    classes = " and ".join(dict.fromkeys(subject.class_name for subject in subjects))
    with layout.stage(len(methods) // columns, all_named=True):
        for start in range(0, len(methods), columns):
            for column, method in zip(st.columns(columns, gap="small"), methods[start:], strict=False):
                with column:
                    png = sheet([one[method] for one in tiles], len(tiles))
                    sheets.show(png, f"{method}: evidence for {classes}")
                    st.caption(f"**{method}**" if method != IMAGE else caption(subjects))
    st.info(in_words(subjects, heats))
    method, (rows, across) = of_class(subjects[0].view, subjects[0].label).coarse
    if min(rows, across) < FEWEST_PLACES:
        st.caption(f"The {method} has only {rows} x {across} places: it can hardly say where.")
    in_a_row = COLUMNS if len(subjects) == 1 else len(methods)
    every = [tile for one in tiles for tile in one.values()]
    words = f"{', '.join(methods)}: the evidence for {classes}"
    downloads.picture("Pictures", lambda: sheet(every, in_a_row), "evidence.png", words)
    downloads.table("Rank correlations", table_of(subjects, heats), "evidence.csv")
    settings, labels = [subject.settings for subject in subjects], [subject.label for subject in subjects]
    downloads.code(code.of_methods(settings, labels, CAM in heats[0], drawn == PICTURE, in_a_row))


def sheet(tiles: Sequence[np.ndarray], columns: int) -> bytes:
    """A PNG of pictures `[S, S, 3]`, enlarged without blur."""
    return pictures.png(pictures.sheet(np.stack([drawings.enlarged(tile) for tile in tiles]), columns))


def heats_of(subject: Subject, job: Occluding) -> dict[str, Tensor]:
    """`{method: heat}`: occlusion's once it is complete, and the others."""
    return {**with_occlusion(subject, job), **of_class(subject.view, subject.label).heats}


def tiles_of(subject: Subject, heats: dict[str, Tensor], drawn: str) -> dict[str, np.ndarray]:
    """`{method: picture}`, uint8 `[S, S, 3]`; the image first."""
    image, played_back = resources.input_pixels(subject.view), of_class(subject.view, subject.label).played_back
    tiles = {IMAGE: image, OCCLUSION: pictures.over_image(np.full(image.shape[:2], np.nan), image)}
    for method, heat in heats.items():
        tiles[method] = pictures.over_image(pictures.stretched(heat), image)
        if drawn == PICTURE and method in played_back:
            tiles[method] = pictures.signed_each(played_back[method].pixels)[0]
    return tiles


def with_occlusion(subject: Subject, job: Occluding) -> dict[str, Tensor]:
    """Occlusion's map once it is complete: by how much hiding each pixel lowers the class's probability."""
    if not job.complete or job.found is None:
        return {}
    before = resources.answer(subject.view).probability(subject.label)
    return {OCCLUSION: before - job.found.over_pixels(job.found.probability(subject.label))}


def caption(subjects: Sequence[Subject]) -> str:
    """What the maps are of."""
    one_of_many = len(subjects) > 1
    named = [
        f"**{texts.plain(subject.class_name)}**" + f" ({texts.plain(subject.image_name)})" * one_of_many
        for subject in subjects
    ]
    return f"The evidence for {' and '.join(named)}, by:"


def in_words(subjects: Sequence[Subject], heats: Sequence[dict[str, Tensor]]) -> str:
    """How far the methods agree, on each image."""
    said = [agreement.in_words(maps) for maps in heats]
    if len(said) == 1:
        return said[0]
    named = zip(subjects, said, strict=True)
    return "\n\n".join(f"On {texts.plain(subject.image_name)}: {words}" for subject, words in named)


def table_of(subjects: Sequence[Subject], heats: Sequence[dict[str, Tensor]]) -> pd.DataFrame:
    """The rank correlations; of two images those of each, named in the first column."""
    tables = [table(maps) for maps in heats]
    if len(tables) == 1:
        return tables[0]
    named = zip(subjects, tables, strict=True)
    return pd.concat(
        [rows.assign(image=subject.image_name).set_index("image") for subject, rows in named]
    ).reset_index()


def table(heats: dict[str, Tensor]) -> pd.DataFrame:
    """The rank correlation of each two methods."""
    rows = [[agreement.agreement(first, second) for second in heats.values()] for first in heats.values()]
    return pd.DataFrame(rows, index=list(heats), columns=list(heats)).rename_axis("method").reset_index()
