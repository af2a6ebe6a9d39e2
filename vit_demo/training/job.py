"""What a training loop works on, whichever engine runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.photos import Photos
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import RunStatus

# With small_first the sides of the parts are these shares of the last one.
GROWTH = (1 / 2, 5 / 7, 1)


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it. status: preparing, training or scoring; done of total.
    message: what it does, said by who shows it.
    """

    status: RunStatus
    done: int
    total: int
    message: Sentence | str = ""


Listener = Callable[[Progress], None]


@dataclass(frozen=True)
class TrainingJob:
    """One training: everything is opened and prepared, only the steps are missing.

    classifier: its weights are changed in place and are the best ones when the engine returns.
    train, validation: uint8 photos at the last of ``sides``, the photo sides in pixels for equal
    parts of the run; of more parts than steps only the last ones have their turn. log: the run's events.
    report: takes the progress.
    """

    run: Run
    config: TrainingConfig
    classifier: LeafClassifier
    train: Photos
    validation: Photos
    sides: tuple[int, ...]
    log: EventLog
    report: Listener

    def __post_init__(self) -> None:
        object.__setattr__(self, "sides", self.sides[-self.total_steps :])

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.train) / self.config.batch_size)

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.config.epochs


def sides_of(config: TrainingConfig, classifier: LeafClassifier) -> tuple[int, ...]:
    """The photo sides in pixels for equal parts of a run, the last the one that the model is used at.

    With ``small_first`` they are half, 5/7 and the whole of it, rounded to whole patches (112, 160 and 224
    for a model of 224): most of what is learned early needs no detail, and the encoder's time grows with
    the area or faster. Raises UserError for a side that is no multiple of the patch size.
    """
    sides = config.resolutions or (classifier.image_size[0],)
    patch = classifier.patch_size
    wrong = [side for side in sides if side % patch]
    if wrong:
        raise UserError("error.training.patch_size", side=wrong[0], patch=patch)
    if config.small_first and len(sides) == 1:
        sides = tuple(max(patch, round(sides[0] * share / patch) * patch) for share in GROWTH)
    return tuple(sides)


def counter(
    report: Listener, split: str, status: RunStatus = RunStatus.PREPARING
) -> Callable[[int, int], None]:
    """A callback (done, total) that reports the reading or scoring of a split."""
    message = Sentence(
        f"train.record.reading_{split}" if status == RunStatus.PREPARING else f"train.record.scoring_{split}"
    )
    return lambda done, total: report(Progress(status, done, total, message))
