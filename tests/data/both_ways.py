"""A source read in both ways, opened where it lies and taken in, and held against each other."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Image

from tests.data.archive_corpus import leaf, pack_tar, pack_zip
from tests.data.imported import put
from tests.sentences import is_plain
from vit_demo.common.errors import UserError
from vit_demo.data.importing.imports import Imported, import_photos
from vit_demo.data.normalise import label_names, notes_of
from vit_demo.data.open.sources import open_dataset
from vit_demo.data.plan.corrections import Corrections, corrected, corrections_of

_names = (f"import-{number}" for number in itertools.count())


photo = functools.lru_cache(maxsize=None)(functools.partial(leaf, size=(16, 12)))


def photos(*places: str, count: int = 8, ending: str = ".jpg") -> dict[str, bytes]:
    """{place/number.jpg: a photo of its own}, so many in each place."""
    return {
        f"{place}/{number:02}{ending}": photo(1000 * position + number)
        for position, place in enumerate(places)
        for number in range(count)
    }


@dataclass
class Read:
    """names: of the classes in order. rows: {split: (class, digest of the file) in order}. unlabelled:
    digests. notes: what is said.
    """

    names: list[str]
    rows: dict[str, list[tuple[str, str]]]
    unlabelled: list[str]
    notes: str

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """{split: {class: photos}}"""
        return {split: dict(Counter(label for label, _ in rows)) for split, rows in self.rows.items()}

    @property
    def labels(self) -> dict[str, str]:
        """{digest of a photo: its class}"""
        return {digest: label for rows in self.rows.values() for label, digest in rows}


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def digests(data: Dataset | None) -> list[str]:
    """Of the files as they are stored, not of the pixels."""
    if data is None:
        return []
    stored = data.select_columns(["image"]).cast_column("image", Image(decode=False))["image"][:]
    return [digest(_content(photo)) for photo in stored]


def _content(stored: dict[str, Any]) -> bytes:
    return stored["bytes"] if stored["bytes"] is not None else Path(stored["path"]).read_bytes()


def read(data: DatasetDict) -> Read:
    names = label_names(data)
    rows = {
        split: [(names[label], photo) for label, photo in zip(part["labels"], digests(part))]
        for split, part in data.items()
    }
    return Read(names, rows, digests(data.unlabelled), "\n".join(map(str, notes_of(data))))


def opened(source: Path, told: str = "") -> Read:
    """Where it lies. told: what a person said, such as "class-level=2, split:extra=test"."""
    return read(open_dataset(corrected(str(source), _told(told))))


def taken_in(source: Path, told: str = "") -> tuple[Imported, Read]:
    """Brought in, then opened by its name."""
    done = import_photos(source, next(_names), corrections=_told(told))
    return done, read(open_dataset(done.spec))


def both(source: Path, told: str = "") -> tuple[Read, Imported]:
    """The source as it is read in both ways, which are the same in classes, labels, splits and order."""
    there, (done, here) = opened(source, told), taken_in(source, told)
    assert here.names == there.names
    assert here.rows == there.rows
    return there, done


def packed(folder: Path, members: dict[str, bytes]) -> list[Path]:
    """The same files as a folder, a zip and a tar."""
    zipped = pack_zip(folder.with_name(folder.name + ".zip"), members)
    return [put(folder, members), zipped, pack_tar(folder.with_name(folder.name + ".tar.gz"), members)]


def both_packed(folder: Path, members: dict[str, bytes], told: str = "") -> tuple[Read, Imported]:
    """The same as a folder, opened and brought in, and as a zip and a tar, brought in."""
    lying, *archives = packed(folder, members)
    there, done = both(lying, told)
    for archive in archives:
        _, here = taken_in(archive, told)
        assert (here.names, here.rows) == (there.names, there.rows), archive.name
    return there, done


def refused(source: Path, told: str = "") -> str:
    """What both ways say of a source that cannot be read, or of which something has to be said first."""
    said = []
    for way in (opened, taken_in):
        try:
            way(source, told)
        except UserError as error:
            said.append(str(error))
        else:
            raise AssertionError(f"{way.__name__} took it")
    for text in said:
        assert is_plain(text), text
    return "\n".join(said)


def _told(text: str) -> Corrections:
    return corrections_of(part.partition("=")[::2] for part in text.split(",") if part)
