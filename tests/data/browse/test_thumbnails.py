"""Small pictures: right, made once, anew when the photo changes, and never more than fit."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_demo.data.browse import thumbnails
from vit_demo.data.browse.thumbnails import SIDE, sweep, thumbnail

pytestmark = pytest.mark.usefixtures("home")


def encoded(size: tuple[int, int], kind: str = "JPEG", **options) -> bytes:
    """A photo whose left half is red and whose right half is blue."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[:, : size[0] // 2, 0] = pixels[:, size[0] // 2 :, 2] = 250
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def opened(small: bytes | None) -> Image.Image:
    assert small is not None
    picture = Image.open(io.BytesIO(small))
    assert picture.format == "JPEG" and picture.mode == "RGB"
    return picture


def kept(home: Path) -> list[Path]:
    return sorted((home / "cache" / "thumbnails").glob("*/*"))


@pytest.mark.parametrize(
    ("size", "kind", "small"),
    [
        ((500, 500), "JPEG", (176, 176)),
        ((4000, 1000), "JPEG", (176, 44)),
        ((300, 600), "PNG", (88, 176)),
        ((60, 20), "PNG", (60, 20)),
        ((2000, 2), "PNG", (176, 1)),
    ],
)
def test_it_is_the_photo_at_most_so_large(size, kind, small) -> None:
    picture = opened(thumbnail({"bytes": encoded(size, kind), "path": None}))
    assert picture.size == small
    pixels = np.asarray(picture).astype(int)
    middle = small[1] // 2
    assert (
        pixels[middle, 2, 0] > 150 > 100 > pixels[middle, 2, 2]
        and pixels[middle, -3, 2] > 150 > 100 > pixels[middle, -3, 0]
    )


def test_it_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: left is up
    picture = opened(thumbnail({"bytes": encoded((400, 200), exif=exif), "path": None}))
    assert picture.size == (88, 176)
    top, bottom = picture.getpixel((44, 10)), picture.getpixel((44, 165))
    assert top[0] > 150 > top[2] and bottom[2] > 150 > bottom[0]


def test_it_is_made_once_and_by_several_names_only_once(home, monkeypatch) -> None:
    photo = encoded((400, 400))
    first = thumbnails.thumbnails(
        [{"bytes": photo, "path": "one.jpg"}, {"bytes": encoded((300, 200)), "path": None}]
    )
    assert len(kept(home)) == 2 and not [file for file in kept(home) if file.suffix != ".jpg"]
    monkeypatch.setattr(thumbnails, "make", None)  # nothing can be decoded any more
    assert thumbnails.thumbnails([{"bytes": photo, "path": "two.jpg"}]) == first[:1]


def test_another_photo_in_the_same_file_gets_another_one(home, tmp_path) -> None:
    file = tmp_path / "leaf.jpg"
    file.write_bytes(encoded((400, 400)))
    stored = {"bytes": None, "path": str(file)}
    assert opened(thumbnail(stored)).size == (176, 176)
    assert thumbnail(stored) == kept(home)[0].read_bytes()
    file.write_bytes(encoded((400, 200)))
    assert opened(thumbnail(stored)).size == (176, 88)
    file.unlink()
    assert thumbnail(stored) is None


@pytest.mark.parametrize(
    "stored",
    [
        {"bytes": b"no photo", "path": None},
        {"bytes": encoded((300, 300))[:200], "path": None},
        {"bytes": None, "path": "/nowhere.jpg"},
    ],
    ids=["no photo", "torn", "gone"],
)
def test_a_broken_photo_has_none_and_does_not_hide_the_others(stored, home) -> None:
    found = thumbnails.thumbnails([stored, {"bytes": encoded((30, 30)), "path": None}])
    assert found[0] is None and opened(found[1]).size == (30, 30) and len(kept(home)) == 1


def test_a_folder_that_cannot_be_written_only_costs_time(home) -> None:
    home.mkdir()
    (home / "cache").write_text("a file in the way")
    assert opened(thumbnail({"bytes": encoded((400, 400)), "path": None})).size == (SIDE, SIDE)


def test_those_not_looked_at_for_longest_go_first(home) -> None:
    photos = [{"bytes": encoded((100 + number, 100)), "path": None} for number in range(10)]
    thumbnails.thumbnails(photos)
    files = kept(home)
    assert len(files) == 10
    size = sum(file.stat().st_size for file in files)
    for file in files:
        os.utime(file, (1e9, 1e9))
    # Two are looked at, and so stay.
    looked_at = thumbnails.thumbnails(photos[:2])
    sweep(home / "cache" / "thumbnails", size)
    assert kept(home) == files, "all fit"
    sweep(home / "cache" / "thumbnails", size // 2)
    left = kept(home)
    assert sum(file.stat().st_size for file in left) <= size // 2 and 2 < len(left) < 6
    assert {file.read_bytes() for file in left} >= set(looked_at)


def test_a_full_folder_is_emptied_without_being_asked(home, monkeypatch) -> None:
    monkeypatch.setattr(thumbnails, "SWEEP_BYTES", 1)
    monkeypatch.setattr(thumbnails.sweep, "__defaults__", (4000,))
    thumbnails.thumbnails([{"bytes": encoded((100 + number, 100)), "path": None} for number in range(30)])
    assert 0 < sum(file.stat().st_size for file in kept(home)) <= 4000


def test_two_that_make_room_at_once_remove_no_more_than_one(home, monkeypatch) -> None:
    thumbnails.thumbnails([{"bytes": encoded((100 + number, 100)), "path": None} for number in range(30)])
    folder, remove, others = (
        home / "cache" / "thumbnails",
        Path.unlink,
        [lambda: thumbnails.sweep(folder, 4000)],
    )

    def unlink(file: Path, missing_ok: bool = False) -> None:
        while others:  # as soon as this one begins to remove, another one does all of its work
            others.pop()()
        remove(file, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    thumbnails.sweep(folder, 4000)
    sizes = [file.stat().st_size for file in kept(home)]
    assert thumbnails.LEAVE * 4000 - max(sizes, default=0) < sum(sizes) <= 4000
