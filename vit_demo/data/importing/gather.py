"""Take photos out of what a person brings, into one folder, each checked and with what it is called there.

A zip, a tar or a folder says by its own folders what a photo shows, or by a table that lies in it; a table
(CSV) says it in a column; photos alone are told it by the person. Parquet files are unpacked, so that all
ends in photos that a person can look at.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Stopped
from vit_demo.common.words import DEFAULT_LANGUAGE, Sentence, say, speaking
from vit_demo.data.corrections.review_set import clean_label
from vit_demo.data.importing import archives, tables
from vit_demo.data.importing.incoming import ENDINGS, Looked, is_clutter, look_at, readable, safe_name
from vit_demo.data.names import SPLIT_NAMES
from vit_demo.photos.safe_open import Unfit

if TYPE_CHECKING:
    import pyarrow
    from datasets import Features

PIECE = 2**20
MAX_PARQUET_BYTES = 4 * 2**30
# Of one piece of a parquet file, which is unpacked at once.
MAX_GROUP_BYTES = 2**30
# So many of what was left out are named one by one; the rest is counted.
MOST_NAMED = 1000


@dataclass(frozen=True)
class Files:
    """Photos that all show the same. label: its class, as the person typed it."""

    paths: tuple[Path, ...]
    label: str


@dataclass(frozen=True)
class Table:
    """A CSV of paths and labels. anywhere: whether its photos may lie outside its folder, which only the
    person at this computer can allow.
    """

    path: Path
    anywhere: bool = False


@dataclass(frozen=True)
class Progress:
    """done: photos taken. total: files to look at, 0 where it is not known. bytes, of_bytes: read of the
    source; both 0 where it has no one size.
    """

    done: int = 0
    seen: int = 0
    total: int = 0
    bytes: int = 0
    of_bytes: int = 0

    @property
    def share(self) -> float:
        """How far it is, 0 to 1."""
        part = self.seen / self.total if self.total else self.bytes / self.of_bytes if self.of_bytes else 0.0
        return min(part, 1.0)


@dataclass
class Taken:
    """A photo in the folder of the import. parts: its path in the source. label, split: "" until they are
    known.
    """

    file: Path
    parts: tuple[str, ...]
    looked: Looked
    label: str = ""
    split: str = ""


class Cancelled(Stopped, UserError):
    """The person stopped it."""


@dataclass
class Stage:
    """The folder into which photos are taken, and what became of all that was looked at."""

    folder: Path
    tell: Callable[[Progress], None]
    cancelled: Callable[[], bool]
    photos: list[Taken] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    skipped_count: int = 0
    _number: int = 0

    def skip(self, name: str | Sentence, why: str | Unfit) -> None:
        """Note what is left out, and why. why: the key of a sentence about {name}, or what a photo was
        refused with.
        """
        self.skipped_count += 1
        if len(self.skipped) < MOST_NAMED:
            self.skipped.append(_left_out(name if isinstance(name, Sentence) else readable(name)[-200:], why))

    def seen(self, total: int, at: int = 0, size: int = 0) -> None:
        """Tell how far it is; raises Cancelled where the person stopped it."""
        self._number += 1
        self.check()
        self.tell(Progress(len(self.photos), self._number, total, at, size))

    def check(self) -> None:
        """Raise Cancelled where the person stopped it."""
        if self.cancelled():
            raise Cancelled("error.data.stopped")

    def write(self, file: Path, pieces: Iterator[bytes], limit: int) -> None:
        """Write what comes, of which no more than ``limit`` bytes may come."""
        written = 0
        with file.open("wb") as out:
            for piece in pieces:
                self.check()
                written += len(piece)
                if written > limit:
                    raise Unfit("error.photos.bytes", "error.photos.smaller", limit=limit // 2**20)
                out.write(piece)

    def take(
        self,
        parts: tuple[str, ...],
        pieces: Iterator[bytes],
        label: str = "",
        split: str = "",
        is_photo: bool = False,
    ) -> None:
        """Take one photo, or note why not. is_photo: whatever its ending says."""
        name = "/".join(parts)
        if is_clutter(parts):
            return self.skip(name, "data.left_out.hidden")
        if not is_photo and not parts[-1].lower().endswith(ENDINGS):
            return self.skip(name, "data.left_out.ending")
        file = self.folder / f"{len(self.photos):07}"
        try:
            first = next(pieces, b"")
            if not first:
                raise Unfit("error.photos.empty", "error.photos.again")
            self.write(file, itertools.chain((first,), pieces), settings.load().max_photo_bytes)
            self.photos.append(Taken(file, parts, look_at(file), label, split))
        except archives.Damaged:
            self.skip(name, "data.left_out.damaged_inside")
        except Unfit as error:
            self.skip(name, error)


def _left_out(name: str | Sentence, why: str | Unfit) -> dict[str, Any]:
    """As a file that is left out is kept: its name and, in English, how the sentence goes on behind it; and
    the whole sentence.
    """
    said = why.why(name) if isinstance(why, Unfit) else Sentence(why, {"name": name})
    with speaking(DEFAULT_LANGUAGE):
        return {
            "name": str(name),
            "why": say(said.key, **{**said.values, "name": ""}).strip(),
            "said": said.as_json(),
        }


def left_out(entry: dict[str, Any]) -> Sentence | str:
    """Why a file was left out, about its {name}, of an entry of :attr:`Stage.skipped`; the English of earlier
    versions as it was kept.
    """
    said = Sentence.from_json(entry.get("said", ""))
    return said if isinstance(said, Sentence) else f"{entry['name']} {entry['why']}"


def gather(source: Path | Files | Table, stage: Stage) -> None:
    """Take all photos of a source. Raises UserError where it is none, or made to do harm."""
    if isinstance(source, Files):
        _from_files(source, stage)
    elif isinstance(source, Table) or tables.is_table(source):
        _from_table(source if isinstance(source, Table) else Table(source), stage)
    elif source.is_dir():
        _from_folder(source, stage)
    elif archives.is_archive(source):
        _from_archive(source, stage)
    elif not source.exists():
        raise UserError("error.data.no_file_or_folder", path=str(source))
    else:
        raise UserError("error.data.no_source", name=source.name)


def _from_files(source: Files, stage: Stage) -> None:
    for path in source.paths:
        stage.take((path.name,), _pieces(path), source.label)
        stage.seen(len(source.paths))


def _from_table(source: Table, stage: Stage) -> None:
    rows = tables.read_rows(source.path)
    for row in rows:
        photo = tables.find_photo(source.path, row, source.anywhere)
        if photo is None:
            stage.skip(row.path, "data.left_out.not_there")
        elif not row.label:
            stage.skip(row.path, "data.left_out.no_label")
        else:
            stage.take((photo.name,), _pieces(photo), row.label, row.split)
        stage.seen(len(rows))


def _from_folder(source: Path, stage: Stage) -> None:
    """Links are not followed: they may lead anywhere, or round in a circle."""
    files = []
    for root, folders, names in os.walk(source):
        stage.check()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(root, name) for name in sorted(names)]
    parquet, lists = [], []
    for path in files:
        parts = path.relative_to(source).parts
        if path.is_symlink() or not path.is_file():
            stage.skip("/".join(parts), "data.left_out.link")
        elif _is_parquet(parts):
            parquet.append((path, parts))
        elif _is_table(parts):
            lists.append((path, parts))
        else:
            stage.take(parts, _pieces(path))
        stage.seen(len(files))
    _from_parquet(parquet, stage)
    _label(lists, stage)


def _from_archive(source: Path, stage: Stage) -> None:
    parquet: list[tuple[Path, tuple[str, ...]]] = []
    lists: list[tuple[Path, tuple[str, ...]]] = []
    with archives.open_archive(source) as archive:
        for member in archive.members:
            if _is_parquet(member.parts):
                parquet.append((_unpack(member, len(parquet), MAX_PARQUET_BYTES, stage), member.parts))
            elif _is_table(member.parts):
                lists.append((_unpack(member, len(lists), tables.MAX_BYTES, stage), member.parts))
            else:
                stage.take(member.parts, member.pieces())
            stage.seen(archive.count, member.at, archive.size)
    _from_parquet(parquet, stage)
    _label(lists, stage)


def _unpack(member: archives.Member, number: int, limit: int, stage: Stage) -> Path:
    """A file beside the photos, which goes with the folder of the import."""
    file = stage.folder / f"{number}{Path(member.parts[-1]).suffix.lower()}"
    try:
        stage.write(file, member.pieces(), limit)
    except (archives.Damaged, Unfit):
        raise UserError("error.data.member_too_large", name=member.parts[-1], limit=limit // 2**20) from None
    return file


def _is_parquet(parts: tuple[str, ...]) -> bool:
    return parts[-1].lower().endswith(".parquet") and not is_clutter(parts)


def _is_table(parts: tuple[str, ...]) -> bool:
    return tables.is_table(Path(parts[-1])) and not is_clutter(parts)


def _label(lists: list[tuple[Path, tuple[str, ...]]], stage: Stage) -> None:
    """Tables among the photos count where they name at least half of them; else the folders do, and the
    tables are left out.
    """
    named = {}
    for file, parts in lists:
        # Any list may lie beside photos, and need not be of them.
        with contextlib.suppress(UserError):
            for row in tables.read_rows(file):
                path = tuple(part for part in row.path.replace("\\", "/").split("/") if part not in ("", "."))
                named[parts[:-1] + path] = row
    found = [photo for photo in stage.photos if photo.parts in named and named[photo.parts].label]
    if not found or 2 * len(found) < len(stage.photos):
        for _, parts in lists:
            stage.skip("/".join(parts), "data.left_out.ending")
        return
    for photo in found:
        photo.label, photo.split = named[photo.parts].label, named[photo.parts].split
    for photo in stage.photos:
        if not photo.label:
            stage.skip("/".join(photo.parts), "data.left_out.not_in_table")
    stage.photos = found


def _from_parquet(files: list[tuple[Path, tuple[str, ...]]], stage: Stage) -> None:
    total = 0
    for file, parts in files:
        split = SPLIT_NAMES.get(parts[-1].split("-")[0].split(".")[0].lower())
        if not split:
            stage.skip("/".join(parts), "data.left_out.no_split")
            continue
        for number, (name, content, label) in enumerate(_rows(file, parts[-1])):
            total += len(content)
            if total > archives.MAX_TOTAL_BYTES:
                raise UserError("error.data.photos_unpacked", most=archives.MAX_TOTAL_BYTES // 2**30)
            if not content or label is None:
                row = Sentence("data.left_out.row", {"file": readable(parts[-1])[-180:], "number": number})
                stage.skip(row, "data.left_out.no_label" if content else "data.left_out.no_photo")
            else:
                stage.take(
                    (name.lstrip(".") or f"row-{number}",), iter((content,)), label, split, is_photo=True
                )
            stage.seen(0)


def _rows(file: Path, shown: str) -> Iterator[tuple[str, bytes, str | None]]:
    """(file name, photo, label) of each row of a parquet file."""
    import pyarrow
    from datasets import ClassLabel, Features
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file)
        groups = [opened.metadata.row_group(number) for number in range(opened.num_row_groups)]
        if max((group.total_byte_size for group in groups), default=0) > MAX_GROUP_BYTES:
            raise UserError("error.data.row_groups", name=shown, most=MAX_GROUP_BYTES // 2**30)
        features = Features.from_arrow_schema(opened.schema_arrow)
        image, label = _columns(opened.schema_arrow, features, shown)
        names = features[label].names if isinstance(features[label], ClassLabel) else None
        # One at a time: a file may name the same bytes in each row, and only what is unpacked takes memory.
        for batch in opened.iter_batches(1, columns=[image, label], use_threads=False):
            for row in batch.to_pylist():
                photo, value = row[image] or {}, row[label]
                name = str(photo.get("path") or "").replace("\\", "/").rpartition("/")[2]
                yield name, photo.get("bytes") or b"", _class_name(value, names)
    except (pyarrow.ArrowException, OSError, ValueError):
        raise UserError("error.data.no_parquet", name=shown) from None


def _columns(schema: pyarrow.Schema, features: Features, shown: str) -> tuple[str, str]:
    """The names of the columns of photos and of labels."""
    import pyarrow
    from datasets import ClassLabel

    def holds_photos(kind: pyarrow.DataType) -> bool:
        return bool(pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)

    images = [column.name for column in schema if holds_photos(column.type)]
    labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    labels += [name for name in ("labels", "label") if name in features and name not in labels]
    if not images or not labels:
        raise UserError(
            "error.data.parquet_no_labels" if images else "error.data.parquet_no_images", name=shown
        )
    return ("image" if "image" in images else images[0]), ("labels" if "labels" in labels else labels[0])


def _class_name(value: str | int | None, names: list[str] | None) -> str | None:
    if value is None or value == "":
        return None
    if names is None:
        return str(value)
    number = cast("int", value)  # as a ClassLabel is stored
    return names[number] if 0 <= number < len(names) else None


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb")  # noqa: SIM115 (closed below; opened here, so that only this is said of the photo)
    except OSError:
        raise Unfit("error.photos.gone", "error.photos.permissions") from None
    with file:
        while piece := file.read(PIECE):
            yield piece


def _unwrapped(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Without the folders that hold all others; photos beside these are left as they are."""
    while deep := [path for path in paths if len(path) > 1]:
        top = deep[0][0]
        if any(path[0] != top for path in deep) or top.lower() in SPLIT_NAMES or max(map(len, deep)) <= 2:
            break
        paths = [path[1:] if len(path) > 1 else path for path in paths]
    return paths


def place(photos: list[Taken], stage: Stage) -> list[Taken]:
    """Those of which split and class are known: by the person, by a table, or by the folders they lie in; the
    others are noted.

    The folders are split/class/photo or class/photo, inside any number of folders that hold nothing else. A
    class is called as its folder will be; UserError where two would be one on many disks.
    """
    told, silent = [photo for photo in photos if photo.label], [photo for photo in photos if not photo.label]
    paths = _unwrapped([photo.parts for photo in silent])
    splits = any(len(path) > 2 and path[0].lower() in SPLIT_NAMES for path in paths)
    for photo, path in zip(silent, paths):
        if splits and path[0].lower() not in SPLIT_NAMES:
            stage.skip("/".join(photo.parts), "data.left_out.beside_splits")
        elif len(path) != 2 + splits:
            stage.skip("/".join(photo.parts), "data.left_out.no_class")
        else:
            photo.label, photo.split = path[-2], SPLIT_NAMES[path[0].lower()] if splits else ""
            told.append(photo)
    written: dict[str, str] = {}
    for photo in told:
        photo.label = safe_name(clean_label(photo.label))
        other = written.setdefault(photo.label.casefold(), photo.label)
        if other != photo.label:
            raise UserError("error.data.capitals", one=other, other=photo.label)
    return told
