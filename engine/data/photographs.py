"""Pictures that are not from a data set: the lecturer's own, and a few that are shipped.

A photograph of any shape becomes what a network takes in three steps: turn it upright (a camera notes how it was held,
EXIF tag 274), cut the largest square from its middle, and resize that with antialiasing. What the cut leaves out the
network never sees, so a page shows the square, not the file.

The shipped ones are free of any rights; `data/bundled/photographs/SOURCES.md` names where they come from.
"""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine import settings
from engine.errors import ConvscopeError

SIDE = 512
"""Pixels that a square is kept at, at most: more than any network here looks at."""
MOST_PIXELS = 80_000_000
FORMATS = ("PNG", "JPEG", "WEBP")


def names() -> tuple[str, ...]:
    """The names of the shipped photographs, in alphabetical order."""
    return tuple(sorted(path.stem for path in _folder().glob("*.webp")))


def _folder() -> Path:
    return settings.folders.bundled / "photographs"


def shipped(name: str) -> np.ndarray:
    """uint8 `[S, S, 3]`: the middle square of a shipped photograph.

    Raises:
        ConvscopeError: there is none of that name, or its file is damaged.
    """
    path = _folder() / f"{name}.webp"
    if name not in names():
        raise ConvscopeError(f"There is no photograph {name!r}: choose one of {', '.join(names())}.")
    return read(path.read_bytes(), path.name)


def read(content: bytes, name: str) -> np.ndarray:
    """uint8 `[S, S, 3]`: the middle square of an image file, upright, at most `SIDE` pixels wide; on white if it is
    transparent.

    Args:
        content: of a PNG, JPEG or WebP file.
        name: what an error calls it.

    Raises:
        ConvscopeError: it is no such file, it is damaged, or it is far too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return np.array(_square(_checked(image, name)))
    except UnidentifiedImageError as error:
        raise ConvscopeError(f"{name} is not a picture in PNG, JPEG or WebP format: save it as one of them.") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ConvscopeError(_too_large(name)) from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:  # the last one: of damaged EXIF entries
        raise ConvscopeError(f"{name} is damaged or incomplete: save the picture again.") from error


def _checked(image: Image.Image, name: str) -> Image.Image:
    if image.width * image.height > MOST_PIXELS:
        raise ConvscopeError(_too_large(name))
    return image


def _too_large(name: str) -> str:
    return f"{name} has more than {MOST_PIXELS // 1_000_000} million pixels: make it smaller and try again."


def _square(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        ground = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(ground, upright.convert("RGBA"))
    side = min(upright.size)
    left, top = (upright.width - side) // 2, (upright.height - side) // 2
    square = upright.convert("RGB").crop((left, top, left + side, top + side))
    return square.resize((SIDE, SIDE), Image.Resampling.LANCZOS) if side > SIDE else square
