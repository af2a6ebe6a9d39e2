"""A run in words: its status, its settings in short, times and dates."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

from vit_demo.common.errors import UserError
from vit_demo.common.words import percent, say
from vit_demo.data.names import BEANS, FORMER_SAMPLE, HUB_BEANS
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.training.run.config import AUGMENTATIONS, ENGINES, HEAD_INITS, RECIPES, TrainingConfig
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import RunStatus
from vit_demo.training.run.trackers import TRACKERS

# The keys of words, by what they are the words of.
STATUS_WORDS: dict[str, str] = {status: f"train.status.{status.replace(' ', '_')}" for status in RunStatus}
RECIPE_TITLES = {name: f"train.recipe.{name}" for name in RECIPES}
AUGMENT_TITLES = {name: f"train.augment.{name}" for name in AUGMENTATIONS}
HEAD_TITLES = {name: f"train.head.{name}" for name in HEAD_INITS}
ENGINE_TITLES = {name: f"train.engine.{name}" for name in ENGINES}
DATA_TITLES = {
    BEANS: "train.data.beans",
    HUB_BEANS: "train.data.hub_beans",
    FORMER_SAMPLE: "train.data.former_sample",
}
# What a person calls each setting, with its unit.
SETTING_TITLES = {field.name: f"train.setting.{field.name}" for field in dataclasses.fields(TrainingConfig)}
# What stands for a value of 0 or nothing.
NOTHING = {
    name: f"train.nothing.{name}"
    for name in (
        "hybrid",
        "resolutions",
        "evaluate_every",
        "patience",
        "time_limit",
        "checkpoint_every",
        "device",
    )
}


def status_word(status: str) -> str:
    """Where a run stands, in a word."""
    return say(STATUS_WORDS[status]) if status in STATUS_WORDS else status


def setting_text(name: str, value: Any) -> str:
    """One setting's value for people."""
    if name in NOTHING and not value:
        return say(NOTHING[name])
    if value is None:
        return say("train.value.none")
    if isinstance(value, bool):
        return say("train.value.yes" if value else "train.value.no")
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    if name == "report_to" and value in TRACKERS:
        return TRACKERS[value].title
    titles = {
        "engine": ENGINE_TITLES,
        "head_init": HEAD_TITLES,
        "augment": AUGMENT_TITLES,
        "data": DATA_TITLES,
    }.get(name, {})
    return say(titles[value]) if value in titles else str(value)


def settings_of(run: Run) -> str:
    """The settings of a run in one line, or why they cannot be read."""
    return settings_in_short(settings_or_refusal(run))


def settings_or_refusal(run: Run) -> TrainingConfig | UserError:
    """The settings of a run, or the error where they cannot be read, to be said later."""
    try:
        return run.config()
    except UserError as error:
        return error


def settings_in_short(config: TrainingConfig | UserError) -> str:
    """The settings that tell runs apart most, in one line; of an error what it says."""
    if isinstance(config, UserError):
        return str(config).rstrip(".\N{IDEOGRAPHIC FULL STOP}")
    recipe = config.recipe()
    parts = [say(RECIPE_TITLES[recipe]) if recipe else say("train.short.own")]
    parts.append(say("train.short.epochs", count=config.epochs))
    if config.freeze and recipe != "probe":
        parts.append(say("train.short.frozen"))
    if config.resolutions:
        parts.append(say("train.short.sides", sides="-".join(map(str, config.resolutions))))
    if config.hybrid:
        parts.append(say("train.short.hybrid"))
    parts += [
        say("train.short.seed", seed=config.seed),
        say(DATA_TITLES[config.data]) if config.data in DATA_TITLES else _last(config.data),
    ]
    if config.model != EMBEDDED:
        parts.append(say("train.short.from", model=_last(config.model)))
    return say("train.comma").join(parts)


def _last(place: str) -> str:
    """The last part of a folder or a name on the Hub."""
    return place.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def differences(configs: list[TrainingConfig]) -> list[tuple[str, list[str]]]:
    """(title, value for each config) of only those settings that are not the same in all."""
    found = []
    for field in dataclasses.fields(TrainingConfig):
        values = [getattr(config, field.name) for config in configs]
        if any(value != values[0] for value in values):
            found.append(
                (say(SETTING_TITLES[field.name]), [setting_text(field.name, value) for value in values])
            )
    return found


def accuracy_text(accuracy: float, interval: tuple[float, float] | list[float] | None) -> str:
    """An accuracy with its 95 % interval, "97.9 % (89.1 to 99.6 %)"."""
    return (
        percent(accuracy)
        if interval is None
        else say("train.accuracy", accuracy=percent(accuracy), interval=interval_text(interval))
    )


def interval_text(interval: tuple[float, float] | list[float]) -> str:
    """The two ends of an interval of shares, "89.1 to 99.6 %"."""
    low, high = (percent(max(0.0, min(1.0, end))) for end in interval)
    return say("train.interval", low=low.removesuffix("%").rstrip(), high=high)


def duration(seconds: float) -> str:
    """A time span for people, to the second, minute or hour."""
    seconds = round(seconds)
    if seconds < 90:
        return f"{seconds} s"
    return (
        f"{seconds // 60} min {seconds % 60} s"
        if seconds < 3600
        else f"{seconds // 3600} h {seconds % 3600 // 60} min"
    )


def moment_text(timestamp: float | None) -> str:
    """A date and time of the server's clock; "" for none."""
    if not timestamp:
        return ""
    moment = datetime.fromtimestamp(timestamp)
    return say(
        "train.date",
        day=f"{moment:%d}",
        month=say(f"train.month.{moment.month}"),
        year=moment.year,
        time=f"{moment:%H:%M}",
    )
