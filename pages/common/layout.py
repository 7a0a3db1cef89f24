"""How the screen is used: little padding, and pictures that stay crisp when the browser enlarges them."""

import streamlit as st

STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding: 4.2rem 2rem 1rem; }
[data-testid="stSidebarHeader"] { height: 2.5rem; }
[data-testid="stImage"] img { image-rendering: pixelated; border-radius: 4px; }
</style>"""


def use_the_whole_screen() -> None:
    """Put the style on the page; call it in every run."""
    st.html(STYLE)
