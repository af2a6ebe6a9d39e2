"""Photos that are there twice: in two splits, or in one."""

from __future__ import annotations

import numpy as np

from vit_demo.common.words import Sentence
from vit_demo.data.checks.finding import CANDIDATES, Finding, FindingKind, Photos
from vit_demo.data.copies.duplicates import HASH_BITS, Fingerprints, Pair, find_pairs


def leakage(photos: Photos) -> list[Finding]:
    """Pairs of two splits, also those that only look alike."""
    return _pairs(photos, FindingKind.LEAKAGE)[:CANDIDATES]


def duplicates(photos: Photos) -> list[Finding]:
    """Within a split; those across are leakage. Only the ones that are claimed: photos of one field often
    look alike.
    """
    within = [finding for finding in _pairs(photos, FindingKind.DUPLICATE) if finding.sure]
    place = dict(zip(photos.reading.photos, photos.splits))
    return [finding for finding in within if place[finding.photos[0]] == place[finding.photos[1]]]


def _pairs(photos: Photos, kind: FindingKind) -> list[Finding]:
    """As they are ranked: the same first, then near, then by likeness."""
    reading = photos.reading
    fingerprints = Fingerprints(
        np.where(photos.readable, reading.fingerprints.digests, ""), reading.fingerprints.hashes
    )
    pairs = find_pairs(fingerprints, reading.features.early, photos.splits, kind == FindingKind.LEAKAGE)
    return [
        Finding(
            kind,
            (reading.photos[pair.first], reading.photos[pair.second]),
            -float(rank),
            pair.kind != "alike",
            note=_note(pair),
        )
        for rank, pair in enumerate(pairs)
    ]


def _note(pair: Pair) -> Sentence:
    if pair.kind == "same":
        return Sentence("data.note.same")
    likeness = Sentence("data.note.likeness", {"cosine": float(pair.cosine)})
    return Sentence("data.note.alike", {"likeness": likeness, "bits": int(pair.bits), "all": HASH_BITS})
