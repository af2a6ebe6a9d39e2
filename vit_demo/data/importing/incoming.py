"""Look at one photo file that came from outside: may it be kept, under which name, and what is it recognised
by.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vit_demo.data.copies.duplicates import PRINT_PIXELS, fingerprint_of
from vit_demo.data.plan.file_names import HEIF_ENDINGS, PHOTO_ENDINGS, safe_name
from vit_demo.photos.rgb import upright_rgb
from vit_demo.photos.safe_open import FORMATS, opened

# What is kept is decoded whole later on, a HEIC already here: any format but a plain JPEG takes up to 17
# bytes a pixel for it.
MAX_OTHER_PIXELS = 50_000_000
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Looked:
    """A photo that can be kept. ending: of its format. digest, hash: what
    :func:`vit_demo.data.copies.duplicates.fingerprint_of` says of it.
    """

    ending: str
    digest: str
    hash: np.ndarray


def final_name(name: str, looked: Looked) -> str:
    """A safe name, with the ending that tools look for: as it was, or that of the format where it was none or
    HEIC.
    """
    stem, ending = os.path.splitext(name)
    return safe_name(
        name
        if ending.lower() in PHOTO_ENDINGS
        else (stem if ending.lower() in HEIF_ENDINGS else name) + looked.ending
    )


def look_at(file: Path) -> Looked:
    """Decode a photo to its end; a HEIC becomes a JPEG in its place, so that each tool can read it. Unfit
    where it cannot be kept.
    """
    with opened(file, MAX_OTHER_PIXELS) as photo:
        is_heif, ending = photo.format == "HEIF", FORMATS.get(photo.format or "", ".jpg")
        rgb = upright_rgb(photo, None if is_heif else PRINT_PIXELS)
    if is_heif:
        rgb.save(file, "JPEG", quality=JPEG_QUALITY)
    return Looked(ending, *fingerprint_of(rgb))
