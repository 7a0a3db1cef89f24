"""Home: what there is to see, as thumbnails that are links; and which networks there are."""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd
import streamlit as st

from engine import weights
from pages import directory
from pages.common import lectures, selection, texts
from pages.home import cards, doctor
from pages.home.cards import FIRST_LECTURE, Card

COLUMNS = ("network", "test accuracy", "parameters", "input", "epochs")
STYLE = """<style>
[class*=st-key-gallery_] { display: grid !important; gap: 0.9rem 0.8rem !important; align-items: start; }
.st-key-gallery_first { grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
[class*=st-key-gallery_]:not(.st-key-gallery_first) {
  grid-template-columns: repeat(auto-fill, minmax(min(11.5rem, 45%), 1fr));
}
[class*=st-key-card_] { position: relative; gap: 0.15rem !important; padding-bottom: 0.7rem; }
[class*=st-key-card_] [data-testid=stImage] img { width: 100%; border: 1px solid #8884; image-rendering: auto; }
[class*=st-key-card_] :is([data-testid=stElementContainer], [data-testid=stPageLink], [data-testid=stPageLink] *) {
  position: static;
}
[class*=st-key-card_] a { padding: 0.1rem 0; }
[class*=st-key-card_] a::after { content: ""; position: absolute; inset: 0; border-radius: 4px; }
[class*=st-key-card_] a:focus-visible::after { outline: 3px solid #0072B2; }
[class*=st-key-card_]:hover img { border-color: #0072B2; }
[class*=st-key-card_] [data-testid=stPageLink] p { white-space: normal; font-weight: 600; line-height: 1.25; }
[class*=st-key-card_] [data-testid=stCaptionContainer] p { font-size: 0.85rem; line-height: 1.3; margin: 0; }
</style>"""
"""Cards in a grid that fits the screen; the link of a card reaches over all of it."""


def network_table() -> pd.DataFrame:
    """The shipped networks with the figures of their cards."""
    rows = [
        (
            texts.plain(card.name if card.name == card.architecture else f"{card.name} ({card.architecture})"),
            texts.percent(card.test_accuracy) if card.test_images else "not measured",
            f"{card.parameters:,}",
            f"{card.input_size}\u00a0px",
            card.epochs,
        )
        for card in weights.cards().values()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).set_index("network")


def gallery(key: str, shown: Iterable[Card]) -> None:
    """Cards side by side; `key` tells them from the other galleries."""
    with st.container(key=f"gallery_{key}"):
        for number, card in enumerate(shown):
            with st.container(key=f"card_{key}_{number}"):
                if card.picture.exists():
                    st.image(str(card.picture), width="stretch", alt=f"Thumbnail: {card.title}")
                link = selection.from_the_beginning(card.link) if card.link else None
                st.page_link(card.page.file, label=texts.plain(card.title), query_params=link)
                if card.words:
                    st.caption(texts.plain(card.words))


texts.headline("Convscope: look inside convolutional networks. Three things to try first:")
st.html(STYLE)
found, problems = lectures.shipped()
first = [lecture for lecture in found if lecture.name == FIRST_LECTURE]
gallery("first", [*cards.FIRST, *(replace(cards.of_lecture(one), words=one.description) for one in first)])
for problem in problems:
    st.warning(texts.plain(problem))
st.markdown("## All pages: learn, measure, look inside")
gallery("pages", map(cards.of_page, directory.PAGES))
st.markdown("## Lectures, and views to begin with")
others = [lecture for lecture in found if lecture not in first]
gallery("views", [*map(cards.of_lecture, others), *cards.VIEWS])
st.markdown("## The networks")
st.table(network_table())
st.caption(
    "The app's own were trained on CIFAR-10's training images; test accuracy is measured on the "
    "official 10,000 test images. Choose network, layer, image and batch norm in the sidebar: the "
    "browser's address always restores what you see."
)
doctor.draw()
