"""Small files that a reader finds whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path


def read_object(file: Path) -> dict:
    """The JSON object in a file, {} where there is none that is whole."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def write_atomically(path: Path, text: str, durable: bool = False) -> None:
    """Replace a file as a whole; it stays as it was where that fails. durable: also if the power is cut right after."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with open(new, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
