"""From whatever a picture file holds to upright RGB: one way for training, browsing and diagnosing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image

# What undoes each EXIF orientation; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A large picture is converted in strips of about as many pixels, so that no second one of its size is ever
# made.
STRIP_PIXELS = 2_000_000


def upright_rgb(photo: Image.Image, max_pixels: int | None = None) -> Image.Image:
    """An opened picture of any mode as upright RGB: turned by its EXIF, white where it is transparent, at
    most 8 bit a colour.

    max_pixels: a larger one is made smaller by whole factors (mean of each block), a JPEG already while it is
    decoded.
    """
    if max_pixels:
        _decode_smaller(photo, max_pixels)
    photo.load()
    turn = _turn(photo)
    factors = _factors(photo.size, max_pixels)
    white = _white(photo) if photo.mode == "F" or photo.mode.startswith("I") else None
    rgb = _rgb(photo, white) if factors == (1, 1) else _reduced_rgb(photo, factors, white)
    return rgb if turn is None else rgb.transpose(turn)


def _decode_smaller(photo: Image.Image, max_pixels: int) -> None:
    """Let a JPEG be decoded at a half, a quarter or an eighth of its sides; what stays too large after it is
    reduced like all others.
    """
    width, height = photo.size
    scale = next((scale for scale in (1, 2, 4, 8) if width * height <= max_pixels * scale**2), 8)
    if photo.format in ("JPEG", "MPO") and scale > 1:
        photo.draft(None, (max(1, width // scale), max(1, height // scale)))


def _turn(photo: Image.Image) -> Image.Transpose | None:
    """What makes it upright as its EXIF data say. ImageOps.exif_transpose would also write these anew, which
    fails where any tag is odd.
    """
    try:
        return TURNS.get(photo.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF data do the pixels no harm
        return None


def _factors(size: tuple[int, int], max_pixels: int | None) -> tuple[int, int]:
    """By how much to divide width and height so that at most max_pixels stay: the same for both, unless one
    side has too few pixels.
    """
    width, height = size
    excess = width * height / max_pixels if max_pixels else 1.0
    if excess <= 1:
        return 1, 1
    factor = int(np.ceil(excess**0.5))
    across, down = min(factor, width), min(factor, height)
    return max(across, int(np.ceil(excess / down))), max(down, int(np.ceil(excess / across)))


def _strips(photo: Image.Image, multiple: int) -> Iterator[tuple[int, Image.Image]]:
    """(first row, picture) of strips of all columns, each of a multiple of so many rows, but for the last."""
    rows = max(1, STRIP_PIXELS // photo.width // multiple) * multiple
    for top in range(0, photo.height, rows):
        yield top, photo.crop((0, top, photo.width, min(top + rows, photo.height)))


def _reduced_rgb(photo: Image.Image, factors: tuple[int, int], white: float | None) -> Image.Image:
    across, down = factors
    small = Image.new("RGB", (-(-photo.width // across), -(-photo.height // down)))
    for top, strip in _strips(photo, down):
        small.paste(_rgb(strip, white).reduce(factors), (0, top // down))
    return small


def _rgb(photo: Image.Image, white: float | None) -> Image.Image:
    if white is not None:
        photo = _to_8_bit(photo, white)
    if photo.mode in ("RGBA", "LA", "PA") or "transparency" in photo.info:
        photo = photo.convert("RGBA")
        background = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(background, photo)
    return photo.convert("RGB")


def _white(photo: Image.Image) -> float:
    """The value of white in grey of more than 8 bit: the end of its range, or the brightest pixel where that
    is beyond each usual end.
    """
    if photo.mode.startswith("I;16"):
        return 65535.0
    high = max(float(_finite(strip).max()) for _, strip in _strips(photo, 1))
    # 32-bit modes also hold 8-bit values, and shares from 0 to 1.
    return next((white for white in (1.0, 255.0, 65535.0) if high <= white), high)


def _to_8_bit(photo: Image.Image, white: float) -> Image.Image:
    """Grey of more than 8 bit as 8 bit: Pillow's own conversion would cut off instead of scaling."""
    return Image.fromarray(np.clip(_finite(photo) * (255.0 / white), 0, 255).round().astype(np.uint8))


def _finite(photo: Image.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(photo, dtype=np.float32), posinf=0.0, neginf=0.0)
