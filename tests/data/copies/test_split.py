"""Photos set apart for checking: copies stay together, each class gives its share, and the cut is always the
same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vit_demo.data.copies.split import cut, group_photos

NEAR = 6
NAMES = ("a", "b", "c")


def hashes(count: int, seed: int = 0) -> np.ndarray:
    """As photos have them: half of the bits are set."""
    values = np.random.default_rng(seed).random((count, 64))
    return values > np.median(values, axis=1, keepdims=True)


def flipped(bits: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """The same with so many other bits; as many are set as before, or one more or less."""
    random = np.random.default_rng(seed)
    off, on = count // 2, count - count // 2
    chosen = np.concatenate(
        [
            random.choice(np.flatnonzero(bits), off, replace=False),
            random.choice(np.flatnonzero(~bits), on, replace=False),
        ]
    )
    changed = bits.copy()
    changed[chosen] ^= True
    return changed


def slow_groups(digests: np.ndarray, bits: np.ndarray) -> list[int]:
    """Each with each, until nothing changes."""
    group = list(range(len(digests)))
    telling = [24 <= row.sum() <= 40 for row in bits]
    for _ in group:
        for i in range(len(group)):
            for j in range(len(group)):
                near = telling[i] and telling[j] and (bits[i] ^ bits[j]).sum() <= NEAR
                if digests[i] != "" and digests[j] != "" and (near or digests[i] == digests[j]):
                    group[i] = group[j] = min(group[i], group[j])
    seen = list(dict.fromkeys(group))
    return [seen.index(one) for one in group]


def test_groups_are_those_of_comparing_each_with_each():
    bits, digests = hashes(40), np.array([str(number) for number in range(40)])
    bits[7] = flipped(bits[2], 6)
    bits[9] = flipped(bits[7], 6, seed=1)  # linked with 2 through 7 alone
    bits[11] = flipped(bits[3], 7)  # one bit too many
    bits[13], digests[14] = bits[4], digests[5]
    bits[15] = bits[16] = np.arange(64) == 0  # plain colour: alike, and not the same
    bits[17], digests[17] = bits[6], ""  # cannot be read
    groups = group_photos(digests, bits, NEAR)
    assert groups.tolist() == slow_groups(digests, bits)
    assert groups[2] == groups[7] == groups[9] and groups[4] == groups[13] and groups[5] == groups[14]
    assert groups[3] != groups[11] and groups[15] != groups[16] and groups[6] != groups[17]


@pytest.mark.parametrize("near", [0, 3, 10])
def test_every_distance_up_to_the_limit_is_found(near: int):
    bits = np.stack(
        [
            row
            for base in range(30)
            for row in (hashes(1, base)[0], flipped(hashes(1, base)[0], base % 15, seed=base))
        ]
    )
    groups = group_photos(np.array([str(number) for number in range(60)]), bits, near)
    assert [groups[2 * base] == groups[2 * base + 1] for base in range(30)] == [
        base % 15 <= near for base in range(30)
    ]


def test_no_photo_and_all_the_same():
    assert group_photos(np.empty(0, "<U4"), np.empty((0, 64), bool), NEAR).tolist() == []
    assert (
        group_photos(np.array(["x"] * 3000), np.repeat(hashes(1), 3000, axis=0), NEAR).tolist() == [0] * 3000
    )


@pytest.mark.parametrize("seed", range(8))
def test_groups_stay_whole_and_classes_give_their_share(seed: int):
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [230, 61, 24])
    # Bursts of two to four of one class, and a few photos that are there under two classes.
    groups = np.arange(len(labels))
    for start in random.choice(np.arange(0, 225, 5), 20, replace=False):
        groups[start : start + random.integers(2, 5)] = start
    groups[230], groups[235] = groups[229], groups[228]
    parts = cut(labels, groups, NAMES, 2, 0.1, seed, "leaves")
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups.tolist()))
    left = np.ones(len(labels), bool)
    for part in (1, 2):
        for label in range(3):
            wanted = 0.1 * (left & (labels == label)).sum()
            assert abs((parts[labels == label] == part).sum() - wanted) < 1
        left &= parts != part
    assert np.array_equal(parts, cut(labels, groups, NAMES, 2, 0.1, seed, "leaves"))


def test_another_seed_is_another_cut():
    labels, groups = np.arange(200) % 2, np.arange(200)
    assert not np.array_equal(*(cut(labels, groups, NAMES, 1, 0.1, seed, "leaves") for seed in (0, 1)))


def test_sizes_are_those_of_the_library_without_copies():
    from sklearn.model_selection import train_test_split

    for counts in ([150, 50], [30, 30], [40, 41, 19], [500, 7, 93]):
        labels = np.repeat(np.arange(len(counts)), counts)
        parts = cut(labels, np.arange(len(labels)), NAMES, 1, 0.1, 0, "leaves")
        _, held = train_test_split(labels, test_size=0.1, stratify=labels, random_state=0)
        ours, theirs = (
            np.bincount(labels[parts == 1], minlength=len(counts)),
            np.bincount(held, minlength=len(counts)),
        )
        assert abs(ours - theirs).max() <= 1 and abs(ours.sum() - theirs.sum()) <= 1
        assert ours.min() >= 1, "each class is checked with at least one photo"


def test_a_class_that_is_one_burst_but_for_some_is_still_checked():
    labels, groups = np.repeat([0, 1], [60, 60]), np.arange(120)
    groups[60:118] = np.repeat([200, 201, 202], [20, 20, 18])
    parts = cut(labels, groups, NAMES, 2, 0.1, 0, "leaves")
    assert all({0, 1, 2} == set(parts[labels == label].tolist()) for label in (0, 1))


@pytest.mark.parametrize(
    ("counts", "copies", "words"),
    [
        ((3, 3), 0, "too few photos to set"),
        ((59, 1), 0, "too few photos of b"),
        ((59, 2), 0, "too few photos of b"),
        ((60, 60), 60, "1, copies not counted"),
    ],
)
def test_small_classes_are_named(
    refusal: Callable[..., str], counts: tuple[int, int], copies: int, words: str
):
    labels, groups = np.repeat([0, 1], counts), np.arange(sum(counts))
    if copies:
        groups[-copies:] = 500
    assert words in refusal(cut, labels, groups, NAMES, 2, 0.1, 0, "leaves")


def test_nothing_to_cut():
    assert cut(np.array([0, 1]), np.array([0, 1]), NAMES, 0, 0.1, 0, "leaves").tolist() == [0, 0]
