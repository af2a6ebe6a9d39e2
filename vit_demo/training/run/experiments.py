"""The same settings with several seeds, as one experiment: how much of a result is chance."""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vit_demo.common.errors import UserError
from vit_demo.training.run import queue, runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import RunStatus

MOST_SEEDS = 100
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Test accuracy over the finished runs of an experiment.

    total: runs in it; n: those that are finished and count. mean, deviation: of the test accuracy; the
    deviation is the sample's, with n - 1. interval: 95 % interval of the mean. None where n is too small:
    the mean needs one run, deviation and interval two. not_measured: finished runs without a test photo that
    could be read, which do not count.
    """

    total: int
    n: int
    mean: float | None = None
    deviation: float | None = None
    interval: tuple[float, float] | None = None
    accuracies: tuple[float, ...] = ()
    not_measured: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def sentence(self) -> str:
        """For people."""
        if not self.n and self.not_measured:
            runs = f"{self.not_measured} of {self.total} runs"
            return f"Test accuracy not measured in {runs}: no test photo can be read."
        if not self.n:
            return f"None of the {self.total} runs is finished yet."
        counted = (
            f"{self.n} of {self.total} runs"
            if self.n < self.total
            else f"{self.n} runs"
            if self.n > 1
            else "1 run"
        )
        if self.interval is None:
            return f"Test accuracy {self.mean:.4f} over {counted}; an interval needs two."
        low, high = self.interval
        return f"Mean test accuracy {self.mean:.4f} over {counted} (95 % interval {low:.4f} to {high:.4f})."


def seeds_of(config: TrainingConfig, count: int) -> list[TrainingConfig]:
    """The config with its own seed and the ``count - 1`` next ones; UserError where there are too few or too
    many.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_SEEDS:
        raise UserError("error.training.seeds", most=MOST_SEEDS, given=count)
    return [dataclasses.replace(config, seed=config.seed + number) for number in range(count)]


def submit_seeds(config: TrainingConfig, count: int, name: str = "") -> list[Run]:
    """Put ``count`` runs in the queue that differ in the seed alone, as one experiment; a single one is just
    a run.
    """
    configs, experiment = seeds_of(config, count), new_id() if count > 1 else ""
    return [queue.submit(each, name=_name(name, each, count), experiment=experiment) for each in configs]


def new_id() -> str:
    """An id that no other experiment has."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def members(experiment: str) -> list[Run]:
    """The runs of an experiment under the home folder, the oldest first."""
    return [run for run in reversed(runs.list_runs()) if experiment and run.experiment == experiment]


def summary(members: Sequence[Run]) -> Summary:
    """What the finished ones of these runs reached on test, with Student's t interval of the mean:
    mean +- t(0.975, n - 1) * s / sqrt(n), cut to 0 and 1, since no accuracy is beyond.

    A run that was stopped early does not count: its settings were not carried out.
    """
    scores = [run.scores() for run in members if run.state()["status"] == RunStatus.FINISHED]
    tests = [score["test"] for score in scores if "test" in score]
    found = [test["accuracy"] for test in tests if test]
    n, unknown = len(found), len(tests) - len(found)
    if n < 2:
        mean = found[0] if found else None
        return Summary(len(members), n, mean, accuracies=tuple(found), not_measured=unknown)
    from scipy.stats import t

    mean = math.fsum(found) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in found) / (n - 1))
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / math.sqrt(n)
    interval = max(0.0, mean - half), min(1.0, mean + half)
    return Summary(len(members), n, mean, deviation, interval, tuple(found), unknown)


def _name(name: str, config: TrainingConfig, count: int) -> str:
    return f"{name}, seed {config.seed}" if name and count > 1 else name
