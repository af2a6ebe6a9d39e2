"""Why patches: what attention costs between patches, and what it would cost between pixels."""

from __future__ import annotations

import gradio as gr

from vit_demo.common.words import percent
from vit_demo.explain.internals.costs import SWIN_WINDOW, Encoder, full_attention
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.costs import HEADER, LARGEST, MEASURES, PATCH_SIZES, SMALLEST, Way, all_ways, costs_figure, nearest, vit_name
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.inside.downloads import csv_file
from vit_demo.ui.tabs.inside.scene import Scene

NOTE = (
    "A pair is one token that looks at one other, or at itself. FLOPs are multiplications and additions of matrix products, so that a multiply-add counts 2: "
    "for T tokens of D values, L layers and an MLP of M hidden values, L (8 T D² + 4 T D M) for projections and MLP, and 4 L D for each pair. "
    "Memory is that of the attention of all heads in one layer, 4 bytes a pair. "
    f"Windows: each pixel looks at its window of {SWIN_WINDOW} x {SWIN_WINDOW} (Liu et al. 2021). "
    "Strided sparse: each of N pixels looks back at the last √N and at every √N-th before it (Child et al. 2019)."
)


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out this part of a view. Inputs: the view's tab, and what all views look at."""
    gr.Markdown("### Why patches\nTry out another patch size and resolution. The model's depth, heads and sizes stay as they are; nothing is run.")
    with gr.Row(equal_height=False):
        patch = gr.Radio(list(PATCH_SIZES), value=16, label="Side of a patch (pixels)", elem_id="tokens-patch-size", min_width=260)
        side = gr.Slider(SMALLEST, LARGEST, value=SMALLEST, step=16, label="Side of the photo (pixels)", elem_id="tokens-side", min_width=260)
        measure = gr.Radio(list(MEASURES), value="pairs", label="Plot", elem_id="tokens-measure", min_width=260)
    sentence = gr.Markdown(elem_id="tokens-why")
    plot = gr.Plot(show_label=False, elem_id="tokens-costs")
    rows = gr.HTML(elem_id="tokens-costs-table")
    gr.HTML(f'<p class="note">{NOTE}</p>')
    download = gr.DownloadButton("Numbers of all lines (csv)", size="sm", elem_id="tokens-costs-download")
    settings, shown = [patch, side, measure], [side, sentence, plot, rows, download]
    scene.draw(tab, show, settings, shown)
    # .input, not .change: the server sets the slider too, to a multiple of the patch size.
    gr.on(
        [widget.input for widget in settings], polite(show), [scene.photo, scene.model, *settings], shown,
        api_visibility="private", show_progress="minimal", trigger_mode="always_last",
    )


def show(_photo: str | None, model: str, patch: int, side: float | None, measure: str) -> tuple:
    """Inputs: photo, model, patch size, side of the photo, what to plot. Outputs: the side as a multiple of the patch, sentence, plot, table, CSV."""
    classifier = get_classifier(model)
    encoder = Encoder.of(classifier.model.config)
    side = nearest(side or SMALLEST, patch)
    ways = all_ways(encoder, side)
    chosen = next(way for way in ways if way.name == vit_name(patch))
    cells = [
        [way.name if way.at == side else f"{way.name}, at {way.at} px", f"{way.cost.tokens:,}", short(way.cost.pairs), short(way.cost.flops),
         percent(way.cost.attention_flops / way.cost.flops), f"{short(way.cost.attention_bytes)}B"]
        for way in ways
    ]
    return (
        gr.update(value=side, step=patch, maximum=LARGEST // patch * patch),
        _sentence(encoder, chosen, patch, classifier.feature_channels is not None),
        costs_figure(ways, chosen.name, measure),
        table([f"At {side} x {side} px", "Tokens", "Pairs", "FLOPs", "in attention", "Memory"], cells),
        csv_file("costs", HEADER, [
            (way.name, at, cost.tokens, cost.pairs, cost.flops, cost.attention_flops, cost.attention_bytes) for way in ways for at, cost in way.costs.items()
        ]),
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
    text = (
        f"At **{patch} px patches** a photo of {side} x {side} px gives **{cost.tokens:,} tokens** and {cost.pairs:,} pairs. "
        f"One token a pixel would need **{pixels.tokens:,} tokens**, {pixels.pairs / cost.pairs:,.0f} times as many pairs, "
        f"{pixels.flops / cost.flops:,.0f} times as many FLOPs, and {short(pixels.attention_bytes)}B instead of {short(cost.attention_bytes)}B "
        f"for the attention of a layer. Windows and strided sparse attention save the pairs, but each pixel still has to pass through "
        f"projections and MLP."
    )
    model = f" Reckoned for {encoder.depth} layers, {encoder.heads} heads and {encoder.hidden_size} values a token, as in this model"
    return text + model + (", without the CNN in front of it." if hybrid else ".")
