"""Which column of a table, a parquet file or a data set of the Hub holds the photos, and which the labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from vit_demo.common.errors import UserError

if TYPE_CHECKING:
    from datasets import Features

# These are taken whatever else there is; else the only one of the others, else the only ClassLabel.
SURE = ("labels", "label")
LABEL_NAMES = (
    "class",
    "classes",
    "class_name",
    "classname",
    "class_label",
    "category",
    "category_name",
    "disease",
    "disease_name",
    "diagnosis",
    "condition",
    "target",
    "species",
    "label_name",
    "image_label",
    "image/label",
    "fine_label",
    "类别",
    "标签",
    "класс",
    "метка",
    "classe",
    "clase",
    "etiquette",
    "etiqueta",
)
IMAGE_NAMES = ("image", "img", "photo", "picture", "images", "image_path", "file_name", "path")


def is_no_label(value: object) -> bool:
    """Whether a value of a column of labels says that there is none: nothing, or a number below 0, which
    stands for answers that are held back.
    """
    if isinstance(value, (int, float)):
        return not value >= 0  # also what is no number (NaN)
    return value is None or bool(held_back({str(value).strip()}))


def held_back(labels: Collection[str]) -> Collection[str]:
    """Which texts stand for no label: -1, and what has neither letter nor number ("?", "-")."""
    return {label for label in labels if label in ("-1", "-1.0") or not any(map(str.isalnum, label))}


def label_column(kinds: Mapping[str, str], said: str, shown: str) -> tuple[str | None, tuple[str, ...]]:
    """(the column of labels or None, others that could be meant): said by the person, or by its name.

    kinds: {column: "class" where it is a ClassLabel, else ""}. said: as it was named, "" where it was not.
    shown: what the table is called. Raises UserError where several could be meant, or the named one is not
    there.
    """
    if said:
        found = next((name for name in kinds if name == said or name == "_".join(said.lower().split())), None)
        if found is None:
            raise UserError(
                "error.data.plan.no_column", column=said[:40], table=shown, columns=_listed(kinds)
            )
        return found, ()
    named = [name for name in kinds if name.lower() in LABEL_NAMES]
    classes = [name for name, kind in kinds.items() if kind == "class"]
    others = tuple(dict.fromkeys((*classes, *named)))
    sure = next((name for name in SURE if name in kinds), None)
    if sure:
        return sure, tuple(name for name in others if name not in SURE)
    if len(others) > 1:
        raise UserError("error.data.plan.several_columns", table=shown, columns=_listed(others))
    return (others[0] if others else None), ()


def image_column(features: Features, said: str, shown: str) -> str:
    """The column of photos: an Image, bytes, {"bytes", "path"} or paths. Raises UserError."""
    if said:
        if said not in features:
            raise UserError(
                "error.data.plan.no_column", column=said[:40], table=shown, columns=_listed(features)
            )
        return said
    holding = [name for name, feature in features.items() if _holds_photos(feature)]
    named = [name for name in IMAGE_NAMES if name in holding] or [
        name for name in IMAGE_NAMES if name in features and _is_text(features[name])
    ]
    if not (named or holding):
        raise UserError("error.data.no_image_column", name=shown)
    return (named or holding)[0]


def path_column(features: Features) -> str | None:
    """The column that names photos by their paths, where no column holds the photos themselves."""
    if any(_holds_photos(feature) for feature in features.values()):
        return None
    return next((name for name in IMAGE_NAMES if name in features and _is_text(features[name])), None)


def stored_columns(features: Features) -> list[str]:
    """The columns in which photos are kept with their names, each of which may be a path alone."""
    from datasets import Image

    return [
        name
        for name, feature in features.items()
        if isinstance(feature, Image) or (isinstance(feature, dict) and {"bytes", "path"} <= set(feature))
    ]


def _holds_photos(feature: Any) -> bool:
    from datasets import Image, Value

    if isinstance(feature, Value):
        return feature.dtype in ("binary", "large_binary")
    return isinstance(feature, Image) or (isinstance(feature, dict) and "bytes" in feature)


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", "") in ("string", "large_string")


def _listed(names: Any) -> str:
    return ", ".join(list(names)[:20])
