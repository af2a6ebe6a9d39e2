"""From whatever a picture file holds to upright RGB: one way for training, browsing and diagnosing."""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image

# What undoes each EXIF orientation; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}


def upright_rgb(photo: Image.Image) -> Image.Image:
    """An opened picture of any mode as upright RGB: turned by its EXIF, white where it is transparent, at most 8 bit a colour."""
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
