"""Arrays that took long to compute, kept as files in the home folder under a key that stands for what they
were made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from vit_demo.common import settings
from vit_demo.common.atomic import replacing

KEY_LENGTH = 32
MOST_BYTES = 2**30


def key_of(*parts: object) -> str:
    """A name of a file for these values; of photos and models give :func:`stamp`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:KEY_LENGTH]


def stamp(file: str | Path) -> tuple[str] | tuple[str, int, int]:
    """What changes with a file: its path, size and time of change; its path alone where it is gone."""
    try:
        status = os.stat(file)
    except OSError:
        return (str(file),)
    return str(file), status.st_size, status.st_mtime_ns


def safetensors_bytes(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """A file of the safetensors format, the same bytes for the same values: the library writes the metadata
    in an order of chance.
    """
    from safetensors.numpy import save

    content = save(arrays, metadata=metadata)
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[start:]


@dataclass(frozen=True)
class ArrayCache:
    """Files of arrays below a folder of the home folder; those written longest ago go where there are more
    than ``keep`` or too many bytes.
    """

    folder: str
    keep: int
    most_bytes: int = MOST_BYTES

    def file(self, key: str) -> Path:
        """Where the arrays of this key are, or would be."""
        return settings.load().home / self.folder / f"{key}.npz"

    def read(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays by name; None where there is no file that is whole. Nothing in it is ever run."""
        try:
            with np.load(self.file(key), allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        """Put them on disk as a whole; a disk that is full or read-only costs only the next server its
        time.
        """
        file = self.file(key)
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as new, open(new, "wb") as opened:
                np.savez(opened, **cast("dict[str, Any]", arrays))
            self._sweep(file.parent)

    def _sweep(self, folder: Path) -> None:
        total = 0
        for number, old in enumerate(
            sorted(folder.glob("*.npz"), key=lambda one: one.stat().st_mtime_ns, reverse=True)
        ):
            total += old.stat().st_size
            if number >= self.keep or number and total > self.most_bytes:
                old.unlink(missing_ok=True)
