"""Tensors as pictures: grey where nothing is, brighter or darker where something is.

What a deconvnet sends back to the pixels can be positive or negative, and zero means "nothing". So zero is drawn as
mid-grey, and one symmetric scale maps `[-scale, scale]` to black ... white in each colour channel. Stretching each
picture from its minimum to its maximum instead would move zero about and turn silence into noise.

Two pictures can be compared in strength only on one shared scale, and in content only each on its own; the ratio of
the two scales is the stretch factor, which belongs beside the picture.
"""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

MID_GREY = 127.5
KEPT = 0.998
"""The share of its values other than zero that a picture's own scale covers; the few beyond are clipped, lest they
flatten the rest. Zeros do not count: what a single early unit sends back is a small patch on an empty ground."""

VIRIDIS = tuple(
    tuple(bytes.fromhex(colour))
    for colour in ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"]
)
SEEN = 0.2
"""How much of the image shows through a heat map that is laid over it: more, and what is dark in it reads as low."""
UNKNOWN = np.array([round(MID_GREY)] * 3, dtype=np.uint8)
"""The colour of what is not known yet."""
FRAME = (230, 159, 0)
"""Okabe & Ito's orange, which viridis and most photographs do not hold."""
INK = "#808080"
"""Grey text reads on a light page and on a dark one."""

Colour = tuple[int, int, int, int]
CLEAR, WHITE = (0, 0, 0, 0), (255, 255, 255, 255)
"""Grounds of a picture, with their opacity."""


def scale_of(pixels: Tensor) -> float:
    """The symmetric scale on which `pixels` fill the range from black to white; 0 for an all-zero picture."""
    values = pixels.detach().abs().flatten().numpy()
    values = values[values != 0]
    return float(np.quantile(values, KEPT)) if len(values) else 0.0


def signed(pixels: Tensor, scale: float | Sequence[float] | np.ndarray) -> np.ndarray:
    """uint8 `[K, H, W, 3]` of `[K, 3, H, W]`: zero is mid-grey, `scale` white and `-scale` black.

    `scale`: one for all pictures, or one for each; where it is 0 or not a number, the picture is all grey.
    """
    values = pixels.detach().permute(0, 2, 3, 1).double().numpy()
    scales = np.reshape(scale, (-1, 1, 1, 1))
    usable = (scales > 0) & np.isfinite(scales)
    shares = np.divide(values, scales, out=np.zeros_like(values), where=usable)
    return np.clip(np.rint(MID_GREY + MID_GREY * shares), 0, 255).astype(np.uint8)


def signed_each(pixels: Tensor) -> np.ndarray:
    """`signed`, with each picture on its own scale."""
    return signed(pixels, [scale_of(picture) for picture in pixels])


def viridis(shares: np.ndarray) -> np.ndarray:
    """uint8 `[..., 3]` of shares `[...]`: from viridis' dark end (0 and below) to its bright end (1 and above)."""
    steps, anchors = np.linspace(0, 1, 256), np.linspace(0, 1, len(VIRIDIS))
    table = np.stack([np.interp(steps, anchors, channel) for channel in zip(*VIRIDIS, strict=True)], axis=1)
    return np.rint(table).astype(np.uint8)[np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)]


def stretched(heat: Tensor) -> np.ndarray:
    """`[H, W]` in 0-1: a heat map from its smallest to its largest value; all 0 if it is flat. NaN stays."""
    values = heat.double().numpy()
    known = values[~np.isnan(values)]
    if not len(known) or known.max() == known.min():
        return values * 0
    return (values - known.min()) / (known.max() - known.min())


def over_image(shares: np.ndarray, image: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]`: shares `[H, W]` as colours, laid over the grey image `[H, W, 3]`; grey where it is NaN."""
    unknown = np.isnan(shares)
    return laid_over(np.where(unknown[..., None], UNKNOWN, viridis(np.nan_to_num(shares))), image)


def laid_over(colours: np.ndarray, image: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]`: colours `[H, W, 3]` over the grey image `[H, W, 3]`."""
    grey = image.mean(axis=2, keepdims=True)
    return np.rint(colours * (1 - SEEN * (1 - grey / 255))).astype(np.uint8)


def overlaid(maps: Tensor) -> Tensor:
    """`[1, 3, H, W]`, grey: the sum of all maps of `[K, C, H, W]`, or one wide pixel per unit of `[K, C]`."""
    summed = maps.sum(dim=(0, 1)) if maps.dim() == 4 else maps.sum(dim=0, keepdim=True)
    return summed.expand(1, 3, *summed.shape)


def enlarged(images: np.ndarray, side: int) -> np.ndarray:
    """`[K, H, W, 3]` by the largest whole factor (at least 1) that keeps the height at most `side`: no blur."""
    factor = max(1, side // images.shape[1])
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def columns_for(count: int, aspect: float) -> int:
    """How many square tiles go into a row so that a sheet is about `aspect` times as wide as high.

    A number that leaves no row unfinished goes first, if one is near.
    """
    wanted = math.sqrt(count * aspect)
    full = min((n for n in range(1, count + 1) if count % n == 0), key=lambda n: abs(math.log(n / wanted)))
    return full if 2 / 3 < full / wanted < 3 / 2 else max(1, min(count, math.ceil(wanted)))


def sheet(
    tiles: np.ndarray,
    columns: int | None = None,
    *,
    width: int | None = None,
    gap: int = 8,
    marked: int | None = None,
    labels: Sequence[str] = (),
    heads: Sequence[Sequence[str]] = (),
    ink: str = INK,
    ground: Colour = CLEAR,
) -> np.ndarray:
    """uint8 RGBA `[H, W, 4]`: all tiles `[K, h, w, 3 or 4]` in one picture, row by row, `gap` pixels apart.

    Args:
        columns: how many tiles stand in a row; as many as there are rows if not given.
        width: of the sheet in pixels, at most: tiles are enlarged by the largest whole factor that fits.
        marked: the tile with a frame, which fills the gap around it.
        labels: a line of text below each tile; `heads`: lines of text above each column; both in the colour `ink`.
        ground: the colour behind the tiles, with its opacity.
    """
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    if width is not None:
        tiles = enlarged(tiles, (width - gap * (columns - 1)) // columns * tiles.shape[1] // tiles.shape[2])
    count, high, wide, _ = tiles.shape
    below, above = max(14, min(40, wide // 3)), _head_height(wide)
    margin = gap if labels or marked is not None else 0
    across, down = wide + gap, high + gap + (below + gap if labels else 0)
    first = margin + head_room(wide, max(map(len, heads), default=0))
    rows = math.ceil(count / columns)
    canvas = np.full((first + rows * down - gap + margin, columns * across - gap + 2 * margin, 4), ground, np.uint8)
    corners = [(first + index // columns * down, margin + index % columns * across) for index in range(count)]
    if marked is not None:
        top, left = corners[marked]
        canvas[top - gap : top + high + gap, left - gap : left + wide + gap] = (*FRAME, 255)
    for (top, left), tile in zip(corners, tiles, strict=True):
        canvas[top : top + high, left : left + wide] = _opaque(tile)
    texts = [
        _Text(line, left, top + high + gap, below, FRAME if index == marked else ink)
        for index, (line, (top, left)) in enumerate(zip(labels, corners, strict=False))
    ]
    for lines, (_, left) in zip(heads, corners, strict=False):
        texts += [_Text(line, left, round(1.25 * above * row), above, ink) for row, line in enumerate(lines)]
    return _with_texts(canvas, texts, wide)


def head_room(wide: int, lines: int) -> int:
    """Pixels above the tiles of a sheet, `wide` pixels each, for heads of so many lines."""
    return lines * _head_height(wide) * 3 // 2


def _head_height(wide: int) -> int:
    return max(16, wide // 5)


def text_tile(lines: Sequence[str], side: int, ink: str = INK) -> np.ndarray:
    """uint8 RGBA `[side, side, 4]`: lines of text in the middle of a clear tile."""
    high = side // 7
    top = (side - round(1.25 * high * len(lines))) // 2
    texts = [_Text(line, 0, top + round(1.25 * high * row), high, ink) for row, line in enumerate(lines)]
    return _with_texts(np.full((side, side, 4), CLEAR, np.uint8), texts, side)


def _opaque(tile: np.ndarray) -> np.ndarray:
    return tile if tile.shape[-1] == 4 else np.pad(tile, ((0, 0), (0, 0), (0, 1)), constant_values=255)


class _Text(NamedTuple):
    """A line of text above or below a tile: its left edge is the tile's, `height` in pixels at most."""

    line: str
    left: int
    top: int
    height: int
    ink: str | tuple[int, int, int]


def _with_texts(canvas: np.ndarray, texts: Sequence[_Text], width: int) -> np.ndarray:
    """The canvas with each text in the middle of `width` pixels."""
    if not texts:
        return canvas
    drawn = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawn)
    for text in texts:
        font = _font_for(text.line, text.height, width)
        pen.text((text.left + width / 2, text.top), text.line, fill=text.ink, font=font, anchor="ma")
    return np.asarray(drawn)


def _font_for(text: str, height: int, width: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The largest font up to `height` in which the text is not wider than `width`."""
    font = ImageFont.load_default(height)
    wide = font.getlength(text)
    return font if wide <= width else ImageFont.load_default(max(8, int(height * width / wide)))


def png(image: np.ndarray) -> bytes:
    """A PNG of uint8 `[H, W, 3]` (RGB) or `[H, W, 4]` (RGBA), compressed lightly: speed matters more than size."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def stretch_in_words(shared: float, own: float) -> str:
    """How much stronger a picture is drawn on its own scale than on the shared one."""
    if not own > 0:
        return "empty: nothing arrived"
    ratio = shared / own
    return "not stretched" if ratio < 1.005 else f"stretched ×{factor(ratio)}"


def factor(value: float) -> str:
    """A positive number in three digits: 0.0123, 4.56, 1,230, or 1.23 × 10⁷."""
    if value == 0 or 1e-4 <= value < 1e6:
        rounded = float(f"{value:.3g}")
        return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    superscript = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa} × 10{superscript}"
