"""What is said of a model that was tried on photos: the score, what is taken for what, the verdicts, and
photos.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import PurePath

import plotly.graph_objects as go
from markupsafe import Markup
from PIL import Image

from vit_demo.common.jobs import Job, JobState
from vit_demo.common.words import label_title, percent, say
from vit_demo.training.result.across import Across, PhotoVerdict, VerdictCount
from vit_demo.ui.shared.components import MANY_ROWS
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.runtext import duration
from vit_demo.ui.tabs.finetune.across_jobs import Tried, verdict_of
from vit_demo.ui.tabs.finetune.confusion_figure import confusion_figure
from vit_demo.ui.tabs.finetune.result_html import (
    MOST_CLASSES,
    class_table,
    confusion_table,
    note,
    picture_source,
)

# So many class names stand in a sentence.
NAMED = 12
VERDICTS = ("diagnosis", "unsure", "not_known")


def progress(job: Job[Tried]) -> Markup:
    """How far it is, as a bar with words."""
    counts = {"done": job.done, "total": job.total}
    spent = time.monotonic() - job.began
    if job.state is JobState.WAITING:
        text = say("train.across.waits")
    elif job.done and spent > 3:
        left = duration(spent / job.done * (job.total - job.done))
        text = say("train.across.done_left", time=left, **counts)
    else:
        text = say("train.across.done", **counts)
    return render("train/across#progress", text=text, share=job.done / job.total if job.total else 0)


def ended(job: Job[Tried]) -> Markup:
    """Why there is no answer, where it was stopped or failed."""
    if job.state is JobState.FAILED:
        return render("train/across#failed", error=job.error)
    return note(say("train.across.stopped", done=job.done, total=job.total))


def lost() -> Markup:
    """An answer that is gone, as after a restart of the server."""
    return note(say("train.across.lost"))


def about(tried: Tried) -> Markup:
    """The accuracy, or why there is none; which classes are which; what does not count."""
    found = tried.found
    score = found.scored
    lines = [say(f"train.across.{found.unscored}")] if found.unscored else []
    if score is not None:
        tally = found.tally
        lines.append(say("train.across.score", photos=score.n, right=_right(found)))
        if tally is not None:
            answered = {"count": tally.diagnosis, "right": tally.right, "silent": tally.n - tally.diagnosis}
            lines.append(say("train.across.answered", **answered))
    lines.append(_classes(found))
    if found.broken:
        lines.append(say("train.across.broken", count=found.broken))
    if not found.abstains:
        lines.append(say("train.across.never_silent"))
    lines += map(str, tried.notes)
    return render("train/across#about", score=score, lines=lines)


def _right(found: Across) -> int:
    score = found.scored
    return 0 if score is None else sum(row[number] for number, row in enumerate(score.confusion))


def _classes(found: Across) -> str:
    """Which classes were matched, are missing, are not known; "" where both have the same."""
    match = found.match
    lines = [
        say(f"train.across.{name}", classes=_listed(classes))
        for name, classes in (
            ("matched", [_pair(name, own) for name, own in match.matched.items()]),
            ("missing", list(map(label_title, match.missing))),
            ("unknown", list(map(label_title, match.unknown))),
        )
        if classes
    ]
    return " ".join(lines)


def _pair(name: str, own: str) -> str:
    return label_title(own) if label_title(name) == label_title(own) else f"{name} = {label_title(own)}"


def _listed(names: Sequence[str]) -> str:
    text = say("train.comma").join(names[:NAMED])
    more = len(names) - NAMED
    return say("train.across.and_more", names=text, count=more) if more > 0 else text


def shown_classes(found: Across) -> list[int]:
    """The model's class ids that the matrix is of: those of the photos, and those that the model said of
    them.
    """
    if found.scored is None:
        return []
    counts = found.scored.confusion
    return [number for number, row in enumerate(counts) if sum(row) or any(other[number] for other in counts)]


def matrix(found: Across, cell: str) -> Markup:
    """What is taken for what, over :func:`shown_classes`; "" where nothing was scored."""
    counts, labels = _small(found)
    if not counts:
        return Markup("")
    rows = [number for number, row in enumerate(counts) if sum(row)]
    return confusion_table(counts, labels, _cell(cell), rows)


def _small(found: Across) -> tuple[list[list[int]], list[str]]:
    classes = shown_classes(found)
    counts = found.scored.confusion if found.scored else []
    labels = [label_title(found.match.labels[number]) for number in classes]
    return [[counts[true][said] for said in classes] for true in classes], labels


def _cell(text: str) -> tuple[int, int]:
    """The cell that is marked; one that is none where none is."""
    first, _, second = text.partition(",")
    return (int(first), int(second)) if first.isdecimal() and second.isdecimal() else (-1, -1)


def picture(found: Across, key: str) -> go.Figure | None:
    """The matrix as a picture, of more classes than its table has room for; else None."""
    counts, labels = _small(found)
    return confusion_figure(counts, labels, key) if len(labels) > MOST_CLASSES else None


def classes(found: Across) -> Markup:
    """Precision, recall and F1 of each of :func:`shown_classes`."""
    if found.scored is None:
        return Markup("")
    told = found.scored.to_dict()
    return class_table({**told, "classes": [told["classes"][number] for number in shown_classes(found)]})


def verdicts(found: Across, cell: str) -> Markup:
    """A row for each class of the photos: how many got which verdict, as buttons that show them."""
    rows = [_row(number, count, cell) for number, count in enumerate(found.counts)]
    silent = sum(not photo.is_diagnosis for photo in found.photos)
    return render(
        "train/across#verdicts",
        rows=rows,
        abstains=found.abstains,
        silent=silent,
        chosen=not cell,
        long=len(rows) > MANY_ROWS,
    )


def _row(number: int, count: VerdictCount, cell: str) -> dict:
    numbers = dict(zip(VERDICTS, (count.diagnosed, count.unsure, count.not_known), strict=True))
    return {
        "title": count_title(count),
        "own": "" if count.own is None else label_title(count.own),
        "n": count.n,
        "said": _said(count),
        "cells": [
            {"count": n, "place": f"{number}:{verdict}", "chosen": cell == f"{number}:{verdict}"}
            for verdict, n in numbers.items()
        ],
    }


def count_title(count: VerdictCount) -> str:
    """What the photos of a row are called."""
    return say("train.across.no_label_row") if count.label is None else label_title(count.label)


def _said(count: VerdictCount) -> str:
    """How many diagnoses are right; where nothing is right or wrong, as what."""
    if count.right is not None:
        return say("train.across.right", count=count.right) if count.diagnosed else ""
    return _listed([f"{label_title(label)} {number}" for label, number in count.diagnosis.items()])


def photos_title(found: Across, cell: str, count: int, shown: int) -> Markup:
    """What photos are shown."""
    number, sign, verdict = cell.partition(":")
    if not cell:
        title = say("train.across.silent")
    elif sign:
        title = say(
            "train.across.photos_of",
            name=count_title(found.counts[int(number)]),
            verdict=say(f"train.across.{verdict}"),
        )
    else:
        _, labels = _small(found)
        true, said = (labels[place] for place in _cell(cell))
        title = say("train.result.cell", true=true, said=said, count=count)
    text = say("train.across.first", shown=shown, count=count) if shown < count else ""
    if not count:
        text = say("train.across.none_silent" if not cell else "train.across.none_here")
    return render("train/result#list_title", title=title, text=text)


def photos(found: Sequence[tuple[PhotoVerdict, Image.Image | None]]) -> Markup:
    """Photos with what is said of each; None is one that cannot be shown."""
    return render("train/across#photos", found=[_photo(*part) for part in found]) if found else Markup("")


def _photo(one: PhotoVerdict, picture: Image.Image | None) -> dict:
    said = say("train.result.photo.says", label=label_title(one.said), probability=percent(one.probability))
    return {
        "source": "" if picture is None else picture_source(picture),
        "verdict": say(f"train.across.{verdict_of(one)}"),
        "said": said,
        "label": "" if one.label is None else say("train.result.photo.is", label=label_title(one.label)),
        "name": PurePath(one.path.replace("\\", "/")).name or one.path,
    }
