"""A run in words: its status, its settings in short, times and dates."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

from vit_demo.common.errors import UserError
from vit_demo.common.words import percent
from vit_demo.data.names import BEANS, FORMER_SAMPLE, HUB_BEANS
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run
from vit_demo.training.run.trackers import TRACKERS

STATUS_WORDS = {
    "waiting": "Waiting", "starting": "Starting", "preparing": "Preparing", "training": "Training", "scoring": "Scoring",
    "finished": "Finished", "stopped": "Stopped", "failed": "Failed", runs.BROKEN_OFF: "Broken off",
}
RECIPE_TITLES = {"fast": "Fast", "thorough": "Thorough", "tutorial": "The tutorial's", "probe": "Last layer only"}
AUGMENT_TITLES = {"none": "not at all", "flips": "mirror", "turns": "mirror and turn", "strong": "mirror, turn, crop, colours"}
HEAD_TITLES = {"zero": "at zero", "normal": "at small random values"}
# What a person calls each setting, with its unit.
SETTING_TITLES = {
    "data": "Photos", "model": "Start from", "engine": "Training loop", "hybrid": "CNN in front", "head_init": "New last layer starts",
    "freeze": "Encoder frozen", "attention_only": "MLPs frozen", "epochs": "Epochs", "batch_size": "Batch size (photos)",
    "learning_rate": "Learning rate", "warmup": "Warm-up (share of steps)",
    "weight_decay": "Weight decay", "layer_decay": "Layer-wise rate", "label_smoothing": "Label smoothing", "average": "Weight averaging",
    "overshoot": "Overshoot (share)",
    "seed": "Seed", "resolutions": "Photo side (px)", "small_first": "Grow from small photos", "patch_dropout": "Patch dropout (share)",
    "augment": "Change photos at random", "precision": "Precision", "evaluate_every": "Look at validation every (steps)",
    "patience": "Stop early after (looks)", "time_limit": "Time limit (min)", "checkpoint_every": "Checkpoint every (steps)", "film": "Photos in the film",
    "report_to": "Numbers also to", "extra_data": "More train photos", "data_revision": "Version of the photos", "model_revision": "Version of the model",
    "device": "Device", "half": "Saved as float16",
}
ENGINE_TITLES = {"own": "our own", "trainer": "Hugging Face Trainer"}
DATA_TITLES = {BEANS: "beans", HUB_BEANS: "beans from the Hub", FORMER_SAMPLE: "drawings of leaves"}
# What stands for a value of 0 or nothing.
NOTHING = {
    "hybrid": "no", "resolutions": "the model's own", "evaluate_every": "as often as it helps", "patience": "never", "time_limit": "none",
    "checkpoint_every": "about one a minute", "device": "the fastest",
}


def setting_text(name: str, value: Any) -> str:
    """One setting's value for people."""
    if name in NOTHING and not value:
        return NOTHING[name]
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    trackers = {name: kind.title for name, kind in TRACKERS.items()}
    titles = {"engine": ENGINE_TITLES, "head_init": HEAD_TITLES, "augment": AUGMENT_TITLES, "report_to": trackers, "data": DATA_TITLES}
    return titles.get(name, {}).get(value, str(value))


def settings_of(run: Run) -> str:
    """The settings of a run in one line, or why they cannot be read."""
    try:
        return settings_in_short(run.config())
    except UserError as error:
        return str(error).rstrip(".")


def settings_in_short(config: TrainingConfig) -> str:
    """The settings that tell runs apart most, in one line."""
    recipe = config.recipe()
    parts = [RECIPE_TITLES[recipe] if recipe else "Own settings"]
    parts.append(_count(config.epochs, "epoch"))
    if config.freeze and recipe != "probe":
        parts.append("encoder frozen")
    if config.resolutions:
        parts.append(f"{'-'.join(map(str, config.resolutions))} px")
    if config.hybrid:
        parts.append("CNN hybrid")
    parts += [f"seed {config.seed}", DATA_TITLES.get(config.data, _last(config.data))]
    if config.model != EMBEDDED:
        parts.append(f"from {_last(config.model)}")
    return ", ".join(parts)


def _last(place: str) -> str:
    """The last part of a folder or a name on the Hub."""
    return place.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def differences(configs: list[TrainingConfig]) -> list[tuple[str, list[str]]]:
    """(title, value for each config) of only those settings that are not the same in all."""
    found = []
    for field in dataclasses.fields(TrainingConfig):
        values = [getattr(config, field.name) for config in configs]
        if any(value != values[0] for value in values):
            found.append((SETTING_TITLES[field.name], [setting_text(field.name, value) for value in values]))
    return found


def accuracy_text(accuracy: float, interval: tuple[float, float] | list[float] | None) -> str:
    """An accuracy with its 95 % interval, "97.9 % (89.1 to 99.6 %)"."""
    if interval is None:
        return percent(accuracy)
    low, high = (percent(max(0.0, min(1.0, end))) for end in interval)
    return f"{percent(accuracy)} ({low.removesuffix(' %')} to {high})"


def duration(seconds: float) -> str:
    """A time span for people, to the second, minute or hour."""
    seconds = round(seconds)
    if seconds < 90:
        return f"{seconds} s"
    return f"{seconds // 60} min {seconds % 60} s" if seconds < 3600 else f"{seconds // 3600} h {seconds % 3600 // 60} min"


def moment_text(timestamp: float | None) -> str:
    """A date and time of the server's clock; "" for none."""
    return datetime.fromtimestamp(timestamp).strftime("%d %b %Y %H:%M") if timestamp else ""
