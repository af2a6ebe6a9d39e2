"""The settings of one fine-tune: a frozen dataclass that goes to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vit_demo.common.errors import UserError
from vit_demo.training.run.trackers import TRACKERS

ENGINES = ("own", "trainer")
AUGMENTATIONS = ("none", "flips", "turns", "strong")
PRECISIONS = ("auto", "fp32", "bf16")
HEAD_INITS = ("zero", "normal")
DEVICES = ("cuda", "mps", "cpu")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides how a run goes; in fp32 on a CPU the same config gives the same weights, bit
    for bit (bf16: nearly).

    Photos and model
        data, extra_data: what :func:`vit_demo.data.open.sources.open_dataset` takes; of ``extra_data`` only
        the train photos are used, added to those of ``data``. model: what
        :func:`vit_demo.model.checkpoints.locate` takes. Revisions are of the Hub. hybrid: None, or the ResNet
        whose feature map becomes the tokens (the CNN hybrid of Dosovitskiy et al. 2021, section 3.1): "new"
        for a small untrained one, else what ``model`` takes. head_init: of a new head, "zero" as in the
        paper, or "normal" with a deviation of 0.02. freeze: train the head alone (a linear probe).
        attention_only: the MLPs of the encoder stay as they are; attention, norms, embeddings and head learn
        (Touvron et al. 2022, "Three things everyone should know about vision transformers", section 4). Not
        for a hybrid, whose encoder gets input that it does not know.

    Recipe
        engine: "own", our loop; "trainer", the tutorial's way: transformers' Trainer with the settings of the
        tutorial, of which only those in :data:`TRAINER_SETTINGS` can be changed. epochs: passes over the
        train photos. batch_size: photos a step, over all processes together. learning_rate: the highest; it
        falls linearly to 0. warmup: share of all steps over which it first rises from 0. weight_decay: of
        AdamW. layer_decay: factor on the learning rate for each layer further from the head; 1 is none.
        label_smoothing: share of each label that is spread over all classes. average: decay per step of a
        moving average of the weights, which is then the model; 0 is none. overshoot: of the weight
        extrapolation; at the end the weights are also tried this share further along the straight way from
        where they began (Ilharco et al. 2023, "Editing models with task arithmetic", a factor of 1 +
        overshoot), and validation decides; 0 is none.
        seed: of order, augmentation and patch dropout. resolutions: sides in pixels for equal parts of the
        run, first to last, each a multiple of the patch size; empty means the model's own throughout. The
        last is the one the model is used at. small_first: grow towards the last resolution in steps of its
        own choice (see :func:`vit_demo.training.job.sides_of`). patch_dropout: share of the patches of each
        photo that is left out in each training step at the last of the resolutions, before they are embedded:
        a step then takes about as much less time. augment: how photos are changed at random while training.
        "none"; "flips": mirrored in both directions, since a leaf has no upside; "turns": also turned by
        right angles; "strong": also cut to 60 % of the area or more, and changed a little in brightness,
        contrast, saturation and hue. precision: "auto" takes bf16 where the hardware has it, else fp32.

    Course
        evaluate_every: steps between two evaluations on validation; 0 means as often as it helps.
        patience: end after so many evaluations without a better loss; 0 means never.
        time_limit: minutes after which training ends and the best model is kept; 0 means none.
        checkpoint_every: steps between two checkpoints to resume from; 0 means about one a minute.
        film: how many validation photos are shown as a film of where the model looks.
        report_to: what else the numbers go to, or None.

    device: None is the fastest there is. half: save the weights as float16.
    """

    data: str = "beans"
    model: str = "embedded"
    hybrid: str | None = None
    head_init: str = "zero"
    freeze: bool = False
    attention_only: bool = True
    engine: str = "own"
    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 4e-4
    warmup: float = 0.1
    weight_decay: float = 0.0
    layer_decay: float = 1.0
    label_smoothing: float = 0.0
    average: float = 0.0
    overshoot: float = 0.1
    seed: int = 42
    resolutions: tuple[int, ...] = ()
    small_first: bool = True
    patch_dropout: float = 0.5
    augment: str = "flips"
    precision: str = "auto"
    evaluate_every: int = 0
    patience: int = 0
    time_limit: float = 0.0
    checkpoint_every: int = 0
    film: int = 3
    report_to: str | None = None
    extra_data: str | None = None
    data_revision: str | None = None
    model_revision: str | None = None
    device: str | None = None
    half: bool = False

    def __post_init__(self) -> None:
        for name in ("data", "model", "hybrid", "extra_data", "data_revision", "model_revision"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name in ("data", "model")):
                raise UserError("error.training.text", name=name, value=value)
        for name in ("half", "freeze", "attention_only", "small_first"):
            if not isinstance(getattr(self, name), bool):
                raise UserError("error.training.true_or_false", name=name, value=getattr(self, name))
        for name, choices in (
            ("engine", ENGINES),
            ("augment", AUGMENTATIONS),
            ("precision", PRECISIONS),
            ("head_init", HEAD_INITS),
            ("device", (None, *DEVICES)),
            ("report_to", (None, *TRACKERS)),
        ):
            if getattr(self, name) not in choices:
                words = ", ".join(choice for choice in choices if choice)
                raise UserError("error.training.one_of", name=name, choices=words, value=getattr(self, name))
        for name, low, high in (
            ("epochs", 1, 1000),
            ("batch_size", 1, 4096),
            ("evaluate_every", 0, 10**9),
            ("seed", 0, 2**32 - 1),
            ("patience", 0, 1000),
            ("checkpoint_every", 0, 10**9),
            ("film", 0, 12),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UserError("error.training.whole_number", name=name, low=low, high=high, value=value)
        for name, least, most in (
            ("learning_rate", 1e-8, 1.0),
            ("warmup", 0.0, 0.9),
            ("weight_decay", 0.0, 1.0),
            ("layer_decay", 0.1, 1.0),
            ("label_smoothing", 0.0, 0.5),
            ("average", 0.0, 0.99999),
            ("overshoot", 0.0, 1.0),
            ("patch_dropout", 0.0, 0.9),
            ("time_limit", 0.0, 1e6),
        ):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
                raise UserError("error.training.number", name=name, low=least, high=most, value=value)
        sides = self.resolutions
        if not isinstance(sides, tuple) or any(
            not isinstance(side, int) or not 16 <= side <= 2048 for side in sides
        ):
            raise UserError("error.training.resolutions")
        if self.engine == "trainer":
            self._only_trainer_settings()

    def _only_trainer_settings(self) -> None:
        """What the tutorial's way cannot do is refused, rather than left out without a word."""
        for field in dataclasses.fields(self):
            if field.name not in TRAINER_SETTINGS and getattr(self, field.name) != TUTORIAL.get(
                field.name, field.default
            ):
                raise UserError("error.training.not_tutorial", name=field.name)

    def to_json(self) -> str:
        """One JSON object, indented for people."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainingConfig:
        """The inverse of :meth:`to_json`; unknown settings of a newer version are refused."""
        try:
            values = json.loads(text)
            values["resolutions"] = tuple(values.get("resolutions", ()))
            if (
                "freeze" in values
            ):  # written by the program, which before there was a choice let everything learn
                values.setdefault("attention_only", False)
                values.setdefault("overshoot", 0.0)  # none of these had one
            return cls(**values)
        except (ValueError, TypeError, AttributeError):
            raise UserError("error.training.settings_broken") from None

    def command(self, out: str | Path | None = None) -> str:
        """The command line that repeats this run."""
        parts = ["python", "-m", "vit_demo", "train"]
        usual_values = dict(_DEFAULTS)
        recipe = self.recipe()
        if recipe not in (None, "fast"):
            parts += ["--recipe", recipe]
            usual_values |= RECIPES[recipe]
        for name, usual in usual_values.items():
            value = getattr(self, name)
            if value == usual and name not in ("data", "model", "epochs", "seed"):
                continue
            flag = "--" + name.replace("_", "-")
            if isinstance(value, bool):
                parts.append(flag if value else flag.replace("--", "--no-", 1))
            elif isinstance(value, tuple):
                parts += _flag(flag, ",".join(map(str, value)))
            elif value is not None:
                parts += _flag(flag, str(value))
        return shlex.join([*parts, *_flag("--out", str(out))] if out else parts)

    def recipe(self) -> str | None:
        """The name of the recipe this config follows in everything that a recipe decides, or None.

        The tutorial's is known by its engine alone, since some of its settings may be changed.
        """
        if self.engine == "trainer":
            return "tutorial"
        return next(
            (
                name
                for name, values in RECIPES.items()
                if all(getattr(self, key) == value for key, value in values.items())
            ),
            None,
        )


def _flag(name: str, value: str) -> list[str]:
    """A value that begins like a flag must hang on to its own."""
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


# What a recipe decides: all else is the user's own. Every recipe names all of these, so that choosing one
# leaves nothing of another.
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
FAST: dict[str, Any] = {
    name: _DEFAULTS[name]
    for name in (
        "engine",
        "freeze",
        "attention_only",
        "epochs",
        "batch_size",
        "learning_rate",
        "warmup",
        "weight_decay",
        "layer_decay",
        "label_smoothing",
        "average",
        "overshoot",
        "resolutions",
        "small_first",
        "patch_dropout",
        "augment",
        "evaluate_every",
        "film",
    )
}
# Longer, with all weights and all patches, for when a percent is worth some minutes. How these were chosen
# stands in docs/recipe.md.
THOROUGH: dict[str, Any] = {
    **FAST,
    "attention_only": False,
    "learning_rate": 3e-4,
    "epochs": 8,
    "patch_dropout": 0.0,
    "overshoot": 0.0,
}
# The tutorial's own settings: an evaluation on validation each 10 steps, nothing mirrored, no warm-up.
TUTORIAL: dict[str, Any] = {
    **FAST,
    "engine": "trainer",
    "attention_only": False,
    "epochs": 2,
    "batch_size": 16,
    "learning_rate": 2e-4,
    "warmup": 0.0,
    "small_first": False,
    "patch_dropout": 0.0,
    "overshoot": 0.0,
    "augment": "none",
    "evaluate_every": 10,
    "film": 0,
}
# The encoder as it is, and a new head on what it sees.
PROBE: dict[str, Any] = {
    **FAST,
    "freeze": True,
    "attention_only": False,
    "learning_rate": 1e-2,
    "epochs": 5,
    "small_first": False,
    "patch_dropout": 0.0,
    "overshoot": 0.0,
}
RECIPES: dict[str, dict[str, Any]] = {
    "fast": FAST,
    "thorough": THOROUGH,
    "tutorial": TUTORIAL,
    "probe": PROBE,
}
# What may be changed in the tutorial's recipe.
TRAINER_SETTINGS = (
    "data",
    "model",
    "data_revision",
    "model_revision",
    "extra_data",
    "engine",
    "epochs",
    "batch_size",
    "learning_rate",
    "seed",
    "evaluate_every",
    "report_to",
    "device",
    "half",
)
