"""Data: what is wrong with the photos, and mending it.

The server keeps nothing for a page: what is shown travels with each answer and back, and
assets/theme/check.js draws it. The photos are read in the background by ``data.checkup``, the decisions stand
in the journal of the source, so both are found again after a reload.
"""

from __future__ import annotations

import base64
import functools
import io
import itertools
import shutil
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence, say
from vit_demo.data.checks import checkup
from vit_demo.data.checks.checks import CHECKS
from vit_demo.data.checks.finding import Finding
from vit_demo.data.checks.findings import find, rare_classes
from vit_demo.data.corrections.decided import fingerprint, mend
from vit_demo.data.corrections.journal import Decision, Journal, journal_of
from vit_demo.data.names import BEANS, MENDED, REVIEW
from vit_demo.data.open.sources import open_dataset
from vit_demo.data.output import export
from vit_demo.data.output.push import push
from vit_demo.figures.overlay import shrink
from vit_demo.photos.safe_open import decode
from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import Speech
from vit_demo.ui.tabs.data import check_html as view
from vit_demo.ui.tabs.data.check_html import Choices, Shown
from vit_demo.ui.tabs.data.opened import Opened, learn_findings, open_source, opened
from vit_demo.ui.tabs.data.sent import values_of
from vit_demo.ui.tabs.data.stage import build_stage

EMPTY = {"kinds": "", "one": "", "undo": "", "export": "", "journal": ""}
# What a page sends, and what it is where it is not as it should be.
NOTHING = {
    "do": "",
    "to": "",
    "photo": 0,
    "number": 0,
    "open": False,
    "source": "",
    "opened": "",
    "check": "",
    "kind": "",
    "at": 0,
    "photos": [],
}
# Longest side in pixels of the photos of a finding. Data sets whose findings are kept, and zips.
SIDE, KEEP = 720, 4
# How many people may be answered at the same time; others wait.
AT_ONCE = 4
_turns = itertools.count()
# Of the zips that were made, the oldest first.
_folders: deque[Path] = deque()
# Run in the browser: the photos where the view is being looked at, else nothing.
IF_OPEN = "(source, model) => [document.getElementById('data-check')?.offsetParent ? source : null, model]"


def build(
    speech: Speech, tab: gr.Tab, source: gr.Dropdown, model: gr.Dropdown, opens: Sequence[Callable]
) -> gr.HTML:
    """Lay out the view. Inputs: the speech of the page; its tab; the photos that are chosen, the model in
    use; events that open other photos.

    Of what it returns ``submit`` is "train on this", see :func:`train_on`.
    """
    stage = build_stage(speech, "check", elem_id="data-check")
    file = gr.DownloadButton(say("data.check.download"), visible=False, elem_id="data-check-file")
    made = gr.State(
        None
    )  # what is downloaded: the label of the button, which is said anew in another language
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    # multiple: no press of a button may be lost while the answer to another is under way.
    stage.select(polite(act), model, stage, trigger_mode="multiple", concurrency_limit=AT_ONCE, **quiet)
    stage.download(polite(hand_out), None, [file, made], api_visibility="private")
    speech.retells(lambda label: gr.update(label=str(label)) if label else gr.skip(), [made], [file])
    tab.select(show, [source, model], stage, **quiet)
    for event in opens:
        event(show, [source, model], stage, js=IF_OPEN, **quiet)
    return stage


def show(source: str | None, model: str) -> dict:
    """Inputs: source, None where the view is not looked at; model in use. Outputs: what is known of these
    photos by now.
    """
    if source is None:
        return gr.skip()
    try:
        source = checked(source)
        one, classifier = open_source(source), get_classifier(model)
        key = _key(one, classifier.checkpoint.folder)
        if checkup.JOBS.find(key) is None and checkup.kept(key):
            checkup.start(one.catalogue.data, classifier)
    except UserError as error:  # said in the place of what other photos were found to have
        return {
            "asked": {"source": source, "turn": next(_turns)},
            "parts": {**EMPTY, "head": view.refused_html(error)},
        }
    return _page(one, {**NOTHING, "source": source, "opened": one.key, "check": key})


def act(model: str, event: gr.EventData) -> dict:
    """Inputs: model in use, what was pressed and what is shown. Outputs: what to show now."""
    asked = understood(event.value)
    if not asked["opened"]:  # refused, which is to be said in another language
        return show(asked["source"], model)
    one = opened(asked["source"], asked["opened"])
    asked["opened"] = one.key
    if asked["do"] == "start":
        asked["check"] = checkup.start(one.catalogue.data, get_classifier(model)).key
    elif asked["do"] == "stop" and (job := checkup.JOBS.find(asked["check"])):
        job.stop()
    elif asked["do"] in ("keep", "exclude", "relabel", "move"):
        _decide(one, asked)
    elif asked["do"] == "undo":
        undone = journal_of(asked["source"]).undo(asked["number"] or None)
        if not asked["number"]:  # it is seen again, to be decided anew
            asked |= {"kind": undone.why, "photos": [undone.photo]}
    elif asked["do"] in ("back", "next"):
        asked["at"] += 1 if asked["do"] == "next" else -1
    elif asked["do"] == "kind":
        asked |= {"kind": asked["to"], "at": 0}
    return _page(one, asked)


def train_on(event: gr.EventData) -> str:
    """Inputs: what is shown. Outputs: the name by which a run opens these photos as they are mended."""
    return MENDED + checked(understood(event.value)["source"])


def hand_out(event: gr.EventData) -> tuple:
    """As :func:`export_photos`, with the label of the button as it is said in any language."""
    update = export_photos(event)
    file = Path(update["value"]) if "value" in update else None
    return update, gr.skip() if file is None else _label(file)


def _label(file: Path) -> Sentence:
    return Sentence("data.check.download_named", {"name": file.name, "megabytes": file.stat().st_size / 1e6})


def export_photos(event: gr.EventData) -> dict:
    """Inputs: what was pressed and what is shown. Outputs: the button that downloads the mended set, as a
    zip.
    """
    asked = understood(event.value)
    data = open_dataset(MENDED + checked(asked["source"]))
    if asked["do"] == "push":
        if not may_push():
            raise UserError("error.data_tab.may_not_push")
        gr.Info(say("data.check.pushed", where=push(data, asked["to"].strip())), duration=None)
        return gr.skip()
    file = zipped(data, asked["do"])
    return gr.update(value=str(file), label=str(_label(file)), visible=True)


def zipped(data: Any, kind: str) -> Path:
    """The data set as a zip in a folder of its own. kind: one of export.FORMATS."""
    folder = Path(tempfile.mkdtemp(prefix="vit_demo-mended-"))
    _folders.append(folder)
    while len(_folders) > KEEP:  # the page has its own copy of each by then
        shutil.rmtree(_folders.popleft(), ignore_errors=True)
    file = folder / f"mended-{kind}.zip"
    try:
        export.export(data, folder / "photos", kind)
        with zipfile.ZipFile(file, "w") as archive:  # stored: photos and parquet are packed already
            for part in sorted(path for path in (folder / "photos").rglob("*") if path.is_file()):
                archive.write(part, part.relative_to(folder / "photos"))
    except OSError as error:
        raise UserError("error.data_tab.zip", why=error.strerror) from None
    finally:
        shutil.rmtree(folder / "photos", ignore_errors=True)
    return file


def may_push() -> bool:
    """Only where no strangers use the page, since it is done in the name of who started it."""
    from huggingface_hub import get_token

    return settings.load().review and get_token() is not None


def checked(source: str) -> str:
    """The photos that decisions are about: a mended set is checked by its source. Raises UserError where they
    cannot be handed on.
    """
    source = (source or "").strip().removeprefix(MENDED).strip() or BEANS
    # "mended:beans + review" is the mended beans and the review set as it is: decisions about both together
    # would be lost.
    if "+" in source and source.rpartition("+")[2].strip() == REVIEW:
        raise UserError(
            "error.data_tab.two_sources", source=source.rpartition("+")[0].strip() or BEANS, review=REVIEW
        )
    return source


def understood(text: Any) -> dict:
    """What a page sends; whatever is not as it should be is as in NOTHING."""
    asked = values_of(text, NOTHING)
    asked["photos"] = [
        tuple(map(str, photo)) for photo in asked["photos"] if isinstance(photo, list) and len(photo) == 2
    ]
    return asked


def _decide(one: Opened, asked: dict) -> None:
    """Write it into the journal: about the photo that was pressed, and for a pair that both were kept."""
    photos, number, action = asked["photos"], asked["photo"], asked["do"]
    if not 0 <= number < len(photos) or _position(one, photos[number]) is None:
        raise UserError("error.data_tab.photo_gone")
    if action in ("relabel", "move") and asked["to"] not in (
        one.catalogue.labels if action == "relabel" else one.catalogue.splits
    ):
        raise UserError("error.data_tab.no_choice")
    to = (
        asked["to"]
        if action in ("relabel", "move")
        else "/".join(photos[1])
        if action == "keep" and len(photos) > 1
        else ""
    )
    journal_of(asked["source"]).decide(action, photos[number], to, asked["kind"])


def _position(one: Opened, photo: tuple[str, str]) -> int | None:
    """Its place in the catalogue."""
    found = np.flatnonzero(one.catalogue.lookup([photo[0]], [photo[1]]) == 0)
    return int(found[0]) if len(found) and one.catalogue.place(int(found[0]))[0] == photo[0] else None


@functools.lru_cache(maxsize=KEEP)
def _key(one: Opened, model: Path) -> str:
    return checkup.key_of(one.catalogue.data, model)


def _page(one: Opened, asked: dict) -> dict:
    """All parts, as the script takes them."""
    job = checkup.JOBS.find(asked["check"])
    # Numbered, since the browser takes no notice of an answer that is the same as the one before.
    shown = {name: asked[name] for name in ("source", "opened", "check", "kind", "at")} | {
        "photos": [],
        "reading": False,
        "turn": next(_turns),
    }
    if job is not None and job.is_going:
        return {
            "asked": shown | {"reading": True},
            "parts": {**EMPTY, "head": view.progress_html(job.done, job.total)},
        }
    if job is None or job.result is None:
        return {
            "asked": shown,
            "parts": {**EMPTY, "head": view.start_html(len(one.catalogue), job.error if job else "")},
        }
    journal = journal_of(asked["source"])
    state, decisions = journal.state(), journal.decisions()
    known = _known(one, job.key, journal.name, state)
    learn_findings(one, known.found, job.result.photos)
    finding, at, count = _chosen(known.found, asked)
    photos = [_shown(one, photo, decisions) for photo in finding.photos] if finding else []
    shown |= {"kind": finding.kind if finding else "", "at": at, "photos": finding.photos if finding else []}
    mark = _mark(one, journal.name, state) if asked["open"] and asked["do"] == "journal" else ""
    return {
        "asked": shown,
        "parts": {
            "head": view.imbalance(known.rare, known.largest),
            "kinds": view.kinds_html(known.found, shown["kind"], len(job.result.photos), job.result.total),
            "one": view.finding_html(
                finding, at, count, photos, Choices(one.catalogue.labels, one.catalogue.splits)
            ),
            "undo": view.undo_html(decisions),
            "export": view.export_html(decisions, may_push()),
            "journal": view.journal_html(decisions, asked["open"], mark),
        },
    }


@dataclass(frozen=True)
class CheckResult:
    """found: what is wrong with the photos as they are decided by now. rare: classes with few train photos.
    largest: the one with most, and how many.
    """

    found: tuple[Finding, ...]
    rare: dict[str, int]
    largest: tuple[str, int]


@functools.lru_cache(maxsize=KEEP)
def _known(one: Opened, key: str, name: str, _state: tuple) -> CheckResult:
    """_state: of the journal, so that it is worked out again after each decision."""
    decisions = Journal(name).decisions()
    data = one.catalogue.data
    try:
        mended = mend(data, decisions)
    except UserError:  # a split is left without photos; the fingerprint says so
        mended = data
    counts = np.bincount(np.asarray(mended["train"]["labels"]), minlength=len(one.catalogue.labels))
    largest = one.catalogue.labels[int(counts.argmax())], int(counts.max())
    job = checkup.JOBS.find(key)
    assert job is not None and job.result is not None  # _page has just looked
    return CheckResult(tuple(find(job.result, data, decisions)), rare_classes(mended), largest)


@functools.lru_cache(maxsize=KEEP)
def _mark(one: Opened, name: str, _state: tuple) -> Sentence:
    try:
        return Sentence(
            "data.check.mark", {"mark": fingerprint(mend(one.catalogue.data, Journal(name).decisions()))}
        )
    except UserError as error:
        return error.sentence


def _chosen(found: Sequence[Finding], asked: dict) -> tuple[Finding | None, int, int]:
    """(the finding to show, its number in its kind, how many there are): of the kind that was looked at, else
    of the first that is sure.
    """
    kinds = {finding.kind for finding in found}
    sure = {finding.kind for finding in found if finding.sure}
    kind = (
        asked["kind"]
        if asked["kind"] in kinds
        else next((kind for kind in CHECKS if kind in (sure or kinds)), "")
    )
    of_kind = [finding for finding in found if finding.kind == kind]
    if not of_kind:
        return None, 0, 0
    at = asked["at"]
    if asked["do"] == "undo" and asked["photos"]:
        at = next(
            (number for number, finding in enumerate(of_kind) if asked["photos"][0] in finding.photos), at
        )
    at = min(max(at, 0), len(of_kind) - 1)
    return of_kind[at], at, len(of_kind)


def _shown(one: Opened, photo: tuple[str, str], decisions: Sequence[Decision]) -> Shown:
    """A photo with the label and split that it has by now."""
    position = _position(one, photo)
    assert position is not None  # what is found is found in these photos
    given = {decision.action: decision.to for decision in decisions if decision.photo == photo}
    label = given.get("relabel") or one.catalogue.label(position)
    return Shown(
        given.get("move") or photo[0], photo[1], label, _picture(one.catalogue.stored([position])[0])
    )


def _picture(stored: dict) -> str:
    """As a data URI, "" for a broken file."""
    image = decode(stored)
    if image is None:
        return ""
    out = io.BytesIO()
    shrink(image, SIDE).save(out, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
