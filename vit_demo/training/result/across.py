"""A model and the photos of another data set: classes matched by name, scored on those that both know, all
photos counted by verdict.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset

from vit_demo.common.errors import UserError
from vit_demo.model.abstention import Abstention, Verdict, abstention_of, calibrated
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Readout
from vit_demo.training.result.abstain import Tally
from vit_demo.training.result.evaluation import Answered, Evaluation, Progress, answers, score

# So many class names stand in a sentence; more are left out of it.
NAMED = 12


class Unscored(enum.StrEnum):
    """Why nothing could be scored: no class in common; no photo has a label; none is of a class in common."""

    NO_CLASS = "no_class"
    NO_LABEL = "no_label"
    NO_PHOTO = "no_photo"


@dataclass(frozen=True)
class ClassMatch:
    """Which classes of a data set a model knows.

    labels: of the model. names: of the data set, both in their order. matched: by name of the data set, the
    model's class that it is.
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    matched: dict[str, str]

    @property
    def missing(self) -> list[str]:
        """The model's classes that the data set does not have."""
        return [label for label in self.labels if label not in self.matched.values()]

    @property
    def unknown(self) -> list[str]:
        """The data set's classes that the model does not know."""
        return [name for name in self.names if name not in self.matched]

    @property
    def is_same(self) -> bool:
        """Whether both have the same classes in the same order, so that there is nothing to tell."""
        return self.names == self.labels and not self.unknown

    def own_ids(self) -> np.ndarray:
        """The model's class id for each of the data set's, -1 where it knows none; the last is for a label of
        -1.
        """
        known = [self.labels.index(self.matched[name]) if name in self.matched else -1 for name in self.names]
        return np.array([*known, -1])


def match_classes(labels: Sequence[str], names: Sequence[str], pairs: Iterable[str] = ()) -> ClassMatch:
    """Match the classes of a model (labels) and of a data set (names): equal names, whatever their case, and
    with "_", "-" and blanks taken for the same.

    pairs: "the data set's name=the model's name" for those that are called otherwise, "name=" for one that is
    another class although it is called the same. Raises UserError for a pair that names no class, and where a
    name fits several.
    """
    given: dict[str, str | None] = {}
    for text in pairs:
        name, label = _pair(text, labels, names)
        if given.get(name, label) != label:
            raise UserError("error.training.map_twice", name=name)
        given[name] = label
    found = {name: given[name] if name in given else _named(name, labels) for name in names}
    return ClassMatch(
        tuple(labels), tuple(names), {name: label for name, label in found.items() if label is not None}
    )


def _plain(name: str) -> str:
    """What is left of a name where spelling does not count."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())
    return re.sub(r"[\s_-]+", " ", text)


def _named(name: str, choices: Sequence[str]) -> str | None:
    """The one that is called so, letter by letter before all others; None where there is none."""
    if name in choices:
        return name
    found = [choice for choice in choices if _plain(choice) == _plain(name)]
    if len(found) > 1:
        raise UserError("error.training.map_several", name=name, labels=_listed(found), label=found[-1])
    return found[0] if found else None


def _pair(text: str, labels: Sequence[str], names: Sequence[str]) -> tuple[str, str | None]:
    """(the data set's class, the model's) of one pair. A name may have a "=" in it: the first place that fits
    counts.
    """
    places = [place.start() for place in re.finditer("=", text)]
    if not places:
        raise UserError("error.training.map_form", text=text)
    cuts = [(text[:place].strip(), text[place + 1 :].strip()) for place in places]
    known = [(name, label) for left, label in cuts if (name := _named(left, names)) is not None]
    if not known:
        raise UserError("error.training.map_data", name=cuts[0][0], names=_listed(names))
    for name, label in known:
        own = _named(label, labels) if label else None
        if own is not None or not label:
            return name, own
    raise UserError("error.training.map_model", name=known[0][1], labels=_listed(labels))


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:NAMED], *(["…"] if len(names) > NAMED else [])])


class PhotoVerdict(NamedTuple):
    """One photo. row: its number in the split, from 0. path: where it came from. label: its class in the data
    set, None without one. verdict: None of a model that was never taught when to be silent. said: the model's
    most probable class, with its probability, 0 to 1.
    """

    row: int
    path: str
    label: str | None
    verdict: Verdict | None
    said: str
    probability: float

    @property
    def is_diagnosis(self) -> bool:
        """Whether the model names a class, which one without a verdict always does."""
        return self.verdict in (None, Verdict.DIAGNOSIS)


@dataclass(frozen=True)
class VerdictCount:
    """How a model answers the n photos of one class of a data set.

    label: that class, None for photos without one. own: the model's class that it is, None where the model
    does not know it: then nothing is right or wrong. diagnosis: how many got each class, the most frequent
    first. unsure, not_known: None of a model that was never taught when to be silent.
    """

    label: str | None
    own: str | None
    n: int
    diagnosis: dict[str, int]
    unsure: int | None
    not_known: int | None

    @property
    def diagnosed(self) -> int:
        """How many got a diagnosis."""
        return sum(self.diagnosis.values())

    @property
    def right(self) -> int | None:
        """How many of the diagnoses are right; None where nothing says so."""
        return None if self.own is None else self.diagnosis.get(self.own, 0)

    def to_dict(self) -> dict[str, Any]:
        """What goes to JSON."""
        return {**asdict(self), "right": self.right}


@dataclass(frozen=True)
class Across:
    """How a model does on the photos of another data set.

    match: its classes. scored: on the photos of matched classes; None where there are none. counts: of each
    class of the data set that has photos, in its order, at the end of those without a label. photos: the
    answer for each. broken: photos that could not be read and do not count. abstains: whether the model was
    taught when to be silent.
    """

    match: ClassMatch
    scored: Evaluation | None
    counts: list[VerdictCount]
    broken: int
    abstains: bool
    photos: list[PhotoVerdict] = field(repr=False)

    @property
    def others(self) -> list[VerdictCount]:
        """Of the photos that cannot be right or wrong."""
        return [count for count in self.counts if count.own is None]

    @property
    def unlabelled(self) -> int:
        """How many photos have no label."""
        return sum(count.n for count in self.counts if count.label is None)

    @property
    def tally(self) -> Tally | None:
        """The verdicts on the photos that are scored; None where there are none, or no verdicts."""
        known = [count for count in self.counts if count.own is not None]
        if not known or not self.abstains:
            return None
        return Tally(
            sum(count.n for count in known),
            sum(count.diagnosed for count in known),
            sum(count.right or 0 for count in known),
            sum(count.unsure or 0 for count in known),
            sum(count.not_known or 0 for count in known),
        )

    @property
    def unscored(self) -> Unscored | None:
        """Why nothing was scored; None where something was."""
        if self.scored is not None:
            return None
        if self.unlabelled == len(self.photos):
            return Unscored.NO_LABEL
        return Unscored.NO_PHOTO if self.match.matched else Unscored.NO_CLASS

    def to_dict(self) -> dict[str, Any]:
        """What goes to JSON: the score as :meth:`Evaluation.to_dict` gives it, null where nothing was scored,
        then classes and verdicts.
        """
        tally = self.tally
        return {
            **(self.scored.to_dict() if self.scored else self._nothing_scored()),
            "not_measured": self.unscored,
            "matched": self.match.matched,
            "missing": self.match.missing,
            "unknown": self.match.unknown,
            "unlabelled": self.unlabelled,
            "verdicts": asdict(tally) if tally else None,
            "verdicts_by_class": [count.to_dict() for count in self.counts],
        }

    def _nothing_scored(self) -> dict[str, Any]:
        unknown = ("accuracy", "interval", "loss", "confusion", "calibration", "temperature", "calibrated")
        return {
            **dict.fromkeys(unknown),
            "n": 0,
            "labels": list(self.match.labels),
            "broken": self.broken,
            "classes": [],
            "worst": [],
        }


def evaluate_across(
    classifier: LeafClassifier,
    data: Dataset,
    match: ClassMatch,
    progress: Progress = lambda done, total: None,
    readout: Readout | None = None,
) -> Across:
    """Ask a model about a split, whatever its classes.

    The model answers as it always does, with any of its classes: a photo of a matched class that gets a class
    which the data set does not have is wrong. readout: of a model that gives no other and has no abstention.
    Raises UserError where no photo can be read.
    """
    abstention, own_ids = abstention_of(classifier), match.own_ids()
    photos: list[PhotoVerdict] = []
    logits, targets, places, broken = [], [], [], 0
    for part in answers(classifier, data, abstention.readout if abstention else readout, progress):
        photos += _verdicts(part, match, abstention)
        ids = own_ids[part.labels]
        known = np.flatnonzero(ids >= 0)
        logits.append(part.logits[known])
        targets.append(ids[known])
        places += [part.places[number] for number in known]
        broken += part.broken
    if not photos:
        raise UserError("error.training.none_to_score")
    scored = (
        score(torch.cat(logits), np.concatenate(targets), list(match.labels), broken, places)
        if places
        else None
    )
    return Across(match, scored, _counts(photos, match, abstention), broken, abstention is not None, photos)


def _verdicts(part: Answered, match: ClassMatch, abstention: Abstention | None) -> Iterator[PhotoVerdict]:
    logits = part.logits.float().numpy()
    if abstention:
        judged = abstention.judge(logits, part.features.numpy())
        verdicts: list[Verdict | None] = [one.verdict for one in judged]
    else:
        verdicts = [None] * len(logits)
    probabilities = calibrated(logits, abstention.temperature if abstention else 1.0)
    for (row, path), label, verdict, shares in zip(
        part.places, part.labels, verdicts, probabilities, strict=True
    ):
        said = int(shares.argmax())
        name = match.names[label] if label >= 0 else None
        yield PhotoVerdict(row, path, name, verdict, match.labels[said], float(shares[said]))


def _counts(
    photos: list[PhotoVerdict], match: ClassMatch, abstention: Abstention | None
) -> list[VerdictCount]:
    by_class: dict[str | None, list[PhotoVerdict]] = {}
    for photo in photos:
        by_class.setdefault(photo.label, []).append(photo)
    return [
        _count(label, own, by_class[label], abstention is not None)
        for label, own in (*((name, match.matched.get(name)) for name in match.names), (None, None))
        if label in by_class
    ]


def _count(label: str | None, own: str | None, photos: list[PhotoVerdict], abstains: bool) -> VerdictCount:
    said = Counter(photo.said for photo in photos if photo.is_diagnosis)
    silent = Counter(photo.verdict for photo in photos if not photo.is_diagnosis)
    return VerdictCount(
        label,
        own,
        len(photos),
        dict(sorted(said.items(), key=lambda one: (-one[1], one[0]))),
        silent[Verdict.UNSURE] if abstains else None,
        silent[Verdict.NOT_KNOWN] if abstains else None,
    )
