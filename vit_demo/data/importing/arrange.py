"""Photos that were taken in: which split each is in, the order of their classes, and where they lie."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.copies.duplicates import NEAR_BITS
from vit_demo.data.copies.split import cut, group_photos
from vit_demo.data.importing.gather import Stage, Taken
from vit_demo.data.importing.incoming import final_name
from vit_demo.data.names import HELD_OUT_SHARE, SPLIT_SEED, SPLITS
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.file_names import free_name, safe_name
from vit_demo.data.plan.labels import class_order as order_of_lists
from vit_demo.data.plan.labels import in_order
from vit_demo.data.plan.make import CLASSES_FILE

# Each photo with its class and split, in order; without it (earlier versions) the folders say it.
TABLE = "photos.csv"


def set_apart(photos: list[Taken]) -> None:
    """Give the photos of which no split is given to train; all of them, where they are all of validation.
    Those that are all of test stay that, to try a model on.
    """
    given = {photo.split for photo in photos}
    for photo in photos:
        if not photo.split or given == {"validation"}:
            photo.split = "train"


def class_order(photos: list[Taken], stage: Stage, corrections: Corrections) -> list[str]:
    """The classes as the source orders them, then those that it does not list."""
    there = {photo.label for photo in photos}
    order = stage.order or order_of_lists(stage.lists, corrections)
    return [*order, *in_order(there - set(order))]


def split(photos: list[Taken], order: list[str], name: str, added: bool) -> tuple[list[str], int]:
    """Cut the splits that are missing from train; returns those, and how many photos look like another one.

    order: of the classes, some of which may have no photo. added: photos with a label typed in come bit by
    bit: as long as there are too few, all are for training. Of others that are too few to learn from, all are
    for test.
    """
    copies = len(photos) - len(np.unique(_groups(photos)))
    given = {photo.split for photo in photos}
    if given == {"test"}:
        return [], copies
    if "train" not in given:
        raise UserError("error.data.import_no_train", name=name)
    there = {photo.label for photo in photos}
    classes = [label for label in order if label in there]
    missing = [split for split in SPLITS[1:] if split not in given]
    if len(classes) < 2:
        return (missing if added else _all_to_test(photos)), copies
    train = [photo for photo in photos if photo.split == "train"]
    labels = np.array([classes.index(photo.label) for photo in train])
    try:
        parts = cut(labels, _groups(train), classes, len(missing), HELD_OUT_SHARE, SPLIT_SEED, name)
    except UserError as error:
        if added:
            return missing, copies
        if given == {"train"} and error.sentence.key == "error.data.too_few":
            return _all_to_test(photos), copies
        raise
    for photo, part in zip(train, parts):
        photo.split = ("train", *missing)[part]
    return missing, copies


def _all_to_test(photos: list[Taken]) -> list[str]:
    """Photos that nothing can be learned from are there to try a model on; no split is cut."""
    for photo in photos:
        photo.split = "test"
    return []


def _groups(photos: list[Taken]) -> np.ndarray:
    """The group of each photo, as :func:`vit_demo.data.copies.split.group_photos` makes them."""
    digests = np.array([photo.looked.digest for photo in photos])
    return group_photos(digests, np.array([photo.looked.hash for photo in photos]), NEAR_BITS)


def in_two_classes(photos: list[Taken]) -> list[Sentence]:
    """Photos that are there twice, in two classes: one of them must be wrong."""
    found: dict[str, dict[str, Taken]] = {}
    for photo in photos:
        found.setdefault(photo.looked.digest, {})[photo.label] = photo
    twice = [list(same.values()) for same in found.values() if len(same) > 1]
    if not twice:
        return []
    one, other = (f"{photo.label}/{photo.parts[-1]}" for photo in twice[0][:2])
    return [Sentence("data.plan.in_two_classes", {"count": len(twice), "one": one, "other": other})]


def write_table(photos: list[Taken], order: list[str], target: Path) -> None:
    """What the folders cannot say: the order of the photos and of the classes, and classes as they are
    called.
    """
    (target / CLASSES_FILE).write_text("".join(f"{name}\n" for name in order), encoding="utf-8")
    with (target / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for photo in photos:
            writer.writerow((photo.file.relative_to(target).as_posix(), photo.label, photo.split))


def move(photos: list[Taken], target: Path, stage: Stage) -> dict[str, dict[str, int]]:
    """Put the photos into their folders; returns {split: {class: photos}}."""
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    taken: dict[Path, set[str]] = {}
    used: set[str] = set()
    folders = {
        label: free_name(safe_name(label), used) for label in in_order({photo.label for photo in photos})
    }
    for photo in photos:
        folder = target / photo.split / folders[photo.label]
        if folder not in taken:
            folder.mkdir(parents=True)
            taken[folder] = set()
        stage.check()
        photo.file = photo.file.rename(
            folder / free_name(final_name(photo.parts[-1], photo.looked), taken[folder])
        )
        counts[photo.split][photo.label] += 1
    return {split: dict(sorted(classes.items())) for split, classes in counts.items() if classes}
