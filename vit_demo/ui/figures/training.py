"""Pictures of a run: its curves and its confusion matrix."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vit_demo.training.curves import Curves

GREEN, ORANGE, BLUE = "#15803d", "#c2410c", "#1d4ed8"
FONT = {"family": "system-ui, sans-serif", "size": 13}


def curves_figure(curves: Curves, run_id: str) -> go.Figure:
    """Loss above, validation accuracy below, over steps; the zoom stays when the figure is sent again."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.09, row_heights=[0.6, 0.4])
    marked = {"mode": "lines+markers", "marker": {"size": 7}}
    for row, name, series, colour, style in (
        (1, "train loss", curves.train_loss, GREEN, {"mode": "lines", "opacity": 0.75}),
        (1, "validation loss", curves.validation_loss, ORANGE, marked),
        (2, "validation accuracy", curves.validation_accuracy, BLUE, marked),
    ):
        steps, values = series.points
        values = [round(value, 5) for value in values]
        figure.add_trace(go.Scatter(x=steps, y=values, name=name, line={"color": colour, "width": 2}, **style), row=row, col=1)
    figure.update_layout(
        uirevision=run_id, height=460, margin={"l": 56, "r": 12, "t": 64, "b": 44}, font=FONT, template="plotly_white",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, hovermode="x unified",
    )
    total = curves.begin.get("total_steps")
    figure.update_xaxes(range=[0, total] if total else None)
    figure.update_xaxes(title_text="step", row=2, col=1)
    figure.update_yaxes(title_text="loss (nats)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="accuracy", tickformat=".0%", row=2, col=1)
    return figure


def confusion_figure(confusion: list[list[int]], labels: list[str]) -> go.Figure:
    """Counts of photos: rows what the leaf is, columns what the model says."""
    # A word a line, so that three names fit beside each other on a phone.
    narrow = [label.replace(" ", "<br>") for label in labels]
    figure = go.Figure(
        go.Heatmap(z=confusion, x=narrow, y=narrow, text=confusion, texttemplate="%{text}", colorscale="Greens", showscale=False, xgap=2, ygap=2)
    )
    figure.update_layout(title="Test photos by class", height=380, margin={"l": 8, "r": 8, "t": 48, "b": 8}, font=FONT, template="plotly_white")
    figure.update_xaxes(title_text="the model says", automargin=True, tickangle=0)
    figure.update_yaxes(title_text="it is", autorange="reversed", automargin=True)
    return figure
