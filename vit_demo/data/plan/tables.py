"""A table of photos (CSV): one row a photo, with its path and its label, and maybe its split."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.plan.columns import held_back, label_column
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.encoding import decode
from vit_demo.data.plan.file_names import ENDINGS as PHOTO_ENDINGS

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
    "image_id",
    "img",
    "img_id",
    "img_name",
    "photo_id",
    "picture",
    "id",
    "文件",
    "图片",
    "файл",
    "fichier",
    "archivo",
    "arquivo",
)
SPLIT_COLUMNS = ("split", "set", "subset", "partition", "fold_name")
MAX_BYTES = 256 * 2**20
MAX_ROWS = 1_000_000
# Cells of a table, which are held at once: about half a GB.
MAX_CELLS = 8_000_000
_SEP = re.compile(r"sep=.\s*\n")


@dataclass(frozen=True)
class Row:
    """line: in the file, from 1. path: as it stands there. label: "" where there is none. split: one of the
    three, "" where none is named.
    """

    line: int
    path: str
    label: str
    split: str


@dataclass(frozen=True)
class Table:
    """What a table says. label: its column of labels, "" where they stand in columns of 0 and 1. others:
    columns that could be the labels too. notes: what had to be guessed.
    """

    rows: list[Row]
    label: str
    others: tuple[str, ...] = ()
    notes: tuple[Sentence, ...] = ()


@dataclass(frozen=True)
class _Columns:
    """Where each stands, from 0. hot: columns of 0 and 1, each for a class."""

    path: int
    label: int | None
    split: int | None
    hot: tuple[int, ...] = ()


def is_table(path: Path) -> bool:
    """Whether a file is called as a table that can be read here."""
    return path.suffix.lower() in ENDINGS


def read_rows(table: Path, corrections: Corrections | None = None) -> list[Row]:
    """All rows that name a photo. Raises UserError where the table is none, or lacks one of the columns."""
    return read_table(content_of(table), table.name, corrections or Corrections()).rows


def read_table(content: bytes, shown: str, corrections: Corrections, photos: Container[str] = ()) -> Table:
    """The rows that name a photo. shown: what the table is called. photos: names of photos that there are,
    small, with and without their endings, by which columns are found whose names say nothing. Raises
    UserError.
    """
    text, guessed = decode(content, corrections.encoding, shown)
    try:
        cells = list(_cells(text, shown))
        header, first = (cells[0], 1) if not _names_photo(cells[0], photos) else (_numbered(cells[0]), 0)
        columns, others = _columns(header, cells[first:], corrections, photos, shown)
        rows = list(_rows(cells[first:], first + 1, columns, header, corrections, shown))
        silent = held_back({row.label for row in rows})
        rows = [replace(row, label="") if row.label in silent else row for row in rows]
    except csv.Error:
        raise UserError("error.data.no_table", table=shown) from None
    label = header[columns.label] if columns.label is not None else ""
    return Table(rows, label, others, tuple(_notes(shown, guessed, label, rows, first)))


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


def content_of(table: Path) -> bytes:
    """The bytes of a table. Raises UserError where there is none, or too much of it."""
    try:
        if table.stat().st_size > MAX_BYTES:
            raise UserError("error.data.table_bytes", table=table.name, limit=MAX_BYTES // 2**20)
        return table.read_bytes()
    except FileNotFoundError:
        raise UserError("error.data.no_file", path=str(table)) from None
    except OSError as error:
        raise UserError("error.data.table_unreadable", table=table.name, error=error.strerror) from None


def _cells(text: str, shown: str) -> Iterator[list[str]]:
    """The header and all rows, without blanks around what stands in them."""
    text = text.lstrip()
    if _SEP.match(text):  # Excel's own word for the sign between columns
        text = text.partition("\n")[2].lstrip()
    first = text.partition("\n")[0]
    if not first:
        raise UserError("error.data.table_empty", table=shown)
    # Of the signs that part columns, the one that the first line has most of: csv.Sniffer takes letters for
    # them.
    delimiter = max(",;\t|", key=first.count)
    if text.count(delimiter) > MAX_CELLS:
        raise UserError("error.data.table_rows", table=shown, most=MAX_ROWS)
    for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)):
        if number > MAX_ROWS:
            raise UserError("error.data.table_rows", table=shown, most=MAX_ROWS)
        yield [cell.strip() for cell in row]


def _columns(
    header: list[str], rows: Sequence[list[str]], corrections: Corrections, photos: Container[str], shown: str
) -> tuple[_Columns, tuple[str, ...]]:
    """Which column is what, and what else could be the labels."""
    plain = ["_".join(name.lower().split()) for name in header]
    path = _path_column(plain, rows, photos)
    if path is None:
        raise UserError("error.data.no_paths", table=shown)
    split = _named(plain, SPLIT_COLUMNS)
    rest = [place for place in range(len(header)) if place not in (path, split)]
    label, others = label_column({plain[place]: "" for place in rest}, corrections.label_column, shown)
    if label:
        return _Columns(path, plain.index(label), split), others
    if len(rest) == 1 and _holds_photos(rows, path, photos):
        return _Columns(path, rest[0], split), ()
    if hot := _hot(rows, rest):
        return _Columns(path, None, split, hot), ()
    raise UserError("error.data.no_labels", table=shown)


def _path_column(header: list[str], rows: Sequence[list[str]], photos: Container[str]) -> int | None:
    """By its name; where there are photos, one that names them, rather with their endings than without: a
    number of the row may be the name of a photo by chance.
    """
    named = [header.index(name) for name in PATH_NAMES if name in header]
    places = [*named, *(place for place in range(len(header)) if place not in named)]
    if not photos:
        return named[0] if named else None
    holding = [place for place in places if _holds_photos(rows, place, photos)]
    whole = [place for place in holding if _holds_photos(rows, place, ())]
    return next(iter([*whole, *holding, *named]), None)


def _named(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _cell(row: Sequence[str], column: int | None) -> str:
    return row[column] if column is not None and column < len(row) else ""


def _holds_photos(rows: Sequence[list[str]], column: int, photos: Container[str]) -> bool:
    """Whether most of the first cells of a column name photos."""
    cells = [_cell(row, column) for row in rows[:200]]
    return bool(cells) and 2 * sum(_is_name(cell, photos) for cell in cells) > len(cells)


def _is_name(cell: str, photos: Container[str]) -> bool:
    name = cell.replace("\\", "/").rpartition("/")[2].lower()
    return bool(name) and (name.endswith(PHOTO_ENDINGS) or name in photos)


def _names_photo(header: Sequence[str], photos: Container[str]) -> bool:
    """Whether the first line is already a photo and no header."""
    return len(header) > 1 and any(_is_name(cell, photos) for cell in header)


def _numbered(row: Sequence[str]) -> list[str]:
    """Names for the columns of a table without a header."""
    return [f"column {number}" for number in range(1, len(row) + 1)]


def _hot(rows: Sequence[list[str]], places: Sequence[int]) -> tuple[int, ...]:
    """The columns of 0 and 1 of which each is a class, where each row has exactly one 1."""
    hot = tuple(place for place in places if {_cell(row, place) for row in rows} <= {"0", "1", "0.0", "1.0"})
    return hot if len(hot) > 1 and all(len(_ones(row, hot)) == 1 for row in rows) and rows else ()


def _ones(row: Sequence[str], hot: Sequence[int]) -> list[int]:
    return [place for place in hot if _cell(row, place).startswith("1")]


def _rows(
    cells: Sequence[list[str]],
    line: int,
    columns: _Columns,
    header: list[str],
    corrections: Corrections,
    shown: str,
) -> Iterator[Row]:
    for number, row in enumerate(cells, start=line):
        if any(row[len(header) :]):  # a comma inside of a name that stands in no quotes
            raise UserError("error.data.plan.cells", line=number, table=shown, most=len(header))
        path, named = _cell(row, columns.path), _cell(row, columns.split)
        if not path:
            continue
        split = corrections.split_for(named) if named else ""
        if split is None:
            raise UserError("error.data.table_split", line=number, table=shown, split=named[:40])
        label = header[_ones(row, columns.hot)[0]] if columns.hot else _cell(row, columns.label)
        yield Row(number, path, label, split)


def _notes(shown: str, guessed: str, label: str, rows: Sequence[Row], first: int) -> Iterator[Sentence]:
    labels = {row.label for row in rows if row.label}
    if guessed:
        example = next((name for name in sorted(labels) if not name.isascii()), "")
        yield Sentence("data.plan.encoding", {"table": shown, "encoding": guessed, "example": example[:60]})
    if not label:
        yield Sentence("data.plan.one_hot", {"table": shown})
    elif not first:
        yield Sentence("data.plan.no_header", {"table": shown, "column": label})
    if labels and all(name.isdecimal() for name in labels):
        yield Sentence("data.plan.numbers", {"column": label or shown})
