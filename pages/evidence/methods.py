"""Five methods side by side: where each sees the evidence for one class, and how much they agree."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from engine import agreement, evidence, pictures
from engine.deconv import Reconstruction
from pages.common import downloads, jobs, layout, resources, selection, sheets, texts
from pages.common.controls import Option
from pages.common.resources import View
from pages.common.selection import Selection
from pages.evidence import code, drawings
from pages.evidence.jobs import GRAD_CAM, Occluding, OcclusionSettings, occlusion_of
from pages.evidence.occlusion import usual_settings

OCCLUSION, CAM = "occlusion", "class activation map"
HEAT, PICTURE = DRAWN = ("heat map", "picture")
COLUMNS = 3


@dataclass(frozen=True)
class OfClass:
    """The evidence for one class on one image, but for occlusion.

    Attributes:
        heats: `{method: heat [S, S]}`.
        played_back: `{rule: picture}`, the rules as methods.
    """

    heats: dict[str, Tensor]
    played_back: dict[str, Reconstruction]


@st.cache_resource(max_entries=48, show_spinner="Looking for the evidence …")
def of_class(view: View, label: int) -> OfClass:
    """A class activation map where it is exact, else Grad-CAM of the view's layer; gradient, guided and deconvnet."""
    model, image = resources.trained(view.network).model, resources.network_input(view)
    if evidence.last_maps(model) is not None:
        name, coarse = CAM, evidence.class_activation_map(model, image, label)
    else:
        name, coarse = f"{GRAD_CAM} of {view.layer}", evidence.grad_cam(model, image, view.layer, label)
    played_back = evidence.of_class(model, image, label)
    heats = {name: evidence.enlarged(coarse, view.size, view.size)}
    heats |= {rule: evidence.heat(picture.pixels) for rule, picture in played_back.items()}
    return OfClass(heats, played_back)


def draw(chosen: Selection, row: DeltaGenerator) -> None:
    """The view."""
    with row:
        drawn = selection.segments("Draw as", DRAWN, "drawn")
        settings = usual_settings(chosen)
        with layout.options({"logit": Option("class", usual=selection.PREDICTED)}):
            label = selection.class_to_explain(chosen, settings.view)
    job = occlusion_of(settings, anew=True)
    name = texts.plain(chosen.card.classes[label])
    jobs.follow(job, look=lambda: draw_methods(chosen, settings, label, drawn, job, name))
    texts.what_to_look_at(
        "Which methods point at the object, which at its edges, which everywhere?",
        "Options, another class: class activation map and occlusion change; guided and deconvnet pictures hardly do.",
        "Occlusion asks the network itself: where another method disagrees with it, what does that one show?",
    )
    st.latex(r"M(i,j)=\sum_k w_k A_k(i,j)\qquad \rho=\mathrm{corr}\,(\mathrm{rank}\,M_1,\ \mathrm{rank}\,M_2)")


def draw_methods(
    chosen: Selection, settings: OcclusionSettings, label: int, drawn: str, job: Occluding, name: str
) -> None:
    """The image and five maps, and in words which agree."""
    view = settings.view
    found, image = of_class(view, label), resources.input_pixels(view)
    heats = {**with_occlusion(view, label, job), **found.heats}
    tiles = {"The image": image, OCCLUSION: pictures.over_image(np.full(image.shape[:2], np.nan), image)}
    for method, heat in heats.items():
        played_back = found.played_back.get(method) if drawn == PICTURE else None
        tiles[method] = (
            pictures.over_image(pictures.stretched(heat), image)
            if played_back is None
            else pictures.signed_each(played_back.pixels)[0]
        )
    with layout.stage(2):
        for start in range(0, len(tiles), COLUMNS):
            columns = st.columns(COLUMNS, gap="small")
            for column, (method, tile) in zip(columns, list(tiles.items())[start : start + COLUMNS], strict=False):
                with column:
                    sheets.show(drawings.large(tile), f"{method}: evidence for {chosen.card.classes[label]}")
                    st.caption(f"**{method}**" if method != "The image" else f"The evidence for **{name}**, by:")
    st.info(agreement.in_words(heats))
    with st.container(horizontal=True):
        row = pictures.sheet(np.stack([drawings.enlarged(tile) for tile in tiles.values()]), COLUMNS)
        downloads.picture("Pictures (PNG)", pictures.png(row), "evidence.png")
        downloads.table("Rank correlations (CSV)", table(heats), "evidence.csv")
    downloads.code(code.of_methods(settings, label, CAM in found.heats, drawn == PICTURE, COLUMNS))


def with_occlusion(view: View, label: int, job: Occluding) -> dict[str, Tensor]:
    """Occlusion's map once it is complete: by how much hiding each pixel lowers the class's probability."""
    if not job.complete or job.found is None:
        return {}
    answer = resources.answer(view)
    before = answer.probability(label)
    return {OCCLUSION: before - job.found.over_pixels(job.found.probability(label))}


def table(heats: dict[str, Tensor]) -> pd.DataFrame:
    """The rank correlation of each two methods."""
    rows = [[agreement.agreement(first, second) for second in heats.values()] for first in heats.values()]
    return pd.DataFrame(rows, index=list(heats), columns=list(heats)).rename_axis("method").reset_index()
