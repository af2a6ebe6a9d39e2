"""The settings of a run: to JSON and back, to a command line and back, and which values are refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from vit_demo import cli
from vit_demo.errors import UserError
from vit_demo.training import runs, worker
from vit_demo.training.config import RECIPES, TrainingConfig

CONFIGS = [
    TrainingConfig(),
    TrainingConfig(epochs=7, batch_size=3, learning_rate=1 / 3e4, seed=0, warmup=1 / 7, weight_decay=0.123456789),
    TrainingConfig(resolutions=(96, 128, 224), augment="strong", half=True, evaluate_every=13, device="cpu"),
    TrainingConfig(data="my leaves/with 'quotes' & $signs", model="owner/model", extra_data="more", data_revision="v1", model_revision="a1b2"),
    TrainingConfig(learning_rate=1e-8, warmup=0.9, weight_decay=1.0, seed=2**32 - 1, resolutions=(16,)),
    TrainingConfig(data="ümlaut/葉", learning_rate=1),
    *(TrainingConfig(**preset) for preset in RECIPES.values()),
]
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("config", CONFIGS)
def test_json_round_trip(config: TrainingConfig) -> None:
    back = TrainingConfig.from_json(config.to_json())
    assert back == config
    assert isinstance(back.resolutions, tuple)


@pytest.mark.parametrize("config", CONFIGS)
def test_command_is_read_back_by_the_real_command_line(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    got = []
    monkeypatch.setattr(runs, "create", lambda config, out: got.append((config, out)))
    result = {"test_accuracy": 1.0, "test_interval": [0, 1], "validation_accuracy": 1, "seconds": 1, "model": "m"}
    monkeypatch.setattr(worker, "execute", lambda run, listener: result)
    words = shlex.split(config.command(out="a folder"))
    assert words[:4] == ["python", "-m", "vit_demo", "train"]
    assert cli.main(words[3:]) == 0
    assert got == [(config, "a folder")]
    assert cli.main(shlex.split(config.command())[3:]) == 0
    assert got[1] == (config, None)


def test_command_says_what_decides_the_run_and_leaves_other_defaults_out() -> None:
    words = shlex.split(TrainingConfig().command())
    assert {"--data", "--model", "--epochs", "--seed"} <= set(words)
    assert "--warmup" not in words and "--out" not in words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("epochs", 1001), ("epochs", 2.0), ("epochs", True), ("epochs", "2"), ("epochs", None),
        ("batch_size", 0), ("batch_size", 4097), ("batch_size", -1), ("batch_size", NAN),
        ("evaluate_every", -1), ("evaluate_every", 1.5),
        ("seed", -1), ("seed", 2**32), ("seed", "42"),
        ("learning_rate", 0.0), ("learning_rate", 1.1), ("learning_rate", -1e-4), ("learning_rate", NAN), ("learning_rate", INF),
        ("learning_rate", "2e-4"), ("learning_rate", True), ("learning_rate", None),
        ("warmup", -0.1), ("warmup", 0.91), ("warmup", NAN), ("weight_decay", -1e-9), ("weight_decay", 1.01), ("weight_decay", NAN),
        ("resolutions", (15,)), ("resolutions", (2049,)), ("resolutions", (96, 128.0)), ("resolutions", ("96",)), ("resolutions", [96]),
        ("resolutions", 96), ("resolutions", None), ("resolutions", (True,)),
        ("data", None), ("data", 5), ("model", None), ("model", 5), ("extra_data", 5), ("data_revision", 1), ("model_revision", 1),
        ("augment", "no"), ("augment", 1), ("augment", None), ("half", "yes"), ("half", 0),
        ("device", "tpu"), ("device", "cuda:0"), ("device", 0),
    ],
)
def test_bad_values_are_refused_in_one_sentence(name: str, value: object) -> None:
    with pytest.raises(UserError) as refused:
        TrainingConfig(**{name: value})
    assert name in str(refused.value) and str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1), ("epochs", 1000), ("batch_size", 4096), ("seed", 0), ("learning_rate", 1.0), ("warmup", 0.9),
        ("resolutions", (16, 2048)), ("device", "mps"),
    ],
)
def test_the_ends_of_a_range_belong_to_it(name: str, value: object) -> None:
    assert getattr(TrainingConfig(**{name: value}), name) == value


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '{"epochs": 2, "newer_setting": 1}', '{"resolutions": 5}'])
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
