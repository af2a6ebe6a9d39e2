"""Look inside: the attention of the loaded model on one photo, in every layer and head, from [CLS] or from a patch."""

from __future__ import annotations

import gradio as gr
import numpy as np
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.common.words import percent
from vit_demo.explain.attribution.maps import Explanation, MapRequest, select
from vit_demo.explain.internals.heads import looks, patch_maps, patches_for_half
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import TokenAttention
from vit_demo.figures.heads import heads_layout, heads_sheet, matrix_layout, matrix_sheet
from vit_demo.figures.overlay import draw_grid, heat_overlay, mark_grid_patch, mark_patch
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.tabs.inside.downloads import npz_file
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, Look, Scene, look

ID, TITLE = "attention", "Attention"
ALL_HEADS = "mean of all"
FROM_CLS = -1
METHODS = ("attention", "rollout")
METHOD_TITLES = {"attention": "Attention of one layer", "rollout": "Attention rollout, all layers"}
SHEETS = ("heads", "matrix")
SHEET_TITLES = {"heads": "All heads of this layer", "matrix": "All layers and heads"}
# Of gr.Image, so that each picture can be taken away.
BUTTONS = ["download", "fullscreen"]
# Of the large picture in pixels, as large as the pulled-apart patches of a usual model.
SIDE = 500
HYBRID = " In this hybrid a token comes from a CNN's feature map, which sees more of the photo than the patch that is drawn for it."


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    gr.Markdown(
        "In each **layer** every token takes up something from all others, so much from each as its **attention** says: shares that add up to 100 %. "
        "Each layer has several **heads** that look in different ways. **Rollout** follows the attention through all layers, back to the patches."
    )
    with gr.Row(equal_height=False):
        method = gr.Radio([(METHOD_TITLES[name], name) for name in METHODS], value="attention", label="Show", elem_id="inside-method", min_width=300)
        layer = gr.Slider(0, 11, value=11, step=1, label="Layer, 0 is the first", elem_id="inside-layer", min_width=180)
        head = gr.Dropdown([ALL_HEADS], value=ALL_HEADS, label="Head", elem_id="inside-head", min_width=110)
    query = gr.Number(FROM_CLS, visible=False, precision=0)
    gr.Markdown("**Click a patch**, in either picture, to see what it looks at.")
    sentence = gr.Markdown(elem_id="inside-sentence")
    with gr.Row(equal_height=False):
        overlay = gr.Image(label="Where it looks", interactive=False, buttons=BUTTONS, elem_id="inside-overlay", min_width=300)
        patches = gr.Image(label="Patches the model reads", interactive=False, buttons=BUTTONS, elem_id="inside-patches", min_width=300)
    with gr.Row(elem_classes="actions"):
        from_cls = gr.Button("Look from [CLS] again", size="sm", elem_id="inside-cls", min_width=150)
        numbers = gr.DownloadButton("Download the numbers (npz)", size="sm", elem_id="inside-attention-numbers", min_width=150)
    sheet_kind = gr.Radio([(SHEET_TITLES[name], name) for name in SHEETS], value="heads", label="Small pictures", elem_id="inside-sheet-kind")
    gr.Markdown("**Click one** to see it large. Each is bright where its own attention is most.")
    sheet = gr.Image(label="Small pictures", show_label=False, interactive=False, buttons=BUTTONS, elem_id="inside-heads")
    facts = gr.HTML(elem_id="inside-head-facts")
    chosen = [method, layer, head, query, sheet_kind]
    shown = [overlay, patches, sentence, layer, head, sheet, facts, numbers]
    view = [scene.photo, scene.model, *chosen]
    quiet = {"api_visibility": "private"}
    # always_last: of a slider that is dragged, the place where it stops counts.
    hidden = {**quiet, "show_progress": "minimal", "trigger_mode": "always_last"}
    scene.draw(tab, begin, [method, layer, head, sheet_kind], [query, sheet_kind, *shown])
    # .input, not .change: the server sets these too, when another model has fewer layers.
    gr.on([method.input, layer.input, head.input], polite(show), view, shown, **hidden)
    sheet_kind.input(polite(show_sheet), view, [sheet, facts], **hidden)
    from_cls.click(lambda: FROM_CLS, None, query, **quiet).then(polite(show), view, shown, **hidden)
    for picture in (patches, overlay):
        picture.select(polite(pick), [scene.photo, scene.model], query, **quiet).then(polite(show), view, shown, **hidden)
    sheet.select(polite(pick_tile), [scene.photo, scene.model, sheet_kind, layer], [method, layer, head], **quiet).then(polite(show), view, shown, **hidden)


def begin(photo: str | None, model: str, method: str, layer: float | None, head: str | int, sheet: str) -> tuple:
    """Inputs: a new photo or model, method, layer, head, small pictures. Outputs: [CLS] as the one that looks, small pictures, then as show."""
    # Small pictures that were chosen while this was drawn are not in it: the choice goes back to what is shown.
    return FROM_CLS, sheet, *show(photo, model, method, layer, head, FROM_CLS, sheet)


def show(photo: str | None, model: str, method: str, layer: float | None, head: str | int, query: float | None, sheet: str) -> tuple:
    """Inputs: photo, model, method, layer, head, patch that looks (-1: [CLS]), small pictures.

    Outputs: overlay, patches, sentence, layer, head, sheet, table of heads, numbers.
    """
    found = _found(photo, model)
    attention = found.trace.attention
    request = _request(attention, method, layer, head, query)
    result = select(attention, request)
    rollout = method == "rollout"
    return (
        *_pictures(found, result),
        _sentence(result) + (HYBRID if found.classifier.feature_channels else ""),
        gr.update(maximum=attention.layers - 1, value=request.layer, interactive=not rollout),
        gr.update(
            choices=[ALL_HEADS, *range(attention.heads)], value=ALL_HEADS if request.head is None else request.head, interactive=not rollout
        ),
        *_sheet(found, request, sheet),
        _numbers(attention, result),
    )


def show_sheet(photo: str | None, model: str, method: str, layer: float | None, head: str | int, query: float | None, sheet: str) -> tuple:
    """Inputs: as show. Outputs: sheet, table of heads."""
    found = _found(photo, model)
    return _sheet(found, _request(found.trace.attention, method, layer, head, query), sheet)


def pick(photo: str | None, model: str, event: gr.SelectData) -> int:
    """Inputs: photo, model, the click. Outputs: the patch under it."""
    found = _found(photo, model)
    grid = found.trace.grid
    if event.target.elem_id == "inside-patches":
        size = draw_grid(found.seen, grid).size
        return _patch_in_sheet(grid, event.index, size)
    x, y = event.index
    width, height = _large(found.seen).size
    return grid.index_at(x * grid.image_width / width, y * grid.image_height / height)


def pick_tile(photo: str | None, model: str, sheet: str, layer: float | None, event: gr.SelectData) -> tuple:
    """Inputs: photo, model, small pictures, layer, the click. Outputs: method, layer, head of the tile under it."""
    attention = _found(photo, model).trace.attention
    if sheet == "matrix":
        head, layer = matrix_layout(attention.layers, attention.heads, attention.grid).at(*event.index)
    else:
        layout = heads_layout(attention.heads, attention.grid)
        row, column = layout.at(*event.index)
        head = min(row * layout.columns + column, attention.heads - 1)
    return "attention", layer, gr.update(choices=[ALL_HEADS, *range(attention.heads)], value=head)


def _found(photo: str | None, model: str) -> Look:
    if photo is None:
        raise UserError(NO_PHOTO)
    return look(model, photo)


def _large(seen: Image.Image) -> Image.Image:
    """The photo as the model gets it, large enough for a page, with its proportions."""
    scale = SIDE / max(seen.size)
    return seen.resize((round(seen.width * scale), round(seen.height * scale)), Image.Resampling.LANCZOS)


def _patch_in_sheet(grid: PatchGrid, point: tuple[float, float], size: tuple[int, int]) -> int:
    """The patch at a point of the pulled-apart sheet; the gaps count to the patches beside them."""
    column, row = (min(int(at * count / side), count - 1) for at, count, side in zip(point, (grid.columns, grid.rows), size))
    return row * grid.columns + column


def _request(attention: TokenAttention, method: str, layer: float | None, head: str | int, query: float | None) -> MapRequest:
    """The request that fits this model, which may have fewer layers or heads than the one before."""
    fits = isinstance(head, int) and head < attention.heads
    inside = query is not None and 0 <= query < attention.grid.num_patches
    return MapRequest(
        method=method, layer=min(int(layer or 0), attention.layers - 1), head=head if fits else None, query=int(query) if inside else None
    )


def _pictures(found: Look, result: Explanation) -> tuple[Image.Image, Image.Image]:
    """The map over the photo and the pulled-apart patches, in both the patch that looks marked."""
    seen, grid = heat_overlay(_large(found.seen), result.map), draw_grid(found.seen, result.grid)
    if result.request.query is None:
        return seen, grid
    return mark_patch(seen, result.grid, result.request.query), mark_grid_patch(grid, result.grid, result.request.query)


def _sheet(found: Look, request: MapRequest, kind: str) -> tuple[Image.Image, str]:
    """The small pictures, and in numbers what the heads of the layer look at. Rollout is of all heads, so none is framed."""
    attention = found.trace.attention
    maps = patch_maps(attention, request.query)
    one = request.method == "attention"
    if kind == "matrix":
        picture = matrix_sheet(maps, attention.grid, (request.layer, request.head) if one else None, request.query)
    else:
        picture = heads_sheet(found.seen, maps[request.layer], attention.grid, request.head if one else None, request.query)
    return picture, _head_facts(attention, request)


def _head_facts(attention: TokenAttention, request: MapRequest) -> str:
    maps, rows = patch_maps(attention, request.query)[request.layer], looks(attention, request.query)[request.layer]
    halves = patches_for_half(maps)
    lines = [
        [f"Head {head}", percent(float(rows[head, 0])), f"{_place(attention.grid, int(maps[head].argmax()))}: {percent(float(maps[head].max()))}",
         f"{halves[head]} of {attention.grid.num_patches}"]
        for head in range(attention.heads)
    ]
    return table([f"{_who(attention.grid, request.query)} in layer {request.layer}", "to [CLS]", "most to", "patches that get half of the rest"], lines)


def _who(grid: PatchGrid, query: int | None) -> str:
    return "[CLS]" if query is None else _place(grid, query)


def _place(grid: PatchGrid, index: int) -> str:
    row, column = divmod(index, grid.columns)
    return f"patch {index} (row {row}, column {column})"


def _sentence(result: Explanation) -> str:
    request = result.request
    who = "The [CLS] token" if request.query is None else _place(result.grid, request.query).capitalize()
    if request.method == "rollout":
        where = f"over all {result.layers} layers together"
    else:
        heads = f"mean of {result.heads} heads" if request.head is None else f"head {request.head}"
        where = f"in layer {request.layer}, {heads}"
    most = int(result.map.argmax())
    return (
        f"**{who}**, {where}: {percent(1 - result.cls_share)} of its attention goes to the patches, {percent(result.cls_share)} to [CLS]. "
        f"Bright is most ({percent(float(result.map.max()))}, {_place(result.grid, most)}), dark is least ({percent(float(result.map.min()))})."
    )


def _numbers(attention: TokenAttention, result: Explanation) -> str:
    """The map that is shown, and what the token that looks pays to each token in all layers and heads; token 0 is [CLS]."""
    request, one = result.request, result.request.method == "attention"
    return npz_file(
        "attention", map=result.map, weights=looks(attention, request.query), method=np.array(request.method),
        layer=np.array(request.layer if one else -1), head=np.array(request.head if one and request.head is not None else -1),
        query=np.array(FROM_CLS if request.query is None else request.query), patch_size=np.array(result.grid.patch_size),
    )
