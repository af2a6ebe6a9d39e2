"""Take a data set away as files: an image folder, or parquet as the Hub lays it out; or push it there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vit_demo.checkpoints import is_hub_name
from vit_demo.data.sources import PHOTO_ENDINGS, label_names
from vit_demo.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

FORMATS = ("folder", "parquet")
# Told how many photos are written.
Progress = Callable[[int], None]


def export(data: DatasetDict, folder: Path, kind: str = "folder", progress: Progress = lambda done: None) -> None:
    """Write ``data`` into a new folder; a failed export leaves none.

    kind: "folder" for split/class/photo with each photo's bytes as they are, "parquet" for one file a split.
    Raises UserError where the folder is there already or the disk takes it not.
    """
    if kind not in FORMATS:
        raise UserError(f"A data set can be exported as {' or '.join(FORMATS)}, not {kind}.")
    with _new_folder(folder) as fresh:
        done = 0
        for split, part in data.items():
            if kind == "parquet":
                _embedded(part).to_parquet(fresh / f"{split}-00000-of-00001.parquet")
                done += len(part)
            else:
                for _ in _write_photos(part, fresh / split, label_names(data)):
                    done += 1
                    progress(done)
            progress(done)


def push(data: DatasetDict, name: str, private: bool = True) -> str:
    """Push to the Hub, where the user is logged in; returns the address. Raises UserError with what to do."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError

    if not is_hub_name(name):
        raise UserError("Give the data set a name on the Hub such as your-name/my-leaves.")
    if get_token() is None:
        raise UserError("You are not logged in to the Hugging Face Hub. Run `hf auth login` first, with a token that may write.")
    try:
        data.push_to_hub(name, private=private)
    except HfHubHTTPError as error:
        raise UserError(f"The Hub did not take {name} ({error.response.status_code}). Check the name and that your token may write there.") from None
    except OSError:  # no network, in any of its forms
        raise UserError("The Hugging Face Hub could not be reached. Check the network and try again.") from None
    return f"https://huggingface.co/datasets/{name}"


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name when all is written."""
    if folder.exists():
        raise UserError(f"{folder} is there already. Give a folder that is not.")
    fresh = folder.with_name(f"{folder.name}.new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        yield fresh
        fresh.rename(folder)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(f"The data set could not be written to {folder} ({why}). Free some space or choose another place.") from None
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
    places = [name if re.fullmatch(r"\w[\w .()-]*(?<![ .])", name) else re.sub(r"\W+", "_", name).strip("_") or "class" for name in names]
    repeated = {place.casefold() for place in places if [other.casefold() for other in places].count(place.casefold()) > 1}
    return [f"{place} {number}" if place.casefold() in repeated else place for number, place in enumerate(places)]


def _file_name(path: str, number: int, content: bytes) -> str:
    """The photo's own file name, made harmless, with the ending of what it is."""
    stem = re.sub(r"[^\w.() -]+", "_", Path(path.replace("\\", "/")).stem).strip(" .")[:100] or str(number)
    ending = Path(path).suffix.lower()
    if content.startswith(b"\xff\xd8"):
        ending = ending if ending in (".jpg", ".jpeg") else ".jpg"
    elif content.startswith(b"\x89PNG"):
        ending = ".png"
    return stem + (ending if ending in PHOTO_ENDINGS else ".jpg")


def _embedded(part: Dataset) -> Dataset:
    """With the photos' bytes in the table, wherever they lay."""
    from datasets import Image

    def read(row: dict) -> dict:
        stored = row["image"]
        content = stored["bytes"] if stored["bytes"] is not None else Path(stored["path"]).read_bytes()
        return {"image": {"bytes": content, "path": Path(row["image_file_path"]).name}}

    features = part.features
    return part.cast_column("image", Image(decode=False)).map(read, keep_in_memory=True).cast(features)
