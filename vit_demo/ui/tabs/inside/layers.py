"""Look inside: what each layer adds. The answer after each, how much the tokens change, and tokens that became too long."""

from __future__ import annotations

from html import escape

import gradio as gr
import numpy as np
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.common.words import label_title, percent
from vit_demo.explain.internals.lens import Lens, layer_similarity, logit_lens, mutual_similarity
from vit_demo.explain.internals.norms import TIMES_MEDIAN, artefact_patches, outliers, token_norms
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.layers import MOST_CLASSES, START, layer_names, lens_figure, mutual_figure, norms_figure, norms_overlay, similarity_figure
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.tabs.inside.downloads import csv_file, npz_file
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, Look, Scene, look

ID, TITLE = "layers", "Layer by layer"
SIDE = 448
HYBRID = " In this hybrid a token begins as a place in the feature map of a CNN, which sees more of the photo than the patch at that place."


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    gr.Markdown(
        "### If each layer were the last\n"
        "The final norm and the head read [CLS] after each layer (the *logit lens*). They have learned to read the last layer only, "
        "so early answers are rough. At the start [CLS] has seen nothing: that answer is the same for every photo."
    )
    lens_words = gr.Markdown(elem_id="inside-lens-words")
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            lens_plot = gr.Plot(show_label=False, elem_id="inside-lens-plot")
        with gr.Column(scale=2, min_width=300):
            lens_table = gr.HTML(elem_id="inside-lens-table")
    gr.Markdown("### How much the layers change the patches")
    similar_words = gr.Markdown(elem_id="inside-similar-words")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            gr.Markdown("**The same patch after two layers**: cosine similarity, 1 where nothing changed")
            similar_plot = gr.Plot(show_label=False, elem_id="inside-similar-plot")
        with gr.Column(min_width=300):
            gr.Markdown("**Different patches of the photo**: mean cosine similarity, 1 where all say the same")
            mutual_plot = gr.Plot(show_label=False, elem_id="inside-mutual-plot")
    gr.Markdown("### How long the tokens are")
    norm_words = gr.Markdown(elem_id="inside-norm-words")
    layer = gr.Slider(0, 11, value=11, step=1, label="After layer, 0 is the first", elem_id="inside-norm-layer")
    layer_words = gr.Markdown(elem_id="inside-norm-layer-words")
    with gr.Row(equal_height=False):
        norm_map = gr.Image(
            label="Norm of each patch", interactive=False, buttons=["download", "fullscreen"], elem_id="inside-norm-map", min_width=300
        )
        with gr.Column(min_width=300):
            gr.Markdown("**Norm (length) of the tokens** after each layer")
            norm_plot = gr.Plot(show_label=False, elem_id="inside-norm-plot")
    with gr.Row(elem_classes="actions"):
        numbers = gr.DownloadButton("Download the table (CSV)", size="sm", elem_id="inside-layers-csv", min_width=150)
        arrays = gr.DownloadButton("Download all numbers (npz)", size="sm", elem_id="inside-layers-npz", min_width=150)
    once = [lens_words, lens_plot, lens_table, similar_words, similar_plot, mutual_plot, norm_words, norm_plot, numbers, arrays]
    by_layer = [layer, layer_words, norm_map]
    scene.draw(tab, show, [layer], [*once, *by_layer])
    options = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}
    layer.input(polite(show_norms), [scene.photo, scene.model, layer], by_layer, **options)


def show(photo: str | None, model: str, layer: float | None) -> tuple:
    """Inputs: photo, model, layer of the norms.

    Outputs: words, plot and table of the lens; words and two plots of similarity; words and plot of the norms; CSV, npz; then as show_norms.
    """
    found = _found(photo, model)
    hidden, labels = found.trace.hidden, found.classifier.labels
    lens = logit_lens(found.classifier, hidden)
    similar, mutual, norms = layer_similarity(hidden[:, 1:]), mutual_similarity(hidden[:, 1:]), token_norms(hidden)
    shown = _shown_classes(lens)
    artefacts = artefact_patches(hidden)
    return (
        _lens_words(lens, labels),
        lens_figure(lens.probabilities[:, shown], [label_title(labels[index]) for index in shown]),
        _lens_table(lens, labels),
        _similar_words(similar, mutual),
        similarity_figure(similar),
        mutual_figure(mutual),
        _norm_words(artefacts, norms, found.trace.grid) + (HYBRID if found.classifier.feature_channels else ""),
        norms_figure(norms),
        csv_file("layers", *_csv(lens, labels, mutual, norms)),
        npz_file(
            "layers", logits=lens.logits, probabilities=lens.probabilities, labels=np.array(labels), layer_similarity=similar,
            cls_layer_similarity=layer_similarity(hidden[:, :1]), mutual_similarity=mutual, norms=norms, artefact_patches=artefacts,
        ),
        *show_norms(photo, model, layer),
    )


def show_norms(photo: str | None, model: str, layer: float | None) -> tuple:
    """Inputs: photo, model, layer. Outputs: layer, as the model has it; words; norms over the photo, with outliers framed."""
    found = _found(photo, model)
    hidden, grid = found.trace.hidden, found.trace.grid
    last = len(hidden) - 2
    layer = min(int(layer or 0), last)
    norms = token_norms(hidden[layer + 1, 1:])
    framed = np.flatnonzero(outliers(norms))
    scale = SIDE / max(found.seen.size)
    photo_large = found.seen.resize((round(found.seen.width * scale), round(found.seen.height * scale)), Image.Resampling.LANCZOS)
    usual = np.delete(norms, framed)
    words = (
        f"After layer {layer}: the patches have norms from {usual.min():.1f} (dark) to {usual.max():.1f} (bright), "
        f"median {np.median(norms):.1f}. {_framed_words(framed, norms, grid)}"
    )
    return gr.update(maximum=last, value=layer), words, norms_overlay(photo_large, norms, grid, framed)


def _found(photo: str | None, model: str) -> Look:
    if photo is None:
        raise UserError(NO_PHOTO)
    return look(model, photo)


def _shown_classes(lens: Lens) -> list[int]:
    """The classes of the figure: the likeliest in the end, then those that were likely anywhere on the way."""
    last, most = lens.probabilities[-1], lens.probabilities.max(axis=0)
    order = [*np.argsort(-last, kind="stable")[: MOST_CLASSES // 2], *np.argsort(-most, kind="stable")]
    return list(dict.fromkeys(map(int, order)))[:MOST_CLASSES]


def _lens_words(lens: Lens, labels: list[str]) -> str:
    rows = len(lens.winners)
    answer = f"**{escape(label_title(labels[lens.winners[-1]]))}** ({percent(float(lens.probabilities[-1].max()))})"
    if lens.settled == 0:
        return f"The model's answer is {answer}, and it would be so after every layer, even before the first."
    if lens.settled == rows - 1:
        return f"The model's answer is {answer}; only the last layer, {rows - 2}, comes to it."
    return f"The model's answer is {answer}; from layer {lens.settled - 1} on the answer stays this one."


def _lens_table(lens: Lens, labels: list[str]) -> str:
    rows = [
        [name if name == START else f"layer {name}", label_title(labels[winner]), percent(float(values[winner]))]
        for name, winner, values in zip(layer_names(len(lens.winners)), lens.winners, lens.probabilities)
    ]
    return table(["After", "it would say", "probability"], rows)


def _similar_words(similar: np.ndarray, mutual: np.ndarray) -> str:
    steps = np.diagonal(similar, offset=1)
    most = int(steps.argmin())
    change = f"Layer {most} changes the patches most (cosine similarity {steps[most]:.2f} before and after)."
    if not np.isfinite(mutual).all():
        return f"{change} This model reads a single patch, so there are no others to compare it with."
    return (
        f"{change} From start to end a patch keeps a similarity of {similar[0, -1]:.2f} with itself. Different patches have one of {mutual[0]:.2f} "
        f"at the start and {mutual[-1]:.2f} at the end: near 1 all patches would say the same (*over-smoothing*)."
    )


def _norm_words(artefacts: np.ndarray, norms: np.ndarray, grid: PatchGrid) -> str:
    if not len(artefacts):
        return (
            f"No patch of this photo stands out: none has a norm of more than {TIMES_MEDIAN:g} times the median after any layer. "
            "Such patches would hold something about the whole photo, and maps that light up there would mislead (Darcet et al. 2024)."
        )
    patches = norms[1:, 1:]
    times = patches[:, artefacts] / np.median(patches, axis=1, keepdims=True)
    layer = int(times.max(axis=1).argmax())
    many = len(artefacts) > 1
    return (
        f"**{len(artefacts)} {'patches stand' if many else 'patch stands'} out**: {_places(artefacts, grid)}, up to {times.max():.0f} times the median "
        f"(after layer {layer}). Models are known to keep notes on the whole photo in such patches, so a map that lights up there "
        "may say little about what the leaf shows at that place (Darcet et al. 2024)."
    )


def _framed_words(framed: np.ndarray, norms: np.ndarray, grid: PatchGrid) -> str:
    if not len(framed):
        return "None stands out."
    return f"Framed, and far above that, up to {norms[framed].max():.1f}: {_places(framed, grid)}."


def _places(indices: np.ndarray, grid: PatchGrid) -> str:
    """Up to four patches by name, more by their number."""
    names = [f"patch {index} (row {index // grid.columns}, column {index % grid.columns})" for index in indices[:4]]
    return ", ".join(names) + (f" and {len(indices) - 4} more" if len(indices) > 4 else "")


def _csv(lens: Lens, labels: list[str], mutual: np.ndarray, norms: np.ndarray) -> tuple[list[str], list[list]]:
    """One row a layer: winner, similarity of the patches, norms, and the probability of every class (a share of 1)."""
    header = ["after_layer", "would_say", "patch_similarity_cosine", "cls_norm", "median_patch_norm", "longest_patch_norm"]
    columns = (layer_names(len(norms)), lens.winners, mutual, norms, lens.probabilities)
    rows = [
        [name, labels[winner], f"{alike:.5f}", f"{norm[0]:.4f}", f"{np.median(norm[1:]):.4f}", f"{norm[1:].max():.4f}", *(f"{share:.6f}" for share in shares)]
        for name, winner, alike, norm, shares in zip(*columns)
    ]
    return [*header, *(f"probability_{label}" for label in labels)], rows
