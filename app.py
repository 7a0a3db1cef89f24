"""Convscope: look inside convolutional networks, in front of a class. Start it with `streamlit run app.py`.

This is the server; `pages/main.py` is what it runs for each visitor. A server that runs a script in `pages/` knows no
older way of finding pages, so a cold link to any page goes through main.py like every other.
"""

import streamlit as st

app = st.App("pages/main.py")
