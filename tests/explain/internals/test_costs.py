"""Costs against torch's own count of the real model, and against loops over the papers' definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTConfig, ViTForImageClassification

from vit_demo.explain.internals.costs import (
    Cost,
    Encoder,
    full_attention,
    strided_attention,
    window_attention,
)
from vit_demo.explain.patches import PatchGrid

TINY = Encoder(depth=12, hidden_size=192, heads=3, mlp_size=768, classes=3)
SMALL = {"num_hidden_layers": 3, "hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 80}


def counted(config: ViTConfig, height: int, width: int) -> dict[str, int]:
    """FLOPs of one photo's forward by kind of product, as torch counts them."""
    model = ViTForImageClassification(config).eval()
    model.set_attn_implementation("eager")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.zeros(1, 3, height, width), interpolate_pos_encoding=True)
    return {str(kind): count for kind, count in counter.get_flop_counts()["Global"].items()}


@pytest.mark.parametrize(
    ("size", "patch", "labels"),
    [
        ((224, 224), 16, 3),
        ((224, 224), 8, 3),
        ((64, 64), 32, 7),
        ((96, 160), 16, 2),
        ((60, 45), 14, 3),
        ((384, 384), 16, 1000),
    ],
)
def test_flops_are_those_that_torch_counts_on_the_model(size, patch, labels):
    config = ViTConfig(image_size=224, patch_size=patch, num_labels=labels, **SMALL)
    cost = full_attention(Encoder.of(config), PatchGrid(*size, patch))
    found = counted(config, *size)
    assert cost.flops == sum(found.values())
    # Eager attention is the only place of products of two batched matrices.
    assert cost.attention_flops == found["aten.bmm"]


def test_a_vit_tiny_at_its_own_size():
    config = ViTConfig(
        image_size=224,
        patch_size=16,
        num_labels=3,
        num_hidden_layers=12,
        hidden_size=192,
        num_attention_heads=3,
        intermediate_size=768,
    )
    assert Encoder.of(config) == TINY
    cost = full_attention(TINY, PatchGrid(224, 224, 16))
    assert cost.flops == sum(counted(config, 224, 224).values())
    assert (cost.tokens, cost.pairs, cost.attention_bytes) == (197, 197**2, 3 * 197**2 * 4)
    # The literature gives 1.3 G multiply-adds for DeiT-Ti (Touvron et al. 2021): twice as many FLOPs.
    assert 2 * 1.2e9 < cost.flops < 2 * 1.3e9


def test_attention_bytes_are_those_of_the_probabilities():
    config = ViTConfig(image_size=64, patch_size=16, num_labels=2, **SMALL)
    model = ViTForImageClassification(config).eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        layer = model(torch.zeros(1, 3, 64, 64), output_attentions=True).attentions[0]
    assert (
        full_attention(Encoder.of(config), PatchGrid(64, 64, 16)).attention_bytes
        == layer.numel() * layer.element_size()
    )


def test_a_token_for_each_pixel():
    cost = full_attention(TINY, PatchGrid(224, 224, 1))
    assert (cost.tokens, cost.pairs) == (50_177, 50_177**2)
    # What is projected is the same pixels once more, in other portions; the head reads one token as ever.
    tokens = 12 * (8 * 50_177 * 192**2 + 4 * 50_177 * 192 * 768)
    assert cost.linear_flops == tokens + 2 * 224 * 224 * 3 * 192 + 2 * 192 * 3


@pytest.mark.parametrize(
    ("rows", "columns", "window"), [(14, 14, 7), (7, 7, 7), (5, 9, 4), (3, 3, 7), (8, 4, 1)]
)
def test_windows_against_a_loop_over_all_pairs(rows, columns, window):
    places = [(row // window, column // window) for row in range(rows) for column in range(columns)]
    pairs = sum(query == key for query in places for key in places)
    cost = window_attention(TINY, PatchGrid(rows, columns, 1), window)
    assert (cost.tokens, cost.pairs) == (rows * columns, pairs)


def test_a_window_layer_costs_what_the_swin_paper_says():
    """Liu et al. 2021, equation 2: 4 h w C^2 + 2 M^2 h w C multiply-adds, without the MLP."""
    encoder = Encoder(depth=1, hidden_size=96, heads=3, mlp_size=0)
    grid = PatchGrid(224, 224, 4)
    cost = window_attention(encoder, grid)
    projection = 2 * 56 * 56 * 48 * 96
    assert cost.flops - projection == 2 * (4 * 56 * 56 * 96**2 + 2 * 7**2 * 56 * 56 * 96)


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (2, 2), (4, 4), (8, 8), (5, 7), (3, 11), (1, 2), (13, 16)]
)
def test_strided_attention_against_the_sets_of_the_paper(rows, columns):
    """Child et al. 2019, section 4.2: the two sets of indices of each query, written out."""
    count = rows * columns
    stride = math.isqrt(count)
    pairs = 0
    for i in range(count):
        local = set(range(max(0, i - stride), i + 1))
        strided = {j for j in range(i + 1) if (i - j) % stride == 0}
        pairs += len(local | strided)
    cost = strided_attention(TINY, PatchGrid(rows, columns, 1))
    assert (cost.tokens, cost.pairs) == (count, pairs)


def test_sparse_and_local_attention_are_between_patches_and_pixels():
    pixels = PatchGrid(224, 224, 1)
    ways: list[Cost] = [
        window_attention(TINY, pixels),
        strided_attention(TINY, pixels),
        full_attention(TINY, pixels),
    ]
    pairs = [cost.pairs for cost in ways]
    assert pairs == sorted(pairs) and full_attention(TINY, PatchGrid(224, 224, 16)).pairs < pairs[0]
    assert pairs[1] == pytest.approx(1.5 * (224 * 224) ** 1.5, rel=0.01)
