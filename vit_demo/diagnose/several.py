"""Several leaves of one plant or plot, one answer.

Leaves that agree are pooled: the mean of the logarithms of their probabilities, times a number of leaves (a
logarithmic opinion pool, Genest and Zidek 1986). Leaves of one plant are alike, in light, camera, variety and
mistakes, so k of them count for k / (1 + (k - 1) r) independent ones, with r how alike two of them are (the
design effect of cluster samples, Kish 1965). How alike real leaves of one plant are cannot be learned from
the bean photos, which do not say which plant they are of: on plants put together from validation photos any r
from 0 to 1 is right as often. So r leans to caution: twelve leaves count for less than two independent ones.
Cut at one in a hundred, no leaf alone rules a class out for all others. ``benchmarks/several.py`` compares
these choices with others.

Leaves that contradict each other are not averaged: then the verdict is "mixed", with the count of each class.
A plant with one rusty leaf and five healthy ones is not healthy.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal
from vit_demo.model.abstention import COVERAGE, Verdict, prediction_set

MOST = 12
# How alike two leaves of one plant are: 0 not at all, 1 as two photos of the same leaf.
ALIKE = 0.5
# Share of leaves of which the model may be wrong whatever it says.
DOUBT = 0.01


@dataclass(frozen=True)
class Together:
    """The answer for the leaves of one plant.

    verdict: "diagnosis"; "unsure"; "mixed" (leaves contradict each other); "not_known" (most are none of the
    leaves it learned). label: the class in question; of mixed leaves the one that most are sure of, before
    healthy. probability: 0 to 1, that the plant shows it; of mixed leaves, that at least one does. scores:
    pooled, of every class, the most probable first, summing to 1. prediction_set: the classes that are left;
    of mixed leaves all that were found. counts: how many leaves are sure of each class, most first. voted:
    how many leaves the answer rests on, which leaves out those that are not known or refused. leaves: the
    answer for each photo.
    """

    verdict: str
    label: str
    probability: float
    scores: dict[str, float]
    prediction_set: list[str]
    counts: dict[str, int]
    voted: int
    leaves: list[Diagnosis | Refusal]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "leaves": [leaf.to_dict() for leaf in self.leaves]}


def is_healthy(label: str) -> bool:
    """Whether a class is that of leaves without a disease, by its English name: healthy, Tomato___healthy,
    but not unhealthy.
    """
    return "healthy" in re.split(r"[\W_]+", label.lower())


def combine(leaves: Sequence[Diagnosis | Refusal]) -> Together:
    """One answer of one model for 1 to 12 photos of one plant. Raises UserError for more, and where no photo
    can be used.
    """
    if len(leaves) > MOST:
        raise UserError("error.diagnose.too_many", count=len(leaves), most=MOST)
    usable = [leaf for leaf in leaves if isinstance(leaf, Diagnosis)]
    if not usable:
        refused = [leaf for leaf in leaves if isinstance(leaf, Refusal)]
        raise refused[0].as_error() if refused else UserError("error.diagnose.no_photos")
    voting = [leaf for leaf in usable if leaf.verdict != Verdict.NOT_KNOWN]
    counts = dict(Counter(_left(leaf)[0] for leaf in voting if _is_sure(leaf)).most_common())
    # Where most photos show something else, the few others are more likely mistaken than right.
    known = 2 * len(voting) >= len(usable)
    scores = pooled(voting if known else usable)
    verdict, label, probability, chosen = (
        _verdict(voting, counts, scores) if known else (Verdict.NOT_KNOWN, *next(iter(scores.items())), [])
    )
    return Together(verdict, label, probability, scores, chosen, counts, len(voting), list(leaves))


def pooled(leaves: Sequence[Diagnosis], alike: float = ALIKE, doubt: float = DOUBT) -> dict[str, float]:
    """Probabilities of the classes, the most probable first, if all leaves show the same one; of a single
    leaf its own.
    """
    labels = list(leaves[0].scores)
    if len(leaves) == 1:
        return dict(leaves[0].scores)
    each = np.array([[leaf.scores[label] for label in labels] for leaf in leaves])
    logs = np.log((1 - doubt) * each + doubt / len(labels)).mean(axis=0) * effective(len(leaves), alike)
    shares = np.exp(logs - logs.max())
    return dict(sorted(zip(labels, (shares / shares.sum()).tolist()), key=lambda item: -item[1]))


def effective(count: int, alike: float = ALIKE) -> float:
    """For how many independent leaves so many leaves of one plant count (Kish 1965)."""
    return count / (1 + (count - 1) * alike)


def _verdict(
    voting: list[Diagnosis], counts: dict[str, int], scores: dict[str, float]
) -> tuple[str, str, float, list[str]]:
    """(verdict, label, probability, classes that are left) of leaves that are known."""
    label, probability = next(iter(scores.items()))
    if len(voting) == 1:
        return (
            Verdict.DIAGNOSIS if _is_sure(voting[0]) else Verdict.UNSURE,
            label,
            probability,
            _left(voting[0]),
        )
    against = [leaf for leaf in voting if label not in _left(leaf)]
    if against:
        return _mixed(
            voting,
            list(dict.fromkeys([*counts, *(name for leaf in against for name in _left(leaf))])),
            counts,
        )
    # However many leaves are in doubt, the same doubt told again makes no certainty: one of them at least has
    # to be sure.
    if counts and probability >= COVERAGE:
        return Verdict.DIAGNOSIS, label, probability, [label]
    left = [list(scores)[index] for index in prediction_set(np.array(list(scores.values())), None)]
    return Verdict.UNSURE, label, probability, left if len(left) > 1 else list(scores)[:2]


def _mixed(
    voting: list[Diagnosis], found: list[str], counts: dict[str, int]
) -> tuple[str, str, float, list[str]]:
    """found: all classes that leaves are sure of, or that is left to those that speak against the others."""
    # That one of several events happens is at least as probable as the most probable of them, however they
    # depend on each other.
    shares = {name: max(leaf.scores[name] for leaf in voting) for name in found}
    diseases = [name for name in found if not is_healthy(name)]
    label = max(diseases or found, key=lambda name: (counts.get(name, 0), shares[name]))
    return Verdict.MIXED, label, shares[label], found


def _left(leaf: Diagnosis) -> list[str]:
    """The classes that one leaf may show; of a model that was never taught when to be silent the fewest that
    hold 95 %.
    """
    if leaf.prediction_set is not None:
        return leaf.prediction_set
    names, shares = list(leaf.scores), np.array(list(leaf.scores.values()))
    return [names[index] for index in prediction_set(shares, None)]


def _is_sure(leaf: Diagnosis) -> bool:
    return len(_left(leaf)) == 1
