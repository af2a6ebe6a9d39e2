"""Many maps on one sheet: the heads of a layer, or all layers and heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.letters import letters, written
from vit_demo.figures.overlay import heat_colours, heat_overlay, mark_patch

# Wide enough to read on a desktop, few enough to read on a phone.
HEADS_IN_A_ROW = 4
HEAD_SIDE, MATRIX_WIDTH = 232, 900
LARGEST_TILE = 112
INK, CHOSEN = "#292524", "#c2410c"


@dataclass(frozen=True)
class Sheet:
    """Where the tiles lie; lengths in pixels. left, top: room for names at the left of the sheet and above
    each row of tiles.

    names_above: whether each row of tiles has names above it, or the first alone.
    """

    rows: int
    columns: int
    width: int
    height: int
    left: int
    top: int
    gap: int = 6
    names_above: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        left, top = self.corner(self.rows - 1, self.columns - 1)
        return left + self.width + self.gap, top + self.height + self.gap

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Left and top of a tile."""
        names = self.top * (row + 1 if self.names_above else 1)
        return self.left + self.gap + column * (self.width + self.gap), names + self.gap + row * (
            self.height + self.gap
        )

    def at(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of the tile at a point, the nearest one beside the tiles; names count to the tile
        below them.
        """
        above = self.top if self.names_above else 0
        start = self.gap + (0 if self.names_above else self.top)
        row, column = (
            int((y - start) // (self.height + self.gap + above)),
            int((x - self.left - self.gap) // (self.width + self.gap)),
        )
        return min(max(row, 0), self.rows - 1), min(max(column, 0), self.columns - 1)


def heads_layout(heads: int, grid: PatchGrid) -> Sheet:
    """The sheet of the heads of one layer, in reading order."""
    columns = min(heads, HEADS_IN_A_ROW)
    return Sheet(
        -(-heads // columns), columns, HEAD_SIDE, _height(HEAD_SIDE, grid), left=0, top=26, names_above=True
    )


def matrix_layout(layers: int, heads: int, grid: PatchGrid) -> Sheet:
    """The sheet of all layers and heads: a column a layer, a row a head."""
    side = max(16, min(LARGEST_TILE, (MATRIX_WIDTH - 54) // layers - 4))
    return Sheet(heads, layers, side, _height(side, grid), left=54, top=54, gap=4)


def heads_sheet(
    photo: Image.Image, maps: np.ndarray, grid: PatchGrid, chosen: int | None, query: int | None
) -> Image.Image:
    """The maps of the heads of one layer over the photo, each stretched from its own least to its own most.

    maps: (heads, rows, columns). chosen: the head that is framed. query: the patch that is marked.
    """
    layout = heads_layout(len(maps), grid)
    sheet = Image.new("RGB", layout.size, "white")
    draw = ImageDraw.Draw(sheet)
    small = photo.convert("RGB").resize((layout.width, layout.height), Image.Resampling.LANCZOS)
    for head, heat in enumerate(maps):
        left, top = layout.corner(*divmod(head, layout.columns))
        tile = heat_overlay(small, heat)
        sheet.paste(tile if query is None else mark_patch(tile, grid, query), (left, top))
        name = written("figures.heads.head", head=head)
        draw.text((left + 2, top - layout.top), name, CHOSEN if head == chosen else INK, letters(20, name))
        if head == chosen:
            _frame(draw, layout, left, top)
    return sheet


def matrix_sheet(
    maps: np.ndarray, grid: PatchGrid, chosen: tuple[int, int | None] | None, query: int | None
) -> Image.Image:
    """The maps of all layers (columns) and heads (rows), a square a patch, each stretched from its own least
    to its own most.

    maps: (layers, heads, rows, columns). chosen: layer and head that are framed, all heads of the layer where
    the head is None.
    """
    layers, heads = maps.shape[:2]
    layout = matrix_layout(layers, heads, grid)
    sheet = Image.new("RGB", layout.size, "white")
    draw, font = ImageDraw.Draw(sheet), letters(19)
    across, down = written("figures.heads.layers"), written("figures.heads.heads")
    draw.text((layout.corner(0, 0)[0], 2), across, INK, letters(19, across))
    draw.text((2, layout.top - 4), down, INK, letters(19, down), anchor="lb")
    colours = heat_colours()[_stretched(maps)]
    for layer in range(layers):
        for head in range(heads):
            left, top = layout.corner(head, layer)
            tile = Image.fromarray(colours[layer, head]).resize(
                (layout.width, layout.height), Image.Resampling.NEAREST
            )
            sheet.paste(tile, (left, top))
            if query is not None:
                _dot(draw, layout, grid, query, (left, top))
            if chosen is not None and layer == chosen[0] and chosen[1] in (head, None):
                _frame(draw, layout, left, top)
            if head == 0:
                draw.text((left + layout.width / 2, top - 4), str(layer), INK, font, anchor="mb")
            if layer == 0:
                draw.text((layout.left - 6, top + layout.height / 2), str(head), INK, font, anchor="rm")
    return sheet


def _height(width: int, grid: PatchGrid) -> int:
    return max(1, round(width * grid.image_height / grid.image_width))


def _stretched(maps: np.ndarray) -> np.ndarray:
    """Each map (..., rows, columns) from 0 at its least to 255 at its most, uint8; an even one is 0."""
    least, most = maps.min(axis=(-2, -1), keepdims=True), maps.max(axis=(-2, -1), keepdims=True)
    span = np.where(most > least, most - least, 1)
    stretched: np.ndarray = ((maps - least) / span * 255).astype(np.uint8)
    return stretched


def _frame(draw: ImageDraw.ImageDraw, layout: Sheet, left: int, top: int) -> None:
    edge = layout.gap // 2
    draw.rectangle(
        (left - edge, top - edge, left + layout.width + edge - 1, top + layout.height + edge - 1),
        outline=CHOSEN,
        width=3,
    )


def _dot(
    draw: ImageDraw.ImageDraw, layout: Sheet, grid: PatchGrid, query: int, corner: tuple[int, int]
) -> None:
    """The patch that looks, on a tile too small for a frame."""
    row, column = divmod(query, grid.columns)
    x, y = (
        corner[0] + (column + 0.5) / grid.columns * layout.width,
        corner[1] + (row + 0.5) / grid.rows * layout.height,
    )
    draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="white", outline="black")
