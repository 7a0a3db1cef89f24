"""About how long a training will take, measured beside the page."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import streamlit as st

from engine.training import estimate, toml_text
from engine.training.device import best_device, slow_precision
from engine.training.estimate import TimePerImage
from engine.training.recipe import Recipe, parse

VALID = 120
"""Seconds for which a measurement counts: it may have met a machine that was busy with something else."""


@st.cache_resource(show_spinner=False)
def _timer() -> ThreadPoolExecutor:
    """One thread that times networks, one after the other."""
    return ThreadPoolExecutor(1, "times a network")


@st.cache_resource(show_spinner=False, max_entries=256, ttl=VALID)
def _cost(recipe_text: str) -> Future[TimePerImage]:
    """What a step costs, once it is measured."""
    return _timer().submit(lambda: estimate.cost(parse(recipe_text, "timed")))


def _costs(recipe: Recipe) -> dict[int, Future[TimePerImage]]:
    """What a step costs, by the size of the images."""
    sizes = sorted({recipe.pixels_at(epoch) for epoch in range(recipe.epochs)})
    return {size: _cost(toml_text.to_toml(estimate.timed(recipe, size))) for size in sizes}


def seconds(recipe: Recipe) -> float | None:
    """About how long `recipe` takes; None if that is not known, or not yet."""
    costs, images = _costs(recipe), estimate.images(recipe)
    if images is None or not all(cost.done() and not cost.exception() for cost in costs.values()):
        return None
    return estimate.seconds(recipe, images, lambda pixels: costs[pixels].result())


def show_estimate(recipe: Recipe) -> None:
    """About how long `recipe` will take; measured beside the page, which goes on."""
    count = estimate.parameters(recipe)
    waits = not all(cost.done() for cost in _costs(recipe).values())
    show = partial(_say_estimate, recipe, count)
    st.fragment(show, run_every=0.5 if waits else None)()
    if sentence := slow_precision(recipe, best_device()):
        st.caption(f"{sentence}: choose float32 under “More settings”.")


def _say_estimate(recipe: Recipe, count: int) -> None:
    words = f"{count:,} parameters, {recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}"
    if not all(cost.done() for cost in _costs(recipe).values()):
        st.markdown(f"{words}: timing a few steps …")
        return
    taken = seconds(recipe)
    st.markdown(words if taken is None else f"{words}: **about {estimate.in_words(taken)}** {_where()}")


def _where() -> str:
    """What the time is of: steps are timed on the processor, and a GPU trains if there is one."""
    return "on this machine" if best_device().type == "cpu" else "on the processor; this machine’s GPU takes less"
