"""The answers for many photos on the page: a job that fills with rows, and its table in HTML, fifty rows at a
time, in the current language.
"""

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
from pathlib import Path
from typing import cast

from markupsafe import Markup

from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, Jobs, JobState
from vit_demo.common.words import current_language, say
from vit_demo.diagnose.batch import Answer, Ask, Item, as_dict, diagnose_batches, walk
from vit_demo.diagnose.diagnosis import Refusal, diagnose_files
from vit_demo.diagnose.results import COLUMNS, csv_row
from vit_demo.model.abstention import Verdict
from vit_demo.model.classifier import LeafClassifier
from vit_demo.photos.safe_open import decode
from vit_demo.ui.shared.html import render
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
        return (
            self.answer.verdict
            if self.answer.verdict in (UNSURE, NOT_KNOWN)
            else f"{CLASS}{self.answer.label}"
        )


@dataclass
class ManyPhotos(Job[None]):
    """Photos that one person sent, of ``total`` in all. kind, page: what of the table is looked at. left:
    seconds until the end, as it looks.

    saved: the files to take away, made once it has ended.
    """

    key: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    classifier: LeafClassifier = field(kw_only=True)
    files: list[str] = field(default_factory=list)
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
        """Diagnose all, or until it is told to stop; comes back after each batch. Raises UserError for a
        broken archive, or too many.
        """
        self.total = sum(1 for _ in self.items())
        if self.total == 0:
            raise UserError("diagnose.many_none")
        if self.total > MOST:
            raise UserError("diagnose.many_too_many", total=self.total, most=MOST)
        self.state, start = JobState.RUNNING, time.monotonic()
        asking = cast(Ask, lambda paths: diagnose_files(self.classifier, paths))
        for batch in diagnose_batches(asking, self.items(), thumbnail):
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
    assert small is not None  # it could be decoded to be diagnosed
    small.thumbnail((THUMB, THUMB))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=70)
    return base64.b64encode(out.getvalue()).decode()


def find(job_id: str) -> ManyPhotos | None:
    """The job of this id."""
    return cast("ManyPhotos | None", JOBS.find(job_id))  # no others are added


def save(job: ManyPhotos) -> tuple[str, str]:
    """Files with all rows of a job that has ended: CSV as the command line writes it, and a JSON list."""
    if job.saved is None:
        folder = Path(tempfile.mkdtemp(prefix="vit_demo-many-"))
        columns = [*COLUMNS, *(f"score_{label}" for label in job.classifier.labels)]
        with (folder / "leaves.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(
                [columns, *(csv_row(row.answer, current_language(), columns) for row in job.rows)]
            )
        told = [as_dict(job.classifier, row.answer, current_language()) for row in job.rows]
        (folder / "leaves.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
        job.saved = str(folder / "leaves.csv"), str(folder / "leaves.json")
    return job.saved


def status_html(job: ManyPhotos) -> Markup:
    """How far it is: a bar and the time left, or how it ended."""
    done = len(job.rows)
    if not job.is_going:
        return render(
            "diagnose/many#status",
            text=say(
                "diagnose.many_done" if done == job.total else "diagnose.many_stopped",
                done=done,
                total=job.total,
            ),
        )
    if not done:
        return render("diagnose/many#status", text=say("diagnose.many_counting"))
    unit, number = (
        ("diagnose.many_seconds", job.left) if job.left < 90 else ("diagnose.many_minutes", job.left / 60)
    )
    text = say("diagnose.many_progress", done=done, total=job.total, left=say(unit, number=round(number)))
    return render("diagnose/many#progress", text=text, done=done, total=job.total)


def table_html(job: ManyPhotos) -> str:
    """How many there are of each kind, as buttons that choose one; the photos of the one chosen; buttons to
    turn the page.
    """
    if not job.rows:
        return ""
    view = View(job.classifier)
    counts = {
        ALL: len(job.rows),
        **{f"{CLASS}{label}": 0 for label in job.classifier.labels},
        UNSURE: 0,
        NOT_KNOWN: 0,
        REFUSED: 0,
    }
    for row in job.rows:
        counts[row.kind] += 1
    chosen = [row for row in job.rows if job.kind in (ALL, row.kind)]
    first = min(job.page, max(0, len(chosen) - 1) // PAGE) * PAGE
    return render(
        "diagnose/many#table",
        view=view,
        kinds=[(kind, _kind_name(view, kind), count) for kind, count in counts.items()],
        chosen=job.kind,
        rows=chosen[first : first + PAGE],
        page=first // PAGE,
        first=first + 1,
        last=min(first + PAGE, len(chosen)),
        total=len(chosen),
        size=PAGE,
    )


def _kind_name(view: View, kind: str) -> str:
    texts = {
        ALL: "diagnose.many_all",
        UNSURE: "diagnose.many_unsure",
        NOT_KNOWN: "diagnose.many_not_known",
        REFUSED: "diagnose.many_refused",
    }
    return say(texts[kind]) if kind in texts else view.title(kind.removeprefix(CLASS))
