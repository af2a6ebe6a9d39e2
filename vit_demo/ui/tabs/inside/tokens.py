"""Look inside: one photo on its way to tokens, and one patch followed through each step."""

from __future__ import annotations

import dataclasses
from html import escape

import gradio as gr
import numpy as np
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.explain.internals.costs import Encoder, full_attention
from vit_demo.explain.internals.tokens import PatchRow, TokenSteps, token_steps
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures import tokens as figures
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.tabs.inside import costs
from vit_demo.ui.tabs.inside.downloads import npz_file
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, Look, Scene, look

ID, TITLE = "tokens", "From photo to tokens"
MIDDLE = 105
PICTURE = {"interactive": False, "buttons": ["download", "fullscreen"], "min_width": 300}


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            gr.Markdown("**Click a patch**, in the photo or in the sheet of patches, and follow it through all six steps.")
            patch = gr.Slider(0, 195, value=MIDDLE, step=1, label="Patch", info="counted row by row, from 0 at the top left", elem_id="tokens-patch")
            sentence = gr.Markdown(elem_id="tokens-sentence")
            download = gr.DownloadButton("Numbers of this patch (npz)", size="sm", elem_id="tokens-download")
        with gr.Column(scale=5, min_width=300):
            facts = gr.HTML(elem_id="tokens-facts")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            first = gr.HTML()
            photo = gr.Image(label="Photo as the model gets it", elem_id="tokens-photo", **PICTURE)
        with gr.Column(min_width=300):
            second = gr.HTML()
            sheet = gr.Image(label="Patches, pulled apart", elem_id="tokens-sheet", **PICTURE)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            third = gr.HTML(elem_id="tokens-flat")
            values = gr.Image(label="What is projected", elem_id="tokens-values", **PICTURE)
        with gr.Column(min_width=300):
            fourth = gr.HTML(elem_id="tokens-projected")
            projected = gr.Plot(show_label=False, elem_id="tokens-projection")
            fifth = gr.HTML(elem_id="tokens-cls")
            matrix = gr.Image(label="All tokens, one a row", elem_id="tokens-matrix", **PICTURE)
    sixth = gr.HTML(elem_id="tokens-sum")
    summed = gr.Plot(show_label=False, elem_id="tokens-vectors")
    costs.build(tab, scene)
    view = [scene.photo, scene.model, patch]
    shown = [facts, patch, sentence, download, first, photo, second, sheet, third, values, fourth, projected, fifth, matrix, sixth, summed]
    # always_last: of a slider that is dragged, the place where it stops counts.
    hidden = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}
    scene.draw(tab, show, [patch], shown)
    # .input, not .change: the server sets it too.
    patch.input(polite(show), view, shown, **hidden)
    for picture in (photo, sheet):
        picture.select(polite(follow_click), [scene.photo, scene.model], shown, **hidden)


def show(photo: str | None, model: str, patch: float | None) -> tuple:
    """Inputs: photo, model, the patch to follow. Outputs: facts, patch, sentence, download, then words and figure of each step."""
    if photo is None:
        raise UserError(NO_PHOTO)
    found = look(model, photo)
    steps = token_steps(found.classifier, found.trace.pixel_values)
    grid = steps.grid
    followed = steps.follow(min(max(int(patch or 0), 0), grid.num_patches - 1))
    pictures = _figures(found.seen, steps, followed)
    words = _words(steps, followed)
    return (
        _facts(found), gr.update(maximum=grid.num_patches - 1, value=followed.index), _sentence(steps, followed),
        npz_file(f"patch-{followed.index}", **{field.name: np.asarray(getattr(followed, field.name)) for field in dataclasses.fields(followed)}),
        *(part for step in zip(words, pictures) for part in step),
    )


def follow_click(photo: str | None, model: str, event: gr.SelectData) -> tuple:
    """Inputs: photo, model, the click. Outputs: as those of :func:`show`, for the patch under it."""
    if photo is None:
        raise UserError(NO_PHOTO)
    found = look(model, photo)
    grid, seen = found.trace.grid, found.seen
    if event.target.elem_id == "tokens-sheet":
        return show(photo, model, figures.sheet_patch(seen, grid, event.index))
    scale = max(seen.size) / figures.PHOTO_SIDE
    return show(photo, model, grid.index_at(*(value * scale for value in event.index)))


def _figures(seen: Image.Image, steps: TokenSteps, followed: PatchRow) -> tuple:
    """One for each of the six steps."""
    grid, patch = steps.grid, followed.index
    plain = steps.feature_map is None
    values = figures.patch_picture(seen, grid, followed) if plain else figures.feature_picture(steps.feature_map, followed)
    vectors = {
        f"patch {patch}": followed.projected, f"+ position {patch + 1}": followed.position, f"= token {patch + 1}": followed.token,
        "[CLS]": followed.cls, "+ position 0": followed.cls_position, "= token 0": followed.cls_token,
    }
    return (
        figures.photo_picture(seen, grid, patch), figures.sheet_picture(seen, grid, patch), values,
        figures.vectors_figure({f"patch {patch}": followed.projected}, "projected"),
        figures.matrix_picture(steps.with_cls, patch), figures.vectors_figure(vectors, "summed"),
    )


def _words(steps: TokenSteps, followed: PatchRow) -> list[str]:
    """Title, shape, words and first values of each of the six steps."""
    patch, count = followed.index, steps.grid.num_patches
    width, hidden = len(followed.values), len(followed.projected)
    low, high = steps.pixel_values.min(), steps.pixel_values.max()
    return [
        _card("1. The photo, resized and normalised", steps.pixel_values.shape, f"Colours, height and width in pixels; values from {low:.2f} to {high:.2f}."),
        *(_cut_words(steps, patch) if steps.feature_map is None else _cnn_words(steps, patch)),
        _card(
            "4. Projected", steps.projected.shape,
            f"Each of its {hidden} new values is a learned weighted sum of the {width} above, plus a learned number. All patches share the weights. "
            f"Red is above zero, blue below. Patch {patch}:", followed.projected,
        ),
        _card(
            "5. [CLS] put in front", steps.with_cls.shape,
            f"A learned vector, the same for each photo, becomes token 0, and patch {patch} token {patch + 1} of {count + 1}. [CLS]:", followed.cls,
        ),
        _card(
            "6. Position added", steps.tokens.shape,
            f"Without it the model could not tell where a patch was. The vector of position {patch + 1} "
            f"{'was interpolated in 2D from those learned at another size' if steps.interpolated else 'was learned in training'}. "
            f"Token {patch + 1}, as it enters the first layer:", followed.token,
        ),
    ]


def _cut_words(steps: TokenSteps, patch: int) -> tuple[str, str]:
    """Steps 2 and 3 of a plain ViT."""
    grid, size = steps.grid, steps.grid.patch_size
    flat = (
        f"The {size} x {size} pixels of each patch in 3 colours, written one after another: all red, then all green, then all blue; "
        f"in the picture, bright is high. Patch {patch}:"
    )
    return (
        _card(
            "2. Cut into patches", (grid.num_patches, grid.channels, size, size),
            f"{grid.rows} x {grid.columns} = {grid.num_patches} patches of {size} x {size} pixels in 3 colours.",
        ),
        _card("3. Flattened", steps.values.shape, flat, steps.values[patch]),
    )


def _cnn_words(steps: TokenSteps, patch: int) -> tuple[str, str]:
    """Steps 2 and 3 of a hybrid."""
    size, (width, rows, columns) = steps.grid.patch_size, steps.feature_map.shape
    return (
        _card(
            "2. Read by a CNN", steps.feature_map.shape,
            f"This model has a CNN in front, which makes a feature map of {rows} x {columns} places with {width} values each. "
            f"A place stands for the {size} x {size} pixels that the sheet shows, but sees some way beyond them.",
        ),
        _card(
            "3. A row for each place", steps.values.shape,
            f"Instead of pixels, the {width} values at the place of patch {patch}. "
            "The picture shows the first channels, its place framed; bright is high. The values:",
            steps.values[patch],
        ),
    )


def _card(title: str, shape: tuple[int, ...], words: str, values: np.ndarray | None = None) -> str:
    """One step in HTML. values: a vector whose first values are shown below the words."""
    sides = " x ".join(f"{side:,}" for side in shape)
    numbers = "" if values is None else f'<p class="step-values">{_begin(values)}</p>'
    return f'<div class="step"><h4>{escape(title)}</h4><p class="step-shape">{sides}</p><p>{escape(words)}</p>{numbers}</div>'


def _begin(vector: np.ndarray) -> str:
    """The first values of a vector, its last, and how many they are."""
    return ", ".join(f"{value:.3f}" for value in vector[:4]) + f", ... , {vector[-1]:.3f} ({len(vector)} values)"


def _facts(found: Look) -> str:
    attention, grid = found.trace.attention, found.trace.grid
    encoder = Encoder.of(found.classifier.model.config)
    channels = found.classifier.feature_channels
    plain = channels is None
    read = grid if plain else PatchGrid(grid.rows, grid.columns, 1, channels)  # places of the feature map as patches of 1 x 1
    return table(
        ["This photo in this model", ""],
        [
            ["Photo as the model gets it", f"{grid.image_height} x {grid.image_width} px, 3 colours"],
            ["Patch size P", f"{grid.patch_size} x {grid.patch_size} px{'' if plain else ', one place of the feature map'}"],
            ["Values projected", f"{read.values_per_patch} a patch{'' if plain else ', made by the CNN'}"],
            ["Patches N = HW / P²", f"{grid.rows} x {grid.columns} = {grid.num_patches}"],
            ["Tokens with [CLS]", f"{grid.num_tokens}, each of {encoder.hidden_size} values"],
            ["Layers, heads in each", f"{attention.layers}, {attention.heads}"],
            ["Cost of one photo", f"{costs.short(full_attention(encoder, read).flops)}FLOPs{'' if plain else ', and those of the CNN'}"],
        ],
    )


def _sentence(steps: TokenSteps, followed: PatchRow) -> str:
    left, top, right, bottom = steps.grid.box(followed.index)
    return (
        f"**Patch {followed.index}** (row {followed.row}, column {followed.column}): pixels {left} to {right - 1} across, {top} to {bottom - 1} down. "
        f"It becomes token {followed.index + 1}, a vector of length {np.linalg.norm(followed.token):.1f}."
    )
