"""Look at one photo file that came from outside: may it be kept, under which name, and what is it recognised
by.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vit_demo.data.copies.duplicates import PRINT_PIXELS, fingerprint_of
from vit_demo.data.names import PHOTO_ENDINGS
from vit_demo.photos.rgb import upright_rgb
from vit_demo.photos.safe_open import FORMATS, opened

HEIF_ENDINGS = (".heic", ".heif")
ENDINGS = PHOTO_ENDINGS + HEIF_ENDINGS
# What is kept is decoded whole later on, a HEIC already here: any format but a plain JPEG takes up to 17
# bytes a pixel for it.
MAX_OTHER_PIXELS = 50_000_000
JPEG_QUALITY = 95
MAX_NAME_BYTES = 120
# What computers put beside photos, and nobody means to bring.
CLUTTER = ("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir", "lost+found")
# Names that are devices on Windows, whatever their ending.
RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)),
}


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


def is_clutter(parts: tuple[str, ...]) -> bool:
    """Whether a path is hidden or leads through what computers leave beside photos (.DS_Store,
    .ipynb_checkpoints, __MACOSX).
    """
    return any(part.startswith(".") or part.lower() in CLUTTER for part in parts)


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


def readable(text: str) -> str:
    """A name from outside, without signs that cannot be shown or stored."""
    return "".join(sign if sign.isprintable() else "_" for sign in text)


def safe_name(text: str) -> str:
    """A name of one file or folder that every system takes, and that is still readable."""
    name = unicodedata.normalize("NFC", text)
    name = "".join("_" if sign in '<>:"/\\|?*\ufffd' else sign for sign in readable(name))
    stem, ending = os.path.splitext(name)
    ending = ending if len(ending.encode()) <= 10 else ""
    stem = name.removesuffix(ending).strip()
    stem = re.sub(r"^\.+", "_", stem) or "_"
    if stem.split(".")[0].strip().lower() in RESERVED:
        stem = "_" + stem
    while len((stem + ending).encode()) > MAX_NAME_BYTES:
        stem = stem[:-1]
    return (stem + ending).rstrip(". ") or "_"


def free_name(name: str, taken: set[str]) -> str:
    """The name, or "name-2" and so on where that is taken; capital and small letters are one, as on many
    disks. Adds it to ``taken``.
    """
    stem, ending = os.path.splitext(name)
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{stem}-{number}{ending}"
    taken.add(free.casefold())
    return free
