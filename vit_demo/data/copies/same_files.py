"""Photos that are there twice, in two classes, where one of the labels must be wrong, or in two splits, where
a model is scored on what it learned from.

Only files that are the same byte for byte are looked for, which takes seconds even of many photos: one is
read only where another one in another class is as long as it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_demo.common.words import Sentence

if TYPE_CHECKING:
    from datasets import Dataset

# The ends of files are compared first: what comes before the picture is the same in many.
END = 4096
Place = tuple[str, int]


def same_files(parts: Mapping[str, Dataset]) -> list[Sentence]:
    """What is to be said of photos in two classes and in two splits, [] where there are none. parts: splits
    with the columns image and labels, which all have the same classes.
    """
    stored = {split: _stored(data) for split, data in parts.items()}
    places = {
        (split, row): (split, label)
        for split, data in parts.items()
        for row, label in enumerate(data["labels"][:])
    }
    sizes = {(split, row): size for split, data in stored.items() for row, size in enumerate(_sizes(data))}
    same = _conflicts(sizes, places)
    for start in (-END, 0):
        digests = {
            (split, row): _digest(stored[split][row]["image"], start)
            for group in same
            for split, row in group
        }
        same = _conflicts(digests, places)
    return [*_two_classes(same, parts, places), *_two_splits(same)]


def _conflicts(keys: Mapping[Place, object], places: Mapping[Place, tuple[str, int]]) -> list[list[Place]]:
    """Places that share a key, in more than one class or split."""
    found = defaultdict(list)
    for place, key in keys.items():
        found[key].append(place)
    return [group for group in found.values() if len({places[place] for place in group}) > 1]


def _two_classes(
    same: list[list[Place]], parts: Mapping[str, Dataset], places: Mapping[Place, tuple[str, int]]
) -> Iterator[Sentence]:
    groups = [group for group in same if len({places[place][1] for place in group}) > 1]
    if groups:
        first = groups[0]
        other = next(place for place in first if places[place][1] != places[first[0]][1])
        one, two = (_named(parts[split], row) for split, row in (first[0], other))
        yield Sentence("data.plan.in_two_classes", {"count": len(groups), "one": one, "other": two})


def _two_splits(same: list[list[Place]]) -> Iterator[Sentence]:
    """How many photos that a model is scored on are also learned from."""
    for split in ("test", "validation"):
        count = sum(
            sum(place[0] == split for place in group)
            for group in same
            if any(place[0] == "train" for place in group)
        )
        if count:
            yield Sentence("data.plan.in_two_splits", {"count": count, "split": split})


def _named(data: Dataset, row: int) -> str:
    found = data.select_columns(["image_file_path", "labels"])[row]
    return f"{data.features['labels'].names[found['labels']]}/{Path(found['image_file_path']).name}"


def _stored(data: Dataset) -> Dataset:
    from datasets import Image

    return data.select_columns(["image"]).cast_column("image", Image(decode=False))


def _sizes(stored: Dataset) -> Iterator[int]:
    """Bytes of each photo, which are not read for it; -1 where it is not there."""
    import pyarrow.compute as arrow

    for table in stored.with_format("arrow").iter(1000):
        for chunk in table["image"].chunks:
            lengths = arrow.binary_length(chunk.field("bytes")).to_pylist()
            for length, path in zip(lengths, chunk.field("path").to_pylist()):
                yield _size(path) if length is None else length


def _size(path: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        return os.stat(path).st_size
    return -1


def _digest(photo: dict[str, Any], start: int) -> object:
    """Of the bytes from a place on, below 0 from the end; an object of its own where it cannot be read."""
    content = photo["bytes"]
    if content is None:
        try:
            with open(photo["path"], "rb") as file:
                file.seek(max(start, -os.stat(photo["path"]).st_size), os.SEEK_END if start < 0 else 0)
                content = file.read()
        except OSError:
            return object()
    return hashlib.blake2b(content[start:] if photo["bytes"] else content, digest_size=16).digest()
