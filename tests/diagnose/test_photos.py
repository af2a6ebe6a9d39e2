"""Whatever file a stranger sends: an upright RGB photo or one sentence, never another exception."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_demo import settings
from vit_demo.diagnose.photos import FORMATS, open_photo
from vit_demo.errors import UserError

RED, BLUE = (210, 40, 40), (30, 60, 220)
ORIENTATION = 0x0112


def two_halves(width: int = 40, height: int = 24) -> Image.Image:
    """Red on the left, blue on the right."""
    photo = Image.new("RGB", (width, height), RED)
    photo.paste(BLUE, (width // 2, 0, width, height))
    return photo


def near(pixel: tuple[int, ...], colour: tuple[int, ...], by: int = 30) -> bool:
    return all(abs(a - b) <= by for a, b in zip(pixel, colour, strict=True))


def encoded(photo: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


def written(tmp_path: Path, content: bytes, name: str = "leaf.jpg") -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def refused(path: Path, words: str) -> str:
    with pytest.raises(UserError, match=words) as refusal:
        open_photo(path)
    sentence = str(refusal.value)
    assert path.name in sentence and sentence.endswith(".") and "\n" not in sentence
    return sentence


# Formats


@pytest.mark.parametrize("name", ["leaf.jpg", "leaf.xyz", "leaf", "größe 葉.png"])
@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_opens_whatever_its_name(tmp_path: Path, kind: str, name: str) -> None:
    photo = open_photo(written(tmp_path, encoded(two_halves(), kind), name))
    assert (photo.mode, photo.size) == ("RGB", (40, 24))
    assert near(photo.getpixel((8, 12)), RED) and near(photo.getpixel((32, 12)), BLUE)


def test_an_mpo_of_a_phone_opens_as_its_first_photo(tmp_path: Path) -> None:
    content = encoded(two_halves(), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 24), "white")])
    with Image.open(io.BytesIO(content)) as whole:
        assert whole.format == "MPO" and whole.n_frames == 2
    photo = open_photo(written(tmp_path, content))
    assert photo.size == (40, 24) and near(photo.getpixel((8, 12)), RED) and near(photo.getpixel((32, 12)), BLUE)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_of_many_frames_the_first_counts(tmp_path: Path, kind: str) -> None:
    content = encoded(two_halves(), kind, save_all=True, append_images=[Image.new("RGB", (40, 24), "white")] * 2)
    photo = open_photo(written(tmp_path, content))
    assert near(photo.getpixel((8, 12)), RED) and near(photo.getpixel((32, 12)), BLUE)


def test_a_str_is_a_path_too(tmp_path: Path) -> None:
    assert open_photo(str(written(tmp_path, encoded(two_halves(), "PNG")))).size == (40, 24)


def test_one_pixel_is_a_photo(tmp_path: Path) -> None:
    photo = open_photo(written(tmp_path, encoded(Image.new("RGB", (1, 1), RED), "PNG")))
    assert (photo.size, photo.getpixel((0, 0))) == ((1, 1), RED)


def test_formats_open_in_a_process_that_has_opened_nothing_yet(tmp_path: Path) -> None:
    """Pillow knows few formats until it has seen a photo of one."""
    paths = [str(written(tmp_path, encoded(two_halves(), kind), kind)) for kind in reversed(FORMATS)]
    code = "import sys; from vit_demo.diagnose.photos import open_photo; print({open_photo(path).size for path in sys.argv[1:]})"
    done = subprocess.run([sys.executable, "-c", code, *paths], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout.strip() == "{(40, 24)}", done.stderr


# Turned photos


def test_all_eight_orientations_come_out_upright(tmp_path: Path) -> None:
    """What a camera stores for each, so that the right way up is red left and blue right, with a green corner top left."""
    upright = two_halves()
    upright.paste((40, 200, 60), (0, 0, 10, 10))
    turn = Image.Transpose
    stored = {
        1: None, 2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE, 6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270,
    }
    for orientation, how in stored.items():
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
            pixels = upright if how is None else upright.transpose(how)
            photo = open_photo(written(tmp_path, encoded(pixels, kind, exif=exif)))
            assert photo.size == (40, 24), (orientation, kind)
            for place, colour in (((4, 4), (40, 200, 60)), ((8, 20), RED), ((36, 4), BLUE)):
                assert near(photo.getpixel(place), colour, by=45), (orientation, kind, place)


def test_a_16_bit_photo_is_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    values = np.zeros((4, 6), dtype=np.uint16)
    values[0] = 65535  # the first row becomes the last column
    photo = open_photo(written(tmp_path, encoded(Image.fromarray(values), "PNG", exif=exif)))
    assert photo.size == (4, 6)
    assert [photo.getpixel((x, 3))[0] for x in range(4)] == [0, 0, 0, 255]


def exif_of(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF data of (tag, type, count, value) as they come, sound or not."""
    rows = b"".join(struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0") for tag, kind, count, value in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + rows + b"\0" * 4


def test_an_odd_tag_beside_the_orientation_does_no_harm(tmp_path: Path) -> None:
    """Text where a number belongs: to write such EXIF data anew fails, to read past them does not."""
    exif = exif_of((0x0100, 2, 4, b"abc\0"), (ORIENTATION, 3, 1, struct.pack("<H", 6)))
    assert open_photo(written(tmp_path, encoded(two_halves(), "JPEG", exif=exif))).size == (24, 40)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0", exif_of((ORIENTATION, 2, 4, b"abc\0")), exif_of((ORIENTATION, 3, 1, b"\x63\0"))])
def test_broken_exif_data_leave_the_photo_as_it_is(tmp_path: Path, exif: bytes) -> None:
    photo = open_photo(written(tmp_path, encoded(two_halves(), "JPEG", exif=exif)))
    assert photo.size == (40, 24) and near(photo.getpixel((8, 12)), RED)


def test_warnings_of_pillow_do_not_reach_the_terminal(tmp_path: Path) -> None:
    entry = exif_of((ORIENTATION, 3, 1, struct.pack("<H", 6)))
    path = written(tmp_path, encoded(two_halves(), "JPEG", exif=entry[:14] + b"\x09" + entry[15:]))  # nine entries said, one there
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with Image.open(path) as photo:
            photo.getexif()
        assert len(told) == 1  # else there is nothing to keep back
        assert open_photo(path).size == (24, 40)
    assert len(told) == 1


# Colours


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    for kind in ("JPEG", "TIFF"):
        photo = open_photo(written(tmp_path, encoded(two_halves().convert("CMYK"), kind)))
        assert photo.mode == "RGB" and near(photo.getpixel((8, 12)), RED, by=45) and near(photo.getpixel((32, 12)), BLUE, by=45)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    photo = open_photo(written(tmp_path, encoded(Image.new("RGB", (8, 8), "white").convert(mode), "TIFF")))
    assert (photo.mode, photo.getpixel((3, 3))) == ("RGB", (255, 255, 255))


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (np.uint16, (0, 257, 32896, 65535), (0, 1, 128, 255)),
        (np.uint16, (0, 100, 200, 255), (0, 0, 1, 1)),  # 16 bit and dark is dark
        (np.int32, (0, 257, 32896, 65535), (0, 1, 128, 255)),
        (np.int32, (100, 150, 200, 255), (100, 150, 200, 255)),
        (np.float32, (0, 0.25, 0.5, 1), (0, 64, 128, 255)),
        (np.float32, (100, 150, 200, 250), (100, 150, 200, 250)),
        (np.float32, (-5, 100, 1000, 65535), (0, 0, 4, 255)),
        (np.float32, (0, float("nan"), float("inf"), 100), (0, 0, 0, 100)),
        (np.int32, (0, 500_000, 1_000_000, 2_000_000), (0, 64, 128, 255)),
    ],
)
def test_grey_of_more_than_8_bit_is_scaled(tmp_path: Path, dtype: type, values: tuple, expected: tuple) -> None:
    path = written(tmp_path, encoded(Image.fromarray(np.array([values], dtype=dtype)), "TIFF"))
    photo = open_photo(path)
    assert [photo.getpixel((x, 0))[0] for x in range(4)] == pytest.approx(expected, abs=1)


def test_16_bit_png(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16)), "PNG"))
    assert [open_photo(path).getpixel((x, 0)) for x in range(3)] == [(0,) * 3, (128,) * 3, (255,) * 3]


def clear(mode: str) -> tuple[bytes, str]:
    """A photo whose left half is transparent."""
    photo = two_halves().convert("RGBA")
    photo.paste((0, 0, 0, 0), (0, 0, 20, 24))
    if mode == "palette":
        small = Image.new("P", (40, 24), 1)
        small.putpalette([0, 0, 0, *BLUE])
        small.paste(0, (0, 0, 20, 24))
        return encoded(small, "PNG", transparency=0), "PNG"
    if mode == "colour key":
        keyed = two_halves()
        return encoded(keyed, "PNG", transparency=RED), "PNG"
    return encoded(photo.convert(mode), "PNG"), "PNG"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "palette", "colour key"])
def test_what_is_transparent_becomes_white(tmp_path: Path, mode: str) -> None:
    photo = open_photo(written(tmp_path, clear(mode)[0]))
    assert photo.mode == "RGB" and photo.getpixel((5, 12)) == (255, 255, 255)
    assert photo.getpixel((32, 12)) == (BLUE if mode != "LA" else (two_halves().convert("L").getpixel((32, 12)),) * 3)


# What is no photo


NO_PHOTOS = {
    "text.jpg": b"Dear model, this is a letter.\n" * 20,
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>',
    "paper.pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "page.html": b"<!doctype html><img src=x>",
    "archive.zip": b"PK\x03\x04" + b"\0" * 60,
    "zeros.png": b"\0" * 500,
    "one.byte": b"\xff",
}


@pytest.mark.parametrize("name", NO_PHOTOS)
def test_what_is_no_photo_is_refused(tmp_path: Path, name: str) -> None:
    assert "JPEG, PNG" in refused(written(tmp_path, NO_PHOTOS[name], name), "is not a photo")


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "PCX", "EPS", "PDF", "JPEG2000"])
def test_formats_that_pillow_knows_but_no_camera_writes_stay_out(tmp_path: Path, kind: str) -> None:
    refused(written(tmp_path, encoded(two_halves(), kind)), "is not a photo")


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    refused(tmp_path / "missing.jpg", "There is no photo")
    refused(written(tmp_path, b""), "is empty")
    refused(tmp_path, "is a folder")
    refused(tmp_path / ("n" * 300 + ".jpg"), "There is no photo")
    refused(written(tmp_path, b"x") / "inside.jpg", "There is no photo")
    refused(tmp_path / "null\0.jpg", "There is no photo")


@pytest.mark.skipif(os.name == "nt", reason="Windows makes links only for administrators")
def test_a_link_to_nowhere_is_missing(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    refused(tmp_path / "link.jpg", "There is no photo")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
def test_a_photo_cut_off_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    rng = np.random.default_rng(0)
    content = encoded(Image.fromarray(rng.integers(0, 255, (60, 50, 3), dtype=np.uint8)), kind)
    refused(written(tmp_path, content[: max(4, int(len(content) * share))]), "is damaged|is not a photo")


def test_what_pillow_raises_never_gets_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by damaging files at random: its ways to fail have no common base class."""
    path = written(tmp_path, encoded(two_halves(), "PNG"))
    for error in (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error, OverflowError):

        def fail(*_: object, error: type = error) -> None:
            raise error("deep in Pillow")

        monkeypatch.setattr(Image.Image, "load", fail)
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
        refused(path, "is damaged")


def test_files_damaged_at_random_open_or_are_refused(tmp_path: Path) -> None:
    rng = random.Random(5)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole = [encoded(two_halves(), kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {})) for kind in FORMATS]
    opened = 0
    for number in range(600):
        content = bytearray(rng.choice(whole))
        for _ in range(rng.choice((1, 2, 8))):
            content[rng.randrange(min(len(content), rng.choice((64, 4096))))] = rng.choice((0, 1, 127, 255, rng.randrange(256)))
        try:
            photo = open_photo(written(tmp_path, bytes(content), f"{number}.jpg"))
        except UserError:
            continue
        opened += 1
        assert photo.mode == "RGB"
    assert 50 < opened < 590  # both ways were taken


def test_heic_without_its_library_is_a_sentence_that_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own: once read, the library stays."""
    written(tmp_path, b"\0\0\0\x18ftypheic" + b"\0" * 400, "leaf.jpg")
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from vit_demo.diagnose.photos import open_photo\n"
        "try: open_photo(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "leaf.jpg")], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout.startswith("UserError leaf.jpg is a HEIC photo, which cannot be read here: pillow-heif is not installed."), done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # to open it would wait for ever
    refused(tmp_path / "pipe.jpg", "is a device or a pipe")


# Limits


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lower a limit of the settings."""
    own = settings.load()

    def lower(**limits: int) -> None:
        monkeypatch.setattr(settings, "load", lambda: dataclasses.replace(own, **limits))

    return lower


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path: Path, limit: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, encoded(two_halves(), "PNG") + b"\0" * 2**20)
    limit(max_photo_bytes=path.stat().st_size)
    assert open_photo(path).size == (40, 24)
    limit(max_photo_bytes=2**20)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    assert "1 MB" in refused(path, "is larger than")


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, limit: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, encoded(Image.new("RGB", (2000, 1500)), "PNG"))
    limit(max_photo_pixels=3_000_000)
    assert open_photo(path).size == (2000, 1500)
    limit(max_photo_pixels=2_999_999)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("it was decoded"))
    refused(path, "has 3 million pixels; at most 3 million can be opened")


def png_that_says(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header names any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(15_000, 15_000), (100_000, 100_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)])
def test_a_header_that_lies_about_its_size_costs_nothing(tmp_path: Path, width: int, height: int) -> None:
    refused(written(tmp_path, png_that_says(width, height), "bomb.png"), "pixels")


def test_a_photo_that_the_memory_cannot_hold_has_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    refused(written(tmp_path, encoded(two_halves(), "PNG")), "more pixels than can be opened here")


def test_a_header_that_promises_a_little_too_much_is_damaged(tmp_path: Path) -> None:
    refused(written(tmp_path, png_that_says(300, 300), "short.png"), "is damaged")
