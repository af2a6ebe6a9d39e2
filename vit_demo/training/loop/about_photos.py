"""What a person should know of the photos before a model learns from them, one sentence each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vit_demo.common.words import Sentence
from vit_demo.data.copies.conflicts import Place, in_two_classes
from vit_demo.data.copies.fingerprints import MOST_BYTES, MOST_PHOTOS
from vit_demo.data.copies.same_files import same_files
from vit_demo.data.normalise import label_names, notes_of

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

# A class with fewer train photos than the largest one divided by this is called rare.
UNEVEN = 3
# With 7 validation photos of a class all right, the 95 % Wilson interval still begins at 65 %.
FEW_VALIDATION = 8
# So many classes are named in one sentence.
MOST_NAMED = 6
CONFLICT, LEAK = "data.plan.in_two_classes", "data.plan.in_two_splits"
WHERE = {"tab": Sentence("page.tab.data"), "view": Sentence("data.check")}


def about_photos(data: DatasetDict) -> list[Sentence]:
    """What was guessed or left out when they were read, photos in two classes, and classes with few photos.

    Photos are read for it where they were not before.
    """
    # Those that were found when they were opened are looked for again: decisions may have mended them.
    notes = [note for note in notes_of(data) if not _is_conflict(note)]
    leaks = [note for note in same_files(data) if note.key == LEAK]
    return [*notes, *_conflicts(data), *leaks, *_rare_in_train(data), *_few_in_validation(data)]


def _is_conflict(note: Sentence) -> bool:
    """Also one that is told of the extra train photos."""
    inner = note.values.get("note")
    return bool({CONFLICT, LEAK} & {note.key, inner.key if isinstance(inner, Sentence) else ""})


def _conflicts(data: DatasetDict) -> list[Sentence]:
    """Pictures in two classes, in whatever files; of too many photos only files that are the same."""
    found, limits = in_two_classes(data), {"most": MOST_PHOTOS, "megabytes": MOST_BYTES // 2**20}
    if found is None:
        said = [note for note in same_files(data) if note.key == CONFLICT]
        left = [Sentence("train.photos.not_looked", {**limits, **WHERE})]
    else:
        said, left = _pictures(found), []
    where = [Sentence("train.photos.decide_where", WHERE)] if said else []
    return [*said, *where, *left]


def _pictures(found: Sequence[tuple[Place, Place]]) -> list[Sentence]:
    if not found:
        return []
    one, other = (f"{path} ({label})" for path, label in found[0])
    return [Sentence(CONFLICT, {"count": len(found), "one": one, "other": other})]


def _rare_in_train(data: DatasetDict) -> list[Sentence]:
    counts = _counts(data["train"], label_names(data))
    label, most = max(counts.items(), key=lambda entry: entry[1])
    rare = {name: count for name, count in counts.items() if UNEVEN * count < most}
    if not rare:
        return []
    return [Sentence("train.photos.uneven", {"label": label, "most": most, "rare": _named(rare)})]


def _few_in_validation(data: DatasetDict) -> list[Sentence]:
    counts = _counts(data["validation"], label_names(data))
    few = {name: count for name, count in counts.items() if count < FEW_VALIDATION}
    if not few:
        return []
    return [Sentence("train.photos.few_validation", {"needed": FEW_VALIDATION, "classes": _named(few)})]


def _counts(part: Dataset, names: Sequence[str]) -> dict[str, int]:
    """Photos of each class that has any; of one that has none the notes of the data set tell."""
    counts = Counter(part["labels"])
    return {name: counts[number] for number, name in enumerate(names) if counts[number]}


def _named(counts: dict[str, int]) -> str | Sentence:
    """Classes with their number of photos, those with the fewest first."""
    ordered = sorted(counts.items(), key=lambda entry: entry[1])
    named = ", ".join(f"{name} ({count})" for name, count in ordered[:MOST_NAMED])
    left = len(ordered) - MOST_NAMED
    return Sentence("train.photos.and_more", {"classes": named, "more": left}) if left > 0 else named
