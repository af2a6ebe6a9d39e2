"""One shape for every data set: the columns image, labels and image_file_path, the splits train, validation
and test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from datasets import ClassLabel, DatasetDict, concatenate_datasets

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.copies.fingerprints import MOST_PHOTOS, groups_of
from vit_demo.data.copies.same_files import same_files
from vit_demo.data.copies.split import cut
from vit_demo.data.names import HELD_OUT_SHARE, SPLIT_SEED, SPLITS
from vit_demo.data.plan.corrections import LEFT_OUT, UNLABELLED, Corrections
from vit_demo.data.plan.labels import called, class_order
from vit_demo.data.uniform import rows_of

if TYPE_CHECKING:
    from datasets import Dataset

# Of what is said about single classes, so many sentences.
MOST_SAID = 6


class Noted(DatasetDict):  # type: ignore[misc]  # the datasets library has no types
    """A data set with what was understood, guessed or left out when it was read. notes: one sentence each.
    unlabelled: photos without a class (columns image, image_file_path); None where there are none.
    """

    notes: tuple[Sentence, ...] = ()
    unlabelled: Dataset | None = None


def noted(data: DatasetDict, other: object, *notes: Sentence) -> Noted:
    """A data set with what is said of another one that it was made from, and more."""
    made = Noted(data)
    made.notes = (*getattr(other, "notes", ()), *notes)
    made.unlabelled = getattr(other, "unlabelled", None)
    return made


def notes_of(data: DatasetDict) -> list[Sentence]:
    """What a person should know before a model learns from it, also which classes lack photos."""
    return [*getattr(data, "notes", ()), *_about_classes(data)]


def normalise(
    found: Mapping[str, Dataset], name: str | Sentence, corrections: Corrections | None = None
) -> Noted:
    """The same columns and splits for every source; what is missing is cut from train. name: what the set is
    called. Raises UserError with what to do.
    """
    return complete(shaped(found, name, corrections or Corrections()), name)


def shaped(found: Mapping[str, Dataset], name: str | Sentence, corrections: Corrections) -> Noted:
    """The same columns for every source, in the splits that it has itself; "" for photos of which none is
    given.

    Classes are matched by name. Rows without a photo or without a label are counted and left out.
    """
    parts: dict[str, list[Dataset]] = {}
    silent: list[Dataset] = []
    notes: list[Sentence] = []
    for given, data in found.items():
        split = _split(given, found, name, corrections)
        if split == LEFT_OUT or not len(data):
            continue
        rows = rows_of(data, str(name), corrections)
        notes += rows.notes
        if rows.broken:
            notes.append(Sentence("data.plan.rows_broken", {"count": rows.broken, "split": given or split}))
        if rows.labelled is not None and split != UNLABELLED:
            parts.setdefault(split, []).append(rows.labelled)
        if rows.unlabelled is not None:
            count = len(rows.unlabelled)
            notes.append(Sentence("data.plan.rows_unlabelled", {"count": count, "split": given or split}))
            silent.append(rows.unlabelled)
    ordered = _one_order(parts, corrections, notes)
    made = noted(DatasetDict(ordered), None, *_once(notes), *same_files(ordered))
    made.unlabelled = concatenate_datasets(silent) if silent else None
    return made


def _once(notes: Sequence[Sentence]) -> list[Sentence]:
    return [note for number, note in enumerate(notes) if note not in notes[:number]]


def complete(shaped: Noted, name: str | Sentence) -> Noted:
    """With the three splits, the missing ones cut from train. Raises UserError where nothing can be
    learned.
    """
    splits, notes = {split: shaped[split] for split in ("", *SPLITS) if split in shaped}, []
    if not splits:
        raise UserError("error.data.plan.only_unlabelled", source=name)
    if "train" not in splits and len(splits) == 1:
        split, lone = next(iter(splits.items()))
        splits = {"train": lone}
        if split:
            notes.append(Sentence("data.plan.lone_split", {"split": split}))
    elif "" in splits:
        splits["train"] = _joined([splits[split] for split in ("train", "") if split in splits])
    if "train" not in splits:
        raise UserError("error.data.no_train", name=name)
    names = splits["train"].features["labels"].names
    seen = [names[label] for label in splits["train"].unique("labels")]
    if len(seen) < 2:
        raise UserError("error.data.one_class", name=name, label=seen[0])
    missing = [split for split in SPLITS[1:] if split not in splits]
    if missing:
        notes += _cut_notes(missing, len(splits["train"]))
        splits |= _cut(splits["train"], missing, name)
    return noted(DatasetDict({split: splits[split] for split in SPLITS}), shaped, *notes)


def without_labels(data: Dataset) -> Dataset:
    """Photos that have no class, in the shape of those that have one: each label is -1."""
    labelled = data.add_column("labels", np.full(len(data), -1))
    return labelled.cast_column("labels", ClassLabel(names=[]))


def _split(given: str, found: Mapping[str, Dataset], name: str | Sentence, corrections: Corrections) -> str:
    """Which of the three splits; "" where there is but one, of a name that says nothing."""
    split = corrections.split_for(given) if given not in ("", UNLABELLED) else given
    if split is not None:
        return split
    if len(found) == 1:
        return ""
    raise UserError("error.data.plan.split_name", source=name, split=given)


def _one_order(
    parts: Mapping[str, Sequence[Dataset]], corrections: Corrections, notes: list[Sentence]
) -> dict[str, Dataset]:
    """All splits with the same classes in the same order: that of train where it has all, else by name."""
    lists = {split: [list(data.features["labels"].names) for data in same] for split, same in parts.items()}
    if len({tuple(names) for same in lists.values() for names in same}) > 1:
        notes.append(Sentence("data.plan.class_order", {}))
    order = class_order(lists, corrections)
    return {
        split: _joined([_with_classes(data, order, corrections) for data in same])
        for split, same in parts.items()
    }


def _with_classes(data: Dataset, order: list[str], corrections: Corrections) -> Dataset:
    """Labels as numbers of these classes."""
    names = data.features["labels"].names
    if names == order:
        return data
    places = np.array([order.index(called(name, corrections)) for name in names])
    labels = places[np.asarray(data["labels"])]
    columns = data.column_names
    return (
        data.remove_columns("labels")
        .add_column("labels", labels)
        .cast_column("labels", ClassLabel(names=order))
        .select_columns(columns)
    )


def _joined(parts: Sequence[Dataset]) -> Dataset:
    return parts[0] if len(parts) == 1 else concatenate_datasets(list(parts))


def _cut(train: Dataset, missing: list[str], name: str | Sentence) -> dict[str, Dataset]:
    """{split: photos} of train and the missing splits, whose photos come from train."""
    names, labels = train.features["labels"].names, np.asarray(train["labels"])
    # Its few photos are counted before all are looked at.
    cut(labels, np.arange(len(labels)), names, len(missing), HELD_OUT_SHARE, SPLIT_SEED, name)
    parts = cut(labels, groups_of(train), names, len(missing), HELD_OUT_SHARE, SPLIT_SEED, name)
    return {
        split: train.select(np.flatnonzero(parts == part)) for part, split in enumerate(("train", *missing))
    }


def _cut_notes(missing: Sequence[str], photos: int) -> Iterator[Sentence]:
    splits = ", ".join(missing)
    yield Sentence("data.plan.cut", {"splits": splits})
    if photos > MOST_PHOTOS:
        yield Sentence("data.plan.cut_no_copies", {"splits": splits, "most": MOST_PHOTOS})


def _about_classes(data: DatasetDict) -> list[Sentence]:
    """Classes that a split lacks, and those with a single photo to learn from."""
    names = data["train"].features["labels"].names
    counts = {split: Counter(part["labels"]) for split, part in data.items()}
    found = []
    for number, label in enumerate(names):
        if counts["train"][number] < 2:
            key = "data.plan.one_photo" if counts["train"][number] else "data.plan.only_in"
            found.append(Sentence(key, {"label": label}))
        lacking = [split for split in data if split != "train" and not counts[split][number]]
        found += [Sentence("data.plan.missing_class", {"label": label, "split": split}) for split in lacking]
    return found[:MOST_SAID]


def label_names(data: DatasetDict) -> list[str]:
    """Class names in the order of their integer ids."""
    return list(data["train"].features["labels"].names)


def merge_train(data: DatasetDict, extra: DatasetDict) -> DatasetDict:
    """``data`` with the train photos of ``extra`` added to its own, and what is said of these; validation and
    test stay untouched.

    Raises UserError unless both have the same classes in the same order.
    """
    if label_names(data) != label_names(extra):
        raise UserError(
            "error.data.extra_classes", extra=", ".join(label_names(extra)), own=", ".join(label_names(data))
        )
    added = extra["train"].cast(data["train"].features)
    notes = [Sentence("data.extra.note", {"note": note}) for note in getattr(extra, "notes", ())]
    return noted(DatasetDict({**data, "train": concatenate_datasets([data["train"], added])}), data, *notes)
