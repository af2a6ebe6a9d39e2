"""The Fine-tune tab: settings, start and stop on the left, the run on the right."""

from __future__ import annotations

import gradio as gr

from vit_demo.checkpoints import EMBEDDED
from vit_demo.data.sources import SAMPLE
from vit_demo.errors import UserError
from vit_demo.training import runs
from vit_demo.training.config import AUGMENTATIONS, RECIPES, TrainingConfig
from vit_demo.ui import models
from vit_demo.ui.components import polite
from vit_demo.ui.runview import RunView, hidden_view, view_of
from vit_demo.ui.tabs.data import SOURCES

TICK_SECONDS = 1.0
AUGMENT_TITLES = {"none": "not at all", "flips": "mirror", "strong": "mirror, turn, crop, colours"}
RECIPE_TITLES = {"tutorial": "The tutorial's", "progressive": "Small photos first: more accurate"}


def build(tab: gr.Tab, model_in_use: gr.Dropdown) -> gr.Timer:
    """Lay out the tab. Inputs: the tab; the page's model list, set by "use this model". Outputs: the timer of the live view."""
    default = TrainingConfig()
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            recipe = gr.Radio([(RECIPE_TITLES[name], name) for name in RECIPES], value="tutorial", label="Recipe", elem_id="train-recipe")
            data = gr.Dropdown(
                SOURCES, value=SAMPLE, label="Photos", info="or type a folder or a name on the Hugging Face Hub", allow_custom_value=True, elem_id="train-data"
            )
            model = gr.Dropdown(
                models.choices(), value=EMBEDDED, label="Start from", info="or type a model folder or a name on the Hub",
                allow_custom_value=True, elem_id="train-model",
            )
            whole = {"precision": 0, "min_width": 120}
            with gr.Row():
                epochs = gr.Number(default.epochs, label="Epochs", info="passes over the photos", elem_id="train-epochs", **whole)
                batch_size = gr.Number(default.batch_size, label="Batch size", info="photos a step", elem_id="train-batch", **whole)
            with gr.Row():
                learning_rate = gr.Number(
                    default.learning_rate, label="Learning rate", info="highest, then falls to 0", min_width=120, step=1e-5, elem_id="train-rate"
                )
                seed = gr.Number(default.seed, label="Seed", info="same seed, same run", elem_id="train-seed", **whole)
            with gr.Accordion("More settings", open=False):
                resolutions = gr.Textbox("", label="Resolutions in pixels", info="for equal parts of the run, e.g. 96, 128, 160, 224; empty: the model's own")
                augment = gr.Radio([(AUGMENT_TITLES[name], name) for name in AUGMENTATIONS], value="none", label="Change photos at random while training")
                warmup = gr.Number(default.warmup, label="Warm-up", info="share of the steps with a rising rate, 0 to 0.9", step=0.05)
                evaluate_every = gr.Number(10, label="Look at validation every … steps", info="0: twice an epoch", precision=0)
            with gr.Row():
                start = gr.Button("Start", variant="primary", elem_id="train-start")
                stop = gr.Button("Stop", variant="stop", elem_id="train-stop")
        with gr.Column(scale=3, min_width=300):
            run = gr.Dropdown([], label="Run", elem_id="train-run", allow_custom_value=False)
            status = gr.HTML(elem_id="train-status")
            plot = gr.Plot(show_label=False, elem_id="train-plot", visible=False)
            result = gr.HTML(elem_id="train-result")
            confusion = gr.Plot(show_label=False, visible=False, elem_id="train-confusion")
            use = gr.Button("Use this model in the other tabs", variant="primary", visible=False, elem_id="train-use")
            with gr.Accordion("Log", open=False):
                log = gr.Textbox(show_label=False, lines=10, max_lines=10, interactive=False, elem_id="train-log", container=False)
    seen = gr.Textbox("", visible=False)
    timer = gr.Timer(TICK_SECONDS, active=False)
    settings = [data, model, epochs, batch_size, learning_rate, seed, resolutions, augment, warmup, evaluate_every]
    view = [status, plot, result, confusion, use, log, seen]
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    recipe.input(apply_recipe, recipe, settings[2:5] + settings[6:], **quiet)
    start.click(polite(begin), settings, run, api_visibility="private").success(refresh, [run, seen], view, **quiet)
    stop.click(polite(end), run, None, **quiet)
    run.change(refresh_anew, run, view, **quiet)
    timer.tick(refresh, [run, seen], view, **quiet)
    use.click(polite(use_model), run, model_in_use, **quiet)
    tab.select(lambda: gr.update(choices=models.choices()), None, model, **quiet)
    tab.select(offer_runs, run, run, **quiet).then(refresh_anew, run, view, **quiet)
    return timer


def apply_recipe(name: str) -> tuple:
    """Inputs: recipe. Outputs: epochs, batch size, learning rate, resolutions, augmentation, warm-up, evaluate every."""
    config = TrainingConfig(**RECIPES[name])
    return (
        config.epochs, config.batch_size, config.learning_rate, ", ".join(map(str, config.resolutions)),
        config.augment, config.warmup, config.evaluate_every,
    )


def begin(*values) -> dict:
    """Inputs: all settings. Outputs: the list of runs with the new one chosen."""
    run = runs.launch(_config(*values))
    return gr.update(choices=_run_choices(), value=run.id)


def _config(data, model, epochs, batch_size, learning_rate, seed, resolutions, augment, warmup, evaluate_every) -> TrainingConfig:
    numbers = {"epochs": epochs, "batch size": batch_size, "learning rate": learning_rate, "seed": seed, "warm-up": warmup, "validation steps": evaluate_every}
    missing = [name for name, value in numbers.items() if value is None]
    if missing:
        raise UserError(f"Fill in the {missing[0]}.")
    try:
        sides = tuple(int(side) for side in (resolutions or "").replace(";", ",").split(",") if side.strip())
    except ValueError:
        raise UserError("The resolutions must be whole numbers of pixels with commas between, such as 96, 128, 224.") from None
    return TrainingConfig(
        data=data or SAMPLE, model=model or EMBEDDED, epochs=int(epochs), batch_size=int(batch_size), learning_rate=float(learning_rate),
        seed=int(seed), resolutions=sides, augment=augment, warmup=float(warmup), evaluate_every=int(evaluate_every),
    )


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
    return gr.update(choices=_run_choices(), value=chosen.id if chosen else None)


def _run_choices() -> list[tuple[str, str]]:
    return [(f"{run.id}  ({run.state()['status']})", run.id) for run in runs.list_runs()]


def refresh_anew(run_id: str | None) -> tuple:
    """Inputs: run. Outputs: the whole view of it."""
    return refresh(run_id, "")


def refresh(run_id: str | None, seen: str) -> tuple:
    """Inputs: run, what the page shows already. Outputs: the view, or nothing where nothing has changed."""
    run = runs.find(run_id)
    view: RunView = hidden_view() if run is None else view_of(run)
    if view.version == seen:
        return (gr.skip(),) * 7
    return view.updates()


def use_model(run_id: str | None) -> dict:
    """Inputs: run. Outputs: the page's model list with this run's model chosen."""
    run = runs.find(run_id)
    if run is None or not run.has_model():
        raise UserError("This run has no model yet. Wait until it has ended.")
    gr.Info("The other tabs now use this model.", title="Done")
    return gr.update(choices=models.ready_choices(), value=str(run.folder))
