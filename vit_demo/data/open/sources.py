"""Open a data set, whatever it comes from, as a ``datasets.DatasetDict`` of one shape.

Columns after :func:`open_dataset`: ``image`` (datasets.Image), ``labels`` (ClassLabel) and
``image_file_path`` (string); splits: train, validation, test. Nothing later asks where it came from.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.data.corrections.decided import with_decisions
from vit_demo.data.corrections.journal import journal_of
from vit_demo.data.corrections.review_source import open_review_set, with_review_set
from vit_demo.data.names import (
    BEANS,
    HUB_BEANS,
    IMPORT,
    MENDED,
    PHOTO_ENDINGS,
    SPLIT_NAMES,
    base_of_reviewed,
    located,
    refuse_former_sample,
)
from vit_demo.data.normalise import normalise
from vit_demo.data.open.parquet import read
from vit_demo.model.checkpoints import is_hub_name

if TYPE_CHECKING:
    from datasets import DatasetDict


def open_dataset(spec: str | Path | None = None, revision: str | None = None) -> DatasetDict:
    """Open photos and labels by name or folder.

    spec: "beans" or None (the photos that come with the project), a folder of parquet files
    (``train-00000-of-00001.parquet`` and so on, also inside ``data/``), an image folder (split/class/photo or
    class/photo), "import:NAME", or a name on the Hugging Face Hub, also "name@revision"; "review" (the photos
    corrected in the Diagnose tab), or any other with " + review" behind it or "mended:" before it (with the
    decisions of its journal applied). A missing validation or test split is cut from train, stratified by
    class and always the same; copies of a photo stay together. Raises UserError with what to do.
    """
    text = str(spec or "").strip() or BEANS
    refuse_former_sample(text)
    return next(source for source in SOURCES if source.fits(text)).open(text, revision)


@dataclass(frozen=True)
class Source:
    """One kind of source. fits: whether a text names one of it. open: the data set that it names, at a
    revision where that is given.
    """

    fits: Callable[[str], bool]
    open: Callable[[str, str | None], DatasetDict]


def register(source: Source) -> None:
    """Add a kind of source, which is asked before all others."""
    SOURCES.insert(0, source)


def _open_with_review_set(text: str, revision: str | None) -> DatasetDict:
    base = base_of_reviewed(text)
    return with_review_set(open_dataset(base, revision)) if base else open_review_set()


def _open_with_decisions(text: str, revision: str | None) -> DatasetDict:
    source = text.removeprefix(MENDED).strip()
    if source.startswith(MENDED):
        raise UserError("error.data.mended_once", mended=MENDED)
    return with_decisions(open_dataset(source, revision), journal_of(source))


def _open_path(text: str, _revision: str | None) -> DatasetDict:
    path = settings.EMBEDDED_BEANS if text == BEANS else located(text)
    if path is None:
        raise UserError("error.data.no_import", name=text.removeprefix(IMPORT))
    if not path.is_dir():
        raise UserError("error.data.single_file", path=text)
    return _open_folder(str(path.resolve()), _newest_change(path))


def _open_name(text: str, revision: str | None) -> DatasetDict:
    name, _, named_revision = text.partition("@")
    # Names of one word are refused: to the datasets library "csv" or "text" means whatever lies in the
    # working folder.
    if not is_hub_name(name):
        raise UserError("error.data.no_folder", path=text, hub=HUB_BEANS, beans=BEANS)
    return _open_hub(name, revision or named_revision or None)


# The first that fits opens it.
SOURCES = [
    Source(lambda text: base_of_reviewed(text) is not None, _open_with_review_set),
    Source(lambda text: text.startswith(MENDED), _open_with_decisions),
    Source(lambda text: text == BEANS or text.startswith(IMPORT) or located(text) is not None, _open_path),
    Source(lambda text: True, _open_name),
]


@functools.lru_cache(maxsize=8)
def _open_folder(folder: str, _changed: int) -> DatasetDict:
    from datasets import DatasetDict

    path = Path(folder)
    parquet = _parquet_files(path)
    with _as_user_error("error.data.folder_unreadable", folder):
        if parquet:
            # Escaped, as the library takes each path for a pattern, and a folder may be called "leaves
            # [2026]".
            patterns = {split: [glob.escape(file) for file in files] for split, files in parquet.items()}
            # One by one: together, all splits would get the class names of the first, whatever order their
            # own are in.
            splits = {split: read(split, files) for split, files in patterns.items()}
            return normalise(DatasetDict(splits), folder)
        photos = _image_folder_files(path)
        if photos:
            return normalise(_from_class_folders(photos), folder)
    raise UserError("error.data.no_photos_in_folder", folder=folder)


@functools.lru_cache(maxsize=8)
def _open_hub(name: str, revision: str | None) -> DatasetDict:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import HfApi

    # HTTPError is only imported there, not defined, which mypy takes for private.
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError  # type: ignore[attr-defined]

    with _as_user_error("error.data.hub_unreadable", name):
        try:
            if revision:
                # Without the Hub, the library would give any revision that it has a copy of, not the one that
                # was named.
                HfApi().dataset_info(name, revision=revision)
            return normalise(load_dataset(name, revision=revision), name)
        except RevisionNotFoundError:
            raise UserError("error.data.no_revision", name=name, revision=revision) from None
        except (DatasetNotFoundError, RepositoryNotFoundError):
            raise UserError("error.data.not_on_hub", name=name) from None
        except (OSError, HTTPError) as error:
            raise UserError(
                "error.data.hub_unreachable", name=name, error=type(error).__name__, beans=BEANS
            ) from error


@contextlib.contextmanager
def _as_user_error(key: str, name: str) -> Iterator[None]:
    """Turn what the datasets library raises into the sentence of this key, and keep its progress bars off the
    screen.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # pyarrow, json and builder errors share no other base class
        raise UserError(key, name=name, error=type(error).__name__) from error


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
    children = [
        child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith(".")
    ]
    splits = [
        (SPLIT_NAMES[child.name.lower()], child) for child in children if child.name.lower() in SPLIT_NAMES
    ]
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
    features = Features(
        {"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=names)}
    )
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {
                    "image_file_path": [path for _, path in rows],
                    "image": [path for _, path in rows],
                    "labels": [names.index(label) for label, _ in rows],
                },
                features=features,
            )
            for split, rows in photos.items()
        }
    )
