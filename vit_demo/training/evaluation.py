"""How good a classifier is on a split: accuracy with its interval, loss, confusion matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from vit_demo.errors import UserError
from vit_demo.training.photos import batches
from vit_demo.vit import LeafClassifier


@dataclass(frozen=True)
class Evaluation:
    """The score on one split.

    accuracy: share of photos that are right, 0 to 1. interval: 95 % Wilson interval of it
    (Wilson 1927). loss: mean cross-entropy in nats. confusion[i][j]: photos of class i called j.
    n: photos scored. broken: photos that could not be read and do not count.
    """

    accuracy: float
    interval: tuple[float, float]
    loss: float
    n: int
    confusion: list[list[int]]
    labels: list[str]
    broken: int = 0

    def to_dict(self) -> dict:
        return {**asdict(self), "interval": list(self.interval)}


def score(logits: torch.Tensor, targets: np.ndarray, labels: list[str], broken: int = 0) -> Evaluation:
    """Compare logits (N, C) with the true class ids (N,)."""
    if len(targets) == 0:
        raise UserError("There is no photo to score: the split is empty or none of its photos can be read.")
    guesses = logits.argmax(dim=-1).numpy()
    right = int((guesses == targets).sum())
    low, high = binomtest(right, len(targets)).proportion_ci(method="wilson")
    return Evaluation(
        accuracy=right / len(targets),
        interval=(float(low), float(high)),
        loss=float(torch.nn.functional.cross_entropy(logits.float(), torch.as_tensor(targets))),
        n=len(targets),
        confusion=confusion_matrix(targets, guesses, labels=range(len(labels))).tolist(),
        labels=list(labels),
        broken=broken,
    )


def evaluate(classifier: LeafClassifier, data: Dataset, progress: Callable[[int, int], None] = lambda done, total: None) -> Evaluation:
    """Score a split photo by photo in bounded memory; classes are matched by name, not by number.

    Raises UserError where the split has a class that the model does not know.
    """
    names = data.features["labels"].names
    unknown = [name for name in names if name not in classifier.labels]
    if unknown:
        raise UserError(
            f"The model does not know the class {unknown[0]}; it knows {', '.join(classifier.labels)}. Choose a model that was trained on these classes."
        )
    own_ids = np.array([classifier.labels.index(name) for name in names])
    logits, targets, broken = [], [], 0
    for part in batches(data, classifier):
        logits.append(classifier.logits(torch.from_numpy(part.pixels)))
        targets.append(own_ids[part.labels])
        broken += len(part.broken)
        progress(sum(map(len, targets)) + broken, len(data))
    if not targets:
        raise UserError("There is no photo to score: the split is empty.")
    return score(torch.cat(logits), np.concatenate(targets), classifier.labels, broken)
