"""Data: bring photos. Files are uploaded here, taken in by ``data.imports`` beside the page, and opened when they are in.

The server keeps nothing for a page: assets/theme/bring.js draws what is sent and asks for news while an import runs, so a page that was
loaded anew finds the import again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, JobState
from vit_demo.data.corrections.review_set import clean_label
from vit_demo.data.importing import archives, imports, tables
from vit_demo.data.importing.gather import Files
from vit_demo.data.names import BEANS, IMPORT
from vit_demo.ui.shared.components import PhotoFiles, polite
from vit_demo.ui.tabs.data import bring_html as view
from vit_demo.ui.tabs.data.opened import open_source, sources
from vit_demo.ui.tabs.data.sent import values_of

STAGE = """<div class="bring" data-most="MOST">
<p class="note">In a zip or tar, put the photos into a folder for each class (rust/photo.jpg, or train/rust/photo.jpg). Or choose a CSV of paths and labels
together with its photos, or photos that all show the same.</p>
<form class="bring-form">
<label class="bring-of" hidden>What these photos show<input id="bring-label" autocomplete="off" placeholder="e.g. bean_rust">
<small>Bring each class in turn under the same name: they are added.</small></label>
<label>Name of the data set<input id="bring-name" maxlength="60" list="bring-known" autocomplete="off" placeholder="e.g. my-beans"></label>
<datalist id="bring-known"></datalist>
<button type="submit" class="bring-main" id="bring-start">Start</button>
</form>
<div data-part="head" id="bring-head"></div><div data-part="list" id="bring-list"></div>
</div>"""
# What a page sends, and what it is where it is not as it should be.
NOTHING = {"do": "", "name": "", "label": ""}
# How many people may be answered at the same time; others wait.
AT_ONCE = 4
# Proposed for photos that come without an archive; more of them are added under the same name.
PHOTOS_NAME = "my-photos"
PARQUET = ".parquet"


def build(tab: gr.Tab, views: gr.Tabs, source: gr.Dropdown) -> list[Callable]:
    """Lay out the view. Inputs: its tab, the views of the Data tab, the photos that are chosen. Returns events upon which other photos are to be opened."""
    script = (settings.ASSETS / "theme" / "bring.js").read_text(encoding="utf-8")
    most = settings.load().max_archive_bytes
    files = PhotoFiles(file_count="multiple", label=f"Files, at most {most / 2**30:.0f} GB", height=150, elem_id="bring-files")
    stage = gr.HTML({}, html_template=STAGE.replace("MOST", str(most)), js_on_load=script, apply_default_css=False, padding=False, elem_id="data-bring")
    quiet = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": AT_ONCE}
    files.change(propose, files, stage, trigger_mode="always_last", **quiet)
    stage.upload(begin, files, stage, **quiet)
    # multiple: no press of a button may be lost while news are under way.
    stage.select(act, None, stage, trigger_mode="multiple", **quiet)
    tab.select(show, None, stage, **quiet)
    opened = stage.submit(polite(choose), None, [views, source, files], **quiet)
    removed = stage.delete(polite(remove), source, [stage, source], **quiet)
    return [opened.success, removed.success]


def show() -> dict:
    """Outputs: the import that runs, or else the last one of this server, and all imports."""
    jobs = imports.JOBS.all()
    return _answer(next((job for job in jobs if job.is_going), jobs[0] if jobs else None), listed=True)


def propose(files: list[str] | None) -> dict:
    """Inputs: uploaded files. Outputs: a name for the data set, and whether it must be said what they show."""
    paths = [Path(path) for path in files or []]
    return {"proposed": {"name": proposed_name(paths), "photos": bool(paths) and _only_photos(paths)}}


def begin(files: list[str] | None, event: gr.EventData) -> dict:
    """Inputs: uploaded files, the name and the class that were typed. Outputs: the import, or why there is none."""
    asked = understood(event.value)
    paths, folder = [Path(path) for path in files or []], None
    try:
        source = source_of(paths, asked["label"])
        if source is None:
            folder = _together(paths, asked["name"])
            source = next(folder.iterdir())
        job = imports.start(source, asked["name"])
    except UserError as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return {"job": None, "parts": {"head": view.failed_html(str(error))}}
    threading.Thread(target=_clear, args=(job, paths, folder), daemon=True).start()
    return {**_answer(job), "begun": True}


def act(event: gr.EventData) -> dict:
    """Inputs: what was pressed, about which import. Outputs: what to show now."""
    asked = understood(event.value)
    job = imports.JOBS.find(asked["name"])
    if asked["do"] == "tell":
        found = next((one for one in imports.list_imports() if one.name == asked["name"]), None)
        return {"parts": {"head": view.result_html(found) if found else view.failed_html(f"There is no import called {asked['name']} any more.")}}
    if job is None:
        return show()
    if asked["do"] == "stop":
        job.stop()
    return _answer(job)


def choose(event: gr.EventData) -> tuple:
    """Inputs: an import. Outputs: the views, with the photos in front where that was asked for; the photos chosen; the upload, empty where it is in."""
    asked = understood(event.value)
    spec = IMPORT + asked["name"]
    if asked["do"] == "open":
        open_source(spec)  # raises where it cannot be opened
        return gr.Tabs(selected="browse"), gr.update(choices=sources(), value=spec), gr.skip()
    with contextlib.suppress(UserError):  # of one class so far: more photos are to come
        open_source(spec)
        return gr.skip(), gr.update(choices=sources(), value=spec), None
    return gr.skip(), gr.update(choices=sources()), None


def remove(source: str, event: gr.EventData) -> tuple:
    """Inputs: the photos that are chosen, an import. Outputs: all others; the photos chosen, others where it was these."""
    name = understood(event.value)["name"]
    imports.remove(name)
    chosen = {"value": BEANS} if IMPORT + name in (source or "") else {}
    return {**_answer(None), "parts": {"head": view.removed_html(name), "list": view.list_html(imports.list_imports())}}, gr.update(choices=sources(), **chosen)


def understood(text: Any) -> dict[str, str]:
    """What a page sends; whatever is not as it should be is as in NOTHING."""
    return values_of(text, NOTHING)


def source_of(paths: list[Path], label: str) -> Path | Files | None:
    """What ``imports.start`` takes; None for a table or parquet files, which are to be put into one folder with all others.

    Raises UserError with what to do. A table by itself could name any file of this computer, so it is taken only with its photos.
    """
    if not paths:
        raise UserError("Choose a zip or tar file, or photos first.")
    if not all(path.is_file() for path in paths):
        raise UserError("What was uploaded is not there any more. Choose the files again.")
    if len(paths) == 1 and archives.is_archive(paths[0]):
        return paths[0]
    if any(map(archives.is_archive, paths)):
        raise UserError("Bring one zip or tar at a time, and no other files with it.")
    if _only_photos(paths):
        return Files(tuple(paths), clean_label(label))
    if all(map(tables.is_table, paths)):
        raise UserError("A table alone holds no photos. Choose it together with its photos, or pack all into one zip.")
    return None


def proposed_name(paths: list[Path]) -> str:
    """A name for the data set, after the file and not yet taken; "" without files."""
    if not paths:
        return ""
    if _only_photos(paths):
        return PHOTOS_NAME
    named = next((path for path in paths if archives.is_archive(path) or tables.is_table(path)), paths[0])
    stem = re.sub(r"(\.tar)?\.\w+$", "", named.name)
    name = re.sub(r"[^\w.-]+", "-", stem).strip(".-")[:50].rstrip(".-") or "my-data"
    taken = {one.name.casefold() for one in imports.list_imports()}
    free = (number for number in range(1, len(taken) + 2) if (f"{name}-{number}" if number > 1 else name).casefold() not in taken)
    number = next(free)
    return f"{name}-{number}" if number > 1 else name


def _only_photos(paths: list[Path]) -> bool:
    """Whether nothing among the files says what they show."""
    return not any(archives.is_archive(path) or tables.is_table(path) or path.suffix.lower() == PARQUET for path in paths)


def _together(paths: list[Path], name: str) -> Path:
    """A new folder that holds one, called like the data set, with all files in it: a table names the photos beside it."""
    folder = Path(tempfile.mkdtemp(prefix="vit_demo-brought-"))
    try:
        inside = folder / (re.sub(r"[^\w-]+", "-", name)[:60] or "photos")
        inside.mkdir()
        for path in paths:
            try:
                os.link(path, inside / path.name)
            except OSError:  # another disk, or one without links; a second file of the same name takes the place of the first
                shutil.copyfile(path, inside / path.name)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"The photos could not be put together ({error.strerror}). Free some space and try again.") from None
    return folder


def _clear(job: Job, paths: list[Path], folder: Path | None) -> None:
    """When an import has ended: no photo need be on the disk twice. What failed can be started again without another upload."""
    job.wait()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    if job.state is JobState.DONE:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()


def _answer(job: Job | None, listed: bool = False) -> dict:
    """As the script takes it. listed: whether to send the list of all also while an import runs, which does not change it."""
    head = view.progress_html(job) if job and job.is_going else view.ended_html(job) if job else ""
    told = {"name": job.key, "stage": JobState.RUNNING if job.is_going else job.state} if job else None
    if job and job.is_going and not listed:
        return {"job": told, "parts": {"head": head}}
    known = imports.list_imports()
    return {"job": told, "known": [one.name for one in known], "parts": {"head": head, "list": view.list_html(known)}}
