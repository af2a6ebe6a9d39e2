"""A table of photos (CSV): one row a photo, with its path and its label, and maybe its split."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vit_demo.common.errors import UserError
from vit_demo.data.names import SPLIT_NAMES

ENDINGS = (".csv", ".tsv")
# How people and other tools call the columns, small and with "_" for blanks; the first that is there counts.
PATH_NAMES = (
    "path",
    "file",
    "image",
    "photo",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image_path",
    "image_file_path",
    "image_file",
    "image_name",
)
LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "disease", "target")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
MAX_BYTES = 256 * 2**20
MAX_ROWS = 1_000_000


@dataclass(frozen=True)
class Row:
    """line: in the file, from 1. path: as it stands there. label: "" where there is none. split: one of the
    three, "" where none is named.
    """

    line: int
    path: str
    label: str
    split: str


def is_table(path: Path) -> bool:
    """Whether a file is called as a table that can be read here."""
    return path.suffix.lower() in ENDINGS


def read_rows(table: Path) -> list[Row]:
    """All rows that name a photo. Raises UserError where the table is none, or lacks one of the columns."""
    reader = _reader(_text(table), table.name)
    try:
        header = ["_".join((name or "").strip().lower().split()) for name in next(reader, [])]
        path, label, split = (_column(header, names) for names in (PATH_NAMES, LABEL_NAMES, SPLIT_COLUMNS))
        if path is None or label is None:
            raise UserError(
                "error.data.no_paths" if path is None else "error.data.no_labels", table=table.name
            )
        return list(_rows(reader, (path, label, split), table.name))
    except csv.Error:
        raise UserError("error.data.no_table", table=table.name) from None


def find_photo(table: Path, row: Row, anywhere: bool) -> Path | None:
    """Where the photo of a row lies, None where there is none. Raises UserError for one outside the folder of
    the table.

    anywhere: whether it may lie elsewhere, which only the person at this computer can allow.
    """
    folder = table.parent.resolve()
    try:
        # Tables from Windows have paths with "\"; a name with that sign elsewhere is found as it stands.
        found = [
            folder / path for path in (row.path, row.path.replace("\\", "/")) if (folder / path).is_file()
        ]
        if not anywhere and not (
            found[0] if found else folder / row.path.replace("\\", "/")
        ).resolve().is_relative_to(folder):
            raise UserError("error.data.outside_table", line=row.line, table=table.name)
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return None
    return found[0] if found else None


def _text(table: Path) -> str:
    try:
        if table.stat().st_size > MAX_BYTES:
            raise UserError("error.data.table_bytes", table=table.name, limit=MAX_BYTES // 2**20)
        content = table.read_bytes()
    except FileNotFoundError:
        raise UserError("error.data.no_file", path=str(table)) from None
    except OSError as error:
        raise UserError("error.data.table_unreadable", table=table.name, error=error.strerror) from None
    # Excel's "Unicode text"; then what all others write; then its plain CSV in the west.
    encodings = (
        ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252", "latin-1")
    )
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise UserError("error.data.table_no_text", table=table.name)


def _reader(text: str, shown: str) -> Iterator[list[str]]:
    first = text.lstrip().partition("\n")[0]
    if not first:
        raise UserError("error.data.table_empty", table=shown)
    # Of the signs that part columns, the one that the first line has most of: csv.Sniffer takes letters for
    # them.
    delimiter = max(",;\t|", key=first.count)
    return csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=delimiter)


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _rows(reader: Iterator[list[str]], columns: tuple[int, int, int | None], shown: str) -> Iterator[Row]:
    path, label, split = columns

    def cell(row: list[str], column: int | None) -> str:
        return row[column].strip() if column is not None and column < len(row) else ""

    for number, row in enumerate(reader, start=2):
        if number > MAX_ROWS + 1:
            raise UserError("error.data.table_rows", table=shown, most=MAX_ROWS)
        if not cell(row, path):
            continue
        named = cell(row, split)
        if named and named.lower() not in SPLIT_NAMES:
            raise UserError("error.data.table_split", line=number, table=shown, split=named[:40])
        yield Row(number, cell(row, path), cell(row, label), SPLIT_NAMES.get(named.lower(), ""))
