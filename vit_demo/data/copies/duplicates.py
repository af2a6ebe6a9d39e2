"""Photos that are there twice: the same pixels, the same picture saved anew, or the same leaf seconds later.

Three looks at each photo, from sure to likely: a digest of its pixels; its perceptual hash (64 bits of its
lowest frequencies; Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", by the
ImageHash library); and the cosine between the early features of a model, where tokens still say what the
picture looks like and not what it shows. A pair on two sides of a split is leakage: the model is examined
with a photo that it has learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

HASH_BITS = 64
# A photo is recognised on a picture of about as many pixels; a JPEG is decoded no larger.
PRINT_PIXELS = 1_000_000
# Perceptual hashes that differ by so many bits are of the same picture. Among the real bean photos, which
# hold no picture twice, the nearest pair of two splits differs by 10.
NEAR_BITS = 6
# Cosine of the early features from which on two photos are called near duplicates. The one pair of bean
# photos that lies across two splits and shows the same leaf from the same place has 0.94 with the embedded
# model and 0.90 with the pretrained one, where it is the first candidate too; different leaves held into the
# same field reach 0.88. So what is near is looked at by a person.
NEAR_COSINE = 0.93
# Rows compared at once, so that memory stays bounded.
BLOCK = 1024
KINDS = ("same", "near", "alike")


@dataclass(frozen=True)
class Fingerprints:
    """What a photo is recognised by, of N photos. digests: (N,) strings, "" where a photo cannot be read.
    hashes: bool (N, 64).
    """

    digests: np.ndarray
    hashes: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two photos, by their rows, first < second.

    kind: "same" pixels, "near" (the same picture, saved or scaled anew, or as good as), "alike" (only a
    candidate). cosine: of their early features, -1 to 1. bits: of 64 by which their perceptual hashes differ.
    """

    first: int
    second: int
    kind: str
    cosine: float
    bits: int


def fingerprint_of(photo: Image.Image) -> tuple[str, np.ndarray]:
    """Digest of size and pixels, and perceptual hash, bool (64,), of an upright RGB photo."""
    import imagehash  # only who looks for duplicates waits for it

    digest = hashlib.blake2b(
        repr((photo.mode, photo.size)).encode() + photo.tobytes(), digest_size=16
    ).hexdigest()
    return digest, imagehash.phash(photo).hash.reshape(HASH_BITS)


def find_pairs(
    fingerprints: Fingerprints, early: np.ndarray, groups: np.ndarray, across: bool, most: int = 200
) -> list[Pair]:
    """Pairs that look alike, the surest first, at most ``most``.

    early: float32 (N, D) of ``Features.early``. groups: (N,), the split of each photo. across: only pairs of
    two splits. Photos that cannot be read have no pairs.
    """
    known = np.flatnonzero(fingerprints.digests != "")
    if len(known) < 2:
        return []
    unit = standardised(early[known].astype(np.float32))
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    kept: list[tuple[np.ndarray, ...]] = []
    for start, cosines, bits in _blocks(unit, fingerprints.hashes[known]):
        height, width = cosines.shape
        rows, columns = np.indices((height, width), sparse=True)
        wanted = columns > rows + start
        if across:
            wanted = wanted & (groups[known][start : start + len(cosines), None] != groups[known][None])
        same = (
            fingerprints.digests[known][start : start + len(cosines), None]
            == fingerprints.digests[known][None]
        )
        rank = np.where(same, 4.0, np.where(bits <= NEAR_BITS, 2.0, 0.0)) + cosines
        kept.append(_best(np.where(wanted, rank, -np.inf), start, cosines, bits, same, most))
    ranks, first, second, cosines, bits, same = (np.concatenate(part) for part in zip(*kept))
    order = np.argsort(-ranks, kind="stable")[:most]
    return [
        Pair(
            int(known[first[at]]),
            int(known[second[at]]),
            _kind(bool(same[at]), float(cosines[at]), int(bits[at])),
            float(cosines[at]),
            int(bits[at]),
        )
        for at in order
    ]


def _kind(same: bool, cosine: float, bits: int) -> str:
    if same:
        return "same"
    return "near" if bits <= NEAR_BITS or cosine >= NEAR_COSINE else "alike"


def _blocks(unit: np.ndarray, hashes: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(first row, cosines (R, N), differing bits (R, N)) of some rows with all."""
    # Bits as -1 and 1: their product counts those that agree less those that differ.
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    for start in range(0, len(unit), BLOCK):
        part = slice(start, start + BLOCK)
        yield start, unit[part] @ unit.T, np.rint((HASH_BITS - signs[part] @ signs.T) / 2)


def _best(
    rank: np.ndarray, start: int, cosines: np.ndarray, bits: np.ndarray, same: np.ndarray, most: int
) -> tuple[np.ndarray, ...]:
    """Of one block the ``most`` highest finite ranks: (rank, row, column, cosine, bits, same)."""
    flat = rank.ravel()
    count = min(most, int(np.isfinite(flat).sum()))
    chosen = np.argpartition(-flat, count - 1)[:count] if count else np.empty(0, dtype=np.int64)
    row, column = np.unravel_index(chosen, rank.shape)
    return flat[chosen], row + start, column, cosines[row, column], bits[row, column], same[row, column]


def standardised(features: np.ndarray) -> np.ndarray:
    """Each column of (N, D) with mean 0 and deviation 1, so that a ViT's few huge features do not drown the
    others.
    """
    deviation = features.std(axis=0)
    found: np.ndarray = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return found
