"""Look inside: a map of a whole data set, as the model sees it."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path

import gradio as gr

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, JobState
from vit_demo.data.names import BEANS, names_former_sample
from vit_demo.data.open.sources import open_dataset
from vit_demo.figures.overlay import shrink
from vit_demo.photos import safe_open
from vit_demo.ui.shared.components import polite
from vit_demo.ui.tabs.data import SOURCES
from vit_demo.ui.tabs.inside import embedding_map_html
from vit_demo.ui.tabs.inside import embedding_map_jobs as maps
from vit_demo.ui.tabs.inside.downloads import csv_file
from vit_demo.ui.tabs.inside.embedding_map_jobs import EmbeddingMap, Plan, Request
from vit_demo.ui.tabs.inside.scene import Scene

ID, TITLE = "atlas", "Map of the data set"
QUIET = {"api_visibility": "private", "show_progress": "hidden"}
# Only the script changes what stands in it, so a chosen dot and the zoom stay while news come.
STAGE = """<div class="atlas">
<p class="atlas-note"></p>
<div class="atlas-stage" hidden>
<div class="atlas-bar"><button type="button" class="atlas-in" aria-label="Zoom in">+</button>
<button type="button" class="atlas-out" aria-label="Zoom out">&minus;</button><button type="button" class="atlas-whole">Whole map</button>
<button type="button" class="atlas-save">Save as PNG</button></div>
<div class="atlas-frame"><canvas class="atlas-canvas" tabindex="0" role="application"></canvas>
<div class="atlas-tip" hidden><canvas class="atlas-thumb" width="96" height="96"></canvas><div class="atlas-words"></div></div></div>
<p class="atlas-told" role="status"></p>
<details class="atlas-mistakes"><summary></summary><ul></ul></details>
</div></div>"""
SHOW_DETAIL = "() => document.getElementById('inside-atlas-detail')?.scrollIntoView({behavior: 'smooth', block: 'nearest'})"
# To the first view of this tab, and up to the photo. On a phone most tabs are behind a button with three dots.
TO_VIEWS = f"""() => {{
    const tabs = [...document.querySelectorAll('#inside-views [role="tab"], #inside-views .overflow-dropdown button')];
    tabs.find(tab => tab.textContent.trim() !== '{TITLE}').click();
    document.getElementById('inside-photo').scrollIntoView({{behavior: 'smooth', block: 'center'}});
}}"""
TO_DIAGNOSE = """() => {
    [...document.querySelectorAll('[role="tab"]')].find(tab => tab.textContent.trim() === 'Diagnose').click();
    scrollTo({top: 0, behavior: 'smooth'});
}"""
# Photos that were handed to another view and may still be shown there.
KEEP_FILES = 50


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    remembered = gr.BrowserState([BEANS, "test"], storage_key="vit_demo.atlas", secret="vit_demo")
    with gr.Row(equal_height=False):
        source = gr.Dropdown(
            SOURCES, value=BEANS, label="Photos", info="or type a folder or a name on the Hugging Face Hub", allow_custom_value=True,
            elem_id="inside-atlas-source", min_width=260,
        )
        splits = [(title, name) for name, title in embedding_map_html.SPLIT_TITLES.items()]
        split = gr.Radio(splits, value="test", label="Split", elem_id="inside-atlas-split", min_width=260)
    method = gr.Radio([(title, name) for name, title in embedding_map_html.METHOD_TITLES.items()], value="pca", label="Layout", elem_id="inside-atlas-method")
    with gr.Column() as start:
        with gr.Row(elem_classes="actions"):
            draw = gr.Button("Draw the map", variant="primary", elem_id="inside-atlas-draw")
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="inside-atlas-stop")
        status = gr.HTML(elem_id="inside-atlas-status")
    words = gr.Markdown(elem_id="inside-atlas-words")
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            script = (settings.ASSETS / "theme" / "atlas.js").read_text(encoding="utf-8")
            stage = gr.HTML({"note": ""}, html_template=STAGE, js_on_load=script, apply_default_css=False, elem_id="inside-atlas-map")
        with gr.Column(scale=2, min_width=300, elem_id="inside-atlas-detail"):
            large = gr.Image(show_label=False, interactive=False, visible=False, buttons=["download", "fullscreen"], elem_id="inside-atlas-large")
            with gr.Row(visible=False, elem_classes="actions") as hand_over:
                inside = gr.Button("Look inside this photo", size="sm", elem_id="inside-atlas-look")
                diagnose = gr.Button("Diagnose this photo", size="sm", visible=scene.diagnose is not None, elem_id="inside-atlas-diagnose")
            facts = gr.HTML(elem_id="inside-atlas-facts")
    with gr.Row(elem_classes="actions"):
        numbers = gr.DownloadButton("The numbers as CSV", size="sm", visible=False, elem_id="inside-atlas-csv")
    timer = gr.Timer(1, active=False)
    key, seen = (gr.Textbox("", visible=False) for _ in range(2))
    chosen = gr.Number(-1, visible=False, precision=0)
    fresh = gr.Checkbox(True, visible=False)
    what = [scene.model, source, split]
    shown = [start, draw, stop, status, timer, words, stage, numbers, seen, facts, large, hand_over]
    latest = {**QUIET, "trigger_mode": "always_last"}
    # Not scene.draw: the map needs no photo, and another photo does not change it.
    # What was chosen last comes first and by itself: later it could overwrite what a person chooses meanwhile.
    restored = gr.on(scene.wanted[ID].change, restore, [scene.active, fresh, remembered], [source, split, fresh], **latest)
    restored.then(polite(opened), [scene.active, *what, method, key, seen], [key, *shown], **QUIET)
    gr.on([source.input, split.input], polite(choose), [*what, method, key, seen], [remembered, key, *shown], **latest)
    draw.click(polite(begin), [*what, method, seen], [key, *shown], **latest)
    stop.click(end, [key, method, seen], shown, **latest)
    method.input(refresh, [key, method, seen], shown, **latest)
    timer.tick(refresh, [key, method, seen], shown, **QUIET)
    picked = stage.select(polite(pick), key, [chosen, facts, large, hand_over], **latest)
    picked.success(None, None, None, js=SHOW_DETAIL)
    inside.click(polite(photo_file), [key, chosen], scene.photo, **QUIET).success(None, None, None, js=TO_VIEWS)
    if scene.diagnose is not None:
        diagnose.click(polite(photo_file), [key, chosen], scene.diagnose, **QUIET).success(None, None, None, js=TO_DIAGNOSE)


def restore(active: str, fresh: bool, remembered: list[str]) -> tuple:
    """Inputs: the open view, whether the page was just loaded, what this browser chose last. Outputs: source, split, not fresh any more."""
    if active != ID or not fresh:
        return (gr.skip(),) * 3
    source, split = remembered
    return BEANS if names_former_sample(source) else source, split, False


def opened(active: str, model: str, source: str, split: str, method: str, key: str, seen: str, request: gr.Request) -> tuple:
    """Inputs: the open view, model, source, split, layout, key, what the page shows. Outputs: key, and as refresh; nothing where another view is open."""
    if active != ID:
        return (gr.skip(),) * 13
    wanted = maps.plan(Request(model, source, split))
    if key and key != wanted.key:
        maps.JOBS.leave(key, request.session_hash)
    return wanted.key, *_show(wanted, maps.kept(wanted, request.session_hash), method, seen)


def choose(model: str, source: str, split: str, method: str, key: str, seen: str, request: gr.Request) -> tuple:
    """Inputs: model, source, split, layout, key of the map before, what the page shows. Outputs: what to remember, key, and as refresh."""
    wanted = maps.plan(Request(model, source, split))
    if key != wanted.key:
        maps.JOBS.leave(key, request.session_hash)
    return [source, split], wanted.key, *_show(wanted, maps.kept(wanted, request.session_hash), method, seen)


def begin(model: str, source: str, split: str, method: str, seen: str, request: gr.Request) -> tuple:
    """Inputs: model, source, split, layout, what the page shows. Outputs: key, and as refresh."""
    wanted = maps.plan(Request(model, source, split))
    return wanted.key, *_show(wanted, maps.start(wanted, request.session_hash), method, seen)


def end(key: str, method: str, seen: str, request: gr.Request) -> tuple:
    """Inputs: key, layout, what the page shows. Outputs: as refresh."""
    job = maps.JOBS.find(key)
    if job is not None:
        job.stop()
    return refresh(key, method, seen, request)


def refresh(key: str, method: str, seen: str, request: gr.Request) -> tuple:
    """Inputs: key, layout, what the page shows. Outputs: start (draw, stop, status), timer, words, map, numbers, seen, facts, photo, hand-over."""
    job = maps.JOBS.find(key, request.session_hash)
    if job is None:  # after a restart of the server; opening the view again finds what is on the disk
        return gr.update(visible=True), gr.update(visible=True), gr.update(visible=False), "", gr.Timer(active=False), *(gr.skip(),) * 7
    return _show(job.about, job, method, seen)


def _show(plan: Plan, job: Job | None, method: str, seen: str) -> tuple:
    """Outputs: as refresh. seen: "key:map:method", "key:wait" or "key:none", as this function gave it last."""
    going = job is not None and job.is_going
    atlas = job.result if job is not None and job.state not in (JobState.STOPPED, JobState.FAILED) else None
    layout = embedding_map_html.layout_of(atlas, method) if atlas is not None else None
    now = f"{plan.key}:" + (f"map:{method}" if layout is not None else "wait" if going else "none")
    status = embedding_map_html.progress(job) if going else embedding_map_html.ended(job) if job is not None and atlas is None else ""
    frame = (
        gr.update(visible=going or atlas is None),
        gr.update(value=embedding_map_html.offer(plan), visible=not going and atlas is None),
        gr.update(visible=going), status, gr.Timer(active=going),
    )
    if now == seen:
        return *frame, *(gr.skip(),) * 7
    same = seen.startswith(f"{plan.key}:map:")
    detail = (gr.skip(),) * 3 if same else (embedding_map_html.PLACEHOLDER if layout else "", gr.update(value=None, visible=False), gr.update(visible=False))
    if layout is None:
        return *frame, "", {"note": "" if going else embedding_map_html.before(plan)}, gr.update(visible=False), now, *detail
    csv = csv_file(f"map-{method}", embedding_map_html.COLUMNS, embedding_map_html.rows(atlas, layout))
    drawn = embedding_map_html.picture(plan.key, atlas, layout, with_sheet=not same)
    return *frame, embedding_map_html.words(plan, atlas, layout), drawn, gr.update(value=csv, visible=True), now, *detail


def pick(key: str, event: gr.EventData) -> tuple:
    """Inputs: key, the chosen dot. Outputs: its number, facts, the photo, the buttons that hand it over."""
    number = int(event.index)
    _, atlas = _found(key, number)
    stored = _stored(key, number)
    photo = safe_open.decode(stored)
    if photo is None:
        raise UserError("This photo can no longer be read. Choose another.")
    return number, embedding_map_html.facts(atlas, number, photo.size), gr.update(value=shrink(photo), visible=True), gr.update(visible=True)


def photo_file(key: str, chosen: float) -> str:
    """Inputs: key, number of the chosen dot. Outputs: its photo as a file, byte for byte as it is in the data set."""
    stored = _stored(key, int(chosen))
    data = stored["bytes"] or Path(stored["path"]).read_bytes()
    # A name of our own: that of a data set of others does not get into a path.
    file = Path(_folder()) / f"photo-{hashlib.sha256(data).hexdigest()[:16]}.{_ending(data)}"
    file.write_bytes(data)
    for old in sorted(file.parent.iterdir(), key=lambda one: one.stat().st_mtime_ns)[:-KEEP_FILES]:
        old.unlink(missing_ok=True)
    return str(file)


def _found(key: str, number: int) -> tuple[Request, EmbeddingMap]:
    job = maps.JOBS.find(key)
    if job is None or job.result is None or not 0 <= number < len(job.result):
        raise UserError("This map is no longer there. Draw it again.")
    return job.about.request, job.result


def _stored(key: str, number: int) -> dict:
    """A photo of the map as the data set keeps it: its bytes, or its path."""
    from datasets import Image as ImageFeature

    request, atlas = _found(key, number)
    data = open_dataset(request.source)[atlas.splits[number]].cast_column("image", ImageFeature(decode=False))
    row = data[atlas.rows[number]] if atlas.rows[number] < len(data) else {}
    if row.get("image_file_path") != atlas.paths[number]:
        raise UserError("The photos were changed since the map was drawn. Draw it again.")
    return row["image"]


def _ending(data: bytes) -> str:
    """How the file of such a photo ends. A phone's MPO begins with a JPEG, which is what browsers show of it."""
    with safe_open.opened(data) as photo:
        return {"MPO": "jpeg"}.get(photo.format, photo.format.lower())


@functools.cache
def _folder() -> str:
    return tempfile.mkdtemp(prefix="vit_demo-atlas-")
