"""The same photo in two classes: one of them must be wrong, and a person has to say which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vit_demo.data.copies.fingerprints import prints_of

if TYPE_CHECKING:
    from datasets import DatasetDict

# A photo as people find it: its path and its class.
Place = tuple[str, str]


def in_two_classes(data: DatasetDict) -> list[tuple[Place, Place]] | None:
    """Of each picture that is in two classes, in one split or in two, the first places with different
    classes; None where there are too many photos to look at them all.

    The same picture means the same pixels: a copy that was saved anew may differ for a reason.
    """
    prints = prints_of(*data.values())
    if prints is None:
        return None
    names = data["train"].features["labels"].names
    places = [
        (path, names[label])
        for part in data.values()
        for path, label in zip(part["image_file_path"], part["labels"])
    ]
    found: dict[str, dict[str, Place]] = {}
    for (digest, _), place in zip(prints, places, strict=True):
        if digest:
            found.setdefault(digest, {}).setdefault(place[1], place)
    pairs = [list(by_class.values()) for by_class in found.values() if len(by_class) > 1]
    return [(one, other) for one, other, *_ in pairs]
