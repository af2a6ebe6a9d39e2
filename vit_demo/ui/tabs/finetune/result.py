"""What a run reached, where it goes wrong photo by photo, and whether it is as sure as it is right."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup
from PIL.Image import Image

from vit_demo.common.errors import UserError
from vit_demo.common.words import current_language, say
from vit_demo.data.open.sources import open_dataset
from vit_demo.figures.overlay import shrink
from vit_demo.model.abstention import fitted_on_copies
from vit_demo.photos.safe_open import decode
from vit_demo.training.result import predictions
from vit_demo.training.result.predictions import Prediction, mistakes
from vit_demo.training.run import runs
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import ENDED
from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.finetune import export, result_html
from vit_demo.ui.tabs.finetune.reliability_figure import reliability_figure

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
PAGE = 24
# A touch on a number chooses its photos, a touch on a photo that photo. Which one is chosen is marked at
# once.
CHOOSE = """element.addEventListener('click', event => {
    const chosen = event.target.closest('[data-cell]');
    if (!chosen) return;
    element.querySelectorAll('[data-cell]').forEach(
        other => other.setAttribute('aria-pressed', String(other === chosen)));
    trigger('select', {value: chosen.dataset.cell, index: 0});
});"""
OPEN = """element.addEventListener('click', event => {
    const chosen = event.target.closest('[data-row]');
    if (chosen) trigger('select', {value: chosen.dataset.row, index: 0});
});"""
SCROLL_TO = "() => document.getElementById('{0}')?.scrollIntoView({{behavior: 'smooth', block: 'nearest'}})"


def build(run: gr.Dropdown, moment: gr.Textbox, speech: Speech) -> None:
    """Lay out the result of a run. Inputs: the run that is shown; what changes when that run or its status
    does; the page's speech.
    """
    meaning = gr.HTML(elem_id="result-meaning")
    with gr.Column(visible=False, elem_id="result-body") as body:
        split = speech(
            gr.Radio,
            choices=Told(_splits),
            value="test",
            label=Told("train.result.split"),
            elem_id="result-split",
        )
        about = gr.HTML(elem_id="result-about")
        speech(gr.Markdown, value=Told(result_html.heading("train.result.classes")))
        classes = gr.HTML(elem_id="result-classes")
        speech(gr.Markdown, value=Told(result_html.heading("train.result.matrix")))
        matrix = gr.HTML(elem_id="result-matrix", js_on_load=CHOOSE)
        picture = gr.Plot(show_label=False, visible=False, elem_id="result-picture")
        picture_note = gr.HTML(visible=False, elem_id="result-picture-note")
        title = gr.HTML(elem_id="result-title")
        photos = gr.HTML(elem_id="result-photos", js_on_load=OPEN)
        with gr.Row(elem_classes="pager", visible=False) as pager:
            back = speech(gr.Button, value=Told("train.back"), min_width=80, elem_id="result-back")
            where = gr.Markdown(elem_id="result-where")
            forward = speech(gr.Button, value=Told("train.next"), min_width=80, elem_id="result-next")
        with gr.Row(equal_height=False, visible=False, elem_id="result-detail") as detail:
            with gr.Column(scale=1, min_width=260):
                large = gr.Image(
                    show_label=False,
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    elem_id="result-large",
                )
            with gr.Column(scale=1, min_width=260):
                facts = gr.HTML(elem_id="result-facts")
        speech(gr.Markdown, value=Told(result_html.heading("train.result.sure")))
        plot = gr.Plot(show_label=False, elem_id="result-plot")
        sure = gr.HTML(elem_id="result-sure")
        export.build(run, speech)
    cell, seen, listed, opened = (gr.Textbox("", visible=False) for _ in range(4))
    page = gr.Number(0, visible=False, precision=0)
    place = [run, split, cell, page]
    numbers = [meaning, body, about, classes, matrix, plot, sure, cell, page, seen]
    grid = [title, photos, pager, where, page, listed, detail]
    shown = gr.on(
        [run.change, moment.change, split.input],
        show,
        [run, split, seen],
        numbers,
        trigger_mode="always_last",
        **QUIET,
    )
    shown.then(list_photos, [*place, listed], grid, **QUIET)
    shown.then(draw, [run, split], [picture, picture_note], **QUIET)
    chosen = matrix.select(choose_cell, None, [cell, page], **QUIET).then(
        list_photos, [*place, listed], grid, **QUIET
    )
    chosen.then(None, None, None, js=SCROLL_TO.format("result-title"))
    back.click(turn_back, page, page, **QUIET).then(list_photos, [*place, listed], grid, **QUIET)
    forward.click(turn_forward, page, page, **QUIET).then(list_photos, [*place, listed], grid, **QUIET)
    large_one = photos.select(polite(open_photo), [run, split], [detail, large, facts, opened], **QUIET)
    large_one.success(None, None, None, js=SCROLL_TO.format("result-detail"))
    speech.retells(tell_again, [run, split, cell, seen], [meaning, about, classes, matrix, plot, sure, seen])
    speech.retells(draw_again, [run, split], [picture, picture_note])
    speech.retells(list_again, [*place, listed], [title, photos, where, listed])
    speech.retells(open_again, [run, split, opened], [facts])


def _splits() -> list[tuple[str, str]]:
    return [(say(f"train.result.split.{name}"), name) for name in result_html.SPLITS]


def show(run_id: str | None, split: str, seen: str) -> tuple:
    """Inputs: run, split, what the page shows already.

    Outputs: what the number means, the body, what it is about, each class, matrix, diagram, its words, cell,
    page, seen; nothing where nothing has changed.
    """
    run = runs.find(run_id)
    now = _told(_stamp(run, split))
    if now == seen:
        return (gr.skip(),) * 10
    scores = _scores(run)
    if run is None or not {"test", split} <= scores.keys():
        return result_html.empty(_why_none(run)), gr.update(visible=False), *(gr.skip(),) * 7, now
    means, *tables, figure, sure = _parts(run, scores, split, None)
    return (
        means,
        gr.update(visible=True),
        *tables,
        gr.update(value=figure, visible=figure is not None),
        sure,
        "",
        0,
        now,
    )


def tell_again(run_id: str | None, split: str, cell: str, seen: str) -> tuple:
    """Inputs: run, split, cell, what the page shows. Outputs: as show, without body, cell and page; nothing
    where nothing is shown yet.
    """
    run = runs.find(run_id)
    now = _told(_stamp(run, split))
    if not seen or seen == now:
        return (gr.skip(),) * 7
    scores = _scores(run)
    if run is None or not {"test", split} <= scores.keys():
        return result_html.empty(_why_none(run)), *(gr.skip(),) * 5, now
    *told, figure, sure = _parts(run, scores, split, _cell(cell, _classes(scores[split])))
    return *told, gr.skip() if figure is None else gr.update(value=figure), sure, now


def _parts(run: Run, scores: dict, split: str, cell: tuple[int, int] | None) -> tuple:
    """What the number means, what it is about, each class, matrix, diagram, its words."""
    found = scores[split]
    if found is None:
        nothing = (result_html.not_measured(),) * 2
        return result_html.meaning(scores), result_html.about_split(split), *nothing, None, nothing[0]
    figure = (
        reliability_figure(found["calibration"], found.get("calibrated"), _stamp(run, split))
        if found.get("calibration")
        else None
    )
    return (
        result_html.meaning(scores),
        result_html.about_split(split),
        result_html.class_table(found),
        result_html.confusion(found, cell),
        figure,
        result_html.how_sure(scores, split, fitted_on_copies(run.model_folder)),
    )


def draw(run_id: str | None, split: str) -> tuple:
    """Inputs: run, split. Outputs: the matrix as a picture and what must be known of it; hidden for few
    classes, whose table says it all.
    """
    run = runs.find(run_id)
    found = _scores(run).get(split)
    figure = result_html.drawn(found, _stamp(run, split)) if found else None
    if found is None or figure is None:
        return (gr.update(visible=False),) * 2
    return gr.update(value=figure, visible=True), gr.update(value=result_html.drawn_note(found), visible=True)


def draw_again(run_id: str | None, split: str) -> tuple:
    """Inputs: run, split. Outputs: as draw, in the current language; nothing where nothing is shown."""
    shown = draw(run_id, split)
    return tuple(gr.update(value=one["value"]) if one["visible"] else gr.skip() for one in shown)


def list_photos(run_id: str | None, split: str, cell: str, page: float, listed: str) -> tuple:
    """Inputs: run, split, cell ("" for the worst mistakes), page, the photos that are shown.

    Outputs: title, photos, pager, where we are, page, which photos these are, the closed detail; nothing
    where they are shown already.
    """
    run = runs.find(run_id)
    scores = _scores(run)
    now = _told(f"{_stamp(run, split)}:{cell}:{int(page)}")
    if run is None or now == listed or split not in scores:
        return (gr.skip(),) * 7
    if scores[split] is None:
        return "", "", gr.update(visible=False), "", 0, now, gr.update(visible=False)
    chosen = _cell(cell, _classes(scores[split]))
    found = _predictions(run, split, chosen, scores)
    pages = max(1, -(-len(found) // PAGE))
    page = min(max(int(page), 0), pages - 1)
    part = found[page * PAGE : (page + 1) * PAGE]
    pictures, why = _pictures(run, split, part)
    notes = (
        result_html.note(text)
        for text in (why, "" if found else _why_no_photos(scores[split], chosen))
        if text
    )
    words = [result_html.list_title(scores[split]["labels"], chosen, len(found)), *notes]
    place = {"first": page * PAGE + 1, "last": page * PAGE + len(part), "count": len(found)}
    where = say("train.result.place", **place)
    photos = result_html.photo_list(list(zip(part, pictures))) if part else ""
    now = _told(f"{_stamp(run, split)}:{cell}:{page}")
    return (
        Markup("").join(words),
        photos,
        gr.update(visible=pages > 1),
        where,
        page,
        now,
        gr.update(visible=False),
    )


def list_again(run_id: str | None, split: str, cell: str, page: float, listed: str) -> tuple:
    """Inputs: as of list_photos. Outputs: title, photos, where we are, which photos these are; nothing where
    none are shown.
    """
    title, photos, _, where, _, now, _ = (
        list_photos(run_id, split, cell, page, listed) if listed else (gr.skip(),) * 7
    )
    return title, photos, where, now


def choose_cell(event: gr.EventData) -> tuple:
    """Inputs: the touched number. Outputs: cell, the first page."""
    return str(event.value), 0


def turn_back(page: float) -> int:
    """Inputs: page. Outputs: the page before."""
    return int(page) - 1


def turn_forward(page: float) -> int:
    """Inputs: page. Outputs: the page after."""
    return int(page) + 1


def open_photo(run_id: str | None, split: str, event: gr.EventData) -> tuple:
    """Inputs: run, split, the touched photo. Outputs: the detail, the photo, what is known of it, its row."""
    run, row = runs.find(run_id), str(event.value)
    found = _one(run, split, row)
    if run is None or found is None:
        raise UserError("error.train_tab.no_photo")
    photo, facts = _opened(run, split, found)
    return (
        gr.update(visible=True),
        gr.update(value=photo and shrink(photo), visible=photo is not None),
        facts,
        row,
    )


def open_again(run_id: str | None, split: str, row: str) -> Any:
    """Inputs: run, split, the row of the photo that is open. Outputs: what is known of it; nothing where none
    is.
    """
    run = runs.find(run_id)
    found = _one(run, split, row) if row else None
    return gr.skip() if run is None or found is None else _opened(run, split, found)[1]


def _one(run: Run | None, split: str, row: str) -> Prediction | None:
    return next((one for one in _all(run, split) if str(one.row) == row), None) if run else None


def _opened(run: Run, split: str, found: Prediction) -> tuple[Image | None, Markup]:
    (photo,), why = _pictures(run, split, [found])
    return photo, result_html.photo_facts(found, split) + (result_html.note(why) if why else "")


def _scores(run: Run | None) -> dict:
    """The scores of a run that has ended, else {}: while it goes on those of an earlier sitting would
    mislead.
    """
    return run.scores() if run is not None and run.state()["status"] in ENDED else {}


def _stamp(run: Run | None, split: str) -> str:
    """Changes with what is known of this split of the run."""
    if run is None:
        return "none"
    return f"{run.id}:{split}:{run.state()['status'] in ENDED}:{_changed(run.model_folder / 'scores.json')}"


def _told(stamp: str) -> str:
    """Changes with the stamp, and with the language in which it is told."""
    return f"{current_language()}:{stamp}"


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _why_none(run: Run | None) -> str:
    if run is None:
        return say("train.none_yet")
    return say("train.result.none_going" if run.is_going() else "train.result.none_ended")


def _classes(found: dict | None) -> int:
    """How many classes a split was scored on; 0 where it could not be measured."""
    return len(found["labels"]) if found else 0


def _cell(text: str, classes: int) -> tuple[int, int] | None:
    """The class that it is and the class that was said; None, which stands for the worst mistakes, where
    there is no such cell.
    """
    parts = [int(part) for part in (text or "").split(",") if part.isdecimal() and int(part) < classes]
    return (parts[0], parts[1]) if len(parts) == 2 else None


@functools.lru_cache(maxsize=8)
def _read(model_folder: Path, split: str, _changed: int) -> list[Prediction]:
    return predictions.read(model_folder, split)


def _all(run: Run, split: str) -> list[Prediction]:
    return _read(run.model_folder, split, _changed(run.model_folder / predictions.FILE))


def _predictions(run: Run, split: str, cell: tuple[int, int] | None, scores: dict) -> list[Prediction]:
    """The photos of a cell, those it was surest of first; of no cell, all mistakes, as many of them as were
    kept.
    """
    found, labels = _all(run, split), scores[split]["labels"]
    if cell is None:
        return mistakes(found) or [Prediction(**kept) for kept in scores[split].get("worst", [])]
    true, said = (labels[number] for number in cell)
    return sorted(
        (one for one in found if (one.true, one.said) == (true, said)),
        key=lambda one: (-one.probability, one.row),
    )


def _why_no_photos(split: dict, cell: tuple[int, int] | None) -> str:
    wrong = split["n"] - sum(row[number] for number, row in enumerate(split["confusion"]))
    return say("train.result.earlier" if wrong or cell else "train.result.no_mistake")


def _pictures(run: Run, split: str, found: list[Prediction]) -> tuple[list[Image | None], str]:
    """The photos from the run's own source, None for each that is not there; and why, where any is not."""
    from datasets import Image as ImageFeature

    try:
        config = run.config()
        stored = open_dataset(config.data, config.data_revision)[split].cast_column(
            "image", ImageFeature(decode=False)
        )
    except UserError as error:
        return [None] * len(found), say("train.result.no_photos", why=error)
    pictures = []
    for one in found:
        row = stored[one.row] if one.row < len(stored) else {}
        pictures.append(decode(row["image"]) if row.get("image_file_path") == one.path else None)
    changed = any(picture is None for picture in pictures)
    return pictures, say("train.result.changed") if changed else ""
