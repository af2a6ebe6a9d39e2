"""When a finished model should be silent: fitted on its own train and validation photos, and counted on any split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from vit_demo.abstention import Abstention, Answers, fit, layer_of
from vit_demo.training.evaluation import Evaluation, evaluate
from vit_demo.vit import LeafClassifier

# So many train photos say well enough where the classes lie, and cost a few seconds.
MOST_TRAIN = 2000


@dataclass(frozen=True)
class Tally:
    """How a model answers the photos of one split: how many of n got each verdict, and how many of the diagnoses are right."""

    n: int
    diagnosis: int
    right: int
    unsure: int
    not_known: int

    @property
    def accuracy(self) -> float | None:
        """Share of the diagnoses that is right; None where there is none."""
        return self.right / self.diagnosis if self.diagnosis else None


def fit_abstention(
    classifier: LeafClassifier, train: Dataset, validation: Evaluation, progress: Callable[[int, int], None] = lambda done, total: None
) -> Abstention:
    """Fit it for a model. train: a drawn part of it is looked at where there are more than 2,000 photos.

    validation: the score on the validation photos at the fitted temperature, with the features of :func:`layer_of`.
    """
    layer = layer_of(classifier.blocks)
    if len(train) > MOST_TRAIN:
        train = train.select(np.sort(np.random.default_rng(0).choice(len(train), MOST_TRAIN, replace=False)))
    seen = evaluate(classifier, train, progress, layer)
    return fit(answers_of(seen), answers_of(validation), validation.temperature, layer, classifier.labels)


def answers_of(found: Evaluation) -> Answers:
    """What the model gave for the photos of a split that was evaluated with a layer."""
    return Answers(found.logits, found.features, found.targets)


def tally(abstention: Abstention, found: Evaluation) -> Tally:
    """Count the verdicts on a split that was evaluated with the layer of ``abstention``."""
    judgements = abstention.judge(found.logits, found.features)
    counts = Counter(judgement.verdict for judgement in judgements)
    right = sum(one.verdict == "diagnosis" and one.prediction_set == (target,) for one, target in zip(judgements, found.targets))
    return Tally(len(judgements), counts["diagnosis"], right, counts["unsure"], counts["not_known"])
