"""The Look-inside tab: patches, tokens and attention of the loaded model on one photo."""

from __future__ import annotations

import functools
import os

import gradio as gr
from PIL import Image

from vit_demo.diagnose.photos import open_photo
from vit_demo.explain.maps import METHODS, MapRequest, TokenAttention, attend, select
from vit_demo.explain.patches import PatchGrid
from vit_demo.ui.components import photo_input, polite, table
from vit_demo.ui.figures.overlay import draw_grid, heat_overlay, mark_grid_patch, mark_patch
from vit_demo.ui.models import get_classifier

ALL_HEADS = "mean of all"
FROM_CLS = -1
METHOD_TITLES = {"attention": "Attention of one layer", "rollout": "Attention rollout, all layers"}


def build(tab: gr.Tab, model: gr.Dropdown, example: str) -> None:
    """Lay out the tab. Inputs: the tab, the page's model list, a photo to begin with."""
    gr.Markdown(
        "A Vision Transformer cuts the photo into square **patches**, turns each into one **token**, puts a learned **[CLS] token** "
        "in front and lets all tokens look at each other. Whatever [CLS] gathers decides the class. **Click a patch** to see what it looks at."
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            photo = photo_input(example, label="Photo to look into", height=250, elem_id="inside-photo")
        with gr.Column(scale=4, min_width=300):
            method = gr.Radio([(METHOD_TITLES[name], name) for name in METHODS], value="attention", label="Show", elem_id="inside-method")
            with gr.Row():
                layer = gr.Slider(0, 11, value=11, step=1, label="Layer, 0 is the first", elem_id="inside-layer", min_width=180)
                head = gr.Dropdown([ALL_HEADS], value=ALL_HEADS, label="Head", elem_id="inside-head", min_width=110)
            query = gr.Number(FROM_CLS, visible=False, precision=0)
            from_cls = gr.Button("Look from [CLS] again", size="sm", elem_id="inside-cls")
        with gr.Column(scale=5, min_width=300):
            facts = gr.HTML(elem_id="inside-facts")
    sentence = gr.Markdown(elem_id="inside-sentence")
    with gr.Row(equal_height=False):
        overlay = gr.Image(label="Where it looks", interactive=False, buttons=["download", "fullscreen"], elem_id="inside-overlay", min_width=300)
        patches = gr.Image(label="Patches the model reads", interactive=False, buttons=["download", "fullscreen"], elem_id="inside-patches", min_width=300)
    view = [photo, model, method, layer, head, query]
    shown = [facts, patches, overlay, sentence, layer, head]
    # always_last: of a slider that is dragged, the place where it stops counts.
    hidden = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}
    for trigger in (photo.change, model.change):
        trigger(lambda: FROM_CLS, None, query, api_visibility="private").then(polite(show), view, shown, **hidden)
    # .input, not .change: the server sets these too, when another model has fewer layers.
    gr.on([method.input, layer.input, head.input], polite(show), view, shown, **hidden)
    from_cls.click(lambda: FROM_CLS, None, query, api_visibility="private").then(polite(show), view, shown, **hidden)
    for picture in (patches, overlay):
        picture.select(polite(pick), [photo, model], query, api_visibility="private").then(polite(show), view, shown, **hidden)
    # Drawn when the tab is first opened, so that a phone that came for a diagnosis loads nothing of it.
    tab.select(polite(show_first), [*view, facts], shown, **hidden)


def show_first(*view) -> tuple:
    """Inputs: as show, and the facts as they stand. Outputs: as show, or nothing where it is drawn already."""
    *view, facts = view
    return (gr.skip(),) * 6 if facts else show(*view)


def show(photo: str | None, model: str, method: str, layer: float | None, head: str | int, query: float | None) -> tuple:
    """Inputs: photo, model, method, layer, head, patch that looks (-1: [CLS]). Outputs: facts, patches, overlay, sentence, layer, head."""
    if photo is None:
        return "", None, None, "Choose a photo first.", gr.skip(), gr.skip()
    attention, picture = _attention(model, photo)
    request = _request(attention, method, layer, head, query)
    result = select(attention, request)
    seen = heat_overlay(picture.resize((448, 448), Image.Resampling.LANCZOS), result.map)
    grid = draw_grid(picture, attention.grid)
    if request.query is not None:
        seen = mark_patch(seen, attention.grid, request.query)
        grid = mark_grid_patch(grid, attention.grid, request.query)
    rollout = method == "rollout"
    return (
        _facts(model, attention),
        grid,
        seen,
        _sentence(attention, request, result.cls_share),
        gr.update(maximum=attention.layers - 1, value=request.layer, interactive=not rollout),
        gr.update(
            choices=[ALL_HEADS, *range(attention.heads)], value=ALL_HEADS if request.head is None else request.head, interactive=not rollout
        ),
    )


def pick(photo: str | None, model: str, event: gr.SelectData) -> int:
    """Inputs: photo, model, the click. Outputs: the patch under it."""
    if photo is None:
        return FROM_CLS
    attention, picture = _attention(model, photo)
    sheet = draw_grid(picture, attention.grid) if event.target.elem_id == "inside-patches" else None
    width, height = sheet.size if sheet else (448, 448)
    x, y = event.index
    return attention.grid.index_at(x * attention.grid.image_width / width, y * attention.grid.image_height / height)


def _request(attention: TokenAttention, method: str, layer: float | None, head: str | int, query: float | None) -> MapRequest:
    """The request that fits this model, which may have fewer layers or heads than the one before."""
    fits = isinstance(head, int) and head < attention.heads
    inside = query is not None and 0 <= query < attention.grid.num_patches
    return MapRequest(
        method=method, layer=min(int(layer or 0), attention.layers - 1), head=head if fits else None, query=int(query) if inside else None
    )


def _attention(model: str, photo: str) -> tuple[TokenAttention, Image.Image]:
    """The attention of a photo, and the photo as the model gets it; kept for the next click."""
    return _attention_of(get_classifier(model), photo, os.stat(photo).st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _attention_of(classifier, photo: str, _changed: int) -> tuple[TokenAttention, Image.Image]:
    picture = open_photo(photo)
    resized = classifier.resize([picture])[0].permute(1, 2, 0).numpy()
    return attend(classifier, picture), Image.fromarray(resized)


def _facts(model: str, attention: TokenAttention) -> str:
    grid: PatchGrid = attention.grid
    hidden = get_classifier(model).model.config.hidden_size
    return table(
        ["From photo to tokens", ""],
        [
            ["Photo as the model gets it", f"{grid.image_height} x {grid.image_width} px, 3 colours"],
            ["Patch size P", f"{grid.patch_size} x {grid.patch_size} px = {grid.values_per_patch} values"],
            ["Patches N = HW / P²", f"{grid.rows} x {grid.columns} = {grid.num_patches}"],
            ["Tokens with [CLS]", f"{grid.num_tokens}, each of {hidden} values"],
            ["Layers, heads in each", f"{attention.layers}, {attention.heads}"],
        ],
    )


def _sentence(attention: TokenAttention, request: MapRequest, cls_share: float) -> str:
    who = "The [CLS] token" if request.query is None else "Patch {} (row {}, column {})".format(
        request.query, *divmod(request.query, attention.grid.columns)
    )
    if request.method == "rollout":
        where = f"over all {attention.layers} layers together"
    else:
        heads = f"mean of {attention.heads} heads" if request.head is None else f"head {request.head}"
        where = f"in layer {request.layer}, {heads}"
    return f"**{who}**, {where}: {1 - cls_share:.0%} of its attention goes to the patches, {cls_share:.0%} to [CLS]. Bright is most, dark is least."
