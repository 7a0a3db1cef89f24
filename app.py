"""Convscope: look inside convolutional networks, in front of a class. Start it with `streamlit run app.py`."""

import streamlit as st

from pages.common import garbage, layout, selection, texts

st.set_page_config(page_title="Convscope", page_icon="🔬", layout="wide")

PAGES = [
    st.Page("pages/home.py", title="Home", default=True),
    st.Page("pages/train.py", title="Train"),
    st.Page("pages/learning_curves.py", title="Learning curves"),
    st.Page("pages/accuracy.py", title="Accuracy"),
    st.Page("pages/network.py", title="Network"),
    st.Page("pages/filters.py", title="Filters"),
    st.Page("pages/feature_maps.py", title="Feature maps"),
    st.Page("pages/reconstruction.py", title="Reconstruction"),
    st.Page("pages/inversion.py", title="Inversion"),
    st.Page("pages/maximization.py", title="Maximisation"),
]

garbage.exempt_modules()
layout.use_the_whole_screen()
page = st.navigation(PAGES, position="top")
with texts.readable_errors():
    selection.draw_sidebar()
page.run()
