"""Look inside: the attention of the loaded model on one photo, in every layer and head, from [CLS] or from a
patch.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.common.words import percent, say
from vit_demo.explain.attribution.maps import Explanation, MapRequest, select
from vit_demo.explain.internals.heads import attention_from, patch_maps, patches_for_half
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import TokenAttention
from vit_demo.figures.heads import heads_layout, heads_sheet, matrix_layout, matrix_sheet
from vit_demo.figures.overlay import draw_grid, heat_overlay, mark_grid_patch, mark_patch
from vit_demo.ui.shared.components import polite, table
from vit_demo.ui.shared.speech import Told
from vit_demo.ui.tabs.inside.downloads import npz_file
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, Again, Look, Scene, look, touched

ID, TITLE = "attention", "inside.attention.title"
ALL_HEADS = "all"
FROM_CLS = -1
METHODS = ("attention", "rollout")
METHOD_TITLES = {"attention": "inside.attention.one_layer", "rollout": "inside.attention.rollout"}
SHEETS = ("heads", "matrix")
SHEET_TITLES = {"heads": "inside.attention.sheet_heads", "matrix": "inside.attention.sheet_matrix"}
# Of gr.Image, so that each picture can be taken away.
BUTTONS = ["download", "fullscreen"]
# Of the large picture in pixels, as large as the pulled-apart patches of a usual model.
SIDE = 500


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    speech = scene.speech
    speech(gr.Markdown, value=Told("inside.attention.intro"))
    with gr.Row(equal_height=False):
        methods = Told(lambda: [(say(METHOD_TITLES[name]), name) for name in METHODS])
        method = speech(
            gr.Radio,
            choices=methods,
            value="attention",
            label=Told("inside.attention.show"),
            elem_id="inside-method",
            min_width=300,
        )
        layer = speech(
            gr.Slider,
            minimum=0,
            maximum=11,
            value=11,
            step=1,
            label=Told("inside.attention.layer"),
            elem_id="inside-layer",
            min_width=180,
        )
        # Its choices come with each model and each language.
        head = speech(
            gr.Dropdown,
            choices=_heads(0),
            value=ALL_HEADS,
            label=Told("inside.attention.head"),
            elem_id="inside-head",
            min_width=110,
        )
    query = gr.Number(FROM_CLS, visible=False, precision=0)
    speech(gr.Markdown, value=Told("inside.attention.click"))
    sentence = gr.Markdown(elem_id="inside-sentence")
    with gr.Row(equal_height=False):
        overlay = _picture(scene, "overlay", min_width=300)
        patches = _picture(scene, "patches", min_width=300)
    with gr.Row(elem_classes="actions"):
        from_cls = speech(
            gr.Button, value=Told("inside.attention.from_cls"), size="sm", elem_id="inside-cls", min_width=150
        )
        numbers = speech(
            gr.DownloadButton,
            label=Told("inside.attention.download"),
            size="sm",
            elem_id="inside-attention-numbers",
            min_width=150,
        )
    sheets = Told(lambda: [(say(SHEET_TITLES[name]), name) for name in SHEETS])
    sheet_kind = speech(
        gr.Radio,
        choices=sheets,
        value="heads",
        label=Told("inside.attention.small"),
        elem_id="inside-sheet-kind",
    )
    speech(gr.Markdown, value=Told("inside.attention.click_small"))
    sheet = speech(
        gr.Image,
        label=Told("inside.attention.small"),
        show_label=False,
        interactive=False,
        buttons=BUTTONS,
        elem_id="inside-heads",
    )
    facts = gr.HTML(elem_id="inside-head-facts")
    chosen = [method, layer, head, query, sheet_kind]
    shown = [overlay, patches, sentence, layer, head, sheet, facts, numbers]
    view = [scene.photo, scene.model, *chosen]
    quiet: dict[str, Any] = {"api_visibility": "private"}
    # always_last: of a slider that is dragged, the place where it stops counts.
    hidden = {**quiet, "show_progress": "minimal", "trigger_mode": "always_last"}
    scene.draw(
        tab,
        begin,
        [method, layer, head, sheet_kind, query],
        [query, sheet_kind, *shown],
        Again(begin_again, [overlay, patches]),
    )
    # .input, not .change: the server sets these too, when another model has fewer layers.
    gr.on([method.input, layer.input, head.input], polite(show), view, shown, **hidden)
    sheet_kind.input(polite(show_sheet), view, [sheet, facts], **hidden)
    from_cls.click(lambda: FROM_CLS, None, query, **quiet).then(polite(show), view, shown, **hidden)
    for picture in (patches, overlay):
        picture.select(polite(pick), [scene.photo, scene.model], query, **quiet).then(
            polite(show), view, shown, **hidden
        )
    sheet.select(
        polite(pick_tile), [scene.photo, scene.model, sheet_kind, layer], [method, layer, head], **quiet
    ).then(polite(show), view, shown, **hidden)


def _picture(scene: Scene, name: str, **options: int) -> gr.Image:
    told = Told(f"inside.attention.{name}")
    return scene.speech(
        gr.Image, label=told, interactive=False, buttons=BUTTONS, elem_id=f"inside-{name}", **options
    )


def begin(
    photo: str | None,
    model: str,
    method: str,
    layer: float | None,
    head: str | int,
    sheet: str,
    _query: float | None = None,
) -> tuple:
    """Inputs: a new photo or model, method, layer, head, small pictures, the patch that looked.

    Outputs: [CLS] as the one that looks, small pictures, then as show.
    """
    # Small pictures that were chosen while this was drawn are not in it: the choice goes back to what is
    # shown.
    return FROM_CLS, sheet, *show(photo, model, method, layer, head, FROM_CLS, sheet)


def begin_again(
    photo: str | None,
    model: str,
    method: str,
    layer: float | None,
    head: str | int,
    sheet: str,
    query: float | None,
) -> tuple:
    """As begin where only the language is another: the same patch goes on looking."""
    return query, sheet, *show(photo, model, method, layer, head, query, sheet)


def show(
    photo: str | None,
    model: str,
    method: str,
    layer: float | None,
    head: str | int,
    query: float | None,
    sheet: str,
) -> tuple:
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
        _sentence(result)
        + (" " + say("inside.attention.hybrid") if found.classifier.feature_channels else ""),
        gr.update(maximum=attention.layers - 1, value=request.layer, interactive=not rollout),
        gr.update(
            choices=_heads(attention.heads),
            value=ALL_HEADS if request.head is None else request.head,
            interactive=not rollout,
        ),
        *_sheet(found, request, sheet),
        _numbers(attention, result),
    )


def show_sheet(
    photo: str | None,
    model: str,
    method: str,
    layer: float | None,
    head: str | int,
    query: float | None,
    sheet: str,
) -> tuple:
    """Inputs: as show. Outputs: sheet, table of heads."""
    found = _found(photo, model)
    return _sheet(found, _request(found.trace.attention, method, layer, head, query), sheet)


def pick(photo: str | None, model: str, event: gr.SelectData) -> int:
    """Inputs: photo, model, the click. Outputs: the patch under it."""
    found = _found(photo, model)
    grid = found.trace.grid
    if touched(event) == "inside-patches":
        size = draw_grid(found.seen, grid).size
        return _patch_in_sheet(grid, event.index, size)
    x, y = event.index
    width, height = _large(found.seen).size
    return grid.index_at(x * grid.image_width / width, y * grid.image_height / height)


def pick_tile(photo: str | None, model: str, sheet: str, layer: float | None, event: gr.SelectData) -> tuple:
    """Inputs: photo, model, small pictures, layer, the click. Outputs: method, layer, head of the tile under
    it.
    """
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
    column, row = (
        min(int(at * count / side), count - 1)
        for at, count, side in zip(point, (grid.columns, grid.rows), size)
    )
    return row * grid.columns + column


def _heads(count: int) -> list[tuple[str, str | int]]:
    """What the list of heads offers."""
    return [(say("inside.attention.all_heads"), ALL_HEADS), *((str(head), head) for head in range(count))]


def _request(
    attention: TokenAttention, method: str, layer: float | None, head: str | int, query: float | None
) -> MapRequest:
    """The request that fits this model, which may have fewer layers or heads than the one before."""
    return MapRequest(
        method=method,
        layer=min(int(layer or 0), attention.layers - 1),
        head=head if isinstance(head, int) and head < attention.heads else None,
        query=int(query) if query is not None and 0 <= query < attention.grid.num_patches else None,
    )


def _pictures(found: Look, result: Explanation) -> tuple[Image.Image, Image.Image]:
    """The map over the photo and the pulled-apart patches, in both the patch that looks marked."""
    seen, grid = heat_overlay(_large(found.seen), result.map), draw_grid(found.seen, result.grid)
    if result.request.query is None:
        return seen, grid
    return mark_patch(seen, result.grid, result.request.query), mark_grid_patch(
        grid, result.grid, result.request.query
    )


def _sheet(found: Look, request: MapRequest, kind: str) -> tuple[Image.Image, str]:
    """The small pictures, and in numbers what the heads of the layer look at. Rollout is of all heads, so
    none is framed.
    """
    attention = found.trace.attention
    maps = patch_maps(attention, request.query)
    one = request.method == "attention"
    if kind == "matrix":
        picture = matrix_sheet(
            maps, attention.grid, (request.layer, request.head) if one else None, request.query
        )
    else:
        picture = heads_sheet(
            found.seen, maps[request.layer], attention.grid, request.head if one else None, request.query
        )
    return picture, _head_facts(attention, request)


def _head_facts(attention: TokenAttention, request: MapRequest) -> str:
    maps, rows = (
        patch_maps(attention, request.query)[request.layer],
        attention_from(attention, request.query)[request.layer],
    )
    halves = patches_for_half(maps)
    lines = [
        [
            say("inside.attention.of_head", head=head),
            percent(float(rows[head, 0])),
            say(
                "inside.attention.most_at",
                place=_place(attention.grid, int(maps[head].argmax())),
                percent=percent(float(maps[head].max())),
            ),
            say("inside.attention.half", half=halves[head], patches=attention.grid.num_patches),
        ]
        for head in range(attention.heads)
    ]
    who = "[CLS]" if request.query is None else _place(attention.grid, request.query)
    header = [
        say("inside.attention.to_cls"),
        say("inside.attention.most_to"),
        say("inside.attention.half_of_rest"),
    ]
    return table([say("inside.attention.in_layer", who=who, layer=request.layer), *header], lines)


def _place(grid: PatchGrid, index: int, key: str = "inside.patch_place") -> str:
    row, column = divmod(index, grid.columns)
    return say(key, index=index, row=row, column=column)


def _sentence(result: Explanation) -> str:
    request = result.request
    common = {
        "who": (
            say("inside.attention.the_cls")
            if request.query is None
            else _place(result.grid, request.query, "inside.the_patch_place")
        ),
        "patches": percent(1 - result.cls_share),
        "cls": percent(result.cls_share),
    }
    if request.method == "rollout":
        said = say("inside.attention.said_rollout", layers=result.layers, **common)
    elif request.head is None:
        said = say("inside.attention.said_mean", layer=request.layer, heads=result.heads, **common)
    else:
        said = say("inside.attention.said_head", layer=request.layer, head=request.head, **common)
    most, least = percent(float(result.map.max())), percent(float(result.map.min()))
    place = _place(result.grid, int(result.map.argmax()))
    return f"{said} {say('inside.attention.bright', most=most, place=place, least=least)}"


def _numbers(attention: TokenAttention, result: Explanation) -> str:
    """The map that is shown, and what the token that looks pays to each token in all layers and heads; token
    0 is [CLS].
    """
    request, one = result.request, result.request.method == "attention"
    return npz_file(
        "attention",
        map=result.map,
        weights=attention_from(attention, request.query),
        method=np.array(request.method),
        layer=np.array(request.layer if one else -1),
        head=np.array(request.head if one and request.head is not None else -1),
        query=np.array(FROM_CLS if request.query is None else request.query),
        patch_size=np.array(result.grid.patch_size),
    )
