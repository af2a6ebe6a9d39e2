"""Open a folder as its plan says: photos by path, parquet and Arrow files by their rows."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_demo.common.errors import UserError
from vit_demo.data.normalise import Noted, complete, noted, shaped
from vit_demo.data.open.parquet import read
from vit_demo.data.plan import tables
from vit_demo.data.plan.columns import path_column, stored_columns
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.labels import in_order
from vit_demo.data.plan.of_source import plan_folder
from vit_demo.data.plan.plan import Photo, Plan

if TYPE_CHECKING:
    from datasets import Dataset

WATCHED = (".parquet", ".arrow", *tables.ENDINGS)


def open_folder(folder: Path, files: tuple[Path, ...], corrections: Corrections) -> Noted:
    """The photos of a folder with three splits; the same object as long as nothing changes.

    Raises UserError where something has to be said first, or nothing can be learned from the photos.
    """
    return _completed(str(folder.resolve()), files, corrections, newest_change(folder))


def shaped_folder(folder: Path, files: tuple[Path, ...], corrections: Corrections) -> Noted:
    """The same in the splits that it has itself, "" for photos of which none is given."""
    return _shaped(str(folder.resolve()), files, corrections, newest_change(folder))


@functools.lru_cache(maxsize=8)
def _completed(folder: str, files: tuple[Path, ...], corrections: Corrections, changed: int) -> Noted:
    return complete(_shaped(folder, files, corrections, changed), folder)


@functools.lru_cache(maxsize=8)
def _shaped(folder: str, files: tuple[Path, ...], corrections: Corrections, _changed: int) -> Noted:
    root = Path(folder)
    plan = plan_folder(root, corrections, [root / file.name for file in files])
    plan.check()
    if not (plan.photos or plan.unlabelled or plan.files):
        raise UserError("error.data.no_photos_in_folder", folder=folder)
    found = _of_rows(plan, root) if plan.files else _of_photos(plan, root)
    # What was said of splits, and of all that stands in tables and folders, is carried out in the plan.
    rest = replace(corrections, splits=()) if plan.files else Corrections()
    data = shaped(found, folder, rest)
    made = noted(data, data, *plan.said(), *plan.said_of_left_out())
    if plan.unlabelled:
        made.unlabelled = _photos(plan.unlabelled, root, [])
    return made


def _of_photos(plan: Plan, root: Path) -> dict[str, Dataset]:
    photos = defaultdict(list)
    for photo in plan.photos:
        photos[photo.split].append(photo)
    return {
        split: _photos(rows, root, plan.order or in_order(plan.classes)) for split, rows in photos.items()
    }


def _photos(photos: Iterable[Photo], root: Path, names: list[str]) -> Dataset:
    """By their paths, read when they are asked for. names: of the classes; [] for photos without one."""
    from datasets import ClassLabel, Dataset, Features, Image, Value

    rows = list(photos)
    paths = [str(root.joinpath(*photo.parts)) for photo in rows]
    columns: dict[str, list[str] | list[int]] = {"image_file_path": paths, "image": paths}
    features = {"image_file_path": Value("string"), "image": Image()}
    if names:
        places = {name: number for number, name in enumerate(names)}
        columns["labels"] = [places[photo.label] for photo in rows]
        features["labels"] = ClassLabel(names=names)
    return Dataset.from_dict(columns, features=Features(features))


def _of_rows(plan: Plan, root: Path) -> dict[str, Dataset]:
    files = defaultdict(list)
    for file in plan.files:
        files[file.split].append(root.joinpath(*file.parts))
    # One by one: together, all splits would get the class names of the first, whatever order their own are
    # in.
    return {
        split: _with_places(_read(split, paths, plan.kind == "saved"), paths[0].parent, root)
        for split, paths in files.items()
    }


def _read(split: str, files: list[Path], is_arrow: bool) -> Dataset:
    # Escaped, as the library takes each path for a pattern, and a folder may be called "leaves [2026]".
    return read(split or "train", [glob.escape(str(file)) for file in files], is_arrow)


def _with_places(data: Dataset, folder: Path, root: Path) -> Dataset:
    """Where photos are named by paths: as paths of this computer, of photos inside the folder and of no
    other.
    """
    column = path_column(data.features)
    if column is None:
        return stored_inside(data, (folder, root), root)

    def place(name: str | None) -> str | None:
        return None if not name else _inside(name, (folder, root), root)

    return data.map(
        lambda rows: {column: [place(name) for name in rows[column]]},
        batched=True,
        load_from_cache_file=False,
        keep_in_memory=True,
    )


def stored_inside(data: Dataset, folders: Iterable[Path], *roots: Path) -> Dataset:
    """The same rows, of which those that hold no photo but the path of one keep it only where it leads into
    one of these folders: a stranger's file must not name a photo of this computer.
    """
    from datasets import Image

    for column in stored_columns(data.features):
        stored = data.select_columns([column]).cast_column(column, Image(decode=False)).with_format("arrow")
        if not any(
            chunk.field("bytes").null_count > chunk.field("path").null_count
            for table in stored.iter(1000)
            for chunk in table[column].chunks
        ):
            continue

        def inside(photo: dict[str, Any] | None) -> dict[str, Any] | None:
            if not photo or photo["bytes"] is not None or not photo["path"]:
                return photo
            found = next((path for root in roots if (path := _inside(photo["path"], folders, root))), None)
            return {"bytes": None, "path": found} if found else None

        data = data.cast_column(column, Image(decode=False)).map(
            lambda rows, column=column, inside=inside: {column: [inside(photo) for photo in rows[column]]},
            batched=True,
            load_from_cache_file=False,
        )
        data = data.cast_column(column, Image())
    return data


def _inside(name: str, folders: Iterable[Path], root: Path) -> str | None:
    """The path of a photo that a row names, from one of these folders; None where it is not there or
    elsewhere.
    """
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            path = (folder / name.replace("\\", "/")).resolve()
            if path.is_file() and path.is_relative_to(root.resolve()):
                return str(path)
    return None


def newest_change(folder: Path) -> int:
    """A number that changes when the folder does, so that an edited folder is read again."""
    changed = 0
    for root, directories, files in os.walk(folder):
        directories[:] = [name for name in directories if not name.startswith(".")]
        for path in (root, *(os.path.join(root, name) for name in files if name.lower().endswith(WATCHED))):
            with contextlib.suppress(OSError):  # a link that leads nowhere, or a file deleted just now
                changed = max(changed, os.stat(path).st_mtime_ns)
    return changed
