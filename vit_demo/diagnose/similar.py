"""It looks like these: the pictures of a model's own classes that a photo is most like, as the model sees it.

A fine-tune leaves small pictures of its train photos beside the folder of its model, see :mod:`vit_demo.neighbours`. The photos
that the embedded model learned from are not kept: drawn leaves take their place, looked at once and kept in the home folder.
"""

from __future__ import annotations

import functools
import hashlib
import io
import threading
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from vit_demo import neighbours, settings
from vit_demo.abstention import layer_of
from vit_demo.checkpoints import Checkpoint
from vit_demo.errors import UserError
from vit_demo.neighbours import Neighbour, Pictures
from vit_demo.vit import LeafClassifier

COUNT = 3
QUALITY = 80
_making = threading.Lock()


def is_drawn(checkpoint: Checkpoint) -> bool:
    """Whether drawn leaves take the place of the train photos."""
    return checkpoint.folder == settings.EMBEDDED_MODEL


def pictures_file(checkpoint: Checkpoint) -> Path | None:
    """Where the pictures of this model are, or will be once drawn leaves were looked at; None where it has none."""
    if is_drawn(checkpoint):
        return settings.load().home / "similar" / f"{_fingerprint(checkpoint.folder)}.safetensors"
    file = checkpoint.folder.parent / neighbours.FILE
    # A run's folder has its model in a folder of this name. What comes from the Hub's cache has no pictures.
    return file if checkpoint.revision is None and checkpoint.folder.name == "model" and file.is_file() else None


@functools.cache
def _fingerprint(folder: Path) -> str:
    """Changes with the weights in a folder that itself does not change while the program runs."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def similar(classifier: LeafClassifier, photo: Image.Image) -> list[Neighbour]:
    """The three pictures that this photo is most like, the most alike first; none where the model has no pictures.

    Alike is a small angle between the [CLS] tokens three quarters up the encoder.
    Raises UserError where the pictures are broken or belong to another model.
    """
    file = pictures_file(classifier.checkpoint)
    if file is None or not file.is_file():
        return []
    layer = neighbours.layer_in(file)
    if not 1 <= layer <= classifier.blocks:
        raise UserError(f"The file {file.name} belongs to another model. Delete it; a new fine-tune writes it again.")
    _, features = classifier.logits_and_tokens([photo], layer)
    return neighbours.nearest(file, features[0].numpy(), COUNT)


def keep_drawn(classifier: LeafClassifier, leaves: Iterable[tuple[str, Image.Image]]) -> None:
    """Look at drawn leaves, (label, picture) each, for a model whose train photos are not kept: once, a few seconds."""
    file = pictures_file(classifier.checkpoint)
    with _making:
        if file is None or file.is_file():
            return
        labels, photos = zip(*leaves)
        layer = layer_of(classifier.blocks)
        _, features = classifier.logits_and_tokens(photos, layer)
        targets = [classifier.labels.index(label) for label in labels]
        try:
            Pictures(layer, features.numpy(), targets, [_jpeg(photo) for photo in photos], classifier.labels).save(file)
        except OSError as error:
            raise UserError(f"The drawn leaves cannot be kept ({error.strerror}). Free some disk space and try again.") from None


def _jpeg(photo: Image.Image) -> bytes:
    small = photo.convert("RGB")
    small.thumbnail((neighbours.SIDE, neighbours.SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
