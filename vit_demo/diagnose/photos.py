"""A photo that is to be diagnosed: opened safely, no larger than a diagnosis needs, or refused in a sentence
that says what to do.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.photos.rgb import upright_rgb
from vit_demo.photos.safe_open import MAX_KEPT_PIXELS, Unfit, opened


def open_photo(path: str | Path) -> Image.Image:
    """A photo file as an upright RGB image, the first frame of an animated one.

    Transparent parts become white, 16-bit grey is scaled to 8 bit, and what has more than MAX_KEPT_PIXELS is
    reduced by whole factors. Raises UserError where the file is missing, empty, too large, no photo, or
    broken.
    """
    path = Path(path)
    _check_file(path)
    try:
        with opened(path) as photo:
            return upright_rgb(photo, MAX_KEPT_PIXELS)
    except Unfit as refused:
        raise refused.named(path.name) from None


def _check_file(path: Path) -> None:
    """Raise UserError where there is no file at this path."""
    try:
        path.stat()
    except (OSError, ValueError):  # ValueError: a name with a null character
        raise UserError("error.diagnose.no_photo", path=str(path)) from None
    if path.is_dir():
        raise UserError("error.diagnose.is_folder", path=str(path))
    if not path.is_file():
        raise UserError("error.diagnose.no_file", name=path.name)
