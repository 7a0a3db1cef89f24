"""What Home invites to: each invitation is a link with a thumbnail, an address of the app."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.lectures import Lecture
from pages import directory
from pages.common import lectures
from pages.common.controls import by_key
from pages.directory import Entry

PICTURES = Path(__file__).with_name("pictures")
"""The thumbnails; `thumbnails.py` makes them."""
FIRST_LECTURE = "batch-norm"


@dataclass(frozen=True)
class Card:
    """An invitation.

    Attributes:
        page: where it leads; `link`: the keys of its address, none for whatever the reader has chosen.
        title: the words of the link; `words`: what there is to see.
        name: of the thumbnail's file.
    """

    page: Entry
    title: str
    words: str = ""
    link: Mapping[str, str | list[str]] = field(default_factory=dict)
    name: str = ""

    @property
    def picture(self) -> Path:
        """The thumbnail; a lecture without one shows that of its first page."""
        own = PICTURES / f"{self.name}.jpg"
        return own if own.exists() else PICTURES / f"{self.page.address}.jpg"


RECONSTRUCTION, FEATURE_MAPS, ACCURACY = map(directory.page, ("reconstruction", "feature_maps", "accuracy"))


def of_page(entry: Entry) -> Card:
    """A page, as the reader last saw it."""
    return Card(entry, entry.title, entry.question, name=entry.address)


def of_lecture(lecture: Lecture, number: int = 1) -> Card:
    """A lecture, from the step of this number."""
    entry, link = directory.page(lecture.steps[number - 1].link.page), by_key(lectures.address(lecture, number))
    name = re.sub(r"\W", "-", f"lecture-{lecture.name}")
    return Card(entry, f"{lecture.title}, {lecture.minutes} min", "", link, name)


FIRST = (
    Card(
        RECONSTRUCTION,
        "Ask each layer what it saw",
        "A horse, played back to the pixels from every layer of a network: what is left of it?",
        {"checkpoint": "model_one", "layer": "pool5", "class": "horse", "compare": "layers"},
        "horse",
    ),
    Card(
        FEATURE_MAPS,
        "Touch a feature map",
        "A cat in 32 maps: click one, and see its kernel, its images and its favourite picture.",
        {"checkpoint": "model_one", "images": "photographs", "photograph": "cat", "layer": "conv1_relu"},
        "touch",
    ),
)
"""What a newcomer should try first, before the first lecture."""
VIEWS = (
    Card(RECONSTRUCTION, "What does the last layer see in a ship?", "", {"class": "ship"}, "ship"),
    Card(RECONSTRUCTION, "The same ship without batch norm", "", {"class": "ship", "bn": "false"}, "ship-without"),
    Card(RECONSTRUCTION, "All layers of one image in a row", "", {"class": "ship", "compare": "layers"}, "layers"),
    Card(
        RECONSTRUCTION,
        "A photograph of a cat, at 224 px",
        "",
        {"images": "photographs", "photograph": "cat", "size": "224"},
        "cat",
    ),
    Card(
        RECONSTRUCTION, "What do random weights show?", "", {"class": "ship", "compare": "training"}, "random-weights"
    ),
    Card(RECONSTRUCTION, "Residual against shortcut", "", {"compare": "paths"}, "paths"),
    Card(ACCURACY, "Which class is taken for which?", "", {"view": "Confusion"}, "confusion"),
)
