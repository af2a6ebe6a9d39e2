"""The run that is shown large: how it stands, its curves, stop, and what can be done with its model."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from vit_demo.errors import UserError
from vit_demo.training import runs
from vit_demo.ui import models
from vit_demo.ui.components import polite
from vit_demo.ui.runview import RunView, hidden_view, view_of


@dataclass(frozen=True)
class Shown:
    """run: holds the id of the run that is shown. moment: changes whenever that run, its status or
    the number of its evaluations does. inputs, outputs: of :func:`refresh`."""

    run: gr.Dropdown
    moment: gr.Textbox
    inputs: list[gr.components.Component]
    outputs: list[gr.components.Component]


def build(model_in_use: gr.Dropdown) -> Shown:
    """Lay out the view of a run. Inputs: the page's model list, set by "use this model"."""
    run = gr.Dropdown([], label="Run", elem_id="train-run", allow_custom_value=False)
    status = gr.HTML(elem_id="train-status")
    stop = gr.Button("Stop", variant="stop", elem_id="train-stop")
    plot = gr.Plot(show_label=False, elem_id="train-plot", visible=False)
    result = gr.HTML(elem_id="train-result")
    confusion = gr.Plot(show_label=False, visible=False, elem_id="train-confusion")
    use = gr.Button("Use this model in the other tabs", variant="primary", visible=False, elem_id="train-use")
    with gr.Accordion("Log", open=False):
        log = gr.Textbox(show_label=False, lines=10, max_lines=10, interactive=False, elem_id="train-log", container=False)
    seen = gr.Textbox("", visible=False)
    moment = gr.Textbox("", visible="hidden", elem_id="train-moment")
    shown = Shown(run, moment, [run, seen], [status, plot, result, confusion, use, log, seen, moment])
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    stop.click(polite(end), run, None, **quiet)
    run.change(refresh_anew, run, shown.outputs, **quiet)
    use.click(polite(use_model), run, model_in_use, **quiet)
    return shown


def end(run_id: str | None) -> None:
    """Inputs: run. Asks its worker to stop."""
    run = runs.find(run_id)
    if run is None or not run.is_going():
        raise UserError("No run is going that could be stopped.")
    run.request_stop()
    gr.Info("The run ends after this step and keeps its best model.", title="Stopping")


def offer_runs(run_id: str | None) -> dict:
    """Inputs: run. Outputs: the list of runs, with this run chosen, else the one that is going, else the newest."""
    found = runs.list_runs()
    chosen = runs.find(run_id) or next((run for run in found if run.is_going()), found[0] if found else None)
    return gr.update(choices=run_choices(), value=chosen.id if chosen else None)


def run_choices() -> list[tuple[str, str]]:
    """(title, id) of each run, the newest first."""
    return [(f"{run.id}  ({run.state()['status']})", run.id) for run in runs.list_runs()]


def refresh_anew(run_id: str | None) -> tuple:
    """Inputs: run. Outputs: the whole view of it."""
    return refresh(run_id, "")


def refresh(run_id: str | None, seen: str) -> tuple:
    """Inputs: run, what the page shows already. Outputs: the view, or nothing where nothing has changed."""
    run = runs.find(run_id)
    view: RunView = hidden_view() if run is None else view_of(run)
    if view.version == seen:
        return (gr.skip(),) * 8
    return view.updates()


def use_model(run_id: str | None) -> dict:
    """Inputs: run. Outputs: the page's model list with this run's model chosen."""
    run = runs.find(run_id)
    if run is None or not run.has_model():
        raise UserError("This run has no model yet. Wait until it has ended.")
    gr.Info("The other tabs now use this model.", title="Done")
    return gr.update(choices=models.ready_choices(), value=str(run.folder))
