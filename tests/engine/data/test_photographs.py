"""Pictures from outside: upright, square, and refused with a sentence when they cannot be used."""

import io
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from engine import settings
from engine.data import archives, photographs
from engine.errors import ConvscopeError
from tests.memory import peak_memory
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


def test_a_photograph_that_cannot_be_read_is_one_sentence(tmp_path, use_folders):
    (tmp_path / "photographs" / "new.webp").mkdir(parents=True)
    use_folders(bundled=tmp_path)
    with pytest.raises(ConvscopeError, match=r"^new\.webp "):
        photographs.shipped("new")


def test_every_shipped_photograph_names_its_source_and_is_free_of_rights():
    sources = (settings.folders.bundled / "photographs" / "SOURCES.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): line for line in sources if ".webp |" in line}
    assert len(photographs.names()) >= 16
    assert set(rows) == {f"{name}.webp" for name in photographs.names()}
    assert all("public domain" in row or "CC0" in row for row in rows.values())


def test_the_middle_square_is_kept(gradient):
    assert np.array_equal(photographs.read(encoded(gradient), "a.png"), gradient[:, 10:50])
    assert np.array_equal(photographs.read(encoded(gradient[:, :20]), "a.png"), gradient[10:30, :20])


LOSSY = {"JPEG": {"quality": 100, "subsampling": 0}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}


@pytest.mark.parametrize("kind", [kind for kind in photographs.FORMATS if kind != "GIF"])
def test_each_format_is_read(gradient, kind):
    settings = {"WebP": {"lossless": True}, **LOSSY}.get(kind, {})
    pixels = photographs.read(encoded(gradient, kind, **settings), "a")
    assert np.abs(pixels.astype(int) - gradient[:, 10:50].astype(int)).max() <= (4 if kind in LOSSY else 0)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_a_moving_picture_the_first_frame_is_read(kind):
    red, blue = (Image.new("RGB", (20, 20), colour) for colour in ("red", "blue"))
    content = io.BytesIO()
    red.save(content, kind, save_all=True, append_images=[blue, red])
    assert np.abs(photographs.read(content.getvalue(), "a").mean((0, 1)) - (255, 0, 0)).max() <= 3


RAMP = np.tile(np.linspace(0, 1, 64), (64, 1))
DEEP = {
    "16 bits": (RAMP * 65_535).astype(np.uint16),
    "32 bits": (RAMP * (2**31 - 1)).astype(np.int32),
    "32 bits, of which 20 are used": (RAMP * 1_000_000).astype(np.int32),
    "16 bits in 32": (RAMP * 65_535).astype(np.int32),
    "floats to 1": RAMP.astype(np.float32),
    "floats to a little more than 1": (RAMP * 1.0000001).astype(np.float32),
    "floats to 1.5": (RAMP * 1.5).astype(np.float32),
    "floats to 255": (RAMP * 255).astype(np.float32),
    "floats to 12 million": (RAMP * 12_000_000).astype(np.float32),
    "floats from -3 to 1": (RAMP * 4 - 3).astype(np.float32),
}


@pytest.mark.parametrize("kind", DEEP)
def test_samples_of_more_than_8_bits_are_scaled_and_not_clipped(kind):
    pixels = photographs.read(encoded(DEEP[kind], "TIFF"), "a.tiff")
    assert np.abs(pixels - RAMP[..., np.newaxis] * 255).max() <= 1


def test_a_dark_picture_stays_dark():
    for dark in (RAMP.astype(np.float32) * 0.3, (RAMP * 65_535 * 0.3).astype(np.uint16)):
        assert photographs.read(encoded(dark, "TIFF"), "a").max() == pytest.approx(0.3 * 255, abs=1)


def test_a_float_picture_with_holes_is_read():
    holes = RAMP.astype(np.float32)
    holes[0, :3] = np.nan, np.inf, -np.inf
    pixels = photographs.read(encoded(holes, "TIFF"), "a")
    assert np.abs(pixels[1:] - RAMP[1:, :, np.newaxis] * 255).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_16_bits_is_white(channels):
    samples = np.repeat(np.repeat([12_345, 40_000], 8)[:, None], channels, 1).astype(">u2")
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", 16, 16, 16, 2 if channels == 3 else 0, 0, 0, 0),
        b"tRNS": struct.pack(">H", 12_345) * channels,
        b"IDAT": zlib.compress((b"\0" + samples.tobytes()) * 16),
        b"IEND": b"",
    }
    content = b"\x89PNG\r\n\x1a\n"
    for kind, part in parts.items():
        content += struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
    pixels = photographs.read(content, "a")
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 8:] == 156).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "GIF", "AVIF"])
def test_what_is_left_of_a_picture_is_called_damaged(kind, gradient):
    with pytest.raises(ConvscopeError, match=r"^a is damaged or incomplete: save the picture again\.$"):
        photographs.read(encoded(gradient, kind)[:15], "a")


@pytest.mark.parametrize("kind", ["PNG", "PPM"])
def test_16_bits_in_other_formats(kind):
    pixels = photographs.read(encoded(DEEP["16 bits"], kind), "a")
    assert np.abs(pixels - RAMP[..., np.newaxis] * 255).max() <= 1


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


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB with a colour", "large RGBA"])
def test_a_black_square_on_nothing_is_on_white(mode):
    alpha = np.zeros((64, 64), np.uint8)
    alpha[16:48, 16:48] = 255
    glyph = Image.merge("RGBA", [*([Image.new("L", (64, 64))] * 3), Image.fromarray(alpha)])
    content = io.BytesIO()
    if mode == "RGB with a colour":
        glyph = Image.fromarray(np.where(alpha[..., None] > 0, 0, np.uint8([255, 0, 255])))
        glyph.save(content, "PNG", transparency=(255, 0, 255))
    elif mode == "large RGBA":
        glyph.resize((4096, 4096), Image.Resampling.NEAREST).save(content, "PNG", compress_level=1)
    else:
        glyph.convert(mode).save(content, "PNG")
    for side in (None, 64, 16):
        assert photographs.read(content.getvalue(), "a.png", side).mean() == pytest.approx(0.75 * 255, abs=1)


def test_a_file_a_folder_and_an_archive_give_the_same_pixels(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 4), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(encoded(noise))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.write(tmp_path / "a.png", "cat/a.png")
    expected = photographs.read((tmp_path / "a.png").read_bytes(), "a.png", 32)
    assert np.array_equal(photographs.read(tmp_path / "a.png", "a.png", 32), expected)
    assert np.array_equal(archives.class_folders(archive.getvalue(), "my.zip", ("cat", "dog"), 32).images[0], expected)


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
    "no picture at all": (
        b"hello",
        "x is not a picture in PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or PPM format: save it as one of them.",
    ),
    "empty": (
        b"",
        "x is not a picture in PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or PPM format: save it as one of them.",
    ),
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


def test_damaged_exif_entries_are_no_obstacle(gradient):
    pixels = photographs.read(encoded(gradient, "JPEG", exif=broken_exif(), quality=100, subsampling=0), "x")
    assert np.abs(pixels.astype(int) - np.rot90(gradient, k=-1)[10:50].astype(int)).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0no TIFF", b"Exif\0\0MM\0*"], ids=["no TIFF", "truncated"])
def test_an_exif_block_that_cannot_be_read_is_no_obstacle(gradient, kind, exif):
    content = encoded(gradient, kind, exif=exif, lossless=True)
    assert np.array_equal(photographs.read(content, "x"), gradient[:, 10:50])


def test_formats_that_are_not_in_the_list_are_refused(gradient):
    with pytest.raises(ConvscopeError, match="is not a picture in PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or PPM format"):
        photographs.read(encoded(gradient, "TGA"), "x")


def test_a_far_too_large_picture_is_refused_before_it_is_unpacked():
    content = io.BytesIO()
    Image.new("1", (10_000, 9_000)).save(content, "PNG")
    with pytest.raises(ConvscopeError, match="has more than 80 million pixels"):
        photographs.read(content.getvalue(), "x")


# Memory --------------------------------------------------------------------------------------------------------


def huge_webp(side: int) -> bytes:
    """A lossless WebP of one colour, in which a pixel takes no bits: each of its codes has one symbol."""
    fields = [(0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 4)]  # signature, sides, no alpha, version
    fields += [
        (0, 3),
        *[(0b0001, 4)] * 3,
        (0b101, 3),
        (255, 8),
        (0b0001, 4),
    ]  # no transforms; RGB 0, alpha 255, distance
    bits, place = 0, 0
    for value, width in fields:
        bits, place = bits | value << place, place + width
    stream = bits.to_bytes(14, "little")
    return b"RIFF" + (12 + len(stream)).to_bytes(4, "little") + b"WEBPVP8L" + len(stream).to_bytes(4, "little") + stream


def test_forty_bytes_do_not_unpack_to_gigabytes():
    assert len(huge_webp(8_900)) < 60
    assert not photographs.read(huge_webp(2_500), "x").any()
    with peak_memory() as peak, pytest.raises(ConvscopeError, match="takes 1,267 MB when it is unpacked, and 400 are"):
        photographs.read(huge_webp(8_900), "x")
    assert peak() < 50_000_000


COSTLY = {
    "WEBP": ("RGBA", {"lossless": True}),
    "AVIF": ("RGBA", {"speed": 10}),
    "PNG": ("RGBA", {"compress_level": 1}),
    "GIF": ("P", {}),
    "BMP": ("RGB", {}),
    "TIFF": ("RGB", {"compression": "tiff_lzw"}),
    "PPM": ("RGB", {}),
    "JPEG": ("CMYK", {"progressive": True, "subsampling": 0}),
}


@pytest.mark.parametrize("kind", COSTLY)
def test_a_picture_takes_no_more_memory_than_is_reckoned_with(kind, monkeypatch):
    mode, settings = COSTLY[kind]
    content = io.BytesIO()
    Image.new(mode, (3_200, 3_000)).save(content, kind, **settings)
    reckoned = []
    memory = photographs._memory
    monkeypatch.setattr(photographs, "_memory", lambda needed: (reckoned.append(needed), memory(needed))[1])
    with peak_memory() as peak:
        photographs.read(content.getvalue(), "x")
    assert peak() < reckoned[0] + 60_000_000


def test_pictures_wait_until_there_is_memory_for_them(gradient):
    with ThreadPoolExecutor(1) as pool:
        with photographs._memory(photographs.MOST_BYTES):
            waiting = pool.submit(photographs.read, encoded(gradient), "x")
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.1)
        assert waiting.result(timeout=10).shape == (40, 40, 3)


def test_an_unknown_photograph_is_named_with_the_choice():
    with pytest.raises(ConvscopeError, match=r"There is no photograph 'zebra': choose one of astronaut, bricks, cat"):
        photographs.shipped("zebra")
