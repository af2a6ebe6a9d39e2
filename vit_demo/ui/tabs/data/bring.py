"""Data: bring photos. Files are uploaded here, it is shown how they were understood, and they are taken in by
``data.importing`` beside the page and opened when they are in.

The server keeps nothing for a page: assets/theme/bring.js draws what is sent, sends what was corrected with
each question, and asks for news while an import runs, so a page that was loaded anew finds the import again.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, JobState
from vit_demo.common.words import LANGUAGES, current_language, speaking
from vit_demo.data.corrections.review_set import clean_label
from vit_demo.data.importing import imports
from vit_demo.data.importing.gather import Files
from vit_demo.data.names import BEANS, IMPORT
from vit_demo.data.plan import archives, tables
from vit_demo.data.plan.corrections import corrections_of
from vit_demo.ui.shared.components import PhotoFiles, polite
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.data import bring_html as view
from vit_demo.ui.tabs.data import bring_jobs, plan_html
from vit_demo.ui.tabs.data.opened import open_source, sources
from vit_demo.ui.tabs.data.sent import values_of
from vit_demo.ui.tabs.data.stage import build_stage

# What a page sends, and what it is where it is not as it should be.
NOTHING: dict[str, Any] = {"do": "", "name": "", "label": "", "of": "", "told": []}
# What was said of an upload: so many corrections, of so many letters.
MOST_TOLD, MOST_LETTERS = 1000, 500
# Most uploads are understood at once; of a large archive is asked again.
QUICK = 0.4
# How many people may be answered at the same time; others wait.
AT_ONCE = 4
# Proposed for photos that come without an archive; more of them are added under the same name.
PHOTOS_NAME = "my-photos"
PARQUET = ".parquet"
# Where there is nothing that could be understood in two ways.
NO_PLAN = {"looking": "", "plan": ""}
_turns = itertools.count()


def build(speech: Speech, tab: gr.Tab, views: gr.Tabs, source: gr.Dropdown) -> list[Callable]:
    """Lay out the view. Inputs: the speech of the page, the tab of the view, the views of the Data tab, the
    photos that are chosen.

    Returns events upon which other photos are to be opened.
    """
    most = settings.load().max_archive_bytes
    files = speech(
        PhotoFiles,
        file_count="multiple",
        label=Told("data.bring.files", gigabytes=most / 2**30),
        height=150,
        elem_id="bring-files",
    )
    template = str(render("data/bring_stage", most=most))
    stage = build_stage(
        speech,
        "bring",
        ("data.bring.too_large",),
        html_template=template,
        padding=False,
        elem_id="data-bring",
    )
    quiet: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "hidden",
        "concurrency_limit": AT_ONCE,
    }
    files.change(propose, files, stage, trigger_mode="always_last", **quiet)
    stage.upload(begin, files, stage, **quiet)
    stage.apply(look, files, stage, trigger_mode="multiple", **quiet)
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
    """Inputs: uploaded files. Outputs: a name for the data set, whether it must be said what they show, and
    how they were understood.
    """
    paths = [Path(path) for path in files or []]
    photos = bool(paths) and _only_photos(paths)
    shown = _understood(paths, []) if paths and not photos else {"plan": None, "parts": NO_PLAN}
    return {"proposed": {"name": proposed_name(paths), "photos": photos}, **shown}


def look(files: list[str] | None, event: gr.EventData) -> dict:
    """Inputs: uploaded files, what was said of them so far. Outputs: how they are understood."""
    paths = [Path(path) for path in files or []]
    if not paths or _only_photos(paths):
        return {"plan": None, "parts": NO_PLAN}
    return _understood(paths, understood(event.value)["told"])


def begin(files: list[str] | None, event: gr.EventData) -> dict:
    """Inputs: uploaded files, the name and the class that were typed. Outputs: the import, or why there is
    none.
    """
    asked = understood(event.value)
    paths, folder = [Path(path) for path in files or []], None
    try:
        source = source_of(paths, asked["label"])
        if source is None:
            folder = _together(paths, asked["name"])
            source = next(folder.iterdir())
        job = imports.start(source, asked["name"], corrections_of(asked["told"]))
    except UserError as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return {"job": None, **_told_once(functools.partial(view.failed_html, error))}
    threading.Thread(target=_clear, args=(job, paths, folder), daemon=True).start()
    return {**_answer(job), "begun": True}


def act(event: gr.EventData) -> dict:
    """Inputs: what was pressed, about which import. Outputs: what to show now."""
    asked = understood(event.value)
    job = imports.JOBS.find(asked["name"])
    if asked["do"] in ("tell", "list"):
        known = imports.list_imports()
        parts = {"list": view.list_html(known)}
        if asked["do"] == "list":
            return {"parts": parts}
        found = next((one for one in known if one.name == asked["name"]), None)
        return {
            "tells": asked["name"],
            "parts": {"head": view.result_html(found) if found else view.gone_html(asked["name"]), **parts},
        }
    if job is None:
        return show()
    if asked["do"] == "stop":
        job.stop()
    return _answer(job, listed=asked["do"] == "again")


def choose(event: gr.EventData) -> tuple:
    """Inputs: an import. Outputs: the views, with the photos in front where that was asked for; the photos
    chosen; the upload, empty where it is in.
    """
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
    """Inputs: the photos that are chosen, an import. Outputs: all others; the photos chosen, others where it
    was these.
    """
    name = understood(event.value)["name"]
    imports.remove(name)
    chosen: dict[str, Any] = {"value": BEANS} if IMPORT + name in (source or "") else {}
    answer, told = _answer(None), _told_once(lambda: view.removed_html(name))
    return {**answer, **told, "parts": {**answer["parts"], **told["parts"]}}, gr.update(
        choices=sources(), **chosen
    )


def understood(text: Any) -> dict[str, Any]:
    """What a page sends; whatever is not as it should be is as in NOTHING. told: (option, value) pairs."""
    asked = values_of(text, NOTHING)
    pairs = [pair for pair in asked["told"][:MOST_TOLD] if isinstance(pair, list) and len(pair) == 2]
    asked["told"] = [tuple(str(part)[:MOST_LETTERS] for part in pair) for pair in pairs]
    return asked


def _understood(paths: list[Path], told: list[tuple[str, str]]) -> dict:
    """How files are understood, as the script takes it: at once, or that it is still being worked out. told:
    what was said of them.
    """
    key = bring_jobs.key_of(paths)
    try:
        job = bring_jobs.look(key, corrections_of(told), functools.partial(_as_source, paths))
    except UserError as error:  # what was said cannot be
        job = bring_jobs.refused(error)
    job.wait(QUICK)
    found = job.result
    # Numbered, since the browser takes no notice of an answer that is the same as the one before.
    state = {"of": key, "told": told, "going": job.is_going, "turn": next(_turns)}
    if job.is_going:
        return {"plan": state, "parts": {"looking": plan_html.looking_html(job)}}
    state |= {"ready": found is not None and found.may_begin, "asked": found is not None and found.is_asked}
    shown = plan_html.failed_html(job) if found is None else plan_html.plan_html(found, told)
    return {"plan": state, "parts": {"looking": "", "plan": shown}}


@contextlib.contextmanager
def _as_source(paths: list[Path]) -> Iterator[Path]:
    """The folder or archive that uploaded files are, as long as it is looked at. Raises UserError."""
    archive = source_of(paths, "")
    if isinstance(archive, Path):
        yield archive
        return
    folder = _together(paths, proposed_name(paths))
    try:
        yield next(folder.iterdir())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def source_of(paths: list[Path], label: str) -> Path | Files | None:
    """What ``imports.start`` takes; None for a table or parquet files, which are to be put into one folder
    with all others.

    Raises UserError with what to do. A table by itself could name any file of this computer, so it is taken
    only with its photos.
    """
    if not paths:
        raise UserError("error.data_tab.no_files")
    if not all(path.is_file() for path in paths):
        raise UserError("error.data_tab.upload_gone")
    if len(paths) == 1 and archives.is_archive(paths[0]):
        return paths[0]
    if any(map(archives.is_archive, paths)):
        raise UserError("error.data_tab.one_archive")
    if _only_photos(paths):
        return Files(tuple(paths), clean_label(label))
    if all(map(tables.is_table, paths)):
        raise UserError("error.data_tab.table_alone")
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
    free = (
        number
        for number in range(1, len(taken) + 2)
        if (f"{name}-{number}" if number > 1 else name).casefold() not in taken
    )
    number = next(free)
    return f"{name}-{number}" if number > 1 else name


def _only_photos(paths: list[Path]) -> bool:
    """Whether nothing among the files says what they show."""
    return not any(
        archives.is_archive(path) or tables.is_table(path) or path.suffix.lower() == PARQUET for path in paths
    )


def _together(paths: list[Path], name: str) -> Path:
    """A new folder that holds one, called like the data set, with all files in it: a table names the photos
    beside it.
    """
    folder = Path(tempfile.mkdtemp(prefix="vit_demo-brought-"))
    try:
        inside = folder / (re.sub(r"[^\w-]+", "-", name)[:60] or "photos")
        inside.mkdir()
        for path in paths:
            try:
                os.link(path, inside / path.name)
            except OSError:
                # Another disk, or one without links; of two files of one name the second stays.
                shutil.copyfile(path, inside / path.name)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError("error.data_tab.not_together", why=error.strerror) from None
    return folder


def _clear(job: Job, paths: list[Path], folder: Path | None) -> None:
    """When an import has ended: no photo need be on the disk twice. What failed can be started again without
    another upload.
    """
    job.wait()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    if job.state is JobState.DONE:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()


def _told_once(told: Callable[[], str]) -> dict:
    """What is said at the head and cannot be asked for again, so the script has it in all languages."""
    heads = {}
    for language in LANGUAGES:
        with speaking(language):
            heads[language] = told()
    return {"heads": heads, "parts": {"head": heads[current_language()]}}


def _answer(job: Job | None, listed: bool = False) -> dict:
    """As the script takes it. listed: whether to send the list of all also while an import runs, which does
    not change it.
    """
    head = view.progress_html(job) if job and job.is_going else view.ended_html(job) if job else ""
    told = {"name": job.key, "stage": JobState.RUNNING if job.is_going else job.state} if job else None
    if job and job.is_going and not listed:
        return {"job": told, "parts": {"head": head}}
    known = imports.list_imports()
    return {
        "job": told,
        "known": [one.name for one in known],
        "parts": {"head": head, "list": view.list_html(known)},
    }
