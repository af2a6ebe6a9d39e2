"""Files that a reader finds whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vit_demo.common.atomic import read_object, replacing, replacing_folder, write_atomically


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_atomically(file, '{"a": "ä"}')
    assert read_object(file) == {"a": "ä"}
    write_atomically(file, b"\x00\x01", durable=True)
    assert file.read_bytes() == b"\x00\x01" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("durable", [True, False])
def test_where_it_fails_the_file_stays_as_it_was(
    tmp_path: Path, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "state.json"
    write_atomically(file, "before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync" if durable else "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "after", durable)
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]


def test_a_block_that_fails_leaves_the_earlier_file(tmp_path: Path) -> None:
    file = tmp_path / "map.npz"
    file.write_text("before")
    with pytest.raises(ZeroDivisionError), replacing(file) as new:
        new.write_text("half")
        raise ZeroDivisionError
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]


def filled(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text(text)
    return folder


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for text in ("first", "second"):
        with replacing_folder(folder) as new:
            assert list(new.iterdir()) == []
            filled(new, text)
        assert (folder / "file").read_text() == text and list(tmp_path.iterdir()) == [folder]


def test_a_block_that_fails_leaves_the_earlier_folder(tmp_path: Path) -> None:
    folder = filled(tmp_path / "model", "before")
    with pytest.raises(ZeroDivisionError), replacing_folder(folder) as new:
        filled(new, "half")
        raise ZeroDivisionError
    assert (folder / "file").read_text() == "before" and list(tmp_path.iterdir()) == [folder]


def test_where_the_new_folder_cannot_take_its_place_the_earlier_one_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, replace = filled(tmp_path / "model", "before"), os.replace

    def no_new(source: Path, target: Path) -> None:
        if Path(source).suffix == ".new":
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", no_new)
    with pytest.raises(OSError, match="Input"), replacing_folder(folder) as new:
        filled(new, "after")
    assert (folder / "file").read_text() == "before" and list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_was_lost_between_two_renames_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    filled(tmp_path / "model.old", "before")
    with pytest.raises(ZeroDivisionError), replacing_folder(folder):
        raise ZeroDivisionError
    assert (folder / "file").read_text() == "before" and list(tmp_path.iterdir()) == [folder]


def test_what_is_no_object_reads_as_an_empty_one(tmp_path: Path) -> None:
    for content in ("", "{", "[1]", "\udcff".encode(errors="surrogateescape").decode("latin-1")):
        (tmp_path / "state.json").write_text(content)
        assert read_object(tmp_path / "state.json") == {}
    assert read_object(tmp_path / "nowhere.json") == {}
