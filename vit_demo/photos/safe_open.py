"""The only door by which bytes become a picture: everything is checked before anything is decoded.

Whoever needs a picture from a file or from stored bytes takes :func:`opened` or :func:`decode`; nothing else
in the program calls Pillow's ``open``.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from PIL import Image, UnidentifiedImageError

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.photos.rgb import upright_rgb

if TYPE_CHECKING:
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.TiffImagePlugin import TiffImageFile

# What cameras, phones and browsers write, and the usual ending of each. Formats with scripts or many parsers
# (SVG, PDF, EPS) stay out. A phone's MPO is opened as the JPEG that it begins with.
FORMATS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "AVIF": ".avif",
}
# "ftyp" and one of these brands begin a HEIC file (ISO/IEC 23008-12, annex B).
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")

# A larger photo is made smaller while it is read: no model looks at more, and no step after it should hold
# more.
MAX_KEPT_PIXELS = 12_500_000
# What decoding may take at its peak, so that with all around it one photo stays under 1 GB.
DECODE_BYTES = 850_000_000
# Measured peaks in bytes a pixel, the worst kind of each format, rounded up: Pillow's own picture (4) and
# what the decoder holds beside it. A WebP is drawn on two canvases first, a TIFF may be one single compressed
# strip, a HEIC has three planes of up to 16 bit. Of AVIF 13.5 was measured with four planes of 8 bit; of 12
# bit these take 4 more.
BYTES_PER_PIXEL = {
    "PNG": 4.25,
    "GIF": 4.25,
    "BMP": 4.25,
    "WEBP": 17.0,
    "TIFF": 12.0,
    "HEIF": 14.0,
    "AVIF": 18.0,
}
# The longest side that a JPEG can have; a PNG may name a row of two thousand million pixels, of which its
# decoder keeps two.
MAX_SIDE = 65_535

TILE_WIDTH, TILE_LENGTH = 322, 323

# Pillow's own limit is lower than ours, and is for the whole process. Its warnings (odd EXIF, cut TIFF tags)
# tell a person nothing.
Image.MAX_IMAGE_PIXELS = settings.Settings.max_photo_pixels
warnings.filterwarnings("ignore", module=r"PIL\.")


class Unfit(UserError):
    """A file that is not opened. It is called "the photo" until it is :meth:`named`.

    why: key of the sentence that says what is wrong, with the file's {name} in it. advice: key of the one
    that says what who sent it can do.
    """

    def __init__(self, why: str, advice: str, /, **values: Any) -> None:
        super().__init__(
            "error.photos.unfit",
            why=Sentence(why, {"name": Sentence("error.photos.the_photo"), **values}),
            advice=Sentence(advice),
        )

    def why(self, name: str | Sentence) -> Sentence:
        """What is wrong with the file of this name, without the advice."""
        said = self.sentence.values["why"]
        return Sentence(said.key, {**said.values, "name": name})

    def named(self, name: str | Sentence) -> UserError:
        """The same about the file of this name."""
        return UserError("error.photos.unfit", why=self.why(name), advice=self.sentence.values["advice"])


@contextlib.contextmanager
def opened(source: Path | bytes, max_other_pixels: int | None = None) -> Iterator[Image.Image]:
    """The photo of a file or of its bytes, checked by what its header says and not yet decoded. Raises Unfit
    for all that is wrong, in the block too.

    It is to be decoded by ``rgb.upright_rgb`` with a number of pixels, else a JPEG takes more memory than
    is reckoned with. max_other_pixels: a lower limit for all but a JPEG of one scan, for who decodes them
    whole.
    """
    try:
        size, limit = (
            len(source) if isinstance(source, bytes) else source.stat().st_size,
            settings.load().max_photo_bytes,
        )
        if size == 0:
            raise Unfit("error.photos.empty", "error.photos.again")
        if size > limit:
            raise Unfit("error.photos.bytes", "error.photos.smaller", limit=limit // 2**20)
        is_heif = _is_heif(source)
        if is_heif and not _read_heif():
            raise Unfit("error.photos.no_heic", "error.photos.install_heic")
        with Image.open(_file(source), formats=("HEIF",) if is_heif else tuple(FORMATS)) as photo:
            _check_size(photo, max_other_pixels)
            yield photo
    except UserError:
        raise
    except UnidentifiedImageError:
        raise Unfit("error.photos.no_photo", "error.photos.choose") from None
    except (Image.DecompressionBombError, MemoryError):
        raise Unfit("error.photos.too_large_here", "error.photos.smaller") from None
    except PermissionError:
        raise Unfit("error.photos.forbidden", "error.photos.permissions") from None
    except (
        Exception
    ):  # Pillow says in a dozen ways that the data are bad, down to struct.error and zlib.error
        raise Unfit("error.photos.damaged", "error.photos.again") from None


def decode(stored: dict[str, Any], max_pixels: int = MAX_KEPT_PIXELS) -> Image.Image | None:
    """A stored image ({"bytes", "path"}, as the datasets library keeps it) as an upright RGB photo; None
    where it cannot be opened.

    max_pixels: a photo of more is reduced by whole factors.
    """
    if not stored["bytes"] and not stored["path"]:
        return None
    try:
        with opened(stored["bytes"] or Path(stored["path"])) as photo:
            return upright_rgb(photo, max_pixels)
    except Unfit:
        return None


def _file(source: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _is_heif(source: Path | bytes) -> bool:
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with source.open("rb") as file:
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


def _check_size(photo: Image.Image, max_other_pixels: int | None) -> None:
    """Raise Unfit where the header names more pixels, a longer side or more memory to decode than is
    allowed.
    """
    width, height = photo.size
    most, pixels = settings.load().max_photo_pixels, _decoded_pixels(photo)
    if width * height > most:
        raise _too_many(width * height, most)
    if max(width, height) > MAX_SIDE:
        raise Unfit("error.photos.side", "error.photos.smaller", pixels=max(width, height), most=MAX_SIDE)
    cost = _bytes_per_pixel(photo)
    if pixels * cost > DECODE_BYTES:
        raise Unfit(
            "error.photos.memory",
            "error.photos.plain_jpeg",
            millions=pixels / 1e6,
            most=int(DECODE_BYTES / cost / 1e6),
        )
    if max_other_pixels and pixels > max_other_pixels and cost > 1:
        raise _too_many(pixels, max_other_pixels)


def _too_many(pixels: int, most: int) -> Unfit:
    return Unfit("error.photos.pixels", "error.photos.smaller", millions=pixels / 1e6, most=most / 1e6)


def _decoded_pixels(photo: Image.Image) -> int:
    """Pixels that the decoder makes room for: a TIFF's tiles and strips may be larger than the photo."""
    width, height = photo.size
    if photo.format == "TIFF":
        tags = cast("TiffImageFile", photo).tag_v2
        across, down = int(tags.get(TILE_WIDTH, 0)), int(tags.get(TILE_LENGTH, 0))
        return max(width * height, across * down)
    return width * height


def _bytes_per_pixel(photo: Image.Image) -> float:
    """Peak memory of decoding by pixels of the photo as stored: 1 for a JPEG of one scan, more for all
    others.

    A JPEG is decoded reduced, row by row; but of one in several scans (progressive) libjpeg keeps all
    coefficients, 2 bytes each.
    """
    if photo.format not in ("JPEG", "MPO"):
        return BYTES_PER_PIXEL[cast("str", photo.format)]
    jpeg = cast("JpegImageFile", photo)
    if not _has_several_scans(jpeg):
        return 1.0
    areas = [across * down for _, across, down, _ in jpeg.layer]
    return 1.0 + 2 * sum(areas) / (
        max(across for _, across, _, _ in jpeg.layer) * max(down for _, _, down, _ in jpeg.layer)
    )


def _has_several_scans(photo: JpegImageFile) -> bool:
    """Whether a JPEG is progressive, or its first scan leaves colours out."""
    if photo.info.get("progressive"):
        return True
    file = cast("IO[bytes]", photo.fp)  # None only once it is closed
    here = file.tell()
    try:
        return _colours_of_first_scan(file) != photo.layers
    finally:
        file.seek(here)


def _colours_of_first_scan(file: IO[bytes]) -> int:
    """From one segment to the next to the start of scan (ITU T.81, B.1.1 and B.2.3); 0 where anything else
    stands between them.
    """
    file.seek(2)
    while file.read(1) == b"\xff":
        while (code := file.read(1)) == b"\xff":  # fill bytes
            pass
        length = int.from_bytes(file.read(2), "big")
        if code == b"\xda":
            return file.read(1)[0]
        file.seek(length - 2, 1)
    return 0
