"""All runs in a table, and what can be done with the chosen one."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from html import escape
from pathlib import Path

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.training.run import experiments, queue, runs
from vit_demo.training.run.runs import Run
from vit_demo.ui.shared.components import polite
from vit_demo.ui.shared.runtext import STATUS_WORDS, accuracy_text, duration, moment_text
from vit_demo.ui.tabs.finetune.live import QUIET, Shown, existing, go_on, offer_runs
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
    """refresh_inputs, refresh_outputs: of :func:`refresh`. show, compare: the buttons that show the chosen run, or add it to the comparison."""

    refresh_inputs: list[gr.components.Component]
    refresh_outputs: list[gr.components.Component]
    show: gr.Button
    compare: gr.Button


def build(tab: gr.Tab, shown: Shown) -> RunList:
    """Lay out the table. Inputs: the sub-tab it stands in, the run that is shown, which is the chosen one here too."""
    run = shown.run
    text = gr.Textbox("", label="Find", placeholder="a word of the name, the settings or the status", max_lines=1, elem_id="runs-find")
    rows = gr.HTML(elem_id="runs-table", js_on_load=CHOOSE)
    with gr.Row(elem_classes="pager"):
        back = gr.Button("Back", min_width=80, elem_id="runs-back")
        where = gr.Markdown(elem_id="runs-where")
        forward = gr.Button("Next", min_width=80, elem_id="runs-next")
    page = gr.Number(0, visible=False, precision=0)
    seen, described = (gr.Textbox("", visible=False) for _ in range(2))
    with gr.Column(visible=False, elem_id="runs-chosen", elem_classes="card") as chosen:
        title = gr.HTML(elem_id="runs-title")
        with gr.Row(elem_classes="actions"):
            show = gr.Button("Show it", variant="primary", min_width=130, elem_id="runs-show")
            compare = gr.Button("Compare it", min_width=130, elem_id="runs-compare")
            resume = gr.Button("Go on with it", min_width=130, elem_id="runs-resume")
            again = gr.Button("Again with another seed", min_width=130, elem_id="runs-again")
            export = gr.DownloadButton("Download its settings", min_width=130, elem_id="runs-export")
            delete = gr.Button("Delete", variant="stop", min_width=130, elem_id="runs-delete")
        with gr.Row(elem_classes="field-and-button"):
            name = gr.Textbox("", label="Name", max_lines=1, scale=3, min_width=180, elem_id="runs-name")
            rename = gr.Button("Rename", min_width=90, scale=0, elem_id="runs-rename")
        with gr.Column(visible=False, elem_id="runs-sure") as sure:
            question = gr.HTML(elem_id="runs-question")
            asked = gr.Textbox("", visible=False)
            with gr.Row(elem_classes="actions"):
                yes = gr.Button("Yes, delete it", variant="stop", min_width=130, elem_id="runs-delete-yes")
                no = gr.Button("No, keep it", min_width=130, elem_id="runs-delete-no")
    table_inputs = [run, text, page, seen]
    table_outputs = [rows, where, page, seen, back, forward]
    chosen_outputs = [chosen, title, name, resume, export, described]
    rows.select(choose, None, run, **QUIET)
    # The chosen run is named below the table and marked in it. always_last: a run that is chosen while the one before is fetched counts.
    # Another run was chosen than the one that is asked about. In the browser, since an answer of the server may come after the next question.
    run.change(None, [run, asked], sure, js=CLOSE, **QUIET)
    gr.on([run.change, tab.select], describe, [run, described], chosen_outputs, trigger_mode="always_last", **QUIET)
    gr.on([run.change, tab.select, shown.moment.change], refresh, table_inputs, table_outputs, trigger_mode="always_last", **QUIET)
    shown.moment.change(offer_resume, run, resume, **QUIET)
    text.change(first_page, [run, text], table_outputs, trigger_mode="always_last", **QUIET)
    back.click(turn_back, [run, text, page], table_outputs, **QUIET)
    forward.click(turn_forward, [run, text, page], table_outputs, **QUIET)
    renamed = gr.on([rename.click, name.submit], polite(give_name), [run, name], None, **QUIET)
    renamed.success(refresh, table_inputs, table_outputs, **QUIET).then(describe, [run, described], chosen_outputs, **QUIET)
    resume.click(polite(go_on), run, None, **QUIET).success(refresh, table_inputs, table_outputs, **QUIET).then(offer_resume, run, resume, **QUIET)
    again.click(polite(once_more), run, run, api_visibility="private")
    delete.click(polite(ask), run, [sure, question, asked], **QUIET)
    no.click(lambda: gr.update(visible=False), None, sure, **QUIET)
    # The run that the question named, whatever has been chosen since.
    yes.click(polite(delete_run), asked, [run, sure], **QUIET)
    return RunList(table_inputs, table_outputs, show, compare)


def refresh(run_id: str | None, text: str, page: float, seen: str) -> tuple:
    """Inputs: run, search text, page, what the page shows already. Outputs: table, where we are, page, seen, back, next; nothing where nothing has changed."""
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
    now = str(hash((run_id, page, pages, len(every), tuple(shown))))
    if now == seen:
        return (gr.skip(),) * 6
    if not every:
        return '<div class="run run-empty">No run yet. Start one under "Train".</div>', "", 0, now, gr.update(visible=False), gr.update(visible=False)
    count = sum(len(item.rows) if isinstance(item, Group) else 1 for item in items)
    runs_found = f"{count:,} {'run' if count == 1 else 'runs'}"
    where = f"Page {page + 1} of {pages}, {runs_found}" if items else "No run fits. Change the words."
    return table_of(shown, run_id) if items else "", where, page, now, gr.update(visible=pages > 1), gr.update(visible=pages > 1)


def table_of(items: list[Row | Group], chosen: str | None) -> str:
    """The HTML of the table; the chosen run is marked."""
    head = "".join(f'<th scope="col">{title}</th>' for title in ("Run", "Status", "Test accuracy (95 % interval)", "Settings", "Time", "Started"))
    body = "".join(_group(item, chosen) if isinstance(item, Group) else _line(item, chosen) for item in items)
    return f'<div class="table-scroll"><table class="facts runs"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _line(row: Row, chosen: str | None, member: bool = False) -> str:
    classes = "member " * member + "chosen" * (row.id == chosen)
    status = STATUS_WORDS.get(row.status, row.status)
    score = accuracy_text(row.accuracy, row.interval) if row.accuracy is not None else ""
    cells = (
        ("status", f'<span class="badge badge-{escape(row.status.replace(" ", "-"))}">{escape(status)}</span>'),
        ("score", score),
        ("settings", escape(row.settings)),
        ("time", duration(row.seconds) if row.seconds is not None else ""),
        ("date", moment_text(row.created)),
    )
    return (
        f'<tr class="{classes}" data-run="{escape(row.id)}"><th scope="row"><button type="button" aria-pressed="{str(row.id == chosen).lower()}">'
        f"{escape(row.name)}</button></th>" + "".join(f'<td class="runs-{name}">{cell}</td>' for name, cell in cells) + "</tr>"
    )


def _group(group: Group, chosen: str | None) -> str:
    found = [run for run in (runs.find(row.id) for row in group.rows) if run]
    summary = experiments.summary(found)
    if summary.n == 0:
        score = "no result yet"
    elif summary.interval is None:
        score = f"{accuracy_text(summary.mean, None)} from one of them"
    else:
        score = f"mean {accuracy_text(summary.mean, summary.interval)} over {summary.n} seeds"
    head = f'<tr class="experiment"><th scope="rowgroup">{len(group.rows)} seeds</th><td></td><td class="runs-score" colspan="4">{escape(score)}</td></tr>'
    return head + "".join(_line(row, chosen, member=True) for row in group.rows)


def choose(event: gr.EventData) -> str:
    """Inputs: the touched row. Outputs: run."""
    return str(event.value)


def describe(run_id: str | None, described: str) -> tuple:
    """Inputs: run, the run that is described already, with its name.

    Outputs: the chosen run's box, title, name, resume, export, described; nothing where that is the same: a new name may be half typed.
    """
    run = runs.find(run_id)
    now = f"{run.id}:{run.name}" if run else ""
    if now == described:
        return (gr.skip(),) * 6
    if run is None:
        return gr.update(visible=False), *(gr.skip(),) * 4, now
    title = f'<div class="kicker">Chosen run</div><b>{escape(run.name)}</b>'
    return gr.update(visible=True), title, run.name, gr.update(visible=run.can_resume()), str(_export_file(run)), now


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
    gr.Info("The run has its new name.", title="Done")


def once_more(run_id: str | None) -> dict:
    """Inputs: run. Outputs: the list of runs with a new one chosen: the same settings, another seed."""
    run = queue.again(existing(run_id))
    gr.Info(f"The new run has seed {run.config().seed}.", title="Started")
    return offer_runs(run.id)


def ask(run_id: str | None) -> tuple:
    """Inputs: run. Outputs: the question, its text, the run that is asked about."""
    run = existing(run_id)
    if run.is_going():
        raise UserError(f"The run {run.name} is still going. Stop it first.")
    model = " and its model" if run.has_model() else ""
    return gr.update(visible=True), f"<p>Delete the run <b>{escape(run.name)}</b>{model} for good?</p>", run.id


def delete_run(run_id: str | None) -> tuple:
    """Inputs: run. Outputs: the list of runs without it, the newest chosen; the closed question."""
    runs.delete(existing(run_id))
    gr.Info("The run is gone.", title="Deleted")
    return offer_runs(None), gr.update(visible=False)
