"""Look inside: the attention of the loaded model on one photo, layer by layer and head by head."""

from __future__ import annotations

import gradio as gr
from PIL import Image

from vit_demo.errors import UserError
from vit_demo.explain.maps import METHODS, MapRequest, TokenAttention, select
from vit_demo.ui.components import polite, table
from vit_demo.ui.figures.overlay import draw_grid, heat_overlay, mark_grid_patch, mark_patch
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, Look, Scene, look

ID, TITLE = "attention", "Attention"
ALL_HEADS = "mean of all"
FROM_CLS = -1
METHOD_TITLES = {"attention": "Attention of one layer", "rollout": "Attention rollout, all layers"}


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            method = gr.Radio([(METHOD_TITLES[name], name) for name in METHODS], value="attention", label="Show", elem_id="inside-method")
            with gr.Row():
                layer = gr.Slider(0, 11, value=11, step=1, label="Layer, 0 is the first", elem_id="inside-layer", min_width=180)
                head = gr.Dropdown([ALL_HEADS], value=ALL_HEADS, label="Head", elem_id="inside-head", min_width=110)
            query = gr.Number(FROM_CLS, visible=False, precision=0)
            from_cls = gr.Button("Look from [CLS] again", size="sm", elem_id="inside-cls")
        with gr.Column(scale=5, min_width=300):
            facts = gr.HTML(elem_id="inside-facts")
    gr.Markdown("**Click a patch**, in either picture, to see what it looks at.")
    sentence = gr.Markdown(elem_id="inside-sentence")
    with gr.Row(equal_height=False):
        overlay = gr.Image(label="Where it looks", interactive=False, buttons=["download", "fullscreen"], elem_id="inside-overlay", min_width=300)
        patches = gr.Image(label="Patches the model reads", interactive=False, buttons=["download", "fullscreen"], elem_id="inside-patches", min_width=300)
    settings = [method, layer, head, query]
    view = [scene.photo, scene.model, *settings]
    shown = [facts, patches, overlay, sentence, layer, head]
    # always_last: of a slider that is dragged, the place where it stops counts.
    hidden = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}
    scene.draw(tab, show, settings, shown)
    # .input, not .change: the server sets these too, when another model has fewer layers.
    gr.on([method.input, layer.input, head.input], polite(show), view, shown, **hidden)
    from_cls.click(lambda: FROM_CLS, None, query, api_visibility="private").then(polite(show), view, shown, **hidden)
    for picture in (patches, overlay):
        picture.select(polite(pick), [scene.photo, scene.model], query, api_visibility="private").then(polite(show), view, shown, **hidden)


def show(photo: str | None, model: str, method: str, layer: float | None, head: str | int, query: float | None) -> tuple:
    """Inputs: photo, model, method, layer, head, patch that looks (-1: [CLS]). Outputs: facts, patches, overlay, sentence, layer, head."""
    if photo is None:
        raise UserError(NO_PHOTO)
    found = look(model, photo)
    attention, picture = found.trace.attention, found.seen
    request = _request(attention, method, layer, head, query)
    result = select(attention, request)
    seen = heat_overlay(picture.resize((448, 448), Image.Resampling.LANCZOS), result.map)
    grid = draw_grid(picture, attention.grid)
    if request.query is not None:
        seen = mark_patch(seen, attention.grid, request.query)
        grid = mark_grid_patch(grid, attention.grid, request.query)
    rollout = method == "rollout"
    return (
        _facts(found),
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
    found = look(model, photo)
    attention, picture = found.trace.attention, found.seen
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


def _facts(found: Look) -> str:
    attention, grid = found.trace.attention, found.trace.grid
    hidden = found.trace.hidden.shape[-1]
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
