"""Who may change what where a class shares one server. Where nobody does, everybody may do everything.

What a visitor has started is theirs: the session keeps the right to it, and so does the address of its page, which
restores it after a reload, and hands it on to whoever is given that link. The lecturer enters the key of the server's
configuration once in a session, and may then do everything. All others look on.
"""

import hmac
from pathlib import Path

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from engine import settings
from engine.training.queue import owners
from pages.common import controls

RIGHT = "right"
"""The right to a run, in a link."""
RIGHTS, LEADS, KEY, WRONG = "_rights", "_leads", "_lecturers_key", "_wrong_key"
"""In the session: the rights of this visitor, whether they lead, what they enter as the key, whether it was wrong."""


def name() -> str:
    """What tells this visitor's session from others; empty outside of one."""
    run = get_script_run_ctx(suppress_warning=True)
    return run.session_id if run else ""


def is_here(visitor: str) -> bool:
    """Whether the visitor of that name has a page open; so it is believed where nobody can tell."""
    return not (visitor and runtime.exists()) or runtime.get_instance().is_active_session(visitor)


def is_class() -> bool:
    """Whether a class shares this server."""
    return settings.use.kind == settings.CLASS


def leads() -> bool:
    """Whether this visitor may do everything."""
    return not is_class() or st.session_state.get(LEADS, False)


def may_train() -> bool:
    """Whether this visitor may start a training, if it is not too long."""
    return leads() or settings.use.minutes > 0


def may_change(folder: Path) -> bool:
    """Whether this visitor may change the run, or remove the kept model, in `folder`."""
    return leads() or owns(folder)


# Rights --------------------------------------------------------------------------------------------------------


def rights() -> set[str]:
    """The rights of this visitor."""
    return st.session_state.setdefault(RIGHTS, set())


def new_right() -> str:
    """The right to a run that is about to be started; empty where none is needed, or given away by a link."""
    return "" if leads() else owners.new_right()


def owns(folder: Path) -> bool:
    """Whether this visitor owns what is in `folder`."""
    return owners.belongs(folder, rights())


def follow_right(folder: Path | None) -> None:
    """Take the right to the run in `folder` from the address, and let it carry the one that this visitor has.

    Args:
        folder: None where no run is shown: then the address carries none.
    """
    if not is_class():
        return
    controls.bound(RIGHT)
    asked = st.query_params.get(RIGHT, "")
    if folder is not None and owners.belongs(folder, [asked]):
        rights().add(asked)
    shown = folder is not None and not leads()  # a lecturer's links are for everybody
    own = next((right for right in rights() if shown and owners.belongs(folder, [right])), "")
    if own and own != asked:
        st.query_params[RIGHT] = own
    elif asked and not own:
        del st.query_params[RIGHT]


# The key -------------------------------------------------------------------------------------------------------


def offer_key() -> None:
    """A way for the lecturer to enter the key, or to give it back; nothing where there is none."""
    if not is_class() or not settings.use.key:
        return
    with st.popover("Lecturer", icon=":material/key:"):
        if leads():
            st.markdown("You may change everything here, until you close this page.")
            st.button("Give the key back", key="lecturer_leaves", on_click=st.session_state.pop, args=(LEADS, None))
            return
        st.text_input("The lecturer's key", key=KEY, type="password", max_chars=200, on_change=_enter)
        if st.session_state.pop(WRONG, False):
            st.error("This is not the key of this server.", icon="⚠️")


def _enter() -> None:
    entered = st.session_state.pop(KEY, "")
    if hmac.compare_digest(entered.strip().encode(), settings.use.key.encode()):
        st.session_state[LEADS] = True
    else:
        st.session_state[WRONG] = True
