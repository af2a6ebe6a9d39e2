"""Pictures of a photo on its way to tokens: the patch, its values, its vectors."""

from __future__ import annotations

import functools

import numpy as np
import plotly.colors
import plotly.graph_objects as go
from PIL import Image, ImageDraw

from vit_demo.common.words import say
from vit_demo.explain.internals.tokens import PatchRow
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.letters import letters, written
from vit_demo.figures.overlay import draw_grid, mark_grid_patch, mark_patch
from vit_demo.figures.style import FONT, MODEBAR, ORANGE, hover

# Red above zero, blue below, white at zero: also told apart by those who see few colours.
SCALE = "RdBu_r"
# A few values of a ViT are many times larger than the rest: the colours end where this share of the values
# does.
COLOURED = 98
PHOTO_SIDE, TILE, GAP = 448, 216, 4
MATRIX_WIDTH, MATRIX_HEIGHT = 600, 420
LABEL = 24
CHANNELS = ("red", "green", "blue")
MOST_MAPS = 16


def photo_picture(seen: Image.Image, grid: PatchGrid, patch: int) -> Image.Image:
    """The photo as the model gets it, large enough for a page, with a frame round one patch."""
    scale = PHOTO_SIDE / max(seen.size)
    shown = seen.resize((round(seen.width * scale), round(seen.height * scale)), Image.Resampling.LANCZOS)
    return mark_patch(shown, grid, patch)


def sheet_picture(seen: Image.Image, grid: PatchGrid, patch: int) -> Image.Image:
    """The patches pulled apart, with a frame round one."""
    return mark_grid_patch(draw_grid(seen, grid, GAP), grid, patch, GAP)


def sheet_patch(seen: Image.Image, grid: PatchGrid, point: tuple[float, float]) -> int:
    """The patch under a point (x, y) of :func:`sheet_picture`; in a gap, the one before it."""
    step = grid.patch_size * max(1, round(PHOTO_SIDE / seen.width)) + GAP
    column, row = (
        min(int(value // step), count - 1) for value, count in zip(point, (grid.columns, grid.rows))
    )
    return row * grid.columns + column


def patch_picture(seen: Image.Image, grid: PatchGrid, followed: PatchRow) -> Image.Image:
    """One patch large, and the values of its three colours, black for the lowest and white for the highest of
    the patch.
    """
    low, high = float(followed.pixels.min()), float(followed.pixels.max())
    grey = np.round((followed.pixels - low) / (high - low or 1) * 255).astype(np.uint8)
    tiles = [seen.crop(grid.box(followed.index)), *(Image.fromarray(channel) for channel in grey)]
    return _tiles(tiles, tuple(written(f"figures.tokens.{name}") for name in ("the_patch", *CHANNELS)), 2)


def feature_picture(feature_map: np.ndarray, followed: PatchRow) -> Image.Image:
    """The first channels of a CNN's feature map (V, rows, columns), each from its lowest (black) to its
    highest value, one place framed.
    """
    tiles = []
    for channel in feature_map[:MOST_MAPS]:
        span = float(channel.max() - channel.min())
        grey = Image.fromarray(
            np.round((channel - channel.min()) / (span or 1) * 255).astype(np.uint8)
        ).convert("RGB")
        scale = max(1, TILE // max(grey.size))
        tile = grey.resize((grey.width * scale, grey.height * scale), Image.Resampling.NEAREST)
        left, top = followed.column * scale, followed.row * scale
        ImageDraw.Draw(tile).rectangle(
            (left, top, left + scale - 1, top + scale - 1), outline=ORANGE, width=max(1, min(3, scale // 3))
        )
        tiles.append(tile)
    return _tiles(tiles, tuple(str(number) for number in range(len(tiles))), 4)


def matrix_picture(tokens: np.ndarray, patch: int) -> Image.Image:
    """All tokens (T, D), a row a token, coloured as in SCALE; [CLS] and one patch are named at their rows."""
    count, hidden = tokens.shape
    limit = colour_limit(tokens)
    places = np.clip((tokens / limit + 1) * 127.5, 0, 255).astype(np.uint8)
    body = Image.fromarray(_colours()[places])
    scale = max(1, MATRIX_HEIGHT // count)
    height = min(count * scale, 2 * MATRIX_HEIGHT)
    resampling = (
        Image.Resampling.NEAREST if hidden <= MATRIX_WIDTH and height >= count else Image.Resampling.BOX
    )
    body = body.resize((MATRIX_WIDTH, height), resampling)
    left, right = 84, 148
    sheet = Image.new("RGB", (left + MATRIX_WIDTH + right, height), "white")
    sheet.paste(body, (left, 0))
    draw = ImageDraw.Draw(sheet)
    for row, x, anchor, name in (
        (0, left - 12, "rm", "[CLS]"),
        (patch + 1, left + MATRIX_WIDTH + 12, "lm", written("figures.tokens.patch", patch=patch)),
    ):
        y = (row + 0.5) * height / count
        start = left - 10 if row == 0 else left + MATRIX_WIDTH
        draw.rectangle((start, y - 2, start + 9, y + 2), fill=ORANGE)
        draw.text(
            (x, min(max(y, LABEL / 2), height - LABEL / 2)),
            name,
            fill=ORANGE,
            font=letters(LABEL, name),
            anchor=anchor,
        )
    return sheet


def vectors_figure(rows: dict[str, np.ndarray], key: str) -> go.Figure:
    """Vectors of D values under each other as strips of colour. rows: by name, from the top. key: the zoom
    stays as long as it is the same.
    """
    values = np.stack(list(rows.values()))
    limit = colour_limit(values)
    names = list(rows)
    figure = go.Figure(
        go.Heatmap(
            z=values.round(4).tolist(),
            y=names,
            colorscale=SCALE,
            zmin=-limit,
            zmax=limit,
            ygap=3,
            hovertemplate=hover("%{y}<br>" + say("figures.tokens.value", number="%{x}", value="%{z:.3f}")),
            colorbar={
                "orientation": "h",
                "thickness": 10,
                "y": 1,
                "yanchor": "bottom",
                "ypad": 6,
                "tickformat": ".2~f",
                "nticks": 5,
            },
        )
    )
    figure.update_layout(
        uirevision=key,
        height=158 + 40 * len(names),
        margin={"l": 8, "r": 12, "t": 82, "b": 44},
        font=FONT,
        template="plotly_white",
        modebar=MODEBAR,
    )
    figure.update_xaxes(title_text=say("figures.tokens.number"), title_standoff=6, showgrid=False)
    figure.update_yaxes(autorange="reversed", type="category", automargin=True, showgrid=False)
    return figure


def colour_limit(values: np.ndarray) -> float:
    """The size of a value from which on the colour is full; more than 0."""
    return float(np.percentile(np.abs(values), COLOURED)) or 1.0


def _tiles(tiles: list[Image.Image], names: tuple[str, ...], columns: int) -> Image.Image:
    """Small pictures of one size side by side, each enlarged to about TILE pixels, with its name above it."""
    scale = max(1, TILE // max(tiles[0].size))
    width, height = (side * scale for side in tiles[0].size)
    head, gap = LABEL + 12, 16
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + head + gap) - gap), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (tile, name) in enumerate(zip(tiles, names)):
        row, column = divmod(number, columns)
        left, top = column * (width + gap), row * (height + head + gap)
        draw.text((left, top + head / 2), name, fill="#292524", font=letters(LABEL, name), anchor="lm")
        sheet.paste(tile.convert("RGB").resize((width, height), Image.Resampling.NEAREST), (left, top + head))
    return sheet


@functools.cache
def _colours() -> np.ndarray:
    """SCALE as uint8 (256, 3)."""
    samples = plotly.colors.sample_colorscale(SCALE, np.linspace(0, 1, 256).tolist(), colortype="tuple")
    return np.round(np.array(samples) * 255).astype(np.uint8)
