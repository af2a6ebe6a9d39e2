"""How good a classifier is on a split: accuracy with its interval, each class, and whether it is as sure as
it is right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from vit_demo.common.errors import UserError
from vit_demo.model import cpu_engine
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Readout
from vit_demo.training.photos import batches
from vit_demo.training.result.calibration import Calibration, calibration_of
from vit_demo.training.result.predictions import Prediction, mistakes

# So many of the worst mistakes are kept with the scores; all of them are in the predictions.
WORST = 20
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ClassScore:
    """The score on one class, shares of 1.

    precision: of the photos called this class, those that are; None where none was called so. recall: of the
    photos of this class (support of them), those that were called so, with its 95 % Wilson interval; None
    where there is no such photo. f1: harmonic mean of both; None where neither is known.
    """

    label: str
    precision: float | None
    recall: float | None
    recall_interval: tuple[float, float] | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class Evaluation:
    """The score on one split.

    accuracy: share of photos that are right, 0 to 1. interval: 95 % Wilson interval of it (Wilson 1927).
    loss: mean cross-entropy in nats. confusion[i][j]: photos of class i called j. n: photos scored. broken:
    photos that could not be read and do not count. classes: in the order of labels. calibration: of the
    probabilities as they are. temperature, calibrated: what the logits are divided by, and the calibration
    with it; None before :meth:`at_temperature`. predictions: of each photo. logits: float32 (N, C), targets:
    the true class ids (N,). features: float32 (N, D), of the readout that
    :func:`evaluate` was given, if any.
    """

    accuracy: float
    interval: tuple[float, float]
    loss: float
    n: int
    confusion: list[list[int]]
    labels: list[str]
    broken: int
    classes: list[ClassScore]
    calibration: Calibration
    predictions: list[Prediction] = field(repr=False)
    logits: np.ndarray = field(repr=False, compare=False)
    targets: np.ndarray = field(repr=False, compare=False)
    features: np.ndarray | None = field(default=None, repr=False, compare=False)
    temperature: float | None = None
    calibrated: Calibration | None = None

    def at_temperature(self, temperature: float) -> Evaluation:
        """The same with the calibration at a temperature that was fitted on validation photos."""
        return dataclasses.replace(
            self, temperature=temperature, calibrated=calibration_of(self.logits, self.targets, temperature)
        )

    def to_dict(self) -> dict[str, Any]:
        """What goes to JSON: of single photos only the worst mistakes, so that it stays small however large
        the split.
        """
        return {
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "loss": self.loss,
            "n": self.n,
            "confusion": self.confusion,
            "labels": self.labels,
            "broken": self.broken,
            "classes": [asdict(score) for score in self.classes],
            "calibration": asdict(self.calibration),
            "temperature": self.temperature,
            "calibrated": asdict(self.calibrated) if self.calibrated else None,
            "worst": [found._asdict() for found in mistakes(self.predictions)[:WORST]],
        }


def score(
    logits: torch.Tensor,
    targets: np.ndarray,
    labels: list[str],
    broken: int = 0,
    places: list[tuple[int, str]] | None = None,
) -> Evaluation:
    """Compare logits (N, C) with the true class ids (N,). places: row in the split and path of each photo;
    None numbers them.
    """
    if len(targets) == 0:
        raise UserError("error.training.none_to_score")
    values = logits.float().numpy()
    said = values.argmax(axis=1)
    right = int((said == targets).sum())
    calibration = calibration_of(values, targets)
    return Evaluation(
        accuracy=right / len(targets),
        interval=_wilson(right, len(targets)),
        loss=calibration.loss,
        n=len(targets),
        confusion=confusion_matrix(targets, said, labels=range(len(labels))).tolist(),
        labels=list(labels),
        broken=broken,
        classes=_classes(targets, said, labels),
        calibration=calibration,
        predictions=_predictions(
            values, targets, labels, places or [(row, "") for row in range(len(targets))]
        ),
        logits=values,
        targets=targets,
    )


def _wilson(right: int, n: int) -> tuple[float, float]:
    interval = binomtest(right, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _classes(targets: np.ndarray, said: np.ndarray, labels: list[str]) -> list[ClassScore]:
    columns = precision_recall_fscore_support(targets, said, labels=range(len(labels)), zero_division=np.nan)
    found = []
    for number, (label, precision, recall, f1, support) in enumerate(zip(labels, *columns)):
        right = int(((targets == number) & (said == number)).sum())
        interval = _wilson(right, int(support)) if support else None
        found.append(ClassScore(label, _known(precision), _known(recall), interval, _known(f1), int(support)))
    return found


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _predictions(
    logits: np.ndarray, targets: np.ndarray, labels: list[str], places: list[tuple[int, str]]
) -> list[Prediction]:
    probabilities = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    said = logits.argmax(axis=1)
    return [
        Prediction(row, path, labels[true], labels[guess], float(probabilities[number, guess]))
        for number, ((row, path), true, guess) in enumerate(zip(places, targets, said))
    ]


@dataclass(frozen=True)
class Answered:
    """What a model gives for B photos of a split that follow each other.

    logits: float32 (B, C). features: float32 (B, D), of the readout that was asked for. labels: class ids of
    the data set (B,), -1 for a photo without one. places: row in the split and path of each. broken: how many
    photos between them could not be read.
    """

    logits: torch.Tensor
    features: torch.Tensor
    labels: np.ndarray
    places: list[tuple[int, str]]
    broken: int


def answers(
    classifier: LeafClassifier, data: Dataset, readout: Readout | None, progress: Progress
) -> Iterator[Answered]:
    """Ask for a split photo by photo, in order and in bounded memory. readout: None where no features are
    wanted. progress: is called with (photos done, photos in all).
    """
    done = 0
    for part in batches(data, classifier):
        logits, features = cpu_engine.logits_and_features(
            classifier, torch.from_numpy(part.pixels), readout or Readout(classifier.blocks)
        )
        yield Answered(
            logits, features, part.labels, list(zip(part.rows, part.paths, strict=True)), len(part.broken)
        )
        done += len(part) + len(part.broken)
        progress(done, len(data))


def evaluate(
    classifier: LeafClassifier,
    data: Dataset,
    progress: Progress = lambda done, total: None,
    readout: Readout | None = None,
) -> Evaluation:
    """Score a split; classes are matched by name, not by number. Photos without a label do not count.

    readout: keep its features too, which costs no second forward.
    Raises UserError where the split has a class that the model does not know, or no photo that can be read.
    """
    found = evaluate_readable(classifier, data, progress, readout)
    if found is None:
        raise UserError("error.training.none_to_score" if len(data) else "error.training.split_empty")
    return found


def evaluate_readable(
    classifier: LeafClassifier,
    data: Dataset,
    progress: Progress = lambda done, total: None,
    readout: Readout | None = None,
) -> Evaluation | None:
    """The same; None where there is no photo that can be read, so that nothing is measured."""
    names = data.features["labels"].names
    unknown = [name for name in names if name not in classifier.labels]
    if unknown:
        raise UserError("error.training.unknown_class", label=unknown[0], labels=", ".join(classifier.labels))
    own_ids = np.array([classifier.labels.index(name) for name in names])
    logits, features, targets, broken = [], [], [], 0
    places: list[tuple[int, str]] = []
    for part in answers(classifier, data, readout, progress):
        known = np.flatnonzero(part.labels >= 0)
        logits.append(part.logits[known])
        if readout:
            features.append(part.features[known].numpy())
        targets.append(own_ids[part.labels[known]])
        places += [part.places[number] for number in known]
        broken += part.broken
    if not places:
        return None
    found = score(torch.cat(logits), np.concatenate(targets), classifier.labels, broken, places)
    return dataclasses.replace(found, features=np.concatenate(features)) if readout else found
