"""The strongest test images of a layer's maps, or the button that searches for them."""

import streamlit as st

from engine.patches import TopPatches
from engine.views import View
from pages.common import strongest_images
from pages.common.jobs import panel


def strongest_of(view: View, heading: str) -> TopPatches | None:
    """Those of the view's layer; None, with what can be done about it, where there are none yet."""
    index, search = strongest_images.index(view.network), strongest_images.search(view.network)
    if index is None or search.alive:
        st.markdown(heading)
        if not search.alive:
            st.write("Nobody has searched for them in this network yet. The app stays usable meanwhile.")
        panel(search, start=strongest_images.START, key="search")
        return None
    top = index.of(view.layer)
    if top is None:
        st.caption("This layer is not in the list of strongest images.")
    return top
