"""Records as files of one JSON object a line, only ever appended to: a crash tears at most the last line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def append(path: Path, values: dict[str, Any]) -> None:
    """Add one line, which is on the disk when this returns; where the disk does not take it, OSError, and the
    file is as it was.
    """
    # A name of a file may hold what is no text: in JSON its escape is read back as it was.
    line = (json.dumps(values, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    with open(path, "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        # To a line that was torn nothing must be appended: it is ended first.
        rest = line if _ends_whole(path, size) else b"\n" + line
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in their order; lines that are torn or hold no object are left out. None where there is no
    file.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict):
            yield values


def _ends_whole(path: Path, size: int) -> bool:
    if not size:
        return True
    with open(path, "rb") as file:
        file.seek(size - 1)
        return file.read() == b"\n"
