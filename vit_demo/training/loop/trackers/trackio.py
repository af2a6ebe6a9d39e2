"""Trackio as a tracker of runs."""

from __future__ import annotations

import dataclasses
import os

from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run
from vit_demo.training.run.trackers import PROJECT


class Trackio:
    """Trackio keeps a local database, or a Space where TRACKIO_SPACE_ID names one."""

    def __init__(self, run: Run, config: TrainingConfig):
        import trackio

        self._trackio = trackio
        space = os.environ.get("TRACKIO_SPACE_ID")
        trackio.init(
            project=PROJECT,
            name=run.id,
            config=dataclasses.asdict(config),
            resume="allow",
            space_id=space or None,
            embed=False,
        )

    def write(self, step: int, numbers: dict[str, float]) -> None:
        self._trackio.log(numbers, step=step)

    def close(self) -> None:
        self._trackio.finish()
