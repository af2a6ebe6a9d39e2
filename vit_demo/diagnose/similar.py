"""It looks like these: the photos of a model's own train split that a photo is most like, as the model sees
it.

A fine-tune leaves small pictures of its train photos beside the folder of its model, see
:mod:`vit_demo.model.neighbours`. The photos that the embedded model learned from come with the program, so
beside it lies only where it sees each of them.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any, cast

from PIL import Image

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.data.names import BEANS
from vit_demo.data.open.sources import open_dataset
from vit_demo.model import neighbours
from vit_demo.model.checkpoints import Checkpoint
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.neighbours import Neighbour
from vit_demo.photos.safe_open import decode

COUNT = 3
QUALITY = 80


def pictures_file(checkpoint: Checkpoint) -> Path | None:
    """Where the pictures of this model are; None where it has none."""
    if checkpoint.folder == settings.EMBEDDED_MODEL:
        return settings.EMBEDDED_SIMILAR if settings.EMBEDDED_SIMILAR.is_file() else None
    file = checkpoint.folder.parent / neighbours.FILE
    # A run's folder has its model in a folder of this name. What comes from the Hub's cache has no pictures.
    return (
        file if checkpoint.revision is None and checkpoint.folder.name == "model" and file.is_file() else None
    )


def similar(classifier: LeafClassifier, photo: Image.Image) -> list[Neighbour]:
    """The three pictures that this photo is most like, the most alike first; none where the model has no
    pictures.

    Alike is a small angle between what the model sees of both three quarters up its encoder.
    Raises UserError where the pictures are broken or belong to another model.
    """
    file = pictures_file(classifier.checkpoint)
    if file is None:
        return []
    try:
        found = _nearest(classifier, photo, file)
        return _of_beans(found) if file == settings.EMBEDDED_SIMILAR else found
    except UserError:
        if file == settings.EMBEDDED_SIMILAR:
            raise UserError("error.diagnose.similar_broken", file=file.name) from None
        raise


def _nearest(classifier: LeafClassifier, photo: Image.Image, file: Path) -> list[Neighbour]:
    readout = neighbours.readout_in(file)
    if not 1 <= readout.layer <= classifier.blocks:
        raise neighbours.broken()
    _, features = classifier.logits_and_features([photo], readout)
    found = neighbours.nearest(file, features[0].numpy(), COUNT)
    if file != settings.EMBEDDED_SIMILAR and not all(one.jpeg for one in found):
        raise neighbours.broken()
    return found


def _of_beans(found: list[Neighbour]) -> list[Neighbour]:
    """The same with their pictures, train photos that come with the program."""
    from datasets import Image as ImageFeature

    train = open_dataset(BEANS)["train"].cast_column("image", ImageFeature(decode=False))
    if any(one.number >= len(train) for one in found):
        raise neighbours.broken()
    return [dataclasses.replace(one, jpeg=_small(train[one.number]["image"])) for one in found]


def _small(stored: dict[str, Any]) -> bytes:
    """A small JPEG of a photo of a data set, as it is stored there."""
    photo = cast("Image.Image", decode(stored))  # they come with the program and can be opened
    photo.thumbnail((neighbours.SIDE, neighbours.SIDE))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
