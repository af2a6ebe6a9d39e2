"""The map of a data set, as the page draws it (assets/theme/embedding_map.js): points, their words and one
sheet of thumbnails.
"""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

from vit_demo.common.words import say
from vit_demo.explain.internals.embedding_map import Layout
from vit_demo.figures.style import COLOURS

# As embedding_map.js draws them. 7 colours and 6 symbols, both taken in turn, tell 42 classes apart.
SYMBOLS = ("circle", "square", "triangle", "diamond", "down", "pentagon")
# White would be lost between dots, and black marks the mistakes.
PALETTE = tuple(colour for colour in COLOURS if colour != "#000000")
# Sides in pixels of a thumbnail, and the qualities of the JPEG, the best first: the first that is small
# enough is taken.
SIDES = (48, 32, 24)
QUALITIES = (82, 70, 55)
# So many bytes at most; as text that the page takes they are a third more.
SHEET_BYTES = 900_000
# Across the longer side of the map; whole numbers are short to send.
SPAN = 10_000


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A photo as the model gets it, uint8 (3, H, W), to uint8 (48, 48, 3)."""
    return np.asarray(
        Image.fromarray(pixels.transpose(1, 2, 0)).resize((SIDES[0],) * 2, Image.Resampling.BOX)
    )


def sheet(thumbnails: np.ndarray) -> tuple[bytes, int]:
    """Thumbnails (B, 48, 48, 3) side by side in one JPEG of at most SHEET_BYTES, row by row; and the side of
    one in pixels.

    Of so many photos that even the smallest do not fit, the sheet is as small as it gets.
    """
    for side in SIDES:
        picture = _tiled(thumbnails, side)
        for quality in QUALITIES:
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=quality)
            if file.tell() <= SHEET_BYTES:
                return file.getvalue(), side
    return file.getvalue(), side


def columns_of(count: int) -> int:
    """How many thumbnails stand in a row of a sheet of so many."""
    return max(1, math.ceil(math.sqrt(count)))


def _tiled(thumbnails: np.ndarray, side: int) -> Image.Image:
    columns = columns_of(len(thumbnails))
    picture = Image.new("RGB", (columns * side, -(-len(thumbnails) // columns) * side))
    for number, pixels in enumerate(thumbnails):
        row, column = divmod(number, columns)
        picture.paste(
            Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX), (column * side, row * side)
        )
    return picture


def sheet_source(jpeg: bytes, side: int, count: int) -> dict[str, str | int]:
    """A sheet as the page takes it."""
    return {
        "source": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        "side": side,
        "columns": columns_of(count),
    }


def whole_points(layout: Layout) -> tuple[list[int], list[int]]:
    """x and y as whole numbers from 0, one scale for both, so that distances on the page are those of the
    layout.
    """
    low = layout.points.min(axis=0)
    span = float((layout.points.max(axis=0) - low).max()) or 1.0
    x, y = np.round((layout.points - low) / span * SPAN).astype(int).T.tolist()
    return x, y


def classes(names: list[str]) -> list[dict[str, str]]:
    """Colour and symbol of each class."""
    return [
        {"name": name, "colour": PALETTE[number % len(PALETTE)], "symbol": SYMBOLS[number % len(SYMBOLS)]}
        for number, name in enumerate(names)
    ]


def axes(layout: Layout) -> list[str]:
    """What stands at the two axes."""
    if layout.explained is None:
        return [say("figures.embedding_map.tsne"), ""]
    return [
        say("figures.embedding_map.component", number=number, percent=f"{share:.0%}".replace("%", " %"))
        for number, share in enumerate(layout.explained, 1)
    ]
