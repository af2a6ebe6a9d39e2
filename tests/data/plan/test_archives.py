"""What an archive may hold: good ones are read in each format, harmful ones are refused with a sentence, in
bounded time and memory.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.archive_corpus import HARMFUL, leaves, pack_tar, pack_zip, zip_of_zeros
from vit_demo.data.plan import archives
from vit_demo.data.plan.archives import ENDINGS, Damaged, is_archive, open_archive


def read(file: Path) -> dict[str, bytes]:
    with open_archive(file) as archive:
        return {member.name: b"".join(member.pieces()) for member in archive.members}


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_format_gives_names_and_bytes(tmp_path: Path, ending: str) -> None:
    members = {f"leaves/{name}": content for name, content in leaves(3).items()}
    file = (pack_zip if ending == ".zip" else pack_tar)(
        tmp_path / f"Leaves{ending.upper() if ending == '.zip' else ending}", members
    )
    assert is_archive(file)
    assert read(file) == members


def test_members_that_are_not_read_are_stepped_over(tmp_path: Path) -> None:
    members = leaves(6)
    for file in (
        pack_tar(tmp_path / "a.tar.gz", members),
        pack_tar(tmp_path / "a.tar", members),
        pack_zip(tmp_path / "a.zip", members),
    ):
        with open_archive(file) as archive:
            found = {
                member.name: b"".join(member.pieces())
                for number, member in enumerate(archive.members)
                if number % 3 == 1
            }
        assert found == {
            name: content for number, (name, content) in enumerate(members.items()) if number % 3 == 1
        }


def test_progress_is_known(tmp_path: Path) -> None:
    members = leaves(20)
    for file, count in (
        (pack_zip(tmp_path / "a.zip", members), 40),
        (pack_tar(tmp_path / "a.tar", members), 0),
    ):
        with open_archive(file) as archive:
            places = [member.at for member in archive.members]
            assert (archive.count, archive.size) == (count, file.stat().st_size)
        assert places == sorted(places) and 0.8 * file.stat().st_size < places[-1] <= file.stat().st_size


@pytest.mark.parametrize("name", HARMFUL)
def test_what_does_harm_is_refused(tmp_path: Path, name: str, refusal: Callable[..., str]) -> None:
    make, sentence = HARMFUL[name]
    file = make(tmp_path)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    assert sentence in refusal(read, file)
    assert time.monotonic() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024, "in kB"
    assert [path.name for path in tmp_path.iterdir()] == [file.name], "nothing is written anywhere"


def test_a_size_that_lies_unpacks_no_more_than_it_says(tmp_path: Path) -> None:
    """10 GB that call themselves 100 kB, and the same that call themselves as much as the ratio allows."""
    file = zip_of_zeros(tmp_path / "a.zip", 100_000)
    start, taken = time.monotonic(), 0
    with open_archive(file) as archive, pytest.raises(Damaged):
        for piece in next(archive.members).pieces():
            taken += len(piece)
    assert taken <= 100_000 and time.monotonic() - start < 5


def test_a_photo_damaged_inside_a_zip_leaves_the_others(tmp_path: Path) -> None:
    members = leaves(3)
    file = pack_zip(tmp_path / "a.zip", members)
    content = bytearray(file.read_bytes())
    at = content.index(b"rust/001.jpg") + 200
    content[at : at + 50] = bytes(50)
    file.write_bytes(content)
    good = {}
    with open_archive(file) as archive:
        for member in archive.members:
            try:
                good[member.name] = b"".join(member.pieces())
            except Damaged as error:
                assert "001.jpg is damaged" in str(error)
    assert good == {name: content for name, content in members.items() if name != "rust/001.jpg"}


def test_names_that_are_no_utf8_can_be_read(tmp_path: Path) -> None:
    file = pack_tar(
        tmp_path / "a.tar",
        {"rost/bl\udce4tter.jpg": b"latin", "rost/blätter.jpg": b"utf-8", "rost/line\nbreak.jpg": b"line"},
    )
    assert read(file) == {"rost/blätter.jpg": b"utf-8", "rost/line_break.jpg": b"line"}
    with open_archive(file) as archive:
        assert [b"".join(member.pieces()) for member in archive.members] == [b"latin", b"utf-8", b"line"]

    old = pack_zip(tmp_path / "a.zip", {"rost/xxxx-1.jpg": b"not said", "rost/yyyy-2.jpg": b"old letters"})
    content = old.read_bytes().replace(b"xxxx", "叶".encode() + b"x").replace(b"yyyy", b"\x84yyy")
    old.write_bytes(content)
    assert read(old) == {"rost/叶x-1.jpg": b"not said", "rost/äyyy-2.jpg": b"old letters"}


def test_as_many_files_as_are_allowed(
    tmp_path: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """100,000 empty ones in bounded time (of a zip, see test_imports.py); more than the limit are refused."""
    file = pack_tar(tmp_path / "a.tar", {f"a/{number}.jpg": b"" for number in range(100_000)})
    start = time.monotonic()
    with open_archive(file) as archive:
        assert sum(1 for _ in archive.members) == 100_000
    assert time.monotonic() - start < 30
    for file in (pack_zip(tmp_path / "b.zip", leaves(25)), pack_tar(tmp_path / "b.tar", leaves(25))):
        monkeypatch.setattr(archives, "MAX_MEMBERS", 50)
        assert len(read(file)) == 50
        monkeypatch.setattr(archives, "MAX_MEMBERS", 49)
        assert "more than 49 files" in refusal(read, file)


def test_more_bytes_than_are_allowed(
    tmp_path: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (pack_zip(tmp_path / "a.zip", leaves(20)), pack_tar(tmp_path / "a.tar.xz", leaves(20)))
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 20_000)
    assert all("GB unpacked" in refusal(read, file) for file in files)


def test_no_file(tmp_path: Path, refusal: Callable[..., str]) -> None:
    assert "There is no file" in refusal(read, tmp_path / "gone.zip")
    (tmp_path / "folder.zip").mkdir()
    assert "cannot be read" in refusal(read, tmp_path / "folder.zip")
