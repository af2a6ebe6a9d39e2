"""A stored photo becomes an upright RGB one, or None; it never becomes an exception."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.photo_corpus import encoded, huge_jpeg, marked, resized_jpeg
from vit_demo.data.browse import thumbnails
from vit_demo.photos.safe_open import decode


def picture(number: int, ending: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, ending)
    return file.getvalue()


def test_decode_upright_rgb(tmp_path: Path) -> None:
    photo = Image.new("RGB", (40, 20), "white")
    photo.paste("red", (0, 0, 20, 20))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the top of the scene is on the right
    file = io.BytesIO()
    photo.save(file, "JPEG", exif=exif, quality=95)
    upright = decode({"bytes": file.getvalue(), "path": None})
    assert (upright.mode, upright.size) == ("RGB", (20, 40))
    assert np.abs(np.subtract(upright.getpixel((10, 5)), (255, 0, 0))).max() < 20, (
        "the left half is now on top"
    )
    (tmp_path / "photo.jpg").write_bytes(file.getvalue())
    assert decode({"bytes": None, "path": str(tmp_path / "photo.jpg")}).tobytes() == upright.tobytes()


@pytest.mark.parametrize(
    "stored",
    [
        {"bytes": b"", "path": None},
        {"bytes": None, "path": None},
        {"bytes": b"no photo", "path": "x.jpg"},
        {"bytes": None, "path": "/no/such/photo.jpg"},
        {"bytes": picture(1)[:200], "path": None},
        {"bytes": picture(1, "PNG")[:100], "path": None},
        {"bytes": picture(1, "PNG")[:40] + b"\0" * 300, "path": None},
    ],
    ids=str,
)
def test_decode_broken(stored: dict) -> None:
    assert decode(stored) is None


@pytest.mark.parametrize("kind", ["TGA", "PCX", "ICO", "SGI", "PPM", "EPS", "JPEG2000", "PDF"])
def test_formats_that_no_camera_writes_are_not_decoded_though_pillow_could(tmp_path: Path, kind: str) -> None:
    content = encoded(marked(), kind)
    (tmp_path / "photo.jpg").write_bytes(content)
    assert (
        decode({"bytes": content, "path": None}) is None
        and decode({"bytes": None, "path": str(tmp_path / "photo.jpg")}) is None
    )
    assert thumbnails.make({"bytes": content, "path": None}) is None


def test_a_large_photo_is_made_smaller_and_one_too_large_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = {"bytes": huge_jpeg(8000, 7000), "path": None}
    assert decode(stored).size == (2000, 1750) and decode(stored, 1_000_000).size == (1000, 875)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("it was decoded"))
    assert (
        decode({"bytes": resized_jpeg(20_000, 10_000, progressive=True, subsampling=0), "path": None}) is None
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
def test_decode_never_raises(ending: str) -> None:
    rng = np.random.default_rng(0)
    good = picture(3, ending)
    assert decode({"bytes": good, "path": None}).size == (12, 8)
    for _ in range(150):
        content = bytearray(good[: rng.integers(1, len(good) + 1)])
        for place in rng.integers(0, len(content), 5):
            content[place] = rng.integers(0, 256)
        photo = decode({"bytes": bytes(content), "path": None})
        assert photo is None or photo.mode == "RGB"
