"""Small pictures of photos: made once, when their page is first looked at, and kept as files in the home
folder.

A photo that lies in a parquet file is known by its bytes, one that is a file of its own by path, size and
time of change. What was not looked at for longest goes first when the folder is full.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vit_demo.common import settings
from vit_demo.common.atomic import write_atomically
from vit_demo.photos.safe_open import decode

SIDE = 176  # pixels, at most, of both sides
QUALITY = 72
VERSION = 1
THREADS = 4
MOST_BYTES = 500 * 2**20
# After so many new bytes the folder is looked through, and emptied to this share of MOST_BYTES where there is
# too much.
SWEEP_BYTES, LEAVE = 20 * 2**20, 0.9
_pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="thumbnail")
_lock = threading.Lock()
_fresh = SWEEP_BYTES  # so that the first one looks what an earlier server left


def thumbnails(stored: Iterable[dict[str, Any]]) -> list[bytes | None]:
    """A JPEG of each photo ({"bytes", "path"}, as the datasets library keeps it), None where it is broken; a
    few at a time.
    """
    return list(_pool.map(thumbnail, stored))


def thumbnail(stored: dict[str, Any]) -> bytes | None:
    """From the folder, else made and put there. A disk that is full or read-only costs only the next look its
    time.
    """
    try:
        file = _folder() / _name(stored)
    except OSError:  # the photo is a file that is gone
        return None
    try:
        made: bytes | None = file.read_bytes()
        os.utime(file)
    except OSError:
        made = make(stored)
        if made is not None:
            _keep(file, made)
    return made


def make(stored: dict[str, Any]) -> bytes | None:
    """Decoded no larger than needed, upright, at most SIDE pixels a side."""
    small = decode(stored, (4 * SIDE) ** 2)
    if small is None:
        return None
    small.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _folder() -> Path:
    return settings.load().home / "cache" / "thumbnails"


def _name(stored: dict[str, Any]) -> str:
    """Changes with the photo. Hashed, so that no name of others gets into a path; in 256 folders, since a
    folder of 80,000 files is slow.
    """
    digest = hashlib.blake2b(f"{VERSION} {SIDE} {QUALITY} ".encode(), digest_size=16)
    if stored["bytes"]:
        digest.update(stored["bytes"])
    else:
        status = os.stat(stored["path"])
        digest.update(f"{os.path.abspath(stored['path'])} {status.st_size} {status.st_mtime_ns}".encode())
    name = digest.hexdigest()
    return f"{name[:2]}/{name[2:]}.jpg"


def _keep(file: Path, made: bytes) -> None:
    """Put it there as a whole, and make room now and then."""
    global _fresh
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, made)
    except OSError:
        return
    with _lock:
        _fresh += len(made)
        full = _fresh >= SWEEP_BYTES
        if full:
            _fresh = 0
    if full:
        sweep(file.parent.parent)


def sweep(folder: Path, most: int = MOST_BYTES) -> None:
    """Where the folder holds more bytes than ``most``, remove those that were not looked at for longest."""
    found = []
    for file in folder.glob("*/*"):
        with contextlib.suppress(OSError):  # removed by another server meanwhile
            status = file.stat()
            found.append((status.st_mtime_ns, status.st_size, file))
    total = sum(size for _, size, _ in found)
    if total <= most:
        return
    for _, size, file in sorted(found):
        if total <= LEAVE * most:
            break
        with contextlib.suppress(OSError):
            file.unlink(
                missing_ok=True
            )  # what others, who make room at the same time, have removed makes room too
            total -= size
