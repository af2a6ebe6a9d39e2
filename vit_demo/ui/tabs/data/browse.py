"""Data: the photos page by page, and each photo by itself.

One component for all of it: the server sends what is shown as plain values, assets/theme/browse.js draws them
and asks for more. What is asked for travels with each answer and back, so the server keeps nothing for a
page.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import gradio as gr
import numpy as np
from markupsafe import Markup

from vit_demo.common.errors import UserError
from vit_demo.common.words import label_title, percent, say
from vit_demo.data.browse import catalogue as browse
from vit_demo.data.browse.catalogue import FINE, Catalogue, Photo, Query
from vit_demo.data.browse.finding_columns import decided
from vit_demo.data.browse.thumbnails import thumbnails
from vit_demo.data.corrections.journal import journal_of
from vit_demo.data.names import BEANS, MENDED
from vit_demo.figures.overlay import shrink
from vit_demo.photos.quality import WARNINGS
from vit_demo.ui.shared.components import table
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.shared.speech import Speech
from vit_demo.ui.tabs.data.check_html import decided_words, found_title, found_words, listed, within
from vit_demo.ui.tabs.data.opened import Opened, open_source, opened, scored_runs, with_run
from vit_demo.ui.tabs.data.sent import values_of
from vit_demo.ui.tabs.data.stage import build_stage

PAGE = 24
# Letters that are searched for. Findings of one photo that are told.
MOST_TEXT, MOST_TOLD = 200, 6
# How many people may have a page made at the same time; others wait.
AT_ONCE = 4
# What is asked for when a data set is opened. photo: its number among those found, -1 for the page of all.
NOTHING = {
    "split": "",
    "label": "",
    "text": "",
    "run": "",
    "said": "",
    "right": "",
    "problem": "",
    "sort": "",
    "page": 0,
    "photo": -1,
}
# Orders, as ``catalogue.SORTS``, each with "-" for the other way round: of every data set, of what a run
# said, of numbers. "" is that of the data set.
SORTS = ("", "path", "-path", "label", "-label")
SORTS_OF_RUNS = ("-probability", "probability", "said")
SORTS_OF_NUMBERS = ("brightness", "-brightness", "sharpness", "-sharpness", "pixels", "-pixels")
# Keys of what the script says itself.
SAID = ("data.broken", "data.browse.called", "data.browse.which")


def build(speech: Speech) -> gr.HTML:
    """Lay out the view. Its ``select`` event asks for a page or a photo; :func:`look` answers it."""
    return build_stage(speech, "browse", SAID, elem_id="data-browse")


def first(one: Opened) -> dict:
    """The first page of a data set that was just opened, as the script takes it."""
    return _answer(one, {**NOTHING, "key": one.key}, "", fields=True)


def look(source: str, model: str, event: gr.EventData) -> dict:
    """Inputs: source, model, what the script asks for. Outputs: what it draws."""
    asked = understood(event.value)
    one = opened(source, asked["key"])
    # Another data set than the page has, since the server was started anew or a correction came in: its
    # labels may be others.
    fields = asked["fields"] or one.key != asked["key"]
    asked["key"] = one.key
    try:
        return _answer(one, asked, model, fields)
    except UserError as error:
        if not asked["run"]:
            raise
        without = {**NOTHING, **{name: asked[name] for name in ("key", "split", "label", "text")}}
        return {**_answer(one, without, model, fields=True), "note": str(error)}


def news(source: str | None) -> dict:
    """Inputs: source, None where no photos are shown yet. Outputs: what can be chosen by now; the script asks
    anew where the page offers less.
    """
    if source is None:
        return gr.skip()
    return {"runs": [run for run, _ in scored_runs()], "known": _known(open_source(source).catalogue)}


def understood(text: Any) -> dict:
    """What the script asks for; whatever is not as it should be is left as when the data set was opened."""
    return values_of(text, {**NOTHING, "key": "", "fields": False})


def _known(catalogue: Catalogue) -> str:
    """Changes with what is known of the photos themselves."""
    return f"{catalogue.known.problems is not None} {catalogue.known.turn}"


def _answer(one: Opened, asked: dict, model: str, fields: bool) -> dict:
    asked = {name: asked[name] for name in (*NOTHING, "key")}
    catalogue = with_run(one, asked["run"]) if asked["run"] else one.catalogue
    found = catalogue.find(query_of(asked))
    answer: dict[str, Any] = {}
    if fields:
        answer |= {"fields": _fields(catalogue, asked["problem"]), "known": _known(catalogue)}
        answer["notes"] = [str(note) for note in one.notes]
    if asked["photo"] >= 0 and len(found):
        asked["photo"] = min(asked["photo"], len(found) - 1)
        answer["photo"] = _photo(one.source, catalogue, int(found[asked["photo"]]), model)
        return {**answer, "asked": asked, "total": len(found), "size": PAGE}
    pages = max(1, -(-len(found) // PAGE))
    asked |= {"photo": -1, "page": min(max(asked["page"], 0), pages - 1)}
    first = asked["page"] * PAGE
    where = (
        say("data.browse.where", page=asked["page"] + 1, pages=pages, count=len(found))
        if len(found)
        else say("data.browse.nothing")
    )
    return {
        **answer,
        "asked": asked,
        "where": where,
        "pages": pages,
        "size": PAGE,
        "rows": _rows(catalogue, found[first : first + PAGE]),
    }


def query_of(asked: dict) -> Query:
    """The query for the catalogue; an order that there is not is that of the data set."""
    sort = asked["sort"].removeprefix("-")
    return Query(
        asked["split"] or None,
        asked["label"] or None,
        asked["text"][:MOST_TEXT],
        asked["said"] or None,
        {"right": True, "wrong": False}.get(asked["right"]),
        asked["problem"] or None,
        sort if sort in browse.SORTS else "",
        asked["sort"].startswith("-"),
    )


def _fields(catalogue: Catalogue, problem: str) -> list[dict]:
    """The lists to choose from, of what is known: {"name", "title", "options": [[value, text], ...]}.
    problem: the one that is asked for.
    """
    known = catalogue.known
    sorts = [
        *SORTS,
        *(SORTS_OF_RUNS if known.said is not None else []),
        *(SORTS_OF_NUMBERS if known.problems is not None else []),
    ]
    fields = [
        ("split", [("", say("data.browse.all")), *((split, split) for split in catalogue.splits)]),
        (
            "label",
            [("", say("data.browse.all")), *((label, label_title(label)) for label in catalogue.labels)],
        ),
    ]
    if runs := scored_runs():
        fields.append(("run", [("", say("data.browse.no_run")), *runs]))
    if known.said is not None:
        fields.append(
            (
                "right",
                [
                    ("", say("data.browse.both")),
                    ("wrong", say("data.browse.is_wrong")),
                    ("right", say("data.browse.is_right")),
                ],
            )
        )
        fields.append(
            (
                "said",
                [
                    ("", say("data.browse.anything")),
                    *((name, label_title(name)) for name in known.said_names),
                ],
            )
        )
    if known.problems is not None or known.found is not None:
        fields.append(
            (
                "problem",
                [("", say("data.browse.any")), (FINE, say("data.browse.fine")), *_problems(known, problem)],
            )
        )
    fields.append(("sort", [(sort, say(f"data.sort.{sort or 'as_given'}")) for sort in sorts]))
    return [
        {"name": name, "title": say(f"data.browse.{name}"), "options": options} for name, options in fields
    ]


def _problems(known: browse.PhotoNotes, asked: str) -> list[tuple[str, str]]:
    """(name, title) of what photos can be found by: what a check found first, of that only what there is or
    is asked for.
    """
    there = (
        int(np.bitwise_or.reduce(known.found[known.found > 0], initial=0)) if known.found is not None else 0
    )
    found = {
        name: found_title(name)
        for bit, name in enumerate(known.found_names)
        if there >> bit & 1 or name == asked
    }
    return list({**found, **{name: problem_title(name) for name in known.problem_names}}.items())


def problem_title(name: str) -> str:
    """Of one of ``PhotoNotes.problem_names``."""
    return within(name) if name in WARNINGS else name


def _rows(catalogue: Catalogue, positions: np.ndarray) -> list[dict]:
    """The tiles of a page; a broken photo has an empty source, so that it does not hide the others."""
    rows = []
    for position, small in zip(positions.tolist(), thumbnails(catalogue.stored(positions))):
        said, label = catalogue.said(position), catalogue.label(position)
        rows.append(
            {
                "source": _uri(small) if small else "",
                "label": label_title(label),
                "name": PurePath(catalogue.path(position)).name,
                "said": "" if said is None or said == label else _said(catalogue, position, said),
            }
        )
    return rows


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _photo(source: str, catalogue: Catalogue, position: int, model: str) -> dict:
    """A photo large, and all that is known of it. source: how the photos were opened, of which the journal
    tells what was decided.
    """
    name = PurePath(catalogue.path(position)).name
    rows = _looked(catalogue, position) + _decided(source, catalogue, position)
    try:
        photo = catalogue.photo(*catalogue.place(position))
    except UserError as error:
        return {
            "source": "",
            "name": name,
            "about": render(
                "data/browse#about", facts=_about(catalogue, position, None, rows), refused=error
            ),
        }
    out = io.BytesIO()
    shrink(photo.image).save(out, "JPEG", quality=88)
    about = render(
        "data/browse#about", facts=_about(catalogue, position, photo.size, rows), steps=_steps(photo, model)
    )
    return {"source": _uri(out.getvalue()), "name": name, "about": about}


def _looked(catalogue: Catalogue, position: int) -> list[Sequence]:
    """What a check found of a photo, a row each."""
    found = catalogue.findings(position)
    if found is None:
        return []
    photo = catalogue.place(position)[0], catalogue.path(position)
    told = [found_words(finding, photo) for finding in found[:MOST_TOLD]] or [say("data.photo.found_nothing")]
    if len(found) > MOST_TOLD:
        told.append(say("data.photo.found_more", count=len(found) - MOST_TOLD))
    return [[say("data.photo.found"), words] for words in told]


def _decided(source: str, catalogue: Catalogue, position: int) -> list[Sequence]:
    """What was decided about a photo, a row each."""
    journal = journal_of(source.removeprefix(MENDED).strip() or BEANS)
    return [
        [say("data.photo.decided"), decided_words(one)]
        for one in decided(journal.decisions(), (catalogue.place(position)[0], catalogue.path(position)))
    ]


def _said(catalogue: Catalogue, position: int, said: str) -> str:
    """What the run said of a photo, and how sure it was. said: the class."""
    sure = catalogue.numbers(position).get("probability")
    title = label_title(said)
    return title if sure is None else f"{title} {percent(sure)}".replace(" %", "\N{NO-BREAK SPACE}%")


def _about(
    catalogue: Catalogue, position: int, size: tuple[int, int] | None, more: Sequence[Sequence]
) -> Markup:
    """more: rows that stand last."""
    label, (split, index), numbers = (
        catalogue.label(position),
        catalogue.place(position),
        catalogue.numbers(position),
    )
    rows: list[Sequence] = [
        [say("data.photo.label"), label_title(label)],
        [say("data.photo.id"), catalogue.labels.index(label)],
        [say("data.photo.file"), catalogue.path(position)],
        [say("data.photo.place"), f"{split}, {index}"],
    ]
    if size is not None:
        rows.append([say("data.photo.size"), f"{size[0]} x {size[1]} px"])
    if (said := catalogue.said(position)) is not None:
        key = "data.photo.said_right" if said == label else "data.photo.said_wrong"
        rows.append([say("data.photo.said"), say(key, said=_said(catalogue, position, said))])
    if "brightness" in numbers:
        rows.append(
            [
                say("data.photo.brightness"),
                say("data.photo.brightness_value", percent=percent(numbers["brightness"])),
            ]
        )
    if "sharpness" in numbers:
        rows.append(
            [say("data.photo.sharpness"), say("data.photo.sharpness_value", number=numbers["sharpness"])]
        )
    if (problems := catalogue.problems(position)) is not None:
        rows.append(
            [say("data.photo.quality"), listed(map(problem_title, problems)) or say("data.photo.no_problem")]
        )
    return table([say("data.photo.this"), ""], [*rows, *more])


def _steps(photo: Photo, model: str) -> Markup:
    """The processor's steps, as the model in use needs them."""
    classifier = get_classifier(model)
    rows = []
    for step in classifier.processor_steps(photo.image):
        values = step.values
        corner = ", ".join(f"{value:.3g}" for value in values[0, 0, :4])
        between = say("data.photo.range_value", low=values.min(), high=values.max())
        rows.append(
            [say(f"data.photo.step.{step.name}"), " x ".join(map(str, values.shape)), between, f"{corner}, …"]
        )
    header = [say("data.photo.step"), say("data.photo.shape"), say("data.photo.range"), say("data.photo.red")]
    processor, (height, width) = classifier.processor, classifier.image_size
    numbers = {
        "factor": 1 / processor.rescale_factor,
        "mean": _plain(processor.image_mean),
        "std": _plain(processor.image_std),
    }
    return render(
        "data/browse#steps", facts=table(header, rows), values={"width": width, "height": height, **numbers}
    )


def _plain(values: list[float]) -> str:
    texts = [f"{value:.3g}" for value in np.atleast_1d(values)]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)
