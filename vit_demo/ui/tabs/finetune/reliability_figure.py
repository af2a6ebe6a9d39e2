"""The reliability diagram: how sure a model was against how often it was right."""

from __future__ import annotations

import plotly.graph_objects as go

from vit_demo.common.words import say
from vit_demo.figures.style import FONT, GREEN, MODEBAR, ORANGE

# Keys of what the two are called.
BEFORE, AFTER = "train.result.before", "train.result.after"


def reliability_figure(calibration: dict, calibrated: dict | None, key: str) -> go.Figure:
    """Share of right answers over the mean probability of the photos in each bin, before and after
    temperature scaling.

    calibration, calibrated: as ``Calibration`` goes to JSON. key: the zoom stays as long as it is the same.
    """
    dashed = {"color": "#78716c", "dash": "dash"}
    figure = go.Figure(
        go.Scatter(
            x=[0, 1], y=[0, 1], name=say("train.result.ideal"), mode="lines", line=dashed, hoverinfo="skip"
        )
    )
    hover = say("train.result.hover", said="%{x:.1%}", right="%{y:.1%}", photos="%{customdata}")
    for called, found, colour, symbol in (
        (BEFORE, calibration, ORANGE, "circle"),
        (AFTER, calibrated, GREEN, "diamond"),
    ):
        if found is None:
            continue
        bins = [part for part in found["bins"] if part["count"]]
        photos = sum(part["count"] for part in bins)
        figure.add_trace(
            go.Scatter(
                x=[round(part["confidence"], 5) for part in bins],
                y=[round(part["accuracy"], 5) for part in bins],
                name=say(called),
                mode="markers",
                cliponaxis=False,
                # The area of a mark says how many photos it stands for. No lines between them: those from a
                # bin of one photo would be the most striking.
                marker={
                    "size": [8 + 22 * (part["count"] / photos) ** 0.5 for part in bins],
                    "symbol": symbol,
                    "opacity": 0.75,
                    "color": colour,
                },
                customdata=[part["count"] for part in bins],
                hovertemplate=f"{hover}<extra>{say(called)}</extra>",
            )
        )
    figure.update_layout(
        uirevision=key,
        height=400,
        margin={"l": 56, "r": 16, "t": 34, "b": 92},
        font=FONT,
        template="plotly_white",
        legend={"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0},
        modebar=MODEBAR,
    )
    figure.update_xaxes(title_text=say("train.result.axis.sure"), tickformat=".0%", range=[0, 1.04])
    figure.update_yaxes(title_text=say("train.result.axis.right"), tickformat=".0%", range=[0, 1.06])
    return figure
