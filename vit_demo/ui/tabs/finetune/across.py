"""A model tried on photos of any data set: the score on the classes that both know, and the verdicts on all
photos.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from datasets import Image as ImageFeature

from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job
from vit_demo.common.words import current_language, say
from vit_demo.data.names import BEANS
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.photos.safe_open import decode
from vit_demo.ui.shared import models
from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.speech import QUIET, Speech, Told
from vit_demo.ui.tabs.data import sources
from vit_demo.ui.tabs.finetune import across_html as view
from vit_demo.ui.tabs.finetune.across_jobs import CHOICES, JOBS, Request, Tried, cell_of, chosen_photos, start
from vit_demo.ui.tabs.finetune.result import CHOOSE, SCROLL_TO
from vit_demo.ui.tabs.finetune.result_html import heading, note

# Photos that are shown of a cell.
SHOWN = 24


def build(tab: gr.Tab, speech: Speech) -> None:
    """Lay out the view. Inputs: the sub-tab it stands in, the page's speech."""
    remembered = gr.BrowserState(["", "", "", "", ""], storage_key="vit_demo.across", secret="vit_demo")
    speech(gr.Markdown, value=Told("train.across.lead"))
    asked = _ask(speech)
    with gr.Row(elem_classes="actions"):
        begin_button = speech(
            gr.Button, value=Told("train.across.start"), variant="primary", elem_id="across-start"
        )
        stop = speech(
            gr.Button, value=Told("train.across.stop"), variant="stop", visible=False, elem_id="across-stop"
        )
    status = gr.HTML(elem_id="across-status")
    with gr.Column(visible=False, elem_id="across-body") as body:
        about = gr.HTML(elem_id="across-about")
        speech(gr.Markdown, value=Told(heading("train.across.verdicts")))
        verdicts = gr.HTML(elem_id="across-verdicts", js_on_load=CHOOSE)
        title = gr.HTML(elem_id="across-title")
        photos = gr.HTML(elem_id="across-photos")
        with gr.Column(visible=False) as scored:
            speech(gr.Markdown, value=Told(heading("train.result.matrix")))
            matrix = gr.HTML(elem_id="across-matrix", js_on_load=CHOOSE)
            picture = gr.Plot(show_label=False, visible=False, elem_id="across-picture")
            speech(gr.Markdown, value=Told(heading("train.result.classes")))
            classes = gr.HTML(elem_id="across-classes")
    timer = gr.Timer(1, active=False)
    key, seen, cell = (gr.Textbox("", visible=False) for _ in range(3))
    frame = [begin_button, stop, status, timer]
    answer = [body, about, verdicts, scored, matrix, picture, classes, title, photos, cell, seen]
    shown = [*frame, *answer]
    tab.select(come_back, [remembered, key, *asked], [*asked, key], **QUIET).then(
        refresh, [key, seen], shown, **QUIET
    )
    begin_button.click(polite(begin), asked, [remembered, key, *shown], **QUIET)
    stop.click(end, [key, seen], shown, **QUIET)
    timer.tick(refresh, [key, seen], shown, **QUIET)
    for table in (verdicts, matrix):
        table.select(polite(choose), key, [cell, verdicts, matrix, title, photos], **QUIET).success(
            None, None, None, js=SCROLL_TO.format("across-title")
        )
    speech.retells(
        tell_again,
        [key, seen, cell],
        [status, about, verdicts, matrix, picture, classes, title, photos, seen],
    )


def _ask(speech: Speech) -> list[gr.components.Component]:
    """What is asked for: model, photos, split, classes that are called otherwise."""
    with gr.Row(equal_height=False):
        model = speech(
            gr.Dropdown,
            choices=Told(models.ready_choices),
            value=EMBEDDED,
            label=Told("train.across.model"),
            info=Told("page.model.how"),
            allow_custom_value=True,
            elem_id="across-model",
            min_width=260,
        )
        source = speech(
            gr.Dropdown,
            choices=Told(sources),
            value=BEANS,
            label=Told("data.photos_of"),
            info=Told("data.photos_info"),
            allow_custom_value=True,
            elem_id="across-source",
            min_width=260,
        )
    split = speech(
        gr.Radio,
        choices=Told(_splits),
        value=CHOICES[0],
        label=Told("train.across.split"),
        info=Told("train.across.split.info"),
        elem_id="across-split",
    )
    with speech(gr.Accordion, label=Told("train.across.pairs"), open=False, elem_id="across-other-names"):
        pairs = speech(
            gr.Textbox,
            value="",
            lines=2,
            label=Told("train.across.pairs.label"),
            info=Told("train.across.pairs.info"),
            elem_id="across-pairs",
        )
    return [model, source, split, pairs]


def _splits() -> list[tuple[str, str]]:
    return [(say(f"train.across.split.{name}"), name) for name in CHOICES]


def come_back(remembered: list[str], key: str, *asked: str) -> tuple:
    """Inputs: what this browser asked for last, the answer that is shown, what is asked for now.

    Outputs: what is asked for, with what can be chosen by now; the key. After a reload of the page as it was
    asked before.
    """
    values = list(asked) if key or not remembered[-1] else remembered[:-1]
    model, source, split, pairs = values
    return (
        gr.update(choices=models.ready_choices(), value=model),
        gr.update(choices=sources(), value=source),
        split,
        pairs,
        key or remembered[-1],
    )


def begin(model: str | None, source: str | None, split: str, pairs: str) -> tuple:
    """Inputs: model, photos, split, pairs of classes, one a line. Outputs: what to remember, the key, and as
    refresh.
    """
    if not (source or "").strip():
        raise UserError("error.train_tab.across_no_photos")
    if split not in CHOICES:
        raise UserError("error.train_tab.across_no_split")
    lines = tuple(line.strip() for line in (pairs or "").splitlines() if line.strip())
    request = Request((model or EMBEDDED).strip(), (source or "").strip(), split, lines)
    job = start(request)
    asked = [request.model, request.source, split, pairs or "", job.key]
    return asked, job.key, *refresh(job.key, "what was shown before")


def end(key: str, seen: str) -> tuple:
    """Inputs: key, what the page shows. Outputs: as refresh."""
    job = JOBS.find(key)
    if job is not None:
        job.stop()
    return refresh(key, seen)


def refresh(key: str, seen: str) -> tuple:
    """Inputs: key, what the page shows already.

    Outputs: start, stop, status, timer; body, about, verdicts, what was scored, matrix, picture, classes,
    title, photos, cell, seen.
    """
    job = JOBS.find(key) if key else None
    going = job is not None and job.is_going
    frame = (
        gr.update(visible=not going),
        gr.update(visible=going),
        _status(key, job),
        gr.Timer(active=going),
    )
    now = _seen(job)
    if now == seen:
        return *frame, *(gr.skip(),) * 11
    tried = job.result if job is not None else None
    if job is None or tried is None:
        return *frame, gr.update(visible=False), *(gr.skip(),) * 8, "", now
    about, verdicts, matrix, picture, classes, title, photos = _parts(job.key, tried, "")
    return (
        *frame,
        gr.update(visible=True),
        about,
        verdicts,
        gr.update(visible=tried.found.scored is not None),
        matrix,
        picture,
        classes,
        title,
        photos,
        "",
        now,
    )


def _status(key: str, job: Job[Tried] | None) -> str:
    if job is None:
        return view.lost() if key else ""
    if job.is_going:
        return view.progress(job)
    return view.ended(job) if job.result is None else ""


def _seen(job: Job[Tried] | None) -> str:
    """Changes with the answer, and with the language in which it is told."""
    return "" if job is None or job.result is None else f"{current_language()}:{job.key}"


def _parts(key: str, tried: Tried, cell: str) -> tuple:
    """About, verdicts, matrix, picture, classes, title, photos."""
    found = tried.found
    figure = view.picture(found, key)
    return (
        view.about(tried),
        view.verdicts(found, cell),
        view.matrix(found, cell),
        gr.update(visible=False) if figure is None else gr.update(value=figure, visible=True),
        view.classes(found),
        *_photos(tried, cell),
    )


def tell_again(key: str, seen: str, cell: str) -> tuple:
    """Inputs: key, what the page shows, cell. Outputs: status, about, verdicts, matrix, picture, classes,
    title, photos, seen; nothing where they are told so already.
    """
    job = JOBS.find(key) if key else None
    now = _seen(job)
    if job is None or job.result is None or now == seen:
        return _status(key, job), *(gr.skip(),) * 8
    return "", *_parts(key, job.result, cell), now


def choose(key: str, event: gr.EventData) -> tuple:
    """Inputs: key, the touched number. Outputs: cell, verdicts, matrix, title, photos."""
    job = JOBS.find(key)
    if job is None or job.result is None:
        raise UserError("error.train_tab.across_gone")
    found = job.result.found
    cell = cell_of(str(event.value), found, view.shown_classes(found))
    return cell, view.verdicts(found, cell), view.matrix(found, cell), *_photos(job.result, cell)


def _photos(tried: Tried, cell: str) -> tuple:
    """The title above the photos of a cell, and the first of them."""
    found = tried.found
    if not found.abstains and not cell:  # it is never silent
        return "", ""
    chosen = chosen_photos(found, cell, view.shown_classes(found))
    first = chosen[:SHOWN]
    stored: Any = tried.data.cast_column("image", ImageFeature(decode=False))
    pictures = [decode(stored[one.row]["image"]) for one in first]
    title = view.photos_title(found, cell, len(chosen), len(first))
    if any(picture is None for picture in pictures):
        title += note(say("train.across.changed"))
    return title, view.photos(list(zip(first, pictures, strict=True)))
