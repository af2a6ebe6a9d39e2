"""Photos that a person brings become a data set in the home folder: whole, or not at all.

imports/<name>/train/<class>/<photo>      and the same for validation and test
               import.json                where they came from, how many, what was left out and why
       .new-<name>-<digits>/, .lock       while it is made; what a killed server left is swept at the next
       start

It is opened as ``open_dataset("import:NAME")``. For the page:

- ``start(source, name)`` begins in a thread and returns a :class:`Job`, or raises UserError at once (the
  name, or it is there already). source: a Path (archive, folder), ``Files(paths, label)`` for photos with the
  label that was typed in, which are added where the import is there already. A ``Table`` (CSV) names files of
  this computer: take none from a stranger.
- ``job(name)`` and ``jobs()`` find them again after a reload: ``stage`` ("running", "done", "stopped",
  "failed"), ``progress`` (``share``, ``done``, ``bytes``), ``result`` (an :class:`Imported`, with ``counts``
  and ``skipped``) or ``error`` (a sentence); ``stop()``.
- ``list_imports()`` gives an :class:`Imported` each, ``Imported.spec`` is what ``open_dataset`` takes;
  ``remove(name)`` deletes one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, Jobs
from vit_demo.common.words import DEFAULT_LANGUAGE, Sentence, speaking
from vit_demo.data.corrections.journal import Journal
from vit_demo.data.importing import arrange
from vit_demo.data.importing.gather import Files, Progress, Stage, Table, Taken, gather, left_out
from vit_demo.data.importing.incoming import look_at
from vit_demo.data.names import IMPORT, imports_folder
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.file_names import RESERVED, readable
from vit_demo.data.plan.tables import read_rows
from vit_demo.photos.safe_open import Unfit

RECORD = "import.json"
NEW, OLD = ".new-", ".old-"
KEEP = 24
_starting = threading.Lock()
_NAME = re.compile(r"\w[\w .-]{0,59}")
# How the source of photos with a label typed in stands in the record, in English.
_BY_HAND = re.compile(r"(\d+) photos? called (.+)")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Imported:
    """A finished import. source: what it was called where it came from, in English. time: seconds since 1970.

    counts: {split: {class: photos}}. skipped: the first thousand of skipped_count, each told by
    :func:`vit_demo.data.importing.gather.left_out`. cut: the splits that were made here. copies: photos that
    look like another one of the import. notes: as :attr:`said` is kept.
    """

    name: str
    source: str = ""
    time: float = 0.0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    skipped_count: int = 0
    cut: list[str] = field(default_factory=list)
    copies: int = 0
    notes: list[Any] = field(default_factory=list)

    @property
    def said(self) -> list[Sentence | str]:
        """What was understood, guessed or found of its photos, one sentence each."""
        return [Sentence.from_json(note) for note in self.notes]

    @property
    def origin(self) -> Sentence | str:
        """What its source was called, to be said in the language of whoever reads it."""
        by_hand = _BY_HAND.fullmatch(self.source)
        return (
            Sentence("data.named.by_hand", {"count": int(by_hand[1]), "label": by_hand[2]})
            if by_hand
            else self.source
        )

    @property
    def folder(self) -> Path:
        """Where its photos are."""
        return imports_folder() / self.name

    @property
    def spec(self) -> str:
        """What ``open_dataset`` takes."""
        return IMPORT + self.name

    @property
    def photos(self) -> int:
        """How many there are, in all splits."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        skipped = [{"name": entry["name"], "why": entry["why"]} for entry in self.skipped]
        return {
            **asdict(self),
            "skipped": skipped,
            "photos": self.photos,
            "spec": self.spec,
            "folder": str(self.folder),
        }


def import_photos(
    source: Path | Files | Table,
    name: str,
    progress: Callable[[Progress], None] = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    corrections: Corrections | None = None,
) -> Imported:
    """Take the photos of a source in, check and split them. Raises UserError with what to do; then nothing of
    it is left behind.

    progress: told after each file that was looked at. cancelled: asked at each piece of a file. corrections:
    what was said of the source. Photos with a label are added to an import of this name; for all others the
    name must be free.
    """
    name = check_name(name, source)
    with _own_folder(name) as folder, _as_sentence():
        stage = Stage(folder / "incoming", progress, cancelled)
        stage.folder.mkdir()
        known = _take_known(name, stage)
        gather(source, stage, corrections or Corrections())
        there, photos = stage.photos[: len(known)], stage.photos
        if len(photos) <= len(known):
            raise _nothing(stage, len(known), source)
        arrange.set_apart(photos)
        order = arrange.class_order(photos, stage, corrections or Corrections())
        learned = any(photo.split == "train" for photo in photos)
        made = arrange.split(photos, order, name, isinstance(source, Files))
        if learned and all(photo.split == "test" for photo in photos):
            stage.notes.append(Sentence("data.plan.to_try", {"count": len(photos)}))
        counts = arrange.move(photos, folder / "data", stage)
        arrange.write_table(photos, order, folder / "data")
        with speaking(DEFAULT_LANGUAGE):
            title = str(_title(source))
        result = Imported(
            name,
            title,
            round(time.time(), 3),
            counts,
            stage.skipped,
            stage.skipped_count,
            *made,
            notes=[note.as_json() for note in (*stage.notes, *arrange.in_two_classes(photos))],
        )
        (folder / "data" / RECORD).write_text(
            json.dumps(asdict(result), ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
        stage.check()
        if not result.folder.exists():
            _journal(name).forget()  # of an import of this name whose folder somebody deleted
        _put_in_place(folder / "data", result.folder)
        moved = [
            (photo.split, str(result.folder.resolve() / photo.file.relative_to(folder / "data")))
            for photo in there
        ]
        _journal(name).follow(dict(zip(known, moved)))
    return result


def check_name(name: str, source: Path | Files | Table) -> str:
    """The name as it is used. Raises UserError where it is none, or not free."""
    name = " ".join(str(name or "").split())
    if not _NAME.fullmatch(name) or name.endswith(".") or name.split(".")[0].lower() in RESERVED:
        raise UserError("error.data.import_name")
    taken = next((there.name for there in _folders() if there.name.casefold() == name.casefold()), None)
    if taken and not isinstance(source, Files):
        raise UserError("error.data.import_there", name=taken)
    return taken or name


def list_imports() -> list[Imported]:
    """All finished imports, the newest first."""
    sweep()
    found = []
    for folder in _folders():
        values = _record(folder)
        with contextlib.suppress(TypeError):
            found.append(Imported(**{**values, "name": folder.name}))
    return sorted(found, key=lambda one: -one.time)


def remove(name: str) -> None:
    """Delete an import, its photos, and what was decided about them. UserError where there is none."""
    folder = next((there for there in _folders() if there.name == name), None)
    if folder is None:
        raise UserError("error.data.no_import", name=name)
    with _as_sentence():
        # Renamed first: what is half deleted can never be opened.
        gone = folder.with_name(f"{NEW}{secrets.token_hex(4)}")
        folder.rename(gone)
        _journal(name).forget()
        shutil.rmtree(gone, ignore_errors=True)


def sweep() -> None:
    """Delete what imports left that were killed, and put back what they were about to replace."""
    for left in [*imports_folder().glob(f"{NEW}*"), *imports_folder().glob(f"{OLD}*")]:
        if left.name.startswith(OLD):
            name = left.name.removeprefix(OLD)
            with (
                contextlib.suppress(OSError),
                FileLock(left.with_name(f".{name.casefold()}.lock"), timeout=0),
            ):
                if (imports_folder() / name).exists():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.rename(imports_folder() / name)
        elif not left.name.endswith(".lock"):
            lock = left.with_name(left.name + ".lock")
            with contextlib.suppress(OSError), FileLock(lock, timeout=0):  # held by an import that is alive
                shutil.rmtree(left, ignore_errors=True)
                lock.unlink(missing_ok=True)


def _folders() -> list[Path]:
    with contextlib.suppress(OSError):
        return [
            folder
            for folder in sorted(imports_folder().iterdir())
            if folder.is_dir() and not folder.name.startswith(".")
        ]
    return []


def _journal(name: str) -> Journal:
    """The one that ``journal_of`` gives while the import is there."""
    return Journal(str((imports_folder() / name).resolve()))


def _record(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


@contextlib.contextmanager
def _own_folder(name: str) -> Iterator[Path]:
    """An empty folder beside the imports, gone at the end; what others left is swept first."""
    with _as_sentence():
        imports_folder().mkdir(parents=True, exist_ok=True)
        sweep()
        folder = imports_folder() / f"{NEW}{secrets.token_hex(4)}"
        lock = FileLock(folder.with_name(folder.name + ".lock"))
        # One import of a name at a time, over all servers.
        own = FileLock(imports_folder() / f".{name.casefold()}.lock", timeout=0)
        try:
            own.acquire()
        except Timeout:
            raise UserError("error.data.import_under_way", name=name) from None
        lock.acquire()
        try:
            folder.mkdir()
        except OSError:
            lock.release()
            own.release()
            raise
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for held in (lock, own):
            Path(held.lock_file).unlink(missing_ok=True)
            held.release()


@contextlib.contextmanager
def _as_sentence() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise UserError("error.data.import_no_room") from None
        raise UserError(
            "error.data.import_not_stored", error=error.strerror, folder=str(imports_folder())
        ) from None


def _take_known(name: str, stage: Stage) -> list[tuple[str, str]]:
    """Where photos are added: those that are there already, in the splits that they came with; returns
    (split, path) of each as it was.
    """
    folder, known = (imports_folder() / name).resolve(), []
    made_here = _record(folder).get("cut", ())
    labels = (
        {row.path: row.label for row in read_rows(folder / arrange.TABLE)}
        if (folder / arrange.TABLE).is_file()
        else {}
    )
    for file in sorted(folder.glob("*/*/*")):
        stage.check()
        split, called = file.parts[-3:-1]
        label = labels.get("/".join(file.parts[-3:]), called)
        copy = stage.folder / f"{len(stage.photos):07}"
        try:
            os.link(file, copy)
        except OSError:  # a disk without links
            shutil.copyfile(file, copy)
        try:
            looked = look_at(copy)
        except Unfit as error:  # not left out as others are: it would be gone from the import
            photo = Sentence(
                "error.data.photo_of_import", {"photo": f"{split}/{called}/{file.name}", "name": name}
            )
            raise UserError("error.data.import_broken", why=error.why(photo), name=name) from None
        stage.photos.append(Taken(copy, (file.name,), looked, label, "" if split in made_here else split))
        known.append((split, str(file)))
    return known


def _nothing(stage: Stage, known: int, source: Path | Files | Table) -> UserError:
    if len(stage.photos) == known and stage.skipped_count:
        first = cast("Sentence", left_out(stage.skipped[0]))  # as it was just said
        name = first.values["name"]
        why = Sentence(
            first.key, {**first.values, "name": name if isinstance(name, Sentence) else name[-60:]}
        )
        return UserError("error.data.none_usable", source=_title(source), why=why)
    return UserError("error.data.none_in_class", source=_title(source))


def _title(source: Path | Files | Table) -> Sentence | str:
    """What a person calls the source; no path of this computer."""
    if isinstance(source, Files):
        return Sentence("data.named.by_hand", {"count": len(source.paths), "label": readable(source.label)})
    return readable((source.path if isinstance(source, Table) else source).resolve().name)


def _put_in_place(made: Path, target: Path) -> None:
    """In one step; where photos were added, the old folder makes room first and comes back should anything go
    wrong.
    """
    old = target.with_name(OLD + target.name)
    if target.exists():
        target.rename(old)
    try:
        made.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


# As many as anyone will look at again; what they brought is on the disk.
JOBS: Jobs[Imported] = Jobs("import", KEEP, "error.data.import_failed")


def start(source: Path | Files | Table, name: str, corrections: Corrections | None = None) -> Job[Imported]:
    """Begin an import in a thread of its own. Raises UserError for a name that is none or not free."""
    with _starting:
        name = check_name(name, source)
        under_way = JOBS.find(name)
        if under_way is not None and under_way.is_going:
            raise UserError("error.data.import_under_way", name=name)

        def work(job: Job[Imported]) -> Imported:
            return import_photos(
                source,
                name,
                lambda progress: setattr(job, "progress", progress),
                job.stop_asked.is_set,
                corrections,
            )

        JOBS.forget(name)
        return JOBS.start(Job(name, progress=Progress()), work)
