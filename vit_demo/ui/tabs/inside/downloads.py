"""The numbers behind a figure, as a file to take away."""

from __future__ import annotations

import csv
import functools
import io
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

# Older files are deleted: who wants one asks for it soon after the figure is drawn.
KEEP = 200
_written: OrderedDict[Path, None] = OrderedDict()


def csv_file(name: str, header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A table as ``name``.csv, in a folder of its own; returns its path. header: with the unit of each
    column.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return _write(f"{name}.csv", text.getvalue().encode())


def npz_file(name: str, **arrays: np.ndarray) -> str:
    """Arrays as ``name``.npz, readable without pickle, in a folder of its own; returns its path."""
    data = io.BytesIO()
    np.savez_compressed(data, **cast("dict[str, Any]", arrays))
    return _write(f"{name}.npz", data.getvalue())


def _write(name: str, data: bytes) -> str:
    path = Path(tempfile.mkdtemp(dir=_folder())) / name
    path.write_bytes(data)
    _written[path] = None
    while len(_written) > KEEP:
        shutil.rmtree(_written.popitem(last=False)[0].parent, ignore_errors=True)
    return str(path)


@functools.cache
def _folder() -> str:
    return tempfile.mkdtemp(prefix="vit_demo-numbers-")
