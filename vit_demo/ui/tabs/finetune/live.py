"""The run that is shown large: how it stands, its curves, stop and resume, and what can be done with its
model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from vit_demo.common.errors import UserError
from vit_demo.common.words import say
from vit_demo.training.run import checkpoint, queue, runs
from vit_demo.training.run.runs import Run
from vit_demo.ui.shared import models
from vit_demo.ui.shared.components import Choice, polite
from vit_demo.ui.shared.runtext import status_word
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.finetune import film, result
from vit_demo.ui.tabs.finetune.run_html import RunView, hidden_view, view_of
from vit_demo.ui.tabs.finetune.runlist_rows import list_rows

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# The address names the run that is shown, so that it can be opened elsewhere and a reload finds it.
NAME_IN_ADDRESS = """(run, seen) => {
    const place = new URL(location.href);
    if (run) place.searchParams.set('run', run); else place.searchParams.delete('run');
    history.replaceState(history.state, '', place);
    return [run, seen];
}"""
# A plot that is drawn while it is hidden does not know how wide it will be.
FIT_PLOTS = "() => { requestAnimationFrame(() => window.dispatchEvent(new Event('resize'))); }"
# On a phone the run is below the settings: whoever comes with a link to it is taken there once its tab is
# drawn, else nothing moves.
SHOW_LINKED_RUN = """() => {
    if (!new URL(location.href).searchParams.get('run')) return;
    const until = Date.now() + 10000;
    const look = () => {
        const run = document.getElementById('train-run');
        const shown = document.querySelector('#train-status .run-about');
        if (shown?.offsetParent && run) {
            if (run.getBoundingClientRect().top > innerHeight) run.scrollIntoView({block: 'start'});
        }
        else if (Date.now() < until) setTimeout(look, 100);
    };
    look();
}"""
SCROLL_TO_RUN = """(...values) => {
    document.getElementById('train-run')?.scrollIntoView({behavior: 'smooth', block: 'start'});
    return values;
}"""


@dataclass(frozen=True)
class Shown:
    """run: holds the id of the run that is shown. moment: changes whenever that run, its status, its
    name or the number of its evaluations does. inputs, outputs: of :func:`refresh`."""

    run: gr.Dropdown
    moment: gr.Textbox
    inputs: list[gr.components.Component]
    outputs: list[gr.components.Component]


def build(model_in_use: gr.Dropdown, speech: Speech) -> Shown:
    """Lay out the view of a run. Inputs: the page's model list, set by "use this model"; the page's
    speech.
    """
    run = speech.speaks(
        Choice([], label=say("train.run.label"), elem_id="train-run"),
        label=Told("train.run.label"),
        choices=Told(lambda: _titles(list_rows())),
    )
    status = gr.HTML(hidden_view().status, elem_id="train-status")
    with gr.Row(elem_classes="actions"):
        stop = speech(
            gr.Button,
            value=Told("train.run.stop"),
            variant="stop",
            visible=False,
            min_width=110,
            elem_id="train-stop",
        )
        resume = speech(
            gr.Button,
            value=Told("train.run.resume"),
            variant="primary",
            visible=False,
            min_width=110,
            elem_id="train-resume",
        )
        use = speech(
            gr.Button, value=Told("train.run.use"), visible=False, min_width=110, elem_id="train-use"
        )
    # Not visible=False: the page reports a change only of what it has drawn.
    moment = gr.Textbox("", visible="hidden", elem_id="train-moment")
    with gr.Tabs(elem_id="train-views"):
        with speech(gr.Tab, label=Told("train.tab.curves"), id="curves") as curves:
            plot = gr.Plot(show_label=False, elem_id="train-plot", visible=False)
        with speech(gr.Tab, label=Told("train.tab.result"), id="result") as results:
            result.build(run, moment, speech)
        with speech(gr.Tab, label=Told("train.tab.film"), id="film"):
            film.build(run, moment, speech)
        with speech(gr.Tab, label=Told("train.tab.log"), id="log"):
            log = speech(
                gr.Textbox,
                placeholder=Told("train.run.log.empty"),
                show_label=False,
                lines=12,
                max_lines=12,
                interactive=False,
                elem_id="train-log",
                container=False,
            )
    seen, named = (gr.Textbox("", visible=False) for _ in range(2))
    shown = Shown(run, moment, [run, seen], [status, stop, resume, use, plot, log, seen, moment])
    stop.click(polite(end), run, None, **QUIET).success(refresh, shown.inputs, shown.outputs, **QUIET)
    resume.click(polite(go_on), run, None, **QUIET).success(refresh, shown.inputs, shown.outputs, **QUIET)
    run.change(refresh, shown.inputs, shown.outputs, js=NAME_IN_ADDRESS, **QUIET)
    moment.change(name_runs, named, [run, named], **QUIET)
    use.click(polite(use_model), run, model_in_use, **QUIET)
    # All else of the view comes with the next tick, which finds that it was told in another language.
    speech.retells(tell_again, shown.inputs, [status, plot])
    gr.on([curves.select, results.select], None, None, None, js=FIT_PLOTS)
    return shown


def existing(run_id: str | None) -> Run:
    """The run of this id; UserError where it was deleted, perhaps in another browser."""
    run = runs.find(run_id)
    if run is None:
        raise UserError("error.train_tab.gone")
    return run


def end(run_id: str | None) -> None:
    """Inputs: run. Asks its worker to stop, or takes it out of the queue."""
    run = runs.find(run_id)
    if run is None or not run.is_going():
        raise UserError("error.train_tab.none_going")
    waiting = run.state()["status"] == "waiting"
    run.request_stop()
    gr.Info(
        say("train.run.stopped.waiting" if waiting else "train.run.stopped.going"),
        title=say("train.run.stopping"),
    )


def go_on(run_id: str | None) -> None:
    """Inputs: run. Lets it go on from its last checkpoint, or wait its turn to do so."""
    run = existing(run_id)
    kept = checkpoint.exists(run)
    queue.resume(run)
    gr.Info(
        say("train.run.going_on.checkpoint" if kept else "train.run.going_on.anew"),
        title=say("train.run.going_on"),
    )


def offer_runs(run_id: str | None) -> dict:
    """Inputs: run. Outputs: the list of runs, with this run chosen, else the one that has its turn, else the
    newest that waits, else the newest.
    """
    rows = list_rows()
    wanted = [row.id for row in rows if row.id == run_id] + [
        row.id for row in sorted(rows, key=lambda row: (not row.going, row.status == "waiting"))
    ]
    return gr.update(choices=_titles(rows), value=wanted[0] if wanted else None)


def come_back(run_id: str | None) -> dict:
    """As :func:`offer_runs`, when the tab is opened again: what is chosen already is not chosen anew.

    All views of the run would ask for it once more, and on a slow computer what they are sent makes the tab
    report again that it was opened.
    """
    update = offer_runs(run_id)
    return update if update["value"] != run_id else gr.update(choices=update["choices"])


def name_runs(named: str) -> tuple:
    """Inputs: what the list of runs says already. Outputs: the list of runs by their present names and
    status, what it says; nothing where that is the same.
    """
    titles = _titles(list_rows())
    now = str(hash(tuple(titles)))
    return (gr.skip(), gr.skip()) if now == named else (gr.update(choices=titles), now)


def _titles(rows: list) -> list[tuple[str, str]]:
    return [
        (say("train.run.title", name=row.name, status=status_word(row.status).lower()), row.id)
        for row in rows
    ]


def refresh(run_id: str | None, seen: str) -> tuple:
    """Inputs: run, what the page shows already. Outputs: what of the view has changed since."""
    return _view(run_id).updates(seen)


def tell_again(run_id: str | None, seen: str) -> tuple:
    """Inputs: run, what the page shows already. Outputs: status, plot."""
    view = _view(run_id)
    return (
        (gr.skip(),) * 2
        if view.seen == seen
        else (view.status, gr.skip() if view.plot is None else gr.update(value=view.plot))
    )


def _view(run_id: str | None) -> RunView:
    run = runs.find(run_id)
    return hidden_view() if run is None else view_of(run)


def use_model(run_id: str | None) -> dict:
    """Inputs: run. Outputs: the page's model list with this run's model chosen."""
    run = runs.find(run_id)
    if run is None or not run.has_model():
        raise UserError("error.train_tab.no_model_yet")
    gr.Info(say("train.run.used"), title=say("train.done"))
    return gr.update(choices=models.ready_choices(), value=str(run.folder))
