"""Look inside: one photo on its way to tokens, and one patch followed through each step."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.common.words import say
from vit_demo.explain.internals.costs import Encoder, full_attention
from vit_demo.explain.internals.tokens import PatchRow, TokenSteps, token_steps
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures import tokens as figures
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.speech import Told
from vit_demo.ui.tabs.inside import costs
from vit_demo.ui.tabs.inside.downloads import npz_file
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, Again, Look, Scene, look, touched

ID, TITLE = "tokens", "inside.tokens.title"
MIDDLE = 105
PICTURE = {"interactive": False, "buttons": ["download", "fullscreen"], "min_width": 300}


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    speech = scene.speech
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            speech(gr.Markdown, value=Told("inside.tokens.click"))
            patch = speech(
                gr.Slider,
                minimum=0,
                maximum=195,
                value=MIDDLE,
                step=1,
                label=Told("inside.tokens.patch"),
                info=Told("inside.tokens.counted"),
                elem_id="tokens-patch",
            )
            sentence = gr.Markdown(elem_id="tokens-sentence")
            download = speech(
                gr.DownloadButton, label=Told("inside.tokens.download"), size="sm", elem_id="tokens-download"
            )
        with gr.Column(scale=5, min_width=300):
            facts = gr.HTML(elem_id="tokens-facts")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            first = gr.HTML()
            photo = speech(gr.Image, label=Told("inside.tokens.photo"), elem_id="tokens-photo", **PICTURE)
        with gr.Column(min_width=300):
            second = gr.HTML()
            sheet = speech(gr.Image, label=Told("inside.tokens.sheet"), elem_id="tokens-sheet", **PICTURE)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            third = gr.HTML(elem_id="tokens-flat")
            values = speech(gr.Image, label=Told("inside.tokens.values"), elem_id="tokens-values", **PICTURE)
        with gr.Column(min_width=300):
            fourth = gr.HTML(elem_id="tokens-projected")
            projected = gr.Plot(show_label=False, elem_id="tokens-projection")
            fifth = gr.HTML(elem_id="tokens-cls")
            matrix = speech(gr.Image, label=Told("inside.tokens.matrix"), elem_id="tokens-matrix", **PICTURE)
    sixth = gr.HTML(elem_id="tokens-sum")
    summed = gr.Plot(show_label=False, elem_id="tokens-vectors")
    costs.build(tab, scene)
    view = [scene.photo, scene.model, patch]
    shown = [
        facts,
        patch,
        sentence,
        download,
        first,
        photo,
        second,
        sheet,
        third,
        values,
        fourth,
        projected,
        fifth,
        matrix,
        sixth,
        summed,
    ]
    # always_last: of a slider that is dragged, the place where it stops counts.
    hidden: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "minimal",
        "trigger_mode": "always_last",
    }
    scene.draw(tab, show, [patch], shown, Again(still=[photo, sheet]))
    # .input, not .change: the server sets it too.
    patch.input(polite(show), view, shown, **hidden)
    for picture in (photo, sheet):
        picture.select(polite(follow_click), [scene.photo, scene.model], shown, **hidden)


def show(photo: str | None, model: str, patch: float | None) -> tuple:
    """Inputs: photo, model, the patch to follow. Outputs: facts, patch, sentence, download, then words and
    figure of each step.
    """
    if photo is None:
        raise UserError(NO_PHOTO)
    found = look(model, photo)
    steps = token_steps(found.classifier, found.trace.pixel_values)
    grid = steps.grid
    followed = steps.follow(min(max(int(patch or 0), 0), grid.num_patches - 1))
    pictures = _figures(found.seen, steps, followed)
    words = _words(steps, followed)
    return (
        _facts(found),
        gr.update(maximum=grid.num_patches - 1, value=followed.index),
        _sentence(steps, followed),
        npz_file(
            f"patch-{followed.index}",
            **{
                field.name: np.asarray(getattr(followed, field.name))
                for field in dataclasses.fields(followed)
            },
        ),
        *(part for step in zip(words, pictures) for part in step),
    )


def follow_click(photo: str | None, model: str, event: gr.SelectData) -> tuple:
    """Inputs: photo, model, the click. Outputs: as those of :func:`show`, for the patch under it."""
    if photo is None:
        raise UserError(NO_PHOTO)
    found = look(model, photo)
    grid, seen = found.trace.grid, found.seen
    if touched(event) == "tokens-sheet":
        return show(photo, model, figures.sheet_patch(seen, grid, event.index))
    scale = max(seen.size) / figures.PHOTO_SIDE
    return show(photo, model, grid.index_at(*(value * scale for value in event.index)))


def _figures(seen: Image.Image, steps: TokenSteps, followed: PatchRow) -> tuple:
    """One for each of the six steps."""
    grid, patch = steps.grid, followed.index
    values = (
        figures.patch_picture(seen, grid, followed)
        if steps.feature_map is None
        else figures.feature_picture(steps.feature_map, followed)
    )
    name = say("inside.tokens.row_patch", patch=patch)
    vectors = {
        name: followed.projected,
        **_summed(patch + 1, followed.position, followed.token),
        "[CLS]": followed.cls,
        **_summed(0, followed.cls_position, followed.cls_token),
    }
    return (
        figures.photo_picture(seen, grid, patch),
        figures.sheet_picture(seen, grid, patch),
        values,
        figures.vectors_figure({name: followed.projected}, "projected"),
        figures.matrix_picture(steps.with_cls, patch),
        figures.vectors_figure(vectors, "summed"),
    )


def _summed(token: int, position: np.ndarray, total: np.ndarray) -> dict[str, np.ndarray]:
    """Two rows of a sum."""
    return {
        say("inside.tokens.row_position", position=token): position,
        say("inside.tokens.row_token", token=token): total,
    }


def _words(steps: TokenSteps, followed: PatchRow) -> list[str]:
    """Title, shape, words and first values of each of the six steps."""
    patch, token, tokens = followed.index, followed.index + 1, steps.grid.num_patches + 1
    width, hidden = len(followed.values), len(followed.projected)
    low, high = steps.pixel_values.min(), steps.pixel_values.max()
    added = (
        say("inside.tokens.interpolated", token=token)
        if steps.interpolated
        else say("inside.tokens.learned", token=token)
    )
    return [
        _card("first_title", steps.pixel_values.shape, say("inside.tokens.first", low=low, high=high)),
        *(
            _cut_words(steps, patch)
            if steps.feature_map is None
            else _cnn_words(steps, steps.feature_map.shape, patch)
        ),
        _card(
            "projected_title",
            steps.projected.shape,
            say("inside.tokens.projected", hidden=hidden, width=width, patch=patch),
            followed.projected,
        ),
        _card(
            "cls_title",
            steps.with_cls.shape,
            say("inside.tokens.cls", patch=patch, token=token, tokens=tokens),
            followed.cls,
        ),
        _card("position_title", steps.tokens.shape, added, followed.token),
    ]


def _cut_words(steps: TokenSteps, patch: int) -> tuple[str, str]:
    """Steps 2 and 3 of a plain ViT."""
    grid, size = steps.grid, steps.grid.patch_size
    cut = say("inside.tokens.cut", rows=grid.rows, columns=grid.columns, patches=grid.num_patches, size=size)
    return (
        _card("cut_title", (grid.num_patches, grid.channels, size, size), cut),
        _card(
            "flat_title",
            steps.values.shape,
            say("inside.tokens.flat", size=size, patch=patch),
            steps.values[patch],
        ),
    )


def _cnn_words(steps: TokenSteps, shape: tuple[int, ...], patch: int) -> tuple[str, str]:
    """Steps 2 and 3 of a hybrid. shape: of its feature map."""
    size, (width, rows, columns) = steps.grid.patch_size, shape
    return (
        _card(
            "cnn_title", shape, say("inside.tokens.cnn", rows=rows, columns=columns, width=width, size=size)
        ),
        _card(
            "row_title",
            steps.values.shape,
            say("inside.tokens.row", width=width, patch=patch),
            steps.values[patch],
        ),
    )


def _card(title: str, shape: tuple[int, ...], words: str, values: np.ndarray | None = None) -> str:
    """One step in HTML. title: end of a key. values: a vector whose first values are shown below the
    words.
    """
    sides = " x ".join(f"{side:,}" for side in shape)
    return render(
        "inside/tokens#card",
        title=say(f"inside.tokens.{title}"),
        shape=sides,
        words=words,
        values="" if values is None else _begin(values),
    )


def _begin(vector: np.ndarray) -> str:
    """The first values of a vector, its last, and how many they are."""
    return say(
        "inside.tokens.vector",
        first=", ".join(f"{value:.3f}" for value in vector[:4]),
        last=vector[-1],
        size=len(vector),
    )


def _facts(found: Look) -> str:
    attention, grid = found.trace.attention, found.trace.grid
    encoder = Encoder.of(found.classifier.model.config)
    channels = found.classifier.feature_channels
    plain = channels is None
    read = (
        grid if channels is None else PatchGrid(grid.rows, grid.columns, 1, channels)
    )  # places of the feature map as patches of 1 x 1
    flops = costs.short(full_attention(encoder, read).flops)
    sizes = {"rows": grid.rows, "columns": grid.columns, "patches": grid.num_patches}
    rows = {
        "photo": say("inside.tokens.facts_photo_size", height=grid.image_height, width=grid.image_width),
        "patch": say(f"inside.tokens.facts_{'patch' if plain else 'place'}_size", size=grid.patch_size),
        "values": say(
            f"inside.tokens.facts_values_{'patch' if plain else 'cnn'}", values=read.values_per_patch
        ),
        "patches": say("inside.tokens.facts_patches_count", **sizes),
        "tokens": say("inside.tokens.facts_tokens_count", tokens=grid.num_tokens, hidden=encoder.hidden_size),
        "layers": say("inside.tokens.facts_layers_count", layers=attention.layers, heads=attention.heads),
        "cost": say("inside.tokens.facts_flops" if plain else "inside.tokens.facts_flops_cnn", flops=flops),
    }
    return table(
        [say("inside.tokens.facts"), ""],
        [[say(f"inside.tokens.facts_{name}"), text] for name, text in rows.items()],
    )


def _sentence(steps: TokenSteps, followed: PatchRow) -> str:
    left, top, right, bottom = steps.grid.box(followed.index)
    return say(
        "inside.tokens.sentence",
        patch=followed.index,
        row=followed.row,
        column=followed.column,
        left=left,
        right=right - 1,
        top=top,
        bottom=bottom - 1,
        token=followed.index + 1,
        length=np.linalg.norm(followed.token),
    )
