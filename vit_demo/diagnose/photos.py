"""Open one photo file that a stranger sent: everything is checked before anything is decoded."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vit_demo import settings
from vit_demo.errors import UserError
from vit_demo.pixels import upright_rgb

# What cameras, phones and browsers write. Formats with scripts or many parsers (SVG, PDF, EPS) stay out.
# A phone's MPO is opened as the JPEG that it begins with.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
FORMATS_SENTENCE = "JPEG, PNG, WebP, GIF, BMP or TIFF"

# Pillow's own limit is lower than ours, and is for the whole process.
Image.MAX_IMAGE_PIXELS = settings.Settings.max_photo_pixels


def open_photo(path: str | Path) -> Image.Image:
    """A photo file as an upright RGB image, the first frame of an animated one.

    Transparent parts become white, 16-bit grey is scaled to 8 bit.
    Raises UserError where the file is missing, empty, too large, no photo, or broken.
    """
    path = Path(path)
    limits = settings.load()
    name = path.name
    try:
        size = path.stat().st_size
    except (OSError, ValueError):  # ValueError: a name with a null character
        raise UserError(f"There is no photo {path}. Check the path.") from None
    if path.is_dir():
        raise UserError(f"{path} is a folder. Give the photos in it, for example {path}/*.jpg.")
    if size == 0:
        raise UserError(f"{name} is empty (0 bytes). Take or send the photo again.")
    if size > limits.max_photo_bytes:
        raise UserError(f"{name} is larger than {limits.max_photo_bytes // 2**20} MB. Send a smaller photo.")
    try:
        # Our own pixel limit below takes the place of Pillow's warning; its others (odd EXIF, cut TIFF tags) tell a person nothing.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as photo:
                _check_size(photo, name, limits.max_photo_pixels)
                return upright_rgb(photo)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{name} is not a photo. Choose a picture file: {FORMATS_SENTENCE}.") from None
    except (Image.DecompressionBombError, MemoryError):
        raise UserError(f"{name} has more pixels than can be opened here. Send a smaller photo.") from None
    except PermissionError:
        raise UserError(f"{name} may not be read. Check its permissions.") from None
    except Exception:  # Pillow says in a dozen ways that the data are bad, down to struct.error and zlib.error
        raise UserError(f"{name} is damaged and cannot be read to its end. Take or send the photo again.") from None


def _check_size(photo: Image.Image, name: str, max_pixels: int) -> None:
    width, height = photo.size
    if width * height > max_pixels:
        raise UserError(f"{name} has {width * height / 1e6:.0f} million pixels; at most {max_pixels / 1e6:.0f} million can be opened. Send a smaller photo.")
