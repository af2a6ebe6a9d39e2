"""One pass over the photos of a data set: what was seen of each, whatever it is called."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vit_demo.data.checks.features import Features, read_features
from vit_demo.data.copies.duplicates import HASH_BITS, Fingerprints, fingerprint_of
from vit_demo.model.classifier import LeafClassifier
from vit_demo.photos.quality import assess
from vit_demo.photos.safe_open import decode

if TYPE_CHECKING:
    from datasets import DatasetDict
    from PIL import Image

# Of a larger data set so many photos are drawn, each as likely as any other.
MOST_PHOTOS = 20_000
SEED = 0


@dataclass(frozen=True)
class Reading:
    """What was seen of N photos. photos: (split, path) of each, as in the source. problems: of each those of
    quality.WARNINGS. total: in the data set.
    """

    photos: list[tuple[str, str]]
    features: Features
    fingerprints: Fingerprints
    problems: list[tuple[str, ...]]
    total: int

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it, to be kept."""
        told = json.dumps({"photos": self.photos, "problems": self.problems, "total": self.total})
        return {
            "values": self.features.values,
            "readable": self.features.readable,
            "digests": self.fingerprints.digests,
            "hashes": self.fingerprints.hashes,
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
    fingerprints, problems = [], []

    def watched() -> Iterable[Image.Image | None]:
        for photo in _photos(data, chosen):
            fingerprints.append(
                ("", np.zeros(HASH_BITS, dtype=bool)) if photo is None else fingerprint_of(photo)
            )
            problems.append(() if photo is None else tuple(assess(photo).problems))
            yield photo

    features = read_features(classifier, watched(), lambda done: progress(done, count))
    paths = {split: part.select_columns(["image_file_path"]) for split, part in data.items()}
    photos = [
        (split, paths[split][int(row)]["image_file_path"]) for split, rows in chosen.items() for row in rows
    ]
    hashes = (
        np.stack([bits for _, bits in fingerprints]) if fingerprints else np.empty((0, HASH_BITS), dtype=bool)
    )
    return Reading(
        photos,
        features,
        Fingerprints(np.array([digest for digest, _ in fingerprints]), hashes),
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
