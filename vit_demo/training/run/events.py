"""The record of what happened in a run, as its worker writes it: never lost to a torn line or to a full
disk.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from vit_demo.common.words import Sentence
from vit_demo.training.run.notes import kept
from vit_demo.training.run.runs import Run


class EventLog:
    """The worker's append-only writer of events.jsonl, one JSON object a line.

    What a full disk does not take waits in memory and is written with the next event, from the very byte
    on, with a warning that says so.
    """

    def __init__(self, run: Run):
        self._file = open(run.events_file, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        self._unwritten = bytearray() if _ends_whole(run.events_file) else bytearray(b"\n")
        self._warned = False

    def add(self, kind: str, **values: Any) -> None:
        """Append one event; it reaches the file before this returns, where the disk takes it."""
        self._unwritten += _line(kind, values)
        self._write()

    def close(self) -> None:
        self._write()
        self._file.close()

    def _write(self) -> None:
        try:
            while self._unwritten:
                del self._unwritten[: self._file.write(self._unwritten)]
            self._warned = False
        except OSError as error:
            if not self._warned:
                self._unwritten += _line(
                    "warning", kept(Sentence("train.record.unwritten", {"reason": str(error.strerror)}))
                )
                self._warned = True


def _line(kind: str, values: dict[str, Any]) -> bytes:
    return (json.dumps({"kind": kind, "time": round(time.time(), 3), **values}) + "\n").encode()


def _ends_whole(file: Path) -> bool:
    """Whether the last line is ended: to one torn by a crash nothing must be appended."""
    with open(file, "rb") as handle:
        if not handle.seek(0, os.SEEK_END):
            return True
        handle.seek(-1, os.SEEK_END)
        return handle.read() == b"\n"
