"""A lecture as a worksheet: one HTML file with pictures, questions and room to write, which needs no network.

Pictures are drawn where that is cheap: the image with its deconvnet reconstructions, the filters of a first layer, the
strongest maps of layers. Charts are the pages': whoever calls hands over what draws them. Of other views the file names
the address. All texts are escaped.
"""

import base64
import html
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch import Tensor

from engine import data, deconv, evolution, feature_maps, filters, pictures, tape, weights
from engine.batch_norm import normalises
from engine.checkpoints import Trained
from engine.data import CIFAR10_CLASSES, photographs
from engine.lectures import Lecture, Link, Step
from engine.lectures.figures import NOT_THERE, bundled, fill_or_explain, trained
from engine.models import ARCHITECTURES
from engine.weights import Weights

SIDE, MOST_MAPS = 224, 64
MOST_DRAWN = 30
"""Of a longer lecture only the first steps have pictures."""
STYLE = """body { font: 16px/1.45 sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }
section { break-inside: avoid; border-top: 1px solid #999; margin-top: 1.5rem; }
figure { display: inline-block; margin: 0 0.6rem 0.4rem 0; } figcaption, code { font-size: 0.8rem; color: #555; }
img { max-width: 100%; image-rendering: pixelated; } .room { height: 6rem; border-bottom: 1px dotted #999; }"""

Picture = tuple[str, np.ndarray]
"""A caption, and uint8 `[H, W, 3 or 4]`."""
Charts = Callable[[Link], Sequence[tuple[str, str]]]
"""The charts of a view: captions and SVGs."""


def to_html(lecture: Lecture, answers: bool, charts: Charts = lambda _: ()) -> str:
    """The whole file; with `answers` each one can be unfolded, otherwise there is room to write."""
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
    figures += [(caption, svg.encode(), "svg+xml") for caption, svg in drawn]
    parts = [f"<h2>{number}. {sentence}</h2>", *(_figure(*one) for one in figures)]
    parts.append(f"<p><code>{html.escape(str(step.link))}</code></p>")
    parts += [f"<p>{said}</p>" for said in (f"Look at: {look}" if look else "", f"<b>{question}</b>") if said]
    unfolded = f"<details><summary>Answer</summary><p>{answer}</p></details>"
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
    values = {"checkpoint": "resnet18", "weights": weights.TRAINED} | dict(link.values)
    try:
        return list(drawers[link.page](weights.find(values["checkpoint"], values["weights"]), values))
    except NOT_THERE:
        return []


def _image(values: dict[str, str]) -> tuple[str, np.ndarray]:
    """What a caption calls the image, and uint8 `[1, S, S, 3]`."""
    split = values.get("images", "test")
    if split == "photographs":
        name = values.get("photograph", photographs.names()[0])
        return f"photograph: {name}", photographs.shipped(name)[np.newaxis]
    label, number = values.get("class", CIFAR10_CLASSES[0]), int(values.get("number", "0"))
    images = bundled(split)
    index = int(np.flatnonzero(images.labels == images.classes.index(label))[number])
    return f"{label}, {split} image {index}", images.images[index : index + 1]


def _input(network: Trained, values: dict[str, str]) -> Tensor:
    size = int(values.get("size", network.card.input_size))
    return data.prepare(_image(values)[1], min(size, SIDE), network.card.mean, network.card.std)


def _reconstructions(network: Weights, values: dict[str, str]) -> Iterator[Picture]:
    loaded = trained(network)
    compare = values.get("compare", "batch norm" if normalises(loaded.model) else "layers")
    if compare == "images" or values.get("unit") == "chosen unit" or "block" in values:
        return
    caption, image = _image(values)
    yield caption, pictures.enlarged(image, SIDE)[0]
    usual = ARCHITECTURES[loaded.card.architecture].played_back_from or list(tape.layers(loaded.model))[-1]
    rules = {
        "batch_norm": values.get("bn", "true") == "true",
        "path": values.get("path", "both"),
        "relu": values.get("rule", "deconvnet"),
        "weight_scale": _number(values.get("weight_scale", "1")),
    }
    for label, one, where, varied in _variants(network, values.get("layer", usual), compare):
        recorded = tape.record(trained(one).model, _input(trained(one), values), where)
        signals = _signals(recorded.activation, values)
        pixels = deconv.reconstruct(recorded, signals, gains=False, **(rules | varied)).pixels
        yield label, pictures.sheet(pictures.signed(pixels, pictures.scale_of(pixels)), width=SIDE)


def _number(text: str) -> float:
    """Of "2" or "1/4", in floats: a `Fraction` would write out all the digits of 1e99999999."""
    numerator, _, denominator = text.partition("/")
    return float(numerator) / float(denominator or 1)


Variant = tuple[str, Weights, str, dict[str, object]]
"""A label, a network, a layer, and the settings of the reconstruction that differ."""


def _variants(network: Weights, layer: str, compare: str) -> Iterator[Variant]:
    if compare == "layers":
        yield from ((name, network, name, {}) for name in tape.stages(trained(network).model).values())
    elif compare == "training":
        moments = weights.moments(network.checkpoint)
        yield from ((weights.when(moment), network.at(moment), layer, {}) for moment in moments)
    elif compare == "nothing":
        yield f"deconvnet reconstruction from {layer}", network, layer, {}
    else:
        yield from ((label, network, layer, varied) for label, varied in COMPARED[compare].items())


COMPARED: dict[str, dict[str, dict[str, object]]] = {
    "batch norm": {"batch norm on": {"batch_norm": True}, "batch norm off": {"batch_norm": False}},
    "switches": {f"switches: {one}": {"switches": one} for one in deconv.SWITCHES},
    "paths": {f"path: {one}": {"path": one} for one in deconv.PATHS},
    "ReLU rules": {f"rule: {one}": {"relu": one} for one in deconv.RELU_RULES},
}


def _signals(activation: Tensor, values: dict[str, str]) -> Tensor:
    kind = values.get("signal", "all channels")
    if kind == "all channels":
        return deconv.all_channels(activation)
    if kind == "one channel":
        channels = [int(values.get("channel", deconv.strongest_channels(activation, 1)[0]))]
    else:
        channels = deconv.strongest_channels(activation, int(kind.removeprefix("top ")))
    whole = values.get("unit") == "whole map"
    return (deconv.map_signals if whole else deconv.unit_signals)(activation, channels)


def _filters(network: Weights, values: dict[str, str]) -> Iterator[Picture]:
    form, view = values.get("form", "RGB"), values.get("view", "first layer")
    if view == "deeper layers" or network.moment != weights.TRAINED:
        return
    kept = filters.snapshots(network.checkpoint)
    epoch = int(values.get("epoch", trained(network).card.best_epoch))
    for label, index in ({"": kept.index_after(epoch)} if view == "first layer" else kept.moments).items():
        drawn = pictures.signed_each(filters.in_form(kept.kernels[index], form))
        yield f"filters, {form} {label}".strip(), pictures.sheet(drawn, pictures.columns_for(len(drawn), 2), width=440)


def _maps(network: Weights, values: dict[str, str]) -> Iterator[Picture]:
    view, model = values.get("view", "one layer"), trained(network).model
    if view == "many maps":
        return
    caption, image = _image(values)
    yield caption, pictures.enlarged(image, SIDE)[0]
    layer = values.get("layer", list(tape.layers(model))[-1])
    if view == "over training":
        yield _over_training(network, layer, values)
        return
    x = _input(trained(network), values)
    layers, most = (list(tape.stages(model).values()), 4) if view == "every layer" else ([layer], MOST_MAPS)
    strongest = {}
    for name, activation in tape.activations(model, x, layers).items():
        strongest[name] = list(feature_maps.order_by_strength(activation)[:most])
        yield f"the strongest maps of {name}", _sheet_of_maps(activation, strongest[name])
    if view == "two images":
        second = values | {"images": "test", "class": values["class2"], "number": values.get("number2", "0")}
        caption, image = _image(second)
        yield caption, pictures.enlarged(image, SIDE)[0]
        activation = tape.features(model, _input(trained(network), second), layer)
        yield f"the same maps of {layer}", _sheet_of_maps(activation, strongest[layer])


def _sheet_of_maps(activation: Tensor, channels: list[int]) -> np.ndarray:
    maps = activation[0, channels, None].expand(-1, 3, -1, -1)
    drawn = pictures.signed(maps, pictures.scale_of(maps))
    return pictures.sheet(drawn, pictures.columns_for(len(drawn), 2), width=440)


def _over_training(network: Weights, layer: str, values: dict[str, str]) -> Picture:
    """One map, and the reconstruction from its strongest unit on the image, at each moment."""
    kept, channel = [], int(values.get("channel", -1))
    for moment in reversed(weights.moments(network.checkpoint)):  # the trained network names the map
        of_moment = trained(network.at(moment))
        recorded = tape.record(of_moment.model, _input(of_moment, values), layer)
        if channel < 0:
            channel = feature_maps.order_by_strength(recorded.activation)[0]
        kept.append(evolution.Moment((moment,), evolution.of_image(recorded, channel)))
    return f"map {channel} of {layer}, moment by moment", evolution.sheet(kept[::-1])
