"""Which photos of a data set are copies of each other, read when it is cut and kept for the next time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vit_demo.common import settings
from vit_demo.data.copies.duplicates import HASH_BITS, NEAR_BITS, PRINT_PIXELS, fingerprint_of
from vit_demo.data.copies.split import group_photos
from vit_demo.photos.safe_open import decode

if TYPE_CHECKING:
    from datasets import Dataset

# A person waits while photos are read: about 20 seconds at the most, and only the first time. An import has
# no such limit.
MOST_PHOTOS = 5000
MOST_BYTES = 600 * 2**20
# Changes when what is kept of a photo is made in another way.
VERSION = 1
UNREADABLE = ("", np.zeros(HASH_BITS, dtype=bool))


def groups_of(data: Dataset) -> np.ndarray:
    """The group of each photo, int (N,), as :func:`vit_demo.data.copies.split.group_photos` makes them; each
    its own where there are too many.
    """
    found = prints_of(data)
    if found is None:
        return np.arange(len(data))
    return group_photos(
        np.array([digest for digest, _ in found]), np.array([bits for _, bits in found]), NEAR_BITS
    )


def prints_of(*parts: Dataset) -> list[tuple[str, np.ndarray]] | None:
    """(digest of the pixels, perceptual hash) of each photo of these splits, in order; the digest is "" where
    a photo cannot be read. None where all together are too many.
    """
    from datasets import Image as ImageFeature

    if sum(map(len, parts)) > MOST_PHOTOS:
        return None
    keys, places, total = [], {}, 0
    for part in parts:
        stored = part.select_columns(["image"]).cast_column("image", ImageFeature(decode=False))
        for number, row in enumerate(stored):
            key, size = _key(row["image"])
            keys.append(key)
            places[key] = stored, number
            total += size
            if total > MOST_BYTES:
                return None
    known = _read(keys)
    known |= _look({key: place for key, place in places.items() if key not in known})
    return [known[key] for key in keys]


def _look(places: dict[str, tuple[Dataset, int]]) -> dict[str, tuple[str, np.ndarray]]:
    """Read the photos at these places, {key: (split, row)}, and keep what is found for the next time."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        new = dict(zip(places, pool.map(lambda place: _print(place[0][place[1]]["image"]), places.values())))
    _write(new)
    return new


def _key(stored: dict[str, Any]) -> tuple[str, int]:
    """(what changes with a photo, its bytes): a digest of what is embedded; path, size and time of a file."""
    if stored["bytes"] is not None:
        return hashlib.blake2b(stored["bytes"], digest_size=20).hexdigest(), len(stored["bytes"])
    try:
        found = os.stat(stored["path"])
    except OSError:
        return f"{stored['path']} is gone", 0
    return f"{stored['path']}\0{found.st_size}\0{found.st_mtime_ns}", found.st_size


def _print(stored: dict[str, Any]) -> tuple[str, np.ndarray]:
    photo = decode(stored, PRINT_PIXELS)
    return UNREADABLE if photo is None else fingerprint_of(photo)


@contextlib.contextmanager
def _kept() -> Iterator[sqlite3.Connection | None]:
    """What is known of photos, by their keys; None where nothing can be kept. No home folder is made for
    it.
    """
    home = settings.load().home
    if not home.is_dir():
        yield None
        return
    with contextlib.suppress(OSError):
        (home / "cache").mkdir(exist_ok=True)
    try:
        connection = sqlite3.connect(Path(home, "cache", f"prints-{VERSION}.sqlite"), timeout=5)
    except sqlite3.Error:
        yield None
        return
    try:
        yield connection
    finally:
        connection.close()


def _read(keys: list[str]) -> dict[str, tuple[str, np.ndarray]]:
    found = {}
    with _kept() as connection, contextlib.suppress(sqlite3.Error):
        if not connection:
            return {}
        for key in set(keys):
            row = connection.execute("SELECT digest, bits FROM prints WHERE key = ?", (key,)).fetchone()
            if row and len(row[1]) == HASH_BITS // 8:
                found[key] = row[0], np.unpackbits(np.frombuffer(row[1], np.uint8)).astype(bool)
    return found


def _write(new: dict[str, tuple[str, np.ndarray]]) -> None:
    if not new:
        return
    # What a full disk or a damaged file does not take is computed again the next time.
    with _kept() as connection, contextlib.suppress(sqlite3.Error):
        if connection:
            with connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS prints (key TEXT PRIMARY KEY, digest TEXT NOT NULL, bits BLOB"
                    " NOT NULL) WITHOUT ROWID"
                )
                rows = [(key, digest, np.packbits(bits).tobytes()) for key, (digest, bits) in new.items()]
                connection.executemany("INSERT OR REPLACE INTO prints VALUES (?, ?, ?)", rows)
