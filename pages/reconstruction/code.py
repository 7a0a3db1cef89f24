"""The code behind the page's picture: its variants in a row, each on its own scale."""

from engine.playbacks import CHOSEN, CLASS, NOTHING, STRONGEST, VARIED, WHOLE, Comparison, Playback
from pages.common import code
from pages.common.code import loop

FIELDS = {by: field for by, (field, _) in VARIED.items()} | {NOTHING: "batch_norm"}
"""What of a playback is varied, by the respect in which variants differ."""
USUAL = {"batch_norm": True, "relu": "deconvnet", "path": "both", "weight_scale": 1.0, "switches": "recorded"}
"""What `engine.deconv.reconstruct` does unless it is told otherwise."""


def of(comparison: Comparison) -> str:
    """The lines, in the order in which things depend on each other; from what is varied on, they are repeated."""
    playbacks = [variant.playback for variant in comparison.variants]
    view = playbacks[0].view
    field = FIELDS.get(comparison.by, "")
    varied = {
        "training": ("moment", [repr(one.view.network.moment) for one in playbacks]),
        "images": ("image", [code.image(one.view) for one in playbacks]),
        "layers": ("layer", [repr(one.view.layer) for one in playbacks]),
    }
    variable, values = varied.get(comparison.by, (field, [repr(_value(one, field)) for one in playbacks if field]))
    lines = {
        "moment": code.load(view.network, "moment" if variable == "moment" else None),
        "image": code.prepare(view, "image" if variable == "image" else None),
        "layer": code.record(view, "layer" if variable == "layer" else None),
        "signals": f"signals = {_signals(playbacks)}",
        "reconstruct": f"pixels = deconv.reconstruct({_arguments(playbacks[0], field)}).pixels",
        "scale": "sheet = pictures.signed(pixels, pictures.scale_of(pixels))",
        "row": "row.append(pictures.sheet(sheet, width=448, gap=8))",
    }
    first = list(lines).index(variable if variable in lines else "reconstruct")
    before, repeated = list(lines.values())[:first], list(lines.values())[first:]
    end = ["picture = pictures.sheet(np.stack(row), len(row), gap=16)", code.save("reconstruction.png")]
    return code.script(*before, "row = []", *loop(variable, values, repeated), *end)


def _value(playback: Playback, field: str) -> object:
    """What a playback says of the field that is varied."""
    value = getattr(playback, field)
    return {playback.block: value} if field == "path" and playback.block else value


def _arguments(playback: Playback, varied: str) -> str:
    """Of the call: what is varied, and what is not usual."""
    named = [f"{varied}={varied}"] if varied else []
    for field, usual in USUAL.items():
        if field != varied and getattr(playback, field) != usual:
            named.append(f"{field}={_value(playback, field)!r}")
    return ", ".join(["recorded", "signals", *named])


def _signals(playbacks: list[Playback]) -> str:
    """An expression; a channel or a unit that was picked means something at its own layer only."""
    by_layer = {one.view.layer: _signal(one) for one in playbacks}
    signals = list(dict.fromkeys(by_layer.values()))
    if len(signals) == 1:
        return signals[0]
    own = next(one.view.layer for one in playbacks if one.channels or one.place)
    other = next(signal for signal in signals if signal != by_layer[own])
    return f"{by_layer[own]} if layer == {own!r} else {other}"


def _signal(playback: Playback) -> str:
    activation = "recorded.activation"
    if playback.signal == "all channels":
        return f"deconv.all_channels({activation})"
    if playback.place:
        activation = "deconv.units_at({}, {}, {})".format(activation, *playback.place)
    channels = repr(list(playback.channels))
    if playback.strongest:
        count = "1" if playback.strongest == 1 else f"min({playback.strongest}, {activation}.shape[1])"
        channels = f"deconv.strongest_channels({activation}, {count})"
    seeds = {STRONGEST: "unit_signals", CHOSEN: "map_signals", WHOLE: "map_signals", CLASS: "map_signals"}
    return f"deconv.{seeds[playback.signal]}({activation}, {channels})"
