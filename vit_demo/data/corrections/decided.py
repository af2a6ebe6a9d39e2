"""A data set with the decisions of its journal applied, and the fingerprint that tells one such set from
another.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.data.corrections.journal import Decision, Journal

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

FINGERPRINT_LENGTH = 16
KEEP = 4
# Its split and its path in the source.
_Photo = tuple[str, str]
# By what they were made from; the source's own data set is kept along, so that its id cannot be used again.
_mended: OrderedDict[tuple[object, ...], tuple[DatasetDict, DatasetDict]] = OrderedDict()


def with_decisions(data: DatasetDict, journal: Journal) -> DatasetDict:
    """A data set with the decisions of its journal applied; the same object while neither changes."""
    key = (id(data), str(journal.file), journal.state())
    if key not in _mended:
        _mended[key] = data, mend(data, journal.decisions())
        while len(_mended) > KEEP:
            _mended.popitem(last=False)
    return _mended[key][1]


def mend(data: DatasetDict, decisions: Iterable[Decision]) -> DatasetDict:
    """Leave out, relabel and move photos; the source's own rows and order otherwise,
    and what was said when it was read.

    The last decision of each kind about a photo counts; one about a photo that is not there any more, or to a
    class or split that is not there, does nothing. Raises UserError where a split would be left without
    photos.
    """
    from datasets import DatasetDict, concatenate_datasets

    from vit_demo.data.normalise import noted

    names = data["train"].features["labels"].names
    excluded, labels, splits = _last_words(decisions)
    taken: dict[str, list[Dataset]] = {split: [] for split in data}
    for split, part in data.items():
        photos = [(split, path) for path in part["image_file_path"]]
        wanted = np.array(
            [splits.get(photo, split) if splits.get(photo, split) in data else split for photo in photos],
            dtype=object,
        )
        wanted[[photo in excluded for photo in photos]] = None
        part = _relabel(
            part, [names.index(labels[photo]) if labels.get(photo) in names else -1 for photo in photos]
        )
        for target in data:
            rows = np.flatnonzero(wanted == target)
            if len(rows):
                taken[target].append(part if len(rows) == len(photos) else part.select(rows))
    for split, parts in taken.items():
        if not parts:
            raise UserError("error.data.split_empty", split=split)
    made = {
        split: parts[0] if len(parts) == 1 else concatenate_datasets(parts) for split, parts in taken.items()
    }
    return noted(DatasetDict(made), data)


def _last_words(decisions: Iterable[Decision]) -> tuple[set[_Photo], dict[_Photo, str], dict[_Photo, str]]:
    """(photos left out, new label by photo, new split by photo)."""
    excluded: set[_Photo] = set()
    labels: dict[_Photo, str] = {}
    splits: dict[_Photo, str] = {}
    for decision in decisions:
        if decision.action == "exclude":
            excluded.add(decision.photo)
        elif decision.action == "keep":
            excluded.discard(decision.photo)
        else:
            (labels if decision.action == "relabel" else splits)[decision.photo] = decision.to
    return excluded, labels, splits


def _relabel(part: Dataset, new: list[int]) -> Dataset:
    """new: the class id of each photo, -1 to leave it."""
    if max(new, default=-1) < 0:
        return part
    old, feature = part["labels"], part.features["labels"]
    order = list(part.features)
    changed = part.remove_columns("labels").add_column(
        "labels", [before if after < 0 else after for before, after in zip(old, new)]
    )
    return changed.select_columns(order).cast_column("labels", feature)


def fingerprint(data: DatasetDict) -> str:
    """16 hexadecimal digits of all that a model learns from: class names, and of each split each photo's
    path, label and bytes, in order.
    """
    from datasets import Image

    digest = hashlib.sha256(repr(data["train"].features["labels"].names).encode())
    for split, part in data.items():
        digest.update(f"\n{split}\n".encode())
        stored = part.cast_column("image", Image(decode=False))
        for row in stored:
            digest.update(f"{row['image_file_path']}\0{row['labels']}\0".encode())
            digest.update(_bytes(row["image"]))
    return digest.hexdigest()[:FINGERPRINT_LENGTH]


def _bytes(stored: dict[str, Any]) -> bytes:
    """A digest of a photo file as it is stored, wherever that is; of one that is gone, nothing."""
    if stored["bytes"] is not None:
        return hashlib.sha256(stored["bytes"]).digest()
    try:
        with open(stored["path"], "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""
