"""How sure several leaves of one plant make the embedded model, on plants put together from real photos.

    python -m benchmarks.several [--choose]

Plants of 1, 3, 6 and 12 leaves are drawn from the test split without replacement: of one class, and mixed
ones with leaves of another. Of plants of one class: right when made to answer, answered with "diagnosis",
right among these, called mixed (wrongly), and the expected calibration error (15 bins) of the pooled
probability; of mixed ones: called mixed, and called healthy although a leaf is sick. One leaf is the split
itself with Wilson intervals; the others have 95 % percentile intervals over drawings of the photos themselves
(bootstrap), from which plants are drawn anew. Two leaves drawn so have nothing in common but the class. Those
of one real plant share light, camera and variety, and the mistakes that come of them: take these numbers for
the best that more leaves can do. An interval without width says no more than that none of these few photos
shows such a mistake.

--choose prints what the rule was chosen by, on plants from the validation split, leaves at random and leaves
that look alike to the model: the pooled probability for several strengths of dependence, and majority voting.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import binomtest

from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.diagnosis import Diagnosis
from vit_demo.diagnose.several import combine, is_healthy, pooled
from vit_demo.model.abstention import abstention_of
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.result.calibration import BINS
from vit_demo.training.result.evaluation import evaluate

LEAVES = (3, 6, 12)
PLANTS = 200  # of each drawing of the photos
DRAWINGS = 200
SEED = 0
ALIKE = (0.0, 0.25, 0.5, 0.75, 1.0)
NEAREST = 15  # photos that a plant of alike leaves is drawn from


@dataclass(frozen=True)
class Photos:
    """The answers for a split, the true class of each photo, and its [CLS] features (N, D)."""

    answers: list[Diagnosis]
    truth: np.ndarray
    features: np.ndarray


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", default="beans", help="what `--data` of the commands takes (default: %(default)s)"
    )
    parser.add_argument("--model", default="embedded", help="model folder or name (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    parser.add_argument("--choose", action="store_true", help="compare rules on the validation split instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    classifier, data = LeafClassifier.open(options.model, device="cpu"), open_dataset(options.data)
    if options.choose:
        choose(look(classifier, data["validation"]))
    else:
        report(look(classifier, data["test"]))
    return 0


def look(classifier: LeafClassifier, split: Dataset) -> Photos:
    """Ask the model once about each photo."""
    fitted = abstention_of(classifier)
    found = evaluate(classifier, split, readout=fitted.readout)
    answers = []
    for judged in fitted.judge(found.logits, found.features):
        scores = dict(
            sorted(zip(classifier.labels, judged.probabilities.tolist()), key=lambda item: -item[1])
        )
        label, probability = next(iter(scores.items()))
        answers.append(
            Diagnosis(
                "",
                label,
                probability,
                scores,
                judged.verdict,
                [classifier.labels[index] for index in judged.prediction_set],
            )
        )
    return Photos(answers, np.array([classifier.labels[index] for index in found.targets]), found.features)


def report(photos: Photos) -> None:
    right = np.array([answer.label == truth for answer, truth in zip(photos.answers, photos.truth)])
    answered = np.array([answer.verdict == "diagnosis" for answer in photos.answers])
    print(f"One leaf: {len(right)} photos")
    rows = [
        ("right when made to answer", right),
        ("answered with a diagnosis", answered),
        ("right among these", right[answered]),
    ]
    for name, hits in rows:
        count, of = hits.sum(), len(hits)
        interval = binomtest(int(count), int(of)).proportion_ci(method="wilson")
        print(f"  {name:42} {count / of:6.1%}  ({interval.low:.1%} to {interval.high:.1%}, {count} of {of})")
    for leaves in LEAVES:
        drawn = [plants_of_one_class(photos, leaves, drawing) for drawing in range(DRAWINGS + 1)]
        _table(f"{leaves} leaves, one class", drawn)
    for leaves, sick in ((3, 1), (6, 1), (6, 3), (12, 1)):
        _table(
            f"{leaves} leaves, {sick} of them of another class",
            [mixed_plants(photos, leaves, sick, drawing) for drawing in range(DRAWINGS + 1)],
        )


def _table(title: str, drawn: list[dict[str, float]]) -> None:
    """The first drawing is of all photos as they are, the others say how far it can be trusted."""
    print(f"{title}: {10 * PLANTS} plants, intervals over {DRAWINGS} drawings of the photos")
    for name, value in drawn[0].items():
        others = [other[name] for other in drawn[1:] if not np.isnan(other[name])]
        low, high = np.percentile(others, [2.5, 97.5])
        print(f"  {name:42} {value:6.1%}  ({low:.1%} to {high:.1%})")


def _drawing(photos: Photos, number: int) -> tuple[np.random.Generator, np.ndarray, int]:
    """Photos to draw plants from (the split itself for number 0, else as many with repeats), and how many
    plants.
    """
    random = np.random.default_rng([SEED, number])
    count = len(photos.truth)
    return (
        random,
        np.arange(count) if number == 0 else random.integers(0, count, count),
        PLANTS * (10 if number == 0 else 1),
    )


def plants_of_one_class(photos: Photos, leaves: int, number: int) -> dict[str, float]:
    random, pool, count = _drawing(photos, number)
    shares, forced, verdicts, right = [], [], [], []
    for _ in range(count):
        truth = photos.truth[random.choice(pool)]
        plant = [
            photos.answers[index]
            for index in random.choice(pool[photos.truth[pool] == truth], leaves, replace=False)
        ]
        scores, found = pooled(plant), combine(plant)
        label = next(iter(scores))
        shares.append(scores[label])
        forced.append(label == truth)
        verdicts.append(found.verdict)
        right.append(found.label == truth)
    forced, verdicts, right = np.array(forced), np.array(verdicts), np.array(right)
    answered = verdicts == "diagnosis"
    return {
        "right when made to answer": forced.mean(),
        "answered with a diagnosis": answered.mean(),
        "right among these": right[answered].mean(),
        "called mixed": (verdicts == "mixed").mean(),
        "expected calibration error": calibration_error(np.array(shares), forced),
    }


def mixed_plants(photos: Photos, leaves: int, odd: int, number: int) -> dict[str, float]:
    random, pool, count = _drawing(photos, number)
    verdicts, missed = [], []
    for _ in range(count):
        one, other = random.choice(np.unique(photos.truth), 2, replace=False)
        chosen = [
            random.choice(pool[photos.truth[pool] == name], size, replace=False)
            for name, size in ((one, leaves - odd), (other, odd))
        ]
        found = combine([photos.answers[index] for index in np.concatenate(chosen)])
        verdicts.append(found.verdict)
        missed.append(found.verdict == "diagnosis" and is_healthy(found.label))
    return {
        "called mixed": np.mean(np.array(verdicts) == "mixed"),
        "called healthy although a leaf is sick": np.mean(missed),
    }


def calibration_error(shares: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error in BINS bins of equal width (Guo et al. 2017)."""
    bins = np.minimum((shares * BINS).astype(int), BINS - 1)
    return float(
        sum(abs(shares[bins == one].sum() - right[bins == one].sum()) for one in np.unique(bins))
        / len(shares)
    )


def choose(photos: Photos) -> None:
    print(
        f"{'plants':28} "
        + " ".join(f"alike {alike:4}: right, log loss" for alike in ALIKE)
        + "  majority right"
    )
    for look_alike in (False, True):
        for leaves in LEAVES:
            found = list(_plants(photos, leaves, look_alike))
            cells = []
            for alike in ALIKE:
                scores = [pooled(plant, alike) for plant, _ in found]
                right = np.mean([next(iter(own)) == truth for own, (_, truth) in zip(scores, found)])
                loss = -np.mean([np.log(own[truth]) for own, (_, truth) in zip(scores, found)])
                cells.append(f"{right:15.2%} {loss:11.4f}")
            majority = np.mean(
                [max(own := [leaf.label for leaf in plant], key=own.count) == truth for plant, truth in found]
            )
            print(
                f"{leaves:2} leaves {'that look alike' if look_alike else 'at random':18} {' '.join(cells)}"
                f" {majority:14.2%}"
            )


def _plants(photos: Photos, leaves: int, look_alike: bool) -> Iterator[tuple[list[Diagnosis], str]]:
    """Plants of one class; of leaves that look alike, drawn from the photos that are nearest to one of them
    by the angle of their features.
    """
    random = np.random.default_rng(SEED)
    unit = photos.features / np.linalg.norm(photos.features, axis=1, keepdims=True)
    for _ in range(10 * PLANTS):
        first = random.integers(len(photos.truth))
        same = np.flatnonzero(photos.truth == photos.truth[first])
        if look_alike:
            same = same[np.argsort(-(unit[same] @ unit[first]))[:NEAREST]]
        yield (
            [photos.answers[index] for index in random.choice(same, leaves, replace=False)],
            photos.truth[first],
        )


if __name__ == "__main__":
    raise SystemExit(main())
