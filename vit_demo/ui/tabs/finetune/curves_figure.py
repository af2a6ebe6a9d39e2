"""The picture of a run: its curves, drawn each second while it goes."""

from __future__ import annotations

import base64
import functools
import json

import numpy as np
import plotly.graph_objects as go
from gradio.components.plot import PlotData
from plotly.subplots import make_subplots

from vit_demo.common.words import current_language, say, speaking
from vit_demo.figures.style import BLUE, FONT, GREEN, MODEBAR, ORANGE
from vit_demo.training.run.curves import Curves, Series


def curves_plot(curves: Curves, run_id: str) -> PlotData:
    """Loss above, validation accuracy below, over steps, as the page takes a figure; the zoom stays when it
    is sent again.

    Only the points are put in here, as the bytes of float64 numbers: to build and check the rest takes plotly
    some ten times as long.
    """
    frame = _frame(current_language())
    series = (curves.train_loss, curves.validation_loss, curves.validation_accuracy)
    layout = {**frame["layout"], "uirevision": run_id}
    if total := curves.begin.get("total_steps"):
        for axis in ("xaxis", "xaxis2"):
            layout[axis] = {**layout[axis], "range": [0, total]}
    data = [{**trace, **_points(one)} for trace, one in zip(frame["data"], series)]
    return PlotData(type="plotly", plot=json.dumps({"data": data, "layout": layout}))


def _points(series: Series) -> dict[str, dict]:
    return {
        axis: {"dtype": "f8", "bdata": base64.b64encode(np.array(numbers, "<f8").tobytes()).decode()}
        for axis, numbers in zip("xy", series.points)
    }


@functools.cache
def _frame(language: str) -> dict:
    """The figure without its points in this language, as JSON objects that are not to be changed. A curve is
    the same one by its uid, whatever its name.
    """
    with speaking(language):
        return _drawn()


def _drawn() -> dict:
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.09, row_heights=[0.6, 0.4])
    marked = {"mode": "lines+markers", "marker": {"size": 7}, "cliponaxis": False}
    for row, name, colour, style in (
        (1, "train", GREEN, {"mode": "lines", "opacity": 0.75}),
        (1, "validation", ORANGE, marked),
        (2, "accuracy", BLUE, marked),
    ):
        figure.add_trace(
            go.Scatter(
                uid=name, name=say(f"train.run.curve.{name}"), line={"color": colour, "width": 2}, **style
            ),
            row=row,
            col=1,
        )
    figure.update_layout(
        height=460,
        margin={"l": 56, "r": 12, "t": 64, "b": 44},
        font=FONT,
        template="plotly_white",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
        modebar=MODEBAR,
    )
    figure.update_xaxes(title_text=say("train.run.axis.step"), row=2, col=1)
    figure.update_yaxes(title_text=say("train.run.axis.loss"), rangemode="tozero", row=1, col=1)
    figure.update_yaxes(
        title_text=say("train.run.axis.accuracy"),
        tickformat=".0%",
        autorangeoptions={"clipmin": 0, "clipmax": 1},
        row=2,
        col=1,
    )
    return json.loads(figure.to_json(remove_uids=False))
