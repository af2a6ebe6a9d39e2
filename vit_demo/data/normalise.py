"""One shape for every data set: the columns image, labels and image_file_path, the splits train, validation
and test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.copies.fingerprints import groups_of
from vit_demo.data.copies.split import cut
from vit_demo.data.names import HELD_OUT_SHARE, SPLIT_NAMES, SPLIT_SEED, SPLITS

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def normalise(found: DatasetDict, name: str | Sentence) -> DatasetDict:
    """The same columns and splits for every source. name: what the set is called."""
    from datasets import DatasetDict

    splits = {
        SPLIT_NAMES[split.lower()]: _normalise_columns(data, name)
        for split, data in found.items()
        if split.lower() in SPLIT_NAMES and len(data)
    }
    splits = {split: data for split, data in splits.items() if len(data)}
    if "train" not in splits and len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    if "train" not in splits:
        raise UserError("error.data.no_train", name=name)
    names = splits["train"].features["labels"].names
    if any(data.features["labels"].names != names for data in splits.values()):
        raise UserError("error.data.other_classes", name=name)
    seen = [names[label] for label in splits["train"].unique("labels")]
    if len(seen) < 2:
        raise UserError("error.data.one_class", name=name, label=seen[0])
    missing = [split for split in SPLITS[1:] if split not in splits]
    if missing:
        splits |= _cut(splits["train"], missing, name)
    return DatasetDict({split: splits[split] for split in SPLITS})


def _normalise_columns(data: Dataset, name: str | Sentence) -> Dataset:
    from datasets import ClassLabel, Image, Value

    images = [column for column, feature in data.features.items() if isinstance(feature, Image)]
    if not images:
        raise UserError("error.data.no_image_column", name=name)
    image = "image" if "image" in images else images[0]
    classes = [column for column, feature in data.features.items() if isinstance(feature, ClassLabel)]
    candidates = [*classes, *(column for column in ("labels", "label") if column in data.column_names)]
    if not candidates:
        raise UserError("error.data.no_label_column", name=name)
    label = "labels" if "labels" in candidates else candidates[0]
    path = "image_file_path" if "image_file_path" in data.column_names else None
    data = data.select_columns([column for column in (path, image, label) if column])
    data = data.rename_columns({old: new for old, new in ((image, "image"), (label, "labels")) if old != new})
    if not isinstance(data.features["labels"], ClassLabel):
        data = data.class_encode_column("labels")
    data = _complete(data)
    if path is None:
        data = data.add_column("image_file_path", _paths(data)).cast_column(
            "image_file_path", Value("string")
        )
    return data


def _complete(data: Dataset) -> Dataset:
    """Only the rows that have both a photo and a label: many a test split on the Hub has -1 in place of the
    answers.
    """
    import pyarrow.compute as arrow

    labelled = arrow.fill_null(arrow.greater_equal(data.data.column("labels"), 0), False)
    complete = arrow.and_(labelled, arrow.is_valid(data.data.column("image"))).to_numpy()
    return data if complete.all() else data.select(complete.nonzero()[0])


def _paths(data: Dataset) -> list[str]:
    """By the names that the photos have, if any; the photos themselves are not read, which of a large data
    set would take minutes.
    """
    from datasets import Image

    stored = data.select_columns(["image"]).cast_column("image", Image(decode=False)).with_format("arrow")
    names = [
        name
        for table in stored.iter(1000)
        for chunk in table["image"].chunks
        for name in chunk.field("path").to_pylist()
    ]
    return [name or f"row {index}" for index, name in enumerate(names)]


def _cut(train: Dataset, missing: list[str], name: str | Sentence) -> dict[str, Dataset]:
    """{split: photos} of train and the missing splits, whose photos come from train."""
    # Only what has to be cut waits for what looks at photos.

    names, labels = train.features["labels"].names, np.asarray(train["labels"])
    # Its few photos are counted before all are looked at.
    cut(labels, np.arange(len(labels)), names, len(missing), HELD_OUT_SHARE, SPLIT_SEED, name)
    parts = cut(labels, groups_of(train), names, len(missing), HELD_OUT_SHARE, SPLIT_SEED, name)
    return {
        split: train.select(np.flatnonzero(parts == part)) for part, split in enumerate(("train", *missing))
    }


def label_names(data: DatasetDict) -> list[str]:
    """Class names in the order of their integer ids."""
    return list(data["train"].features["labels"].names)


def merge_train(data: DatasetDict, extra: DatasetDict) -> DatasetDict:
    """``data`` with the train photos of ``extra`` added to its own; validation and test stay untouched.

    Raises UserError unless both have the same classes in the same order.
    """
    from datasets import DatasetDict, concatenate_datasets

    if label_names(data) != label_names(extra):
        raise UserError(
            "error.data.extra_classes", extra=", ".join(label_names(extra)), own=", ".join(label_names(data))
        )
    added = extra["train"].cast(data["train"].features)
    return DatasetDict({**data, "train": concatenate_datasets([data["train"], added])})
