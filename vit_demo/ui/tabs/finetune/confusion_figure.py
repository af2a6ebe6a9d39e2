"""What is taken for what, of more classes than a table has room for: one picture of a fixed height."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from vit_demo.common.words import say
from vit_demo.figures.style import FONT, MODEBAR

# So many classes are drawn, those with the most mistakes: the name of each can then be read, on a phone too.
MOST = 40
# Pixels: of a class, of what stands around them.
EACH, AROUND = 12, 90
LETTERS = 20
# From all right to all wrong: the share of its row, as in the table of few classes.
COLOURS = [[0, "#15803d"], [0.49, "#dcfce7"], [0.5, "#ffffff"], [0.51, "#ffedd5"], [1, "#c2410c"]]


def drawn_classes(counts: list[list[int]]) -> list[int]:
    """The class ids that are drawn, in their order: those that have photos or are said, and of too many those
    with the most mistakes. counts[i][j]: photos of class i called j.
    """
    matrix = np.asarray(counts)
    used = matrix.sum(axis=0) + matrix.sum(axis=1)
    wrong = used - 2 * matrix.diagonal()
    order = sorted(np.flatnonzero(used).tolist(), key=lambda one: (-wrong[one], one))
    return sorted(order[:MOST])


def confusion_figure(counts: list[list[int]], labels: list[str], key: str) -> go.Figure:
    """The matrix of the drawn classes: rows what it is, columns what the model says.

    labels: as people read them. key: the zoom stays as long as it is the same.
    """
    drawn = drawn_classes(counts)
    names = [labels[number] for number in drawn]
    matrix = np.asarray(counts)
    totals = np.maximum(1, matrix.sum(axis=1))[:, None]
    shares = (matrix / totals)[np.ix_(drawn, drawn)]
    shares[np.diag_indices(len(drawn))] *= -1
    places = list(range(1, len(drawn) + 1))
    figure = go.Figure(
        go.Heatmap(
            # Nothing is drawn, and nothing sent, where no photo is.
            z=[[round(float(share), 3) if share else None for share in row] for row in shares],
            x=places,
            y=places,
            text=_words(matrix[np.ix_(drawn, drawn)], names),
            hovertemplate="%{text}<extra></extra>",
            hoverongaps=False,
            colorscale=COLOURS,
            zmin=-1,
            zmax=1,
            showscale=False,
            xgap=1,
            ygap=1,
        )
    )
    figure.update_layout(
        uirevision=key,
        height=AROUND + EACH * max(10, len(drawn)),
        margin={"l": 8, "r": 8, "t": 34, "b": 46},
        font=FONT,
        template="plotly_white",
        modebar=MODEBAR,
    )
    edges = [0.5, len(drawn) + 0.5]
    # Numbers that plotly thins by itself where a phone has no room for all.
    figure.update_xaxes(title_text=say("train.result.it_says"), range=edges, tickformat="d", nticks=12)
    figure.update_yaxes(
        range=edges[::-1],
        tickvals=places,
        ticktext=[f"{place}. {_short(name)}" for place, name in zip(places, names)],
        tickfont={"size": 10},
        automargin=True,
    )
    return figure


def _words(counts: np.ndarray, names: list[str]) -> list[list[str]]:
    return [
        [
            say("train.result.cell", true=true, said=said, count=int(count)) if count else ""
            for said, count in zip(names, row)
        ]
        for true, row in zip(names, counts)
    ]


def _short(name: str) -> str:
    """Its two ends: names of many classes often begin alike."""
    half = LETTERS // 2
    return name if len(name) <= LETTERS else f"{name[:half]}…{name[1 - half :]}"
