"""Controls that are kept in the browser's address, and how they follow it.

Every control is bound to the address under its key, so each view is a link that restores it: on a cold start Streamlit
gives a control the value that the address has for it. But a link that is clicked changes the address of a session whose
controls are there already, and those keep their values. So `follow_address` compares the address with the one that the
session had last, and the controls take what is new in it.

Streamlit drops a value that a control does not offer; the controls here say so, instead of showing another view in
silence.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.common.texts import plain

Explain = Callable[[str], str]
Address = Mapping[str, Sequence[str]]
"""The values of each key."""
ADDRESS, ASKED, DRAWN, KNOWN, GOAL, BACK = "_address", "_asked", "_drawn", "_known", "_goal", "_back"
"""In the session: page and address after the last run; what is new in the address, by key; the keys of this run, and
of all runs; whether the whole address is what a reader asked for (`go_to`); whether Back or Forward led here."""
USUAL, BROKEN_OFF, LEFT_OUT = "_usual", "_broken_off", "_left_out"
"""In the session: what each control says at first, by key; whether the last run did not come to its end; whether
Streamlit has left something out of the address that Back or Forward led to."""
NOTICES, PLACE, SAID, IS_NEW = "_notices", "_place_for_notices", "_said", "_is_new"
"""In the session: what the page says that it has changed of a link, and where in this run; what each control said when
the last run came to its end, by key; whether keys of the address may be unknown."""
SHARED, EARLY = "_shared", "_early"
"""In the session: the keys of the controls that every page has; what the address did not yet say when a reader left."""
BEFORE = "_before"
"""In the session, until a run comes to its end: what was asked of each control, and its value before, by key."""
LONGEST = 20
"""Of longer values only the beginning is repeated to the reader."""


@dataclass(frozen=True)
class Option:
    """What is known beforehand of a control that is seldom changed.

    Attributes:
        name: what it is called where its value is told.
        offered: what it offers, if that is known; the first is the usual one, unless `usual` is given.
    """

    name: str
    offered: Sequence[Any] = ()
    usual: Any = None

    def differs(self, value: Any) -> bool:
        """Whether the control, given this value, is going to say it, and it is not the usual one."""
        usual = self.offered[0] if self.usual is None else self.usual
        is_offered = not self.offered or _in_link(value) in map(_in_link, self.offered)
        return value is not None and is_offered and _in_link(value) != _in_link(usual)


# The address ---------------------------------------------------------------------------------------------------


def follow_address(
    page: str, places: Collection[str] = (), meant: Callable[[Address], Address] = lambda address: address
) -> None:
    """Note what a change of page by link, Back or Forward asks of the controls; call it before any is drawn.

    Args:
        places: keys that no control has; where the address has another value of one of them, the whole of it is meant:
            what it leaves out gets its usual value.
        meant: what a link to such a place says; the browser adds to it what the last page's controls say.
    """
    run = get_script_run_ctx()
    address = parse_qs(run.query_string, keep_blank_values=True)
    is_cold = ADDRESS not in st.session_state
    last_page, last = st.session_state.get(ADDRESS, (page, {}))
    broke_off = st.session_state.get(BROKEN_OFF, False)
    st.session_state[ADDRESS], st.session_state[DRAWN], st.session_state[BROKEN_OFF] = (page, address), set(), True
    if run.is_history_navigation:
        st.session_state[BACK] = True
    is_elsewhere = not is_cold and any(key in address and address[key] != last.get(key) for key in places)
    stays = page == last_page
    is_whole = st.session_state.pop(GOAL, False) or is_elsewhere
    _keep_notices(is_cold or is_whole or not stays)
    if is_whole:
        said = meant(address) if is_elsewhere and not run.is_history_navigation else address
        _follow_all(run, address, said, stays)
    elif stays:
        _follow_on_the_page(run, address, last, broke_off)
    else:
        _follow_to_another_page(run, address, last, broke_off)


def _follow_all(run: Any, address: Address, said: Address, stays: bool) -> None:
    """Every control follows what is meant, `said`, by the whole address."""
    _ask_for_all(run, said)
    # Of a link to the page that it shows the browser does not take the address by itself.
    if stays or said != address:
        _release({*address, *said}, run)
        st.query_params.from_dict(said)


def _follow_on_the_page(run: Any, address: Address, last: Address, broke_off: bool) -> None:
    """Controls that a reader sees say themselves what is new, but for what has got lost."""
    if st.session_state.pop(LEFT_OUT, False):  # and so has the browser
        _release(address, run)
        st.query_params.from_dict(address)
    elif broke_off:
        st.session_state.setdefault(ASKED, {}).update(_unheard(address, last))


def _follow_to_another_page(run: Any, address: Address, last: Address, broke_off: bool) -> None:
    """What is new in the address is asked of the next page's controls, and what the browser could not know yet."""
    new = {key: values[-1] for key, values in address.items() if values != last.get(key) and _is_control(key)}
    goes_back = run.is_history_navigation
    asked = new if goes_back else _early(address, last, broke_off) | new
    said = address if goes_back else asked  # of Back and Forward also what the page just left says, too
    dropped = [key for key in said if key in address and key not in st.query_params and _is_control(key)]
    if dropped and goes_back:
        # For Back and Forward Streamlit itself lets the address win, except for keys that the page just left has too.
        asked = dict.fromkeys(last) | {key: values[-1] for key, values in address.items()}
    _ask(asked)
    _keep({key: address[key] for key in dropped}, run)
    if dropped and goes_back:
        st.session_state[LEFT_OUT] = True
        st.rerun()


def _early(address: Address, last: Address, broke_off: bool) -> dict[str, str | None]:
    """Of whoever clicks early: the browser leaves out what controls say that have not reached it yet."""
    shared = st.session_state.get(SHARED, set())
    known = last if broke_off else {key: last[key] for key in shared & last.keys()}
    early = {key: values[-1] for key, values in known.items() if key not in address and _is_control(key)}
    st.session_state[EARLY] = early
    return {key: value for key, value in _unheard(address, address).items() if key in shared} | early


def go_to(file: str, values: Iterable[tuple[str, str]]) -> NoReturn:
    """Show a page as this address would show it cold: what `values` leave out gets its usual value."""
    query = by_key(values)
    _release(query, get_script_run_ctx())
    st.session_state[GOAL] = True
    st.switch_page(file, query_params=query)


def by_key(values: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The values of each key, of which there may be several: `curves=lenet&curves=model_two`."""
    found: dict[str, list[str]] = {}
    for key, value in values:
        found.setdefault(key, []).append(value)
    return found


def _release(keys: Iterable[str], run: Any) -> None:
    """Part these keys of the address from their controls: Streamlit lets nobody else set them."""
    with run.session_state.query_params() as params:
        for key in keys:
            if binding := params.get_binding_for_param(key):
                params.unbind_widget(binding.widget_id)


def _ask_for_all(run: Any, address: Mapping[str, Sequence[str]]) -> None:
    """Let every control begin anew, with what the address says of it or else with its usual value."""
    known = st.session_state.get(KNOWN, set())
    _ask(dict.fromkeys(known) | {key: values[-1] for key, values in address.items()})
    with run.session_state.query_params() as params:  # on the same page Streamlit would go on with the older address
        params.set_initial_query_params(urlencode(address, doseq=True))


def _ask(asked: dict[str, str | None]) -> None:
    """Let each of these controls take what the address says of it, or its usual value where that is None."""
    st.session_state[BEFORE] = {key: (value, st.session_state.get(key)) for key, value in asked.items()}
    for key in filter(_is_control, asked):
        st.session_state.pop(key, None)
    st.session_state[ASKED] = asked


def _unheard(address: Address, last: Address) -> dict[str, str | None]:
    """What the last run, which was broken off, has asked of controls that still have the value that they had before.

    A second click on a link breaks the run of the first one off. Some controls have followed the link by then, but
    the browser has not heard of it, and sends their old values again. What a reader has changed meanwhile stays.
    """
    unheard = {}
    for key, (asked, before) in st.session_state.get(BEFORE, {}).items():
        if _is_control(key) and st.session_state.get(key) == before and address.get(key) == last.get(key):
            st.session_state.pop(key, None)
            unheard[key] = asked
    return unheard


def _is_control(key: str) -> bool:
    """Whether a control may have this key: what begins otherwise is the app's own, or Streamlit's."""
    return key[:1] not in ("", "_", "$")


def _keep(dropped: Mapping[str, list[str]], run: Any) -> None:
    """Keep what Streamlit has left out of `st.query_params` because another page's control of that key had it.

    The browser is told in the next run: now it could take it for an address of the old page.
    """
    with run.session_state.query_params() as params:
        for key, values in dropped.items():
            params.set_with_no_forward_msg(key, values)


def note_shared() -> None:
    """Note that every page has the controls drawn so far: their keys stay when a reader leaves a page."""
    st.session_state[SHARED] = set(st.session_state[DRAWN])


def remember_address(page: str) -> None:
    """Note the address that the controls have led to; call it at the end of a run."""
    st.session_state[BROKEN_OFF] = False
    st.session_state.pop(BEFORE, None)
    # A control that has kept its value through a change of page does not say it to the browser again.
    unsaid = {key: value for key, value in st.session_state.pop(EARLY, {}).items() if key not in st.query_params}
    still = {key: value for key, value in unsaid.items() if _in_link(st.session_state.get(key)) == value}
    # To what the address of a link says the browser adds what it keeps of the last page's, be it the same.
    repeated = {key: st.query_params[key] for key in st.query_params if len(st.query_params.get_all(key)) > 1}
    once = {key: value for key, value in repeated.items() if not isinstance(st.session_state.get(key), list)}
    with get_script_run_ctx().session_state.query_params() as params:
        for key, value in (still | once).items():
            if binding := params.get_binding_for_param(key):
                params.set_corrected_value(key, value, binding.value_type)
    st.session_state[ADDRESS] = page, {key: st.query_params.get_all(key) for key in st.query_params}
    st.session_state[SAID] = {key: _in_link(says(key)) for key in st.session_state[DRAWN]}


# What is said of a link ----------------------------------------------------------------------------------------


def place_for_notices() -> None:
    """Put here what is said of a link, for all to see: a control may be behind a button, or in a closed sidebar.

    Call it in each run, before any control of the page is drawn.
    """
    st.session_state[PLACE] = place = st.container()
    for sentence in st.session_state[NOTICES]:
        place.warning(plain(sentence))


def notice(sentence: str) -> None:
    """Say what is changed of a link, until the reader changes a control or the page; Markdown in it is escaped.

    The address no longer has it then, and a job that ends draws the page once more.
    """
    if get_script_run_ctx().fragment_ids_this_run:
        st.warning(plain(sentence))
    elif sentence not in (said := st.session_state.setdefault(NOTICES, [])):
        said.append(sentence)
        if (place := st.session_state.get(PLACE, st)) is not None:  # or else `place_for_notices` is going to draw it
            place.warning(plain(sentence))


def end_notices() -> None:
    """Say no longer what was changed of a link: the callback of a control that the address does not have."""
    st.session_state[NOTICES] = []


def leave_out_what_is_unknown() -> None:
    """Take out of a new address what no control of this run has, and say so; call it after all of them are drawn."""
    if not st.session_state.pop(IS_NEW, False):
        return
    unknown = {key: st.query_params[key] for key in st.query_params if key not in st.session_state[DRAWN]}
    for key, value in unknown.items():
        said = f"{_beginning(key)} {_beginning(value)!r}"
        notice(f"The link asks for {said}, but there is no such setting here: it is left out.")
    with get_script_run_ctx().session_state.query_params() as params:
        for key in unknown:
            params.remove_param(key)


def _keep_notices(is_new: bool) -> None:
    """Keep what the last runs have said of the link, unless the address is new or the reader has changed a control."""
    last = st.session_state.get(SAID, {})
    st.session_state[PLACE] = None
    if is_new or any(_in_link(says(key)) != value for key, value in last.items()):
        st.session_state[NOTICES], st.session_state[SAID] = [], {}
    if is_new:
        st.session_state[IS_NEW] = True  # until a run comes to its end


# Controls and what they say ------------------------------------------------------------------------------------


def is_known(key: str) -> bool:
    """Whether a control has had this key of the address in this session."""
    return key in st.session_state.get(KNOWN, ())


def may_have_values(key: str) -> bool:
    """Whether something is to be kept: the control of this key was drawn in this session, or a link asks for values."""
    return bool(st.query_params or st.session_state.get(ASKED)) or is_known(key)


def bound(key: str, usual: Any = None) -> None:
    """Note that a control takes this key of the address; those that are drawn here do it themselves.

    Args:
        usual: what the control says at first.
    """
    st.session_state.setdefault(DRAWN, set()).add(key)
    st.session_state.setdefault(KNOWN, set()).add(key)
    if st.session_state.get(ASKED, {}).pop(key, "") is None and usual is not None:
        st.session_state[key] = usual  # the browser still has another value


def put(key: str, value: Any) -> None:
    """Put a value into a control, and so into the link; call it in a callback.

    Of a control that was not drawn in the last run Streamlit would leave the value out of the address: to that one it
    comes as from a link. One that has the key of the address was drawn in the last run that came to its end.
    """
    st.session_state.get(BEFORE, {}).pop(key, None)
    if key in st.session_state.get(DRAWN, ()) or _has_control(key):
        st.session_state.get(ASKED, {}).pop(key, None)  # by a link whose run this click has broken off
        st.session_state[key] = value
    else:
        asked = st.session_state.setdefault(ASKED, {})
        asked[key] = st.query_params[key] = _in_link(value)


def says(key: str) -> Any:
    """What a control says, or is going to say when it is drawn, as the address has it; None for its usual value."""
    new = st.session_state.get(ASKED, {})
    return new[key] if key in new else st.session_state.get(key, st.query_params.get(key))


def brings(key: str, value: Any) -> bool:
    """Whether a link is going to give this value to a control, which is not drawn yet and had another one before."""
    _, before = st.session_state.get(BEFORE, {}).get(key, (None, None))
    is_new = key in st.session_state.get(ASKED, {}) or key not in st.session_state
    return is_new and _in_link(says(key)) == _in_link(value) != _in_link(before)


def _has_control(key: str) -> bool:
    with get_script_run_ctx().session_state.query_params() as params:
        return params.get_binding_for_param(key) is not None


def _beginning(text: str) -> str:
    return text if len(text) < LONGEST else f"{text[:LONGEST]}…"


def _settle(
    key: str,
    offered: Collection[Any],
    default: Any,
    read: Callable[[str], Any],
    explain: Explain | None = None,
    tells_of_loss: bool = False,
) -> bool:
    """Give the control `key` what a link asks of it, and drop a value that is not on offer.

    The reader is told of such a value if a link had it. One that a control of this key on another page or in another
    view has left behind goes without a word, unless `tells_of_loss`.

    Args:
        read: from the address's text to one of `offered`, or to something else.

    Returns:
        whether the address asks for something that is on offer, or for nothing.
    """
    new = st.session_state.get(ASKED, {})
    follows, from_link = key in new, key in new or key not in st.session_state
    asked = new[key] if follows else st.query_params.get(key)
    returns = key not in st.session_state and key in st.session_state.get(KNOWN, ())
    lost = tells_of_loss and not from_link and st.session_state[key] not in offered
    told = st.session_state[key] if lost else asked
    bound(key)
    value = default if asked is None else read(asked)
    fits = value in offered
    if follows and not (asked is None and key in st.session_state):  # a page may have chosen a value just now
        st.session_state[key] = value if fits else default
    elif returns or st.session_state.get(key, default) not in offered:
        # The browser still has the value that the control had before.
        st.session_state[key] = value if returns and fits else default
    if lost or (from_link and not fits):
        reason = (explain or partial(_not_on_offer, key))(_beginning(told)).rstrip(".")
        notice(f"{reason}: {_in_link(default)} is shown instead.")
    return fits


def _follow_usual(key: str, default: Any) -> None:
    """Give a control that has its usual value the new one, where that depends on another control: the size, say."""
    usual = st.session_state.setdefault(USUAL, {})
    last, usual[key] = usual.get(key, default), default
    if last != default and st.session_state.get(key) == last and key not in st.session_state.get(ASKED, {}):
        st.session_state[key] = default


def _not_on_offer(key: str, asked: str) -> str:
    return f"The link asks for {key} {asked!r}, which is not on offer here"


def _in_link(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# The controls --------------------------------------------------------------------------------------------------


def choose(
    label: str,
    key: str,
    options: list[str],
    preferred: str,
    explain: Explain | None = None,
    tells_of_loss: bool = False,
) -> str:
    """A select box, which falls back to `preferred` when the link asks for something else.

    Args:
        tells_of_loss: `explain`, too, that what was chosen is no longer on offer: for options that depend on no other
            control, and so go only when something is removed.
    """
    default = preferred if preferred in options else options[0]
    _follow_usual(key, default)
    fits = _settle(key, options, default, str, explain, tells_of_loss)
    return draw_control(st.selectbox, fits, label, options, index=options.index(default), key=key)


def segments(label: str, options: Sequence[str], key: str, preferred: str | None = None, **settings: Any) -> str:
    """A choice among a few options side by side."""
    default = preferred or options[0]
    _follow_usual(key, default)
    fits = _settle(key, options, default, str)
    return draw_control(st.segmented_control, fits, label, options, default=default, key=key, required=True, **settings)


def steps(label: str, options: Sequence[str], key: str, preferred: str, **settings: Any) -> str:
    """A slider over a few values."""
    _follow_usual(key, preferred)
    fits = _settle(key, options, preferred, str)
    return draw_control(st.select_slider, fits, label, options, value=preferred, key=key, **settings)


def switch(label: str, key: str, enabled: bool, why: str, usual: bool = True) -> bool:
    """A switch that is on at first, or as `usual`; `why` explains it, or why it is not enabled."""
    fits = _settle(key, (True, False), usual, lambda asked: {"true": True, "false": False}.get(asked.lower()))
    return draw_control(st.toggle, fits, label, value=usual, key=key, disabled=not enabled, help=why)


def differing(options: Mapping[str, Option]) -> list[str]:
    """What controls that are not drawn yet are going to say, where it is not the usual; by their keys."""
    new = st.session_state.get(ASKED, {})
    said = []
    for key, option in options.items():
        value = says(key)
        is_to_follow = key not in new and _in_link(value) == _in_link(st.session_state.get(USUAL, {}).get(key))
        if option.differs(value) and not is_to_follow:
            said.append(f"{option.name} {_beginning(_in_link(value))}")
    return said


def number_in_link(label: str, key: str, count: int, default: int = 0, **settings: Any) -> int:
    """A number from 0 to `count` - 1."""
    _follow_usual(key, default)
    there_are = f"there are 0 to {count - 1}"
    fits = _settle(
        key, range(count), default, _whole_number, lambda asked: f"The link asks for {key} {asked!r}, but {there_are}"
    )
    # A default other than the minimum would clash with a value that a callback has just put in.
    settings |= {"min_value": 0, "max_value": count - 1, "value": default or "min", "step": 1}
    return int(draw_control(st.number_input, fits, label, key=key, **settings))


def _whole_number(asked: str) -> int | None:
    return int(asked) if asked.isdecimal() and len(asked) < 10 else None


def draw_control(control: Callable[..., Any], fits: bool, *arguments: Any, key: str, **settings: Any) -> Any:
    """A control that is bound to the address, unless that asks for something that is not on offer.

    Streamlit itself stumbles over some such values, as a blank one, or a number of 400 digits.
    """
    value = control(*arguments, key=key, bind="query-params" if fits else None, **settings)
    if not fits:
        st.query_params.pop(key, None)
    return value
