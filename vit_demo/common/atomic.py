"""Files and folders that a reader finds whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file, {} where there is none that is whole."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside ``path``, which takes its place when the block ends; where the block fails, ``path``
    stays as it was.
    """
    new = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        yield new
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder beside ``path``, empty, which takes its place when the block ends; where the block fails,
    ``path`` stays as it was.
    """
    new, old = (path.with_name(f"{path.name}.{kind}") for kind in ("new", "old"))
    if old.exists() and not path.exists():  # a process was killed between the two renames
        os.replace(old, path)
    for torn in (new, old):
        shutil.rmtree(torn, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        _swap(path, new, old)
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


def _swap(path: Path, new: Path, old: Path) -> None:
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise


def write_atomically(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Replace a file as a whole; OSError where that fails, and it stays as it was. durable: also if the power
    is cut right after.
    """
    with replacing(path) as new, open(new, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
