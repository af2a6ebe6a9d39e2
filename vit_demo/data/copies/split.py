"""Set photos apart for checking, so that pictures of the same thing never fall on both sides.

Photos with the same pixels or nearly the same perceptual hash form groups (single linkage); a group is held
out as a whole or not at all. Of each class the same share is held out, and the same photos always give the
same cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence

# A hash is cut at the median of its frequencies: half of its 64 bits are set, unless there is nothing in the
# picture to see. Two pictures of one plain colour each have the same hash, whatever the colours.
TELLING_BITS = (24, 40)
ROWS = 512


def group_photos(digests: np.ndarray, hashes: np.ndarray, near_bits: int) -> np.ndarray:
    """The group of each photo, int (N,): those that are the same or as good as, and those linked through
    others.

    digests: (N,) strings, equal for the same pixels, "" where a photo cannot be read. hashes: bool (N, 64).
    near_bits: perceptual hashes that differ by so many bits are of the same picture.
    """
    count = len(digests)
    words = np.packbits(hashes, axis=1).view(np.uint64).ravel() if count else np.empty(0, np.uint64)
    bits = np.bitwise_count(words)
    telling = (bits >= TELLING_BITS[0]) & (bits <= TELLING_BITS[1]) & (digests != "")
    # Nodes beside the photos: one for each digest and one for each hash, to which the photos that have it are
    # tied.
    same, digest_of = np.unique(digests, return_inverse=True)
    different, hash_of = np.unique(words, return_inverse=True)
    read, told = np.flatnonzero(digests != ""), np.flatnonzero(telling)
    links = [(read, count + digest_of[read]), (told, count + len(same) + hash_of[told])]
    used = np.unique(hash_of[told])
    links += [
        (count + len(same) + used[left], count + len(same) + used[right])
        for left, right in _near_pairs(different[used], near_bits)
    ]
    first, second = (np.concatenate(part) for part in zip(*links))
    nodes = count + len(same) + len(different)
    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(nodes, nodes))
    # Numbered in the order of the photos, so that the cut does not depend on anything else.
    _, groups = np.unique(connected_components(graph, directed=False)[1][:count], return_inverse=True)
    _, first_seen = np.unique(groups, return_index=True)
    return np.argsort(np.argsort(first_seen))[groups] if count else groups


def _near_pairs(words: np.ndarray, near_bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows, rows) of different 64-bit words, uint64 (N,), that differ by at most ``near_bits`` bits.

    Cut into near_bits + 1 pieces, two such words agree in at least one: only those are compared.
    """
    edges = np.linspace(0, 64, near_bits + 2).astype(int)
    for low, high in zip(edges, edges[1:]):
        pieces = (words >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(pieces, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(pieces[order])) + 1):
            for start in range(0, len(bucket), ROWS):
                part = bucket[start : start + ROWS]
                left, right = np.nonzero(
                    np.bitwise_count(words[part][:, None] ^ words[bucket][None]) <= near_bits
                )
                yield part[left], bucket[right]


def cut(
    labels: np.ndarray,
    groups: np.ndarray,
    names: Sequence[str],
    parts: int,
    share: float,
    seed: int,
    data: str | Sentence,
) -> np.ndarray:
    """Which photos are held out, int (N,): 0 stays, 1 to ``parts`` is the part that it falls into.

    labels: integer (N,), an index of names. groups: (N,). share: of what is left, for each part. data: what
    the set is called. Raises UserError where a class has too few photos that are not copies of each other.
    """
    chosen = np.zeros(len(labels), dtype=np.int64)
    if not parts:
        return chosen
    _check(labels, groups, names, parts, share, data)
    random = np.random.default_rng(seed)
    for part in range(1, parts + 1):
        left = np.flatnonzero(chosen == 0)
        chosen[left[_hold_out(labels[left], groups[left], (len(names), parts - part), share, random)]] = part
    for label in np.unique(labels):
        if len(np.unique(chosen[labels == label])) < parts + 1:
            raise UserError("error.data.too_few_unlike", data=data, label=names[label])
    return chosen


def _check(
    labels: np.ndarray,
    groups: np.ndarray,
    names: Sequence[str],
    parts: int,
    share: float,
    data: str | Sentence,
) -> None:
    present = np.unique(labels)
    held = math.ceil(len(labels) * share * (1 - share) ** (parts - 1))
    if held < len(present):
        raise UserError("error.data.too_few", data=data)
    for label in present:
        different = len(np.unique(groups[labels == label]))
        if different < parts + 1:
            raise UserError(
                "error.data.too_few_different", data=data, label=names[label], different=different
            )


def _hold_out(
    labels: np.ndarray, groups: np.ndarray, sizes: tuple[int, int], share: float, random: np.random.Generator
) -> np.ndarray:
    """bool (N,): whole groups, in random order, as long as no class gets more than its share. sizes:
    (classes, parts still to be cut).
    """
    classes, later = sizes
    ids, group_of = np.unique(groups, return_inverse=True)
    # Which classes each group holds, and how many photos of each: most groups are one photo.
    pairs, counts = np.unique(group_of * classes + labels, return_counts=True)
    ends = np.searchsorted(pairs, np.arange(len(ids) + 1) * classes)
    own, quota = pairs % classes, _quotas(np.bincount(labels, minlength=classes), share)
    taken, inside, left = (
        np.zeros(len(ids), dtype=bool),
        np.zeros(classes, dtype=np.int64),
        np.bincount(own, minlength=classes),
    )
    order = random.permutation(len(ids))

    def take(group: int, limits: np.ndarray | None) -> bool:
        part = slice(ends[group], ends[group + 1])
        # Of each class something must be left for train and for the parts that are still to be cut.
        fits = (left[own[part]] > 1 + later).all() and (
            limits is None or (inside[own[part]] + counts[part] <= limits[own[part]]).all()
        )
        if fits and not taken[group]:
            taken[group] = True
            inside[own[part]] += counts[part]
            left[own[part]] -= 1
        return fits

    for group in order:
        take(group, quota)
    sizes_of = np.bincount(group_of)
    for label in np.flatnonzero((quota > 0) & (inside == 0)):
        # All its groups are larger than its share: the smallest, rather than none to be checked with.
        holding = order[np.isin(order, pairs[own == label] // classes)]
        any(take(group, None) for group in sorted(holding, key=lambda group: sizes_of[group]))
    return taken[group_of]


def _quotas(totals: np.ndarray, share: float) -> np.ndarray:
    """Photos of each class to hold out: its share, rounded so that all together are the share of all (largest
    remainders), and at least one.
    """
    exact = totals * share
    quota = np.floor(exact).astype(np.int64)
    missing = math.ceil(round(exact.sum(), 9)) - quota.sum()
    quota[np.argsort(quota - exact, kind="stable")[:missing]] += 1
    return np.where(totals > 0, np.maximum(quota, 1), 0)
