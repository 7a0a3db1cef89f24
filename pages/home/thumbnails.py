"""Make Home's thumbnails again: `python -m pages.home.thumbnails`.

Each link of Home is opened as a reader would open it, but without a browser; the thumbnail is the picture that the
page's own menu offers for a slide. Of a page that shows nothing before somebody starts it, the work is started.
"""

import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from streamlit.testing.v1 import AppTest

from engine import command
from engine.errors import ConvscopeError
from engine.files import write_atomically
from pages import directory
from pages.common import downloads, lectures, slides
from pages.common.downloads import Offer
from pages.home import cards
from pages.home.cards import Card

MAIN = Path(__file__).resolve().parents[1] / "main.py"
SIZE, QUALITY = (384, 216), 72
"""Pixels, in the proportions of a slide; the quality of the JPEG."""
STARTED = {"inversion": "inversion_start"}
"""The button that starts the work of a page."""
INSTEAD = {
    "train": Card(directory.page("learning_curves"), "", link={"curves": "lenet", "measured_on": "both"}),
    "evidence": Card(directory.page("evidence"), "", link={"view": "adversarial"}),
    "feature_maps": Card(directory.page("feature_maps"), "", link={"layer": "conv2_x"}),
    "network": Card(directory.page("network"), "", link={"view": "diagram"}),
    "inversion": Card(directory.page("inversion"), "", link={"checkpoint": "model_one", "layer": "conv2_relu"}),
}
"""What stands for a page whose first view shows no picture or a dull one, or takes long to make one."""
DRAWING = {"train": 1}
"""Which of the drawings of a page to take, if not the first."""
LOOKS = 600
"""So many times the page is looked at while its work goes on."""


def wanted() -> dict[str, list[Card]]:
    """For each thumbnail by name the links that may give it; of a lecture, steps that look inside first."""
    found, _ = lectures.shipped()
    shown = [*cards.FIRST, *map(cards.of_page, directory.PAGES), *cards.VIEWS]
    of_lectures = [[cards.of_lecture(one, number) for number, _ in enumerate(one.steps, 1)] for one in found]
    for steps in of_lectures:
        steps.sort(key=lambda step: step.page.group != directory.LOOK_INSIDE)
    return {card.name: [INSTEAD.get(card.name, card)] for card in shown} | {
        steps[0].name: steps for steps in of_lectures
    }


def thumbnail(name: str, links: Sequence[Card]) -> bytes:
    """A JPEG of the first picture that the links offer.

    Raises:
        ConvscopeError: a page shows an error, or none offers a picture.
    """
    offered = (list(_offer(card).drawings.values()) for card in links)
    drawings = next(filter(None, offered), None)
    if drawings is None:
        raise ConvscopeError(f"No page offers a picture for the thumbnail {name!r}: choose another link.")
    png = slides.slide(drawings[DRAWING.get(name, 0)](), [])
    content = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS).save(
        content, "JPEG", quality=QUALITY, optimize=True, progressive=True
    )
    return content.getvalue()


def _offer(card: Card) -> Offer:
    """What the page offers at a card's link."""
    app = AppTest.from_file(str(MAIN), default_timeout=600)
    for key, value in card.link.items():
        app.query_params[key] = value
    app.run()
    app.switch_page(card.page.file).run()
    if start := STARTED.get(card.page.address):
        app.button(key=start).click().run()
    for _ in range(LOOKS):
        if downloads.offered_by(app.session_state).drawings or not app.get("progress"):
            break
        time.sleep(0.5)
        app.run()
    if app.exception or app.error:
        raise ConvscopeError(f"The page {card.page.title} cannot be drawn: {[*app.exception, *app.error][0].value}")
    return downloads.offered_by(app.session_state)


@command.exit_status()
def main(arguments: Sequence[str] | None = None) -> None:
    """Make all thumbnails, or those that are named."""
    parser = command.parser("pages.home.thumbnails", "Make the thumbnails of the page Home again.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, such as: ship reconstruction")
    parser.add_argument(
        "--to", type=Path, default=cards.PICTURES, metavar="FOLDER", help="where to (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    chosen = {name: links for name, links in wanted().items() if not options.names or name in options.names}
    options.to.mkdir(parents=True, exist_ok=True)
    with command.progress("pictures", len(chosen)) as progress:
        for number, (name, links) in enumerate(chosen.items(), 1):
            content = thumbnail(name, links)
            write_atomically(options.to / f"{name}.jpg", lambda file, content=content: file.write(content))
            progress(number)
    size = sum(file.stat().st_size for file in options.to.glob("*.jpg"))
    print(f"{len(chosen)} thumbnails in {options.to}, {size / 1000:.0f} kB in all.")


if __name__ == "__main__":
    sys.exit(main())
