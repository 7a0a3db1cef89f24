"""Makes a cold link to a page work.

Streamlit takes a folder called `pages` beside app.py for its older way of finding pages, until `st.navigation` has run
once. On a fresh server a link to /accuracy would therefore run pages/accuracy.py alone, without app.py and the sidebar,
and go on doing so. Every page calls this first: it turns the older way off and starts over, through app.py.
"""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager


def run_through_app() -> None:
    """Start over through app.py if Streamlit has run this page on its own."""
    if PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False
        st.rerun()
