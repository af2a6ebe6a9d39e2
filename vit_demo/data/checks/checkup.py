"""The reading of a data set's photos beside the page: it goes on when the page is closed, and is kept for the
next time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from vit_demo.common.arrays import ArrayCache, stamp
from vit_demo.common.jobs import Job, Jobs
from vit_demo.data.checks.reading import MOST_PHOTOS, Reading, read_photos
from vit_demo.model.classifier import LeafClassifier

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

VERSION = 1
# Files of so many data sets are kept.
KEEP = 12


_CACHE = ArrayCache("cache/findings", KEEP)
JOBS: Jobs[Reading] = Jobs("findings", KEEP, "error.data.check_failed")


def start(data: DatasetDict, classifier: LeafClassifier) -> Job[Reading]:
    """The reading of these photos with this model: the one under way or done, or a new one in a thread of its
    own.
    """
    key = key_of(data, classifier.checkpoint.folder)

    def work(job: Job[Reading]) -> Reading:
        reading = Reading.from_arrays(_CACHE.read(key))
        if reading is None:
            reading = read_photos(data, classifier, job.tell)
            _CACHE.write(key, reading.to_arrays())
        return reading

    return JOBS.start(Job(key, min(MOST_PHOTOS, sum(map(len, data.values())))), work)


def kept(key: str) -> bool:
    """Whether the photos were read before, maybe by an earlier server, so that :func:`start` takes no
    time.
    """
    return _CACHE.file(key).is_file()


def key_of(data: DatasetDict, model: Path) -> str:
    """Changes with the photos, their order, and the model's files; not with labels."""
    digest = hashlib.sha256(f"{VERSION}\0{_changed(model / 'config.json')}".encode())
    for weights in sorted(model.glob("*.safetensors")):
        digest.update(f"{weights.name}\0{_changed(weights)}".encode())
    for split, part in data.items():
        digest.update(f"\n{split}\n".encode())
        for row in _stored(part):
            digest.update(f"{row[0]}\0{row[1]}\0".encode())
    return digest.hexdigest()[:32]


def _stored(part: Dataset) -> list[tuple[str, str]]:
    """(path, what changes with the photo) of each row: the size of embedded bytes, or size and time of a
    file.
    """
    import pyarrow.compute as arrow
    from datasets import Image

    rows = []
    columns = (
        part.select_columns(["image_file_path", "image"])
        .cast_column("image", Image(decode=False))
        .with_format("arrow")
    )
    for table in columns.iter(1000):
        # Chunk by chunk: joined, the photos themselves would be read.
        chunks = table.column("image").chunks
        sizes = [size for chunk in chunks for size in arrow.binary_length(chunk.field("bytes")).to_pylist()]
        files = [file for chunk in chunks for file in chunk.field("path").to_pylist()]
        paths = table.column("image_file_path").to_pylist()
        rows += [
            (path, str(size) if size is not None else _changed(file))
            for path, size, file in zip(paths, sizes, files)
        ]
    return rows


def _changed(file: Path | str) -> str:
    """Size and time of change of a file."""
    _, *changes = stamp(file)
    return "-".join(map(str, changes)) or "gone"
