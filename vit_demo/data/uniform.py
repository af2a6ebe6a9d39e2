"""The rows of one split in the columns that every data set has here: image, labels, image_file_path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vit_demo.common.words import Sentence
from vit_demo.data.plan.columns import image_column, is_no_label, label_column
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.labels import in_order

if TYPE_CHECKING:
    from datasets import Dataset, Features

COLUMNS = ["image_file_path", "image", "labels"]


@dataclass
class Rows:
    """One split. labelled: in COLUMNS, labels a ClassLabel; None where no row has a label. unlabelled: the
    rows that have a photo and no label, without the column; None where there are none. notes: what had to be
    guessed. broken: how many rows have no photo.
    """

    labelled: Dataset | None = None
    unlabelled: Dataset | None = None
    notes: list[Sentence] = field(default_factory=list)
    broken: int = 0


def rows_of(data: Dataset, name: str, corrections: Corrections) -> Rows:
    """name: what the data set is called. Raises UserError where it is not clear which column is what."""
    image = image_column(data.features, corrections.image_column, name)
    label = label_column(kinds_of(data.features, image), corrections.label_column, name)[0]
    found = Rows()
    there = _has_photo(data, image)
    found.broken = int((~there).sum())
    data = _uniform(_select(data, there), image, label)
    if label is None:
        found.unlabelled = data if len(data) else None
        return found
    numbers, names = _numbers(data, found.notes, label)
    rest = data.select_columns(COLUMNS[:2])
    found.labelled = _labelled(rest, numbers, names) if (numbers >= 0).any() else None
    found.unlabelled = _select(rest, numbers < 0) if (numbers < 0).any() else None
    return found


def kinds_of(features: Features, image: str) -> dict[str, str]:
    """{column: "class" for a ClassLabel, else ""} of all that could be labels."""
    from datasets import ClassLabel, Value

    return {
        column: "class" if isinstance(feature, ClassLabel) else ""
        for column, feature in features.items()
        if column not in (image, "image_file_path") and isinstance(feature, (ClassLabel, Value))
    }


def _has_photo(data: Dataset, image: str) -> np.ndarray:
    import pyarrow.compute as arrow

    valid: np.ndarray = arrow.is_valid(data.with_format("arrow")[image][:]).to_numpy(zero_copy_only=False)
    return valid


def _select(data: Dataset, wanted: np.ndarray) -> Dataset:
    return data if wanted.all() else data.select(np.flatnonzero(wanted))


def _uniform(data: Dataset, image: str, label: str | None) -> Dataset:
    """The columns under the names that they have here; the labels as they are. Photos may be stored as they
    like: pandas writes {"bytes", "path"}, others bytes or paths.
    """
    from datasets import Image, Value

    has_path = "image_file_path" in data.column_names and image != "image_file_path"
    wanted = [*(["image_file_path"] if has_path else []), image, *([label] if label else [])]
    data = data.select_columns(wanted)
    data = data.rename_columns(
        {old: new for old, new in ((image, "image"), (label, "labels")) if old and old != new}
    )
    if not isinstance(data.features["image"], Image):
        data = data.cast_column("image", Image())
    if not has_path:
        data = data.add_column("image_file_path", _paths(data))
    return data.cast_column("image_file_path", Value("string"))


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


def _numbers(data: Dataset, notes: list[Sentence], label: str) -> tuple[np.ndarray, list[str]]:
    """(the class of each row, int (N,), -1 where there is none; the names of the classes)."""
    from datasets import ClassLabel

    feature, values = data.features["labels"], data["labels"][:]
    if isinstance(feature, ClassLabel):
        names = list(feature.names)
        known = [value if value is not None and 0 <= value < len(names) else -1 for value in values]
        return np.array(known, dtype=np.int64), names
    texts = [None if is_no_label(value) else label_text(value) for value in values]
    names = in_order({text for text in texts if text is not None})
    if names and all(name.isdecimal() for name in names):
        notes.append(Sentence("data.plan.numbers", {"column": label}))
    places = {name: number for number, name in enumerate(names)}
    return np.array([-1 if text is None else places[text] for text in texts], dtype=np.int64), names


def label_text(value: Any) -> str:
    """A label as text; 3.0 is the 3 of a column that lacks some values."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _labelled(data: Dataset, numbers: np.ndarray, names: list[str]) -> Dataset:
    from datasets import ClassLabel

    there = numbers >= 0
    data = _select(data, there).add_column("labels", numbers[there])
    return data.cast_column("labels", ClassLabel(names=names)).select_columns(COLUMNS)
