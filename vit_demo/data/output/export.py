"""Take a data set away as files: an image folder, or parquet as the Hub lays it out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vit_demo.common.errors import UserError
from vit_demo.data.normalise import label_names
from vit_demo.data.plan.file_names import PHOTO_ENDINGS

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

FORMATS = ("folder", "parquet")
# Of a parquet file, so many rows or bytes are written together.
GROUP_ROWS, GROUP_BYTES = 100, 32 * 2**20
# Told how many photos are written.
Progress = Callable[[int], None]


def export(
    data: DatasetDict, folder: Path, kind: str = "folder", progress: Progress = lambda done: None
) -> None:
    """Write ``data`` into a new folder; a failed export leaves none.

    kind: "folder" for split/class/photo with each photo's bytes as they are, "parquet" for one file a split.
    Raises UserError where the folder is there already or the disk takes it not.
    """
    if kind not in FORMATS:
        raise UserError("error.data.export_format", format=kind)
    with new_folder(folder) as fresh:
        done = 0
        for split, part in data.items():
            if kind == "parquet":
                for written in write_parquet(part, fresh / f"{split}-00000-of-00001.parquet"):
                    progress(done + written)
                done += len(part)
            else:
                for _ in _write_photos(part, fresh / split, label_names(data)):
                    done += 1
                    progress(done)
            progress(done)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name when all is written."""
    if folder.exists():
        raise UserError("error.data.export_there", folder=str(folder))
    fresh = folder.with_name(f"{folder.name}.new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        yield fresh
        fresh.rename(folder)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError("error.data.export_not_written", folder=str(folder), error=why) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_photos(part: Dataset, folder: Path, names: list[str]) -> Iterator[Path]:
    """Yields each photo's file when it is written."""
    from datasets import Image

    places = _places(names)
    for place in places:
        (folder / place).mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for number, row in enumerate(part.cast_column("image", Image(decode=False))):
        stored = row["image"]
        content = stored["bytes"] if stored["bytes"] is not None else Path(stored["path"]).read_bytes()
        place = f"{places[row['labels']]}/{_file_name(row['image_file_path'], number, content)}"
        if place.casefold() in taken:  # two photos of one name, or of names that some systems take for one
            place = f"{places[row['labels']]}/{number}-{Path(place).name}"
        taken.add(place.casefold())
        (folder / place).write_bytes(content)
        yield folder / place


def _places(names: list[str]) -> list[str]:
    """A folder name for each class: its own where that is one on every system."""
    places = [
        name
        if re.fullmatch(r"\w[\w .()-]*(?<![ .])", name)
        else re.sub(r"\W+", "_", name).strip("_") or "class"
        for name in names
    ]
    repeated = {
        place.casefold()
        for place in places
        if [other.casefold() for other in places].count(place.casefold()) > 1
    }
    return [
        f"{place} {number}" if place.casefold() in repeated else place for number, place in enumerate(places)
    ]


def _file_name(path: str, number: int, content: bytes) -> str:
    """The photo's own file name, made harmless, with the ending of what it is."""
    stem = re.sub(r"[^\w.() -]+", "_", Path(path.replace("\\", "/")).stem).strip(" .")[:100] or str(number)
    ending = Path(path).suffix.lower()
    if content.startswith(b"\xff\xd8"):
        ending = ending if ending in (".jpg", ".jpeg") else ".jpg"
    elif content.startswith(b"\x89PNG"):
        ending = ".png"
    return stem + (ending if ending in PHOTO_ENDINGS else ".jpg")


def write_parquet(part: Dataset, file: Path) -> Iterator[int]:
    """With the photos' bytes in the table, wherever they lay; yields how many are written. In small groups,
    so that nobody need take in many.
    """
    import pyarrow as pa
    from datasets import Image
    from pyarrow.parquet import ParquetWriter

    schema, rows, size = part.features.arrow_schema, [], 0
    with ParquetWriter(file, schema) as writer:
        for number, row in enumerate(part.cast_column("image", Image(decode=False)), 1):
            stored, path = row["image"], row["image_file_path"]
            if stored["bytes"] is None:
                # Where it lay on this computer is nobody else's business: only split, class and name.
                path = "/".join(Path(path).parts[-3:])
            content = stored["bytes"] if stored["bytes"] is not None else Path(stored["path"]).read_bytes()
            rows.append(
                {**row, "image": {"bytes": content, "path": Path(path).name}, "image_file_path": path}
            )
            size += len(content)
            if len(rows) == GROUP_ROWS or size >= GROUP_BYTES or number == len(part):
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows, size = [], 0
                yield number
