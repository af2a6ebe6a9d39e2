"""The settings of one fine-tune: a frozen dataclass that goes to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from vit_demo.errors import UserError

AUGMENTATIONS = ("none", "flips", "strong")
DEVICES = ("cuda", "mps", "cpu")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides how a run goes; the same config on the same machine gives the same run.

    data, extra_data: what :func:`vit_demo.data.sources.open_dataset` takes; of ``extra_data`` only
    the train photos are used, added to those of ``data``.
    model: what :func:`vit_demo.checkpoints.locate` takes. Revisions are of the Hub.
    epochs: passes over the train photos. learning_rate: the highest; it falls linearly to 0.
    warmup: share of all steps over which the rate first rises from 0. seed: of order and augmentation.
    resolutions: sides in pixels for equal parts of the run, first to last, each a multiple of the
    patch size; empty means the model's own throughout. The last is the one the model is used at.
    augment: how photos are changed at random while training. "none"; "flips": mirrored in both
    directions, since a leaf has no upside; "strong": also turned by right angles, cut to 60 % of
    the area or more, and changed a little in brightness, contrast, saturation and hue.
    evaluate_every: steps between two looks at validation; 0 means two an epoch.
    half: save the weights as float16.
    """

    data: str = "sample"
    model: str = "embedded"
    epochs: int = 2
    batch_size: int = 16
    learning_rate: float = 2e-4
    seed: int = 42
    resolutions: tuple[int, ...] = ()
    augment: str = "flips"
    warmup: float = 0.0
    weight_decay: float = 0.0
    evaluate_every: int = 0
    extra_data: str | None = None
    data_revision: str | None = None
    model_revision: str | None = None
    device: str | None = None
    half: bool = False

    def __post_init__(self) -> None:
        for name in ("data", "model", "extra_data", "data_revision", "model_revision"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name in ("data", "model")):
                raise UserError(f"The setting {name} must be a text, not {value}.")
        if not isinstance(self.half, bool):
            raise UserError(f"The setting half must be true or false, not {self.half}.")
        if self.augment not in AUGMENTATIONS:
            raise UserError(f"The setting augment must be one of {', '.join(AUGMENTATIONS)}, not {self.augment}.")
        if self.device not in (None, *DEVICES):
            raise UserError(f"The setting device must be one of {', '.join(DEVICES)}, not {self.device}.")
        for name, low, high in (
            ("epochs", 1, 1000), ("batch_size", 1, 4096), ("evaluate_every", 0, 10**9), ("seed", 0, 2**32 - 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UserError(f"The setting {name} must be a whole number from {low} to {high}, not {value}.")
        for name, low, high in (("learning_rate", 1e-8, 1.0), ("warmup", 0.0, 0.9), ("weight_decay", 0.0, 1.0)):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
                raise UserError(f"The setting {name} must be a number from {low:g} to {high:g}, not {value}.")
        sides = self.resolutions
        if not isinstance(sides, tuple) or any(not isinstance(side, int) or not 16 <= side <= 2048 for side in sides):
            raise UserError("Each of the resolutions must be a whole number of pixels from 16 to 2048.")

    def to_json(self) -> str:
        """One JSON object, indented for people."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainingConfig:
        """The inverse of :meth:`to_json`; unknown settings of a newer version are refused."""
        try:
            values = json.loads(text)
            values["resolutions"] = tuple(values.get("resolutions", ()))
            return cls(**values)
        except (ValueError, TypeError, AttributeError):
            raise UserError("The settings file of this run is broken or from another version of the program.") from None

    def command(self, out: str | Path | None = None) -> str:
        """The command line that repeats this run."""
        parts = ["python", "-m", "vit_demo", "train"]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default and field.name not in ("data", "model", "epochs", "seed"):
                continue
            flag = "--" + field.name.replace("_", "-")
            if isinstance(value, bool):
                parts.append(flag if value else flag.replace("--", "--no-", 1))
            elif isinstance(value, tuple):
                parts += [flag, ",".join(map(str, value))]
            else:
                parts += [flag, str(value)]
        return shlex.join([*parts, "--out", str(out)] if out else parts)


# The tutorial's own settings: a look at validation each 10 steps, nothing mirrored.
TUTORIAL = {"epochs": 2, "batch_size": 16, "learning_rate": 2e-4, "resolutions": (), "augment": "none", "evaluate_every": 10, "warmup": 0.0}
# Small photos first, full size last: most of what is learned early does not need the detail. See docs/recipe.md.
PROGRESSIVE = {
    "epochs": 4, "batch_size": 16, "learning_rate": 2e-4, "resolutions": (96, 128, 160, 224), "augment": "flips", "evaluate_every": 0, "warmup": 0.1,
}
RECIPES = {"tutorial": TUTORIAL, "progressive": PROGRESSIVE}
