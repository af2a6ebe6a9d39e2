"""The review set: what a person says of a photo is kept whole or not at all, without a trace of who and
where, until it is taken out.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_demo.data.corrections import review_set
from vit_demo.data.corrections.review_set import LABEL_LENGTH, NOTE_LENGTH, Said
from vit_demo.diagnose.photos import open_photo

SAID = Said("bean_rust", 0.91, "diagnosis", "embedded")
pytestmark = pytest.mark.usefixtures("home")


def photo(number: int) -> Image.Image:
    """A photo that no other number gives."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def files() -> list[str]:
    return sorted(file.name for file in (review_set.folder() / "photos").iterdir())


def journal() -> Path:
    return review_set.folder() / "review.jsonl"


def test_what_is_stored_comes_back_and_what_is_removed_is_gone(home):
    assert review_set.corrections() == [] and not home.exists()
    first = review_set.store(photo(1), "  healthy ", SAID, "seen \n at the well")
    second = review_set.store(
        photo(2), "powdery mildew", Said("healthy", 0.4, "not_known", "owner/model", "abc")
    )
    assert review_set.corrections() == [second, first]
    assert (first.label, first.said, first.note) == ("healthy", SAID, "seen at the well")
    assert files() == sorted([f"{first.id}.jpg", f"{second.id}.jpg"])
    review_set.remove(first.id)
    assert review_set.corrections() == [second] and files() == [f"{second.id}.jpg"]
    # The journal still says that it was there and was removed, and when.
    assert [json.loads(line).get("removed", False) for line in journal().read_text().splitlines()] == [
        False,
        False,
        True,
    ]
    assert review_set.clear() == 1 and review_set.corrections() == [] and not journal().exists()
    assert review_set.clear() == 0


def test_the_same_photo_twice_is_one_photo_with_the_later_label():
    review_set.store(photo(1), "healthy", SAID)
    review_set.store(photo(2), "healthy", SAID)
    last = review_set.store(photo(1), "bean_rust", SAID)
    assert [found.label for found in review_set.corrections()] == [
        "bean_rust",
        "healthy",
    ] and review_set.corrections()[0] == last
    assert len(files()) == 2


def test_the_photo_stays_as_it_looks_and_loses_who_took_it_and_where(tmp_path):
    pixels = np.kron(
        np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8),
        np.ones((16, 16, 1), dtype=np.uint8),
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010F], exif[0x8825] = "SECRETCAMERA", {1: "S", 2: (1.0, 17.0, 30.0)}
    file = tmp_path / "field.jpg"
    Image.fromarray(pixels).save(
        file, quality=95, exif=exif, comment=b"SECRETNOTE", icc_profile=b"SECRETPROFILE", dpi=(72, 72)
    )
    assert b"SECRETCAMERA" in file.read_bytes()
    opened = open_photo(file)
    kept = review_set.store(opened, "healthy", SAID)
    content = kept.file.read_bytes()
    assert b"SECRET" not in content and b"Exif" not in content
    with Image.open(kept.file) as stored:
        assert stored.size == (96, 128) and not stored.getexif()
        away = np.abs(np.asarray(stored, dtype=float) - np.asarray(opened))
    assert away.mean() < 2


def test_a_large_photo_is_kept_at_twelve_megapixels(tmp_path):
    file = tmp_path / "large.jpg"
    Image.new("RGB", (6000, 4000), "green").save(file)
    with Image.open(review_set.store(open_photo(file), "healthy", SAID).file) as stored:
        assert stored.size == (3000, 2000)


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("", "choose a class"),
        (" \n\t ", "choose a class"),
        (None, "choose a class"),
        ("x" * (LABEL_LENGTH + 1), "at most 100"),
        ("rust\x00", "printed"),
        ("rust\u202egpj", "printed"),
        ("\ud800", "printed"),
        ("...", "printed"),
        ("\x1b[2J a", "printed"),
    ],
)
def test_what_is_no_label_is_refused_and_nothing_is_stored(home, refusal, label, why):
    assert why in refusal(review_set.store, photo(1), label, SAID)
    assert not home.exists()


@pytest.mark.parametrize(
    "label",
    ["../../etc/passwd", "锈病", "tache «brune»", "<b>rust</b>", "a" * LABEL_LENGTH, "CON", "rust; rm -rf ~"],
)
def test_a_label_is_text_and_never_part_of_a_path(home, label):
    kept = review_set.store(photo(1), label, SAID)
    assert review_set.corrections()[0].label == label and files() == [f"{kept.id}.jpg"]
    assert sorted(path.name for path in home.rglob("*")) == sorted(
        ["review", "photos", f"{kept.id}.jpg", "review.jsonl", "lock"]
    )


def test_a_long_note_is_cut():
    assert len(review_set.store(photo(1), "healthy", SAID, "x" * 10_000).note) == NOTE_LENGTH


def test_words_of_any_kind_come_back_as_they_were():
    kept = review_set.store(photo(1), "fève", Said("白粉病", 0.5, None, "/models/leaf-\udcff"), "\ud800 !")
    assert review_set.corrections() == [kept] and "fève" in journal().read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "torn",
    [
        b'{"id": "0123',
        b"\xff\xfe",
        b"[1]\n",
        b'{"id": "../../x", "removed": true}\n',
        b"null\n",
        b'{"id": 5}\n',
        b'{"id": "' + b"0" * 32 + b'"}\n',
    ],
)
def test_a_torn_or_foreign_line_hides_no_other(torn):
    first = review_set.store(photo(1), "healthy", SAID)
    with open(journal(), "ab") as file:
        file.write(torn)
    assert review_set.corrections() == [first]
    second = review_set.store(photo(2), "healthy", SAID)
    assert review_set.corrections() == [second, first]


def test_a_line_that_names_a_file_elsewhere_is_no_photo(tmp_path, refusal):
    review_set.store(photo(1), "healthy", SAID)
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"x")
    for name in (str(secret.with_suffix("")), "../../secret", "0" * 31 + "/"):
        with open(journal(), "a") as file:
            file.write(
                json.dumps({"id": name, "label": "healthy", "said": vars(SAID), "time": 0.0, "note": ""})
                + "\n"
            )
        refusal(review_set.remove, name)
    assert len(review_set.corrections()) == 1 and secret.exists()


def test_a_photo_that_somebody_deleted_is_none_and_what_lies_about_is_swept_away():
    gone, kept = review_set.store(photo(1), "healthy", SAID), review_set.store(photo(2), "healthy", SAID)
    gone.file.unlink()
    assert review_set.corrections() == [kept]
    (kept.file.parent / ("0" * 32 + ".jpg")).write_bytes(b"left by a crash")
    (kept.file.parent / "half.new").write_bytes(b"left by a crash")
    added = review_set.store(photo(3), "healthy", SAID)
    assert files() == sorted([kept.file.name, added.file.name])


def test_what_is_not_there_cannot_be_removed(refusal):
    assert "no photo" in refusal(review_set.remove, "0" * 32)


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_takes_no_photo_leaves_all_as_it_was(refusal, monkeypatch):
    review_set.store(photo(1), "healthy", SAID)
    before = journal().read_bytes(), files()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        assert "No space left" in refusal(review_set.store, photo(2), "healthy", SAID)
    assert (journal().read_bytes(), files()) == before


def test_a_disk_that_takes_the_photo_and_half_a_line_leaves_all_as_it_was(refusal, monkeypatch):
    old = review_set.store(photo(1), "healthy", SAID)
    before = journal().read_bytes(), files()
    calls, sync = [], os.fsync

    def full_at_the_second(number: int) -> None:
        calls.append(number)
        sync(number) if len(calls) % 2 else _full()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_at_the_second)
        refusal(review_set.store, photo(2), "healthy", SAID)
        assert (journal().read_bytes(), files()) == before
        # Of a photo that is there already, only the new label is lost.
        refusal(review_set.store, photo(1), "bean_rust", SAID)
    assert (
        (journal().read_bytes(), files()) == before and review_set.corrections() == [old] and len(calls) == 4
    )


def test_a_home_that_cannot_be_written_is_said(tmp_path, monkeypatch, refusal):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIT_DEMO_HOME", str(tmp_path / "file"))
    assert "cannot be changed" in refusal(review_set.store, photo(1), "healthy", SAID)
    assert review_set.corrections() == []


def test_two_servers_store_at_once_and_nothing_is_lost(home):
    code = (
        "import sys, numpy as np; from PIL import Image\n"
        "from vit_demo.data.corrections.review_set import Said, store\n"
        "for number in range(40):\n"
        "    pixels = np.full((8, 8, 3), number, dtype=np.uint8); pixels[0, 0] = int(sys.argv[1])\n"
        "    store(Image.fromarray(pixels), sys.argv[1], Said('healthy', 0.5, None, 'm'))\n"
    )
    env = {**os.environ, "VIT_DEMO_HOME": str(home)}
    servers = [subprocess.Popen([sys.executable, "-c", code, str(number)], env=env) for number in (1, 2)]
    assert [server.wait(timeout=120) for server in servers] == [0, 0]
    assert sorted(found.label for found in review_set.corrections()) == ["1"] * 40 + ["2"] * 40
    assert len(journal().read_text().splitlines()) == 80


def test_its_state_changes_with_each_change():
    seen = {review_set.state()}
    kept = review_set.store(photo(1), "healthy", SAID)
    seen.add(review_set.state())
    review_set.store(photo(1), "bean_rust", SAID)
    seen.add(review_set.state())
    review_set.remove(kept.id)
    assert len(seen | {review_set.state()}) == 4
