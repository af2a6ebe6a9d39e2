"""Several runs side by side: their curves in one figure, and the settings in which they differ."""

from __future__ import annotations

from html import escape

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.common.words import percent
from vit_demo.training.run import runs
from vit_demo.training.run.curves import curves_of
from vit_demo.training.run.runs import Run
from vit_demo.ui.shared.components import Choice, table
from vit_demo.ui.shared.runtext import STATUS_WORDS, differences, duration
from vit_demo.ui.tabs.finetune.compare_figure import MOST, Compared, compare_figure
from vit_demo.ui.tabs.finetune.live import QUIET, Shown
from vit_demo.ui.tabs.finetune.runlist_rows import list_rows

FIRST = 2


def build(tab: gr.Tab, shown: Shown) -> gr.Dropdown:
    """Lay out the comparison. Inputs: the sub-tab it stands in, the run that is shown. Outputs: the chosen runs."""
    chosen = Choice(
        [], value=[], multiselect=True, label="Runs to compare", info=f"two to {MOST}; type to find one", elem_id="compare-runs"
    )
    along = gr.Radio([("steps", "steps"), ("epochs", "epochs")], value="steps", label="Curves along", elem_id="compare-along", elem_classes="small-radio")
    plot = gr.Plot(show_label=False, visible=False, elem_id="compare-plot")
    facts = gr.HTML(elem_id="compare-table")
    outputs = [plot, facts]
    tab.select(offer, [chosen, shown.run], chosen, **QUIET).then(compare, [chosen, along], outputs, **QUIET)
    gr.on([chosen.change, along.change], compare, [chosen, along], outputs, trigger_mode="always_last", **QUIET)
    shown.moment.change(compare, [chosen, along], outputs, **QUIET)
    return chosen


def offer(chosen: list[str] | None, run_id: str | None) -> dict:
    """Inputs: chosen runs, the run that is shown. Outputs: the list to choose from; where fewer than two are chosen, the run shown and the newest are added."""
    rows = list_rows()
    ids = [row.id for row in rows]
    chosen = [found for found in chosen or [] if found in ids]
    if len(chosen) < FIRST:
        others = sorted((found for found in ids if found not in chosen), key=lambda found: found != run_id)
        chosen = [*chosen, *others][:FIRST]
    return gr.update(choices=[(row.name, row.id) for row in rows], value=chosen)


def add(chosen: list[str] | None, run_id: str | None) -> dict:
    """Inputs: chosen runs, the run to add. Outputs: as offer, with this run; the oldest choice goes where there are too many."""
    kept = [found for found in chosen or [] if found != run_id]
    return offer([*kept, run_id][-MOST:], None)


def compare(chosen: list[str] | None, along: str) -> tuple:
    """Inputs: chosen runs, what the curves go along. Outputs: figure, table; a sentence where there is nothing to compare."""
    found = [run for run in map(runs.find, chosen or []) if run]
    if len(found) < 2:
        return gr.update(visible=False), _note("Choose two runs or more to see their curves and what differs between them.")
    if len(found) > MOST:
        return gr.update(visible=False), _note(f"At most {MOST} runs can be told apart in one figure. Take some out.")
    names = _names(found)
    figure = compare_figure([Compared(name, curves_of(run)) for name, run in zip(names, found)], along)
    return gr.update(value=figure, visible=True), _facts(found, names)


def _note(text: str) -> str:
    return f'<div class="run run-empty">{escape(text)}</div>'


def _names(found: list[Run]) -> list[str]:
    """What each is called in the figure, two of the same name told apart by their id."""
    names = [run.name for run in found]
    return [name if names.count(name) == 1 else f"{name} ({run.id})" for name, run in zip(names, found)]


def _facts(found: list[Run], names: list[str]) -> str:
    """What the runs reached, and only those settings that differ."""
    rows = [["Status", *(STATUS_WORDS.get(run.state()["status"], "") for run in found)]]
    scores = [run.scores() for run in found]
    rows.append(["Test accuracy", *(_accuracy(score.get("test")) for score in scores)])
    rows.append(["95 % interval", *(_interval(score.get("test")) for score in scores)])
    rows.append(["Validation accuracy", *(_accuracy(score.get("validation")) for score in scores)])
    results = [run.state().get("result") or {} for run in found]
    rows.append(["Time", *(duration(result["seconds"]) if "seconds" in result else "" for result in results)])
    try:
        different = differences([run.config() for run in found])
    except UserError as error:
        return table(["", *names], rows) + _note(str(error))
    rows += [[title, *values] for title, values in different]
    same = "" if different else '<p class="note">All settings of these runs are the same.</p>'
    return table(["", *names], rows) + same


def _accuracy(split: dict | None) -> str:
    return percent(split["accuracy"]) if split else "no result yet"


def _interval(split: dict | None) -> str:
    return f"{percent(split['interval'][0])} to {percent(split['interval'][1])}" if split else ""
