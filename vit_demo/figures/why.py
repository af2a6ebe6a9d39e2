"""Why this answer: what speaks for a class over the photo, and how the class fares while patches are covered
or come back.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from vit_demo.common.words import say
from vit_demo.figures.overlay import heat_overlay
from vit_demo.figures.style import COLOURS, FONT, MODEBAR, ORANGE

# The map itself drawn strongest; told apart by dashes too.
STYLES = ((ORANGE, "solid", 4), (COLOURS[0], "dot", 2), (COLOURS[6], "dash", 2))
SIDE = 448


def map_overlay(photo: Image.Image, heat: np.ndarray) -> Image.Image:
    """What speaks for a class over the photo, values below 0 as 0, from no part (dark) to the largest
    (bright). heat: (rows, columns).
    """
    scale = SIDE / max(photo.size)
    return heat_overlay(
        photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS),
        np.maximum(heat, 0),
    )


def curve_figure(shares: np.ndarray, lines: dict[str, np.ndarray], changed: str) -> go.Figure:
    """Probability of the class over the share of the patches that is changed.

    shares: (S + 1,), 0 to 1. lines: (S + 1,) by the name of the order, that of the map first, at most three.
    changed: what happens to the patches, "covered" or "shown_again".
    """
    figure = go.Figure()
    for (name, values), (colour, dash, width) in zip(lines.items(), STYLES):
        figure.add_trace(
            go.Scatter(
                x=np.round(shares, 4).tolist(),
                y=np.round(values.astype(float), 5).tolist(),
                name=name,
                mode="lines+markers",
                cliponaxis=False,
                line={"color": colour, "width": width, "dash": dash},
                marker={"size": 6},
                hovertemplate="%{y:.1%}<extra>" + name + "</extra>",
            )
        )
    figure.update_layout(
        height=340,
        margin={"l": 56, "r": 12, "t": 34, "b": 110},
        font=FONT,
        template="plotly_white",
        legend={"orientation": "h", "y": -0.26, "yanchor": "top", "x": 0},
        hovermode="x unified",
        modebar=MODEBAR,
    )
    figure.update_xaxes(title_text=say(f"figures.why.{changed}"), tickformat=".0%", range=[-0.02, 1.02])
    figure.update_yaxes(title_text=say("figures.why.probability"), tickformat=".0%", range=[-0.03, 1.05])
    return figure
