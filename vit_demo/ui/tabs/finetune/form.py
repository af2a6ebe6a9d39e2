"""The settings of a run on the page, and what they become."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence, say
from vit_demo.data.names import BEANS, REVIEW
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.training.run import experiments, queue
from vit_demo.training.run.config import RECIPES, TRAINER_SETTINGS, TrainingConfig
from vit_demo.training.run.trackers import TRACKERS
from vit_demo.ui.shared import models
from vit_demo.ui.shared.runtext import AUGMENT_TITLES, HEAD_TITLES, RECIPE_TITLES
from vit_demo.ui.shared.speech import Speech, Told
from vit_demo.ui.tabs.data import sources, usual_sources
from vit_demo.ui.tabs.finetune.live import QUIET, offer_runs

OWN_RESOLUTION, NO_HYBRID, NO_TRACKER = "own", "no", "none"
HYBRIDS_OF_HUB = {"ResNet-18": "microsoft/resnet-18", "ResNet-50": "microsoft/resnet-50"}
MOST_SEEDS = 10
# By how much an arrow changes a number.
STEPS = {
    "warmup": 0.05,
    "weight_decay": 0.01,
    "layer_decay": 0.05,
    "label_smoothing": 0.05,
    "average": 0.001,
    "overshoot": 0.05,
}

WHOLE_NUMBERS = ("epochs", "batch_size", "seed", "evaluate_every", "patience")
NUMBERS = (
    "learning_rate",
    "warmup",
    "weight_decay",
    "layer_decay",
    "label_smoothing",
    "average",
    "overshoot",
    "patch_dropout",
    "time_limit",
)


@dataclass(frozen=True)
class Form:
    """fields: the component of each setting. count, name: number of seeds, and what the run is called. gpus:
    the hint for several GPUs, and command: the command line of the present settings."""

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


def build(tab: gr.Tab, speech: Speech) -> Form:
    """Lay out the settings. Inputs: the tab, which brings the list of models up to date and looks for GPUs;
    the page's speech.
    """
    make = _Fields(speech)
    recipe = speech(
        gr.Radio,
        choices=Told(_recipes),
        value="fast",
        label=Told("train.form.recipe"),
        elem_id="train-recipe",
        elem_classes="choices-below",
    )
    fixed = speech(gr.Markdown, value=Told("train.form.fixed"), visible=False, elem_id="train-fixed")
    fields = {"recipe": recipe, **_main_fields(make)}
    with speech(gr.Accordion, label=Told("train.form.learner"), open=False, elem_id="train-learner"):
        fields |= _learner_fields(make)
    with speech(gr.Accordion, label=Told("train.form.course"), open=False, elem_id="train-course"):
        fields |= _course_fields(make)
    with gr.Row():
        count = make(gr.Number, "count", value=1, precision=0, min_width=130, elem_id="train-count")
        name = make(gr.Textbox, "name", value="", max_lines=1, min_width=130, elem_id="train-name")
    start = speech(gr.Button, value=Told("train.form.start"), variant="primary", elem_id="train-start")
    with speech(gr.Accordion, label=Told("train.form.command"), open=False, elem_id="train-command-line"):
        gpus = gr.Markdown("", visible=False, elem_id="train-gpus")
        command = gr.Textbox(
            show_label=False,
            container=False,
            interactive=False,
            lines=3,
            max_lines=8,
            buttons=["copy"],
            elem_id="train-command",
        )
    form = Form(fields, count, name, start, gpus, command)
    recipe.input(
        apply_recipe, recipe, [fixed, *(field for key, field in fields.items() if key in DECIDED)], **QUIET
    )
    tab.select(
        lambda: [gr.update(choices=models.choices()), gr.update(choices=_sources())],
        None,
        [fields["model"], fields["data"]],
        **QUIET,
    )
    tab.select(count_gpus, None, gpus, **QUIET)
    # always_last: a recipe changes twenty settings at once, and only how they stand in the end counts.
    gr.on(
        [tab.select, *(field.change for field in fields.values())],
        show_command,
        form.inputs,
        command,
        trigger_mode="always_last",
        **QUIET,
    )
    speech.retells(tell_again, [gpus, command, *form.inputs], [gpus, command])
    return form


@dataclass(frozen=True)
class _Fields:
    """Makes the settings, each with its label and, where it has one, its explanation."""

    speech: Speech

    def __call__(
        self, kind: type[gr.components.Component], name: str, *, info: bool = True, **options: Any
    ) -> Any:
        told = {"info": Told(f"train.form.{name}.info")} if info else {}
        return self.speech(kind, label=Told(f"train.form.{name}"), **told, **options)

    def number(self, name: str, **options: Any) -> gr.Number:
        # No minimum or maximum: the config refuses in words what the stock component refuses in code.
        return self(gr.Number, name, value=getattr(TrainingConfig(), name), min_width=130, **options)


def _recipes() -> list[tuple[str, str]]:
    return [
        (
            say(
                "train.form.recipe.choice",
                title=say(RECIPE_TITLES[name]),
                line=say(f"train.form.recipe.{name}"),
            ),
            name,
        )
        for name in RECIPES
    ]


def _sources() -> list[tuple[str, str]]:
    """(title, value) of the photos to choose from: each of the usual ones with the corrected ones added too,
    where these may be kept.
    """
    found = sources()
    if not settings.load().review:
        return found
    usual, others = found[: len(usual_sources())], found[len(usual_sources()) :]
    return [
        *usual,
        *((say("train.form.with_corrected", photos=title), f"{value} + {REVIEW}") for title, value in usual),
        *others,
    ]


def _sides() -> list:
    return [(say("train.form.resolutions.own"), OWN_RESOLUTION), "224", "288", "320", "384"]


def _hybrids() -> list[tuple[str, str]]:
    of_hub = [(say("train.form.hybrid.from_hub", name=name), place) for name, place in HYBRIDS_OF_HUB.items()]
    return [(say("train.form.hybrid.no"), NO_HYBRID), (say("train.form.hybrid.new"), "new"), *of_hub]


def _trackers() -> list[tuple[str, str]]:
    return [
        (say("train.form.report_to.none"), NO_TRACKER),
        *((kind.title, name) for name, kind in TRACKERS.items()),
    ]


def _main_fields(make: _Fields) -> dict[str, gr.components.Component]:
    data = make(
        gr.Dropdown,
        "data",
        choices=Told(_sources),
        value=BEANS,
        allow_custom_value=True,
        elem_id="train-data",
    )
    model = make(
        gr.Dropdown,
        "model",
        choices=Told(models.choices),
        value=EMBEDDED,
        allow_custom_value=True,
        elem_id="train-model",
    )
    with gr.Row():
        epochs = make.number("epochs", precision=0, elem_id="train-epochs")
        batch_size = make.number("batch_size", precision=0, elem_id="train-batch")
    with gr.Row():
        learning_rate = make.number("learning_rate", step=1e-5, elem_id="train-rate")
        seed = make(
            gr.Number, "seed", value=TrainingConfig().seed, precision=0, min_width=120, elem_id="train-seed"
        )
    return {
        "data": data,
        "model": model,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }


def _titled(titles: Mapping[str, str]) -> list[tuple[str, str]]:
    """(title, value) of each choice. titles: their keys by value."""
    return [(say(key), name) for name, key in titles.items()]


def _learner_fields(make: _Fields) -> dict[str, gr.components.Component]:
    default = TrainingConfig()
    augment, head_init = (
        Told(functools.partial(_titled, titles)) for titles in (AUGMENT_TITLES, HEAD_TITLES)
    )
    fields = {
        "freeze": make(gr.Checkbox, "freeze", value=default.freeze, elem_id="train-freeze"),
        "attention_only": make(
            gr.Checkbox, "attention_only", value=default.attention_only, elem_id="train-attention-only"
        ),
        "resolutions": make(
            gr.Dropdown,
            "resolutions",
            choices=Told(_sides),
            value=OWN_RESOLUTION,
            allow_custom_value=True,
            elem_id="train-side",
        ),
        "small_first": make(
            gr.Checkbox, "small_first", value=default.small_first, elem_id="train-small-first"
        ),
        "patch_dropout": make.number("patch_dropout", step=0.05),
        "augment": make(
            gr.Radio, "augment", info=False, choices=augment, value=default.augment, elem_id="train-augment"
        ),
        "head_init": make(gr.Radio, "head_init", info=False, choices=head_init, value=default.head_init),
        "hybrid": make(
            gr.Dropdown,
            "hybrid",
            choices=Told(_hybrids),
            value=NO_HYBRID,
            allow_custom_value=True,
            elem_id="train-hybrid",
        ),
    }
    for pair in (("warmup", "weight_decay"), ("layer_decay", "label_smoothing"), ("average", "overshoot")):
        with gr.Row():
            fields |= {name: make.number(name, step=STEPS[name]) for name in pair}
    return fields


def _course_fields(make: _Fields) -> dict[str, gr.components.Component]:
    with gr.Row():
        patience = make.number("patience", precision=0, elem_id="train-patience")
        time_limit = make.number("time_limit", elem_id="train-time-limit")
    return {
        "patience": patience,
        "time_limit": time_limit,
        "evaluate_every": make.number("evaluate_every", precision=0),
        "report_to": make(
            gr.Radio,
            "report_to",
            info=False,
            choices=Told(_trackers),
            value=NO_TRACKER,
            elem_id="train-report",
        ),
    }


# The settings that the page offers besides the recipe, in the order of the form. Those of DECIDED change with
# the recipe: either it names them, or the tutorial's keeps them from being changed.
OFFERED = (
    "data",
    "model",
    "epochs",
    "batch_size",
    "learning_rate",
    "seed",
    "freeze",
    "attention_only",
    "resolutions",
    "small_first",
    "patch_dropout",
    "augment",
    "head_init",
    "hybrid",
    "warmup",
    "weight_decay",
    "layer_decay",
    "label_smoothing",
    "average",
    "overshoot",
    "patience",
    "time_limit",
    "evaluate_every",
    "report_to",
)
DECIDED = tuple(name for name in OFFERED if name in RECIPES["fast"] or name not in TRAINER_SETTINGS)


def apply_recipe(name: str) -> list[dict]:
    """Inputs: recipe. Outputs: the note on what is fixed, and each setting of DECIDED, grey where the recipe
    does not let it be changed.
    """
    recipe: dict[str, Any] = RECIPES[name]
    config = TrainingConfig(**recipe)
    trainer = config.engine == "trainer"
    updates = [gr.update(visible=trainer)]
    for setting in DECIDED:
        given = (
            {"value": _shown(setting, getattr(config, setting))}
            if trainer or setting in RECIPES[name]
            else {}
        )
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
    for setting in (*WHOLE_NUMBERS, *NUMBERS):
        if given[setting] is None:
            raise UserError("error.train_tab.fill_in", setting=Sentence(f"error.train_tab.number.{setting}"))
        given[setting] = int(given[setting]) if setting in WHOLE_NUMBERS else float(given[setting])
    if count is None or not 1 <= count <= MOST_SEEDS:
        raise UserError("error.train_tab.seeds", most=MOST_SEEDS)
    for setting, missing in (("data", "error.train_tab.no_data"), ("model", "error.train_tab.no_start")):
        given[setting] = (given[setting] or "").strip()
        if not given[setting]:
            raise UserError(missing)
    given["resolutions"] = _resolutions(given["resolutions"])
    hybrid = (given["hybrid"] or "").strip()
    given["hybrid"] = None if hybrid in ("", NO_HYBRID) else hybrid
    given["report_to"] = None if given["report_to"] == NO_TRACKER else given["report_to"]
    return Submitted(TrainingConfig(**{**recipe, **given}), int(count), (name or "").strip())


def _resolutions(text: str | None) -> tuple[int, ...]:
    text = (text or "").strip()
    if text in ("", OWN_RESOLUTION):
        return ()
    try:
        return tuple(int(side) for side in text.replace(";", ",").split(",") if side.strip())
    except ValueError:
        raise UserError("error.train_tab.side") from None


def begin(*values: Any) -> dict:
    """Inputs: Form.inputs. Outputs: the list of runs with the new one chosen, the first where there are
    several.
    """
    asked = submitted(*values)
    several = asked.count > 1
    run = (
        experiments.submit_seeds(asked.config, asked.count, name=asked.name)[0]
        if several
        else queue.submit(asked.config, name=asked.name)
    )
    if queue.place(run):
        gr.Info(say("train.form.queued"), title=say("train.form.queued.title"))
    return offer_runs(run.id)


def show_command(*values: Any) -> str:
    """Inputs: Form.inputs. Outputs: the command line that does the same, or why there is none."""
    try:
        config = submitted(*values).config
    except UserError as error:
        return str(error)
    return launch_command(config, gpu_count())


def tell_again(gpus: str, command: str, *values: Any) -> tuple:
    """Inputs: the hint, the command line shown, Form.inputs. Outputs: both anew; nothing where they are not
    shown yet.
    """
    return gr.update(value=gpu_hint(gpu_count())["value"]) if gpus else gr.skip(), show_command(
        *values
    ) if command else gr.skip()


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
    return gr.update(value=say("train.form.gpus", gpus=gpus) if gpus > 1 else "", visible=gpus > 1)


def gpu_count() -> int:
    """How many GPUs torch sees. Asked when the tab is opened: the page itself does not wait for torch."""
    import torch

    return torch.cuda.device_count()
