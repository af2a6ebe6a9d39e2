"""Open a data set, whatever it comes from, as a ``datasets.DatasetDict`` of one shape.

Columns after :func:`open_dataset`: ``image`` (datasets.Image), ``labels`` (ClassLabel) and
``image_file_path`` (string); splits: train, validation, test. Nothing later asks where it came from.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.corrections.decided import with_decisions
from vit_demo.data.corrections.journal import journal_of
from vit_demo.data.corrections.review_source import open_review_set, with_review_set
from vit_demo.data.names import (
    BEANS,
    HUB_BEANS,
    IMPORT,
    MENDED,
    base_of_reviewed,
    located,
    refuse_former_sample,
)
from vit_demo.data.normalise import normalise, notes_of, without_labels
from vit_demo.data.open.planned import open_folder, shaped_folder, stored_inside
from vit_demo.data.plan import archives, tables
from vit_demo.data.plan.corrections import Corrections, parted
from vit_demo.data.plan.of_source import plan_archive, plan_folder
from vit_demo.data.plan.plan import Plan
from vit_demo.model.checkpoints import is_hub_name

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


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
    path, files, corrections = place_of(text)
    with _as_user_error("error.data.folder_unreadable", str(path)):
        return open_folder(path, files, corrections)


def place_of(text: str) -> tuple[Path, tuple[Path, ...], Corrections]:
    """(the folder that a source names, the single file of it that is meant if any, what is said about it).

    Raises UserError where there is none, or a file that has to be brought in first.
    """
    source, corrections = (text, Corrections()) if located(text) else parted(text)
    path = settings.EMBEDDED_BEANS if source == BEANS else located(source)
    if path is None:
        raise UserError("error.data.no_import", name=source.removeprefix(IMPORT))
    if path.is_dir():
        return path, (), corrections
    if path.suffix.lower() not in (".parquet", *tables.ENDINGS):
        raise UserError("error.data.single_file", path=source)
    return path.parent, (path,), corrections


def open_to_try(
    spec: str | Path | None, split: str, revision: str | None = None, seen: bool = False
) -> tuple[Dataset, list[Sentence]]:
    """The photos of a source that a model is tried on, and what is to be said of them.

    split: of a source that has splits itself this one; of a folder that has none all photos, unless ``seen``:
    whether the model learned from it, so that only those count that were kept from it. Photos without a class
    have -1 as label; they are given where the split has no others. Raises UserError.
    """
    text = str(spec or "").strip() or BEANS
    refuse_former_sample(text)
    if seen or not _is_path(text) or base_of_reviewed(text) is not None:
        data = open_dataset(spec, revision)
        return data[split], notes_of(data)
    path, files, corrections = place_of(text)
    with _as_user_error("error.data.folder_unreadable", str(path)):
        data = shaped_folder(path, files, corrections)
    if split in data:
        return data[split], list(data.notes)
    if list(data) == [""]:
        return data[""], [*data.notes, Sentence("data.plan.no_splits", {"count": len(data[""])})]
    if not len(data) and data.unlabelled is not None:
        return without_labels(data.unlabelled), list(data.notes)
    data = open_dataset(spec, revision)
    return data[split], notes_of(data)


def plan_of_source(text: str) -> Plan | None:
    """What is understood of a folder, table, parquet file or archive of this computer; None of any other
    source. Raises UserError where there is none.
    """
    refuse_former_sample(text)
    source, corrections = (text, Corrections()) if located(text) else parted(text)
    path = settings.EMBEDDED_BEANS if source == BEANS else located(source)
    if path is None:
        return None
    if archives.is_archive(path):
        return plan_archive(path, corrections)
    folder, files, _ = place_of(source)
    return plan_folder(folder, corrections, files)


def _is_path(text: str) -> bool:
    if text == BEANS or text.startswith(IMPORT) or located(text) is not None:
        return True
    source = parted(text)[0]
    return source == BEANS or located(source) is not None


def _open_name(text: str, revision: str | None) -> DatasetDict:
    text, corrections = parted(text)
    name, _, named_revision = text.partition("@")
    # Names of one word are refused: to the datasets library "csv" or "text" means whatever lies in the
    # working folder.
    if not is_hub_name(name):
        raise UserError("error.data.no_folder", path=text, hub=HUB_BEANS, beans=BEANS)
    return _open_hub(name, revision or named_revision or None, corrections)


# The first that fits opens it.
SOURCES = [
    Source(lambda text: base_of_reviewed(text) is not None, _open_with_review_set),
    Source(lambda text: text.startswith(MENDED), _open_with_decisions),
    Source(_is_path, _open_path),
    Source(lambda text: True, _open_name),
]


@functools.lru_cache(maxsize=8)
def _open_hub(name: str, revision: str | None, corrections: Corrections) -> DatasetDict:
    from datasets import load_dataset
    from datasets.config import HF_DATASETS_CACHE
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_CACHE

    # HTTPError is only imported there, not defined, which mypy takes for private.
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError  # type: ignore[attr-defined]

    with _as_user_error("error.data.hub_unreadable", name):
        try:
            if revision:
                # Without the Hub, the library would give any revision that it has a copy of, not the one that
                # was named.
                HfApi().dataset_info(name, revision=revision)
            found = load_dataset(name, revision=revision)
            caches = (Path(HF_DATASETS_CACHE), Path(HF_HUB_CACHE))
            kept = {split: stored_inside(part, (), *caches) for split, part in found.items()}
            return normalise(kept, name, corrections)
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
