"""About how long a training will take, measured beside the page."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import streamlit as st

from engine.training import estimate, toml_text
from engine.training.estimate import TimePerImage
from engine.training.recipe import Recipe, parse


@st.cache_resource(show_spinner=False)
def _timer() -> ThreadPoolExecutor:
    """One thread that times networks, one after the other."""
    return ThreadPoolExecutor(1, "times a network")


@st.cache_resource(show_spinner=False, max_entries=256)
def _cost(recipe_text: str) -> Future[TimePerImage]:
    """What a step costs, once it is measured."""
    return _timer().submit(lambda: estimate.cost(parse(recipe_text, "timed")))


def show_estimate(recipe: Recipe) -> None:
    """About how long `recipe` will take; measured beside the page, which goes on."""
    count = estimate.parameters(recipe)
    sizes = sorted({recipe.pixels_at(epoch) for epoch in range(recipe.epochs)})
    costs = {size: _cost(toml_text.to_toml(estimate.timed(recipe, size))) for size in sizes}
    waits = not all(cost.done() for cost in costs.values())
    show = partial(_say_estimate, recipe, count, costs)
    st.fragment(show, run_every=0.5 if waits else None)()


def _say_estimate(recipe: Recipe, count: int, costs: dict[int, Future[TimePerImage]]) -> None:
    epochs = f"{recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}"
    if not all(cost.done() for cost in costs.values()):
        st.markdown(f"{count:,} parameters, {epochs}: timing a few steps …")
        return
    images = estimate.images(recipe)
    if images is None:
        st.markdown(f"{count:,} parameters, {epochs}")
        return
    seconds = estimate.seconds(recipe, images, lambda pixels: costs[pixels].result())
    st.markdown(f"{count:,} parameters, {epochs}: **about {estimate.in_words(seconds)}** on this machine")
