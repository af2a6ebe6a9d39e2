"""Zip files of strangers: each bad member is a row of its own, and an archive made to do harm is refused."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from tests.diagnose.packing import leaf, packed, put
from tests.sentences import is_plain
from vit_demo.common import settings
from vit_demo.diagnose import archive
from vit_demo.diagnose.batch import diagnose_many, walk
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal


def test_dangerous_members_are_rows_and_the_good_ones_are_answered(classifier, tmp_path):
    file = tmp_path / "mixed.zip"
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name in (
            "../../evil.png",
            "/etc/evil.png",
            "C:\\evil.png",
            "..\\evil.png",
            "field/../../../evil.png",
        ):
            info = zipfile.ZipInfo(name)
            info.filename = name
            out.writestr(info, leaf(0))
        out.writestr(link, "/etc/passwd")
        out.writestr("inner.zip", b"PK\x03\x04")
        out.writestr("disguised.png", packed(tmp_path / "inner.zip", {"a.png": leaf(0)}).read_bytes())
        out.writestr("bomb.png", bytes(8 * 2**20))
        out.writestr(".././.hidden.png", leaf(0))
        out.writestr("no photo.png", b"x")
        out.writestr("tight.png", leaf(1), compress_type=zipfile.ZIP_LZMA)
        out.writestr("./good.png", leaf(2))
    answers = list(diagnose_many(classifier, [file]))
    words = {
        answer.photo.rpartition("/")[2]: answer.error for answer in answers if isinstance(answer, Refusal)
    }
    assert [answer.photo for answer in answers if isinstance(answer, Diagnosis)] == [f"{file}/./good.png"]
    assert all(is_plain(text) for text in words.values()), words
    assert (
        sum("outside the archive" in answer.error for answer in answers if isinstance(answer, Refusal)) == 5
    )
    for name, text in (
        ("link.png", "is a link"),
        ("inner.zip", "inside the archive"),
        ("disguised.png", "inside the archive"),
        ("bomb.png", "more tightly"),
        ("tight.png", "plain zip"),
        ("no photo.png", "not a photo"),
    ):
        assert text in words[name]
    assert not list(tmp_path.rglob("evil*")) and not list(tmp_path.parent.glob("evil*"))


def patched(file: Path, name: bytes, offset: int, value: bytes) -> Path:
    """Change what the list of a zip says of a member. offset: in its record (APPNOTE 4.3.12)."""
    content = bytearray(file.read_bytes())
    place = content.rindex(name) - 46
    assert content[place : place + 4] == b"PK\x01\x02"
    content[place + offset : place + offset + len(value)] = value
    file.write_bytes(content)
    return file


def refusals(classifier, file: Path) -> list[str]:
    return [answer.error for answer in diagnose_many(classifier, [file])]


def test_locked_damaged_and_too_large_members_are_rows(classifier, tmp_path, monkeypatch):
    locked = patched(packed(tmp_path / "locked.zip", {"leaf.png": leaf(0)}), b"leaf.png", 8, b"\x01\x00")
    assert "password" in refusals(classifier, locked)[0]
    torn = packed(tmp_path / "torn.zip", {"leaf.png": leaf(0)})
    content = bytearray(torn.read_bytes())
    content[60:200] = bytes(140)
    torn.write_bytes(content)
    assert "is damaged inside torn.zip" in refusals(classifier, torn)[0]
    # The list says that it is small, and zipfile stops there: what it does not hold is never unpacked.
    liar = patched(
        packed(tmp_path / "liar.zip", {"leaf.png": leaf(0) * 50}), b"leaf.png", 24, struct.pack("<I", 100)
    )
    assert "damaged" in refusals(classifier, liar)[0]
    large = packed(tmp_path / "large.zip", {"leaf.png": leaf(0)})
    monkeypatch.setattr(
        archive.settings, "load", lambda: settings.Settings(home=tmp_path, max_photo_bytes=2**11)
    )
    assert "is larger than" in refusals(classifier, large)[0]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip at all", b"PK\x05\x06" + bytes(10)])
def test_what_is_called_a_zip_and_is_none_is_refused(refusal, tmp_path, content):
    file = put(tmp_path / "leaves.zip", content)
    assert "is not a zip file" in refusal(lambda: list(walk([file])))


def test_a_missing_zip_is_told(refusal, tmp_path):
    assert "There is no file" in refusal(lambda: list(walk([tmp_path / "leaves.zip"])))


@pytest.mark.parametrize("place", ["end", "64"])
def test_a_list_too_long_for_the_memory_is_refused_before_it_is_read(refusal, tmp_path, place):
    file = packed(tmp_path / "leaves.zip", {"leaf.png": leaf(0)})
    content = file.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    if place == "end":
        content = content[: end + 12] + struct.pack("<I", 2**31) + content[end + 16 :]
    else:
        record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 2**33, 0)
        locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
        content = content[:end] + record + locator + content[end:]
    file.write_bytes(content)
    assert "has too many files" in refusal(lambda: list(walk([file])))


def test_members_that_share_their_bytes_are_refused(refusal, tmp_path):
    """As in the bombs of Fifield (2019): a thousand entries in the list, one packed photo."""
    file = packed(tmp_path / "leaves.zip", {"leaf.png": os.urandom(4000)})
    content = file.read_bytes()
    end, start = content.rindex(b"PK\x05\x06"), content.index(b"PK\x01\x02")
    entries = content[start:end] * 1000
    file.write_bytes(
        content[:start]
        + entries
        + b"PK\x05\x06"
        + struct.pack("<HHHHIIH", 0, 0, 1000, 1000, len(entries), start, 0)
    )
    assert "made to do harm" in refusal(lambda: list(walk([file])))


def test_an_archive_of_too_many_files_is_refused(refusal, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    file = packed(tmp_path / "leaves.zip", {f"{number}.png": b"x" for number in range(4)})
    assert "Pack them into several archives" in refusal(lambda: list(walk([file])))
