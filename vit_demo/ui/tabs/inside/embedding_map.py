"""Look inside: a map of a whole data set, as the model sees it."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, JobState
from vit_demo.common.words import current_language
from vit_demo.data.names import BEANS, names_former_sample
from vit_demo.data.open.sources import open_dataset
from vit_demo.figures.overlay import shrink
from vit_demo.photos import safe_open
from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.speech import Told
from vit_demo.ui.tabs.data import usual_sources
from vit_demo.ui.tabs.inside import embedding_map_html
from vit_demo.ui.tabs.inside import embedding_map_jobs as maps
from vit_demo.ui.tabs.inside.downloads import csv_file
from vit_demo.ui.tabs.inside.embedding_map_jobs import EmbeddingMap, Plan, Request
from vit_demo.ui.tabs.inside.scene import Scene, told_in

ID, TITLE = "embedding_map", "inside.embedding_map.title"
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
STAGE = render("inside/embedding_map#stage")
SHOW_DETAIL = """() => document.getElementById('inside-embedding-map-detail')
    ?.scrollIntoView({behavior: 'smooth', block: 'nearest'})"""
# To the first view of this tab, and up to the photo. On a phone most tabs are behind a button with three
# dots.
TO_VIEWS = """() => {
    const tabs = [...document.querySelectorAll(
        '#inside-views [role="tab"], #inside-views .overflow-dropdown button')];
    tabs.find(tab => !tab.classList.contains('selected')).click();
    document.getElementById('inside-photo').scrollIntoView({behavior: 'smooth', block: 'center'});
}"""
TO_DIAGNOSE = """() => {
    document.querySelector('[role="tab"][data-tab-id="diagnose"]').click();
    scrollTo({top: 0, behavior: 'smooth'});
}"""
# Photos that were handed to another view and may still be shown there.
KEEP_FILES = 50


def build(tab: gr.Tab, scene: Scene) -> None:
    """Lay out the view. Inputs: its tab, and what all views look at."""
    remembered = gr.BrowserState([BEANS, "test"], storage_key="vit_demo.embedding-map", secret="vit_demo")
    speech = scene.speech
    with gr.Row(equal_height=False):
        source = speech(
            gr.Dropdown,
            choices=Told(usual_sources),
            value=BEANS,
            label=Told("inside.embedding_map.photos"),
            info=Told("inside.embedding_map.photos_how"),
            allow_custom_value=True,
            elem_id="inside-embedding-map-source",
            min_width=260,
        )
        splits, methods = (
            Told(functools.partial(embedding_map_html.choices, names))
            for names in (embedding_map_html.SPLITS, embedding_map_html.METHODS)
        )
        split = speech(
            gr.Radio,
            choices=splits,
            value="test",
            label=Told("inside.embedding_map.split"),
            elem_id="inside-embedding-map-split",
            min_width=260,
        )
    method = speech(
        gr.Radio,
        choices=methods,
        value="pca",
        label=Told("inside.embedding_map.layout"),
        elem_id="inside-embedding-map-method",
    )
    with gr.Column() as start:
        with gr.Row(elem_classes="actions"):
            draw = gr.Button(
                embedding_map_html.offer(0), variant="primary", elem_id="inside-embedding-map-draw"
            )
            stop = speech(
                gr.Button,
                value=Told("inside.embedding_map.stop"),
                variant="stop",
                visible=False,
                elem_id="inside-embedding-map-stop",
            )
        status = gr.HTML(elem_id="inside-embedding-map-status")
    words = gr.Markdown(elem_id="inside-embedding-map-words")
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            script = (settings.ASSETS / "theme" / "embedding_map.js").read_text(encoding="utf-8")
            stage = gr.HTML(
                {"note": ""},
                html_template=STAGE,
                js_on_load=script,
                apply_default_css=False,
                elem_id="inside-embedding-map-map",
            )
        with gr.Column(scale=2, min_width=300, elem_id="inside-embedding-map-detail"):
            large = gr.Image(
                show_label=False,
                interactive=False,
                visible=False,
                buttons=["download", "fullscreen"],
                elem_id="inside-embedding-map-large",
            )
            with gr.Row(visible=False, elem_classes="actions") as hand_over:
                inside = speech(
                    gr.Button,
                    value=Told("inside.embedding_map.look"),
                    size="sm",
                    elem_id="inside-embedding-map-look",
                )
                diagnose = speech(
                    gr.Button,
                    value=Told("inside.embedding_map.diagnose"),
                    size="sm",
                    visible=scene.diagnose is not None,
                    elem_id="inside-embedding-map-diagnose",
                )
            facts = gr.HTML(elem_id="inside-embedding-map-facts")
    with gr.Row(elem_classes="actions"):
        numbers = speech(
            gr.DownloadButton,
            label=Told("inside.embedding_map.csv"),
            size="sm",
            visible=False,
            elem_id="inside-embedding-map-csv",
        )
    timer = gr.Timer(1, active=False)
    key, seen = (gr.Textbox("", visible=False) for _ in range(2))
    chosen = gr.Number(-1, visible=False, precision=0)
    fresh = gr.Checkbox(True, visible=False)
    what = [scene.model, source, split]
    shown = [start, draw, stop, status, timer, words, stage, numbers, seen, facts, large, hand_over, chosen]
    latest = {**QUIET, "trigger_mode": "always_last"}
    # Not scene.draw: the map needs no photo, and another photo does not change it. What was chosen last comes
    # first and by itself: later it could overwrite what a person chooses meanwhile.
    restored = gr.on(
        scene.wanted[ID].change, restore, [scene.active, fresh, remembered], [source, split, fresh], **latest
    )
    restored.then(
        polite(opened),
        [scene.active, *what, method, key, seen, speech.language, chosen],
        [key, *shown],
        **QUIET,
    )
    speech.retells(retell_offer, [seen], [draw])
    gr.on(
        [source.input, split.input],
        polite(choose),
        [*what, method, key, seen],
        [remembered, key, *shown],
        **latest,
    )
    draw.click(polite(begin), [*what, method, seen], [key, *shown], **latest)
    stop.click(end, [key, method, seen], shown, **latest)
    method.input(refresh, [key, method, seen], shown, **latest)
    timer.tick(refresh, [key, method, seen], shown, **QUIET)
    picked = stage.select(polite(pick), key, [chosen, facts, large, hand_over], **latest)
    picked.success(None, None, None, js=SHOW_DETAIL)
    inside.click(polite(photo_file), [key, chosen], scene.photo, **QUIET).success(
        None, None, None, js=TO_VIEWS
    )
    if scene.diagnose is not None:
        diagnose.click(polite(photo_file), [key, chosen], scene.diagnose, **QUIET).success(
            None, None, None, js=TO_DIAGNOSE
        )


def restore(active: str, fresh: bool, remembered: list[str]) -> tuple:
    """Inputs: the open view, whether the page was just loaded, what this browser chose last. Outputs: source,
    split, not fresh any more.
    """
    if active != ID or not fresh:
        return (gr.skip(),) * 3
    source, split = remembered
    return BEANS if names_former_sample(source) else source, split, False


def opened(
    active: str,
    model: str,
    source: str,
    split: str,
    method: str,
    key: str,
    seen: str,
    language: str,
    chosen: float,
    request: gr.Request,
) -> tuple:
    """Inputs: the open view, model, source, split, layout, key, what the page shows, the language, number of
    the chosen dot.

    Outputs: key, and as refresh; nothing where another view is open. The same map in another language keeps
    its chosen dot.
    """
    if active != ID:
        return (gr.skip(),) * 14
    wanted = maps.plan(Request(model, source, split))
    if key and key != wanted.key:
        maps.JOBS.leave(key, _visitor(request))
    with told_in(language):
        *frame, facts, large, hand_over, number = _show(
            wanted, maps.kept(wanted, _visitor(request)), method, seen
        )
        if Seen.of(seen).is_map(wanted.key) and Seen.of(seen).language != language:
            facts = _facts_again(wanted.key, int(chosen))
    return wanted.key, *frame, facts, large, hand_over, number


def retell_offer(seen: str | None) -> dict:
    """Inputs: what the page shows. Outputs: the button that begins a map."""
    return gr.update(value=embedding_map_html.offer(Seen.of(seen).count))


def choose(
    model: str, source: str, split: str, method: str, key: str, seen: str, request: gr.Request
) -> tuple:
    """Inputs: model, source, split, layout, key of the map before, what the page shows. Outputs: what to
    remember, key, and as refresh.
    """
    wanted = maps.plan(Request(model, source, split))
    if key != wanted.key:
        maps.JOBS.leave(key, _visitor(request))
    return [source, split], wanted.key, *_show(wanted, maps.kept(wanted, _visitor(request)), method, seen)


def begin(model: str, source: str, split: str, method: str, seen: str, request: gr.Request) -> tuple:
    """Inputs: model, source, split, layout, what the page shows. Outputs: key, and as refresh."""
    wanted = maps.plan(Request(model, source, split))
    return wanted.key, *_show(wanted, maps.start(wanted, _visitor(request)), method, seen)


def end(key: str, method: str, seen: str, request: gr.Request) -> tuple:
    """Inputs: key, layout, what the page shows. Outputs: as refresh."""
    job = maps.JOBS.find(key)
    if job is not None:
        job.stop()
    return refresh(key, method, seen, request)


def refresh(key: str, method: str, seen: str, request: gr.Request) -> tuple:
    """Inputs: key, layout, what the page shows.

    Outputs: start (draw, stop, status), timer, words, map, numbers, seen, facts, photo, hand-over, number of
    the chosen dot.
    """
    job = maps.JOBS.find(key, _visitor(request))
    if job is None:  # after a restart of the server; opening the view again finds what is on the disk
        return (
            gr.update(visible=True),
            gr.update(visible=True),
            gr.update(visible=False),
            "",
            gr.Timer(active=False),
            *(gr.skip(),) * 8,
        )
    return _show(job.about, job, method, seen)


@dataclass(frozen=True)
class Seen:
    """What a page shows, which it hands back with each question. what: "map", "wait" or "none". count: of the
    photos.
    """

    key: str = ""
    what: str = ""
    method: str = ""
    count: int = 0
    language: str = ""

    def __str__(self) -> str:
        return ":".join([self.key, self.what, self.method, str(self.count), self.language])

    @classmethod
    def of(cls, text: str | None) -> Seen:
        """The inverse of ``str``; of what is none, a page that shows nothing yet."""
        parts = (text or "").split(":")
        if len(parts) != 5 or not parts[3].isdecimal():
            return cls()
        key, what, method, count, language = parts
        return cls(key, what, method, int(count), language)

    def is_map(self, key: str) -> bool:
        """Whether it is the map of this key."""
        return (self.key, self.what) == (key, "map")


def _visitor(request: gr.Request) -> str:
    """The page that asks, "" where it does not say which it is."""
    return request.session_hash or ""


def _show(plan: Plan, job: Job | None, method: str, seen: str) -> tuple:
    """Outputs: as refresh. seen: a :class:`Seen`, as this function gave it last."""
    going = job is not None and job.is_going
    mapped = job.result if job is not None and job.state not in (JobState.STOPPED, JobState.FAILED) else None
    layout = embedding_map_html.layout_of(mapped, method) if mapped is not None else None
    what = ("map", method) if layout is not None else ("wait" if going else "none", "")
    now = str(Seen(plan.key, *what, plan.count, current_language()))
    status = (
        ""
        if job is None
        else embedding_map_html.progress(job)
        if going
        else embedding_map_html.ended(job)
        if mapped is None
        else ""
    )
    frame = (
        gr.update(visible=going or mapped is None),
        gr.update(value=embedding_map_html.offer(plan.count), visible=not going and mapped is None),
        gr.update(visible=going),
        status,
        gr.Timer(active=going),
    )
    if now == seen:
        return *frame, *(gr.skip(),) * 8
    same = Seen.of(seen).is_map(plan.key)
    nothing_chosen = (
        embedding_map_html.choose() if layout else "",
        gr.update(value=None, visible=False),
        gr.update(visible=False),
        -1,
    )
    detail = (gr.skip(),) * 4 if same else nothing_chosen
    if mapped is None or layout is None:
        return (
            *frame,
            "",
            {"note": "" if going else embedding_map_html.before(plan)},
            gr.update(visible=False),
            now,
            *detail,
        )
    csv = csv_file(f"map-{method}", embedding_map_html.COLUMNS, embedding_map_html.rows(mapped, layout))
    drawn = embedding_map_html.picture(plan.key, mapped, layout, with_sheet=not same)
    return (
        *frame,
        embedding_map_html.words(plan, mapped, layout),
        drawn,
        gr.update(value=csv, visible=True),
        now,
        *detail,
    )


def _facts_again(key: str, number: int) -> str | dict:
    """What stands beside the map, in the current language. number: of the chosen dot."""
    if number < 0:
        return embedding_map_html.choose()
    try:
        return _detail(key, number)[0]
    except UserError:  # the photo is gone; a click on it says so
        return gr.skip()


def _detail(key: str, number: int) -> tuple:
    """What is known of a dot in words, and its photo."""
    _, mapped = _found(key, number)
    photo = safe_open.decode(_stored(key, number))
    if photo is None:
        raise UserError("error.inside_tab.photo_gone")
    return embedding_map_html.facts(mapped, number, photo.size), photo


def pick(key: str, event: gr.EventData) -> tuple:
    """Inputs: key, the chosen dot. Outputs: its number, facts, the photo, the buttons that hand it over."""
    number = int(event.index)
    facts, photo = _detail(key, number)
    return number, facts, gr.update(value=shrink(photo), visible=True), gr.update(visible=True)


def photo_file(key: str, chosen: float) -> str:
    """Inputs: key, number of the chosen dot. Outputs: its photo as a file, byte for byte as it is in the data
    set.
    """
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
        raise UserError("error.inside_tab.map_gone")
    return job.about.request, job.result


def _stored(key: str, number: int) -> dict:
    """A photo of the map as the data set keeps it: its bytes, or its path."""
    from datasets import Image as ImageFeature

    request, mapped = _found(key, number)
    data = open_dataset(request.source)[mapped.splits[number]].cast_column(
        "image", ImageFeature(decode=False)
    )
    row = data[mapped.rows[number]] if mapped.rows[number] < len(data) else {}
    if row.get("image_file_path") != mapped.paths[number]:
        raise UserError("error.inside_tab.photos_changed")
    return row["image"]


def _ending(data: bytes) -> str:
    """How the file of such a photo ends. A phone's MPO begins with a JPEG, which is what browsers show of
    it.
    """
    with safe_open.opened(data) as photo:
        kind = (photo.format or "").lower()
    return "jpeg" if kind == "mpo" else kind


@functools.cache
def _folder() -> str:
    return tempfile.mkdtemp(prefix="vit_demo-map-")
