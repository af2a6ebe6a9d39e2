"""Which photos an import keeps, under which names, and which it leaves out."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.data.archive_corpus import leaf, leaves, pack_tar, pack_zip
from tests.data.imported import SPLITS, contents, put
from tests.photo_corpus import one_colour_a_scan, resized_jpeg, tiff_tile
from vit_demo.data.importing.gather import Files
from vit_demo.data.importing.imports import import_photos
from vit_demo.data.open.sources import open_dataset

pytestmark = pytest.mark.usefixtures("place_for_imports")


def test_formats_of_phones(tmp_path: Path) -> None:
    import pillow_heif

    heic = io.BytesIO()
    pillow_heif.from_pillow(Image.open(io.BytesIO(leaf(7)))).save(heic)
    members = {
        **leaves(20),
        "rust/a.HEIC": heic.getvalue(),
        "rust/called.jpg": heic.getvalue(),
        "rust/b.PNG": leaf(8, "PNG"),
        "rust/c.webp": leaf(9, "WEBP"),
    }
    done = import_photos(pack_zip(tmp_path / "a.zip", members), "mine")
    files = {file.name: file for file in done.folder.glob("*/rust/*")}
    assert {"a.jpg", "called.jpg", "b.PNG", "c.webp"} <= set(files) and done.skipped == []
    assert Image.open(files["a.jpg"]).format == Image.open(
        files["called.jpg"]
    ).format == "JPEG" and Image.open(files["a.jpg"]).size == (96, 72)
    near = np.abs(
        np.asarray(Image.open(files["a.jpg"]).convert("RGB")).astype(int)
        - np.asarray(Image.open(io.BytesIO(leaf(7))))
    )
    assert near.mean() < 6, "the same picture"
    assert sum(len(part) for part in open_dataset("import:mine").values()) == 44


def test_limits_of_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vit_demo.common.settings.Settings.max_photo_bytes", 2**20)
    monkeypatch.setattr(
        "vit_demo.common.settings.Settings.__init__.__defaults__", (0, 2**20, 20_000, 2**31, 16, True)
    )
    big, wide = (
        np.random.default_rng(0).integers(0, 255, 2**20 + 1, dtype=np.uint8).tobytes(),
        leaf(5, size=(200, 101)),
    )
    for source in (
        pack_zip(tmp_path / "a.zip", {**leaves(20), "rust/big.jpg": big, "rust/wide.jpg": wide}),
        pack_tar(tmp_path / "a.tgz", {**leaves(20), "rust/big.jpg": big, "rust/wide.jpg": wide}),
    ):
        done = import_photos(source, source.suffix[1:])
        why = {entry["name"]: entry["why"].split(";")[0] for entry in done.skipped}
        assert why == {"rust/big.jpg": "is larger than 1 MB.", "rust/wide.jpg": "has 0 million pixels"}


def test_names_are_made_safe_and_stay_readable(home: Path, tmp_path: Path) -> None:
    names = [
        "IMG_1.JPG",
        "img_1.jpg",
        "con.jpg",
        "l" * 300 + ".jpg",
        "叶" * 100 + ".jpg",
        "a:b?.jpg",
        "bl\udce4tt.jpg",
        "line\nbreak.jpg",
        " x .jpg",
    ]
    members = {**leaves(20), **{f"rust/{name}": leaf(9000 + number) for number, name in enumerate(names)}}
    done = import_photos(pack_tar(tmp_path / "a.tar", members), "mine")
    found = sorted(file.name for file in done.folder.glob("*/rust/*") if not file.name[:3].isdecimal())
    assert done.skipped == [] and len(found) == len(names)
    assert {"IMG_1.JPG", "_con.jpg", "a_b_.jpg", "blätt.jpg", "line_break.jpg", "x.jpg"} <= set(found)
    assert max(len(name.encode()) for name in found) <= 120
    per_split = [[name.casefold() for name in os.listdir(done.folder / split / "rust")] for split in SPLITS]
    assert all(len(set(split)) == len(split) for split in per_split), "no two differ only by capital letters"


def test_a_photo_that_can_no_longer_be_opened_is_not_lost_when_others_are_added(
    tmp_path: Path, refusal: Callable[..., str]
) -> None:
    done = import_photos(pack_zip(tmp_path / "a.zip", leaves(20)), "mine")
    file = next((done.folder / "train" / "rust").iterdir())
    file.write_bytes(file.read_bytes()[:700])
    before = contents(done.folder)
    more = Files(tuple(sorted(put(tmp_path / "in", {"x.jpg": leaf(7000)}).iterdir())), "rust")
    assert f"train/rust/{file.name} of mine is damaged" in refusal(import_photos, more, "mine")
    assert contents(done.folder) == before


# Bytes by which the most memory that the process ever held grows while it imports.
IMPORT = """
import json, re, sys
from pathlib import Path
import datasets, pillow_heif
from vit_demo.data.importing.imports import import_photos
def peak():
    return 1000 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
done = import_photos(Path(sys.argv[1]), "mine")
print(json.dumps({"grown": peak() - before, "photos": done.photos, "skipped": done.skipped}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")
def test_photos_that_take_too_much_memory_are_left_out_and_cost_none(home: Path, tmp_path: Path) -> None:
    """A JPEG of several scans names any size in a few hundred bytes, and libjpeg makes room for all of it."""
    hostile = {
        "rust/progressive.jpg": resized_jpeg(13_000, 13_000, progressive=True, subsampling=0),
        "rust/tile.tif": tiff_tile(20_000),
        "rust/scans.jpg": one_colour_a_scan(resized_jpeg(13_000, 13_000, subsampling=0)),
        "rust/smaller.jpg": one_colour_a_scan(resized_jpeg(10_000, 7000)),
    }
    source = pack_zip(tmp_path / "a.zip", {**leaves(20), **hostile})
    line, own = [sys.executable, "-c", IMPORT, str(source)], {**os.environ, "VIT_DEMO_HOME": str(home)}
    done = json.loads(
        subprocess.run(line, cwd=ROOT, env=own, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    why = {entry["name"]: entry["why"] for entry in done["skipped"]}
    assert done["photos"] == 40 and set(why) == set(hostile)
    assert all(
        "takes too much memory to open: " in text for name, text in why.items() if name != "rust/smaller.jpg"
    )
    assert why["rust/smaller.jpg"] == "has 70 million pixels; at most 50 million can be opened."
    assert done["grown"] < 100_000_000
