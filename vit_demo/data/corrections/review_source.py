"""The review set as a data set: on its own, or added to the train photos of another."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.corrections import review_set
from vit_demo.data.corrections.review_set import Correction, same_class
from vit_demo.data.names import BEANS, HELD_OUT_SHARE, REVIEW
from vit_demo.data.normalise import label_names, normalise, noted

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features

# With fewer, a class that the other data set lacks is not learned but guessed.
NEW_CLASS_PHOTOS = 10
# So many of each class leave one for train after validation and test were cut.
CLASS_PHOTOS = 3
KEEP = 4
# By what they were made from; the other data set is kept along, so that its id cannot be used again.
_made: OrderedDict[tuple[object, ...], tuple[DatasetDict | None, DatasetDict]] = OrderedDict()


def open_review_set() -> DatasetDict:
    """The review set alone. Raises UserError where it has too few photos, with how many are needed."""
    return _kept(None, lambda: _split(_corrections()))


def with_review_set(data: DatasetDict) -> DatasetDict:
    """A data set with all photos of the review set added to its train photos; its validation and test photos
    stay as they are.

    Classes are matched by name. Raises UserError where a class that the data set lacks has too few photos,
    with how many are needed.
    """
    return _kept(data, lambda: _join(data, _corrections()))


def review_to_look_at() -> DatasetDict:
    """The review set; all of it as train, the newest first, where it has too few photos to train on.
    UserError where it is empty.
    """
    try:
        return open_review_set()
    except UserError:
        corrections = _corrections()
    from datasets import DatasetDict

    names = _names(corrections)
    return _kept(None, lambda: DatasetDict(train=_dataset(corrections, names, _features(names))), "look")


def _kept(data: DatasetDict | None, make: Callable[[], DatasetDict], *why: str) -> DatasetDict:
    """The same object as long as neither the review set nor the other data set changes."""
    key = (id(data), review_set.state(), *why)
    if key in _made:
        return _made[key][1]
    made = make()
    _made[key] = (data, made)
    while len(_made) > KEEP:
        _made.popitem(last=False)
    return made


def _corrections() -> list[Correction]:
    if not settings.load().review:
        raise UserError("error.data.review_off")
    found = review_set.corrections()
    if not found:
        raise UserError("error.data.review_empty")
    return found


def _names(corrections: list[Correction]) -> list[str]:
    """The classes by name, each as it was spelled last."""
    return sorted({same_class(one.label): one.label for one in reversed(corrections)}.values())


def _split(corrections: list[Correction]) -> DatasetDict:
    from datasets import DatasetDict

    names = _names(corrections)
    counts = Counter(same_class(one.label) for one in corrections)
    needed = _photos_needed(max(2, len(names)))
    if len(names) < 2 or len(corrections) < needed or min(counts.values()) < CLASS_PHOTOS:
        rare = ", ".join(f"{name}: {counts[same_class(name)]}" for name in names)
        raise UserError(
            "error.data.review_too_few",
            counts=rare,
            each=CLASS_PHOTOS,
            needed=needed,
            example=f"{BEANS} + {REVIEW}",
        )
    train = _dataset(corrections, names, _features(names))
    return normalise(DatasetDict(train=train), Sentence("data.named.review"))


def _photos_needed(classes: int) -> int:
    """The smallest number of photos whose two cuts of HELD_OUT_SHARE hold one of each class."""
    count = classes
    while True:
        cut = math.ceil(count * HELD_OUT_SHARE)
        if min(cut, math.ceil((count - cut) * HELD_OUT_SHARE)) >= classes:
            return count
        count += 1


def _join(data: DatasetDict, corrections: list[Correction]) -> DatasetDict:
    from datasets import ClassLabel, DatasetDict, concatenate_datasets

    names = label_names(data)
    known = {same_class(name) for name in names}
    counts = Counter(same_class(one.label) for one in corrections)
    new = [name for name in _names(corrections) if same_class(name) not in known]
    for name in new:
        if counts[same_class(name)] < NEW_CLASS_PHOTOS:
            raise UserError(
                "error.data.review_new_class",
                photos=counts[same_class(name)],
                label=name,
                needed=NEW_CLASS_PHOTOS,
            )
    if new:
        names = [*names, *new]
        classes = ClassLabel(names=names)
        recast = {split: part.cast_column("labels", classes) for split, part in data.items()}
        data = noted(DatasetDict(recast), data)
    added = _dataset(corrections, names, data["train"].features)
    return noted(DatasetDict({**data, "train": concatenate_datasets([data["train"], added])}), data)


def _dataset(corrections: list[Correction], names: list[str], features: Features) -> Dataset:
    """One row a photo; its file is read when it is asked for."""
    from datasets import Dataset

    # As it is written before all that is only spelled like it: a data set may have "Rust" and "rust".
    written = {name: number for number, name in enumerate(names)}
    spelled = {same_class(name): number for number, name in reversed(list(enumerate(names)))}
    columns = {
        "image_file_path": [f"{REVIEW}/{one.file.name}" for one in corrections],
        "image": [str(one.file) for one in corrections],
        "labels": [written.get(one.label, spelled[same_class(one.label)]) for one in corrections],
    }
    return Dataset.from_dict({name: columns[name] for name in features}, features=features)


def _features(names: list[str]) -> Features:
    from datasets import ClassLabel, Features, Image, Value

    return Features({"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=names)})
