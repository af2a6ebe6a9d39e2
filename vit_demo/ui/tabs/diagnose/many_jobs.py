"""The answers for many photos on the page: a job that fills with rows, and its table in HTML, fifty rows at a time."""

from __future__ import annotations

import base64
import csv
import io
import json
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, Jobs, JobState
from vit_demo.common.words import DEFAULT_LANGUAGE, joined, say
from vit_demo.diagnose.batch import Answer, Item, as_dict, diagnose_batches, walk
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal, diagnose_files
from vit_demo.diagnose.results import COLUMNS, csv_row
from vit_demo.model.abstention import Verdict
from vit_demo.model.classifier import LeafClassifier
from vit_demo.photos.safe_open import decode
from vit_demo.ui.shared.refusal import why_html
from vit_demo.ui.tabs.diagnose.answer_html import View

PAGE = 50
# More would take the memory of a small server, and hours of one; the command line has no limit.
MOST = 5000
# How many jobs are kept, each with at most MOST rows of about 2 kB.
KEEP = 12
THUMB = 72  # pixels
ALL, REFUSED, CLASS = "all", "refused", "class:"
UNSURE, NOT_KNOWN = Verdict.UNSURE, Verdict.NOT_KNOWN
JOBS: Jobs[None] = Jobs("many photos", KEEP)


@dataclass(frozen=True)
class Row:
    """One photo. thumb: a small JPEG as text; empty for a refused one."""

    answer: Answer
    thumb: str

    @property
    def kind(self) -> str:
        """What it is filtered by."""
        if isinstance(self.answer, Refusal):
            return REFUSED
        return self.answer.verdict if self.answer.verdict in (UNSURE, NOT_KNOWN) else f"{CLASS}{self.answer.label}"


@dataclass
class ManyPhotos(Job[None]):
    """Photos that one person sent, of ``total`` in all. kind, page: what of the table is looked at. left: seconds until the end, as it looks.

    saved: the files to take away, made once it has ended.
    """

    key: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    classifier: LeafClassifier | None = None
    files: list[str] = field(default_factory=list)
    language: str = DEFAULT_LANGUAGE
    rows: list[Row] = field(default_factory=list)
    kind: str = ALL
    page: int = 0
    left: float = 0.0
    saved: tuple[str, str] | None = None

    def items(self) -> Iterator[Item]:
        """The photos, by the names that they had where they come from."""
        for file in self.files:
            before = len(str(Path(file).parent)) + 1
            yield from (replace(item, name=item.name[before:]) for item in walk([file]))

    def run(self) -> Iterator[None]:
        """Diagnose all, or until it is told to stop; comes back after each batch. Raises UserError for a broken archive, or too many."""
        self.total = sum(1 for _ in self.items())
        if self.total == 0:
            raise UserError(say("diagnose.many_none", self.language))
        if self.total > MOST:
            raise UserError(say("diagnose.many_too_many", self.language, total=self.total, most=MOST))
        self.state, start = JobState.RUNNING, time.monotonic()
        for batch in diagnose_batches(lambda paths: diagnose_files(self.classifier, paths), self.items(), thumbnail):
            self.rows += [Row(answer, thumb or "") for answer, thumb in batch]
            if self.stop_asked.is_set():
                self.end(JobState.STOPPED)
                return
            self.left = (time.monotonic() - start) * (self.total - len(self.rows)) / len(self.rows)
            yield
        self.end(JobState.DONE)


def thumbnail(file: Path) -> str:
    """A photo that was just diagnosed, at most THUMB pixels a side, as the text of a JPEG."""
    small = decode({"bytes": None, "path": file}, (4 * THUMB) ** 2)
    small.thumbnail((THUMB, THUMB))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=70)
    return base64.b64encode(out.getvalue()).decode()


def save(job: ManyPhotos) -> tuple[str, str]:
    """Files with all rows of a job that has ended: CSV as the command line writes it, and a JSON list."""
    if job.saved is None:
        folder = Path(tempfile.mkdtemp(prefix="vit_demo-many-"))
        columns = [*COLUMNS, *(f"score_{label}" for label in job.classifier.labels)]
        with (folder / "leaves.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *(csv_row(row.answer, job.language, columns) for row in job.rows)])
        told = [as_dict(job.classifier, row.answer, job.language) for row in job.rows]
        (folder / "leaves.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
        job.saved = str(folder / "leaves.csv"), str(folder / "leaves.json")
    return job.saved


def status_html(job: ManyPhotos) -> str:
    """How far it is: a bar and the time left, or how it ended."""
    done, language = len(job.rows), job.language
    if not job.is_going:
        text = say("diagnose.many_done" if done == job.total else "diagnose.many_stopped", language, done=done, total=job.total)
        return f'<p class="many-status" role="status" lang="{language}">{escape(text)}</p>'
    if not done:
        return f'<p class="many-status" role="status" lang="{language}">{escape(say("diagnose.many_counting", language))}</p>'
    unit, number = ("diagnose.many_seconds", job.left) if job.left < 90 else ("diagnose.many_minutes", job.left / 60)
    left = say(unit, language, number=round(number))
    text = say("diagnose.many_progress", language, done=done, total=job.total, left=left)
    return (
        f'<p class="many-status" lang="{language}">{escape(text)}</p>'
        f'<div class="progress" role="progressbar" aria-label="{escape(text)}" aria-valuenow="{done}" aria-valuemax="{job.total}">'
        f'<div style="width:{done / job.total:.1%}"></div></div>'
    )


def table_html(job: ManyPhotos) -> str:
    """How many there are of each kind, as buttons that choose one; the photos of the one chosen; buttons to turn the page."""
    if not job.rows:
        return ""
    view = View(job.classifier, job.language)
    counts = {ALL: len(job.rows), **{f"{CLASS}{label}": 0 for label in job.classifier.labels}, UNSURE: 0, NOT_KNOWN: 0, REFUSED: 0}
    for row in job.rows:
        counts[row.kind] += 1
    chosen = [row for row in job.rows if job.kind in (ALL, row.kind)]
    first = min(job.page, max(0, len(chosen) - 1) // PAGE) * PAGE
    shown = "".join(_row_html(view, row) for row in chosen[first : first + PAGE])
    if not shown:
        shown = f'<li>{view.say("diagnose.many_nothing")}</li>'
    buttons = "".join(_button(f"kind:{kind}", f"{_kind_name(view, kind)} <b>{count}</b>", kind == job.kind) for kind, count in counts.items())
    pager = _pager(view, first, len(chosen))
    return f'<div class="many" lang="{job.language}"><div class="many-kinds">{buttons}</div><ul class="many-rows">{shown}</ul>{pager}</div>'


def _kind_name(view: View, kind: str) -> str:
    texts = {ALL: "diagnose.many_all", UNSURE: "diagnose.many_unsure", NOT_KNOWN: "diagnose.many_not_known", REFUSED: "diagnose.many_refused"}
    return view.say(texts[kind]) if kind in texts else escape(view.title(kind.removeprefix(CLASS)))


def _button(value: str, content: str, pressed: bool | None = None, disabled: bool = False) -> str:
    state = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    return f'<button type="button" data-many="{escape(value)}"{state}{" disabled" if disabled else ""}>{content}</button>'


def _row_html(view: View, row: Row) -> str:
    answer = row.answer
    name = f'<span class="many-name">{escape(answer.photo)}</span>'
    if isinstance(answer, Refusal):
        said = f'<b>{view.say("diagnose.many_refused")}</b><span class="many-why">{why_html(answer.error, view.language)}</span>'
        return f'<li class="many-refused"><span class="many-thumb"></span><div>{said}{name}</div></li>'
    warnings = "".join(f'<span class="many-why">{view.say(f"quality.{problem}")}</span>' for problem in answer.quality)
    picture = f'<img class="many-thumb" alt="" loading="lazy" src="data:image/jpeg;base64,{row.thumb}">'
    return f'<li>{picture}<div><b>{_said(view, answer)}</b>{warnings}{name}</div></li>'


def _said(view: View, answer: Diagnosis) -> str:
    """The answer in few words; no class is named where it is not known, and no probability where it is not sure."""
    if answer.verdict == NOT_KNOWN:
        return view.say("diagnose.not_known_label")
    if answer.verdict == UNSURE:
        return view.say("diagnose.either", labels=joined(map(view.name, answer.prediction_set), "diagnose.or", view.language))
    return f'{escape(view.title(answer.label))} <span class="many-share">{view.say("diagnose.probability", percent=view.percent(answer.probability))}</span>'


def _pager(view: View, first: int, total: int) -> str:
    if total <= PAGE:
        return ""
    last, page = min(first + PAGE, total), first // PAGE
    where = view.say("diagnose.many_page", first=str(first + 1), last=str(last), total=str(total))
    before = _button(f"page:{page - 1}", view.say("diagnose.many_before"), disabled=first == 0)
    after = _button(f"page:{page + 1}", view.say("diagnose.many_next"), disabled=last == total)
    return f'<div class="many-pages">{before}<span>{where}</span>{after}</div>'
