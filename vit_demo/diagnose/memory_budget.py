"""How much memory the photos that are open at the same time may take."""

from __future__ import annotations

from pathlib import Path

from vit_demo.common.errors import UserError
from vit_demo.common.threads import MemoryBudget
from vit_demo.photos.safe_open import DECODE_BYTES, opened

# What decoding and judging a photo takes at most, in bytes a pixel, for the two formats nearly all photos are
# in, and for all others.
USUAL, UNUSUAL = 10, 20
# Beyond this a photo is made smaller as it is opened, so what is done with it afterwards costs no more.
SMALL_BYTES = 1_000_000


# Of the whole process: several pages and commands may diagnose at once.
PHOTO_MEMORY = MemoryBudget(DECODE_BYTES)


def bytes_to_open(path: str | Path) -> int:
    """An upper estimate of the memory that opening this photo takes, from its header; all that there is where
    the header says nothing.
    """
    try:
        with opened(Path(path)) as photo:
            width, height = photo.size
            return SMALL_BYTES + width * height * (USUAL if photo.format in ("JPEG", "PNG") else UNUSUAL)
    except UserError:  # open_photo, which comes next, says what is wrong with it
        return DECODE_BYTES
