"""The rows of a parquet or Arrow file, one photo at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_demo.common.errors import UserError
from vit_demo.data.plan.columns import image_column, is_no_label, label_column
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.labels import in_order
from vit_demo.data.uniform import kinds_of, label_text

if TYPE_CHECKING:
    from datasets import Features

# Of one piece of a parquet file, which is unpacked at once.
MAX_GROUP_BYTES = 2**30


class StoredRows:
    """(file name, photo, class or None) of each row. Known once all rows were read: names, of all classes;
    some_labelled, whether any row has one.
    """

    def __init__(self, file: Path, shown: str, corrections: Corrections, root: Path | None):
        """shown: what the file is called. root: the folder in which photos may lie that rows name by path;
        None: nowhere.
        """
        self._file, self._shown, self._corrections, self._root = file, shown, corrections, root
        self.names: list[str] = []
        self.some_labelled = False

    def __iter__(self) -> Iterator[tuple[str, bytes, str | None]]:
        import pyarrow
        from datasets import ClassLabel

        seen: set[str] = set()
        try:
            for features, image, label, row in self._rows():
                feature = features[label] if label else None
                value = row[label] if label else None
                if isinstance(feature, ClassLabel):
                    self.names = list(feature.names)
                    known = isinstance(value, int) and 0 <= value < len(self.names)
                    text = self.names[int(value)] if known and value is not None else None
                else:
                    text = None if is_no_label(value) else label_text(value)
                    seen |= {text} if text else set()
                self.some_labelled |= text is not None
                yield *self._photo(row[image]), text
        except (pyarrow.ArrowException, OSError, ValueError):
            raise UserError("error.data.no_parquet", name=self._shown) from None
        self.names = self.names or in_order(seen)

    def _rows(self) -> Iterator[tuple[Features, str, str | None, dict[str, Any]]]:
        """(the columns' types, the columns of photo and label, the two of one row)."""
        from datasets import Features

        batches = self._batches()
        schema = next(batches)
        features = Features.from_arrow_schema(schema)
        image = image_column(features, self._corrections.image_column, self._shown)
        label = label_column(kinds_of(features, image), self._corrections.label_column, self._shown)[0]
        columns = [image, *([label] if label else [])]
        for batch in batches:
            for row in batch.select(columns).to_pylist():
                yield features, image, label, row

    def _batches(self) -> Iterator[Any]:
        """The schema, then rows. One at a time: a file may name the same bytes in each row, and only what is
        unpacked takes memory.
        """
        import pyarrow
        from pyarrow import parquet

        if self._file.suffix.lower() == ".arrow":
            with pyarrow.memory_map(str(self._file)) as source, pyarrow.ipc.open_stream(source) as stream:
                yield stream.schema
                for batch in stream:
                    yield from (batch.slice(place, 1) for place in range(batch.num_rows))
            return
        opened = parquet.ParquetFile(self._file)
        groups = [opened.metadata.row_group(number) for number in range(opened.num_row_groups)]
        if max((group.total_byte_size for group in groups), default=0) > MAX_GROUP_BYTES:
            raise UserError("error.data.row_groups", name=self._shown, most=MAX_GROUP_BYTES // 2**30)
        yield opened.schema_arrow
        yield from opened.iter_batches(1, use_threads=False)

    def _photo(self, stored: Any) -> tuple[str, bytes]:
        """(its file name, its bytes; b"" where there are none)."""
        if isinstance(stored, bytes):
            return "", stored
        if isinstance(stored, str):
            return Path(stored.replace("\\", "/")).name, self._read(stored)
        stored = stored or {}
        path = str(stored.get("path") or "").replace("\\", "/")
        return path.rpartition("/")[2], stored.get("bytes") or (self._read(path) if path else b"")

    def _read(self, name: str) -> bytes:
        """A photo that a row names by its path, from beside the file or from the folder it lies in."""
        root = self._root
        for folder in (self._file.parent, root) if root else ():
            with contextlib.suppress(OSError, ValueError):
                path = (folder / name.replace("\\", "/")).resolve()
                if root and path.is_relative_to(root.resolve()):
                    return path.read_bytes()
        return b""
