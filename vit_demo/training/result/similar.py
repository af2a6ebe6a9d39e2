"""Small pictures of the train photos, kept beside a finished model so that an answer can say which of them it
looks like.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.neighbours import SIDE, Pictures
from vit_demo.model.readout import readout_of
from vit_demo.training.photos import Photos
from vit_demo.training.result.abstain import Seen

QUALITY = 75


def keep(file: Path, classifier: LeafClassifier, seen: Seen, photos: Photos) -> bool:
    """Write those of the prepared train photos that the model was shown by ``look_at``; about 7 kB each, 15
    MB for 2,000.

    Returns whether they were written: a disk too full for them must not cost a run that is finished.
    """
    places = np.searchsorted(photos.rows, seen.rows)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        jpegs = list(pool.map(lambda place: _jpeg(photos.pixels[place]), places))
    try:
        Pictures(readout_of(classifier.blocks), seen.features, seen.targets, jpegs, classifier.labels).save(
            file
        )
    except OSError:
        return False
    return True


def _jpeg(pixels: np.ndarray) -> bytes:
    """A photo as the model gets it, uint8 (3, H, W), as a small JPEG."""
    photo = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    photo.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
