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
import csv
import errno
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from filelock import FileLock, Timeout

from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, Jobs
from vit_demo.common.words import DEFAULT_LANGUAGE, Sentence, speaking
from vit_demo.data.copies.duplicates import NEAR_BITS
from vit_demo.data.copies.split import cut, group_photos
from vit_demo.data.corrections.journal import Journal
from vit_demo.data.importing.gather import Files, Progress, Stage, Table, Taken, gather, left_out
from vit_demo.data.importing.incoming import final_name, look_at
from vit_demo.data.names import HELD_OUT_SHARE, IMPORT, SPLIT_SEED, SPLITS, imports_folder
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.file_names import RESERVED, free_name, readable, safe_name
from vit_demo.data.plan.labels import class_order, in_order
from vit_demo.data.plan.make import CLASSES_FILE
from vit_demo.data.plan.tables import read_rows
from vit_demo.photos.safe_open import Unfit

RECORD = "import.json"
# Each photo with its class and split, in order; without it (earlier versions) the folders say it.
TABLE = "photos.csv"
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
        _set_apart(photos)
        order = _class_order(photos, stage, corrections or Corrections())
        made = _split(photos, order, name, isinstance(source, Files))
        if set(photo.split for photo in photos) == {"test"} and not made[0]:
            stage.notes.append(Sentence("data.plan.to_try", {"count": len(photos)}))
        counts = _move(photos, folder / "data", stage)
        _write_table(photos, order, folder / "data")
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
            notes=[note.as_json() for note in (*stage.notes, *in_two_classes(photos))],
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
    labels = {row.path: row.label for row in read_rows(folder / TABLE)} if (folder / TABLE).is_file() else {}
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


def _set_apart(photos: list[Taken]) -> None:
    """Give the photos of which no split is given to train; all of them, where they are all of validation.
    Those that are all of test stay that, to try a model on.
    """
    given = {photo.split for photo in photos}
    for photo in photos:
        if not photo.split or given == {"validation"}:
            photo.split = "train"


def _class_order(photos: list[Taken], stage: Stage, corrections: Corrections) -> list[str]:
    """The classes as the source orders them, then those that it does not list."""
    there = {photo.label for photo in photos}
    order = stage.order or class_order(stage.lists, corrections)
    return [*order, *in_order(there - set(order))]


def _split(photos: list[Taken], order: list[str], name: str, added: bool) -> tuple[list[str], int]:
    """Cut the splits that are missing from train; returns those, and how many photos look like another one.

    order: of the classes, some of which may have no photo. added: photos with a label typed in come bit by
    bit: as long as there are too few, all are for training. Of others that are too few to learn from, all are
    for test.
    """
    copies = len(photos) - len(np.unique(_groups(photos)))
    given = {photo.split for photo in photos}
    if given == {"test"}:
        return [], copies
    if "train" not in given:
        raise UserError("error.data.import_no_train", name=name)
    there = {photo.label for photo in photos}
    classes = [label for label in order if label in there]
    missing = [split for split in SPLITS[1:] if split not in given]
    if len(classes) < 2:
        return (missing if added else _all_to_test(photos)), copies
    train = [photo for photo in photos if photo.split == "train"]
    labels = np.array([classes.index(photo.label) for photo in train])
    try:
        parts = cut(labels, _groups(train), classes, len(missing), HELD_OUT_SHARE, SPLIT_SEED, name)
    except UserError as error:
        if added:
            return missing, copies
        if given == {"train"} and error.sentence.key == "error.data.too_few":
            return _all_to_test(photos), copies
        raise
    for photo, part in zip(train, parts):
        photo.split = ("train", *missing)[part]
    return missing, copies


def _all_to_test(photos: list[Taken]) -> list[str]:
    """Photos that nothing can be learned from are there to try a model on; no split is cut."""
    for photo in photos:
        photo.split = "test"
    return []


def _groups(photos: list[Taken]) -> np.ndarray:
    """The group of each photo, as :func:`vit_demo.data.copies.split.group_photos` makes them."""
    digests = np.array([photo.looked.digest for photo in photos])
    return group_photos(digests, np.array([photo.looked.hash for photo in photos]), NEAR_BITS)


def in_two_classes(photos: list[Taken]) -> list[Sentence]:
    """Photos that are there twice, in two classes: one of them must be wrong."""
    found: dict[str, dict[str, Taken]] = {}
    for photo in photos:
        found.setdefault(photo.looked.digest, {})[photo.label] = photo
    twice = [list(same.values()) for same in found.values() if len(same) > 1]
    if not twice:
        return []
    one, other = (f"{photo.label}/{photo.parts[-1]}" for photo in twice[0][:2])
    return [Sentence("data.plan.in_two_classes", {"count": len(twice), "one": one, "other": other})]


def _write_table(photos: list[Taken], order: list[str], target: Path) -> None:
    """What the folders cannot say: the order of the photos and of the classes, and classes as they are
    called.
    """
    (target / CLASSES_FILE).write_text("".join(f"{name}\n" for name in order), encoding="utf-8")
    with (target / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for photo in photos:
            writer.writerow((photo.file.relative_to(target).as_posix(), photo.label, photo.split))


def _move(photos: list[Taken], target: Path, stage: Stage) -> dict[str, dict[str, int]]:
    """Put the photos into their folders; returns {split: {class: photos}}."""
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    taken: dict[Path, set[str]] = {}
    used: set[str] = set()
    folders = {
        label: free_name(safe_name(label), used) for label in in_order({photo.label for photo in photos})
    }
    for photo in photos:
        folder = target / photo.split / folders[photo.label]
        if folder not in taken:
            folder.mkdir(parents=True)
            taken[folder] = set()
        stage.check()
        photo.file = photo.file.rename(
            folder / free_name(final_name(photo.parts[-1], photo.looked), taken[folder])
        )
        counts[photo.split][photo.label] += 1
    return {split: dict(sorted(classes.items())) for split, classes in counts.items() if classes}


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
