"""Filters, position embeddings and attention distance drawn after figure 7 of the ViT paper (Dosovitskiy et
al. 2021).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import plotly.colors
import plotly.graph_objects as go
from PIL import Image, ImageDraw

from vit_demo.common.words import say
from vit_demo.figures.style import BLUE, COLOURS, FONT, GREEN, MODEBAR, ORANGE, hover

Place = tuple[int, int]  # row and column on a grid
# Blue for opposite, nearly white for unrelated, red for alike; told apart also by those who see few colours.
SIMILARITY_SCALE = "RdBu_r"
SHEET_SIDE = 860
PICTURE_SIDE = 420
# A larger sheet of maps is made smaller before it is sent.
LARGEST_SHEET = 1200
GAP = 4
FRAME = "#111827"


def filter_sheet(tiles: np.ndarray) -> Image.Image:
    """Filters (K, 3, height, width) side by side as colours, each stretched by its own largest value; zero is
    mid grey.
    """
    columns = 8 if len(tiles) % 8 == 0 else 7
    rows = -(-len(tiles) // columns)
    side = max(1, 112 // tiles.shape[-1]) * tiles.shape[-1]
    gap = 2 * GAP
    sheet = Image.new("RGB", (columns * (side + gap) - gap, rows * (side + gap) - gap), "white")
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        largest = max(float(np.abs(tile).max()), 1e-12)
        values = np.rint((tile / largest + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)
        sheet.paste(
            Image.fromarray(values).resize((side, side), Image.Resampling.NEAREST),
            (column * (side + gap), row * (side + gap)),
        )
    return sheet


@functools.cache
def similarity_palette() -> np.ndarray:
    """Colours of the similarities -1 to 1 as uint8 (256, 3)."""
    samples = plotly.colors.sample_colorscale(
        SIMILARITY_SCALE, np.linspace(0, 1, 256).tolist(), colortype="tuple"
    )
    return np.round(np.array(samples) * 255).astype(np.uint8)


def similarity_colours(values: np.ndarray) -> np.ndarray:
    """Similarities -1 to 1, any shape, as uint8 colours (..., 3)."""
    shades = np.rint((np.clip(values, -1, 1) + 1) * 127.5).astype(np.uint8)
    colours: np.ndarray = similarity_palette()[shades]
    return colours


def similarity_sheet(similarities: np.ndarray, chosen: Place) -> Image.Image:
    """All maps (rows, columns, rows, columns), each at its position's place on the grid, the chosen one
    framed.
    """
    rows, columns = similarities.shape[:2]
    scale = _scale(columns)
    colours = similarity_colours(similarities).repeat(scale, axis=2).repeat(scale, axis=3)
    high, wide = rows * scale + GAP, columns * scale + GAP
    cells = np.full((rows, columns, high, wide, 3), 255, np.uint8)
    cells[:, :, : high - GAP, : wide - GAP] = colours
    sheet = Image.fromarray(cells.transpose(0, 2, 1, 3, 4).reshape(rows * high, columns * wide, 3))
    left, top = chosen[1] * wide, chosen[0] * high
    ImageDraw.Draw(sheet).rectangle(
        (left - GAP, top - GAP, left + wide - 1, top + high - 1), outline=FRAME, width=GAP
    )
    size = sheet_size(rows, columns)
    return sheet if size == sheet.size else sheet.resize(size, Image.Resampling.BOX)


def sheet_size(rows: int, columns: int) -> tuple[int, int]:
    """Width and height in pixels of a :func:`similarity_sheet`."""
    width, height = columns * (columns * _scale(columns) + GAP), rows * (rows * _scale(columns) + GAP)
    share = min(1.0, LARGEST_SHEET / max(width, height))
    return round(width * share), round(height * share)


def _scale(columns: int) -> int:
    """Side in pixels of one position in a small map, before the sheet is made smaller."""
    return max(1, SHEET_SIDE // columns**2)


def grid_picture(colours: np.ndarray, chosen: Place | None = None) -> Image.Image:
    """Colours (rows, columns, 3) as squares, uint8 or 0 to 1, the chosen one framed."""
    if colours.dtype != np.uint8:
        colours = np.rint(colours * 255).astype(np.uint8)
    rows, columns = colours.shape[:2]
    width, height = grid_size(rows, columns)
    picture = Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)
    if chosen is not None:
        side = width // columns
        left, top = chosen[1] * side, chosen[0] * side
        draw = ImageDraw.Draw(picture)
        draw.rectangle((left - 1, top - 1, left + side, top + side), outline="white", width=4)
        draw.rectangle((left, top, left + side - 1, top + side - 1), outline=FRAME, width=2)
    return picture


def grid_size(rows: int, columns: int) -> tuple[int, int]:
    """Width and height in pixels of a :func:`grid_picture`."""
    side = max(1, round(PICTURE_SIDE / max(rows, columns)))
    return columns * side, rows * side


def place_at(point: tuple[float, float], size: tuple[int, int], grid: tuple[int, int]) -> Place:
    """Row and column under a point (x, y) of a picture of ``size`` (width, height) that shows ``grid`` (rows,
    columns) evenly.
    """
    (x, y), (width, height), (rows, columns) = point, size, grid
    return min(max(int(y * rows / height), 0), rows - 1), min(max(int(x * columns / width), 0), columns - 1)


def variance_figure(ratio: np.ndarray) -> go.Figure:
    """Share of the variance that each principal component holds, and of all up to it."""
    numbers = list(range(1, len(ratio) + 1))
    figure = go.Figure()
    figure.add_trace(
        go.Bar(
            x=numbers,
            y=ratio.round(5).tolist(),
            name=say("figures.positions.one_component"),
            marker_color=GREEN,
        )
    )
    figure.add_trace(
        go.Scatter(
            x=numbers,
            y=ratio.cumsum().round(5).tolist(),
            name=say("figures.positions.all_up_to"),
            mode="lines+markers",
            line={"color": ORANGE},
            marker={"size": 5},
        )
    )
    figure.update_layout(**_layout(330))
    figure.update_xaxes(title_text=say("figures.positions.component"))
    figure.update_yaxes(title_text=say("figures.positions.variance"), tickformat=".0%", rangemode="tozero")
    return figure


def answers_figure(heights: list[int], probabilities: dict[str, list[float]], own: int) -> go.Figure:
    """Probability of each class over the height in pixels at which the photo was read; own: the model's own
    height.
    """
    figure = go.Figure()
    for (name, values), colour in zip(probabilities.items(), COLOURS):
        figure.add_trace(
            go.Scatter(
                x=heights,
                y=[round(value, 5) for value in values],
                name=name,
                mode="lines+markers",
                cliponaxis=False,
                line={"color": colour},
                marker={"size": 8},
                hovertemplate=hover("%{x} px: %{y:.1%}", name),
            )
        )
    figure.add_vline(x=own, line={"color": "#78716c", "dash": "dash"})
    figure.update_layout(**_layout(340, lines=len(probabilities)))
    figure.update_xaxes(title_text=say("figures.positions.resolution"))
    figure.update_yaxes(title_text=say("figures.positions.probability"), tickformat=".0%", range=[0, 1.03])
    return figure


def distance_figure(distances: np.ndarray, even: float) -> go.Figure:
    """Mean attention distance in pixels, one dot a head, over the layers. distances: (layers, heads). even:
    of a head that looks everywhere alike.
    """
    layers, heads = distances.shape
    figure = go.Figure(
        go.Scatter(
            x=np.repeat(np.arange(layers), heads).tolist(),
            y=distances.ravel().round(2).tolist(),
            name=say("figures.positions.one_head"),
            mode="markers",
            cliponaxis=False,
            customdata=np.tile(np.arange(heads), layers).tolist(),
            marker={"size": 10, "color": BLUE, "opacity": 0.7},
            hovertemplate=hover(
                say("figures.positions.dot", layer="%{x}", head="%{customdata}", distance="%{y:.1f}")
            ),
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[-0.4, layers - 0.6],
            y=[even, even],
            name=say("figures.positions.even"),
            mode="lines",
            line={"color": "#78716c", "dash": "dash"},
            hovertemplate=hover("%{y:.1f} px"),
        )
    )
    figure.update_layout(**_layout(380))
    figure.update_xaxes(
        title_text=say("figures.positions.layer"),
        dtick=1 if layers <= 16 else None,
        range=[-0.5, layers - 0.5],
    )
    figure.update_yaxes(title_text=say("figures.positions.distance"), rangemode="tozero")
    return figure


def _layout(height: int, lines: int = 2) -> dict[str, Any]:
    """What all figures here share; lines: entries of the legend, which stands below."""
    below = 64 + 22 * max(1, -(-lines // 2))
    return {
        "height": height + 22 * max(0, lines // 2 - 1),
        "margin": {"l": 56, "r": 14, "t": 56, "b": below},
        "font": FONT,
        "template": "plotly_white",
        "modebar": MODEBAR,
        "xaxis_title_font_size": 13,
        "yaxis_title_font_size": 13,
        "legend": {"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0},
    }
