"""Train losses on their way to the record: in lots, in order, with the speed of the lot, and never a loss
that is no number.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vit_demo.common.errors import UserError
from vit_demo.training.job import Progress, TrainingJob
from vit_demo.training.loop import loss_logger
from vit_demo.training.loop.loss_logger import LossLogger
from vit_demo.training.photos import Photos
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.runs import Run, create


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loss_logger.time, "perf_counter", clock)
    return clock


@pytest.fixture
def told() -> list[Progress]:
    return []


@pytest.fixture
def work(tmp_path: Path, told: list[Progress]) -> TrainingJob:
    """40 photos in steps of 8."""
    run = create(TrainingConfig(epochs=2, batch_size=8), tmp_path / "run")
    rows = Photos(np.zeros((40, 1, 1, 1), np.uint8), np.zeros(40, np.int64), [""] * 40, [])
    return TrainingJob(run, run.config(), None, rows, rows, (32,), EventLog(run), told.append)


def trained(run: Run) -> list[dict]:
    return [event for event in run.read_events()[0] if event["kind"] == "train"]


def test_steps_wait_for_the_clock_and_then_come_together(
    work: TrainingJob, told: list[Progress], clock: Clock
) -> None:
    one = LossLogger(work)
    for step in range(1, 5):
        assert trained(work.run) == [] and told == []
        clock.now += loss_logger.LOG_SECONDS / 4
        one.step(step, torch.tensor(1 / step), 1e-3 * step, 8)
    found = trained(work.run)
    assert [(event["step"], event["epoch"], event["learning_rate"]) for event in found] == [
        (step, step / 5, 1e-3 * step) for step in range(1, 5)
    ]
    assert [event["loss"] for event in found] == [round(1 / step, 6) for step in range(1, 5)]
    assert {event["photos_per_second"] for event in found} == {32 / loss_logger.LOG_SECONDS}
    assert told == [Progress("training", 4, 10)]


def test_time_spent_on_validation_is_not_counted_as_training(work: TrainingJob, clock: Clock) -> None:
    one = LossLogger(work)
    clock.now += 100
    one.restart()
    clock.now += 0.25
    one.step(1, torch.tensor(1.0), 1e-3, 8)
    one.flush()
    assert trained(work.run)[0]["photos_per_second"] == 8 / 0.25


def test_what_waits_is_written_once(work: TrainingJob, told: list[Progress]) -> None:
    one = LossLogger(work)
    one.step(1, torch.tensor(1.0), 1e-3, 8)
    one.flush()
    one.flush()
    assert len(trained(work.run)) == 1 and len(told) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_no_number_is_said_and_not_written(work: TrainingJob, value: float) -> None:
    one = LossLogger(work)
    one.step(1, torch.tensor(1.0), 1e-3, 8)
    one.step(2, torch.tensor(value), 1e-3, 8)
    with pytest.raises(UserError, match="learning rate is too high"):
        one.flush()
    text = work.run.events_file.read_text()
    assert all(json.loads(line)["kind"] != "train" for line in text.splitlines())
