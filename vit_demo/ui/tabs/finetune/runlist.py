"""All runs in a table, and what can be done with the chosen one."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.common.words import current_language, say
from vit_demo.training.run import experiments, queue, runs
from vit_demo.training.run.runs import Run
from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.html import render
from vit_demo.ui.shared.runtext import accuracy_text, duration, moment_text, status_word
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.finetune.live import QUIET, Shown, existing, go_on, offer_runs
from vit_demo.ui.tabs.finetune.result_html import empty
from vit_demo.ui.tabs.finetune.runlist_rows import Group, Row, find_rows, grouped, list_rows

PAGE = 12
# A touch anywhere on a row chooses its run; the name is a button, for keys and screen readers.
CHOOSE = """element.addEventListener('click', event => {
    const row = event.target.closest('[data-run]');
    if (row) trigger('select', {value: row.dataset.run, index: 0});
});"""

CLOSE = "(run, asked) => run === asked ? {__type__: 'update'} : {__type__: 'update', visible: false}"


@dataclass(frozen=True)
class RunList:
    """refresh_inputs, refresh_outputs: of :func:`refresh`. show, compare: the buttons that show the chosen
    run, or add it to the comparison.
    """

    refresh_inputs: list[gr.components.Component]
    refresh_outputs: list[gr.components.Component]
    show: gr.Button
    compare: gr.Button


def build(tab: gr.Tab, shown: Shown, speech: Speech) -> RunList:
    """Lay out the table. Inputs: the sub-tab it stands in, the run that is shown, which is the chosen one
    here too; the page's speech.
    """
    run = shown.run
    text = speech(
        gr.Textbox,
        value="",
        label=Told("train.runs.find"),
        placeholder=Told("train.runs.find.example"),
        max_lines=1,
        elem_id="runs-find",
    )
    rows = gr.HTML(elem_id="runs-table", js_on_load=CHOOSE)
    with gr.Row(elem_classes="pager"):
        back = speech(gr.Button, value=Told("train.back"), min_width=80, elem_id="runs-back")
        where = gr.Markdown(elem_id="runs-where")
        forward = speech(gr.Button, value=Told("train.next"), min_width=80, elem_id="runs-next")
    page = gr.Number(0, visible=False, precision=0)
    seen, described = (gr.Textbox("", visible=False) for _ in range(2))
    with gr.Column(visible=False, elem_id="runs-chosen", elem_classes="card") as chosen:
        title = gr.HTML(elem_id="runs-title")
        with gr.Row(elem_classes="actions"):
            show = speech(
                gr.Button,
                value=Told("train.runs.show"),
                variant="primary",
                min_width=130,
                elem_id="runs-show",
            )
            compare = speech(
                gr.Button, value=Told("train.runs.compare"), min_width=130, elem_id="runs-compare"
            )
            resume = speech(gr.Button, value=Told("train.runs.resume"), min_width=130, elem_id="runs-resume")
            again = speech(gr.Button, value=Told("train.runs.again"), min_width=130, elem_id="runs-again")
            export = speech(
                gr.DownloadButton, label=Told("train.runs.export"), min_width=130, elem_id="runs-export"
            )
            delete = speech(
                gr.Button,
                value=Told("train.runs.delete"),
                variant="stop",
                min_width=130,
                elem_id="runs-delete",
            )
        with gr.Row(elem_classes="field-and-button"):
            name = speech(
                gr.Textbox,
                value="",
                label=Told("train.runs.name"),
                max_lines=1,
                scale=3,
                min_width=180,
                elem_id="runs-name",
            )
            rename = speech(
                gr.Button, value=Told("train.runs.rename"), min_width=90, scale=0, elem_id="runs-rename"
            )
        with gr.Column(visible=False, elem_id="runs-sure") as sure:
            question = gr.HTML(elem_id="runs-question")
            asked = gr.Textbox("", visible=False)
            with gr.Row(elem_classes="actions"):
                yes = speech(
                    gr.Button,
                    value=Told("train.runs.delete.yes"),
                    variant="stop",
                    min_width=130,
                    elem_id="runs-delete-yes",
                )
                no = speech(
                    gr.Button, value=Told("train.runs.delete.no"), min_width=130, elem_id="runs-delete-no"
                )
    table_inputs = [run, text, page, seen]
    table_outputs = [rows, where, page, seen, back, forward]
    chosen_outputs = [chosen, title, name, resume, export, described]
    rows.select(choose, None, run, **QUIET)
    # The chosen run is named below the table and marked in it. always_last: a run that is chosen while the
    # one before is fetched counts. Another run was chosen than the one that is asked about. In the browser,
    # since an answer of the server may come after the next question.
    run.change(None, [run, asked], sure, js=CLOSE, **QUIET)
    gr.on(
        [run.change, tab.select],
        describe,
        [run, described],
        chosen_outputs,
        trigger_mode="always_last",
        **QUIET,
    )
    gr.on(
        [run.change, tab.select, shown.moment.change],
        refresh,
        table_inputs,
        table_outputs,
        trigger_mode="always_last",
        **QUIET,
    )
    shown.moment.change(offer_resume, run, resume, **QUIET)
    text.change(first_page, [run, text], table_outputs, trigger_mode="always_last", **QUIET)
    back.click(turn_back, [run, text, page], table_outputs, **QUIET)
    forward.click(turn_forward, [run, text, page], table_outputs, **QUIET)
    renamed = gr.on([rename.click, name.submit], polite(give_name), [run, name], None, **QUIET)
    renamed.success(refresh, table_inputs, table_outputs, **QUIET).then(
        describe, [run, described], chosen_outputs, **QUIET
    )
    resume.click(polite(go_on), run, None, **QUIET).success(
        refresh, table_inputs, table_outputs, **QUIET
    ).then(offer_resume, run, resume, **QUIET)
    again.click(polite(once_more), run, run, api_visibility="private")
    delete.click(polite(ask), run, [sure, question, asked], **QUIET)
    no.click(lambda: gr.update(visible=False), None, sure, **QUIET)
    # The run that the question named, whatever has been chosen since.
    yes.click(polite(delete_run), asked, [run, sure], **QUIET)
    # What the page shows of the table is told anew with the next look at the runs too.
    speech.retells(tell_again, table_inputs, [rows, where])
    speech.retells(name_again, [run, described, asked], [title, question])
    return RunList(table_inputs, table_outputs, show, compare)


def refresh(run_id: str | None, text: str, page: float, seen: str) -> tuple:
    """Inputs: run, search text, page, what the page shows already. Outputs: table, where we are, page, seen,
    back, next; nothing where nothing has changed.
    """
    return _page(run_id, text, int(page), seen)


def first_page(run_id: str | None, text: str) -> tuple:
    """Inputs: run, search text. Outputs: as refresh."""
    return _page(run_id, text, 0)


def turn_back(run_id: str | None, text: str, page: float) -> tuple:
    """Inputs: run, search text, page. Outputs: as refresh."""
    return _page(run_id, text, int(page) - 1)


def turn_forward(run_id: str | None, text: str, page: float) -> tuple:
    """Inputs: run, search text, page. Outputs: as refresh."""
    return _page(run_id, text, int(page) + 1)


def _page(run_id: str | None, text: str, page: int, seen: str = "") -> tuple:
    every = list_rows()
    items = grouped(find_rows(every, text))
    pages = max(1, -(-len(items) // PAGE))
    page = min(max(page, 0), pages - 1)
    shown = items[page * PAGE : (page + 1) * PAGE]
    now = str(hash((current_language(), run_id, page, pages, len(every), tuple(shown))))
    if now == seen:
        return (gr.skip(),) * 6
    if not every:
        return empty(say("train.none_yet")), "", 0, now, gr.update(visible=False), gr.update(visible=False)
    count = sum(len(item.rows) if isinstance(item, Group) else 1 for item in items)
    where = (
        say("train.runs.place", page=page + 1, pages=pages, count=count)
        if items
        else say("train.runs.no_fit")
    )
    return (
        table_of(shown, run_id) if items else "",
        where,
        page,
        now,
        gr.update(visible=pages > 1),
        gr.update(visible=pages > 1),
    )


def tell_again(run_id: str | None, text: str, page: float, seen: str) -> tuple:
    """Inputs: as of refresh. Outputs: table, where we are; nothing where no table is shown yet."""
    return _page(run_id, text, int(page))[:2] if seen else (gr.skip(), gr.skip())


def table_of(items: list[Row | Group], chosen: str | None) -> str:
    """The HTML of the table; the chosen run is marked."""
    parts = [
        {"group": True, "rows": [_line(row, chosen) for row in item.rows], "score": _score(item)}
        if isinstance(item, Group)
        else {"group": False, "rows": [_line(item, chosen)]}
        for item in items
    ]
    return render("train/runs#table", items=parts)


def _line(row: Row, chosen: str | None) -> dict:
    return {
        "id": row.id,
        "name": row.name,
        "chosen": row.id == chosen,
        "kind": row.status.replace(" ", "-"),
        "status": status_word(row.status),
        "score": _row_score(row),
        "settings": row.settings,
        "time": duration(row.seconds) if row.seconds is not None else "",
        "date": moment_text(row.created),
    }


def _row_score(row: Row) -> str:
    if row.not_measured:
        return say("train.not_measured")
    return accuracy_text(row.accuracy, row.interval) if row.accuracy is not None else ""


def _score(group: Group) -> str:
    found = [run for run in (runs.find(row.id) for row in group.rows) if run]
    summary = experiments.summary(found)
    if summary.mean is None:
        return say("train.not_measured" if summary.not_measured else "train.runs.no_result")
    if summary.interval is None:
        return say("train.runs.one_result", accuracy=accuracy_text(summary.mean, None))
    return say("train.runs.mean", accuracy=accuracy_text(summary.mean, summary.interval), count=summary.n)


def choose(event: gr.EventData) -> str:
    """Inputs: the touched row. Outputs: run."""
    return str(event.value)


def describe(run_id: str | None, described: str) -> tuple:
    """Inputs: run, the run that is described already, with its name.

    Outputs: the chosen run's box, title, name, resume, export, described; nothing where that is the same: a
    new name may be half typed.
    """
    run = runs.find(run_id)
    now = f"{run.id}:{run.name}" if run else ""
    if now == described:
        return (gr.skip(),) * 6
    if run is None:
        return gr.update(visible=False), *(gr.skip(),) * 4, now
    return (
        gr.update(visible=True),
        render("train/runs#title", name=run.name),
        run.name,
        gr.update(visible=run.can_resume()),
        str(_export_file(run)),
        now,
    )


def name_again(run_id: str | None, described: str, asked: str) -> tuple:
    """Inputs: run, the run that is described, the run that is asked about. Outputs: title, question; nothing
    where there is none.
    """
    run, doubtful = runs.find(run_id), runs.find(asked)
    title = render("train/runs#title", name=run.name) if run and described else gr.skip()
    return title, _question(doubtful) if doubtful else gr.skip()


def offer_resume(run_id: str | None) -> dict:
    """Inputs: run. Outputs: the button to go on with it, shown where that can be done."""
    run = runs.find(run_id)
    return gr.update(visible=run is not None and run.can_resume())


@functools.cache
def _exports() -> Path:
    return Path(tempfile.mkdtemp(prefix="vit_demo-exports-"))


def _export_file(run: Run) -> Path:
    file = _exports() / f"run-{run.id}.json"
    file.write_text(run.export(), encoding="utf-8")
    return file


def give_name(run_id: str | None, name: str) -> None:
    """Inputs: run, name. Renames it."""
    existing(run_id).rename((name or "").strip())
    gr.Info(say("train.runs.renamed"), title=say("train.done"))


def once_more(run_id: str | None) -> dict:
    """Inputs: run. Outputs: the list of runs with a new one chosen: the same settings, another seed."""
    run = queue.again(existing(run_id))
    gr.Info(say("train.runs.again.done", seed=run.config().seed), title=say("train.runs.again.title"))
    return offer_runs(run.id)


def ask(run_id: str | None) -> tuple:
    """Inputs: run. Outputs: the question, its text, the run that is asked about."""
    run = existing(run_id)
    if run.is_going():
        raise UserError("error.train_tab.still_going", name=run.name)
    return gr.update(visible=True), _question(run), run.id


def _question(run: Run) -> str:
    return render("train/runs#question", name=run.name, model=run.has_model())


def delete_run(run_id: str | None) -> tuple:
    """Inputs: run. Outputs: the list of runs without it, the newest chosen; the closed question."""
    runs.delete(existing(run_id))
    gr.Info(say("train.runs.deleted"), title=say("train.runs.deleted.title"))
    return offer_runs(None), gr.update(visible=False)
