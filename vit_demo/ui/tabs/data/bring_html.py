"""Photos that are brought in, in words and HTML: how far an import is, what became of it, and all imports."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from vit_demo.common.jobs import Job, JobState
from vit_demo.common.words import Sentence, label_title, say
from vit_demo.data.importing.gather import left_out
from vit_demo.data.importing.imports import Imported
from vit_demo.data.names import SPLITS
from vit_demo.ui.shared.components import table
from vit_demo.ui.shared.html import render
from vit_demo.ui.tabs.data.check_html import listed

# So many files that were left out are named; the rest is counted.
NAMED = 200


def progress_html(job: Job) -> str:
    """While an import runs."""
    progress = job.progress
    if progress.share == 1:
        told = say("data.bring.splitting", count=progress.done)
    elif progress.seen:
        key = "data.bring.seen_of" if progress.total else "data.bring.seen"
        told = say(key, seen=progress.seen, total=progress.total, photos=_photos(progress.done))
        if progress.of_bytes:
            told = (
                f"{told} {say('data.bring.read', read=progress.bytes / 1e6, total=progress.of_bytes / 1e6)}"
            )
    else:
        told = say("data.bring.opening")
    return render("data/bring#progress", name=job.key, told=told, share=progress.share)


def ended_html(job: Job) -> str:
    """What became of an import; "" where its photos are removed again."""
    if job.state is JobState.DONE:
        return result_html(job.result) if job.result is not None and job.result.folder.is_dir() else ""
    return (
        failed_html(job.error)
        if job.state is JobState.FAILED
        else render("data/bring#told", sentence=say("data.bring.cancelled"))
    )


def failed_html(why: object) -> str:
    """Why there is no import. why: a sentence."""
    return render("data/bring#failed", why=why)


def gone_html(name: str) -> str:
    """Where an import is not there any more."""
    return failed_html(say("data.bring.gone", name=name))


def removed_html(name: str) -> str:
    """When an import was deleted."""
    return render("data/bring#told", sentence=say("data.bring.removed", name=name))


def result_html(found: Imported) -> str:
    """What is in an import now, and what was left out."""
    classes = sorted({label for counts in found.counts.values() for label in counts})
    splits = [split for split in SPLITS if split in found.counts]
    rows = [
        [label_title(label), *(f"{found.counts[split].get(label, 0):,}" for split in splits)]
        for label in classes
    ]
    return render(
        "data/bring#result",
        name=found.name,
        next=_next(found, len(classes)),
        notes=found.said,
        facts=table([say("data.bring.class"), *splits], rows),
        sentence=say(
            "data.bring.in",
            count=found.photos,
            photos=_photos(found.photos),
            classes=say("data.classes", count=len(classes)),
        ),
        skipped=[_skipped(entry) for entry in found.skipped[:NAMED]],
        skipped_count=found.skipped_count,
        may_see=len(classes) > 1,
    )


def _photos(count: int) -> str:
    return say("data.photos", count=count)


def _skipped(entry: dict[str, Any]) -> dict[str, Any]:
    """Why a file was left out, as the template takes it: a key and its values, or as earlier versions of the
    program kept it in English.
    """
    said = left_out(entry)
    if isinstance(said, Sentence):
        return {"key": said.key, "values": said.values, "name": said.values["name"], "why": ""}
    return {"key": "", "values": {}, "name": entry["name"], "why": entry["why"]}


def _next(found: Imported, classes: int) -> str:
    """How the photos were split, or what is missing before anything can be learned from them."""
    if classes < 2:
        return say("data.bring.second_class")
    if found.cut and len(found.counts) == 1:
        return say("data.bring.too_few")
    if len(found.cut) > 1:
        told = say("data.bring.cut_two", first=found.cut[0], second=found.cut[1])
    else:
        told = say("data.bring.cut_one", split=found.cut[0]) if found.cut else say("data.bring.came_with")
    if not found.copies:
        return told
    return f"{told} {say('data.bring.copies_cut' if found.cut else 'data.bring.copies', count=found.copies)}"


def list_html(found: Sequence[Imported]) -> str:
    """All imports, each with what can be done with it."""
    return render("data/bring#imports", rows=[(one.name, _about(one), _photos(one.photos)) for one in found])


def _about(one: Imported) -> str:
    classes = len({label for counts in one.counts.values() for label in counts})
    when = say("data.bring.date", date=datetime.fromtimestamp(one.time)) if one.time else ""
    origin = say("data.bring.from", source=one.origin) if one.source else ""
    return listed(
        filter(
            None,
            [
                _photos(one.photos),
                say("data.classes", count=classes),
                _size(one.folder, one.time),
                when,
                origin,
            ],
        )
    )


@functools.lru_cache(maxsize=256)
def _size(folder: Path, _time: float) -> str:
    """Of all photos on the disk. _time: of the import, so that it is counted anew after photos were added."""
    found = 0
    for file in folder.glob("*/*/*"):
        with contextlib.suppress(OSError):  # removed just now
            found += file.stat().st_size
    return f"{found / 1e6:,.1f} MB"
