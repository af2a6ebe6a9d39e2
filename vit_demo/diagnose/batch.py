"""Many photos: folders, zip files and single files, walked and diagnosed a batch at a time, so that their
number does not matter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.diagnose.archive import Archive, Member, is_archive, is_clutter
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal, diagnose_files
from vit_demo.diagnose.telling import told
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.runtimes import Engine

Answer = Diagnosis | Refusal
# Photo files to answers in their order, as diagnose_files of one classifier.
Ask = Callable[[Iterable[Path]], Iterator[Answer]]


@dataclass(frozen=True)
class Item:
    """One photo to be diagnosed. name: what it is called in the results, its path, and in an archive the one
    there after it.

    path: the file, or the archive that it is in. member: which of its files. error: why it cannot be looked
    at at all.
    """

    name: str
    path: Path
    archive: Archive | None = None
    member: Member | None = None
    error: UserError | None = None


def walk(sources: Iterable[str | Path], out: Path | None = None) -> Iterator[Item]:
    """All photos in files, folders (with those in them) and zip files, always in the same order; nothing
    hidden.

    At most the names of one folder are in memory. out: a results file that may lie in one of the folders and
    is no photo. Raises UserError for an archive that cannot be read as a whole.
    """
    for source in map(Path, sources):
        if source.is_dir():
            yield from _in_folder(source, out)
        elif is_archive(source):
            yield from _in_archive(source)
        else:
            yield Item(str(source), source)


def _in_folder(top: Path, out: Path | None) -> Iterator[Item]:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as found:
                # A link to a folder is not followed: it may lead in a circle.
                entries = sorted(
                    (entry.name, entry.is_dir(follow_symlinks=False))
                    for entry in found
                    if not is_clutter(entry.name)
                )
        except OSError as error:
            yield Item(
                str(folder),
                folder,
                error=UserError("error.diagnose.closed_folder", folder=str(folder), error=error.strerror),
            )
            continue
        waiting += [folder / name for name, is_folder in reversed(entries) if is_folder]
        ours = out.name if out and out.parent.resolve() == folder.resolve() else None
        for name, is_folder in entries:
            if not is_folder and not (ours and name.startswith(ours)):
                yield Item(str(folder / name), folder / name)
        if ours:
            waiting = [path for path in waiting if not (path.parent == folder and path.name.startswith(ours))]


def _in_archive(path: Path) -> Iterator[Item]:
    with Archive(path) as archive:
        for member in archive.members():
            yield Item(f"{path}/{member.name}", path, archive, member, member.error)


def diagnose_batches(
    ask: Ask, items: Iterable[Item], look: Callable[[Path], Any] | None = None
) -> Iterator[list[tuple[Answer, Any]]]:
    """(answer, what look says of the file, None for a refused one) of each item, in their order, about as
    many at a time as one batch has.

    look: may open the photo once more. One out of an archive is on disk from when ask wants it until it is
    answered.
    """
    size = settings.load().batch_size
    waiting: deque[tuple[str, Path | UserError]] = deque()
    with (
        tempfile.TemporaryDirectory(prefix="vit_demo-") as folder,
        contextlib.closing(cast("Generator[Answer]", ask(_files(items, Path(folder), waiting)))) as answers,
    ):
        batch: list[tuple[Answer, Any]] = []
        for answer in answers:
            batch += _refused(waiting)
            name, next_one = waiting.popleft()
            file = cast("Path", next_one)  # what was refused has been taken away
            batch.append(
                (replace(answer, photo=name), look(file) if look and isinstance(answer, Diagnosis) else None)
            )
            if file.is_relative_to(folder):
                shutil.rmtree(file.parent)
            if len(batch) >= size:
                yield batch
                batch = []
        batch += _refused(waiting)
        if batch:
            yield batch


def _files(
    items: Iterable[Item], folder: Path, waiting: deque[tuple[str, Path | UserError]]
) -> Iterator[Path]:
    """The photo files, those in archives unpacked as they come, since each archive is open only so long.
    waiting: gets what each item is.
    """
    for number, item in enumerate(items):
        try:
            file = _file(item, folder / str(number))
        except UserError as error:
            waiting.append((item.name, error))
            continue
        waiting.append((item.name, file))
        yield file


def _refused(waiting: deque[tuple[str, Path | UserError]]) -> Iterator[tuple[Answer, None]]:
    """Take away what stands before the next photo and is none."""
    while waiting and isinstance(error := waiting[0][1], UserError):
        name, _ = waiting.popleft()
        yield Refusal.of(name, error), None


def _file(item: Item, folder: Path) -> Path:
    """Where the photo lies on disk, unpacked into the folder if it has to be; UserError where it cannot be
    looked at.
    """
    if item.error:
        raise item.error
    if item.archive is None or item.member is None:
        return item.path
    folder.mkdir()
    return item.archive.unpack(item.member, folder)


def diagnose_many(
    classifier: LeafClassifier, sources: Iterable[str | Path], engine: Engine | None = None
) -> Iterator[Answer]:
    """The answer for each photo in files, folders and zip files, in their order; a bad one gives a Refusal
    and does not stop the rest.
    """
    for batch in diagnose_batches(lambda paths: diagnose_files(classifier, paths, engine), walk(sources)):
        yield from (answer for answer, _ in batch)


def as_dict(classifier: LeafClassifier, answer: Answer, language: str) -> dict[str, Any]:
    """An answer for programs: all of it with a sentence in the language, or of a refused file "photo",
    "error" (English) and "language".
    """
    return (
        told(classifier, answer, language)
        if isinstance(answer, Diagnosis)
        else {**answer.to_dict(), "language": language}
    )
