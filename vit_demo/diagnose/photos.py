"""Open one photo file that a stranger sent: everything is checked before anything is decoded."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from vit_demo import settings
from vit_demo.errors import UserError
from vit_demo.pixels import upright_rgb

# What cameras, phones and browsers write. Formats with scripts or many parsers (SVG, PDF, EPS) stay out.
# A phone's MPO is opened as the JPEG that it begins with.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
FORMATS_SENTENCE = "JPEG, PNG, WebP, HEIC, GIF, BMP or TIFF"
# "ftyp" and one of these brands begin a HEIC file (ISO/IEC 23008-12, annex B).
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")

# A larger photo is made smaller while it is read: no model looks at more, and no step after it should hold more.
MAX_KEPT_PIXELS = 12_500_000
# What decoding may take at its peak, so that with all around it one diagnosis stays under 1 GB.
DECODE_BYTES = 850_000_000
# Measured peaks in bytes a pixel, the worst kind of each format, rounded up: Pillow's own picture (4) and what the decoder holds beside it.
# A WebP is drawn on two canvases first, a TIFF may be one single compressed strip, a HEIC has three planes of up to 16 bit.
BYTES_PER_PIXEL = {"PNG": 4.25, "GIF": 4.25, "BMP": 4.25, "WEBP": 17.0, "TIFF": 12.0, "HEIF": 14.0}
# The longest side that a JPEG can have; a PNG may name a row of two thousand million pixels, of which its decoder keeps two.
MAX_SIDE = 65_535

TILE_WIDTH, TILE_LENGTH = 322, 323

# Pillow's own limit is lower than ours, and is for the whole process.
Image.MAX_IMAGE_PIXELS = settings.Settings.max_photo_pixels


def open_photo(path: str | Path) -> Image.Image:
    """A photo file as an upright RGB image, the first frame of an animated one.

    Transparent parts become white, 16-bit grey is scaled to 8 bit, and what has more than MAX_KEPT_PIXELS is reduced by whole factors.
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
    if not path.is_file():
        raise UserError(f"{name} is a device or a pipe, not a file. Save the photo to a file first.")
    if size == 0:
        raise UserError(f"{name} is empty (0 bytes). Take or send the photo again.")
    if size > limits.max_photo_bytes:
        raise UserError(f"{name} is larger than {limits.max_photo_bytes // 2**20} MB. Send a smaller photo.")
    try:
        is_heif = _is_heif(path)
        if is_heif and not _read_heif():
            raise UserError(f"{name} is a HEIC photo, which cannot be read here: pillow-heif is not installed. Install it, or send a JPEG.")
        # Our own pixel limit below takes the place of Pillow's warning; its others (odd EXIF, cut TIFF tags) tell a person nothing.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("HEIF",) if is_heif else FORMATS) as photo:
                _check_size(photo, name, limits.max_photo_pixels)
                return upright_rgb(photo, MAX_KEPT_PIXELS)
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


def _is_heif(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
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


def _check_size(photo: Image.Image, name: str, max_pixels: int) -> None:
    """Raise UserError where the header names more pixels, a longer side or more memory to decode than is allowed."""
    width, height = photo.size
    if width * height > max_pixels:
        raise UserError(f"{name} has {width * height / 1e6:.0f} million pixels; at most {max_pixels / 1e6:.0f} million can be opened. Send a smaller photo.")
    if max(width, height) > MAX_SIDE:
        raise UserError(f"{name} has a side of {max(width, height)} pixels; at most {MAX_SIDE} can be opened. Send a smaller photo.")
    pixels, cost = _decoded_pixels(photo), _bytes_per_pixel(photo)
    if pixels * cost > DECODE_BYTES:
        raise UserError(
            f"{name} takes too much memory to open: {pixels / 1e6:.0f} million pixels, and at most {int(DECODE_BYTES / cost / 1e6)} million "
            "when saved in this way. Send a smaller photo, or a plain JPEG."
        )


def _decoded_pixels(photo: Image.Image) -> int:
    """Pixels that the decoder makes room for: a TIFF's tiles and strips may be larger than the photo."""
    width, height = photo.size
    if photo.format == "TIFF":
        tags = photo.tag_v2
        across, down = int(tags.get(TILE_WIDTH, 0)), int(tags.get(TILE_LENGTH, 0))
        return max(width * height, across * down)
    return width * height


def _bytes_per_pixel(photo: Image.Image) -> float:
    """Peak memory of decoding by pixels of the photo as stored.

    A JPEG is decoded reduced, row by row; but of one in several scans (progressive) libjpeg keeps all coefficients, 2 bytes each.
    """
    if photo.format not in ("JPEG", "MPO"):
        return BYTES_PER_PIXEL[photo.format]
    if not _has_several_scans(photo):
        return 1.0
    areas = [across * down for _, across, down, _ in photo.layer]
    return 1.0 + 2 * sum(areas) / (max(across for _, across, _, _ in photo.layer) * max(down for _, _, down, _ in photo.layer))


def _has_several_scans(photo: Image.Image) -> bool:
    """Whether a JPEG is progressive, or its first scan leaves colours out."""
    if photo.info.get("progressive"):
        return True
    here = photo.fp.tell()
    try:
        return _colours_of_first_scan(photo.fp) != photo.layers
    finally:
        photo.fp.seek(here)


def _colours_of_first_scan(file: BinaryIO) -> int:
    """From one segment to the next to the start of scan (ITU T.81, B.1.1 and B.2.3); 0 where anything else stands between them."""
    file.seek(2)
    while file.read(1) == b"\xff":
        while (code := file.read(1)) == b"\xff":  # fill bytes
            pass
        length = int.from_bytes(file.read(2), "big")
        if code == b"\xda":
            return file.read(1)[0]
        file.seek(length - 2, 1)
    return 0
