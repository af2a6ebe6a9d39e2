"""How files are called: which are photos by their ending, what nobody means to bring, and names that every
system takes.
"""

from __future__ import annotations

import os
import re
import unicodedata

# Of all that safe_open reads.
PHOTO_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
HEIF_ENDINGS = (".heic", ".heif")
ENDINGS = PHOTO_ENDINGS + HEIF_ENDINGS
MAX_NAME_BYTES = 120
# What computers put beside photos, and nobody means to bring.
CLUTTER = ("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir", "lost+found")
# What the datasets library keeps beside its own files.
_KEPT = re.compile(r"(cache-[0-9a-f]{16}|tmp)\w*\.arrow")
# Names that are devices on Windows, whatever their ending.
RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)),
}


def is_clutter(parts: tuple[str, ...]) -> bool:
    """Whether a path is hidden or leads through what computers leave beside photos (.DS_Store,
    .ipynb_checkpoints, __MACOSX).
    """
    return any(part.startswith(".") or part.lower() in CLUTTER for part in parts) or bool(
        _KEPT.fullmatch(parts[-1])
    )


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
