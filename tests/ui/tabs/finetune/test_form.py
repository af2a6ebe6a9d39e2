"""The settings on the page: what stands there is what the run gets, and what is wrong is said before a run is
made.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

import gradio as gr
import pytest

from vit_demo.cli.main import parser
from vit_demo.cli.train import config_of
from vit_demo.training.run.config import RECIPES, TRAINER_SETTINGS, TrainingConfig
from vit_demo.ui.shared.speech import Speech
from vit_demo.ui.tabs.finetune import form
from vit_demo.ui.tabs.finetune.form import (
    DECIDED,
    OFFERED,
    Form,
    apply_recipe,
    gpu_hint,
    launch_command,
    show_command,
    submitted,
)


@pytest.fixture(scope="module")
def built() -> Form:
    with gr.Blocks(), gr.Tab("x") as tab:
        return form.build(tab, Speech())


@pytest.fixture
def values(built: Form) -> dict:
    """What stands in the form when the page is opened, by the names of the settings."""
    return {
        "count": built.count.value,
        "name": built.name.value,
        **{name: field.value for name, field in built.fields.items()},
    }


def test_the_form_as_it_opens_is_the_fast_recipe(built: Form, values: dict) -> None:
    assert list(built.fields) == ["recipe", *OFFERED]
    asked = submitted(*values.values())
    assert asked.config == TrainingConfig(**RECIPES["fast"]) and (asked.count, asked.name) == (1, "")


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_recipe_puts_into_the_form_is_that_recipe(values: dict, name: str) -> None:
    """From any other recipe, so that nothing of it is left."""
    for other in RECIPES:
        for recipe in (other, name):
            note, *updates = apply_recipe(recipe)
            values |= {
                "recipe": recipe,
                **{
                    setting: update["value"] for setting, update in zip(DECIDED, updates) if "value" in update
                },
            }
        assert submitted(*values.values()).config == TrainingConfig(**RECIPES[name]), other
    fixed = {setting for setting, update in zip(DECIDED, updates) if not update["interactive"]}
    tutorial = name == "tutorial"
    assert note["visible"] is tutorial and fixed == (
        {setting for setting in DECIDED if setting not in TRAINER_SETTINGS} if tutorial else set()
    )


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_line_does_what_the_form_does(values: dict, name: str) -> None:
    _, *updates = apply_recipe(name)
    values |= {
        "recipe": name,
        **{setting: update["value"] for setting, update in zip(DECIDED, updates) if "value" in update},
    }
    values |= {"epochs": 7, "seed": 3, "data": "my photos", "report_to": "trackio"}
    command = show_command(*values.values())
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "vit_demo"]
    assert config_of(parser().parse_args(words[3:])) == submitted(*values.values()).config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": None}, "Fill in the epochs"),
        ({"learning_rate": None}, "Fill in the learning rate"),
        ({"patience": None}, "Fill in the looks"),
        ({"epochs": 0}, "epochs must be a whole number from 1"),
        ({"learning_rate": -1.0}, "learning_rate must be a number"),
        ({"data": " "}, "Choose the photos"),
        ({"model": None}, "Choose the model"),
        ({"count": 0}, "from 1 to 10"),
        ({"count": None}, "from 1 to 10"),
        ({"count": 11}, "from 1 to 10"),
        ({"resolutions": "big"}, "96, 160, 224"),
        ({"resolutions": "9"}, "from 16 to 2048"),
    ],
)
def test_what_is_missing_or_wrong_is_said(
    values: dict, changes: dict, words: str, refusal: Callable[..., str]
) -> None:
    values |= changes
    text = refusal(submitted, *values.values())
    assert words in text
    if "count" not in changes:
        assert show_command(*values.values()) == text  # in the place of the command, without a message


@pytest.mark.parametrize(
    ("typed", "sides"),
    [
        ("own", ()),
        ("", ()),
        (None, ()),
        ("288", (288,)),
        ("96, 160,224", (96, 160, 224)),
        ("96;224;", (96, 224)),
    ],
)
def test_photo_sides_as_people_type_them(values: dict, typed: str | None, sides: tuple[int, ...]) -> None:
    assert submitted(*{**values, "resolutions": typed}.values()).config.resolutions == sides


def test_choices_become_settings(values: dict) -> None:
    values |= {
        "hybrid": " new ",
        "report_to": "wandb",
        "freeze": True,
        "name": "  mine ",
        "count": 3,
        "time_limit": 2,
    }
    asked = submitted(*values.values())
    assert (asked.config.hybrid, asked.config.report_to, asked.config.freeze, asked.config.time_limit) == (
        "new",
        "wandb",
        True,
        2.0,
    )
    assert (asked.name, asked.count) == ("mine", 3)


def test_several_gpus_are_offered_as_a_command(values: dict) -> None:
    config = submitted(*values.values()).config
    assert launch_command(config, 1) == config.command()
    assert launch_command(config, 4).startswith("accelerate launch --num_processes 4 -m vit_demo train ")
    assert not gpu_hint(1)["visible"] and "4 GPUs" in gpu_hint(4)["value"]
