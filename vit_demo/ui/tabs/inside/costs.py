"""Why patches: what attention costs between patches, and what it would cost between pixels."""

from __future__ import annotations

import gradio as gr

from vit_demo.common.words import percent, say
from vit_demo.explain.internals.costs import SWIN_WINDOW, Encoder, full_attention
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.costs import (
    HEADER,
    LARGEST,
    MEASURES,
    PATCH_SIZES,
    SMALLEST,
    Way,
    all_ways,
    costs_figure,
    nearest,
    vit_name,
)
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import Told
from vit_demo.ui.tabs.inside.downloads import csv_file
from vit_demo.ui.tabs.inside.scene import Scene

COLUMNS = ("tokens", "pairs", "flops", "attention", "memory")


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out this part of a view. Inputs: the view's tab, and what all views look at."""
    speech = scene.speech
    speech(gr.Markdown, value=Told("inside.costs.title"))
    with gr.Row(equal_height=False):
        patch = speech(
            gr.Radio,
            choices=list(PATCH_SIZES),
            value=16,
            label=Told("inside.costs.patch"),
            elem_id="tokens-patch-size",
            min_width=260,
        )
        side = speech(
            gr.Slider,
            minimum=SMALLEST,
            maximum=LARGEST,
            value=SMALLEST,
            step=16,
            label=Told("inside.costs.side"),
            elem_id="tokens-side",
            min_width=260,
        )
        measures = Told(lambda: [(say(f"inside.costs.{name}"), name) for name in MEASURES])
        measure = speech(
            gr.Radio,
            choices=measures,
            value="pairs",
            label=Told("inside.costs.plot"),
            elem_id="tokens-measure",
            min_width=260,
        )
    sentence = gr.Markdown(elem_id="tokens-why")
    plot = gr.Plot(show_label=False, elem_id="tokens-costs")
    rows = gr.HTML(elem_id="tokens-costs-table")
    speech(gr.HTML, value=Told(lambda: render("inside/costs#note", side=SWIN_WINDOW)))
    download = speech(
        gr.DownloadButton, label=Told("inside.costs.download"), size="sm", elem_id="tokens-costs-download"
    )
    settings, shown = [patch, side, measure], [side, sentence, plot, rows, download]
    scene.draw(tab, show, settings, shown)
    # .input, not .change: the server sets the slider too, to a multiple of the patch size.
    gr.on(
        [widget.input for widget in settings],
        polite(show),
        [scene.photo, scene.model, *settings],
        shown,
        api_visibility="private",
        show_progress="minimal",
        trigger_mode="always_last",
    )


def show(_photo: str | None, model: str, patch: int, side: float | None, measure: str) -> tuple:
    """Inputs: photo, model, patch size, side of the photo, what to plot. Outputs: the side as a multiple of
    the patch, sentence, plot, table, CSV.
    """
    classifier = get_classifier(model)
    encoder = Encoder.of(classifier.model.config)
    side = nearest(side or SMALLEST, patch)
    ways = all_ways(encoder, side)
    chosen = next(way for way in ways if way.name == vit_name(patch))
    cells = [
        [
            str(way.title) if way.at == side else say("inside.costs.at", way=way.title, side=way.at),
            f"{way.cost.tokens:,}",
            short(way.cost.pairs),
            short(way.cost.flops),
            percent(way.cost.attention_flops / way.cost.flops),
            f"{short(way.cost.attention_bytes)}B",
        ]
        for way in ways
    ]
    return (
        gr.update(value=side, step=patch, maximum=LARGEST // patch * patch),
        _sentence(encoder, chosen, patch, classifier.feature_channels is not None),
        costs_figure(ways, chosen.name, measure),
        table(
            [
                say("inside.costs.at_side", side=side),
                *(say(f"inside.costs.column_{name}") for name in COLUMNS),
            ],
            cells,
        ),
        csv_file(
            "costs",
            HEADER,
            [
                (
                    way.name,
                    at,
                    cost.tokens,
                    cost.pairs,
                    cost.flops,
                    cost.attention_flops,
                    cost.attention_bytes,
                )
                for way in ways
                for at, cost in way.costs.items()
            ],
        ),
    )


def short(number: float) -> str:
    """Three digits and k, M, G, T or P with a space before it, for a unit to follow."""
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * factor:
            return f"{number / factor:.3g} {letter}"
    return f"{number:.3g} "


def _sentence(encoder: Encoder, chosen: Way, patch: int, hybrid: bool) -> str:
    cost, side = chosen.cost, chosen.at
    pixels = full_attention(encoder, PatchGrid(side, side, 1))
    said = say(
        "inside.costs.sentence",
        patch=patch,
        side=side,
        tokens=cost.tokens,
        pairs=cost.pairs,
        pixels=pixels.tokens,
        times_pairs=pixels.pairs / cost.pairs,
        times_flops=pixels.flops / cost.flops,
        memory_pixels=short(pixels.attention_bytes),
        memory=short(cost.attention_bytes),
    )
    model = {"layers": encoder.depth, "heads": encoder.heads, "hidden": encoder.hidden_size}
    return f"{said} {say('inside.costs.model_hybrid' if hybrid else 'inside.costs.model', **model)}"
