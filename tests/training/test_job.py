"""The sides of a run's photos, and how many steps it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import Train
from vit_demo.common.errors import UserError
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.job import Progress, TrainingJob, counter, sides_of
from vit_demo.training.photos import Photos
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> LeafClassifier:
    """A model of 32 px with patches of 8."""
    return LeafClassifier.open(tiny_model, device="cpu")


@pytest.mark.parametrize(
    ("settings", "sides"),
    [
        ({"small_first": False}, (32,)),
        ({"small_first": True}, (16, 24, 32)),  # a half and 5/7 of 32 in whole patches
        ({"small_first": True, "resolutions": (56,)}, (32, 40, 56)),
        ({"small_first": True, "resolutions": (16, 40)}, (16, 40)),
        ({"small_first": False, "resolutions": (40,)}, (40,)),
        ({"small_first": True, "resolutions": (8,)}, None),  # below what the settings take
    ],
)
def test_the_sides_of_a_run(
    classifier: LeafClassifier, settings: dict, sides: tuple[int, ...] | None
) -> None:
    if sides is None:
        with pytest.raises(UserError, match="from 16"):
            TrainingConfig(**settings)
        return
    assert sides_of(TrainingConfig(**{"resolutions": (), **settings}), classifier) == sides


def test_a_resolution_that_the_patches_do_not_divide(train: Train) -> None:
    folders: list[Run] = []
    with pytest.raises(
        UserError, match="The resolution 36 is not a multiple of this model's patch size of 8 pixels"
    ):
        train(before=folders.append, resolutions=(24, 36))
    assert sorted(path.name for path in folders[0].folder.iterdir()) == [
        "config.json",
        "events.jsonl",
        "state.json",
    ]


@pytest.mark.parametrize(
    ("photos", "batch", "epochs", "steps"), [(36, 8, 3, 15), (40, 8, 1, 5), (1, 64, 2, 2), (9, 1, 1, 9)]
)
def test_the_steps_of_a_run(photos: int, batch: int, epochs: int, steps: int) -> None:
    rows = Photos(np.zeros((photos, 1, 1, 1), np.uint8), np.zeros(photos, np.int64), [""] * photos, [])
    work = TrainingJob(
        None, TrainingConfig(batch_size=batch, epochs=epochs), None, rows, rows, (32,), None, None
    )
    assert work.total_steps == steps == work.steps_per_epoch * epochs


@pytest.mark.parametrize(("status", "word"), [("preparing", "Reading"), ("scoring", "Scoring")])
def test_a_counter_says_how_far_the_photos_of_a_split_are(status: str, word: str) -> None:
    told: list[Progress] = []
    count: Callable[[int, int], None] = counter(told.append, "test", status)
    count(3, 18)
    (one,) = told
    assert (one.status, one.done, one.total, str(one.message)) == (status, 3, 18, f"{word} test photos")
