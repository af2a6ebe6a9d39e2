"""What is wrong with a data set: found from one pass over its photos, one finding a photo or pair.

:func:`vit_demo.data.checks.reading.read_photos` is the slow part. :func:`find` is quick and looks at the
labels and splits as they are now, so that it can be asked again after each decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from vit_demo.data.checks.checks import CHECKS
from vit_demo.data.checks.finding import Finding, FindingKind, Photos
from vit_demo.data.corrections.journal import Decision
from vit_demo.data.normalise import label_names

if TYPE_CHECKING:
    from datasets import DatasetDict

    from vit_demo.data.checks.reading import Reading

    # (kind, photo, the other one of a pair or "") that a person found right.
    Kept = set[tuple[str, tuple[str, str], str]]

# A class with less than this share of the largest one's photos is named.
RARE = 1 / 3


def find(reading: Reading, data: DatasetDict, decisions: Iterable[Decision] = ()) -> list[Finding]:
    """All findings, in the order of CHECKS, the surest of a kind first.

    data: as it was read; the labels and splits that ``decisions`` give are put over it, and what was kept or
    left out by them is not found again.
    """
    photos, kept = _as_decided(reading, data, decisions)
    return [
        finding
        for check in CHECKS.values()
        for finding in sorted(check.find(photos), key=lambda finding: -finding.score)
        if not _was_kept(finding, kept)
    ]


def _was_kept(finding: Finding, kept: Kept) -> bool:
    """By itself; or as one of two photos, so that a third one like them is found all the same."""
    pair = finding.kind, finding.photos[0], "/".join(finding.photos[-1])
    return pair in kept or any((finding.kind, photo, "") in kept for photo in finding.photos)


def _as_decided(reading: Reading, data: DatasetDict, decisions: Iterable[Decision]) -> tuple[Photos, Kept]:
    names = label_names(data)
    own = {
        (split, path): label
        for split, part in data.items()
        for path, label in zip(part["image_file_path"], part["labels"])
    }
    moved, gone, kept = {}, set(), set()
    for decision in decisions:
        if decision.action == "exclude":
            gone.add(decision.photo)
        elif decision.action == "keep":
            gone.discard(decision.photo)
            kept.add((decision.why, decision.photo, decision.to))
        elif decision.action == "move" and decision.to in data:
            moved[decision.photo] = decision.to
        elif decision.action == "relabel" and decision.to in names:
            own[decision.photo] = names.index(decision.to)
            # A person has looked: the label that they gave is not called in question again.
            kept.add((FindingKind.LABEL, decision.photo, ""))
    labels = np.array([own.get(photo, -1) for photo in reading.photos])
    splits = np.array([moved.get(photo, photo[0]) for photo in reading.photos])
    present = np.array([photo not in gone for photo in reading.photos], dtype=bool)
    return Photos(reading, data, labels, splits, present), kept


def rare_classes(data: DatasetDict) -> dict[str, int]:
    """Classes with so few train photos that the model will seldom say them: less than a third of those of the
    largest class.
    """
    names = label_names(data)
    counts = np.bincount(np.asarray(data["train"]["labels"]), minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts) if count < RARE * counts.max()}
