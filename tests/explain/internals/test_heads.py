"""Maps of all heads at once are the single ones, and their spread is counted right."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vit_demo.explain.attribution.maps import MapRequest, select
from vit_demo.explain.internals.heads import attention_from, patch_maps, patches_for_half
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import TokenAttention


@pytest.fixture
def attention() -> TokenAttention:
    weights = np.random.default_rng(0).dirichlet(np.ones(7), size=(3, 2, 7)).astype(np.float32)
    return TokenAttention(weights, PatchGrid(16, 24, 8))


@pytest.mark.parametrize("query", [None, 0, 5])
def test_maps_of_all_heads_are_the_single_ones(attention, query):
    rows, maps = attention_from(attention, query), patch_maps(attention, query)
    assert rows.shape == (3, 2, 7) and maps.shape == (3, 2, 2, 3)
    for layer in range(3):
        for head in range(2):
            expected = select(attention, MapRequest("attention", layer, head, query))
            np.testing.assert_array_equal(maps[layer, head], expected.map)
            assert rows[layer, head, 0] == pytest.approx(expected.cls_share)


def test_a_patch_that_does_not_exist_is_refused(attention, refusal):
    assert "Patch 6 does not exist" in refusal(attention_from, attention, 6)


def test_patches_for_half_are_as_few_as_can_be(attention):
    maps = np.array(
        [[[0.4, 0.0], [0.1, 0.1]], [[0.1, 0.1], [0.1, 0.1]], [[0.0, 0.3], [0.3, 0.0]]], np.float32
    )
    assert patches_for_half(maps).tolist() == [1, 2, 1]
    found = patch_maps(attention)
    for one, count in zip(found.reshape(-1, 6).astype(float), patches_for_half(found).ravel()):
        best = next(
            size
            for size in range(1, 7)
            if max(sum(part) for part in combinations(one, size)) >= one.sum() / 2
        )
        assert count == best
