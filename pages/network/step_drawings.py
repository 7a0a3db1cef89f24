"""One step of a convolution as SVGs: the image with its window, the map with its position, and the sum in numbers."""

import numpy as np

from engine import pictures
from engine.network.convolution import Convolved, WindowSum
from pages.network import svg

SIDE = 460.0
"""The side of the image and of the map, in the drawing's own units."""
COLOURS = ("red", "green", "blue")
CELL = 46.0


def image_with_window(pixels: np.ndarray, convolved: Convolved, step: WindowSum) -> str:
    """The image uint8 `[H, W, 3]` as the network gets it, with the window that the kernel lies on."""
    height, width, _ = pixels.shape
    scale = SIDE / max(height, width)
    down, across = (window.extent for window in convolved.windows)
    border = 4 * scale if any(window.padding for window in convolved.windows) else 6.0
    frame = svg.box(
        border + step.left * scale, border + step.top * scale, across * scale, down * scale, "none", svg.ORANGE, 6
    )
    whole = svg.picture(border, border, width * scale, height * scale, pictures.png(pixels))
    return svg.document(width * scale + 2 * border, height * scale + 2 * border, [whole, frame])


def map_with_position(convolved: Convolved, channel: int, row: int, column: int) -> str:
    """A feature map with the position of this step."""
    values = convolved.output[channel]
    pixels = pictures.signed(values.expand(1, 3, -1, -1), pictures.scale_of(values))[0]
    height, width = values.shape
    scale = SIDE / max(height, width)
    border, side = 6.0, max(scale, 8.0)
    mark = svg.box(border + column * scale, border + row * scale, side, side, "none", svg.ORANGE, 5)
    whole = svg.picture(border, border, width * scale, height * scale, pictures.png(pixels))
    return svg.document(width * scale + 2 * border, height * scale + 2 * border, [whole, mark])


def products(step: WindowSum, channel: int, ink: str, background: str = "none") -> str:
    """Window × kernel = products of one input channel, in numbers, and their sum."""
    rows, columns = step.window.shape[1:]
    cell = min(CELL, 7 * CELL / max(rows, columns))
    wide, gap, top = columns * cell, 64.0, 44.0
    parts: list[str] = []
    x = 0.0
    for name, values, sign in (
        ("window", step.window, "×"),
        ("kernel", step.kernel, "="),
        ("products", step.products, "→"),
    ):
        numbers = values[channel].tolist()
        parts.append(svg.text(x + wide / 2, 20, name, 24, ink, weight="bold"))
        parts += svg.number_grid(x, top, cell, numbers, pictures.scale_of(values))
        parts.append(svg.text(x + wide + gap / 2, top + rows * cell / 2, sign, 40, ink))
        x += wide + gap
    total = svg.short(float(step.sums[channel]))
    parts.append(svg.text(x + 60, 20, "sum", 24, ink, weight="bold"))
    parts.append(svg.text(x + 60, top + rows * cell / 2, total, 36, ink, weight="bold"))
    return svg.document(x + 120, top + rows * cell + 2, parts, background)


def sum_in_words(step: WindowSum, has_bias: bool) -> str:
    """ "red 0.125 + green −0.300 + blue 0.050 + bias 0.010 = −0.115"."""
    names = COLOURS if len(step.sums) == 3 else tuple(f"channel {index}" for index in range(len(step.sums)))
    terms = [f"{name} {svg.short(float(value), 3)}" for name, value in zip(names, step.sums, strict=True)]
    bias = [f"bias {svg.short(step.bias, 3)}"] if has_bias else []
    return f"{' + '.join([*terms, *bias])} = **{svg.short(step.total, 3)}**"
