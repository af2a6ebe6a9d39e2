"""Weights & Biases as a tracker of runs."""

from __future__ import annotations

import dataclasses

from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run
from vit_demo.training.run.trackers import PROJECT


class Wandb:
    """Weights & Biases; with WANDB_MODE=offline the numbers stay in the run's folder."""

    def __init__(self, run: Run, config: TrainingConfig):
        import wandb

        options = {
            "project": PROJECT,
            "name": run.id,
            "dir": str(run.folder),
            "config": dataclasses.asdict(config),
        }
        self._run = wandb.init(
            **options, id=run.id, resume="allow", settings=wandb.Settings(console="off", silent=True)
        )
        # The steps of a run that goes on begin before the last one that the server has seen, which it refuses
        # as its own step.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, numbers: dict[str, float]) -> None:
        self._run.log({"step": step, **numbers})

    def close(self) -> None:
        self._run.finish()
