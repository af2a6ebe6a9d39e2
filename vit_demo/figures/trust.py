"""Deletion and insertion of one photo as curves."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vit_demo.common.words import say
from vit_demo.explain.attribution.faithfulness import Curves
from vit_demo.figures.style import COLOURS, DASHES, FONT, MODEBAR, hover


def curves_figure(curves: dict[str, Curves], label: str) -> go.Figure:
    """Probability of a class over the share of patches that was covered, or brought back, in the order of
    each map. curves: by the map's name.
    """
    figure = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.1,
        subplot_titles=(say("figures.trust.deletion"), say("figures.trust.insertion")),
    )
    for number, (name, found) in enumerate(curves.items()):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        for row, values, area in (
            (1, found.deletion, found.deletion_area),
            (2, found.insertion, found.insertion_area),
        ):
            figure.add_trace(
                go.Scatter(
                    x=found.shares.round(4).tolist(),
                    y=values.round(5).tolist(),
                    name=name,
                    legendgroup=name,
                    showlegend=row == 1,
                    mode="lines",
                    line={"color": colour, "width": 2, "dash": dash},
                    hovertemplate=hover("%{y:.1%}", say("figures.trust.area", name=name, area=area)),
                ),
                row=row,
                col=1,
            )
    figure.update_layout(
        height=640 + 11 * len(curves),
        margin={"l": 56, "r": 12, "t": 40, "b": 60 + 11 * len(curves)},
        font=FONT,
        template="plotly_white",
        legend={"orientation": "h", "y": -0.12, "yanchor": "top", "x": 0},
        modebar=MODEBAR,
    )
    figure.update_annotations(font_size=13)
    figure.update_xaxes(title_text=say("figures.trust.share"), tickformat=".0%", row=2, col=1)
    figure.update_yaxes(
        title_text=say("figures.trust.probability", label=label), tickformat=".0%", range=[-0.03, 1.05]
    )
    return figure
