"""Convscope: look inside convolutional networks, in front of a class. Start it with `streamlit run app.py`.

This is the server; `pages/main.py` is what it runs for each visitor. A server that runs a script in `pages/` knows no
older way of finding pages, so a cold link to any page goes through main.py like every other.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st
from starlette.middleware import Middleware

from pages import headers, startup


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """The server answers at once; the first network is loaded meanwhile."""
    startup.warm_up()
    yield


app = st.App(
    "pages/main.py",
    lifespan=lifespan,
    middleware=[Middleware(headers.Headers)],
    on_script_error=startup.show_error,
)
