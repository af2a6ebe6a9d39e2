"""The settings of a run: to JSON and back, to a command line and back, and which values are refused."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shlex

import pytest

from vit_demo.cli import main as cli
from vit_demo.cli import train as cli_train
from vit_demo.common.errors import UserError
from vit_demo.training.run import config as settings
from vit_demo.training.run.config import RECIPES, TRAINER_SETTINGS, TUTORIAL, TrainingConfig

CONFIGS = [
    TrainingConfig(),
    TrainingConfig(
        epochs=7, batch_size=3, learning_rate=1 / 3e4, seed=0, warmup=1 / 7, weight_decay=0.123456789
    ),
    TrainingConfig(resolutions=(96, 128, 224), augment="strong", half=True, evaluate_every=13, device="cpu"),
    TrainingConfig(
        data="my leaves/with 'quotes' & $signs",
        model="owner/model",
        extra_data="more",
        data_revision="v1",
        model_revision="a1b2",
    ),
    TrainingConfig(learning_rate=1e-8, warmup=0.9, weight_decay=1.0, seed=2**32 - 1, resolutions=(16,)),
    TrainingConfig(data="ümlaut/葉", learning_rate=1),
    TrainingConfig(data="-photos", model="--model", extra_data="-x", hybrid="-"),
    TrainingConfig(
        hybrid="new",
        head_init="normal",
        freeze=True,
        small_first=True,
        patch_dropout=0.5,
        precision="fp32",
        report_to="trackio",
    ),
    TrainingConfig(
        layer_decay=0.65,
        label_smoothing=0.1,
        average=0.998,
        patience=3,
        time_limit=0.25,
        checkpoint_every=7,
        film=0,
    ),
    TrainingConfig(time_limit=1e6, learning_rate=1e-5, average=0.99999),
    *(TrainingConfig(**preset) for preset in RECIPES.values()),
    *(
        TrainingConfig(**{**preset, "seed": 7, "data": "leaves", "epochs": 9, "batch_size": 5, "half": True})
        for preset in RECIPES.values()
    ),
    TrainingConfig(**{**TUTORIAL, "engine": "own"}),
    # All that a recipe switches on, switched off again.
    TrainingConfig(**{**RECIPES["probe"], "freeze": False}),
    TrainingConfig(**{**RECIPES["thorough"], "resolutions": (), "small_first": False, "film": 0}),
]
NAN, INF = float("nan"), float("inf")
CHOICES = {
    "engine": ("own",),
    "augment": settings.AUGMENTATIONS,
    "precision": settings.PRECISIONS,
    "head_init": settings.HEAD_INITS,
    "report_to": (None, *settings.TRACKERS),
    "device": (None, *settings.DEVICES),
}
WHOLE = {
    "epochs": (1, 1000),
    "batch_size": (1, 4096),
    "evaluate_every": (0, 10**9),
    "seed": (0, 2**32 - 1),
    "patience": (0, 1000),
    "checkpoint_every": (0, 10**9),
    "film": (0, 12),
}
REAL = {
    "learning_rate": (1e-8, 1.0),
    "warmup": (0.0, 0.9),
    "weight_decay": (0.0, 1.0),
    "layer_decay": (0.1, 1.0),
    "label_smoothing": (0.0, 0.5),
    "average": (0.0, 0.99999),
    "overshoot": (0.0, 1.0),
    "patch_dropout": (0.0, 0.9),
    "time_limit": (0.0, 1e6),
}
SWITCHES = ("half", "freeze", "attention_only", "small_first")
TEXTS = ("data", "model", "hybrid", "extra_data", "data_revision", "model_revision")
NAMES = [field.name for field in dataclasses.fields(TrainingConfig)]


def parse(line: str) -> tuple[TrainingConfig, str | None]:
    """What the real command line makes of "python -m vit_demo train ..."."""
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "vit_demo", "train"]
    options = cli.parser().parse_args(words[3:])
    return cli_train.config_of(options), options.out


def drawn(rng: random.Random) -> TrainingConfig:
    """A config with a few, half or most of its settings drawn at random, from any of the recipes on."""
    share = rng.choice([0.05, 0.5, 0.9])
    values = dict(rng.choice([{}, *RECIPES.values()]))
    trainer = values.get("engine") == "trainer"
    for name in NAMES:
        if (
            rng.random() > share
            or (trainer and name not in TRAINER_SETTINGS)
            or (trainer and name == "engine")
        ):
            continue
        if name in CHOICES:
            values[name] = rng.choice(CHOICES[name])
        elif name in WHOLE:
            values[name] = rng.randint(*rng.choice([WHOLE[name], (WHOLE[name][0], min(12, WHOLE[name][1]))]))
        elif name in REAL:
            low, high = REAL[name]
            values[name] = rng.choice(
                [low, high, rng.uniform(low, high), max(low, high * 10 ** rng.uniform(-12, 0))]
            )
        elif name in SWITCHES:
            values[name] = rng.random() < 0.5
        elif name in TEXTS:
            text = "".join(rng.choices("ab- '\"$&/\\ü葉=*~#%@\t", k=rng.randint(1, 12)))
            values[name] = rng.choice([text, None]) if name not in ("data", "model") else text
        else:
            assert name == "resolutions"
            values[name] = tuple(rng.randint(16, 2048) for _ in range(rng.randint(0, 4)))
    return TrainingConfig(**values)


@pytest.mark.parametrize("config", CONFIGS)
def test_json_round_trip(config: TrainingConfig) -> None:
    back = TrainingConfig.from_json(config.to_json())
    assert back == config
    assert isinstance(back.resolutions, tuple)


@pytest.mark.parametrize("config", CONFIGS)
def test_command_is_read_back_by_the_real_command_line(config: TrainingConfig) -> None:
    for out in ("a folder", "-run"):
        assert parse(config.command(out)) == (config, out)
    assert parse(config.command()) == (config, None)


def test_any_config_comes_back_from_its_command_and_its_json() -> None:
    rng = random.Random(0)
    configs = [drawn(rng) for _ in range(400)]
    for config in configs:
        assert parse(config.command()) == (config, None), config.command()
        assert TrainingConfig.from_json(config.to_json()) == config
    for name in NAMES:  # else the draw would show little
        assert len({getattr(config, name) for config in configs}) > 1, name
    assert {config.recipe() for config in configs} == {None, *RECIPES}


def test_every_setting_has_its_flag_and_every_flag_its_setting() -> None:
    told = [name for group in cli_train.SETTINGS.values() for name in group]
    assert sorted(told) == sorted(NAMES) and len(set(told)) == len(told)
    assert sorted([*CHOICES, *WHOLE, *REAL, *SWITCHES, *TEXTS, "resolutions"]) == sorted(
        NAMES
    )  # and is tested here


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_by_name_is_that_recipe(name: str) -> None:
    config = TrainingConfig(**RECIPES[name])
    assert config.recipe() == name
    assert parse(f"python -m vit_demo train --recipe {name}")[0] == config
    words = shlex.split(config.command())
    assert ("--recipe" in words) == (name != "fast")  # the usual one goes without saying
    # What was typed counts more than the recipe, before and after it.
    for line in (f"--recipe {name} --epochs 77", f"--epochs 77 --recipe {name}"):
        assert parse(f"python -m vit_demo train {line}")[0] == dataclasses.replace(config, epochs=77)


def test_recipes_decide_the_same_settings_each() -> None:
    assert all(set(values) == set(RECIPES["fast"]) for values in RECIPES.values())
    assert TrainingConfig(**RECIPES["fast"]) == TrainingConfig()
    assert TrainingConfig(warmup=0.123).recipe() is None


def test_switches_can_be_switched_off_again() -> None:
    assert parse("python -m vit_demo train --recipe probe --no-freeze")[0].freeze is False
    assert "--no-freeze" not in TrainingConfig(**RECIPES["probe"]).command()
    assert parse("python -m vit_demo train --half --no-half")[0].half is False


def test_the_trainer_as_engine_is_the_tutorials_recipe() -> None:
    assert parse("python -m vit_demo train --engine trainer --seed 3")[0] == TrainingConfig(
        **{**TUTORIAL, "seed": 3}
    )


def test_command_says_what_decides_the_run_and_leaves_other_defaults_out() -> None:
    words = shlex.split(TrainingConfig().command())
    assert {"--data", "--model", "--epochs", "--seed"} <= set(words)
    assert "--warmup" not in words and "--out" not in words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 1001),
        ("epochs", 2.0),
        ("epochs", True),
        ("epochs", "2"),
        ("epochs", None),
        ("batch_size", 0),
        ("batch_size", 4097),
        ("batch_size", -1),
        ("batch_size", NAN),
        ("evaluate_every", -1),
        ("evaluate_every", 1.5),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", "42"),
        ("learning_rate", 0.0),
        ("learning_rate", 1.1),
        ("learning_rate", -1e-4),
        ("learning_rate", NAN),
        ("learning_rate", INF),
        ("learning_rate", "2e-4"),
        ("learning_rate", True),
        ("learning_rate", None),
        ("warmup", -0.1),
        ("warmup", 0.91),
        ("warmup", NAN),
        ("weight_decay", -1e-9),
        ("weight_decay", 1.01),
        ("weight_decay", NAN),
        ("resolutions", (15,)),
        ("resolutions", (2049,)),
        ("resolutions", (96, 128.0)),
        ("resolutions", ("96",)),
        ("resolutions", [96]),
        ("resolutions", 96),
        ("resolutions", None),
        ("resolutions", (True,)),
        ("data", None),
        ("data", 5),
        ("model", None),
        ("model", 5),
        ("extra_data", 5),
        ("data_revision", 1),
        ("model_revision", 1),
        ("augment", "no"),
        ("augment", 1),
        ("augment", None),
        ("half", "yes"),
        ("half", 0),
        ("device", "tpu"),
        ("device", "cuda:0"),
        ("device", 0),
        ("hybrid", 5),
        ("hybrid", True),
        ("head_init", "ones"),
        ("head_init", None),
        ("engine", "mine"),
        ("engine", None),
        ("precision", "fp16"),
        ("report_to", "none"),
        ("report_to", ""),
        ("freeze", 1),
        ("freeze", None),
        ("small_first", "yes"),
        ("patience", -1),
        ("patience", 1001),
        ("patience", 2.5),
        ("checkpoint_every", -1),
        ("film", 13),
        ("film", -1),
        ("film", True),
        ("layer_decay", 0.0),
        ("layer_decay", 1.01),
        ("layer_decay", NAN),
        ("label_smoothing", 0.51),
        ("label_smoothing", -0.1),
        ("average", 1.0),
        ("average", NAN),
        ("patch_dropout", 0.91),
        ("patch_dropout", "0.5"),
        ("time_limit", -1),
        ("time_limit", INF),
    ],
)
def test_bad_values_are_refused_in_one_sentence(name: str, value: object) -> None:
    with pytest.raises(UserError) as refused:
        TrainingConfig(**{name: value})
    assert name in str(refused.value) and str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1),
        ("epochs", 1000),
        ("batch_size", 4096),
        ("seed", 0),
        ("learning_rate", 1.0),
        ("warmup", 0.9),
        ("resolutions", (16, 2048)),
        ("device", "mps"),
        ("patience", 1000),
        ("film", 12),
        ("layer_decay", 0.1),
        ("label_smoothing", 0.5),
        ("average", 0.99999),
        ("patch_dropout", 0.9),
        ("time_limit", 1e6),
        ("hybrid", "new"),
    ],
)
def test_the_ends_of_a_range_belong_to_it(name: str, value: object) -> None:
    assert getattr(TrainingConfig(**{name: value}), name) == value


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TRAINER_SETTINGS])
def test_the_tutorials_recipe_refuses_what_the_trainer_does_not_do(name: str) -> None:
    other = {
        "hybrid": "new",
        "head_init": "normal",
        "freeze": True,
        "attention_only": True,
        "warmup": 0.2,
        "weight_decay": 0.1,
        "layer_decay": 0.5,
        "label_smoothing": 0.1,
        "average": 0.9,
        "overshoot": 0.1,
        "resolutions": (96,),
        "small_first": True,
        "patch_dropout": 0.5,
        "augment": "flips",
        "precision": "fp32",
        "patience": 2,
        "time_limit": 5.0,
        "checkpoint_every": 3,
        "film": 2,
    }
    with pytest.raises(UserError) as refused:
        TrainingConfig(**{**TUTORIAL, name: other[name]})
    assert f"setting {name} " in str(refused.value) and str(refused.value).endswith(".")


def test_the_tutorials_recipe_takes_the_rest() -> None:
    config = TrainingConfig(
        **{
            **TUTORIAL,
            "epochs": 1,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "evaluate_every": 5,
            "half": True,
            "report_to": "wandb",
        }
    )
    assert config.recipe() == "tutorial" and math.isclose(config.learning_rate, 1e-3)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", '{"epochs": 2, "newer_setting": 1}', '{"resolutions": 5}']
)
def test_a_broken_settings_file_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="settings file"):
        TrainingConfig.from_json(text)


def test_a_bad_value_in_a_settings_file_is_refused() -> None:
    values = json.loads(TrainingConfig().to_json())
    for bad in ({"learning_rate": NAN}, {"epochs": 0}, {"augment": "no"}):
        with pytest.raises(UserError, match="setting"):
            TrainingConfig.from_json(json.dumps({**values, **bad}))


def test_a_settings_file_may_leave_out_what_has_a_default() -> None:
    assert TrainingConfig.from_json('{"epochs": 3}') == TrainingConfig(epochs=3)


def test_a_run_from_before_the_mlps_could_be_frozen_learns_them_when_it_goes_on() -> None:
    earlier = json.loads(TrainingConfig().to_json())
    del earlier["attention_only"]
    assert TrainingConfig.from_json(json.dumps(earlier)) == TrainingConfig(attention_only=False)


def test_a_run_from_before_the_overshoot_goes_on_without() -> None:
    earlier = json.loads(TrainingConfig().to_json())
    del earlier["overshoot"]
    assert TrainingConfig.from_json(json.dumps(earlier)) == TrainingConfig(overshoot=0.0)
