"""Odd and hostile files as they reach a public page: each is either a photo of a known size or refused in one
sentence.
"""

from __future__ import annotations

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, PngImagePlugin
from pillow_heif import register_heif_opener

register_heif_opener()

RED, GREEN, BLUE = (210, 40, 40), (40, 200, 60), (30, 60, 220)
SIZE = (120, 80)
ORIENTATION = 0x0112
NO_PHOTO, DAMAGED, PIXELS, MEMORY = (
    "is not a photo",
    "is damaged",
    "million pixels; at most",
    "takes too much memory",
)
TURN = Image.Transpose
# How a camera stores what is upright, for each EXIF orientation (TIFF 6.0, tag 274).
STORED = {
    1: None,
    2: TURN.FLIP_LEFT_RIGHT,
    3: TURN.ROTATE_180,
    4: TURN.FLIP_TOP_BOTTOM,
    5: TURN.TRANSPOSE,
    6: TURN.ROTATE_90,
    7: TURN.TRANSVERSE,
    8: TURN.ROTATE_270,
}


@dataclass(frozen=True)
class Odd:
    """One file. size: of the upright photo that must come out, or None where it is refused in a sentence with
    these words.

    colours: what must be seen in the corner top left, below it on the left, and on the right; None for a
    photo without marks.
    """

    name: str
    make: Callable[[], bytes]
    size: tuple[int, int] | None
    words: str = ""
    colours: tuple[tuple[int, ...], ...] | None = None


def marked(mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right, green in the corner top left."""
    photo = Image.new("RGB", SIZE, RED)
    photo.paste(BLUE, (SIZE[0] // 2, 0, *SIZE))
    photo.paste(GREEN, (0, 0, SIZE[0] // 4, SIZE[1] // 4))
    return photo.convert(mode)


def encoded(photo: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int, kind: str = "JPEG") -> bytes:
    how = STORED.get(orientation)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(marked() if how is None else marked().transpose(how), kind, exif=exif.tobytes())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], depth: int, colour: int, row: bytes, rows: int | None = None) -> bytes:
    """A PNG whose rows are all alike, without ever holding the picture; rows: that it really has, all that it
    names by default.
    """
    squeeze = zlib.compressobj(1)
    data = [squeeze.compress(b"\0" + row) for _ in range(size[1] if rows is None else rows)]
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", b"".join([*data, squeeze.flush()]))
        + chunk(b"IEND", b"")
    )


def halves(width: int, depth: int, alpha: bool = False) -> bytes:
    """A row of RGB, red then blue; with alpha, and then all solid."""
    dots = [bytes((*colour, 255) if alpha else colour) * (width // 2) for colour in (RED, BLUE)]
    return b"".join(dots) if depth == 8 else b"".join(bytes((value, value)) for value in b"".join(dots))


def huge_jpeg(width: int, height: int) -> bytes:
    """A grey JPEG of any size in a few bytes: each block of 8 x 8 is "no change" and "end of block", 00 1010
    in the usual Huffman tables.
    """
    small = bytearray(encoded(Image.new("L", (8, 8), 128), "JPEG"))
    frame = small.index(b"\xff\xc0")
    small[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    scan = small.index(b"\xff\xda")
    head = small[: scan + 2 + int.from_bytes(small[scan + 2 : scan + 4], "big")]
    blocks = -(-width // 8) * -(-height // 8)
    return bytes(head) + b"\x28\xa2\x8a" * -(-blocks // 4) + b"\xff\xd9"


def resized_jpeg(width: int, height: int, **options: object) -> bytes:
    """A small JPEG whose header names another size."""
    small = bytearray(encoded(marked(), "JPEG", **options))
    frame = small.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    small[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(small)


def one_colour_a_scan(content: bytes) -> bytes:
    """A JPEG whose first scan says that it holds the first colour alone."""
    scan = content.index(b"\xff\xda")
    length = int.from_bytes(content[scan + 2 : scan + 4], "big")
    return content[:scan] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + content[scan + 2 + length :]


def tiff_tile(side: int) -> bytes:
    """A TIFF of 16 x 16 pixels in one deflated tile of any side."""
    entries = [
        (256, 4, 16),
        (257, 4, 16),
        (258, 3, 8),
        (259, 3, 8),
        (262, 3, 1),
        (277, 3, 1),
        (322, 4, side),
        (323, 4, side),
        (324, 4, 0),
        (325, 4, 0),
    ]
    data = zlib.compress(b"\0" * 2**20)
    entries[8:] = [(324, 4, 8 + 2 + 12 * len(entries) + 4), (325, 4, len(data))]
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + b"\0" * 4 + data


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("leaf.jpg", encoded(marked(), "JPEG"))
    return file.getvalue()


def clear_png(mode: str) -> bytes:
    """The marks' right half alone; what was on the left is transparent, and white when laid on white."""
    photo = marked("RGBA")
    photo.paste((0, 0, 0, 0), (0, 0, SIZE[0] // 2, SIZE[1]))
    return encoded(photo.convert(mode), "PNG")


def noisy() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8))


def bomb_in_text() -> bytes:
    """A PNG with 100 MB of words in 100 kB."""
    words = PngImagePlugin.PngInfo()
    words.add(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 100_000_000, 9))
    return encoded(marked(), "PNG", pnginfo=words)


def _seen() -> Iterator[Odd]:
    """Photos that must be answered, with marks."""

    def odd(name: str, make: Callable[[], bytes], colours: tuple = (GREEN, RED, BLUE)) -> Odd:
        return Odd(name, make, SIZE, colours=colours)

    def frames(kind: str) -> bytes:  # new pictures each time: Pillow leaves notes of the last format on them
        return encoded(
            marked(),
            kind,
            save_all=True,
            append_images=[Image.new("RGB", SIZE, "white"), Image.new("RGB", SIZE, "black")],
        )

    white, grey = (255, 255, 255), tuple((marked("L").getpixel(place),) * 3 for place in PLACES)
    for orientation in STORED:
        yield odd(f"turned{orientation}.jpg", functools.partial(turned, orientation))
        yield odd(f"turned{orientation}.heic", functools.partial(turned, orientation, "HEIF"))
    yield odd("turned6.webp", lambda: turned(6, "WEBP"))
    yield odd("turned99.jpg", lambda: turned(99))
    yield odd("exif.jpg", lambda: encoded(marked(), "JPEG", exif=b"Exif\0\0garbage"))
    yield odd("progressive.jpg", lambda: encoded(marked(), "JPEG", progressive=True))
    yield odd("cmyk.jpg", lambda: encoded(marked("CMYK"), "JPEG"))
    yield odd("grey.jpg", lambda: encoded(marked("L"), "JPEG"), grey)
    yield odd("tail.jpg", lambda: encoded(marked(), "JPEG") + b"\xff" * 1000)
    yield odd("lying.png", lambda: encoded(marked(), "JPEG"))
    yield odd("lying heic.jpg", lambda: encoded(marked(), "HEIF"))
    yield odd("no ending", lambda: encoded(marked(), "PNG"))
    yield odd("größe 葉.png", lambda: encoded(marked("P"), "PNG"))
    yield odd("phone.mpo", lambda: frames("MPO"))
    yield odd("clear.png", lambda: clear_png("RGBA"), (white, white, BLUE))
    yield odd("clear grey.png", lambda: clear_png("LA"), (white, white, grey[2]))
    yield odd(
        "16 grey.png",
        lambda: encoded(Image.fromarray(np.asarray(marked("L")).astype(np.uint16) * 257), "PNG"),
        grey,
    )
    yield odd(
        "16 grey.tif",
        lambda: encoded(
            Image.fromarray((np.asarray(marked("L")).astype(np.uint16) * 257).astype(">u2")), "TIFF"
        ),
        grey,
    )
    yield odd(
        "shares.tif",
        lambda: encoded(
            Image.fromarray(np.asarray(marked("L")).astype(np.float32) / 255), "TIFF", compression="tiff_lzw"
        ),
        grey,
    )
    yield odd("16 colour.png", lambda: png(SIZE, 16, 2, halves(SIZE[0], 16)), (RED, RED, BLUE))
    yield odd("16 clear.png", lambda: png(SIZE, 16, 6, halves(SIZE[0], 16, alpha=True)), (RED, RED, BLUE))
    yield odd("whole.webp", lambda: encoded(marked("RGBA"), "WEBP", lossless=True))
    yield odd("moving.webp", lambda: frames("WEBP"))
    yield odd("moving.gif", lambda: frames("GIF"))
    yield odd("moving.png", lambda: frames("PNG"))
    yield odd("plain.bmp", lambda: encoded(marked(), "BMP"))
    yield odd("cmyk.tif", lambda: encoded(marked("CMYK"), "TIFF"))
    yield odd("pages.tif", lambda: frames("TIFF"))
    yield odd("jpeg.tif", lambda: encoded(marked(), "TIFF", compression="jpeg"))


def _shaped() -> Iterator[Odd]:
    """Photos of odd shapes and sizes that must be answered."""
    yield Odd("dot.png", lambda: encoded(Image.new("RGB", (1, 1), RED), "PNG"), (1, 1))
    yield Odd("dot.heic", lambda: encoded(Image.new("RGB", (1, 1), RED), "HEIF"), (1, 1))
    yield Odd("wide.png", lambda: encoded(Image.new("RGB", (5000, 1), RED), "PNG"), (5000, 1))
    yield Odd("high.jpg", lambda: encoded(Image.new("RGB", (1, 5000), RED), "JPEG"), (1, 5000))
    yield Odd("longest.png", lambda: png((65_535, 1), 8, 0, b"\x80" * 65_535), (65_535, 1))
    yield Odd("black.png", lambda: encoded(Image.new("1", (40, 30)), "PNG"), (40, 30))
    yield Odd("200 million.jpg", lambda: huge_jpeg(20_000, 10_000), (5000, 2500))
    yield Odd("long 190 million.jpg", lambda: huge_jpeg(65_496, 2900), (16_374, 725))
    yield Odd(
        "200 million.png",
        lambda: png((20_000, 10_000), 8, 2, halves(20_000, 8)),
        (5000, 2500),
        colours=(RED, RED, BLUE),
    )
    yield Odd(
        "100 million clear.png",
        lambda: png((10_000, 10_000), 8, 6, halves(10_000, 8, alpha=True)),
        (3334, 3334),
        colours=(RED, RED, BLUE),
    )
    yield Odd(
        "100 million 16 bit.png",
        lambda: png((10_000, 10_000), 16, 0, b"\x80\x80" * 10_000),
        (3334, 3334),
        colours=((128,) * 3,) * 3,
    )


def _refused() -> Iterator[Odd]:
    for name, content in {
        "text.jpg": b"Dear model, this is a letter.\n" * 20,
        "page.png": b"<!doctype html><img src=x>",
        "drawing.svg": b"<svg xmlns='x'/>",
        "paper.pdf": b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n",
        "program.jpg": b"\x7fELF" + b"\0" * 400,
        "nothing.png": b"\0" * 500,
        "byte.gif": b"\xff",
        "film.mp4": b"\0\0\0\x18ftypisom" + b"\0" * 400,
        "next.avif": b"\0\0\0\x18ftypavif" + b"\0" * 400,
        "raw.psd": b"8BPS\0\1" + b"\0" * 60,
    }.items():
        yield Odd(name, lambda content=content: content, None, NO_PHOTO)
    yield Odd("empty.jpg", lambda: b"", None, "is empty")
    yield Odd("archive.jpg", zipped, None, NO_PHOTO)
    yield Odd("icon.png", lambda: encoded(marked(), "ICO"), None, NO_PHOTO)
    yield Odd("head.heic", lambda: b"\0\0\0\x18ftypheic" + b"\0" * 400, None, f"{NO_PHOTO}|{DAMAGED}")
    yield Odd("start.jpg", lambda: b"\xff\xd8\xff", None, f"{NO_PHOTO}|{DAMAGED}")
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF"):
        whole = functools.partial(encoded, noisy(), kind)
        yield Odd(
            f"cut.{kind.lower()}",
            lambda whole=whole: whole()[: len(whole()) * 6 // 10],
            None,
            f"{NO_PHOTO}|{DAMAGED}",
        )
    yield Odd("sum.png", lambda: encoded(marked(), "PNG").replace(b"IDATx", b"IDATy"), None, DAMAGED)
    yield Odd("short.png", lambda: png((300, 300), 8, 0, b"\0" * 100, rows=1), None, DAMAGED)
    yield Odd("words.png", bomb_in_text, None, DAMAGED)
    yield Odd("claims.png", lambda: png((100_000, 100_000), 8, 2, b"", rows=1), None, "pixels")
    yield Odd("201 million.jpg", lambda: huge_jpeg(20_000, 10_050), None, PIXELS)
    yield Odd("row.png", lambda: png((200_000_000, 1), 1, 0, b"", rows=1), None, "has a side of")
    yield Odd(
        "progressive 200.jpg",
        lambda: resized_jpeg(20_000, 10_000, progressive=True, subsampling=0),
        None,
        MEMORY,
    )
    yield Odd(
        "scans 200.jpg", lambda: one_colour_a_scan(resized_jpeg(20_000, 10_000, subsampling=0)), None, MEMORY
    )
    yield Odd("tile.tif", lambda: tiff_tile(20_000), None, MEMORY)
    yield Odd(
        "claims.gif",
        lambda: b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + encoded(marked(), "GIF")[10:],
        None,
        "pixels",
    )


PLACES = (
    (SIZE[0] // 12, SIZE[1] // 12),
    (SIZE[0] // 12, SIZE[1] * 3 // 4),
    (SIZE[0] * 11 // 12, SIZE[1] // 2),
)
CORPUS = (*_seen(), *_shaped(), *_refused())
