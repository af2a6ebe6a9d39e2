"""What comes when in a run of our own steps: its photos, their side, the learning rate, the looks at
validation.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from vit_demo.training.job import TrainingJob
from vit_demo.training.run.config import TrainingConfig

# Of its own choice a run is evaluated so often in its last part, and for this share of its time.
MOST_EVALUATIONS, EVALUATION_SHARE = 10, 0.1


def evaluation_steps(work: TrainingJob) -> set[int]:
    """After which steps validation is looked at; the last one always is.

    By its own choice: at the end of each early part of the run, whose photos are small and cheap, and in the
    last part so often that it takes about EVALUATION_SHARE of the time, from once to MOST_EVALUATIONS times.
    """
    total, every = work.total_steps, work.config.evaluate_every
    if every:
        return {*range(every, total + 1, every), total}
    parts = len(work.sides)
    ends = [math.ceil(part * total / parts) for part in range(1, parts)]
    start = ends[-1] if ends else 0
    # A training step costs three times its forward, less the patches that are left out.
    training = (
        3 * (1 - work.config.patch_dropout) * (total - start) / total * work.config.epochs * len(work.train)
    )
    evaluations = min(MOST_EVALUATIONS, max(1, round(EVALUATION_SHARE * training / len(work.validation))))
    return {
        *ends,
        *(round(start + one * (total - start) / evaluations) for one in range(1, evaluations + 1)),
        total,
    } - {0}


def side_at(work: TrainingJob, step: int) -> int:
    """Photo side in pixels of a step, counted from 1: equal parts of the run, one a side."""
    return work.sides[min(len(work.sides) - 1, (step - 1) * len(work.sides) // work.total_steps)]


def rows_of(config: TrainingConfig, photos: int, step: int) -> np.ndarray:
    """Which photos a step, counted from 1, is made of: each epoch has an order of its own, by the seed
    alone.
    """
    steps_per_epoch = math.ceil(photos / config.batch_size)
    epoch, place = divmod(step - 1, steps_per_epoch)
    return _order(config.seed, epoch, photos)[place * config.batch_size : (place + 1) * config.batch_size]


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, photos: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(photos)


def rate(step: int, total: int, warmup: float) -> float:
    """The factor on the learning rate at a step, counted from 1: up from 0 over the warm-up, then linearly
    down to 0.
    """
    done, rising = step - 1, round(total * warmup)
    if done < rising:
        return (done + 1) / (rising + 1)
    return max(0.0, (total - done) / max(1, total - rising))
