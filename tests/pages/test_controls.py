"""Controls that are kept in the address, when clicks come faster than runs end."""

import pytest
from streamlit.testing.v1 import AppTest

from pages.common import controls


def clicked_while_a_run_was_broken_off() -> None:
    import streamlit as st

    from pages.common import controls

    def click() -> None:
        st.session_state[controls.DRAWN] = set()  # as after a run that was broken off before it drew anything
        controls.put("channel", 7)

    controls.follow_address("here")
    st.button("map", on_click=click)
    controls.number_in_link("Channel", "channel", 10)
    controls.remember_address("here")


def test_a_click_in_a_run_that_was_broken_off_counts() -> None:
    app = AppTest.from_function(clicked_while_a_run_was_broken_off).run()
    app.button[0].click().run()
    assert not app.exception
    assert app.number_input(key="channel").value == 7
    assert app.query_params["channel"] in ("7", ["7"])


def another_network() -> None:
    import streamlit as st

    from pages.common import controls

    controls.follow_address("here")
    network = controls.choose("Network", "checkpoint", ["deep", "flat"], "deep")
    layers = ["conv1", "conv2", "conv3"] if network == "deep" else ["conv1", "conv2"]
    st.session_state["used"] = controls.choose("Layer", "layer", layers, layers[-1])
    controls.remember_address("here")


def test_a_control_shows_what_is_used_where_its_value_is_not_on_offer() -> None:
    app = AppTest.from_function(another_network).run()
    app.selectbox(key="layer").set_value("conv3").run()
    app.selectbox(key="checkpoint").set_value("flat").run()
    assert app.session_state["used"] == app.selectbox(key="layer").value == "conv2"
    assert not app.warning
    assert app.selectbox(key="layer").proto.set_value  # the browser is told, which still has the old value
    app.selectbox(key="checkpoint").set_value("deep").run()
    assert app.session_state["used"] == app.selectbox(key="layer").value


def a_link_whose_run_is_broken_off() -> None:
    import streamlit as st

    from pages.common import controls

    controls.follow_address("here", ["step"])
    controls.bound("step")
    network = controls.choose("Network", "checkpoint", ["deep", "flat"], "deep")
    controls.segments("View", ["table", "diagram"], "view")
    st.session_state["used"] = network
    if st.session_state.get("breaks"):
        st.stop()
    controls.remember_address("here")


def broken_off() -> AppTest:
    app = AppTest.from_function(a_link_whose_run_is_broken_off).run()
    app.session_state["breaks"] = True
    app.query_params.update({"step": "2", "checkpoint": "flat", "view": "diagram"})
    app.run()
    assert app.session_state["used"] == "flat"
    app.session_state["breaks"] = False
    return app


def test_a_run_that_was_broken_off_is_followed_by_one_that_still_does_what_the_link_asks() -> None:
    app = broken_off()
    app.selectbox(key="checkpoint").set_value("deep").run()  # as a browser that has not heard of the link's value
    assert app.session_state["used"] == app.selectbox(key="checkpoint").value == "flat"
    assert app.session_state["view"] == "diagram"


def test_what_a_reader_changes_while_a_link_is_followed_stays() -> None:
    app = broken_off()
    del app.query_params["checkpoint"]  # as the browser does where a control takes its usual value
    app.selectbox(key="checkpoint").set_value("deep").run()
    assert app.session_state["used"] == app.selectbox(key="checkpoint").value == "deep"
    assert app.session_state["view"] == "diagram"


def a_page_to_present() -> None:
    from pages.common import controls, layout

    controls.follow_address("here")
    layout.present_switch()
    controls.remember_address("here")


@pytest.mark.parametrize("presenting", [False, True])
def test_present_counts_while_a_link_is_followed_that_has_not_drawn_it_yet(presenting: bool) -> None:
    app = AppTest.from_function(a_page_to_present).run()
    if presenting:
        app.button(key="present_button").click().run()
    assert app.session_state["present"] == presenting
    app.toggle(key="present").set_value(presenting)  # the browser says it again
    break_off(app, present="true" if presenting else None)
    app.button(key="present_button").click().run()
    assert not app.exception
    assert app.session_state["present"] != presenting


def break_off(app: AppTest, **asked: str | None) -> None:
    """Leave the app as a link does that asks this of controls, and whose run was broken off before it drew any."""
    for key in asked:
        del app.session_state[key]
    app.session_state[controls.ASKED] = dict(asked)
    app.session_state[controls.DRAWN], app.session_state[controls.BROKEN_OFF] = set(), True


def a_page_that_a_job_draws_once_more_at_once() -> None:
    import streamlit as st

    from pages.common import controls

    controls.follow_address("here")
    controls.place_for_notices()
    controls.number_in_link("Channel", "channel", 10)
    if not st.session_state.get("ended"):
        st.session_state["ended"] = True
        st.rerun()
    controls.leave_out_what_is_unknown()
    controls.remember_address("here")


def test_what_is_said_of_a_link_stays_when_the_first_run_is_broken_off() -> None:
    app = AppTest.from_function(a_page_that_a_job_draws_once_more_at_once)
    app.query_params.update({"channel": "zzz", "foo": "bar"})
    app.run()
    said = [warning.value for warning in app.warning]
    assert ("channel 'zzz'" in said[0], "foo 'bar'" in said[1], len(said)) == (True, True, 2)
    assert not app.query_params
    assert not app.number_input(key="channel").set_value(3).run().warning
