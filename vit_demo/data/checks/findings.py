"""What is wrong with a data set: found from one pass over its photos, one finding a photo or pair.

:func:`read_photos` is the slow part: it decodes every photo once and keeps what was seen of it
(:class:`Reading`), whatever it is called. :func:`find` is quick and looks at the labels and splits as they
are now, so that it can be asked again after each decision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vit_demo.common.words import Sentence
from vit_demo.data.checks.features import Features, read_features
from vit_demo.data.checks.label_errors import find_suspects
from vit_demo.data.copies.duplicates import HASH_BITS, Fingerprints, find_pairs, fingerprint_of, standardised
from vit_demo.data.corrections.journal import Decision
from vit_demo.data.normalise import label_names
from vit_demo.model.classifier import LeafClassifier
from vit_demo.photos.quality import WARNINGS, assess
from vit_demo.photos.safe_open import decode

if TYPE_CHECKING:
    from datasets import DatasetDict
    from PIL import Image

# In the order in which they are shown: what spoils an examination, then what spoils the lesson, then the
# photos themselves.
LEAKAGE, LABEL, DUPLICATE, UNLIKE, BROKEN = "leakage", "label", "duplicate", "unlike", "broken"
# Key of the note on two photos that are one.
SAME_PIXELS = "data.note.same"
KINDS = (LEAKAGE, LABEL, DUPLICATE, UNLIKE, BROKEN, *WARNINGS)
# Of a larger data set so many photos are drawn, each as likely as any other.
MOST_PHOTOS = 20_000
SEED = 0
# Of pairs and of photos unlike the rest, so many candidates; most are right, and a person has to look at
# each.
CANDIDATES = 30
# A photo is unlike the rest when its neighbours are farther than this many interquartile ranges above the
# third quartile (Tukey 1977).
FENCE = 3.0
NEIGHBOURS = 5
# A class with less than this share of the largest one's photos is named.
RARE = 1 / 3


@dataclass(frozen=True)
class Finding:
    """kind: one of KINDS. photos: (split, path) of the photo, or of both. score: the higher the surer,
    comparable within a kind.

    sure: whether it is claimed; others are candidates. suggestion: the class that a wrong label should be,
    else "". note: numbers for a person.
    """

    kind: str
    photos: tuple[tuple[str, str], ...]
    score: float
    sure: bool
    suggestion: str = ""
    note: Sentence | str = ""


@dataclass(frozen=True)
class Reading:
    """What was seen of N photos. photos: (split, path) of each, as in the source. problems: of each those of
    quality.WARNINGS. total: in the data set.
    """

    photos: list[tuple[str, str]]
    features: Features
    prints: Fingerprints
    problems: list[tuple[str, ...]]
    total: int

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it, to be kept."""
        told = json.dumps({"photos": self.photos, "problems": self.problems, "total": self.total})
        return {
            "values": self.features.values,
            "readable": self.features.readable,
            "digests": self.prints.digests,
            "hashes": self.prints.hashes,
            "told": np.frombuffer(told.encode(), np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray] | None) -> Reading | None:
        """The inverse of :meth:`to_arrays`; None for what is nothing of the kind."""
        if arrays is None:
            return None
        try:
            told = json.loads(arrays["told"].tobytes())
            return cls(
                [tuple(photo) for photo in told["photos"]],
                Features(arrays["values"], arrays["readable"]),
                Fingerprints(arrays["digests"], arrays["hashes"]),
                [tuple(keys) for keys in told["problems"]],
                told["total"],
            )
        except (TypeError, KeyError, ValueError):
            return None


def read_photos(
    data: DatasetDict,
    classifier: LeafClassifier,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Reading:
    """Decode each photo once. progress: told how many of how many are done; what it raises ends the
    reading.
    """
    chosen = _chosen({split: len(part) for split, part in data.items()})
    count = sum(map(len, chosen.values()))
    prints, problems = [], []

    def watched() -> Iterable[Image.Image | None]:
        for photo in _photos(data, chosen):
            prints.append(("", np.zeros(HASH_BITS, dtype=bool)) if photo is None else fingerprint_of(photo))
            problems.append(() if photo is None else tuple(assess(photo).problems))
            yield photo

    features = read_features(classifier, watched(), lambda done: progress(done, count))
    paths = {split: part.select_columns(["image_file_path"]) for split, part in data.items()}
    photos = [
        (split, paths[split][int(row)]["image_file_path"]) for split, rows in chosen.items() for row in rows
    ]
    hashes = np.stack([bits for _, bits in prints]) if prints else np.empty((0, HASH_BITS), dtype=bool)
    return Reading(
        photos,
        features,
        Fingerprints(np.array([digest for digest, _ in prints]), hashes),
        problems,
        sum(map(len, data.values())),
    )


def _chosen(sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """The rows of each split that are looked at: all, or a draw over all splits together."""
    total = sum(sizes.values())
    rows = np.arange(total)
    if total > MOST_PHOTOS:
        rows = np.sort(np.random.default_rng(SEED).choice(total, MOST_PHOTOS, replace=False))
    starts = np.cumsum([0, *sizes.values()])
    return {
        split: rows[(rows >= start) & (rows < start + size)] - start
        for start, (split, size) in zip(starts, sizes.items())
    }


def _photos(data: DatasetDict, chosen: dict[str, np.ndarray]) -> Iterable[Image.Image | None]:
    from datasets import Image as ImageFeature

    for split, rows in chosen.items():
        stored = data[split].select_columns(["image"]).cast_column("image", ImageFeature(decode=False))
        for row in rows:
            yield decode(stored[int(row)]["image"])


def find(reading: Reading, data: DatasetDict, decisions: Iterable[Decision] = ()) -> list[Finding]:
    """All findings, in the order of KINDS, the surest of a kind first.

    data: as it was read; the labels and splits that ``decisions`` give are put over it, and what was kept or
    left out by them is not found again.
    """
    names = label_names(data)
    labels, splits, gone, kept = _as_decided(reading, data, list(decisions))
    here = np.array([photo not in gone for photo in reading.photos], dtype=bool) & reading.features.readable
    found = [
        *_leakage(reading, splits, here),
        *_labels(reading, labels, here, names),
        *_duplicates(reading, splits, here),
        *_unlike(reading, here),
    ]
    for row, photo in enumerate(reading.photos):
        if photo in gone:
            continue
        if not reading.features.readable[row]:
            found.append(Finding(BROKEN, (photo,), 1.0, True))
        found += [Finding(problem, (photo,), 1.0, True) for problem in reading.problems[row]]
    order = {kind: number for number, kind in enumerate(KINDS)}
    wanted = [
        finding
        for finding in found
        if not any((finding.kind, photo, "") in kept for photo in finding.photos)
        and _pair(finding) not in kept
    ]
    return sorted(wanted, key=lambda finding: (order[finding.kind], -finding.score))


def _pair(finding: Finding) -> tuple[str, tuple[str, str], str]:
    """As a decision names two photos that were kept together, so that a third one like them is found all the
    same.
    """
    return finding.kind, finding.photos[0], "/".join(finding.photos[-1])


def _as_decided(
    reading: Reading, data: DatasetDict, decisions: list[Decision]
) -> tuple[np.ndarray, np.ndarray, set[tuple[str, str]], set[tuple[str, tuple[str, str], str]]]:
    """(label of each photo, split of each, photos left out, (kind, photo, the other one of a pair or "") that
    a person found right).
    """
    names = label_names(data)
    own = {
        (split, path): label
        for split, part in data.items()
        for path, label in zip(part["image_file_path"], part["labels"])
    }
    moved, gone, kept = {}, set(), set()
    for decision in decisions:
        if decision.action == "exclude":
            gone.add(decision.photo)
        elif decision.action == "keep":
            gone.discard(decision.photo)
            kept.add((decision.why, decision.photo, decision.to))
        elif decision.action == "move" and decision.to in data:
            moved[decision.photo] = decision.to
        elif decision.action == "relabel" and decision.to in names:
            own[decision.photo] = names.index(decision.to)
            # A person has looked: the label that they gave is not called in question again.
            kept.add((LABEL, decision.photo, ""))
    labels = np.array([own.get(photo, -1) for photo in reading.photos])
    splits = np.array([moved.get(photo, photo[0]) for photo in reading.photos])
    return labels, splits, gone, kept


def _leakage(reading: Reading, splits: np.ndarray, here: np.ndarray) -> list[Finding]:
    return _pairs(reading, splits, here, across=True)[:CANDIDATES]


def _duplicates(reading: Reading, splits: np.ndarray, here: np.ndarray) -> list[Finding]:
    """Within a split; those across are leakage. Only the ones that are claimed: photos of one field often
    look alike.
    """
    within = [finding for finding in _pairs(reading, splits, here, across=False) if finding.sure]
    place = dict(zip(reading.photos, splits))
    return [finding for finding in within if place[finding.photos[0]] == place[finding.photos[1]]]


def _pairs(reading: Reading, splits: np.ndarray, here: np.ndarray, across: bool) -> list[Finding]:
    prints = Fingerprints(np.where(here, reading.prints.digests, ""), reading.prints.hashes)
    kind = LEAKAGE if across else DUPLICATE
    found = []
    for rank, pair in enumerate(find_pairs(prints, reading.features.early, splits, across)):
        likeness = Sentence("data.note.likeness", {"cosine": float(pair.cosine)})
        alike = Sentence("data.note.alike", {"likeness": likeness, "bits": int(pair.bits), "all": HASH_BITS})
        note = Sentence(SAME_PIXELS) if pair.kind == "same" else alike
        # As they are ranked: the same first, then near, then by likeness.
        found.append(
            Finding(
                kind,
                (reading.photos[pair.first], reading.photos[pair.second]),
                -float(rank),
                pair.kind != "alike",
                note=note,
            )
        )
    return found


def _labels(reading: Reading, labels: np.ndarray, here: np.ndarray, names: list[str]) -> list[Finding]:
    rows = np.flatnonzero(here & (labels >= 0))
    if len(rows) < 2 * NEIGHBOURS:
        return []
    suspects = find_suspects(reading.features.all[rows], labels[rows], len(names))
    found = []
    for at in suspects.order:
        if suspects.margins[at] < 0:
            suggested = names[suspects.suggested[at]]
            note = Sentence(
                "data.note.label",
                {
                    "label": names[labels[rows[at]]],
                    "other": suggested,
                    "margin": -float(suspects.margins[at]),
                },
            )
            found.append(
                Finding(
                    LABEL,
                    (reading.photos[rows[at]],),
                    -float(suspects.margins[at]),
                    bool(suspects.suspect[at]),
                    suggested,
                    note,
                )
            )
    return found


def _unlike(reading: Reading, here: np.ndarray) -> list[Finding]:
    """Photos whose nearest others are far away, by the mean distance to NEIGHBOURS of them."""
    from sklearn.neighbors import NearestNeighbors

    rows = np.flatnonzero(here)
    if len(rows) < 4 * NEIGHBOURS:
        return []
    late = reading.features.values[rows, -1].reshape(len(rows), -1).astype(np.float32)
    distances = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(standardised(late)).kneighbors()[0].mean(axis=1)
    low, middle, high = np.percentile(distances, [25, 50, 75])
    limit = high + FENCE * (high - low)
    far = [at for at in np.argsort(-distances)[:CANDIDATES] if distances[at] > limit]
    ratios = distances / middle
    notes = {at: Sentence("data.note.unlike", {"ratio": float(ratios[at])}) for at in far}
    return [
        Finding(UNLIKE, (reading.photos[rows[at]],), float(ratios[at]), True, note=note)
        for at, note in notes.items()
    ]


def rare_classes(data: DatasetDict) -> dict[str, int]:
    """Classes with so few train photos that the model will seldom say them: less than a third of those of the
    largest class.
    """
    names = label_names(data)
    counts = np.bincount(np.asarray(data["train"]["labels"]), minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts) if count < RARE * counts.max()}
