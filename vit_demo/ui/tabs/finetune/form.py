"""The settings of a run on the page, and what they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.data.names import BEANS, REVIEW
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.training.run import experiments, queue
from vit_demo.training.run.config import AUGMENTATIONS, HEAD_INITS, RECIPES, TRAINER_SETTINGS, TrainingConfig
from vit_demo.training.run.trackers import TRACKERS
from vit_demo.ui.shared import models
from vit_demo.ui.shared.runtext import AUGMENT_TITLES, HEAD_TITLES, RECIPE_TITLES
from vit_demo.ui.tabs.data import CORRECTED, SOURCES, brought
from vit_demo.ui.tabs.finetune.live import QUIET, offer_runs

RECIPE_LINES = {
    "fast": "small photos first; the usual choice",
    "thorough": "longer, with all weights and patches, for the last percent",
    "tutorial": "as the Hugging Face tutorial does it; slower, to compare with",
    "probe": "all but the last layer stays as it is; learns the least, needs the fewest photos",
}
OWN_RESOLUTION, NO_HYBRID, NO_TRACKER = "own", "no", "none"
HYBRIDS = [
    ("no: patches of the photo itself", NO_HYBRID),
    ("a small new one, learned along", "new"),
    ("ResNet-18 from the Hub", "microsoft/resnet-18"),
    ("ResNet-50 from the Hub", "microsoft/resnet-50"),
]
MOST_SEEDS = 10

WHOLE_NUMBERS = {
    "epochs": "epochs", "batch_size": "batch size", "seed": "seed", "evaluate_every": "steps between two looks at validation",
    "patience": "looks without a better loss",
}
NUMBERS = {
    "learning_rate": "learning rate", "warmup": "warm-up", "weight_decay": "weight decay", "layer_decay": "layer-wise rate",
    "label_smoothing": "label smoothing", "average": "weight averaging", "overshoot": "overshoot", "patch_dropout": "patch dropout", "time_limit": "time limit",
}


@dataclass(frozen=True)
class Form:
    """fields: the component of each setting. count, name: number of seeds, and what the run is called. gpus: the hint for
    several GPUs, and command: the command line of the present settings."""

    fields: dict[str, gr.components.Component]
    count: gr.Number
    name: gr.Textbox
    start: gr.Button
    gpus: gr.Markdown
    command: gr.Textbox

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What :func:`submitted` takes, in its order."""
        return [self.count, self.name, *self.fields.values()]


def build(tab: gr.Tab) -> Form:
    """Lay out the settings. Inputs: the tab, which brings the list of models up to date and looks for GPUs."""
    titles = [(f"{RECIPE_TITLES[name]}: {RECIPE_LINES[name]}", name) for name in RECIPES]
    recipe = gr.Radio(titles, value="fast", label="Recipe", elem_id="train-recipe", elem_classes="choices-below")
    fixed = gr.Markdown("Grey settings are fixed in this recipe. Choose another recipe to change them.", visible=False, elem_id="train-fixed")
    fields = {"recipe": recipe, **_main_fields()}
    with gr.Accordion("Choices a learner wants", open=False, elem_id="train-learner"):
        fields |= _learner_fields()
    with gr.Accordion("When to stop, and where the numbers go", open=False, elem_id="train-course"):
        fields |= _course_fields()
    with gr.Row():
        count = gr.Number(
            1, label="Seeds", info="1 to 10: so many runs that differ by chance alone, and their mean", precision=0, min_width=130, elem_id="train-count"
        )
        name = gr.Textbox("", label="Name of the run", info="if you like", max_lines=1, min_width=130, elem_id="train-name")
    start = gr.Button("Start", variant="primary", elem_id="train-start")
    with gr.Accordion("The same as a command line", open=False, elem_id="train-command-line"):
        gpus = gr.Markdown("", visible=False, elem_id="train-gpus")
        command = gr.Textbox(show_label=False, container=False, interactive=False, lines=3, max_lines=8, buttons=["copy"], elem_id="train-command")
    form = Form(fields, count, name, start, gpus, command)
    recipe.input(apply_recipe, recipe, [fixed, *(field for key, field in fields.items() if key in DECIDED)], **QUIET)
    tab.select(lambda: [gr.update(choices=models.choices()), gr.update(choices=_sources())], None, [fields["model"], fields["data"]], **QUIET)
    tab.select(count_gpus, None, gpus, **QUIET)
    # always_last: a recipe changes twenty settings at once, and only how they stand in the end counts.
    gr.on([tab.select, *(field.change for field in fields.values())], show_command, form.inputs, command, trigger_mode="always_last", **QUIET)
    return form


def _sources() -> list[tuple[str, str]]:
    """(title, value) of the photos to choose from: each with the corrected ones added too, where these may be kept."""
    with_corrected = [(f"{title}, and the corrected photos", f"{value} + {REVIEW}") for title, value in SOURCES]
    return [*SOURCES, *with_corrected, CORRECTED, *brought()] if settings.load().review else SOURCES


def _main_fields() -> dict[str, gr.components.Component]:
    default = TrainingConfig()
    data = gr.Dropdown(
        _sources(), value=BEANS, label="Photos", info="or type a folder or a name on the Hugging Face Hub", allow_custom_value=True, elem_id="train-data"
    )
    model = gr.Dropdown(
        models.choices(), value=EMBEDDED, label="Start from", info="the embedded model knows beans already; or type a model folder or a name on the Hub",
        allow_custom_value=True, elem_id="train-model",
    )
    with gr.Row():
        epochs = _number("epochs", "Epochs", "passes over the photos", precision=0, elem_id="train-epochs")
        batch_size = _number("batch_size", "Batch size", "photos a step", precision=0, elem_id="train-batch")
    with gr.Row():
        learning_rate = _number("learning_rate", "Learning rate", "highest, then falls to 0", step=1e-5, elem_id="train-rate")
        seed = gr.Number(default.seed, label="Seed", info="same seed, same run", precision=0, min_width=120, elem_id="train-seed")
    return {"data": data, "model": model, "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}


def _learner_fields() -> dict[str, gr.components.Component]:
    default = TrainingConfig()
    fields = {
        "freeze": gr.Checkbox(default.freeze, label="Freeze the encoder", info="train the last layer alone (a linear probe)", elem_id="train-freeze"),
        "attention_only": gr.Checkbox(
            default.attention_only, label="Freeze the MLPs", info="of each block attention and norms learn: a third quicker; all learn in a hybrid",
            elem_id="train-attention-only",
        ),
        "resolutions": gr.Dropdown(
            [("the model's own", OWN_RESOLUTION), "224", "288", "320", "384"], value=OWN_RESOLUTION, label="Photo side in pixels",
            info="more sees more and takes longer; or type several, one after the other: 96, 160, 224", allow_custom_value=True, elem_id="train-side",
        ),
        "small_first": gr.Checkbox(
            default.small_first, label="Grow from small photos", info="early epochs at a lower resolution: quicker", elem_id="train-small-first"
        ),
        "patch_dropout": _number("patch_dropout", "Patch dropout", "share of the patches left out in each step, 0 to 0.9", step=0.05),
        "augment": gr.Radio(
            [(AUGMENT_TITLES[name], name) for name in AUGMENTATIONS], value=default.augment, label="Change photos at random", elem_id="train-augment"
        ),
        "head_init": gr.Radio([(HEAD_TITLES[name], name) for name in HEAD_INITS], value=default.head_init, label="The new last layer starts"),
        "hybrid": gr.Dropdown(
            HYBRIDS, value=NO_HYBRID, label="A CNN in front (hybrid)", info="or type a ResNet's folder or its name on the Hub", allow_custom_value=True,
            elem_id="train-hybrid",
        ),
    }
    with gr.Row():
        fields["warmup"] = _number("warmup", "Warm-up", "share of the steps in which the rate rises, 0 to 0.9", step=0.05)
        fields["weight_decay"] = _number("weight_decay", "Weight decay", "pull of the weights to 0; 0: none", step=0.01)
    with gr.Row():
        fields["layer_decay"] = _number("layer_decay", "Layer-wise rate", "factor on the rate a layer deeper; 1: none", step=0.05)
        fields["label_smoothing"] = _number("label_smoothing", "Label smoothing", "share of doubt in each label, 0 to 0.5", step=0.05)
    with gr.Row():
        fields["average"] = _number("average", "Weight averaging", "decay a step of a moving average of the weights, such as 0.99; 0: none", step=0.001)
        fields["overshoot"] = _number("overshoot", "Overshoot", "the end weights are also tried this share further on; validation decides; 0: none", step=0.05)
    return fields


def _course_fields() -> dict[str, gr.components.Component]:
    with gr.Row():
        patience = _number("patience", "Stop early", "after so many looks at validation without a better loss; 0: never", precision=0, elem_id="train-patience")
        time_limit = _number("time_limit", "Time limit in minutes", "then the best model so far is kept; 0: none", elem_id="train-time-limit")
    trackers = [("only here", NO_TRACKER), *((kind.title, name) for name, kind in TRACKERS.items())]
    return {
        "patience": patience,
        "time_limit": time_limit,
        "evaluate_every": _number("evaluate_every", "Look at validation every … steps", "0: as often as it helps", precision=0),
        "report_to": gr.Radio(trackers, value=NO_TRACKER, label="Show the numbers", elem_id="train-report"),
    }


def _number(name: str, label: str, info: str, **options: Any) -> gr.Number:
    # No minimum or maximum: the config refuses in words what the stock component refuses in code.
    return gr.Number(getattr(TrainingConfig(), name), label=label, info=info, min_width=130, **options)


# The settings that the page offers besides the recipe, in the order of the form. Those of DECIDED change with the recipe:
# either it names them, or the tutorial's keeps them from being changed.
OFFERED = (
    "data", "model", "epochs", "batch_size", "learning_rate", "seed", "freeze", "attention_only", "resolutions", "small_first", "patch_dropout", "augment",
    "head_init", "hybrid", "warmup", "weight_decay", "layer_decay", "label_smoothing", "average", "overshoot", "patience", "time_limit", "evaluate_every",
    "report_to",
)
DECIDED = tuple(name for name in OFFERED if name in RECIPES["fast"] or name not in TRAINER_SETTINGS)


def apply_recipe(name: str) -> list[dict]:
    """Inputs: recipe. Outputs: the note on what is fixed, and each setting of DECIDED, grey where the recipe does not let it be changed."""
    config = TrainingConfig(**RECIPES[name])
    trainer = config.engine == "trainer"
    updates = [gr.update(visible=trainer)]
    for setting in DECIDED:
        given = {"value": _shown(setting, getattr(config, setting))} if trainer or setting in RECIPES[name] else {}
        updates.append(gr.update(interactive=not trainer or setting in TRAINER_SETTINGS, **given))
    return updates


def _shown(setting: str, value: Any) -> Any:
    """A setting of a config as the page's component holds it."""
    if setting == "resolutions":
        return ", ".join(map(str, value)) or OWN_RESOLUTION
    return {"hybrid": NO_HYBRID, "report_to": NO_TRACKER}.get(setting) if value is None else value


@dataclass(frozen=True)
class Submitted:
    """What the page asks for: ``count`` runs of this config, and what they are called."""

    config: TrainingConfig
    count: int
    name: str


def submitted(count: float | None, name: str | None, *values: Any) -> Submitted:
    """The values of :attr:`Form.inputs`, understood; UserError for what is missing or wrong."""
    given = dict(zip(("recipe", *OFFERED), values, strict=True))
    recipe = RECIPES[given.pop("recipe")]
    for setting, title in {**WHOLE_NUMBERS, **NUMBERS}.items():
        if given[setting] is None:
            raise UserError(f"Fill in the {title}.")
        given[setting] = int(given[setting]) if setting in WHOLE_NUMBERS else float(given[setting])
    if count is None or not 1 <= count <= MOST_SEEDS:
        raise UserError(f"The number of seeds must be from 1 to {MOST_SEEDS}.")
    for setting, missing in (("data", "photos to learn from"), ("model", "model to start from")):
        given[setting] = (given[setting] or "").strip()
        if not given[setting]:
            raise UserError(f"Choose the {missing}.")
    given["resolutions"] = _sides(given["resolutions"])
    hybrid = (given["hybrid"] or "").strip()
    given["hybrid"] = None if hybrid in ("", NO_HYBRID) else hybrid
    given["report_to"] = None if given["report_to"] == NO_TRACKER else given["report_to"]
    return Submitted(TrainingConfig(**{**recipe, **given}), int(count), (name or "").strip())


def _sides(text: str | None) -> tuple[int, ...]:
    text = (text or "").strip()
    if text in ("", OWN_RESOLUTION):
        return ()
    try:
        return tuple(int(side) for side in text.replace(";", ",").split(",") if side.strip())
    except ValueError:
        raise UserError("The photo side must be a whole number of pixels, or several with commas between, such as 96, 160, 224.") from None


def begin(*values: Any) -> dict:
    """Inputs: Form.inputs. Outputs: the list of runs with the new one chosen, the first where there are several."""
    asked = submitted(*values)
    several = asked.count > 1
    run = experiments.submit_seeds(asked.config, asked.count, name=asked.name)[0] if several else queue.submit(asked.config, name=asked.name)
    if queue.place(run):
        gr.Info("It starts by itself when the runs before it have ended.", title="In the queue")
    return offer_runs(run.id)


def show_command(*values: Any) -> str:
    """Inputs: Form.inputs. Outputs: the command line that does the same, or why there is none."""
    try:
        config = submitted(*values).config
    except UserError as error:
        return str(error)
    return launch_command(config, gpu_count())


def launch_command(config: TrainingConfig, gpus: int) -> str:
    """The command line of a run; one process a GPU where there are several."""
    command = config.command()
    if gpus < 2:
        return command
    return command.replace("python -m", f"accelerate launch --num_processes {gpus} -m", 1)


def count_gpus() -> dict:
    """Outputs: the hint that a run can use all GPUs, where there are several."""
    return gpu_hint(gpu_count())


def gpu_hint(gpus: int) -> dict:
    """An update of the hint, for so many GPUs."""
    text = f"This computer has {gpus} GPUs. A run that is started here uses one of them; with this command it uses all:"
    return gr.update(value=text if gpus > 1 else "", visible=gpus > 1)


def gpu_count() -> int:
    """How many GPUs torch sees. Asked when the tab is opened: the page itself does not wait for torch."""
    import torch

    return torch.cuda.device_count()
