"""Open a data set, whatever it comes from, as a ``datasets.DatasetDict`` of one shape.

Columns after :func:`open_dataset`: ``image`` (datasets.Image), ``labels`` (ClassLabel) and
``image_file_path`` (string); splits: train, validation, test. Nothing later asks where it came from.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.data.corrections.review_set import REVIEW
from vit_demo.model.checkpoints import existing_path, is_hub_name

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

# The photos that come with the program, scaled down from those of HUB_BEANS.
BEANS = "beans"
HUB_BEANS = "AI-Lab-Makerere/beans"
# What came with earlier versions: drawings of leaves. Their name still stands in the settings of old runs.
FORMER_SAMPLE = "sample"
# Before a source: with what was decided about its photos, see :mod:`vit_demo.data.corrections.journal`.
MENDED = "mended:"
# Before the name of photos that were brought in, see vit_demo.data.importing.imports.
IMPORT = "import:"
SPLITS = ("train", "validation", "test")
# What people and other tools call the three splits.
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test",
}
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
HELD_OUT_SHARE = 0.1
SPLIT_SEED = 0


def open_dataset(spec: str | Path | None = None, revision: str | None = None) -> DatasetDict:
    """Open photos and labels by name or folder.

    spec: "beans" or None (the photos that come with the project), a folder of parquet
    files (``train-00000-of-00001.parquet`` and so on, also inside ``data/``), an image folder
    (split/class/photo or class/photo), "import:NAME", or a name on the Hugging Face Hub, also "name@revision";
    "review" (the photos corrected in the Diagnose tab), or any other with " + review" behind it
    or "mended:" before it (with the decisions of its journal applied).
    A missing validation or test split is cut from train, stratified by class and always the same; copies of a photo stay together.
    Raises UserError with what to do.
    """
    text = str(spec or "").strip() or BEANS
    base = _base_of_reviewed(text)
    if base is not None:
        from vit_demo.data.corrections.review_source import open_reviewed

        return open_reviewed(base, revision)
    if text.startswith(MENDED):
        from vit_demo.data.corrections.decided import open_mended

        return open_mended(text.removeprefix(MENDED).strip(), revision)
    refuse_former_sample(text)
    path = settings.EMBEDDED_BEANS if text == BEANS else located(text)
    if path and path.is_dir():
        return _open_folder(str(path.resolve()), _newest_change(path))
    if path:
        raise UserError(f"{text} is a single file. Give the folder that holds the parquet files or the class folders.")
    if text.startswith(IMPORT):
        raise UserError(f"There is no import called {text.removeprefix(IMPORT)}. See `data list` for the names of all.")
    name, _, named_revision = text.partition("@")
    # Names of one word are refused: to the datasets library "csv" or "text" means whatever lies in the working folder.
    if not is_hub_name(name):
        raise UserError(f"There is no folder {text}. Give an existing folder, a name on the Hugging Face Hub such as {HUB_BEANS}, or {BEANS}.")
    return _open_hub(name, revision or named_revision or None)


def imports_folder() -> Path:
    """Where photos that were brought in are kept; it need not be there yet."""
    return settings.load().home / "imports"


def located(text: str) -> Path | None:
    """The folder or file of this computer that a source names, an import by its name; None where there is none, and for the photos of the program."""
    if text == BEANS:
        return None
    name = text.removeprefix(IMPORT)
    if name == text:
        return existing_path(text)
    # A name and never a path: what begins with "." is no import, or one that is not finished.
    return None if name.startswith(".") or "/" in name or "\\" in name or not name else existing_path(str(imports_folder() / name))


def _base_of_reviewed(text: str) -> str | None:
    """What the review set is added to, "" where it stands alone, None where it is not asked for."""
    if text == REVIEW:
        return ""
    base, plus, added = text.rpartition("+")
    if not plus or added.strip() != REVIEW or existing_path(text):
        return None
    if _base_of_reviewed(base.strip()) is not None:
        raise UserError(f"The review set can be added once, and not to itself. Write {BEANS} + {REVIEW}, for example.")
    return base.strip() or BEANS


def names_former_sample(spec: str | None) -> bool:
    """Whether a source is, or adds to, the drawings of leaves that came with earlier versions."""
    text = (spec or "").strip()
    try:
        base = _base_of_reviewed(text)
    except UserError:  # no source at all, which whoever opens it is told
        return False
    return (base or text).removeprefix(MENDED).strip() == FORMER_SAMPLE


def refuse_former_sample(spec: str | None) -> None:
    """Raise UserError, with what to type instead, where a source is the drawings of leaves that came with earlier versions."""
    if names_former_sample(spec):
        raise UserError(
            f"The drawings of leaves that were called {FORMER_SAMPLE} are no longer part of the program. Type {BEANS} for the photos of real leaves that "
            f"come with it, or ./{FORMER_SAMPLE} for a folder of that name."
        )


@functools.lru_cache(maxsize=8)
def _open_folder(folder: str, _changed: int) -> DatasetDict:
    from datasets import DatasetDict

    path = Path(folder)
    parquet = _parquet_files(path)
    with _as_user_error(folder, "Check that its files are complete."):
        if parquet:
            from vit_demo.data.open.parquet import read

            # Escaped, as the library takes each path for a pattern, and a folder may be called "leaves [2026]".
            patterns = {split: [glob.escape(file) for file in files] for split, files in parquet.items()}
            # One by one: together, all splits would get the class names of the first, whatever order their own are in.
            splits = {split: read(split, files) for split, files in patterns.items()}
            return normalise(DatasetDict(splits), folder)
        photos = _image_folder_files(path)
        if photos:
            return normalise(_from_class_folders(photos), folder)
    raise UserError(
        f"{folder} holds neither parquet files named after the splits (train-….parquet) nor folders of photos "
        "named after the classes. Arrange the photos as class/photo.jpg or train/class/photo.jpg."
    )


@functools.lru_cache(maxsize=8)
def _open_hub(name: str, revision: str | None) -> DatasetDict:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError

    with _as_user_error(name, "Check on its page that it is a data set of images."):
        try:
            if revision:
                # Without the Hub, the library would give any revision that it has a copy of, not the one that was named.
                HfApi().dataset_info(name, revision=revision)
            return normalise(load_dataset(name, revision=revision), name)
        except RevisionNotFoundError:
            raise UserError(f"The data set {name} has no revision {revision} on the Hugging Face Hub. Check the spelling or leave it out.") from None
        except (DatasetNotFoundError, RepositoryNotFoundError):
            raise UserError(f"There is no data set {name} on the Hugging Face Hub, or it is private. Check the name.") from None
        except (OSError, HTTPError) as error:
            raise UserError(
                f"The data set {name} could not be fetched: the Hugging Face Hub cannot be reached ({type(error).__name__}). "
                f"Go online, give a local folder, or choose {BEANS}, the photos that come with the program."
            ) from error


@contextlib.contextmanager
def _as_user_error(name: str, advice: str) -> Iterator[None]:
    """Turn what the datasets library raises into one sentence, and keep its progress bars off the screen."""
    import datasets

    datasets.disable_progress_bars()
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # pyarrow, json and builder errors share no other base class
        raise UserError(f"The data set {name} cannot be read ({type(error).__name__}). {advice}") from error


def _newest_change(folder: Path) -> int:
    """A number that changes when the folder does, so that an edited folder is read again."""
    changed = 0
    for root, directories, files in os.walk(folder):
        for path in (root, *(os.path.join(root, name) for name in files if name.endswith(".parquet"))):
            with contextlib.suppress(OSError):  # a link that leads nowhere, or a file deleted just now
                changed = max(changed, os.stat(path).st_mtime_ns)
        # Photos lie in split/class at the deepest; a walk through all of a disk would not end.
        deep = len(Path(root).relative_to(folder).parts) >= 2
        directories[:] = [] if deep else [name for name in directories if not name.startswith(".")]
    return changed


def _parquet_files(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for place in (folder / "data", folder):
        for file in sorted(place.glob("*.parquet")):
            split = SPLIT_NAMES.get(file.stem.split("-")[0].split(".")[0].lower())
            if split and file.is_file():
                found.setdefault(split, []).append(str(file))
        if found:
            break
    return found


def _image_folder_files(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """{split: [(class, path)]} for split/class/photo, or for class/photo as one train split."""
    children = [child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    splits = [(SPLIT_NAMES[child.name.lower()], child) for child in children if child.name.lower() in SPLIT_NAMES]
    roots = splits if "train" in dict(splits) else [("train", folder)]
    found: dict[str, list[tuple[str, str]]] = {}
    for split, root in roots:
        for photo in sorted(root.glob("*/*")):
            hidden = photo.name.startswith(".") or photo.parent.name.startswith(".")
            if photo.suffix.lower() in PHOTO_ENDINGS and photo.is_file() and not hidden:
                found.setdefault(split, []).append((photo.parent.name, str(photo)))
    return found


def _from_class_folders(photos: dict[str, list[tuple[str, str]]]) -> DatasetDict:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

    names = sorted({label for rows in photos.values() for label, _ in rows})
    features = Features({"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=names)})
    return DatasetDict({
        split: Dataset.from_dict(
            {
                "image_file_path": [path for _, path in rows],
                "image": [path for _, path in rows],
                "labels": [names.index(label) for label, _ in rows],
            },
            features=features,
        )
        for split, rows in photos.items()
    })


def normalise(found: DatasetDict, name: str) -> DatasetDict:
    """The same columns and splits for every source."""
    from datasets import DatasetDict

    splits = {SPLIT_NAMES[split.lower()]: _normalise_columns(data, name) for split, data in found.items() if split.lower() in SPLIT_NAMES and len(data)}
    splits = {split: data for split, data in splits.items() if len(data)}
    if "train" not in splits and len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    if "train" not in splits:
        raise UserError(f"The data set {name} has no photos to train on. Add a train split.")
    names = splits["train"].features["labels"].names
    if any(data.features["labels"].names != names for data in splits.values()):
        raise UserError(f"The splits of {name} do not have the same classes. Give each split the same class names.")
    seen = [names[label] for label in splits["train"].unique("labels")]
    if len(seen) < 2:
        raise UserError(f"The data set {name} has photos of only one class ({seen[0]}). A classifier needs at least two.")
    missing = [split for split in SPLITS[1:] if split not in splits]
    if missing:
        splits |= _cut(splits["train"], missing, name)
    return DatasetDict({split: splits[split] for split in SPLITS})


def _normalise_columns(data: Dataset, name: str) -> Dataset:
    from datasets import ClassLabel, Image, Value

    images = [column for column, feature in data.features.items() if isinstance(feature, Image)]
    if not images:
        raise UserError(f"The data set {name} has no column of images. Choose an image classification data set.")
    image = "image" if "image" in images else images[0]
    classes = [column for column, feature in data.features.items() if isinstance(feature, ClassLabel)]
    candidates = [*classes, *(column for column in ("labels", "label") if column in data.column_names)]
    if not candidates:
        raise UserError(f"The data set {name} has no column of labels. Choose an image classification data set.")
    label = "labels" if "labels" in candidates else candidates[0]
    path = "image_file_path" if "image_file_path" in data.column_names else None
    data = data.select_columns([column for column in (path, image, label) if column])
    data = data.rename_columns({old: new for old, new in ((image, "image"), (label, "labels")) if old != new})
    if not isinstance(data.features["labels"], ClassLabel):
        data = data.class_encode_column("labels")
    data = _complete(data)
    if path is None:
        data = data.add_column("image_file_path", _paths(data)).cast_column("image_file_path", Value("string"))
    return data


def _complete(data: Dataset) -> Dataset:
    """Only the rows that have both a photo and a label: many a test split on the Hub has -1 in place of the answers."""
    import pyarrow.compute as arrow

    labelled = arrow.fill_null(arrow.greater_equal(data.data.column("labels"), 0), False)
    complete = arrow.and_(labelled, arrow.is_valid(data.data.column("image"))).to_numpy()
    return data if complete.all() else data.select(complete.nonzero()[0])


def _paths(data: Dataset) -> list[str]:
    """By the names that the photos have, if any; the photos themselves are not read, which of a large data set would take minutes."""
    from datasets import Image

    stored = data.select_columns(["image"]).cast_column("image", Image(decode=False)).with_format("arrow")
    names = [name for table in stored.iter(1000) for chunk in table["image"].chunks for name in chunk.field("path").to_pylist()]
    return [name or f"row {index}" for index, name in enumerate(names)]


def _cut(train: Dataset, missing: list[str], name: str) -> dict[str, Dataset]:
    """{split: photos} of train and the missing splits, whose photos come from train."""
    # Only what has to be cut waits for what looks at photos.
    from vit_demo.data.copies.fingerprints import groups_of
    from vit_demo.data.copies.split import cut

    names, labels = train.features["labels"].names, np.asarray(train["labels"])
    # Its few photos are counted before all are looked at.
    cut(labels, np.arange(len(labels)), names, len(missing), HELD_OUT_SHARE, SPLIT_SEED, name)
    parts = cut(labels, groups_of(train), names, len(missing), HELD_OUT_SHARE, SPLIT_SEED, name)
    return {split: train.select(np.flatnonzero(parts == part)) for part, split in enumerate(("train", *missing))}


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
            f"The extra photos have other classes ({', '.join(label_names(extra))}) than the data set "
            f"({', '.join(label_names(data))}). Use the same class names in both."
        )
    added = extra["train"].cast(data["train"].features)
    return DatasetDict({**data, "train": concatenate_datasets([data["train"], added])})
