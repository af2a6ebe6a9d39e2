"""Many photos: files or a zip in, a table out that fills while they are looked at, CSV and JSON to take away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.common.jobs import JobState
from vit_demo.common.words import DEFAULT_LANGUAGE, LANGUAGES, say
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.diagnose.asked import QUIET, Asked
from vit_demo.ui.tabs.diagnose.many_jobs import JOBS, MOST, ManyPhotos, save, status_html, table_html

# Seconds between two pictures of the progress.
TICK = 0.7
# How many people may have photos looked at at the same time; others wait.
AT_ONCE = 4
CHOOSE = """
element.addEventListener('click', (event) => {
    const button = event.target.closest('[data-many]');
    if (button) trigger('select', {value: button.dataset.many, index: 0});
});
"""


def build(asked: Asked) -> None:
    """Lay out the view. Inputs: what the parts of the tab share."""
    job = gr.Textbox("", visible=False)
    files = gr.File(label=say("diagnose.many_files"), file_count="multiple", height=160, elem_id="many-files")
    with gr.Row(elem_classes="actions"):
        start = gr.Button(say("diagnose.many_start"), variant="primary", elem_id="many-start")
        stop = gr.Button(say("diagnose.many_stop"), variant="stop", visible=False, elem_id="many-stop")
        csv = gr.DownloadButton(say("diagnose.many_csv"), visible=False, elem_id="many-csv")
        json = gr.DownloadButton(say("diagnose.many_json"), visible=False, elem_id="many-json")
    status = gr.HTML(_empty(DEFAULT_LANGUAGE), padding=False, elem_id="many-status")
    table = gr.HTML("", js_on_load=CHOOSE, padding=False, elem_id="many-table")
    asked.speaks(files, label=lambda code: say("diagnose.many_files", code))
    asked.speaks(start, value=lambda code: say("diagnose.many_start", code))
    asked.speaks(stop, value=lambda code: say("diagnose.many_stop", code))
    asked.speaks(csv, label=lambda code: say("diagnose.many_csv", code))
    asked.speaks(json, label=lambda code: say("diagnose.many_json", code))
    shown = [job, status, table, start, stop, csv, json]
    start.click(run, [files, asked.model, asked.language], shown, concurrency_limit=AT_ONCE, **QUIET)
    stop.click(halt, job, None, **QUIET)
    table.select(choose, [job, asked.language], [table, csv, json], **QUIET)
    asked.retells(retell, [asked.language, job], [status, table])


def run(files: list[str] | None, model: str, language: str) -> Iterator[tuple]:
    """Inputs: photo and zip files, model, language. Outputs: the job's id, progress, table, the two buttons, the files to take away."""
    try:
        job = ManyPhotos(classifier=get_classifier(model), files=files or [], language=language)
    except UserError as error:
        yield "", _wrong(error, language), "", *_buttons(False), *_files(None)
        return
    JOBS.add(job)
    yield job.key, status_html(job), "", *_buttons(True), *_files(None)
    drawn, said = "", 0.0
    try:
        for _ in job.run():
            if time.monotonic() - said < TICK:
                continue
            said, table = time.monotonic(), table_html(job)
            # A page of the table that is full does not change any more, and need not be sent again.
            yield gr.skip(), status_html(job), gr.skip() if table == drawn else table, *[gr.skip()] * 4
            drawn = table
    except UserError as error:
        yield "", _wrong(error, job.language), "", *_buttons(False), *_files(None)
        return
    finally:
        if job.is_going:  # it failed, or the page went away
            job.end(JobState.STOPPED)
    yield gr.skip(), status_html(job), table_html(job), *_buttons(False), *_files(job)


def halt(job_id: str) -> None:
    """Inputs: the job's id. What is done is kept."""
    job = JOBS.find(job_id)
    if job is not None:
        job.stop()


def choose(job_id: str, language: str, event: gr.SelectData) -> tuple:
    """Inputs: the job's id, language, the button in the table. Outputs: the table with that kind or page, and the files to take away."""
    job = JOBS.find(job_id)
    if job is None:
        return f'<p class="many-status" role="alert">{escape(say("diagnose.many_lost", language))}</p>', *_files(None)
    what, _, value = str(event.value).partition(":")
    if what == "kind":
        job.kind, job.page = value, 0
    elif value.isdecimal():
        job.page = int(value)
    # Also where the page lost the connection before the end.
    return table_html(job), *((gr.skip(), gr.skip()) if job.is_going else _files(job))


def retell(language: str, job_id: str) -> tuple:
    """Inputs: language, the job's id. Outputs: progress and table in this language."""
    if language not in LANGUAGES:
        return gr.skip(), gr.skip()
    job = JOBS.find(job_id)
    if job is None:
        return _empty(language), ""
    job.language = language
    return status_html(job), table_html(job)


def _empty(language: str) -> str:
    return f'<p class="many-status" lang="{language}">{escape(say("diagnose.many_empty", language, most=MOST))}</p>'


def _wrong(error: UserError, language: str) -> str:
    return f'<div class="answer answer-refused" role="alert" lang="{language}"><p>{escape(str(error))}</p></div>'


def _buttons(going: bool) -> tuple[dict, dict]:
    """Start and Stop: only the one that can be used is there."""
    return gr.update(visible=not going), gr.update(visible=going)


def _files(job: ManyPhotos | None) -> tuple[dict, dict]:
    """CSV and JSON to take away, there only where a job has rows."""
    if job is None or not job.rows:
        return gr.update(visible=False), gr.update(visible=False)
    return tuple(gr.update(value=file, visible=True) for file in save(job))
