"""Filters: the kernels as pictures, their preferences in words, how training changes them, and deeper kernels."""

import streamlit as st

from engine import filters
from engine.errors import ConvscopeError
from engine.filters import Snapshots
from engine.filters.words import NO_PATTERN, Words
from engine.weights import TRAINED
from pages.common import downloads, selection, sheets, texts
from pages.common.controls import bound
from pages.common.selection import Selection
from pages.filters import charts, resources
from pages.filters.resources import NOW, Moment

VIEWS = ("first layer", "before and after training", "deeper layers")
MOST_DIGITS = 9
BEFORE, HALFWAY, AFTER = "before training", "halfway", "after training"


def drawing_controls() -> tuple[str, str]:
    """Which colours to draw, and on which scale."""
    how = selection.segments("Weights as", filters.SHOWN, "form")
    scale = selection.segments(
        "Scale", resources.SCALES, "brightness",
        help="Each filter on its own scale: what does it look like? All on one: which are strong?",
    )  # fmt: skip
    return how, scale


# The first layer -----------------------------------------------------------------------------------------------


def show_first_layer(chosen: Selection, how: str, scale: str) -> None:
    """All filters of the first layer at one epoch, and one of them in detail."""
    moment = choose_moment(chosen)
    found = resources.words(moment)
    sheet, detail = st.columns([1.1, 1], gap="large")
    with detail:
        number = selection.number_in_link(f"Filter (0 to {len(found) - 1})", "channel", len(found))
        show_one(moment, how, scale, number)
    with sheet:
        st.markdown(f"**{len(found)} filters** {when_in_words(chosen, moment)}")
        picture = resources.sheet(moment, how, scale, number)
        sheets.show(picture, f"All filters of the first layer, {how}, {scale}")
        st.caption("Mid-grey is zero, bright is positive, dark is negative. The framed one is enlarged beside it.")
        with st.container(horizontal=True, gap="small"):
            downloads.picture("Filters (PNG)", picture, f"{chosen.card.name}-filters.png")
            downloads.table("In words (CSV)", resources.table(moment), f"{chosen.card.name}-filters.csv")
    st.info(summary(found))
    with st.expander("All filters in words"):
        st.dataframe(resources.table(moment)[["filter", "prefers", "explained"]], hide_index=True, row_height=44)
    explain()


def choose_moment(chosen: Selection) -> Moment:
    """The epoch that a slider picks; a network with random weights, or without kept kernels, has only its own."""
    if chosen.network.moment != TRAINED:
        return Moment(chosen.network)
    try:
        epochs = resources.snapshots(chosen.network).epochs
    except ConvscopeError as error:
        st.caption(str(error))
        return Moment(chosen.network)
    epoch = epoch_slider(chosen, list(epochs)) if len(epochs) > 1 else NOW
    return Moment(chosen.network, epoch)


def epoch_slider(chosen: Selection, epochs: list[int]) -> int:
    """A slider over all kept epochs, kept in the link; at first at the epoch whose weights the network has."""
    key, best = "epoch", chosen.card.best_epoch
    default = best if best in epochs else epochs[-1]
    bound(key)
    asked = st.query_params.get(key)
    if asked is not None and not is_one_of(asked, epochs):
        what = f"epoch {asked!r}, which was not kept" if len(asked) <= MOST_DIGITS else "an epoch that is not a number"
        st.warning(f"The link asks for {what}: epoch {default} is shown instead.")
        st.session_state.pop(key, None)
    if st.session_state.get(key, default) not in epochs:
        st.session_state.pop(key, None)
    label = "Epoch (0 is before training)"
    return int(st.select_slider(label, epochs, default, key=key, bind="query-params"))


def is_one_of(asked: str, epochs: list[int]) -> bool:
    """Whether a link's words are one of these numbers; Python refuses to read very long ones."""
    return asked.isdecimal() and len(asked) <= MOST_DIGITS and int(asked) in epochs


def when_in_words(chosen: Selection, moment: Moment) -> str:
    """When the kernels looked like this."""
    if moment.epoch == NOW:
        return "after training" if moment.network.moment == TRAINED else "with random weights, before training"
    return "before training" if moment.epoch == 0 else f"after epoch {moment.epoch} of {chosen.card.epochs}"


def show_one(moment: Moment, how: str, scale: str, number: int) -> None:
    """One filter, large, in words, with its answers to gratings."""
    word = resources.words(moment)[number]
    picture, said = st.columns([1, 1.6], gap="medium")
    with picture:
        sheets.show(resources.large(moment, how, scale, number), f"Filter {number}: {word.text}")
    with said:
        st.markdown(f"### {word.text}")
        st.caption(measured_in_words(word))
    answers = resources.responses(moment, number)
    st.markdown("**Response to stripes**")
    st.altair_chart(charts.response_chart(answers), width="stretch")
    downloads.table("Responses (CSV)", answers, f"filter-{number}-responses.csv")


def measured_in_words(word: Words) -> str:
    """The figures behind the words."""
    share = f"{texts.percent(word.explained)} of the filter"
    noise = f"{texts.percent(word.noise)} of a random one"
    if word.kind == NO_PATTERN:
        return f"Its best pattern explains {share}, no more than a best pattern explains of noise ({noise})."
    if word.orientation is None:
        return f"Its best pattern explains {share} (of noise: at most {noise})."
    return (
        f"Best stripes: at {word.orientation:.0f}° (0° is horizontal), {word.period:.1f} px from one to the next. "
        f"They explain {share} (of noise: at most {noise})."
    )


def summary(found: tuple[Words, ...]) -> str:
    """How many filters prefer what."""
    counts = {kind: sum(word.kind == kind for word in found) for kind in charts.KINDS}
    named = [f"{count} {kind}" for kind, count in counts.items() if count and kind != NO_PATTERN]
    unclear = counts[NO_PATTERN]
    prefer = f"Of {len(found)} filters, {', '.join(named)}" if named else f"None of the {len(found)} filters is clear"
    return f"{prefer}; {unclear} with {NO_PATTERN}." if unclear else f"{prefer}."


def explain() -> None:
    """What to look at, and the equation."""
    texts.what_to_look_at(
        [
            "Edges and stripes in all directions, and plain colours: what a first layer usually learns.",
            "Move the slider to 0: before training there is only noise, without a clear orientation.",
            "Grey filters respond to shapes, coloured ones to colours: which of them respond to fine stripes?",
        ]
    )
    st.latex(
        r"\text{response}(f,\theta) = \max_{\varphi,\,\|c\|=1}\ \sum_{k,x,y} w_{k,x,y}\; c_k\,"
        r"\cos\!\big(2\pi f\,(x\cos\theta + y\sin\theta) - \varphi\big)"
    )


# Before and after training -------------------------------------------------------------------------------------


def show_training(chosen: Selection, how: str, scale: str) -> None:
    """The same filters before, halfway through and after training."""
    name, trained = chosen.card.name, chosen.network.at(TRAINED)
    moments = moments_of_training(resources.snapshots(trained))
    columns = st.columns(len(moments), gap="medium")
    found = [resources.words(Moment(trained, epoch)) for epoch in moments.values()]
    for column, (when, epoch) in zip(columns, moments.items(), strict=True):
        with column:
            st.markdown(f"**{when}** (epoch {epoch})")
            picture = resources.sheet(Moment(trained, epoch), how, scale, None)
            sheets.show(picture, f"All filters of the first layer, {when}")
            downloads.picture("PNG", picture, f"{name}-filters-epoch-{epoch}.png")
    table = charts.kinds_table(list(moments), found)
    st.markdown("**Preferences of the filters**")
    chart = charts.kinds_chart(table, list(moments))
    st.altair_chart(chart, width="stretch")
    downloads.chart(chart, table, f"{name}-filters-in-training")
    clear = [sum(word.kind != NO_PATTERN for word in words) for words in found]
    counts = ", ".join(f"{count} {when}" for count, when in zip(clear, moments, strict=True))
    st.info(
        f"Filters with a clear preference: {counts}, of {len(found[0])}. (Of random filters, about 1 in 20 looks clear "
        "by chance.)"
    )
    texts.what_to_look_at(
        [
            "Find the same number in all three sheets: from which epoch on can you tell what it responds to?",
            'Scale "all together": training also decides which filters become strong.',
            "Much of the change happens early: compare halfway with the end.",
        ]
    )
    st.latex(r"w \leftarrow w - \eta\,\frac{\partial\,\text{loss}}{\partial w}")


def moments_of_training(kept: Snapshots) -> dict[str, int]:
    """The epochs to show by what they are called; after a short training there is no moment halfway."""
    names = {kept.epochs[kept.halfway]: HALFWAY, kept.epochs[0]: BEFORE, kept.epochs[-1]: AFTER}
    return {names[epoch]: epoch for epoch in sorted(names)}


# Deeper layers -------------------------------------------------------------------------------------------------


def show_deeper(chosen: Selection) -> None:
    """The kernel that makes one feature map of any convolution, one picture per map that it reads."""
    layers = list(resources.convolutions(chosen.network))
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        layer = selection.choose("Convolution", "convolution", layers, layers[min(1, len(layers) - 1)])
        outputs, inputs, height, width = resources.deeper_kernels(chosen.network, layer).shape
        output = selection.number_in_link(f"Feature map (0 to {outputs - 1})", "channel", outputs)
    st.markdown(
        f"**Kernel {output} of {layer}**: {height} × {width} weights for each of the {inputs} maps that it reads"
    )
    picture = resources.deeper_sheet(chosen.network, layer, output)
    sheets.show(picture, f"Kernel {output} of {layer}, one picture per input map")
    st.caption("The number below each picture is that of the map it reads. Mid-grey is zero; all on one scale.")
    downloads.picture("Kernel (PNG)", picture, f"{chosen.card.name}-{layer}-{output}.png")
    texts.what_to_look_at(
        [
            "Bright weights are positive: the kernel responds where that map is active. Dark ones are negative.",
            "A map whose weights are almost zero plays no part in this feature map.",
            "Deep kernels say little by themselves: look at the maps that they read on the page Feature maps.",
        ]
    )
    st.latex(r"\text{output}_o = \text{bias}_o + \sum_{c} \text{kernel}_{o,c} \star \text{map}_c")


def main() -> None:
    """The page."""
    chosen = selection.current()
    texts.headline(f"What the filters of {chosen.network} respond to")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        view = selection.segments("Show", VIEWS, "view")
        how, scale = drawing_controls() if view != "deeper layers" else ("RGB", "each filter")
    if view == "first layer":
        show_first_layer(chosen, how, scale)
    elif view == "deeper layers":
        show_deeper(chosen)
    else:
        show_training(chosen, how, scale)


main()
