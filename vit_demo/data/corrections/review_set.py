"""The review set: photos that the model got wrong, with what people say they are, kept to teach it.

review/review.jsonl    what was said of which photo, one JSON object a line, only ever appended; the last word
on a photo counts
       photos/<id>.jpg the photo, named by its pixels: upright, RGB, without place, time or camera
       lock            held while either is changed

A word of a person is kept as text in the journal and never becomes part of a path. This module is light: it
knows no model.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock
from PIL import Image

from vit_demo.common import line_log, settings
from vit_demo.common.atomic import write_atomically
from vit_demo.common.errors import UserError

# What the set is called where a data set is asked for.
JPEG_QUALITY = 95
LABEL_LENGTH, NOTE_LENGTH = 100, 300
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Said:
    """What the model said of a photo: the class, its probability (0 to 1), the verdict where it has one, and
    which model: its name, and its revision where it is from the Hub."""

    label: str
    probability: float
    verdict: str | None
    model: str
    revision: str | None = None


@dataclass(frozen=True)
class Correction:
    """A photo of the set. id: names its file. label: what it is, as a person says. time: seconds since
    1970.
    """

    id: str
    label: str
    said: Said
    time: float
    note: str = ""

    @property
    def file(self) -> Path:
        return _photos() / f"{self.id}.jpg"


def folder() -> Path:
    """Where the set is kept; it need not be there yet."""
    return settings.load().home / "review"


def store(photo: Image.Image, label: str, said: Said, note: str = "") -> Correction:
    """Keep an opened photo (upright RGB) with its label; the same photo again gets the new label.

    Raises UserError for a label that is none, and where the disk takes it no more: then all is as it was.
    """
    label, note = clean_label(label), " ".join(note.split())[:NOTE_LENGTH]
    correction = Correction(_name(photo), label, said, round(time.time(), 3), note)
    with _changing(), _no_room():
        kept = _ids()
        _sweep(kept)
        write_atomically(correction.file, _jpeg(photo), durable=True)
        try:
            line_log.append(_journal(), asdict(correction))
        except OSError:
            if correction.id not in kept:
                correction.file.unlink(missing_ok=True)
            raise
    return correction


def remove(correction_id: str) -> None:
    """Take a photo out and delete its file. UserError where it is not in the set."""
    if correction_id not in _ids():
        raise UserError("error.data.no_review_photo", id=correction_id[:40])
    with _changing(), _no_room():
        # First the word, then the file: what is killed between leaves a file that the next change sweeps
        # away.
        line_log.append(_journal(), {"id": correction_id, "removed": True, "time": round(time.time(), 3)})
        _sweep(_ids())


def clear() -> int:
    """Delete all photos and all that was said of them; returns how many photos there were."""
    count = len(corrections())
    if folder().is_dir():
        with _changing(), _no_room():
            shutil.rmtree(_photos(), ignore_errors=True)
            _journal().unlink(missing_ok=True)
    return count


def corrections() -> list[Correction]:
    """All photos of the set, the newest first; without those whose file somebody took away."""
    return [correction for correction in reversed(_read().values()) if correction.file.is_file()]


def state() -> tuple[str, int, int]:
    """What changes when the set does."""
    journal = _journal()
    try:
        found = journal.stat()
    except OSError:
        return str(journal), 0, 0
    return str(journal), found.st_mtime_ns, found.st_size


def clean_label(text: str) -> str:
    """A label as it is kept: one line, without spaces at its ends. UserError for what is no name of a
    class.
    """
    label = " ".join(str(text or "").split())
    if not label:
        raise UserError("error.data.no_label_said")
    if len(label) > LABEL_LENGTH:
        raise UserError("error.data.label_long", most=LABEL_LENGTH)
    # Not printable: control characters, and those that turn the direction of what follows.
    if not label.isprintable() or not any(character.isalnum() for character in label):
        raise UserError("error.data.label_signs")
    return label


def same_class(label: str) -> str:
    """What two spellings of a class share: "Bean rust" and "bean_rust" are one."""
    return "_".join(label.replace("_", " ").casefold().split())


def _journal() -> Path:
    return folder() / "review.jsonl"


def _photos() -> Path:
    return folder() / "photos"


@contextlib.contextmanager
def _changing() -> Iterator[None]:
    """Alone, over all threads and servers."""
    try:
        _photos().mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder() / "lock")
        lock.acquire()
    except OSError as error:
        raise UserError("error.data.review_permissions", error=error.strerror, folder=str(folder())) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _no_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError("error.data.review_no_room", error=error.strerror) from None


def _name(photo: Image.Image) -> str:
    """32 hexadecimal digits of its size and pixels: the same photo sent again, or as another file, has the
    same.
    """
    digest = hashlib.sha256(repr(photo.size).encode())
    digest.update(photo.tobytes())
    return digest.hexdigest()[:32]


def _jpeg(photo: Image.Image) -> bytes:
    """The pixels and nothing else: Pillow writes what an opened photo carries along only where it is told
    to.
    """
    file = io.BytesIO()
    Image.frombytes("RGB", photo.size, photo.tobytes()).save(
        file, "JPEG", quality=JPEG_QUALITY, subsampling=0
    )
    return file.getvalue()


def _read() -> dict[str, Correction]:
    """The last word on each photo that is not removed, by id, in the order of these words. Lines that are
    torn or no such word are left out.
    """
    found: dict[str, Correction] = {}
    for values in line_log.read(_journal()):
        with contextlib.suppress(ValueError, TypeError, KeyError, UserError):
            if not _ID.fullmatch(values["id"]):
                continue
            found.pop(values["id"], None)
            if not values.get("removed"):
                found[values["id"]] = Correction(
                    **{**values, "label": clean_label(values["label"]), "said": Said(**values["said"])}
                )
    return found


def _ids() -> set[str]:
    return set(_read())


def _sweep(kept: set[str]) -> None:
    """Delete what lies among the photos and is none of the set: those removed, and what a crash left."""
    for file in _photos().iterdir():
        if file.suffix != ".jpg" or file.stem not in kept:
            file.unlink(missing_ok=True)
