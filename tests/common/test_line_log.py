"""Records of one JSON object a line: whole lines, whatever tore the last one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vit_demo.common import line_log


def test_what_is_appended_is_read_in_order(tmp_path: Path):
    file = tmp_path / "record.jsonl"
    assert list(line_log.read(file)) == []
    for number in range(3):
        line_log.append(file, {"number": number, "word": "fève"})
    assert list(line_log.read(file)) == [{"number": number, "word": "fève"} for number in range(3)]
    assert file.read_text(encoding="utf-8").count("\n") == 3


@pytest.mark.parametrize("torn", [b'{"number": 1, "wo', b"\xff\xfe", b"[1, 2]", b"null"])
def test_a_torn_or_foreign_line_costs_nothing_but_itself(tmp_path: Path, torn: bytes):
    file = tmp_path / "record.jsonl"
    line_log.append(file, {"number": 0})
    with open(file, "ab") as handle:
        handle.write(torn)
    line_log.append(file, {"number": 2})
    assert list(line_log.read(file)) == [{"number": 0}, {"number": 2}]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "record.jsonl"
    line_log.append(file, {"number": 0})
    before = file.read_bytes()

    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        line_log.append(file, {"number": 1})
    assert file.read_bytes() == before
