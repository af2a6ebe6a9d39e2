"""What is understood of an upload, in HTML: a tree of the photos, what is left out, and what can be said
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from vit_demo.common.jobs import Job
from vit_demo.common.words import Sentence, capital, say
from vit_demo.data.plan.plan import Choice
from vit_demo.ui.shared.html import render
from vit_demo.ui.tabs.data.bring_jobs import Understood

# What can be said of a table or a parquet file beside the choices of the plan.
COLUMNS = ("label-column", "image-column", "encoding")
# Of classes, folders and files so many are named; the rest is counted. A split of more classes is folded.
MOST_ROWS, MOST_OPEN = 200, 12
_ABOUT_COLUMNS = (
    "error.data.plan.several_columns",
    "error.data.plan.no_column",
    "error.data.plan.no_encoding",
    "error.data.plan.not_encoding",
)
Told = Sequence[tuple[str, str]]


def looking_html(job: Job[Understood]) -> str:
    """While the files are looked through."""
    return render("data/plan#looking", seen=say("data.bring.looked", count=job.done) if job.done else "")


def failed_html(job: Job[Understood]) -> str:
    """Where looking through the files failed."""
    return render("data/bring#failed", why=job.error)


def plan_html(found: Understood, told: Told) -> str:
    """What was understood. told: what was said of it so far."""
    said = dict(told)
    if found.refused is not None:
        columns = _columns(said) if _is_about_columns(found, said) else []
        return render("data/plan#refused", why=found.refused, columns=columns, told=_told(found, told))
    questions = [choice for choice in found.choices if choice.is_open]
    return render(
        "data/plan#plan",
        questions=[_choice(choice) for choice in questions],
        choices=[_choice(choice) for choice in found.choices if not choice.is_open],
        nothing=_nothing(found),
        splits=[_split(split, counts) for split, counts in found.photos.items()],
        will_cut=_will_cut(found.to_cut) if found.photos else "",
        unlabelled=_unlabelled(found.unlabelled),
        files=_files(found.files),
        notes=[_note(note) for note in found.notes],
        left_out=[{"key": one.why, "name": one.name} for one in found.left_out],
        left_out_count=found.left_out_count,
        columns=_columns(said) if _is_about_columns(found, said) else [],
        told=_told(found, told),
    )


def _is_about_columns(found: Understood, said: Mapping[str, str]) -> bool:
    """Whether there are columns that could be named: not among folders of photos alone."""
    if any(name in said for name in COLUMNS):
        return True
    if found.refused is not None:
        return found.refused.key in _ABOUT_COLUMNS
    return found.kind != "folders" or any(one.why == "data.left_out.table" for one in found.left_out)


def _nothing(found: Understood) -> Sentence | None:
    """Why there is nothing to take in."""
    if found.photos or found.files:
        return None
    if found.unlabelled:
        return Sentence("error.data.plan.only_unlabelled", {"source": found.name})
    return Sentence("data.bring.nothing_found")


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "option": choice.option,
        "title": choice.sentence,
        "value": choice.value,
        "values": [(value, capital(str(text))) for value, text in choice.values],
    }


def _split_title(split: str) -> str:
    return capital(say(f"data.plan.split.{split}" if split else "data.bring.no_split"))


def _split(split: str, counts: Mapping[str, int]) -> dict[str, Any]:
    photos = say("data.photos", count=sum(counts.values()))
    title = say(
        "data.bring.in_split",
        split=_split_title(split),
        photos=photos,
        classes=say("data.classes", count=len(counts)),
    )
    return {
        "fold": f"split {split}",
        "title": title,
        "is_open": len(counts) <= MOST_OPEN,
        **_rows([(label, f"{count:,}") for label, count in counts.items()]),
    }


def _unlabelled(places: Mapping[str, int]) -> dict[str, Any] | None:
    if not places:
        return None
    rows = [(place or say("data.bring.top"), f"{count:,}") for place, count in places.items()]
    photos = say("data.photos", count=sum(places.values()))
    return {"title": say("data.bring.unlabelled", photos=photos), **_rows(rows)}


def _files(files: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    if not files:
        return None
    rows = [(path, _split_title(split)) for path, split in files]
    return {"title": say("data.bring.holding", count=len(files)), **_rows(rows)}


def _rows(rows: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {"rows": list(islice(rows, MOST_ROWS)), "more": max(0, len(rows) - MOST_ROWS)}


def _will_cut(splits: Sequence[str]) -> str:
    titles = [say(f"data.plan.split.{split}") for split in splits]
    if len(titles) > 1:
        return say("data.bring.will_cut_two", first=titles[0], second=titles[1])
    return say("data.bring.will_cut_one", split=titles[0]) if titles else ""


def _note(note: Sentence) -> dict[str, Any]:
    """A note, with the correction that it asks for."""
    same = note.values if note.key == "data.plan.near" else None
    return {"text": str(note), "option": f"class:{same['other']}" if same else "", "to": same and same["one"]}


def _columns(said: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(option, what it is, what was said of it) of each column that can be named."""
    return [(name, say(f"data.bring.columns.{name}"), said.get(name, "")) for name in COLUMNS]


def _told(found: Understood, told: Told) -> list[tuple[str, str]]:
    """(option, in words) of what was said and no choice of the plan shows."""
    shown = {choice.option for choice in found.choices} | set(COLUMNS)
    return [(option, _in_words(option, value)) for option, value in told if option not in shown]


def _in_words(option: str, value: str) -> str:
    kind, _, name = option.partition(":")
    if kind != "class":
        return f"{option} = {value}"
    return (
        say("data.bring.told_apart", name=name)
        if name == value
        else say("data.bring.told_one", name=name, other=value)
    )
