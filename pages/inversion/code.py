"""The code behind the page's pictures: the image, its inversion, and the deconvnet reconstruction beside it."""

from collections.abc import Sequence
from dataclasses import replace

from pages.common import code
from pages.inversion.jobs import InversionSettings
from pages.inversion.tiles import TILE


def of_one_layer(settings: InversionSettings, number: int, batch_norm: bool) -> str:
    """One layer, at the step of this number."""
    lines = _of_layer(settings, repr(settings.view.layer), number, batch_norm)
    last = f"row = np.concatenate([{_pixels('x')}, inverted, reconstructed])"
    return _script(settings, [*lines, last], "row", 3)


def of_layers(settings: Sequence[InversionSettings], batch_norm: bool, heads: Sequence[str], ink: str) -> str:
    """The layers in a row, each after its last step; below, the reconstructions; above, the columns' heads."""
    first = settings[0]
    layers = [repr(one.view.layer) for one in settings]
    repeated = [*_of_layer(first, "layer", None, batch_norm), "above.append(inverted)", "below.append(reconstructed)"]
    lines = [
        f"above, below = [{_pixels('x')}], [{_pixels('x')}]",
        *code.loop("layer", layers, repeated),
    ]
    headed = f", heads={[(head,) for head in heads]}, ink={ink!r}"
    return _script(first, lines, "np.concatenate(above + below)", len(heads), headed)


def _of_layer(settings: InversionSettings, layer: str, number: int | None, batch_norm: bool) -> list[str]:
    prior, channel = f"inversion.PRIORS[{settings.prior!r}]", settings.channel
    said = f"size={settings.view.size}, prior={prior}, channel={channel}, steps={settings.steps}, seed={settings.seed}"
    signals = "all_channels(target)" if channel is None else f"map_signals(target, [{channel}])"
    stop = [] if number is None else [f"    if step.number == {number}:", "        break"]
    return [
        code.record(settings.view, layer),
        "target = recorded.activation",
        f"for step in inversion.invert(trained.model, {layer}, target, {said}):",
        *(stop or ["    pass"]),
        f"inverted = {_pixels('step.image')}",
        f"signals = deconv.{signals}",
        f"reconstructed = pictures.signed_each(deconv.reconstruct(recorded, signals, batch_norm={batch_norm}).pixels)",
    ]


def _pixels(of: str) -> str:
    return f"data.pixels_of({of}, trained.card.mean, trained.card.std)"


def _script(settings: InversionSettings, lines: Sequence[str], row: str, columns: int, headed: str = "") -> str:
    first = [code.load(settings.view.network), code.prepare(replace(settings.view, layer=""))]
    sheet = f"picture = pictures.sheet(pictures.enlarged({row}, {TILE}), {columns}{headed})"
    return code.script(*first, *lines, sheet, code.save("inversion.png"))
