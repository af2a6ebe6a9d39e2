"""The settings of a run on the page, and what they become."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from vit_demo.checkpoints import EMBEDDED
from vit_demo.data.sources import SAMPLE
from vit_demo.errors import UserError
from vit_demo.training import runs
from vit_demo.training.config import AUGMENTATIONS, RECIPES, TrainingConfig
from vit_demo.ui import models
from vit_demo.ui.tabs.data import SOURCES
from vit_demo.ui.tabs.finetune import live

AUGMENT_TITLES = {"none": "not at all", "flips": "mirror", "turns": "mirror and turn", "strong": "mirror, turn, crop, colours"}
RECIPE_TITLES = {"fast": "Fast", "thorough": "Thorough", "tutorial": "The tutorial's", "probe": "Last layer only"}


@dataclass(frozen=True)
class Form:
    """inputs: the components that :func:`begin` takes the values of, in its order. start: the button."""

    inputs: list[gr.components.Component]
    start: gr.Button


def build(tab: gr.Tab) -> Form:
    """Lay out the settings. Inputs: the tab, which brings the list of models up to date."""
    default = TrainingConfig()
    recipe = gr.Radio([(RECIPE_TITLES[name], name) for name in RECIPES], value="fast", label="Recipe", elem_id="train-recipe")
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
        augment = gr.Radio([(AUGMENT_TITLES[name], name) for name in AUGMENTATIONS], value=default.augment, label="Change photos at random while training")
        warmup = gr.Number(default.warmup, label="Warm-up", info="share of the steps with a rising rate, 0 to 0.9", step=0.05)
        evaluate_every = gr.Number(default.evaluate_every, label="Look at validation every … steps", info="0: as often as it helps", precision=0)
    start = gr.Button("Start", variant="primary", elem_id="train-start")
    settings = [data, model, epochs, batch_size, learning_rate, seed, resolutions, augment, warmup, evaluate_every]
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    recipe.input(apply_recipe, recipe, settings[2:5] + settings[6:], **quiet)
    tab.select(lambda: gr.update(choices=models.choices()), None, model, **quiet)
    return Form([recipe, *settings], start)


def apply_recipe(name: str) -> tuple:
    """Inputs: recipe. Outputs: epochs, batch size, learning rate, resolutions, augmentation, warm-up, evaluate every."""
    config = TrainingConfig(**RECIPES[name])
    return (
        config.epochs, config.batch_size, config.learning_rate, ", ".join(map(str, config.resolutions)),
        config.augment, config.warmup, config.evaluate_every,
    )


def begin(*values) -> dict:
    """Inputs: all settings. Outputs: the list of runs with the new one chosen."""
    run = runs.launch(config_of(*values))
    return gr.update(choices=live.run_choices(), value=run.id)


def config_of(recipe, data, model, epochs, batch_size, learning_rate, seed, resolutions, augment, warmup, evaluate_every) -> TrainingConfig:
    """The settings on the page as a config; UserError for what is missing or wrong."""
    numbers = {"epochs": epochs, "batch size": batch_size, "learning rate": learning_rate, "seed": seed, "warm-up": warmup, "validation steps": evaluate_every}
    missing = [name for name, value in numbers.items() if value is None]
    if missing:
        raise UserError(f"Fill in the {missing[0]}.")
    try:
        sides = tuple(int(side) for side in (resolutions or "").replace(";", ",").split(",") if side.strip())
    except ValueError:
        raise UserError("The resolutions must be whole numbers of pixels with commas between, such as 96, 128, 224.") from None
    own = {
        "data": data or SAMPLE, "model": model or EMBEDDED, "epochs": int(epochs), "batch_size": int(batch_size), "learning_rate": float(learning_rate),
        "seed": int(seed), "resolutions": sides, "augment": augment, "warmup": float(warmup), "evaluate_every": int(evaluate_every),
    }
    return TrainingConfig(**{**RECIPES[recipe], **own})
