"""What the model says about a photo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from vit_demo import settings
from vit_demo.diagnose.photos import open_photo
from vit_demo.errors import UserError
from vit_demo.vit import LeafClassifier


@dataclass(frozen=True)
class Diagnosis:
    """The answer for one photo.

    label: the most probable class. probability: of that class, 0 to 1. scores: of every class,
    the most probable first, summing to 1.
    """

    photo: str
    label: str
    probability: float
    scores: dict[str, float]

    def to_dict(self) -> dict:
        return {"photo": self.photo, "label": self.label, "probability": self.probability, "scores": dict(self.scores)}


@dataclass(frozen=True)
class Refusal:
    """A file that cannot be diagnosed, and why."""

    photo: str
    error: str

    def to_dict(self) -> dict:
        return {"photo": self.photo, "error": self.error}


def diagnose(classifier: LeafClassifier, photo: Image.Image, name: str = "") -> Diagnosis:
    """The diagnosis of one opened photo."""
    return _diagnoses(classifier, [photo], [name])[0]


def diagnose_files(classifier: LeafClassifier, paths: Iterable[str | Path]) -> Iterator[Diagnosis | Refusal]:
    """Diagnose files in batches, in their order; a bad file gives a Refusal and does not stop the rest."""
    batch: list[str | Path] = []
    for path in paths:
        batch.append(path)
        if len(batch) == settings.load().batch_size:
            yield from _diagnose_batch(classifier, batch)
            batch = []
    yield from _diagnose_batch(classifier, batch)


def _diagnose_batch(classifier: LeafClassifier, paths: list[str | Path]) -> list[Diagnosis | Refusal]:
    answers: dict[int, Diagnosis | Refusal] = {}
    resized, good = [], []
    for index, path in enumerate(paths):
        try:
            # Only the small, resized photo is kept, so that a batch of huge ones stays small.
            resized.append(classifier.resize([open_photo(path)]))
            good.append(index)
        except UserError as error:
            answers[index] = Refusal(str(path), str(error))
    if good:
        answers.update(zip(good, _diagnoses(classifier, torch.cat(resized), [str(paths[index]) for index in good])))
    return [answers[index] for index in range(len(paths))]


def _diagnoses(classifier: LeafClassifier, photos: list[Image.Image] | torch.Tensor, names: list[str]) -> list[Diagnosis]:
    labels = classifier.labels
    answers = []
    for name, row in zip(names, classifier.probabilities(photos).double().tolist()):
        scores = dict(sorted(zip(labels, row), key=lambda item: -item[1]))
        label, probability = next(iter(scores.items()))
        answers.append(Diagnosis(name, label, probability, scores))
    return answers
