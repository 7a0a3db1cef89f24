"""What every visitor sees around a page: navigation and sidebar; then the page itself."""

import streamlit as st

from pages import directory
from pages.common import garbage, layout, selection, texts

st.set_page_config(page_title="Convscope", page_icon="🔬", layout="wide")

garbage.exempt_modules()
layout.use_the_whole_screen()
page = st.navigation(
    [
        st.Page(entry.file, title=entry.title, url_path=entry.address, default=entry is directory.HOME)
        for entry in (directory.HOME, *directory.PAGES)
    ],
    position="top",
)
with texts.readable_errors():
    selection.draw_sidebar()
with texts.readable_errors():
    page.run()
