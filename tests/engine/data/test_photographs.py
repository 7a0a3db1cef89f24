"""Pictures from outside: upright, square, and refused with a sentence when they cannot be used."""

import io

import numpy as np
import pytest
from PIL import Image

from engine import settings
from engine.data import photographs
from engine.errors import ConvscopeError
from tests.pictures import broken_exif


def encoded(pixels: np.ndarray, kind: str = "PNG", **settings: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **settings)
    return content.getvalue()


@pytest.fixture
def gradient() -> np.ndarray:
    """uint8 `[40, 60, 3]`, different everywhere."""
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 6, columns * 4, rows + columns], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("name", photographs.names())
def test_every_shipped_photograph_is_a_square(name):
    pixels = photographs.shipped(name)
    assert pixels.dtype == np.uint8
    assert pixels.shape[0] == pixels.shape[1] <= photographs.SIDE
    assert pixels.shape[2] == 3
    assert pixels.std() > 10


def test_every_shipped_photograph_names_its_source_and_is_free_of_rights():
    sources = (settings.folders.bundled / "photographs" / "SOURCES.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): line for line in sources if ".webp |" in line}
    assert len(photographs.names()) >= 16
    assert set(rows) == {f"{name}.webp" for name in photographs.names()}
    assert all("public domain" in row or "CC0" in row for row in rows.values())


def test_the_middle_square_is_kept(gradient):
    assert np.array_equal(photographs.read(encoded(gradient), "a.png"), gradient[:, 10:50])
    assert np.array_equal(photographs.read(encoded(gradient[:, :20]), "a.png"), gradient[10:30, :20])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_each_format_is_read(gradient, kind):
    settings = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True}
    pixels = photographs.read(encoded(gradient, kind, **settings if kind != "PNG" else {}), "a")
    assert np.abs(pixels.astype(int) - gradient[:, 10:50].astype(int)).max() <= (3 if kind == "JPEG" else 0)


def test_a_picture_from_a_tilted_camera_is_turned_upright(gradient):
    exif = Image.Exif()
    exif[274] = 6
    content = io.BytesIO()
    Image.fromarray(gradient).save(content, "PNG", exif=exif)
    upright = np.rot90(gradient, k=-1)
    assert np.array_equal(photographs.read(content.getvalue(), "a.png"), upright[10:50])


def test_transparent_pixels_are_white(gradient):
    alpha = np.zeros((40, 60, 1), dtype=np.uint8)
    assert (photographs.read(encoded(np.concatenate([gradient, alpha], axis=-1)), "a.png") == 255).all()


def test_grey_and_palette_pictures_become_colour_pictures(gradient):
    grey = photographs.read(encoded(gradient[..., 0]), "a.png")
    assert np.array_equal(grey[..., 0], gradient[:, 10:50, 0])
    palette = io.BytesIO()
    Image.fromarray(gradient).quantize(16).save(palette, "PNG")
    assert photographs.read(palette.getvalue(), "a.png").shape == (40, 40, 3)


def test_a_large_picture_is_made_smaller():
    pixels = np.full((700, 900, 3), 77, dtype=np.uint8)
    assert (photographs.read(encoded(pixels), "a.png") == np.full((512, 512, 3), 77)).all()


BAD = {
    "no picture at all": (b"hello", "x is not a picture in PNG, JPEG or WebP format: save it as one of them."),
    "empty": (b"", "x is not a picture in PNG, JPEG or WebP format: save it as one of them."),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_picture_is_refused(kind):
    content, message = BAD[kind]
    with pytest.raises(ConvscopeError) as error:
        photographs.read(content, "x")
    assert str(error.value) == message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_picture_is_refused(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(noise, kind)
    with pytest.raises(ConvscopeError, match=r"^x is damaged or incomplete: save the picture again\.$"):
        photographs.read(content[: len(content) // 2], "x")


def test_a_picture_with_damaged_exif_entries_is_refused(gradient):
    with pytest.raises(ConvscopeError, match=r"^x is damaged or incomplete: save the picture again\.$"):
        photographs.read(encoded(gradient, "JPEG", exif=broken_exif()), "x")


def test_other_formats_are_refused(gradient):
    with pytest.raises(ConvscopeError, match="is not a picture in PNG, JPEG or WebP format"):
        photographs.read(encoded(gradient, "BMP"), "x")


def test_a_far_too_large_picture_is_refused_before_it_is_unpacked():
    content = io.BytesIO()
    Image.new("1", (10_000, 9_000)).save(content, "PNG")
    with pytest.raises(ConvscopeError, match="has more than 80 million pixels"):
        photographs.read(content.getvalue(), "x")


def test_an_unknown_photograph_is_named_with_the_choice():
    with pytest.raises(ConvscopeError, match=r"There is no photograph 'zebra': choose one of astronaut, bricks, cat"):
        photographs.shipped("zebra")
