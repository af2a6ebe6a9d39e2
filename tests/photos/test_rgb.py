"""A large picture is made smaller on its way to RGB: by whole factors, in strips, and equal to what is done
in one.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vit_demo.photos import rgb
from vit_demo.photos.rgb import upright_rgb


def opened(photo: Image.Image, kind: str, **options: object) -> Image.Image:
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return Image.open(file)


def halves(width: int, height: int) -> Image.Image:
    photo = Image.new("RGB", (width, height), "red")
    photo.paste("blue", (width // 2, 0, width, height))
    return photo


@pytest.mark.parametrize(
    ("kind", "size", "kept"),
    [
        ("JPEG", (1000, 400), (1000, 400)),
        ("JPEG", (1001, 400), (501, 200)),
        ("JPEG", (2001, 1500), (501, 375)),
        ("JPEG", (9000, 4000), (563, 250)),
        ("JPEG", (7000, 6000), (438, 375)),
        ("PNG", (1000, 400), (1000, 400)),
        ("PNG", (1001, 400), (501, 200)),
        ("PNG", (2001, 1500), (667, 500)),
        ("PNG", (400_001, 1), (200_001, 1)),
        ("PNG", (2, 600_000), (1, 300_000)),
    ],
)
def test_sides_are_divided_by_the_smallest_factor_that_is_enough(
    kind: str, size: tuple[int, int], kept: tuple[int, int]
) -> None:
    photo = upright_rgb(opened(halves(*size), kind), 400_000)
    assert photo.size == kept and photo.width * photo.height <= 400_000
    if kept[0] > 2:
        assert (
            photo.getpixel((kept[0] // 5, kept[1] // 2))[2]
            < 5
            < 250
            < photo.getpixel((kept[0] * 4 // 5, kept[1] // 2))[2]
        )


def sources() -> dict[str, Image.Image]:
    """Pictures of 60 x 90 in every way in which a file can hold one."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (90, 60, 3), dtype=np.uint8))
    clear = colour.copy()
    clear.putalpha(Image.fromarray(rng.integers(0, 256, (90, 60), dtype=np.uint8)))
    grey = rng.integers(0, 65_536, (90, 60), dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "RGB": opened(colour, "PNG"),
        "RGBA": opened(clear, "PNG"),
        "LA": opened(clear.convert("LA"), "PNG"),
        "1": opened(colour.convert("1"), "PNG"),
        "key": opened(colour.quantize(16), "PNG", transparency=3),
        "CMYK": opened(colour.convert("CMYK"), "TIFF"),
        "turned": opened(colour, "PNG", exif=exif),
        "16": opened(Image.fromarray(grey), "PNG"),
        "16 big": opened(Image.fromarray(grey.astype(">u2")), "TIFF"),
        "float": opened(Image.fromarray(grey.astype(np.float32) / 70_000), "TIFF"),
        "32": opened(Image.fromarray(grey.astype(np.int32) * 9), "TIFF"),
    }


@pytest.mark.parametrize("name", list(sources()))
def test_strips_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole = upright_rgb(sources()[name])
    monkeypatch.setattr(rgb, "STRIP_PIXELS", 400)  # two blocks high: 15 strips
    small = upright_rgb(sources()[name], 600)
    expected = (
        np.asarray(whole, dtype=float).reshape(whole.height // 3, 3, whole.width // 3, 3, 3).mean(axis=(1, 3))
    )
    assert small.size == (whole.width // 3, whole.height // 3)
    assert np.abs(np.asarray(small) - expected).max() <= 1 and np.asarray(small).std() > 5


def test_a_jpeg_is_decoded_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = opened(halves(4000, 3000), "JPEG")
    small = upright_rgb(photo, 1_000_000)
    assert photo.size == small.size == (1000, 750)  # the file's own picture was never larger
