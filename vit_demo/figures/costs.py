"""What ways to attend cost at growing resolutions, on a logarithmic scale."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from vit_demo.common.words import DEFAULT_LANGUAGE, Sentence, say
from vit_demo.explain.internals.costs import (
    SWIN_WINDOW,
    Cost,
    Encoder,
    full_attention,
    strided_attention,
    window_attention,
)
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.style import COLOURS, FONT, MODEBAR, hover

PATCH_SIZES = (8, 14, 16, 32)
SMALLEST, LARGEST, PIXEL_STEP = 224, 512, 32
PIXELS, STRIDED = Sentence("figures.costs.pixels"), Sentence("figures.costs.strided")
WINDOWS = Sentence("figures.costs.windows", {"side": SWIN_WINDOW})
HEADER = (
    "way",
    "photo side (px)",
    "tokens",
    "pairs (each head and layer)",
    "FLOPs",
    "FLOPs of attention",
    "attention of one layer (bytes, fp32)",
)
# By name: the attribute of a cost, and the text of the axis with its unit.
MEASURES = {
    "pairs": ("pairs", "figures.costs.of_pairs"),
    "FLOPs": ("flops", "figures.costs.of_flops"),
    "memory": ("attention_bytes", "figures.costs.of_memory"),
}
# Of the short numbers on the axis; bytes with their unit.
SUFFIX = {"pairs": "", "FLOPs": "", "memory": "B"}


@dataclass(frozen=True)
class Way:
    """A way to attend. title: as people call it. costs: by the side of the photo in pixels. at: the side that
    is shown in the table.
    """

    title: Sentence
    costs: dict[int, Cost]
    at: int

    @property
    def name(self) -> str:
        """What it is called in files, and told apart by."""
        return say(self.title.key, DEFAULT_LANGUAGE, **self.title.values)

    @property
    def cost(self) -> Cost:
        """At the side chosen."""
        return self.costs[self.at]


def costs_figure(ways: list[Way], chosen: str, measure: str) -> go.Figure:
    """One line a way, over the side of the photo. chosen: the way drawn strongest. measure: one of
    MEASURES.
    """
    attribute, axis = MEASURES[measure]
    figure = go.Figure()
    for way, colour in zip(ways, COLOURS):
        sides = list(way.costs)
        figure.add_trace(
            go.Scatter(
                x=sides,
                y=[getattr(way.costs[side], attribute) for side in sides],
                name=str(way.title),
                mode="lines+markers",
                line={
                    "color": colour,
                    "width": 4 if way.name == chosen else 2,
                    "dash": "solid" if way.name.startswith("ViT") else "dash",
                },
                # Only the chosen side is marked.
                marker={"size": [11 if side == way.at else 0 for side in sides]},
                hovertemplate=hover("%{x} px: %{y:.3s}" + SUFFIX[measure], str(way.title)),
            )
        )
    figure.update_layout(
        uirevision=measure,
        height=560,
        margin={"l": 8, "r": 12, "t": 36, "b": 8},
        font=FONT,
        template="plotly_white",
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        modebar=MODEBAR,
    )
    figure.update_xaxes(title_text=say("figures.costs.side"), automargin=True)
    figure.update_yaxes(
        title_text=say(axis),
        type="log",
        dtick=1,
        exponentformat="SI",
        ticksuffix=SUFFIX[measure],
        automargin=True,
    )
    return figure


def all_ways(encoder: Encoder, side: int) -> list[Way]:
    """ViTs of each patch size, and three ways between pixels, at each side that fits. side: the one in the
    table, or the nearest that fits.
    """
    ways = [
        Way(
            _vit(patch),
            {
                at: full_attention(encoder, PatchGrid(at, at, patch))
                for at in _sides(patch, {nearest(side, patch)})
            },
            nearest(side, patch),
        )
        for patch in PATCH_SIZES
    ]
    for title, attend in (
        (WINDOWS, window_attention),
        (STRIDED, strided_attention),
        (PIXELS, full_attention),
    ):
        ways.append(
            Way(title, {at: attend(encoder, PatchGrid(at, at, 1)) for at in _sides(PIXEL_STEP, {side})}, side)
        )
    return ways


def vit_name(patch: int) -> str:
    """What a ViT with patches of this side is called, see :attr:`Way.name`."""
    return say(_vit(patch).key, DEFAULT_LANGUAGE, patch=patch)


def _vit(patch: int) -> Sentence:
    return Sentence("figures.costs.vit", {"patch": patch})


def nearest(side: float, patch: int) -> int:
    """The multiple of the patch size between SMALLEST and LARGEST that is the nearest."""
    return min(max(round(side / patch), -(-SMALLEST // patch)), LARGEST // patch) * patch


def _sides(step: int, also: set[int]) -> list[int]:
    first = -(-SMALLEST // step) * step
    return sorted({*range(first, LARGEST + 1, step), *also})
