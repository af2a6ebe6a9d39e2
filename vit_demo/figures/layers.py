"""Layer by layer: the answer after each, how alike the tokens are, and how long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from vit_demo.common.words import say
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.overlay import heat_overlay, mark_patch
from vit_demo.figures.style import COLOURS, DASHES, FONT, GREEN, MODEBAR, ORANGE, hover

START = "start"
# So many classes can be told apart in one figure.
MOST_CLASSES = len(COLOURS)
# Of a logarithmic axis: plotly's own say 2 and 5 for 20 and 50.
TICKS = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]


def layer_names(rows: int) -> list[str]:
    """What each of L + 1 rows is called: before the first layer, then after layer 0 to L - 1."""
    return [START, *map(str, range(rows - 1))]


def _axis_names(rows: int) -> list[str]:
    """The same as they stand in a figure."""
    return [say("figures.layers.start"), *layer_names(rows)[1:]]


def lens_figure(probabilities: np.ndarray, labels: Sequence[str]) -> go.Figure:
    """Probability of each class after each layer. probabilities: (L + 1, C), of the classes in the order of
    ``labels``, at most MOST_CLASSES.
    """
    figure = go.Figure()
    for values, label, colour, dash in zip(probabilities.T, labels, COLOURS, DASHES):
        figure.add_trace(_line(values, label, colour, dash, "%{y:.1%}"))
    _layout(figure, 340, legend_rows=-(-len(labels) // 2))
    figure.update_yaxes(title_text=say("figures.layers.probability"), tickformat=".0%", range=[-0.03, 1.05])
    return figure


def similarity_figure(similarity: np.ndarray) -> go.Figure:
    """Cosine similarity (L + 1, L + 1) of the patches between layers, as a square heat map."""
    names = _axis_names(len(similarity))
    figure = go.Figure(
        go.Heatmap(
            z=np.round(similarity, 4),
            x=names,
            y=names,
            colorscale="Viridis",
            zmax=1,
            colorbar={"thickness": 12, "title": {"text": say("figures.layers.cosine")}},
            hovertemplate=hover(say("figures.layers.two_layers", one="%{y}", other="%{x}", value="%{z:.2f}")),
        )
    )
    _layout(figure, 380)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(
        title_text=say("figures.layers.after"), type="category", autorange="reversed", showgrid=False
    )
    return figure


def mutual_figure(mutual: np.ndarray) -> go.Figure:
    """Mean cosine similarity of the patches among each other after each layer, (L + 1,)."""
    figure = go.Figure(_line(mutual, say("figures.layers.mutual"), GREEN, "solid", "%{y:.2f}"))
    _layout(figure, 380)
    least = float(np.nan_to_num(mutual).min())
    figure.update_yaxes(title_text=say("figures.layers.similarity"), range=[min(0.0, least) - 0.05, 1.05])
    return figure


def norms_figure(norms: np.ndarray) -> go.Figure:
    """Norms of the tokens after each layer on a logarithmic scale: [CLS], the usual patch and the longest.
    norms: (L + 1, T).
    """
    patches = norms[:, 1:]
    figure = go.Figure()
    lines = (
        (say("figures.layers.longest"), patches.max(axis=1), ORANGE, "solid"),
        (say("figures.layers.usual"), np.median(patches, axis=1), GREEN, "solid"),
        ("[CLS]", norms[:, 0], COLOURS[0], "dash"),
    )
    for name, values, colour, dash in lines:
        figure.add_trace(_line(values, name, colour, dash, "%{y:.1f}"))
    _layout(figure, 380, legend_rows=2)
    figure.update_yaxes(
        title_text=say("figures.layers.norm"),
        type="log",
        tickvals=TICKS,
        ticktext=[f"{tick:g}" for tick in TICKS],
    )
    return figure


def norms_overlay(photo: Image.Image, norms: np.ndarray, grid: PatchGrid, framed: np.ndarray) -> Image.Image:
    """The norms of the patches over the photo, stretched over those that are not in ``framed``; these have a
    frame. norms: (N,).
    """
    # A few that are ten times as long as the rest would leave the rest all dark.
    heat = np.minimum(norms, np.delete(norms, framed).max()).reshape(grid.rows, grid.columns)
    picture = heat_overlay(photo, heat)
    for index in framed:
        picture = mark_patch(picture, grid, int(index))
    return picture


def _line(values: np.ndarray, name: str, colour: str, dash: str, number: str) -> go.Scatter:
    return go.Scatter(
        x=_axis_names(len(values)),
        y=np.round(values.astype(float), 5).tolist(),
        name=name,
        mode="lines+markers",
        cliponaxis=False,
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 6},
        hovertemplate=hover(number, name),
    )


def _layout(figure: go.Figure, height: int, legend_rows: int = 0) -> None:
    figure.update_layout(
        height=height + 22 * legend_rows,
        margin={"l": 56, "r": 12, "t": 34, "b": 48 + 26 * legend_rows},
        font=FONT,
        template="plotly_white",
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        hovermode="x unified" if legend_rows else "closest",
        modebar={"color": "#57534e", "bgcolor": "rgba(0,0,0,0)", **MODEBAR},
    )
    # Upright and small, so that "start" and "0" stand apart on a phone and the legend has its place.
    figure.update_xaxes(
        title_text=say("figures.layers.after"), type="category", tickangle=0, tickfont_size=10
    )
