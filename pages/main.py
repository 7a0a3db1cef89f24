"""What every visitor sees around a page: navigation and sidebar; then the page itself."""

import streamlit as st

from pages import directory, startup

with startup.IMPORTS:
    from pages import lecture
    from pages.common import controls, downloads, layout, selection, texts

st.set_page_config(page_title="Convscope", page_icon="🔬", layout="wide", initial_sidebar_state=270)

startup.exempt_modules()
startup.use_the_whole_screen()
startup.keep_one_entry_of_each_act()
startup.let_shortcuts_work_on_sliders()
startup.lead_the_focus()
page = st.navigation(
    [
        st.Page(entry.file, title=entry.title, url_path=entry.address, default=entry is directory.HOME)
        for entry in (directory.HOME, *directory.PAGES)
    ],
    position="top",
)
if page.url_path:
    st.set_page_config(page_title=f"{page.title} · Convscope")
address = page.url_path or directory.HOME.address
controls.follow_address(page.url_path, lecture.PLACES, lecture.meant)
with texts.readable_errors():
    lecture.draw()
controls.place_for_notices()
with texts.readable_errors():
    selection.draw_sidebar(directory.page(address))
beside = layout.present_switch()
controls.note_shared()
downloads.begin()
with texts.readable_errors():
    page.run()
    controls.leave_out_what_is_unknown()
    lecture.draw_own(address)
downloads.draw_menu(beside)
controls.remember_address(page.url_path)
