"""A lecture as a worksheet: one HTML file with pictures, questions and room to write, which needs no network.

Pictures are drawn where that is cheap: the image with its deconvnet reconstructions, the filters of a first layer, the
maps of layers. They follow the rules of the pages' views (`engine.views`, `playbacks`, `map_sheets`, `filters.sheets`);
what no view offers is not drawn. Charts are the pages': whoever calls hands over what draws them. Of other views the
file names the address. All texts are escaped.
"""

import base64
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from engine import (
    data,
    deconv,
    evaluation,
    evolution,
    feature_maps,
    filters,
    map_sheets,
    pictures,
    playbacks,
    tape,
    weights,
)
from engine.batch_norm import normalises
from engine.data import photographs
from engine.filters import sheets
from engine.graph.receptive_field import receptive_field
from engine.lectures import Lecture, Link, Step, one_of
from engine.lectures.figures import NOT_THERE, bundled, fill_or_explain, trained
from engine.map_sheets import BRIGHTNESS, ORDERS, PATCHES, TILES, in_order
from engine.playbacks import (
    BATCH_NORM,
    CHOSEN,
    CLASS,
    IMAGES,
    NOTHING,
    OF_CHANNELS,
    ONE,
    PATHS,
    RULES,
    SIGNALS,
    SWITCHES,
    TOP,
    UNITS,
    WEIGHT_SCALES,
    Playback,
)
from engine.tape import Tape
from engine.views import PHOTOGRAPHS, USUAL_NETWORK, View, another_class, sizes, usual_layer
from engine.weights import Weights

SIDE, WIDE, WIDEST = 224, 440, 768
"""About how many pixels high a picture is, and how wide a sheet of filters and one of a layer's maps.

Three pictures fit side by side on A4.
"""
MOST_DRAWN = 30
"""Of a longer lecture only the first steps have pictures."""
STYLE = """body { font: 16px/1.45 sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }
section { break-inside: avoid; border-top: 1px solid #999; margin-top: 1.5rem; }
@media print { body { margin: 0; padding: 0; } }
figure { display: inline-block; margin: 0 0.4rem 0.4rem 0; vertical-align: top; max-width: 100%; }
figcaption, code { font-size: 0.8rem; color: #555; overflow-wrap: anywhere; } figcaption { width: 0; min-width: 100%; }
img { max-width: 100%; image-rendering: pixelated; } .room { height: 6rem; border-bottom: 1px dotted #999; }"""

Picture = tuple[str, np.ndarray]
"""A caption, and uint8 `[H, W, 3 or 4]`."""
Charts = Callable[[Link], Sequence[tuple[str, str]]]
"""The charts of a view: captions and SVGs; without an SVG ("") the words say why there is none."""


def to_html(lecture: Lecture, answers: bool, charts: Charts = lambda _: ()) -> str:
    """The whole file; with `answers` each one can be folded, otherwise there is room to write."""
    sections = "".join(_section(step, number, answers, charts) for number, step in enumerate(lecture.steps, start=1))
    title, description = html.escape(lecture.title), html.escape(fill_or_explain(lecture.description))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = f"<h1>{title}</h1><p>{description}</p>{sections}"
    return f'<!DOCTYPE html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>'


def _section(step: Step, number: int, answers: bool, charts: Charts) -> str:
    sentence, look, question, answer = (
        html.escape(fill_or_explain(text)) for text in (step.sentence, step.look, step.question, step.answer)
    )
    figures = [(caption, pictures.png(picture), "png") for caption, picture in _pictures(step.link, number)]
    drawn = charts(step.link) if number <= MOST_DRAWN else ()
    figures += [(caption, svg.encode(), "svg+xml") for caption, svg in drawn if svg]
    parts = [f"<h2>{number}. {sentence}</h2>", *(_figure(*one) for one in figures)]
    parts += [f"<p>{html.escape(reason)}</p>" for reason, svg in drawn if not svg]
    parts.append(f"<p><code>{html.escape(str(step.link))}</code></p>")
    parts += [f"<p>{said}</p>" for said in (f"Look at: {look}" if look else "", f"<b>{question}</b>") if said]
    unfolded = f"<details open><summary>Answer</summary><p>{answer}</p></details>"  # paper shows what is open
    parts.append(unfolded if answers and answer else '<div class="room"></div>')
    return f"<section>{''.join(parts)}</section>"


def _figure(caption: str, content: bytes, kind: str) -> str:
    source, said = base64.b64encode(content).decode(), html.escape(caption)
    return f'<figure><img alt="{said}" src="data:image/{kind};base64,{source}"><figcaption>{said}</figcaption></figure>'


# Pictures ------------------------------------------------------------------------------------------------------


def _pictures(link: Link, number: int) -> list[Picture]:
    """What can be drawn of a view; nothing for other pages, or if the link asks for something that there is not."""
    drawers = {"reconstruction": _reconstructions, "filters": _filters, "feature_maps": _maps}
    if link.page not in drawers or number > MOST_DRAWN:
        return []
    values = {"checkpoint": USUAL_NETWORK, "weights": weights.TRAINED} | dict(link.values)
    try:
        return list(drawers[link.page](weights.find(values["checkpoint"], values["weights"]), values))
    except NOT_THERE:
        return []


def _number(values: Mapping[str, str], key: str, count: int, usual: int = 0) -> int:
    """The same of a number from 0 to `count` - 1."""
    return int(one_of(values, key, [str(number) for number in range(count)], str(usual)))


def _view(network: Weights, values: Mapping[str, str], plays_back: bool = False) -> View:
    card, layers = trained(network).card, list(tape.layers(trained(network).model))
    layer = one_of(values, "layer", layers, usual_layer(card, layers, plays_back))
    size = int(one_of(values, "size", [str(size) for size in sizes(card)], str(card.input_size)))
    split = values.get("images", "test")
    if split == PHOTOGRAPHS:
        known = photographs.names()
        return View(network, layer, split, known.index(one_of(values, "photograph", known)), size)
    label = one_of(values, "class", bundled(split).classes)
    return View(network, layer, split, _index(split, label, values, "number"), size)


def _index(split: str, label: str, values: Mapping[str, str], key: str) -> int:
    """Where the image of a class that has this number lies among the bundled ones."""
    images = bundled(split)
    of_class = np.flatnonzero(images.labels == images.classes.index(label))
    return int(of_class[_number(values, key, len(of_class))])


def _pixels(view: View) -> np.ndarray:
    """uint8 `[1, S, S, 3]`."""
    if view.split == PHOTOGRAPHS:
        return photographs.shipped(photographs.names()[view.index])[np.newaxis]
    return bundled(view.split).images[view.index : view.index + 1]


def _image(view: View) -> Picture:
    """A view's image, with what a caption calls it."""
    if view.split == PHOTOGRAPHS:
        words = f"photograph: {photographs.names()[view.index]}"
    else:
        images = bundled(view.split)
        words = f"{images.classes[images.labels[view.index]]}, {view.split} image {view.index}"
    return words, pictures.enlarged(_pixels(view), SIDE)[0]


def _recorded(view: View) -> Tape:
    return tape.record(trained(view.network).model, _input(view), view.layer)


def _input(view: View) -> Tensor:
    card = trained(view.network).card
    return data.prepare(_pixels(view), view.size, card.mean, card.std)


def _has_batch_norm(values: Mapping[str, str]) -> bool:
    return one_of(values, "bn", ("true", "false")) == "true"


# Reconstructions -----------------------------------------------------------------------------------------------

WORDS = {BATCH_NORM: "batch norm {}", SWITCHES: "switches: {}", PATHS: "path: {}", RULES: "rule: {}"}
"""What a caption calls a variant, by the respect in which variants differ."""


def _reconstructions(network: Weights, values: Mapping[str, str]) -> Iterator[Picture]:
    view, model = _view(network, values, plays_back=True), trained(network).model
    recorded = _recorded(view)
    by = one_of(values, "compare", playbacks.on_offer(recorded, normalises(model), of_a_class=False))
    base = _playback(view, recorded, values)
    if base is None or by == IMAGES:
        return
    if by == BATCH_NORM:
        scale = WEIGHT_SCALES[one_of(values, "weight_scale", WEIGHT_SCALES, "1")]
        base = replace(base, weight_scale=1.0 if playbacks.why_no_weight_scale(recorded) else scale)
    yield _image(view)
    compared = playbacks.comparison(by, base, tape.stages(model).values()).in_order(base.batch_norm)
    for variant in compared.variants:
        if variant.playback.view != view:
            view = variant.playback.view
            recorded = _recorded(view)
        words = f"deconvnet reconstruction from {view.layer}" if by == NOTHING else variant.label
        yield WORDS.get(by, "{}").format(words), _played(variant.playback, recorded)


def _played(playback: Playback, recorded: Tape) -> np.ndarray:
    _, signals = playbacks.signals_of(playback, recorded)
    pixels = playbacks.reconstruct(playback, recorded, signals, gains=False).pixels
    return pictures.sheet(pictures.signed(pixels, pictures.scale_of(pixels)), width=SIDE)


def _playback(view: View, recorded: Tape, values: Mapping[str, str]) -> Playback | None:
    """What the link plays back; None for what a worksheet does not draw: a class, a chosen unit, one residual block."""
    signal = one_of(values, "signal", SIGNALS)
    kind = one_of(values, "unit", UNITS) if signal in OF_CHANNELS else signal
    if kind in (CLASS, CHOSEN) or "block" in values:
        return None
    strongest, count = deconv.strongest_channels(recorded.activation, 1)[0], recorded.activation.shape[1]
    return Playback(
        view,
        kind,
        (_number(values, "channel", count, strongest),) if signal == ONE else (),
        relu=one_of(values, "rule", deconv.RELU_RULES),
        path=one_of(values, "path", deconv.PATHS),
        batch_norm=_has_batch_norm(values),
        strongest=TOP.get(signal, 0),
    )


# Filters and feature maps --------------------------------------------------------------------------------------


def _filters(network: Weights, values: Mapping[str, str]) -> Iterator[Picture]:
    view = values.get("view", "first layer")
    form, scale = one_of(values, "form", filters.FORMS), one_of(values, "brightness", sheets.SCALES)
    kept = filters.snapshots(network.checkpoint)
    if view == "before and after training":
        shown = kept.moments
    elif view == "first layer" and network.moment == weights.TRAINED:
        usual = kept.epochs[kept.index_after(trained(network).card.best_epoch)]
        epochs = [str(epoch) for epoch in kept.epochs]
        shown = {"": epochs.index(one_of(values, "epoch", epochs, str(usual)))}
    else:
        return
    together = ", on one scale" if scale == sheets.SCALES[1] else ""
    for when, index in shown.items():
        drawn = sheets.of_first_layer(kept.kernels[index], form, scale, WIDE)
        yield f"filters, {form} {when}".strip() + together, drawn


def _maps(network: Weights, values: Mapping[str, str]) -> Iterator[Picture]:
    draw = VIEWS_OF_MAPS.get(values.get("view", "one layer"))
    if draw is not None:
        view = _view(network, values)
        yield _image(view)
        yield from draw(view, values)


def _one_layer(view: View, values: Mapping[str, str]) -> Iterator[Picture]:
    activation, order = _activation(view), one_of(values, "order", ORDERS)
    if one_of(values, "tiles", TILES) == PATCHES:
        card, model = trained(view.network).card, trained(view.network).model
        pixels = data.pixels_of(_input(view), card.mean, card.std)[0]
        tiles = map_sheets.patches_in_image(activation, receptive_field(model, view.layer), pixels)
        words = f"the strongest patch of each map of {view.layer}, {order}"
    else:
        tiles = map_sheets.tiles(activation, one_of(values, "brightness", BRIGHTNESS))
        words = f"all {len(tiles)} maps of {view.layer}, {order}"
    yield words, _arranged(tiles, in_order(activation, order))


def _every_layer(view: View, values: Mapping[str, str]) -> Iterator[Picture]:
    model = trained(view.network).model
    maps = map_sheets.with_room(model, feature_maps.all_maps(model, _input(view)))
    yield "the four strongest maps of every layer", map_sheets.of_every_layer(maps, "black", pictures.WHITE)


def _two_images(view: View, values: Mapping[str, str]) -> Iterator[Picture]:
    images = bundled("test")
    truth = None if view.split == PHOTOGRAPHS else images.classes[bundled(view.split).labels[view.index]]
    label = one_of(values, "class2", images.classes, another_class(images.classes, truth))
    second = replace(view, split="test", index=_index("test", label, values, "number2"))
    order, brightness = one_of(values, "order", ORDERS), one_of(values, "brightness", BRIGHTNESS)
    ours, theirs = _activation(view), _activation(second)
    channels, words = in_order(ours, order), f"all {ours.shape[1]} maps of {view.layer}"
    yield f"{words}, {order}", _arranged(map_sheets.tiles(ours, brightness, theirs), channels)
    yield _image(second)
    yield f"{words}, in the same order", _arranged(map_sheets.tiles(theirs, brightness, ours), channels)


def _activation(view: View) -> Tensor:
    return tape.features(trained(view.network).model, _input(view), view.layer)


def _arranged(tiles: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    return pictures.sheet(tiles[list(channels)], map_sheets.columns(len(channels)), width=WIDEST, gap=4)


def _over_training(view: View, values: Mapping[str, str]) -> Iterator[Picture]:
    """One map, and the reconstruction from its strongest unit on the image, at each moment."""
    moments = weights.moments(view.network.checkpoint)
    views = {moment: replace(view, network=view.network.at(moment)) for moment in moments}
    last = _activation(views[weights.TRAINED])  # the trained network names the map
    channel = _number(values, "channel", last.shape[1], feature_maps.order_by_strength(last)[0])
    kept = [_moment(one, channel, batch_norm=_has_batch_norm(values)) for one in views.values()]
    yield f"map {channel} of {view.layer}, moment by moment", evolution.sheet(kept)


def _moment(view: View, channel: int, **rules: object) -> evolution.Moment:
    shown = trained(view.network)
    drawn = evolution.of_kernel(shown.model, view.layer, channel)
    drawn |= evolution.of_image(_recorded(view), channel, **rules)
    answer = evaluation.answer(shown.model, _input(view))
    return evolution.Moment(evolution.heads(view.network.moment, shown.card, answer), drawn)


VIEWS_OF_MAPS = {
    "one layer": _one_layer,
    "every layer": _every_layer,
    "two images": _two_images,
    "over training": _over_training,
}
