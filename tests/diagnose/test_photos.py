"""Whatever file a stranger sends: an upright RGB photo or one sentence, never another exception."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.photo_corpus import encoded
from vit_demo.common.errors import UserError
from vit_demo.diagnose.photos import open_photo
from vit_demo.photos.safe_open import FORMATS

RED, BLUE = (210, 40, 40), (30, 60, 220)
ORIENTATION = 0x0112


def two_halves(width: int = 40, height: int = 24) -> Image.Image:
    """Red on the left, blue on the right."""
    photo = Image.new("RGB", (width, height), RED)
    photo.paste(BLUE, (width // 2, 0, width, height))
    return photo


def near(pixel: tuple[int, ...], colour: tuple[int, ...], by: int = 30) -> bool:
    return all(abs(a - b) <= by for a, b in zip(pixel, colour, strict=True))


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
    assert (
        photo.size == (40, 24) and near(photo.getpixel((8, 12)), RED) and near(photo.getpixel((32, 12)), BLUE)
    )


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_of_many_frames_the_first_counts(tmp_path: Path, kind: str) -> None:
    content = encoded(
        two_halves(), kind, save_all=True, append_images=[Image.new("RGB", (40, 24), "white")] * 2
    )
    photo = open_photo(written(tmp_path, content))
    assert near(photo.getpixel((8, 12)), RED) and near(photo.getpixel((32, 12)), BLUE)


def test_a_str_is_a_path_too(tmp_path: Path) -> None:
    assert open_photo(str(written(tmp_path, encoded(two_halves(), "PNG")))).size == (40, 24)


def test_one_pixel_is_a_photo(tmp_path: Path) -> None:
    photo = open_photo(written(tmp_path, encoded(Image.new("RGB", (1, 1), RED), "PNG")))
    assert (photo.size, photo.getpixel((0, 0))) == ((1, 1), RED)


# Turned photos


def test_all_eight_orientations_come_out_upright(tmp_path: Path) -> None:
    """What a camera stores for each, so that the right way up is red left and blue right, with a green corner
    top left.
    """
    upright = two_halves()
    upright.paste((40, 200, 60), (0, 0, 10, 10))
    turn = Image.Transpose
    stored = {
        1: None,
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_90,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_270,
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
    rows = b"".join(
        struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0") for tag, kind, count, value in entries
    )
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + rows + b"\0" * 4


def test_an_odd_tag_beside_the_orientation_does_no_harm(tmp_path: Path) -> None:
    """Text where a number belongs: to write such EXIF data anew fails, to read past them does not."""
    exif = exif_of((0x0100, 2, 4, b"abc\0"), (ORIENTATION, 3, 1, struct.pack("<H", 6)))
    assert open_photo(written(tmp_path, encoded(two_halves(), "JPEG", exif=exif))).size == (24, 40)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0",
        exif_of((ORIENTATION, 2, 4, b"abc\0")),
        exif_of((ORIENTATION, 3, 1, b"\x63\0")),
    ],
)
def test_broken_exif_data_leave_the_photo_as_it_is(tmp_path: Path, exif: bytes) -> None:
    photo = open_photo(written(tmp_path, encoded(two_halves(), "JPEG", exif=exif)))
    assert photo.size == (40, 24) and near(photo.getpixel((8, 12)), RED)


def test_warnings_of_pillow_do_not_reach_the_terminal(tmp_path: Path) -> None:
    entry = exif_of((ORIENTATION, 3, 1, struct.pack("<H", 6)))
    path = written(
        tmp_path, encoded(two_halves(), "JPEG", exif=entry[:14] + b"\x09" + entry[15:])
    )  # nine entries said, one there
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with Image.open(path) as photo:
            photo.getexif()
    assert len(told) == 1  # else there is nothing to keep back
    code = "import sys; from vit_demo.diagnose.photos import open_photo; print(open_photo(sys.argv[1]).size)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(24, 40)\n", "")


# Colours


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    for kind in ("JPEG", "TIFF"):
        photo = open_photo(written(tmp_path, encoded(two_halves().convert("CMYK"), kind)))
        assert (
            photo.mode == "RGB"
            and near(photo.getpixel((8, 12)), RED, by=45)
            and near(photo.getpixel((32, 12)), BLUE, by=45)
        )


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
def test_grey_of_more_than_8_bit_is_scaled(
    tmp_path: Path, dtype: type, values: tuple, expected: tuple
) -> None:
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
    assert photo.getpixel((32, 12)) == (
        BLUE if mode != "LA" else (two_halves().convert("L").getpixel((32, 12)),) * 3
    )


# What is no file


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # to open it would wait for ever
    refused(tmp_path / "pipe.jpg", "is a device or a pipe")


def test_what_is_no_photo_is_refused_with_its_name_and_what_to_do(tmp_path: Path) -> None:
    sentence = refused(written(tmp_path, b"Dear model, this is a letter.\n" * 20), "is not a photo")
    assert (
        sentence
        == "leaf.jpg is not a photo. Choose a picture file: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF."
    )
