"""Find photos in a data set without decoding them: filter, search, page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vit_demo.data.sources import decode, label_names
from vit_demo.errors import UserError

if TYPE_CHECKING:
    from datasets import DatasetDict
    from PIL import Image


@dataclass(frozen=True)
class Query:
    """What a person asked to see; None means all.

    split, label: exact names. text: part of the file path, any case.
    """

    split: str | None = None
    label: str | None = None
    text: str = ""


@dataclass(frozen=True)
class Photo:
    """One photo of a data set with what is known about it.

    label_id: the integer that the model is trained on. size: (width, height) in pixels.
    """

    split: str
    index: int
    path: str
    label: str
    label_id: int
    image: Image.Image

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size


class Catalogue:
    """The labels and paths of all photos, held as columns; photos are decoded only when shown."""

    def __init__(self, data: DatasetDict):
        self.data = data
        from datasets import Image as ImageFeature

        self.labels = label_names(data)
        self._stored = data.cast_column("image", ImageFeature(decode=False))
        self._columns = {
            split: (np.asarray(rows["labels"]), np.char.lower(np.asarray(rows["image_file_path"], dtype=str)))
            for split, rows in ((split, part.select_columns(["labels", "image_file_path"])[:]) for split, part in data.items())
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """{split: {label: number of photos}}."""
        return {
            split: dict(zip(self.labels, np.bincount(ids, minlength=len(self.labels)).tolist()))
            for split, (ids, _) in self._columns.items()
        }

    def find(self, query: Query) -> list[tuple[str, int]]:
        """(split, index) of each photo that fits, in the order of the data set."""
        found = []
        for split, (ids, paths) in self._columns.items():
            if query.split not in (None, split):
                continue
            fits = np.ones(len(ids), dtype=bool)
            if query.label is not None:
                fits &= ids == self.labels.index(query.label) if query.label in self.labels else False
            if query.text.strip():
                fits &= np.char.find(paths, query.text.strip().lower()) >= 0
            found += [(split, int(index)) for index in np.flatnonzero(fits)]
        return found

    def photo(self, split: str, index: int) -> Photo:
        """Decode one photo. Raises UserError where it is broken."""
        row = self._stored[split][index]
        image = decode(row["image"])
        if image is None:
            raise UserError(f"The photo {row['image_file_path']} is broken and cannot be shown. Take it out of the data set, or mend it.")
        label_id = int(row["labels"])
        return Photo(split, index, row["image_file_path"], self.labels[label_id], label_id, image)
