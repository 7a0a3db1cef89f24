"""Pictures that are from no data set: people's own, in files, folders and archives, and a few that are shipped.

One reader for all of them, so that a network is trained and looked at with the same pixels. A picture of any shape and
kind becomes what a network takes in four steps: bring its samples to 0-255, on white where it is transparent; cut the
largest square from its middle; turn it upright (a camera notes how it was held, EXIF tag 274); and resize it with
antialiasing. What the cut leaves out the network never sees, so a page shows the square, not the file.

Samples of 16 bits are divided by 257. Of 32 bits and of floats nobody says what white is: it is the usual value that
the brightest sample comes near (1, 255, 65,535, 2^31 - 1), and otherwise that sample itself.

A file is somebody's: 40 bytes may unpack to gigabytes. What unpacking takes is known before it begins, from the
format and the size that the file claims; no picture may take more than `MOST_BYTES`, nor may all that are read at the
same time. JPEG unpacks at a fraction of its size, and the rest is made smaller in bands.

The shipped ones are free of any rights; `data/bundled/photographs/SOURCES.md` names where they come from.
"""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from engine import settings
from engine.errors import ConvscopeError, quoted

SIDE = 512
"""Pixels that a square is kept at, at most: more than any network here looks at."""
FILTER = Image.Resampling.BICUBIC
FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WebP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""The formats that are read, the first frame of each, and their files' endings."""
STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
"""How files of some of them begin, also those of which the rest is missing."""
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
KINDS = f"{', '.join([*FORMATS][:-1])} or {[*FORMATS][-1]}"
PHONES, CAMERAS = ".heic .heif .hif", ".raw .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .pef .srw"
UNREAD = frozenset(f"{PHONES} {CAMERAS} .jxl .jp2 .tga .ico .psd .svg .eps".split())
"""Endings of pictures that are not read."""

MOST_PIXELS = 80_000_000
MOST_BYTES = 400_000_000
"""Memory for the pictures that are unpacked at one time, in all threads."""
UNPACKING = {"WEBP": 16, "AVIF": 16, "TIFF": 16, "GIF": 8}
"""Bytes per pixel while a format is unpacked, measured; of the others, of which one copy is made, 4."""
BAND = 4_000_000
"""Pixels that are brought to 0-255 at one time."""
WHITES = (1, 255, 2**16 - 1, 2**31 - 1)
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""

# Of pictures that claim to be huge, and of odd EXIF entries and palettes: each is judged below.
warnings.filterwarnings("ignore", module=r"PIL\.")


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
        raise ConvscopeError(f"There is no photograph {quoted(name)}: choose one of {', '.join(names())}.")
    return read(path, path.name)


def read(source: bytes | Path, name: str, side: int | None = None) -> np.ndarray:
    """uint8 `[S, S, 3]`: the middle square of an image file, upright, on white if it is transparent.

    Args:
        source: the content of a file in one of `FORMATS`, or the file.
        name: what an error calls it.
        side: S; the square's own side if None, and at most `SIDE`.

    Raises:
        ConvscopeError: it is no such file, it is damaged, or it is far too large.
    """
    try:
        formats = [kind.upper() for kind in FORMATS]
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats) as image:
            target = side or min(SIDE, *image.size)
            with _memory(_needed(image, name, target)):
                return np.array(_square(image, target))
    except ConvscopeError:
        raise
    except UnidentifiedImageError as error:
        start = source[:12] if isinstance(source, bytes) else _start(source)
        if start.startswith(STARTS) or start.endswith(b"ftypavif"):
            raise ConvscopeError(_damaged(name)) from error
        raise ConvscopeError(f"{name} is not a picture in {KINDS} format: save it as one of them.") from error
    except Image.DecompressionBombError as error:
        raise ConvscopeError(_too_many_pixels(name)) from error
    except Exception as error:  # each format has its own ways to be damaged
        raise ConvscopeError(_damaged(name)) from error


def how_to_save(suffixes: Iterable[str]) -> str:
    """What to do about the pictures with endings in `UNREAD` among `suffixes`; empty if there are none."""
    unread = sorted(UNREAD.intersection(suffixes))
    return f"Pictures must be {KINDS} files: save the {', '.join(unread)} files as one of them." if unread else ""


def _start(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(12)


def _damaged(name: str) -> str:
    return f"{name} is damaged or incomplete: save the picture again."


# Memory --------------------------------------------------------------------------------------------------------


def _needed(image: Image.Image, name: str, target: int) -> int:
    """How many bytes unpacking will take. A JPEG is told to unpack at a fraction of its size.

    Raises:
        ConvscopeError: these are too many.
    """
    pixels = image.width * image.height
    if pixels > MOST_PIXELS:
        raise ConvscopeError(_too_many_pixels(name))
    if isinstance(image, JpegImageFile):
        image.draft("RGB", (2 * target, 2 * target))
        # A progressive one is kept as coefficients of two bytes until it is complete; the colours often have fewer.
        widths, heights = zip(*(layer[1:3] for layer in image.layer), strict=True)
        samples = sum(w * h for w, h in zip(widths, heights, strict=True)) / (max(widths) * max(heights))
        needed = round(2 * samples * pixels) + 4 * image.width * image.height
    else:
        needed = pixels * max(UNPACKING.get(image.format, 4), 16 if image.mode in ("I", "F") else 0)
    if needed > MOST_BYTES:
        raise ConvscopeError(
            f"{name} takes {needed // 1_000_000:,} MB when it is unpacked, and {MOST_BYTES // 1_000_000} are allowed: "
            "make it smaller, or save it as JPEG."
        )
    return needed


def _too_many_pixels(name: str) -> str:
    return f"{name} has more than {MOST_PIXELS // 1_000_000} million pixels: make it smaller and try again."


_changed = Condition()
_taken = 0


@contextmanager
def _memory(needed: int) -> Iterator[None]:
    """Wait until `needed` bytes are free of `MOST_BYTES`, and take them for a while."""
    global _taken
    with _changed:
        _changed.wait_for(lambda: _taken + needed <= MOST_BYTES)
        _taken += needed
    try:
        yield
    finally:
        with _changed:
            _taken -= needed
            _changed.notify_all()


# Pixels --------------------------------------------------------------------------------------------------------


def _square(image: Image.Image, target: int) -> Image.Image:
    """The middle square of an open file, RGB, `target` pixels wide."""
    image.load()
    scale = _scale(image)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    factor = max(1, side // (2 * target)) if side * side > BAND else 1
    whole = Image.new("RGB", (side // factor, side // factor))
    for row in range(0, whole.height, step := max(1, BAND // (side * factor))):
        rows = min(step, whole.height - row) * factor
        start = top + row * factor
        band = _in_colours(image.crop((left, start, left + whole.width * factor, start + rows)), scale)
        whole.paste(band.reduce(factor), (0, row))
    orientation = _orientation(image)
    whole = whole.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else whole
    return whole if whole.size == (target, target) else whole.resize((target, target), FILTER)


def _orientation(image: Image.Image) -> int | None:
    """How the camera was held, by EXIF; None if it does not say, or its notes are damaged, which harms no pixel."""
    try:
        return image.getexif().get(0x0112)
    except Exception:  # each format has its own ways to be damaged
        return None


def _scale(image: Image.Image) -> tuple[float, float] | None:
    """Black and white of samples with more than 8 bits; None if they have 8."""
    if image.mode.startswith("I;16"):
        return 0, WHITES[2]
    if image.mode not in ("I", "F"):
        return None
    values = np.asarray(image)
    low, high = (float(edge(values, where=np.isfinite(values), initial=0)) for edge in (np.min, np.max))
    usual = next((white for white in WHITES if white >= high), high)
    # A dark picture stays dark: whole numbers up to 255, floats up to 1. Resampled floats end a hair above 1.
    certain = 255 if image.mode == "I" else 1
    return low, high if low < 0 or (usual > certain and 2 * high < usual) else usual


def _in_colours(band: Image.Image, scale: tuple[float, float] | None) -> Image.Image:
    key = band.info.get("transparency")
    if scale is not None:
        low, high = scale
        values = np.asarray(band, dtype=np.float64)
        share = np.where(values == key, 1, (np.nan_to_num(values) - low) / (high - low))
        band = Image.fromarray((share.clip(0, 1) * 255).round().astype(np.uint8))
    elif band.has_transparency_data:
        if isinstance(key, tuple) and max(key) > WHITES[1]:  # a colour of 16 bits, of which 8 are read
            band.info["transparency"] = tuple(sample >> 8 for sample in key)
        band = band.convert("RGBA")
        band = Image.alpha_composite(Image.new("RGBA", band.size, "white"), band)
    return band.convert("RGB")
