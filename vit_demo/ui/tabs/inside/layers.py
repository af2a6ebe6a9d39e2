"""Look inside: what each layer adds. The answer after each, how much the tokens change, and tokens that
became too long.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.common.words import label_title, percent, say
from vit_demo.explain.internals.lens import Lens, layer_similarity, logit_lens, mutual_similarity
from vit_demo.explain.internals.norms import TIMES_MEDIAN, artefact_patches, outliers, token_norms
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.layers import (
    MOST_CLASSES,
    START,
    layer_names,
    lens_figure,
    mutual_figure,
    norms_figure,
    norms_overlay,
    similarity_figure,
)
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.shared.html import say_html
from vit_demo.ui.shared.speech import Told
from vit_demo.ui.tabs.inside.downloads import csv_file, npz_file
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, Again, Look, Scene, look

ID, TITLE = "layers", "inside.layers.title"
SIDE = 448


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    speech = scene.speech
    speech(gr.Markdown, value=Told("inside.layers.lens"))
    lens_words = gr.Markdown(elem_id="inside-lens-words")
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            lens_plot = gr.Plot(show_label=False, elem_id="inside-lens-plot")
        with gr.Column(scale=2, min_width=300):
            lens_table = gr.HTML(elem_id="inside-lens-table")
    speech(gr.Markdown, value=Told("inside.layers.change"))
    similar_words = gr.Markdown(elem_id="inside-similar-words")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            speech(gr.Markdown, value=Told("inside.layers.same_patch"))
            similar_plot = gr.Plot(show_label=False, elem_id="inside-similar-plot")
        with gr.Column(min_width=300):
            speech(gr.Markdown, value=Told("inside.layers.other_patches"))
            mutual_plot = gr.Plot(show_label=False, elem_id="inside-mutual-plot")
    speech(gr.Markdown, value=Told("inside.layers.length"))
    norm_words = gr.Markdown(elem_id="inside-norm-words")
    layer = speech(
        gr.Slider,
        minimum=0,
        maximum=11,
        value=11,
        step=1,
        label=Told("inside.layers.after"),
        elem_id="inside-norm-layer",
    )
    layer_words = gr.Markdown(elem_id="inside-norm-layer-words")
    with gr.Row(equal_height=False):
        norm_map = speech(
            gr.Image,
            label=Told("inside.layers.norm_map"),
            interactive=False,
            buttons=["download", "fullscreen"],
            elem_id="inside-norm-map",
            min_width=300,
        )
        with gr.Column(min_width=300):
            speech(gr.Markdown, value=Told("inside.layers.norms"))
            norm_plot = gr.Plot(show_label=False, elem_id="inside-norm-plot")
    with gr.Row(elem_classes="actions"):
        numbers = speech(
            gr.DownloadButton,
            label=Told("inside.layers.download"),
            size="sm",
            elem_id="inside-layers-csv",
            min_width=150,
        )
        arrays = speech(
            gr.DownloadButton,
            label=Told("inside.layers.download_all"),
            size="sm",
            elem_id="inside-layers-npz",
            min_width=150,
        )
    once = [
        lens_words,
        lens_plot,
        lens_table,
        similar_words,
        similar_plot,
        mutual_plot,
        norm_words,
        norm_plot,
        numbers,
        arrays,
    ]
    by_layer = [layer, layer_words, norm_map]
    scene.draw(tab, show, [layer], [*once, *by_layer], Again(still=[norm_map]))
    options: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "minimal",
        "trigger_mode": "always_last",
    }
    layer.input(polite(show_norms), [scene.photo, scene.model, layer], by_layer, **options)


def show(photo: str | None, model: str, layer: float | None) -> tuple:
    """Inputs: photo, model, layer of the norms.

    Outputs: words, plot and table of the lens; words and two plots of similarity; words and plot of the
    norms; CSV, npz; then as show_norms.
    """
    found = _found(photo, model)
    hidden, labels = found.trace.hidden, found.classifier.labels
    lens = logit_lens(found.classifier, hidden, found.trace.temperature)
    similar, mutual, norms = (
        layer_similarity(hidden[:, 1:]),
        mutual_similarity(hidden[:, 1:]),
        token_norms(hidden),
    )
    shown = _shown_classes(lens)
    artefacts = artefact_patches(hidden)
    return (
        _lens_words(lens, labels),
        lens_figure(lens.probabilities[:, shown], [label_title(labels[index]) for index in shown]),
        _lens_table(lens, labels),
        _similar_words(similar, mutual),
        similarity_figure(similar),
        mutual_figure(mutual),
        _norm_words(artefacts, norms, found.trace.grid)
        + (" " + say("inside.layers.hybrid") if found.classifier.feature_channels else ""),
        norms_figure(norms),
        csv_file("layers", *_csv(lens, labels, mutual, norms)),
        npz_file(
            "layers",
            logits=lens.logits,
            probabilities=lens.probabilities,
            labels=np.array(labels),
            layer_similarity=similar,
            cls_layer_similarity=layer_similarity(hidden[:, :1]),
            mutual_similarity=mutual,
            norms=norms,
            artefact_patches=artefacts,
        ),
        *show_norms(photo, model, layer),
    )


def show_norms(photo: str | None, model: str, layer: float | None) -> tuple:
    """Inputs: photo, model, layer. Outputs: layer, as the model has it; words; norms over the photo, with
    outliers framed.
    """
    found = _found(photo, model)
    hidden, grid = found.trace.hidden, found.trace.grid
    last = len(hidden) - 2
    layer = min(int(layer or 0), last)
    norms = token_norms(hidden[layer + 1, 1:])
    framed = np.flatnonzero(outliers(norms))
    scale = SIDE / max(found.seen.size)
    photo_large = found.seen.resize(
        (round(found.seen.width * scale), round(found.seen.height * scale)), Image.Resampling.LANCZOS
    )
    usual = np.delete(norms, framed)
    said = say(
        "inside.layers.norms_after", layer=layer, least=usual.min(), most=usual.max(), median=np.median(norms)
    )
    return (
        gr.update(maximum=last, value=layer),
        f"{said} {_framed_words(framed, norms, grid)}",
        norms_overlay(photo_large, norms, grid, framed),
    )


def _found(photo: str | None, model: str) -> Look:
    if photo is None:
        raise UserError(NO_PHOTO)
    return look(model, photo)


def _shown_classes(lens: Lens) -> list[int]:
    """The classes of the figure: the likeliest in the end, then those that were likely anywhere on the
    way.
    """
    last, most = lens.probabilities[-1], lens.probabilities.max(axis=0)
    order = [*np.argsort(-last, kind="stable")[: MOST_CLASSES // 2], *np.argsort(-most, kind="stable")]
    return list(dict.fromkeys(map(int, order)))[:MOST_CLASSES]


def _lens_words(lens: Lens, labels: list[str]) -> str:
    rows = len(lens.winners)
    answer = {
        "name": label_title(labels[lens.winners[-1]]),
        "percent": percent(float(lens.probabilities[-1].max())),
    }
    if lens.settled == 0:
        return say_html("inside.layers.always", **answer)
    if lens.settled == rows - 1:
        return say_html("inside.layers.only_last", **answer, layer=rows - 2)
    return say_html("inside.layers.from_layer", **answer, layer=lens.settled - 1)


def _lens_table(lens: Lens, labels: list[str]) -> str:
    rows = [
        [
            say("inside.layers.start") if name == START else say("inside.layers.layer", layer=name),
            label_title(labels[winner]),
            percent(float(values[winner])),
        ]
        for name, winner, values in zip(layer_names(len(lens.winners)), lens.winners, lens.probabilities)
    ]
    return table([say(f"inside.layers.column_{name}") for name in ("after", "answer", "probability")], rows)


def _similar_words(similar: np.ndarray, mutual: np.ndarray) -> str:
    steps = np.diagonal(similar, offset=1)
    most = int(steps.argmin())
    change = say("inside.layers.most_change", layer=most, similarity=steps[most])
    if not np.isfinite(mutual).all():
        return f"{change} {say('inside.layers.one_patch')}"
    return f"{change} {say('inside.layers.kept', kept=similar[0, -1], first=mutual[0], last=mutual[-1])}"


def _norm_words(artefacts: np.ndarray, norms: np.ndarray, grid: PatchGrid) -> str:
    if not len(artefacts):
        return say("inside.layers.no_artefacts", times=TIMES_MEDIAN)
    patches = norms[1:, 1:]
    times = patches[:, artefacts] / np.median(patches, axis=1, keepdims=True)
    layer = int(times.max(axis=1).argmax())
    return say(
        "inside.layers.artefacts",
        count=len(artefacts),
        patches=_places(artefacts, grid),
        times=times.max(),
        layer=layer,
    )


def _framed_words(framed: np.ndarray, norms: np.ndarray, grid: PatchGrid) -> str:
    if not len(framed):
        return say("inside.layers.none_framed")
    return say("inside.layers.framed", most=norms[framed].max(), patches=_places(framed, grid))


def _places(indices: np.ndarray, grid: PatchGrid) -> str:
    """Up to four patches by name, more by their number."""
    names = [
        say("inside.patch_place", index=index, row=index // grid.columns, column=index % grid.columns)
        for index in indices[:4]
    ]
    patches = say("inside.layers.between").join(names)
    return (
        patches
        if len(indices) <= 4
        else say("inside.layers.and_more", patches=patches, more=len(indices) - 4)
    )


def _csv(
    lens: Lens, labels: list[str], mutual: np.ndarray, norms: np.ndarray
) -> tuple[list[str], list[list]]:
    """One row a layer: winner, similarity of the patches, norms, and the probability of every class (a share
    of 1).
    """
    header = [
        "after_layer",
        "would_say",
        "patch_similarity_cosine",
        "cls_norm",
        "median_patch_norm",
        "longest_patch_norm",
    ]
    columns = (layer_names(len(norms)), lens.winners, mutual, norms, lens.probabilities)
    rows = [
        [
            name,
            labels[winner],
            f"{alike:.5f}",
            f"{norm[0]:.4f}",
            f"{np.median(norm[1:]):.4f}",
            f"{norm[1:].max():.4f}",
            *(f"{share:.6f}" for share in shares),
        ]
        for name, winner, alike, norm, shares in zip(*columns)
    ]
    return [*header, *(f"probability_{label}" for label in labels)], rows
