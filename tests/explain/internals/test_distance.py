"""Mean attention distance against the formula of the paper's appendix D.7, written with loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vit_demo.explain.internals.distance import (
    attention_distance,
    even_distance,
    mean_attention_distance,
    patch_distances,
)
from vit_demo.explain.internals.trace import trace
from vit_demo.explain.patches import PatchGrid
from vit_demo.explain.protocols import TokenAttention
from vit_demo.model.classifier import LeafClassifier


def random_attention(grid: PatchGrid, layers: int, heads: int, seed: int = 0) -> TokenAttention:
    scores = np.random.default_rng(seed).normal(size=(layers, heads, grid.num_tokens, grid.num_tokens)) * 3
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    return TokenAttention(weights.astype(np.float32), grid)


def slow_distance(attention: TokenAttention, layer: int, head: int) -> float:
    """Loops over all query and key patches."""
    grid, weights, means = attention.grid, attention.weights[layer, head].astype(float), []
    for query in range(grid.num_patches):
        left, top, right, bottom = grid.box(query)
        total = share = 0.0
        for key in range(grid.num_patches):
            other_left, other_top, other_right, other_bottom = grid.box(key)
            across = (left + right) / 2 - (other_left + other_right) / 2
            down = (top + bottom) / 2 - (other_top + other_bottom) / 2
            weight = weights[query + 1, key + 1]
            total += weight * math.sqrt(across**2 + down**2)
            share += weight
        means.append(total / share)
    return sum(means) / len(means)


@pytest.mark.parametrize("grid", [PatchGrid(32, 32, 8), PatchGrid(24, 43, 8), PatchGrid(64, 32, 16)])
def test_equals_the_loops_on_any_grid(grid):
    attention = random_attention(grid, layers=2, heads=3)
    found = attention_distance(attention)
    assert found.shape == (2, 3) and found.dtype == np.float32
    for layer, head in np.ndindex(2, 3):
        assert found[layer, head] == pytest.approx(slow_distance(attention, layer, head), rel=1e-5)


def test_equals_the_loops_on_the_embedded_model():
    classifier = LeafClassifier.open(device="cpu")
    from vit_demo.data.open.sources import open_dataset

    attention = trace(classifier, open_dataset("beans")["test"][0]["image"]).attention
    found = attention_distance(attention)
    assert found.shape == (12, 3)
    for layer, head in ((0, 0), (11, 2)):
        assert found[layer, head] == pytest.approx(slow_distance(attention, layer, head), rel=1e-4)
    assert found[:2].mean() < found[-2:].mean() < even_distance(attention.grid) * 1.3


def test_who_looks_only_at_itself_looks_no_pixel_far_and_who_looks_one_patch_aside_looks_a_patch():
    grid = PatchGrid(16, 32, 8)
    itself = np.eye(9, dtype=np.float32)
    aside = np.eye(9, dtype=np.float32)
    aside[1:, 1:] = np.kron(np.eye(4), [[0, 1], [1, 0]])
    assert attention_distance(TokenAttention(np.stack([itself, aside])[None], grid)).tolist() == [[0, 8]]


def test_what_goes_to_cls_does_not_count():
    grid = PatchGrid(32, 32, 8)
    attention = random_attention(grid, 1, 1)
    with_cls = attention.weights * 0.2
    with_cls[..., 0] += 0.8
    assert attention_distance(TokenAttention(with_cls, grid))[0, 0] == pytest.approx(
        float(attention_distance(attention)[0, 0]), rel=1e-5
    )


def test_the_mean_over_photos_reads_them_one_by_one():
    grid = PatchGrid(32, 32, 8)
    photos = [random_attention(grid, 2, 2, seed) for seed in range(4)]
    expected = sum(attention_distance(photo).astype(float) for photo in photos) / 4
    np.testing.assert_allclose(mean_attention_distance(photo for photo in photos), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="at least one photo"):
        mean_attention_distance(iter(()))


def test_even_attention_has_the_mean_of_all_distances():
    grid = PatchGrid(24, 40, 8)
    even = np.full((1, 1, grid.num_tokens, grid.num_tokens), 1 / grid.num_tokens, np.float32)
    assert attention_distance(TokenAttention(even, grid))[0, 0] == pytest.approx(
        even_distance(grid), rel=1e-5
    )
    assert patch_distances(grid)[0, 7] == pytest.approx(
        math.hypot(8, 16)
    )  # row 0, column 0 to row 1, column 2
