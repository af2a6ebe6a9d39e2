"""Open one photo file that a stranger sent: everything is checked before anything is decoded."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from vit_demo import settings
from vit_demo.errors import UserError

# What cameras, phones and browsers write. Formats with scripts or many parsers (SVG, PDF, EPS) stay out.
# A phone's MPO is opened as the JPEG that it begins with.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
FORMATS_SENTENCE = "JPEG, PNG, WebP, GIF, BMP or TIFF"

# What undoes each EXIF orientation; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}

# Pillow registers most formats only on demand, and looks up a name in FORMATS before that.
Image.init()


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
                return _upright_rgb(photo)
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


def _upright_rgb(photo: Image.Image) -> Image.Image:
    photo.load()
    photo = _upright(photo)
    if photo.mode == "F" or photo.mode.startswith("I"):
        photo = _to_8_bit(photo)
    if photo.mode in ("RGBA", "LA", "PA") or "transparency" in photo.info:
        photo = photo.convert("RGBA")
        white = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(white, photo)
    return photo.convert("RGB")


def _upright(photo: Image.Image) -> Image.Image:
    """Turned as its EXIF data say. ImageOps.exif_transpose would also write these anew, which fails where any tag is odd."""
    try:
        turn = TURNS.get(photo.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # broken EXIF data do the pixels no harm
        turn = None
    return photo if turn is None else photo.transpose(turn)


def _to_8_bit(photo: Image.Image) -> Image.Image:
    """Grey of more than 8 bit as 8 bit: Pillow's own conversion would cut off instead of scaling."""
    values = np.nan_to_num(np.asarray(photo, dtype=np.float32), posinf=0.0, neginf=0.0)
    high = float(values.max())
    # 32-bit modes also hold 8-bit values, and shares from 0 to 1.
    whites = (65535.0,) if photo.mode.startswith("I;16") else (1.0, 255.0, 65535.0)
    white = next((white for white in whites if high <= white), high)
    return Image.fromarray(np.clip(values * (255.0 / white), 0, 255).round().astype(np.uint8))
