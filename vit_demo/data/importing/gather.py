"""Take photos out of what a person brings, into one folder, each checked and with what it is called there.

A zip, a tar or a folder says by its own folders what a photo shows, or by a table that lies in it; a table
(CSV) says it in a column; photos alone are told it by the person. Parquet files are unpacked, so that all
ends in photos that a person can look at.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Stopped
from vit_demo.common.words import DEFAULT_LANGUAGE, Sentence, say, speaking
from vit_demo.data.importing.incoming import Looked, look_at
from vit_demo.data.importing.rows import StoredRows
from vit_demo.data.plan import archives, labels, tables
from vit_demo.data.plan.by_table import split_of_row
from vit_demo.data.plan.corrections import LEFT_OUT, UNLABELLED, Corrections
from vit_demo.data.plan.file_names import ENDINGS, is_clutter, readable
from vit_demo.data.plan.listing import PARQUET, Parts
from vit_demo.data.plan.of_source import plan_archive, plan_folder
from vit_demo.data.plan.plan import PhotoFile, Plan
from vit_demo.data.plan.tables import read_table
from vit_demo.photos.safe_open import Unfit

PIECE = 2**20
MAX_PARQUET_BYTES = 4 * 2**30
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
    notes: list[Sentence] = field(default_factory=list)
    # The classes as the files of each split list them, and as the source says; [] where it does not.
    lists: dict[str, list[list[str]]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    # Bytes of photos that came out of files of many photos.
    unpacked: int = 0
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


def gather(source: Path | Files | Table, stage: Stage, corrections: Corrections) -> None:
    """Take all photos of a source, each with its class and split as the plan of the source says. Raises
    UserError where it is none, made to do harm, or something has to be said first.
    """
    if isinstance(source, Files):
        _from_files(source, stage)
    elif isinstance(source, Table) or tables.is_table(source):
        _from_table(source if isinstance(source, Table) else Table(source), stage, corrections)
    elif source.is_dir():
        _from_folder(source, stage, corrections)
    elif archives.is_archive(source):
        _from_archive(source, stage, corrections)
    elif source.suffix.lower() == PARQUET and source.is_file():
        _from_folder(source.parent, stage, corrections, (source,))
    elif not source.exists():
        raise UserError("error.data.no_file_or_folder", path=str(source))
    else:
        raise UserError("error.data.no_source", name=source.name)


def plan_of(source: Path, corrections: Corrections, check: Callable[[], None] = lambda: None) -> Plan:
    """What is understood of a folder or an archive. check: called again and again; raises where a person
    stopped it. Raises UserError.
    """
    if source.is_dir():
        return plan_folder(source, corrections, check=check)
    return plan_archive(source, corrections, check)


def _from_files(source: Files, stage: Stage) -> None:
    label = _called(source.label, Corrections())
    for other in {photo.label for photo in stage.photos}:
        if labels.spelling(other) == labels.spelling(label) and other != label:
            raise UserError("error.data.capitals", one=other, other=label)
    for path in source.paths:
        stage.take((path.name,), _pieces(path), label)
        stage.seen(len(source.paths))


def _from_table(source: Table, stage: Stage, corrections: Corrections) -> None:
    """The photos that its rows name: as its plan says; those of any folder where the person allowed it."""
    if not source.anywhere:
        return _from_folder(source.path.parent, stage, corrections, (source.path,))
    table = read_table(tables.content_of(source.path), source.path.name, corrections)
    stage.notes += table.notes
    for row in table.rows:
        photo = tables.find_photo(source.path, row, anywhere=True)
        split = split_of_row(row, (source.path.name,), corrections)
        if photo is None:
            stage.skip(row.path, "data.left_out.not_there")
        elif not row.label:
            stage.skip(row.path, "data.left_out.no_label")
        elif split != LEFT_OUT:
            stage.take((photo.name,), _pieces(photo), _called(row.label, corrections), split)
        stage.seen(len(table.rows))
    return None


def _from_folder(source: Path, stage: Stage, corrections: Corrections, files: tuple[Path, ...] = ()) -> None:
    """files: those tables or parquet files of the folder that are meant, () for all."""
    plan = _begun(plan_folder(source, corrections, files, stage.check), stage)
    for photo in plan.photos:
        stage.take(photo.parts, _pieces(source.joinpath(*photo.parts)), photo.label, photo.split)
        stage.seen(len(plan.photos))
    for file in plan.files:
        _take_rows(source.joinpath(*file.parts), file, source, stage, corrections)


def _from_archive(source: Path, stage: Stage, corrections: Corrections) -> None:
    """In the order in which they are packed; then in the order of the plan."""
    plan = _begun(plan_of(source, corrections, stage.check), stage)
    photos = {photo.parts: (number, photo) for number, photo in enumerate(plan.photos)}
    files = {file.parts: file for file in plan.files}
    unpacked: dict[Parts, Path] = {}
    before = len(stage.photos)
    with archives.open_archive(source) as archive:
        for member in archive.members:
            if member.parts in files:
                unpacked[member.parts] = _unpack(member, len(unpacked), stage)
            elif member.parts in photos:
                _, photo = photos.pop(member.parts)  # of two members of one name the first
                stage.take(photo.parts, member.pieces(), photo.label, photo.split)
            stage.seen(archive.count, member.at, archive.size)
    order = {photo.parts: number for number, photo in enumerate(plan.photos)}
    stage.photos[before:] = sorted(stage.photos[before:], key=lambda taken: order[taken.parts])
    for parts, file in files.items():
        _take_rows(unpacked[parts], file, None, stage, corrections)


def _begun(plan: Plan, stage: Stage) -> Plan:
    """Note what the plan leaves out. Raises UserError where something has to be said first."""
    plan.check()
    if plan.unlabelled and not (plan.photos or plan.files):
        raise UserError("error.data.plan.only_unlabelled", source=plan.name)
    for name, why in plan.left_out:
        stage.skip(name, why)
    why = "data.left_out.not_in_table" if plan.kind == "table" else "data.left_out.no_class"
    for photo in plan.unlabelled:
        stage.skip("/".join(photo.parts), why)
    stage.notes += plan.said()
    stage.order = plan.order
    return plan


def _unpack(member: archives.Member, number: int, stage: Stage) -> Path:
    """A file beside the photos, which goes with the folder of the import."""
    file = stage.folder / f"{number}{Path(member.parts[-1]).suffix.lower()}"
    try:
        stage.write(file, member.pieces(), MAX_PARQUET_BYTES)
    except (archives.Damaged, Unfit):
        limit = MAX_PARQUET_BYTES // 2**20
        raise UserError("error.data.member_too_large", name=member.parts[-1], limit=limit) from None
    return file


def _take_rows(
    file: Path, planned: PhotoFile, root: Path | None, stage: Stage, corrections: Corrections
) -> None:
    """The photos of a parquet or Arrow file. root: the folder in which photos may lie that rows name by
    path.
    """
    shown = planned.parts[-1]
    rows = StoredRows(file, shown, corrections, root)
    for number, (name, content, label) in enumerate(rows):
        stage.unpacked += len(content)
        if stage.unpacked > archives.MAX_TOTAL_BYTES:
            raise UserError("error.data.photos_unpacked", most=archives.MAX_TOTAL_BYTES // 2**30)
        if not content or label is None or planned.split == UNLABELLED:
            row = Sentence("data.left_out.row", {"file": readable(shown)[-180:], "number": number})
            stage.skip(row, "data.left_out.no_label" if content else "data.left_out.no_photo")
        else:
            parts = (name.lstrip(".") or f"row-{number}",)
            stage.take(parts, iter((content,)), _called(label, corrections), planned.split, is_photo=True)
        stage.seen(0)
    if rows.some_labelled and planned.split != UNLABELLED:
        stage.lists.setdefault(planned.split, []).append(rows.names)


def _called(label: str, corrections: Corrections) -> str:
    """A class as it is to be called. Raises UserError for what is no name of one."""
    name = labels.tidy(corrections.class_for(labels.tidy(label)))
    labels.check(name, label)
    return name


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb")  # noqa: SIM115 (closed below; opened here, so that only this is said of the photo)
    except OSError:
        raise Unfit("error.photos.gone", "error.photos.permissions") from None
    with file:
        while piece := file.read(PIECE):
            yield piece
