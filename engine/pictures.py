"""Tensors as pictures: grey where nothing is, brighter or darker where something is.

What a deconvnet sends back to the pixels can be positive or negative, and zero means "nothing". So zero is drawn as
mid-grey, and one symmetric scale maps `[-scale, scale]` to black ... white in each colour channel. Stretching each
picture from its minimum to its maximum instead would move zero about and turn silence into noise.

Two pictures can be compared in strength only on one shared scale, and in content only each on its own; the ratio of
the two scales is the stretch factor, which belongs beside the picture.
"""

import io
import math

import numpy as np
from PIL import Image
from torch import Tensor

MID_GREY = 127.5
KEPT = 0.998
"""The share of its values other than zero that a picture's own scale covers; the few beyond are clipped, lest they
flatten the rest. Zeros do not count: what a single early unit sends back is a small patch on an empty ground."""


def scale_of(pixels: Tensor) -> float:
    """The symmetric scale on which `pixels` fill the range from black to white; 0 for an all-zero picture."""
    values = pixels.detach().abs().flatten().numpy()
    values = values[values != 0]
    return float(np.quantile(values, KEPT)) if len(values) else 0.0


def signed(pixels: Tensor, scale: float) -> np.ndarray:
    """uint8 `[K, H, W, 3]` of `[K, 3, H, W]`: zero is mid-grey, `scale` white and `-scale` black.

    All grey when the scale is 0 or not a number.
    """
    values = pixels.detach().permute(0, 2, 3, 1).double().numpy()
    if not (scale > 0 and math.isfinite(scale)):
        return np.full(values.shape, round(MID_GREY), dtype=np.uint8)
    return np.clip(np.rint(MID_GREY + MID_GREY * (values / scale)), 0, 255).astype(np.uint8)


def overlaid(maps: Tensor) -> Tensor:
    """`[1, 3, H, W]`, grey: the sum of all maps of `[K, C, H, W]`, or one wide pixel per unit of `[K, C]`."""
    summed = maps.sum(dim=(0, 1)) if maps.dim() == 4 else maps.sum(dim=0, keepdim=True)
    return summed.expand(1, 3, *summed.shape)


def enlarged(images: np.ndarray, side: int) -> np.ndarray:
    """`[K, H, W, 3]` by the largest whole factor (at least 1) that keeps the height at most `side`: no blur."""
    factor = max(1, side // images.shape[1])
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def contact_sheet(images: np.ndarray, columns: int, gap: int = 8) -> np.ndarray:
    """uint8 RGBA `[H', W', 4]`: all images `[K, H, W, 3]` in one, row by row, with transparent gaps."""
    count, height, width, _ = images.shape
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width, :3] = image
        sheet[top : top + height, left : left + width, 3] = 255
    return sheet


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
