"""Files that a reader finds whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vit_demo.common.atomic import read_object, replacing, write_atomically


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


def test_what_is_no_object_reads_as_an_empty_one(tmp_path: Path) -> None:
    for content in ("", "{", "[1]", "\udcff".encode(errors="surrogateescape").decode("latin-1")):
        (tmp_path / "state.json").write_text(content)
        assert read_object(tmp_path / "state.json") == {}
    assert read_object(tmp_path / "nowhere.json") == {}
