"""What a click into a chart does: it puts a class or a test image into the sidebar, and so into the link."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from engine.data import LabelledImages
from pages.accuracy.subject import Subject
from pages.common.selection import Selection

Point = dict[str, Any]
"""The fields of the mark that was clicked."""


def chart(spec: dict[str, Any], key: str, alt: str, on_click: Callable[[Point], None], **settings: Any) -> None:
    """Draw a Vega-Lite chart; a click hands the point of its selection "pick" to `on_click`, before the next run."""
    st.vega_lite_chart(
        spec=spec,
        key=key,
        width="stretch",
        alt=alt,
        on_select=partial(hand_on, key, on_click),
        selection_mode="pick",
        **settings,
    )


def hand_on(key: str, on_click: Callable[[Point], None]) -> None:
    """Call `on_click` with the point that the chart `key` has selected, if there is one."""
    points = st.session_state[key]["selection"].get("pick", [])
    if points:
        on_click(points[0])


def selected_class(chosen: Selection, subject: Subject) -> int | None:
    """The sidebar's class, be it of a test or a training image, if there are test images of the subject to show."""
    if subject.images is None or chosen.truth not in subject.classes:
        return None
    return subject.classes.index(chosen.truth)


def why_no_images(subject: Subject, mark: str) -> str:
    """Why no images are shown where no class is selected; `mark`: what can be clicked to select one."""
    return subject.why_no_images if subject.images is None else f"Click {mark} to see its test images."


def select_class(name: str) -> None:
    """Put the first test image of a class into the sidebar."""
    st.session_state.update({"images": "test", "class": name, "number": 0})


def select_image(test: LabelledImages, index: int) -> None:
    """Put a test image into the sidebar."""
    link = link_to(test, index)
    st.session_state.update({**link, "number": int(link["number"])})


def link_to(test: LabelledImages, index: int) -> dict[str, str]:
    """A test image in a link: its class, and its number among the images of the class."""
    label = test.labels[index]
    number = int(np.count_nonzero(test.labels[:index] == label))
    return {"images": "test", "class": test.classes[label], "number": str(number)}
