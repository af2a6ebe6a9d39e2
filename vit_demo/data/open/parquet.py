"""Parquet and Arrow files of photos, turned into the Arrow files that the datasets library reads from the
disk, a few rows at a time.

The library's own reader of parquet unpacks whole row groups: of 10,000 small photos each it takes 300 MB more
than this one, and of large photos as much as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datasets.builder import Key
from datasets.packaged_modules.arrow.arrow import Arrow
from datasets.packaged_modules.parquet.parquet import Parquet
from pyarrow.parquet import FileMetaData, ParquetFile

if TYPE_CHECKING:
    from datasets import Dataset

# Rows that are handed on, and later read, at a time, and so many bytes of them as the file says. A page of
# the file, in most of them 1 MB or 1024 rows, is unpacked as a whole.
MOST_ROWS, MOST_BYTES = 100, 16 * 2**20
# Of a file, so much is read at a time.
BUFFER = 2**18


class _FewRows(Parquet):  # type: ignore[misc]  # the datasets library has no types
    """As the library's "parquet", with its schemas, cache and locks."""

    def _generate_tables(
        self, files: list[str], row_groups_list: list[Any]
    ) -> Iterator[tuple[Key, pa.Table]]:
        """row_groups_list: not given, as one process reads all."""
        for number, name in enumerate(files):
            # pre_buffer would read all of a row group before the first row.
            with ParquetFile(name, pre_buffer=False, buffer_size=BUFFER) as file:
                for turn, batch in enumerate(
                    file.iter_batches(_rows_at_once(file.metadata), use_threads=False)
                ):
                    yield Key(number, turn), self._cast_table(pa.Table.from_batches([batch]))


def _rows_at_once(metadata: FileMetaData) -> int:
    size: int = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return max(1, min(MOST_ROWS, MOST_BYTES * int(metadata.num_rows) // max(size, 1)))


def read(split: str, files: list[str], is_arrow: bool = False) -> Dataset:
    """The rows of all files of a split, kept where the datasets library keeps what it reads: read where they
    lie, it would keep its own files beside them. files: patterns, as the library takes them.
    """
    builder = (Arrow if is_arrow else _FewRows)(dataset_name="photos", data_files={split: files})
    builder.download_and_prepare()
    return builder.as_dataset(split=split)
