"""Many photos: files or a zip in, a table out that fills while they are looked at, CSV and JSON to take
away.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import gradio as gr
from markupsafe import Markup

from vit_demo.common.errors import UserError
from vit_demo.common.jobs import JobState
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import QUIET, Told
from vit_demo.ui.tabs.diagnose.many_jobs import JOBS, MOST, ManyPhotos, find, save, status_html, table_html
from vit_demo.ui.tabs.diagnose.shared import Shared

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


def build(shared: Shared) -> None:
    """Lay out the view. Inputs: what the parts of the tab share."""
    speech, job = shared.speech, gr.Textbox("", visible=False)
    files = speech(
        gr.File, label=Told("diagnose.many_files"), file_count="multiple", height=160, elem_id="many-files"
    )
    with gr.Row(elem_classes="actions"):
        start = speech(gr.Button, value=Told("diagnose.many_start"), variant="primary", elem_id="many-start")
        stop = speech(
            gr.Button, value=Told("diagnose.many_stop"), variant="stop", visible=False, elem_id="many-stop"
        )
        csv = speech(gr.DownloadButton, label=Told("diagnose.many_csv"), visible=False, elem_id="many-csv")
        json = speech(gr.DownloadButton, label=Told("diagnose.many_json"), visible=False, elem_id="many-json")
    status = gr.HTML(_empty(), padding=False, elem_id="many-status")
    table = gr.HTML("", js_on_load=CHOOSE, padding=False, elem_id="many-table")
    shown = [job, status, table, start, stop, csv, json]
    start.click(run, [files, shared.model], shown, concurrency_limit=AT_ONCE, **QUIET)
    stop.click(halt, job, None, **QUIET)
    table.select(choose, job, [table, csv, json], **QUIET)
    speech.retells(retell, [job], [status, table])


def run(files: list[str] | None, model: str) -> Iterator[tuple]:
    """Inputs: photo and zip files, model. Outputs: the job's id, progress, table, the two buttons, the files
    to take away.
    """
    try:
        job = ManyPhotos(classifier=get_classifier(model), files=files or [])
    except UserError as error:
        yield "", _wrong(error), "", *_buttons(False), *_files(None)
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
        yield "", _wrong(error), "", *_buttons(False), *_files(None)
        return
    finally:
        if job.is_going:  # it failed, or the page went away
            job.end(JobState.STOPPED)
    yield gr.skip(), status_html(job), table_html(job), *_buttons(False), *_files(job)


def halt(job_id: str) -> None:
    """Inputs: the job's id. What is done is kept."""
    job = find(job_id)
    if job is not None:
        job.stop()


def choose(job_id: str, event: gr.SelectData) -> tuple:
    """Inputs: the job's id, the button in the table. Outputs: the table with that kind or page, and the files
    to take away.
    """
    job = find(job_id)
    if job is None:
        return render("diagnose/many#lost"), *_files(None)
    what, _, value = str(event.value).partition(":")
    if what == "kind":
        job.kind, job.page = value, 0
    elif value.isdecimal():
        job.page = int(value)
    # Also where the page lost the connection before the end.
    return table_html(job), *((gr.skip(), gr.skip()) if job.is_going else _files(job))


def retell(job_id: str) -> tuple[str, str]:
    """Inputs: the job's id. Outputs: progress and table in the current language."""
    job = find(job_id)
    return (_empty(), "") if job is None else (status_html(job), table_html(job))


def _empty() -> Markup:
    return render("diagnose/many#empty", most=MOST)


def _wrong(error: UserError) -> Markup:
    return render("diagnose/many#wrong", why=error)


def _buttons(going: bool) -> tuple[dict, dict]:
    """Start and Stop: only the one that can be used is there."""
    return gr.update(visible=not going), gr.update(visible=going)


def _files(job: ManyPhotos | None) -> tuple[dict, dict]:
    """CSV and JSON to take away, there only where a job has rows."""
    if job is None or not job.rows:
        return gr.update(visible=False), gr.update(visible=False)
    csv, json = (gr.update(value=file, visible=True) for file in save(job))
    return csv, json
