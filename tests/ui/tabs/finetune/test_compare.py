"""Several runs side by side: a curve each, and only the settings that differ; and a run in words."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from vit_demo.common.words import say, words
from vit_demo.training.run import runs
from vit_demo.training.run.config import RECIPES, TrainingConfig
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import RunStatus
from vit_demo.ui.shared.runtext import (
    AUGMENT_TITLES,
    DATA_TITLES,
    ENGINE_TITLES,
    HEAD_TITLES,
    NOTHING,
    RECIPE_TITLES,
    SETTING_TITLES,
    STATUS_WORDS,
    accuracy_text,
    differences,
    duration,
    moment_text,
    setting_text,
    settings_in_short,
)
from vit_demo.ui.tabs.finetune import compare
from vit_demo.ui.tabs.finetune.compare_figure import MOST, SMOOTH

pytestmark = pytest.mark.usefixtures("home")


def made(name: str, steps: int = 200, **settings) -> Run:
    run = runs.create(TrainingConfig(**settings))
    run.rename(name)
    log = EventLog(run)
    log.add("begin", total_steps=steps, steps_per_epoch=20, photos=10, device="cpu")
    for step in range(1, steps + 1):
        log.add(
            "train", step=step, epoch=step / 20, loss=1 / step, learning_rate=1e-4, photos_per_second=30.0
        )
    log.add("validation", step=steps, loss=0.5, accuracy=0.75, side=32)
    log.close()
    run.set_state(status="stopped")
    return run


def test_each_run_has_its_curves_and_the_table_only_what_differs() -> None:
    found = [made("a <i>b</i>", seed=1), made("c", seed=2, learning_rate=1e-3, resolutions=(96, 224))]
    plot, table = compare.compare([run.id for run in found], "steps")
    figure = plot["value"]
    assert plot["visible"] and [trace.name for trace in figure.data] == ["a <i>b</i>"] * 3 + ["c"] * 3
    assert (
        [len(trace.x) for trace in figure.data[:3]] == [1, 1, SMOOTH]
        and figure.data[0].x == (200,)
        and figure.data[2].x[0] == pytest.approx(2.5)
    )
    assert figure.data[0].line.color != figure.data[3].line.color
    along_epochs = compare.compare([run.id for run in found], "epochs")[0]["value"]
    assert along_epochs.data[0].x == (10,)
    assert (
        "Learning rate" in table
        and "0.001" in table
        and "96, 224" in table
        and "the model&#39;s own" in table
        and "Weight decay" not in table
    )
    assert "<i>" not in table and "no result yet" in table


def test_runs_of_the_same_name_are_told_apart_and_of_the_same_settings_said_to_be() -> None:
    found = [made("same", steps=3), made("same", steps=3)]
    plot, table = compare.compare([run.id for run in found], "steps")
    assert (
        plot["value"].data[0].name == f"same ({found[0].id})"
        and "All settings of these runs are the same." in table
    )


def test_too_few_and_too_many_are_answered_in_words() -> None:
    one = made("one", steps=3)
    for chosen in (None, [], [one.id], [one.id, "deleted"]):
        plot, note = compare.compare(chosen, "steps")
        assert not plot["visible"] and "Choose two runs" in note
    many = [made(str(number), steps=2).id for number in range(MOST + 1)]
    assert (
        f"At most {MOST} runs" in compare.compare(many, "steps")[1]
        and compare.compare(many[:MOST], "steps")[0]["visible"]
    )


def test_two_are_chosen_at_first_and_one_that_is_added_is_among_them() -> None:
    first, second, third = (made(name, steps=2) for name in "abc")
    assert compare.offer(None, first.id)["value"] == [first.id, third.id]  # the one shown, and the newest
    assert compare.offer([second.id, "deleted", first.id], None)["value"] == [second.id, first.id]
    assert compare.add([third.id, second.id], third.id)["value"] == [second.id, third.id]
    assert compare.add(None, second.id)["value"] == [second.id, third.id]
    every = [made(str(number), steps=2).id for number in range(MOST)]
    assert compare.add(every, first.id)["value"] == [*every[1:], first.id]


# In words


def test_every_setting_status_and_recipe_has_its_words() -> None:
    assert set(SETTING_TITLES) == {field.name for field in dataclasses.fields(TrainingConfig)}
    assert set(STATUS_WORDS) == set(RunStatus) and set(RECIPE_TITLES) == set(RECIPES)
    for field in dataclasses.fields(TrainingConfig):
        text = setting_text(field.name, field.default)
        assert text and text not in ("None", "()", "True", "False")
        if field.name in NOTHING:
            assert setting_text(field.name, 0) == say(NOTHING[field.name])
    every = (
        STATUS_WORDS,
        RECIPE_TITLES,
        AUGMENT_TITLES,
        HEAD_TITLES,
        ENGINE_TITLES,
        DATA_TITLES,
        SETTING_TITLES,
        NOTHING,
    )
    assert {key for titles in every for key in titles.values()} <= words().keys()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Fast, {epochs} epochs, seed 42, beans"),
        ({"epochs": 1}, "Own settings, 1 epoch, seed 42, beans"),
        (
            {"hybrid": "new", "data": "/a/my beans/", "model": "some/vit"},
            "Fast, {epochs} epochs, CNN hybrid, seed 42, my beans, from vit",
        ),
        (
            {"resolutions": (96, 224), "freeze": True},
            "Own settings, {epochs} epochs, encoder frozen, 96-224 px, seed 42, beans",
        ),
    ],
)
def test_settings_in_one_line(changes: dict, words: str) -> None:
    config = TrainingConfig(**{**RECIPES["fast"], **changes})
    assert settings_in_short(config) == words.format(epochs=config.epochs)


def test_only_what_differs_is_named() -> None:
    configs = [TrainingConfig(), TrainingConfig(half=True, report_to="trackio")]
    assert differences(configs) == [
        ("Numbers also to", ["none", "Trackio"]),
        ("Saved as float16", ["no", "yes"]),
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (89.4, "89 s"),
        (90, "1 min 30 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_accuracies_and_moments_in_words() -> None:
    assert (
        accuracy_text(0.979, (0.891, 0.996)) == "97.9 % (89.1 to 99.6 %)"
        and accuracy_text(1.0, None) == "100.0 %"
    )
    assert moment_text(None) == "" and len(moment_text(1.7e9)) == len("14 Nov 2023 22:13")


def test_a_run_that_was_deleted_meanwhile_is_left_out(tmp_path: Path) -> None:
    found = [made(name, steps=2) for name in "abc"]
    runs.delete(found[1])
    plot, _ = compare.compare([run.id for run in found], "steps")
    assert {trace.name for trace in plot["value"].data} == {"a", "c"}


def test_what_is_chosen_already_is_not_chosen_anew_when_the_view_is_opened_again() -> None:
    assert "value" not in compare.come_back([], None) and "value" not in compare.come_back(None, None)
    ids = [made(name).id for name in ("one", "two")]
    chosen = compare.come_back([], ids[0])["value"]
    assert set(chosen) == set(ids)
    again = compare.come_back(chosen, ids[0])
    assert "value" not in again and len(again["choices"]) == 2


def test_a_test_split_that_could_not_be_scored_is_told_apart_from_no_result() -> None:
    scored, unscored, none = (made(name, steps=2) for name in "abc")
    validation = {"accuracy": 0.5, "interval": [0.4, 0.6]}
    for run, test in ((scored, {"accuracy": 0.75, "interval": [0.6, 0.9]}), (unscored, None)):
        run.model_folder.mkdir()
        (run.model_folder / "scores.json").write_text(json.dumps({"test": test, "validation": validation}))
    _, table = compare.compare([run.id for run in (scored, unscored, none)], "steps")
    row = next(line for line in table.split("<tr>") if say("train.compare.row.test") in line)
    cells = re.findall(r"<td>(.*?)</td>", row)
    assert cells[-3:] == ["75.0 %", "not measured", "no result yet"]
    assert table.count("50.0 %") == 2 and "0.0 %</td>" not in row.replace("75.0 %", "")
