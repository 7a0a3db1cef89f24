"""The code behind the page's sheets of kernels."""

from collections.abc import Sequence

from engine.filters.sheets import GAP, SCALES, WIDTH, columns, wide
from engine.weights import Weights
from pages.common import code

NUMBERS = "labels=[str(number) for number in range(len(shown))]"


def of_first_layer(network: Weights, epochs: Sequence[int | None], count: int, form: str, scale: str) -> str:
    """The filters after some epochs (None: as they are used), one sheet below the other."""
    shown = "pixels" if scale == SCALES[1] else ""
    drawn = "pictures.signed(pixels, pictures.scale_of(pixels))" if shown else "pictures.signed_each(pixels)"
    sheet = f"pictures.sheet(shown, {columns(count)}, width={WIDTH}, gap={GAP}, {NUMBERS})"
    if epochs == [None]:
        first = "filters.kernels(trained.model, convolution.first_convolution(trained.model))"
        lines = [code.load(network), f"kernels = {first}"]
    else:
        lines = [f"kept = filters.snapshots({network.checkpoint!r})"]
    draw = [f"pixels = filters.in_form(kernels, {form!r})", f"shown = {drawn}", f"picture = {sheet}"]
    if len(epochs) == 1:
        at = [] if epochs == [None] else [f"kernels = kept.kernels[kept.epochs.index({epochs[0]})]"]
        return code.script(*lines, *at, *draw, code.save("filters.png"))
    name = "Path(f'filters-epoch-{epoch}.png').write_bytes(pictures.png(picture))"
    body = ["kernels = kept.kernels[kept.epochs.index(epoch)]", *draw, name]
    return code.script(*lines, *code.loop("epoch", [str(epoch) for epoch in epochs], body))


def of_deeper_layer(network: Weights, layer: str, output: int, inputs: int) -> str:
    """One kernel, a picture for each map that it reads."""
    return code.script(
        code.load(network),
        f"kernels = filters.kernels(trained.model, {layer!r})",
        f"pixels = filters.as_grey(kernels[{output}])",
        "shown = pictures.signed(pixels, pictures.scale_of(pixels))",
        f"labels = [str(number) for number in filters.maps_read(trained.model, {layer!r}, {output})]",
        f"picture = pictures.sheet(shown, {wide(inputs)}, width={WIDTH}, gap={GAP}, labels=labels)",
        code.save("kernel.png"),
    )
