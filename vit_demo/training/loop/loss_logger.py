"""The train losses on their way from the device to the log."""

from __future__ import annotations

import math
import time

import torch

from vit_demo.common.errors import UserError
from vit_demo.training.job import Progress, TrainingJob
from vit_demo.training.run.status import RunStatus

# Train losses are fetched from the device this often, so that no step waits for the log.
LOG_SECONDS = 0.5
DIVERGED = (
    "The loss became infinite: the learning rate is too high. Start again with a lower one, such as 2e-4."
)


def finite(*losses: float) -> None:
    """Raise UserError where a loss is not a number any more."""
    if not all(map(math.isfinite, losses)):
        raise UserError("error.training.diverged")


class LossLogger:
    """Collects train losses on the device and writes them out in lots."""

    def __init__(self, work: TrainingJob) -> None:
        self._work = work
        self._waiting: list[tuple[int, torch.Tensor, float, int]] = []
        self.restart()

    def restart(self) -> None:
        """Start the clock anew, so that time spent on validation does not count as training."""
        self._since = time.perf_counter()

    def step(self, step: int, loss: torch.Tensor, learning_rate: float, photos: int) -> None:
        """Take in a step: its loss, a tensor without gradient that may still be in the making."""
        self._waiting.append((step, loss, learning_rate, photos))
        if time.perf_counter() - self._since >= LOG_SECONDS:
            self.flush()
            self.restart()

    def flush(self) -> None:
        """Write out what is waiting. Raises UserError where the loss is not a number any more."""
        if not self._waiting:
            return
        losses = torch.stack([loss for _, loss, _, _ in self._waiting]).tolist()
        finite(*losses)
        photos = sum(photos for *_, photos in self._waiting)
        speed = photos / max(time.perf_counter() - self._since, 1e-9)
        work = self._work
        for (step, _, learning_rate, _), loss in zip(self._waiting, losses):
            work.log.add(
                "train",
                step=step,
                epoch=round(step / work.steps_per_epoch, 4),
                loss=round(loss, 6),
                learning_rate=learning_rate,
                photos_per_second=round(speed, 2),
            )
        last = self._waiting[-1][0]
        self._waiting.clear()
        work.report(Progress(RunStatus.TRAINING, last, work.total_steps))
