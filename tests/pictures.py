"""Folders of class folders, as a lecturer might have them, for the tests of training on them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_picture(file: Path, pixels: np.ndarray, **options: Any) -> None:
    """Store uint8 `[H, W, 3]` at `file`, in the format of its ending."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, **options)


def broken_exif() -> bytes:
    """EXIF of a picture held sideways, one byte of which is damaged: the description's tag became that of the width."""
    exif = Image.Exif()
    exif[274], exif[270] = 6, "hello"
    return exif.tobytes().replace(b"\x01\x0e\x00\x02", b"\x01\x00\x00\x02")


def class_folders(folder: Path, classes: dict[str, int], side: int = 12, seed: int = 0) -> Path:
    """`folder` with so many noisy PNG pictures of each class, whose mean colour tells the class."""
    random = np.random.default_rng(seed)
    for number, (name, count) in enumerate(classes.items()):
        colour = np.eye(3)[number % 3] * 150
        for index in range(count):
            pixels = (random.random((side, side, 3)) * 100 + colour).astype(np.uint8)
            write_picture(folder / name / f"{name}-{index}.png", pixels)
    return folder
