"""The curves of several runs in one figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vit_demo.common.words import say
from vit_demo.figures.style import COLOURS, DASHES, FONT, MODEBAR
from vit_demo.training.run.curves import Curves, Series

MOST = len(COLOURS)
# So many points of the train loss a run: each the mean of its neighbours, so that several noisy lines can be
# told apart.
SMOOTH = 60
ALONG = ("steps", "epochs")


@dataclass(frozen=True)
class Compared:
    """A run in the figure: what it is called, and its curves."""

    name: str
    curves: Curves


def compare_figure(compared: list[Compared], along: str = "steps") -> go.Figure:
    """Validation loss, validation accuracy and train loss (smoothed), one colour a run.

    along: "steps", or "epochs" so that runs of different batch sizes stand beside each other.
    """
    figure = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.07,
        row_heights=[0.36, 0.32, 0.32],
        subplot_titles=[
            say(f"train.compare.{curve}")
            for curve in ("validation_loss", "validation_accuracy", "train_loss")
        ],
    )
    for number, (run, colour, dash) in enumerate(zip(compared, COLOURS, DASHES)):
        curves = run.curves
        parts = (
            (1, curves.validation_loss, None),
            (2, curves.validation_accuracy, None),
            (3, curves.train_loss, SMOOTH),
        )
        for row, series, most in parts:
            steps, values = _thinned(series, most)
            if along == "epochs":
                steps = steps / max(1, curves.begin.get("steps_per_epoch", 1))
            figure.add_trace(
                go.Scatter(
                    x=steps.round(3).tolist(),
                    y=values.round(5).tolist(),
                    name=run.name,
                    legendgroup=str(number),
                    showlegend=row == 1,
                    mode="lines" if most else "lines+markers",
                    marker={"size": 6},
                    cliponaxis=False,
                    line={"color": colour, "width": 2, "dash": dash},
                ),
                row=row,
                col=1,
            )
    figure.update_layout(
        uirevision=f"{along}:{'|'.join(run.name for run in compared)}",
        height=660,
        margin={"l": 52, "r": 12, "t": 32, "b": 40 + 22 * len(compared)},
        font=FONT,
        template="plotly_white",
        legend={"orientation": "h", "y": -0.1, "yanchor": "top", "x": 0},
        hovermode="x",
        modebar=MODEBAR,
    )
    figure.update_annotations(font_size=13)
    figure.update_xaxes(title_text=say(f"train.compare.axis.{along}"), row=3, col=1)
    for row in (1, 3):
        figure.update_yaxes(rangemode="tozero", row=row, col=1)
    figure.update_yaxes(tickformat=".0%", autorangeoptions={"clipmin": 0, "clipmax": 1}, row=2, col=1)
    return figure


def _thinned(series: Series, most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, the means of at most ``most`` neighbouring parts."""
    steps, values = (np.asarray(column, dtype=float) for column in series.points)
    if most is None or len(steps) <= most:
        return steps, values
    steps, values = (
        np.array([part.mean() for part in np.array_split(column, most)]) for column in (steps, values)
    )
    return steps, values
