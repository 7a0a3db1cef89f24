"""About how long a training will take, measured beside the page."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from functools import partial

import streamlit as st

from engine.training import estimate, toml_text
from engine.training.device import best_device, slow_precision
from engine.training.estimate import TimePerImage
from engine.training.recipe import Recipe, parse

VALID = 120
"""Seconds after which it is measured again: the machine may have been busy with something else."""


@st.cache_resource(show_spinner=False)
def _timer() -> ThreadPoolExecutor:
    """One thread that times networks, one after the other."""
    return ThreadPoolExecutor(1, "times a network")


class Timing:
    """What a step by `recipe` costs: the least of what was measured so far, as other work can only lengthen it.

    Attributes:
        cost: None before the first measurement has ended, and where none is possible.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.cost: TimePerImage | None = None
        self._recipe = recipe
        self._measure()

    @property
    def waits(self) -> bool:
        """Whether the first measurement is still to end."""
        return self.cost is None and not self._measurement.done()

    def renew(self) -> None:
        """Measure again beside the page, if that was long ago."""
        if self._measurement.done() and time.monotonic() - self._begun > VALID:
            self._measure()

    def _measure(self) -> None:
        self._begun = time.monotonic()
        self._measurement = _timer().submit(self._time)

    def _time(self) -> None:
        measured = estimate.cost(self._recipe)
        self.cost = TimePerImage(*map(min, astuple(self.cost or measured), astuple(measured)))


@st.cache_resource(show_spinner=False, max_entries=256)
def _timing(recipe_text: str) -> Timing:
    return Timing(parse(recipe_text, "timed"))


def _timings(recipe: Recipe) -> dict[int, Timing]:
    """What a step costs, by the size of the images; measured again if that was long ago."""
    sizes = sorted({recipe.pixels_at(epoch) for epoch in range(recipe.epochs)})
    timings = {size: _timing(toml_text.to_toml(estimate.timed(recipe, size))) for size in sizes}
    for timing in timings.values():
        timing.renew()
    return timings


def seconds(recipe: Recipe) -> float | None:
    """About how long `recipe` takes; None if that is not known, or not yet."""
    costs, images = {size: timing.cost for size, timing in _timings(recipe).items()}, estimate.images(recipe)
    if images is None or None in costs.values():
        return None
    return estimate.seconds(recipe, images, costs.__getitem__)


def show_estimate(recipe: Recipe) -> None:
    """About how long `recipe` will take; measured beside the page, which goes on."""
    count = estimate.parameters(recipe)
    waits = any(timing.waits for timing in _timings(recipe).values())
    show = partial(_say_estimate, recipe, count)
    st.fragment(show, run_every=0.5 if waits else None)()
    if sentence := slow_precision(recipe, best_device()):
        st.caption(f"{sentence}: choose float32 under “More settings”.")


def _say_estimate(recipe: Recipe, count: int) -> None:
    words = f"{count:,} parameters, {recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}"
    if any(timing.waits for timing in _timings(recipe).values()):
        st.markdown(f"{words}: timing a few steps …")
        return
    taken = seconds(recipe)
    st.markdown(words if taken is None else f"{words}: **about {estimate.in_words(taken)}** {_where()}")


def _where() -> str:
    """What the time is of: steps are timed on the processor, and a GPU trains if there is one."""
    return "on this machine" if best_device().type == "cpu" else "on the processor; this machine’s GPU takes less"
