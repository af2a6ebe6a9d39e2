"""What the model says about a photo, and whether it should say anything."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.threads import in_order, map_threads
from vit_demo.common.words import DEFAULT_LANGUAGE, Sentence, speaking
from vit_demo.diagnose.memory_budget import PHOTO_MEMORY, bytes_to_open
from vit_demo.diagnose.photos import open_photo
from vit_demo.model.abstention import Verdict, abstention_of
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.cpu_engine import FEW, CpuEngine
from vit_demo.model.runtimes import Engine, engine_of
from vit_demo.photos.quality import assess


@dataclass(frozen=True)
class Diagnosis:
    """The answer for one photo.

    label: the most probable class. probability: of that class, 0 to 1. scores: of every class, the most
    probable first, summing to 1; calibrated where the model has a temperature. verdict: "diagnosis", "unsure"
    or "not_known" (a photo of something else than it learned). prediction_set: the classes that are left, the
    most probable first; empty where it is not known. temperature: what the logits were divided by. These
    three are None for a model that was never taught when to be silent. distance: from the photos it learned
    from, where 1 is the farthest that is known; None also where these were too few to say. quality: what is
    wrong with the photo itself, as in ``quality.WARNINGS``; empty where nothing is.
    """

    photo: str
    label: str
    probability: float
    scores: dict[str, float]
    verdict: str | None = None
    prediction_set: list[str] | None = None
    temperature: float | None = None
    distance: float | None = None
    quality: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def in_words(self) -> str:
        """The answer as a line of text."""
        sure = f"{self.label} ({self.probability:.1%})"
        if self.verdict == Verdict.NOT_KNOWN:
            return (
                "not known, it looks like none of the classes that the model learned (distance"
                f" {self.distance:.2f}, above 1 is not known)"
            )
        if self.verdict == Verdict.UNSURE:
            return f"unsure, {' or '.join(self.prediction_set or ())}; most likely {sure}"
        return sure


@dataclass(frozen=True)
class Refusal:
    """A file that cannot be diagnosed, and why.

    error: in English, for programs and files. sentence: the same, to be said to people in their language;
    None where only the English is known.
    """

    photo: str
    error: str
    sentence: Sentence | str | None = None

    @classmethod
    def of(cls, photo: str, error: UserError) -> Refusal:
        """Why the photo of this name was refused, out of what was raised."""
        with speaking(DEFAULT_LANGUAGE):
            return cls(photo, str(error), error.sentence)

    @property
    def why(self) -> str:
        """The error in the current language."""
        return str(self.as_error())

    def as_error(self) -> UserError:
        """What was raised, once more."""
        if isinstance(self.sentence, Sentence):
            return UserError(self.sentence.key, **self.sentence.values)
        return UserError(self.error)

    def to_dict(self) -> dict[str, Any]:
        """For programs and files, in English."""
        return {"photo": self.photo, "error": self.error}

    def as_json(self) -> dict[str, Any]:
        """As the page keeps it, to say it in another language later."""
        return {
            **self.to_dict(),
            "sentence": self.sentence.as_json() if isinstance(self.sentence, Sentence) else None,
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Refusal:
        """What :meth:`as_json` or :meth:`to_dict` gave."""
        sentence = kept.get("sentence")
        return cls(kept["photo"], kept["error"], Sentence.from_json(sentence) if sentence else None)


def diagnose(classifier: LeafClassifier, photo: Image.Image, name: str = "") -> Diagnosis:
    """The diagnosis of one opened photo."""
    return replace(
        _diagnoses(classifier, classifier.resize([photo]), [name])[0], quality=list(assess(photo).problems)
    )


def diagnose_files(
    classifier: LeafClassifier, paths: Iterable[str | Path], engine: Engine | None = None
) -> Iterator[Diagnosis | Refusal]:
    """Diagnose files in batches, in their order; a bad file gives a Refusal and does not stop the rest.

    engine: what computes the forward, see :mod:`vit_demo.model.runtimes`; None for the fastest of torch.
    While it computes, the photos of the next batch are made ready.
    """
    size, engine, paths = settings.load().batch_size, engine or engine_of(classifier), iter(paths)
    first = list(itertools.islice(paths, 2))
    if len(first) < 2:  # no other to be made ready beside it, and the forward has all threads
        yield from _diagnose_batch(classifier, [_prepared(classifier, path) for path in first], engine)
        return
    paths = itertools.chain(first, paths)
    if isinstance(engine, CpuEngine):
        yield from _in_threads(classifier, paths, size, engine)
    else:
        yield from _batch_by_batch(classifier, paths, size, engine)


def _batch_by_batch(
    classifier: LeafClassifier, paths: Iterator[str | Path], size: int, engine: Engine
) -> Iterator[Diagnosis | Refusal]:
    """One forward a batch."""
    prepared = in_order(functools.partial(_prepared, classifier), paths, ahead=2 * size)
    with contextlib.closing(prepared):
        while batch := list(itertools.islice(prepared, size)):
            yield from _diagnose_batch(classifier, batch, engine)


def _in_threads(
    classifier: LeafClassifier, paths: Iterator[str | Path], size: int, engine: CpuEngine
) -> Iterator[Diagnosis | Refusal]:
    """A thread for each of torch's that does all for a few photos, from the file to the answer."""

    def answers(few: tuple[str | Path, ...]) -> list[Diagnosis | Refusal]:
        return _diagnose_batch(classifier, [_prepared(classifier, path) for path in few], engine)

    found = map_threads(answers, iter(lambda: tuple(itertools.islice(paths, FEW)), ()), ahead=2 * size // FEW)
    with contextlib.closing(found):
        for few in found:
            yield from few


@dataclass(frozen=True)
class _Prepared:
    """A photo file resized, uint8 (1, 3, H, W), and what is wrong with it; the photo itself is let go, so
    that a batch of huge ones stays small.
    """

    name: str
    resized: torch.Tensor
    problems: list[str]


def _prepared(classifier: LeafClassifier, path: str | Path) -> _Prepared | Refusal:
    try:
        with PHOTO_MEMORY.hold(bytes_to_open(path)):
            photo = open_photo(path)
            return _Prepared(str(path), classifier.resize([photo]), list(assess(photo).problems))
    except UserError as error:
        return Refusal.of(str(path), error)


def _diagnose_batch(
    classifier: LeafClassifier, batch: list[_Prepared | Refusal], engine: Engine | None
) -> list[Diagnosis | Refusal]:
    good = [found for found in batch if isinstance(found, _Prepared)]
    if not good:
        return [found for found in batch if isinstance(found, Refusal)]
    answers = iter(
        _diagnoses(
            classifier, torch.cat([found.resized for found in good]), [found.name for found in good], engine
        )
    )
    return [
        replace(next(answers), quality=found.problems) if isinstance(found, _Prepared) else found
        for found in batch
    ]


def _diagnoses(
    classifier: LeafClassifier, photos: torch.Tensor, names: list[str], engine: Engine | None = None
) -> list[Diagnosis]:
    engine, fitted = engine or engine_of(classifier), abstention_of(classifier)
    if fitted is None:
        return [
            Diagnosis(name, *_ranked(classifier.labels, row))
            for name, row in zip(names, engine.probabilities(photos).double().tolist())
        ]
    logits, features = engine.logits_and_features(photos, fitted.readout)
    answers = []
    for name, found in zip(names, fitted.judge(logits.numpy(), features.numpy())):
        chosen = [classifier.labels[index] for index in found.prediction_set]
        answers.append(
            Diagnosis(
                name,
                *_ranked(classifier.labels, found.probabilities.tolist()),
                found.verdict,
                chosen,
                fitted.temperature,
                found.distance,
            )
        )
    return answers


def _ranked(labels: list[str], probabilities: list[float]) -> tuple[str, float, dict[str, float]]:
    """The most probable class, its probability, and those of all classes, the most probable first."""
    scores = dict(sorted(zip(labels, probabilities), key=lambda item: -item[1]))
    return *next(iter(scores.items())), scores
