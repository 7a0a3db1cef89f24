"""The models that were kept of runs, or added, and a way to remove them again."""

import streamlit as st

from engine import checkpoints
from pages.common import texts, visitors


def show() -> None:
    """The kept models that this visitor may remove, each behind a second look."""
    names = [path.name for path in checkpoints.kept() if visitors.may_change(path)]
    if not names:
        return
    with st.expander("Kept models"):
        for name in names:
            # Without a key it would stay open after a removal, for the next model: a browser goes by the place.
            key = f"train_kept-{name}"
            with st.popover(texts.plain(name), icon=":material/delete:", width="stretch", key=key):
                st.markdown(f"Remove the model **{texts.plain(name)}** from all pages, for everybody?")
                if st.button("Remove it for good", key=f"train_remove-{name}"):
                    with texts.readable_errors():
                        checkpoints.remove(name)
                        st.rerun()
