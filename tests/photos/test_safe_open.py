"""What a stranger's file must pass before anything of it is decoded: for a diagnosis and for an import
alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.photo_corpus import (
    ORIENTATION,
    SIZE,
    chunk,
    encoded,
    huge_jpeg,
    marked,
    one_colour_a_scan,
    resized_jpeg,
    tiff_tile,
)
from tests.sentences import is_plain
from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.photos.rgb import upright_rgb
from vit_demo.photos.safe_open import FORMATS, Unfit, opened

MOST = 12_500_000


def written(tmp_path: Path, content: bytes, name: str = "leaf.jpg") -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def read(path: Path) -> Image.Image:
    with opened(path) as photo:
        return upright_rgb(photo, MOST)


def refused(path: Path, words: str) -> Unfit:
    """The refusal, which must be plain sentences, without the file's name and with it."""
    with pytest.raises(Unfit, match=words) as refusal:
        read(path)
    assert is_plain(str(refusal.value)) and str(refusal.value).startswith("The photo ")
    assert str(refusal.value.named("leaf.jpg")) == str(refusal.value).replace("The photo", "leaf.jpg", 1)
    return refusal.value


# Formats


@pytest.mark.parametrize("kind", [*FORMATS, "MPO", "HEIF"])
def test_each_format_is_opened_by_what_is_in_it(tmp_path: Path, kind: str) -> None:
    with opened(written(tmp_path, encoded(marked(), kind), "leaf")) as photo:
        assert (photo.format, photo.size) == ("JPEG" if kind == "MPO" else kind, SIZE)


def test_formats_open_in_a_process_that_has_opened_nothing_yet(tmp_path: Path) -> None:
    """Pillow knows few formats until it has seen a photo of one."""
    paths = [str(written(tmp_path, encoded(marked(), kind), kind)) for kind in reversed([*FORMATS, "HEIF"])]
    code = (
        "import pathlib, sys; from vit_demo.photos.safe_open import opened\n"
        "for path in sys.argv[1:]:\n"
        "    with opened(pathlib.Path(path)) as photo: print(photo.size)"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == [str(SIZE)] * len(paths), done.stderr


# What is no photo


NO_PHOTOS = {
    "text.jpg": b"Dear model, this is a letter.\n" * 20,
    "drawing.svg": (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
    ),
    "paper.pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "page.html": b"<!doctype html><img src=x>",
    "archive.zip": b"PK\x03\x04" + b"\0" * 60,
    "zeros.png": b"\0" * 500,
    "one.byte": b"\xff",
}


@pytest.mark.parametrize("name", NO_PHOTOS)
def test_what_is_no_photo_is_refused(tmp_path: Path, name: str) -> None:
    assert "JPEG, PNG" in str(refused(written(tmp_path, NO_PHOTOS[name], name), "is not a photo"))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    refused(written(tmp_path, b""), "is empty")


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "PCX", "EPS", "PDF", "JPEG2000"])
def test_formats_that_pillow_knows_but_no_camera_writes_stay_out(tmp_path: Path, kind: str) -> None:
    refused(written(tmp_path, encoded(marked(), kind)), "is not a photo")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
def test_a_photo_cut_off_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    rng = np.random.default_rng(0)
    content = encoded(Image.fromarray(rng.integers(0, 255, (60, 50, 3), dtype=np.uint8)), kind)
    refused(written(tmp_path, content[: max(4, int(len(content) * share))]), "is damaged|is not a photo")


def test_what_pillow_raises_never_gets_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by damaging files at random: its ways to fail have no common base class."""
    path = written(tmp_path, encoded(marked(), "PNG"))
    for error in (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        struct.error,
        zlib.error,
        OverflowError,
    ):

        def fail(*_: object, error: type = error) -> None:
            raise error("deep in Pillow")

        monkeypatch.setattr(Image.Image, "load", fail)
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
        refused(path, "is damaged")


def test_files_damaged_at_random_open_or_are_refused(tmp_path: Path) -> None:
    rng = random.Random(5)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole = [
        encoded(marked(), kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
        for kind in FORMATS
    ]
    found = 0
    for number in range(600):
        content = bytearray(rng.choice(whole))
        for _ in range(rng.choice((1, 2, 8))):
            content[rng.randrange(min(len(content), rng.choice((64, 4096))))] = rng.choice(
                (0, 1, 127, 255, rng.randrange(256))
            )
        try:
            photo = read(written(tmp_path, bytes(content), f"{number}.jpg"))
        except Unfit:
            continue
        found += 1
        assert photo.mode == "RGB"
    assert 50 < found < 590  # both ways were taken


def test_heic_without_its_library_is_a_sentence_that_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own: once read, the library stays."""
    written(tmp_path, b"\0\0\0\x18ftypheic" + b"\0" * 400, "leaf.jpg")
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from vit_demo.diagnose.photos import open_photo\n"
        "try: open_photo(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "leaf.jpg")], cwd=ROOT, capture_output=True, text=True
    )
    sentence = (
        "leaf.jpg is a HEIC photo, which cannot be read here: pillow-heif is not installed. Install it, or"
        " send a JPEG."
    )
    assert done.stdout.strip() == f"UserError {sentence}", done.stderr


# Limits


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lower a limit of the settings."""
    own = settings.load()

    def lower(**limits: int) -> None:
        monkeypatch.setattr(settings, "load", lambda: dataclasses.replace(own, **limits))

    return lower


def test_a_file_of_too_many_bytes_is_refused_unread(
    tmp_path: Path, limit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, encoded(marked(), "PNG") + b"\0" * 2**20)
    limit(max_photo_bytes=path.stat().st_size)
    assert read(path).size == SIZE
    limit(max_photo_bytes=2**20)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    refused(path, "is larger than 1 MB")


def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, limit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, encoded(Image.new("RGB", (2000, 1500)), "PNG"))
    limit(max_photo_pixels=3_000_000)
    assert read(path).size == (2000, 1500)
    limit(max_photo_pixels=2_999_999)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("it was decoded"))
    refused(path, "has 3 million pixels; at most 3 million can be opened")


def png_that_says(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header names any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("width", "height"), [(15_000, 15_000), (100_000, 100_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)]
)
def test_a_header_that_lies_about_its_size_costs_nothing(tmp_path: Path, width: int, height: int) -> None:
    refused(written(tmp_path, png_that_says(width, height), "bomb.png"), "pixels")


def test_a_photo_that_the_memory_cannot_hold_has_too_many_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    refused(written(tmp_path, encoded(marked(), "PNG")), "more pixels than can be opened here")


def test_a_header_that_promises_a_little_too_much_is_damaged(tmp_path: Path) -> None:
    refused(written(tmp_path, png_that_says(300, 300), "short.png"), "is damaged")


@pytest.mark.parametrize(
    "make",
    [
        lambda: resized_jpeg(20_000, 10_000, progressive=True, subsampling=0),
        lambda: one_colour_a_scan(resized_jpeg(20_000, 10_000, subsampling=0)),
        lambda: tiff_tile(20_000),
    ],
    ids=["progressive", "one colour a scan", "tile"],
)
def test_what_takes_too_much_memory_is_refused_before_it_is_decoded(
    tmp_path: Path, make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("it was decoded"))
    refused(written(tmp_path, make()), "takes too much memory to open")


@pytest.mark.parametrize(
    ("content", "counts"),
    [
        (lambda: huge_jpeg(8000, 7000), False),
        (lambda: resized_jpeg(8000, 7000, progressive=True), True),
        (lambda: one_colour_a_scan(resized_jpeg(8000, 7000)), True),
        (lambda: png_that_says(8000, 7000), True),
        (lambda: tiff_tile(7500), True),
    ],
    ids=["plain JPEG", "progressive", "one colour a scan", "PNG", "tile"],
)
def test_a_lower_limit_is_for_all_but_a_jpeg_of_one_scan(
    tmp_path: Path, content: Callable[[], bytes], counts: bool
) -> None:
    path = written(tmp_path, content())
    with opened(path), opened(path, 57_000_000):
        pass
    with (
        (
            pytest.raises(Unfit, match="56 million pixels; at most 50 million")
            if counts
            else contextlib.nullcontext()
        ),
        opened(path, 50_000_000),
    ):
        pass


def test_the_block_goes_on_with_what_it_raises_itself(tmp_path: Path) -> None:
    """Else a sentence of who opens the photo would turn into one about a damaged file."""
    with pytest.raises(UserError, match="Stop here."), opened(written(tmp_path, encoded(marked(), "PNG"))):
        raise UserError("Stop here.")
