"""The reading of a data set's photos beside the page: it goes on when the page is closed, and is kept for the next time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.data.checks.findings import MOST_PHOTOS, Reading, read_photos
from vit_demo.model.classifier import LeafClassifier

if TYPE_CHECKING:
    from datasets import DatasetDict

VERSION = 1
# Files of so many data sets are kept.
KEEP = 12


class _StoppedError(Exception):
    """Somebody asked the reading to end."""


@dataclass
class Checkup:
    """One reading, by its key. stage: "reading", "done", "stopped" or "failed". done of total photos are read. error: why it failed, as a sentence."""

    key: str
    stage: str = "reading"
    done: int = 0
    total: int = 0
    reading: Reading | None = None
    error: str = ""
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def stop(self) -> None:
        """Let it end soon; what was read is lost."""
        self._stop.set()

    def _progress(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise _StoppedError
        self.done, self.total = done, total

    def _run(self, data: DatasetDict, classifier: LeafClassifier, file: Path) -> None:
        try:
            with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
                self.reading = Reading.load(file)
            if self.reading is None:
                self.reading = read_photos(data, classifier, self._progress)
                # Where the disk takes it no more, the page has it all the same.
                with contextlib.suppress(OSError):
                    self.reading.save(file)
                    _sweep(file.parent)
            self.stage = "done"
        except _StoppedError:
            self.stage = "stopped"
        except Exception as error:  # shown on the page: a thread has no other way to say it
            self.error = str(error) if isinstance(error, UserError) else f"The photos could not be read ({type(error).__name__}). Try again."
            self.stage = "failed"


_checkups: dict[str, Checkup] = {}
_lock = threading.Lock()


def start(data: DatasetDict, classifier: LeafClassifier) -> Checkup:
    """The reading of these photos with this model: the one under way or done, or a new one in a thread of its own."""
    key = key_of(data, classifier.checkpoint.folder)
    with _lock:
        known = _checkups.get(key)
        if known is not None and known.stage in ("reading", "done"):
            return known
        checkup = _checkups[key] = Checkup(key, total=min(MOST_PHOTOS, sum(map(len, data.values()))))
        for old in [name for name, other in _checkups.items() if other.stage != "reading" and name != key][: max(0, len(_checkups) - KEEP)]:
            del _checkups[old]
    threading.Thread(target=checkup._run, args=(data, classifier, _file(key)), daemon=True).start()
    return checkup


def found(key: str) -> Checkup | None:
    """The reading of this key, if this server knows it."""
    return _checkups.get(key)


def kept(key: str) -> bool:
    """Whether the photos were read before, maybe by an earlier server, so that :func:`start` takes no time."""
    return _file(key).is_file()


def _file(key: str) -> Path:
    return settings.load().home / "cache" / "findings" / f"{key}.npz"


def key_of(data: DatasetDict, model: Path) -> str:
    """Changes with the photos, their order, and the model's files; not with labels."""
    digest = hashlib.sha256(f"{VERSION}\0{_stamp(model / 'config.json')}".encode())
    for weights in sorted(model.glob("*.safetensors")):
        digest.update(f"{weights.name}\0{_stamp(weights)}".encode())
    for split, part in data.items():
        digest.update(f"\n{split}\n".encode())
        for row in _stored(part):
            digest.update(f"{row[0]}\0{row[1]}\0".encode())
    return digest.hexdigest()[:32]


def _stored(part) -> list[tuple[str, str]]:
    """(path, what changes with the photo) of each row: the size of embedded bytes, or size and time of a file."""
    import pyarrow.compute as arrow
    from datasets import Image

    rows = []
    columns = part.select_columns(["image_file_path", "image"]).cast_column("image", Image(decode=False)).with_format("arrow")
    for table in columns.iter(1000):
        # Chunk by chunk: joined, the photos themselves would be read.
        chunks = table.column("image").chunks
        sizes = [size for chunk in chunks for size in arrow.binary_length(chunk.field("bytes")).to_pylist()]
        files = [file for chunk in chunks for file in chunk.field("path").to_pylist()]
        paths = table.column("image_file_path").to_pylist()
        rows += [(path, str(size) if size is not None else _stamp(file)) for path, size, file in zip(paths, sizes, files)]
    return rows


def _stamp(file: Path | str) -> str:
    try:
        stat = os.stat(file)
    except OSError:
        return "gone"
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _sweep(folder: Path) -> None:
    for old in sorted(folder.glob("*.npz"), key=lambda file: file.stat().st_mtime)[:-KEEP]:
        old.unlink(missing_ok=True)
