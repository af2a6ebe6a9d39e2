"""Look at one photo file that came from outside: may it be kept, under which name, and what is it recognised by."""

from __future__ import annotations

import functools
import os
import re
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vit_demo import settings
from vit_demo.data.duplicates import print_of
from vit_demo.data.sources import PHOTO_ENDINGS
from vit_demo.errors import UserError
from vit_demo.pixels import upright_rgb

HEIF_ENDINGS = (".heic", ".heif")
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
ENDINGS = PHOTO_ENDINGS + HEIF_ENDINGS
# An MPO (two pictures of a phone in one JPEG) is opened as a JPEG.
FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif", "GIF": ".gif"}
# Any format but a plain JPEG takes up to 17 bytes a pixel while it is decoded (WebP, two canvases): so it stays under 1 GB.
MAX_OTHER_PIXELS = 50_000_000
MAX_SIDE = 65_535
TILE_WIDTH, TILE_LENGTH = 322, 323
# A photo is recognised on a picture of about as many pixels; a JPEG is decoded no larger.
PRINT_PIXELS = 1_000_000
JPEG_QUALITY = 95
MAX_NAME_BYTES = 120
# What computers put beside photos, and nobody means to bring.
CLUTTER = ("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir", "lost+found")
# Names that are devices on Windows, whatever their ending.
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


class Unfit(UserError):
    """A photo that is left out. Says why, as the end of a sentence that begins with its name."""


@dataclass(frozen=True)
class Looked:
    """A photo that can be kept. ending: of its format. digest, hash: what :func:`vit_demo.data.duplicates.print_of` says of it."""

    ending: str
    digest: str
    hash: np.ndarray


def final_name(name: str, looked: Looked) -> str:
    """A safe name, with the ending that tools look for: as it was, or that of the format where it was none or HEIC."""
    stem, ending = os.path.splitext(name)
    return safe_name(name if ending.lower() in PHOTO_ENDINGS else (stem if ending.lower() in HEIF_ENDINGS else name) + looked.ending)


def is_clutter(parts: tuple[str, ...]) -> bool:
    """Whether a path is hidden or leads through what computers leave beside photos (.DS_Store, .ipynb_checkpoints, __MACOSX)."""
    return any(part.startswith(".") or part.lower() in CLUTTER for part in parts)


def look_at(file: Path) -> Looked:
    """Decode a photo to its end; a HEIC becomes a JPEG in its place, so that each tool can read it. Unfit where it cannot be kept."""
    limits = settings.load()
    if file.stat().st_size > limits.max_photo_bytes:
        raise Unfit(f"is larger than {limits.max_photo_bytes // 2**20} MB.")
    heif = _is_heif(file)
    if heif and not _read_heif():
        raise Unfit("is a HEIC photo, which cannot be read here without pillow-heif.")
    try:
        # Our own limit takes the place of Pillow's warning; its others (odd EXIF, cut TIFF tags) tell a person nothing.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=("HEIF",) if heif else tuple(FORMATS)) as photo:
                _check_size(photo, limits.max_photo_pixels)
                ending = FORMATS.get(photo.format, ".jpg")
                rgb = upright_rgb(photo, None if heif else PRINT_PIXELS)
    except Unfit:
        raise
    except Image.UnidentifiedImageError:
        raise Unfit("is not a photo.") from None
    except (Image.DecompressionBombError, MemoryError):
        raise Unfit("has more pixels than can be opened.") from None
    except Exception:  # Pillow says in a dozen ways that the data are bad, down to struct.error and zlib.error
        raise Unfit("is damaged.") from None
    if heif:
        rgb.save(file, "JPEG", quality=JPEG_QUALITY)
    return Looked(ending, *print_of(rgb))


def _is_heif(file: Path) -> bool:
    with file.open("rb") as opened:
        head = opened.read(12)
    return head[4:8] == b"ftyp" and head[8:] in HEIF_BRANDS


@functools.cache
def _read_heif() -> bool:
    """Teach Pillow to read HEIC, once in a process; False where pillow-heif is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _check_size(photo: Image.Image, max_pixels: int) -> None:
    """By what the header says, before anything is decoded."""
    width, height = photo.size
    plain = photo.format in ("JPEG", "MPO") and not photo.info.get("progressive")
    most = max_pixels if plain else min(max_pixels, MAX_OTHER_PIXELS)
    across, down = photo.size
    if photo.format == "TIFF":  # its tiles may be larger than the photo, and are decoded whole
        across, down = (int(photo.tag_v2.get(tag, 0)) for tag in (TILE_WIDTH, TILE_LENGTH))
    if max(width * height, across * down) > most:
        raise Unfit(f"has {max(width * height, across * down) / 1e6:.0f} million pixels; at most {most / 1e6:.0f} million can be opened.")
    if max(width, height) > MAX_SIDE:
        raise Unfit(f"has a side of {max(width, height)} pixels; at most {MAX_SIDE} can be opened.")


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
    """The name, or "name-2" and so on where that is taken; capital and small letters are one, as on many disks. Adds it to ``taken``."""
    stem, ending = os.path.splitext(name)
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{stem}-{number}{ending}"
    taken.add(free.casefold())
    return free
