"""Photos of a data set as uint8 arrays: decoded once, then only sliced."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from datasets import Image as ImageFeature

from vit_demo.common.errors import UserError
from vit_demo.model.classifier import LeafClassifier
from vit_demo.photos.safe_open import decode

CHUNK = 64


@dataclass(frozen=True)
class Photos:
    """Prepared photos.

    pixels: uint8 (N, 3, H, W), in memory or memory-mapped. labels: int64 (N,).
    paths: where each came from. broken: paths of those that could not be decoded and were left out.
    rows: number in the split of each, from 0.
    """

    pixels: np.ndarray
    labels: np.ndarray
    paths: list[str]
    broken: list[str]
    rows: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)


def batches(
    data: Dataset, classifier: LeafClassifier, size: tuple[int, int] | None = None
) -> Iterator[Photos]:
    """Decode and resize a split chunk by chunk, in order, in bounded memory: one chunk ahead of whoever takes
    them.
    """
    stored = data.cast_column("image", ImageFeature(decode=False))
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:

        def prepare(row: dict[str, Any]) -> np.ndarray | None:
            photo = decode(row["image"])
            return None if photo is None else classifier.resize([photo], size)[0].numpy()

        def begin(start: int) -> tuple[list[dict[str, Any]], Iterator[np.ndarray | None]]:
            rows = [stored[index] for index in range(start, min(start + CHUNK, len(stored)))]
            return rows, pool.map(prepare, rows)  # all of them are begun here

        following = begin(0)
        for start in range(0, len(stored), CHUNK):
            rows, pending = following
            pixels = list(pending)
            following = begin(start + CHUNK)
            good = [index for index, photo in enumerate(pixels) if photo is not None]
            yield Photos(
                pixels=np.stack([photo for photo in pixels if photo is not None])
                if good
                else np.empty((0, 3, *(size or classifier.image_size)), np.uint8),
                labels=np.array([rows[index]["labels"] for index in good], dtype=np.int64),
                paths=[rows[index]["image_file_path"] for index in good],
                broken=[row["image_file_path"] for row, photo in zip(rows, pixels) if photo is None],
                rows=[start + index for index in good],
            )


def prepare(
    data: Dataset,
    classifier: LeafClassifier,
    size: tuple[int, int],
    file: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Photos:
    """A whole split as one array, memory-mapped on ``file`` so that a large set does not fill the memory.

    progress is called with (photos done, photos in all). Raises UserError where no photo can be read.
    """
    pixels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(len(data), 3, *size))
    _reserve(file)
    labels: list[np.ndarray] = []
    paths: list[str] = []
    broken: list[str] = []
    rows: list[int] = []
    for part in batches(data, classifier, size):
        pixels[len(paths) : len(paths) + len(part)] = part.pixels
        labels.append(part.labels)
        paths += part.paths
        broken += part.broken
        rows += part.rows
        progress(len(paths) + len(broken), len(data))
    if not paths:
        raise UserError("error.training.no_photo_read")
    return Photos(pixels[: len(paths)], np.concatenate(labels), paths, broken, rows)


def _reserve(file: Path) -> None:
    """Take the disk space of a mapped file now: where it ran out later, a write to the map would kill the
    process without a word.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with open(file, "r+b") as handle:
        try:
            os.posix_fallocate(handle.fileno(), 0, os.path.getsize(file))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
