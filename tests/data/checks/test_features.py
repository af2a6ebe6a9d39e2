"""What a model sees in each photo: the tokens of transformers' own hidden states, photo by photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit_demo.data.checks import features as module
from vit_demo.data.checks.features import DEPTHS, layers_of, read_features
from vit_demo.data.copies.duplicates import standardised
from vit_demo.model.classifier import LeafClassifier, autocast


def pictures(count: int) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_it_is_the_cls_token_and_the_mean_patch_after_each_depth(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, batch: int
):
    monkeypatch.setattr(module, "BATCH", batch)
    classifier = LeafClassifier.open(tiny_model, device="cpu")
    photos = [*pictures(4), None, *pictures(2)]
    done = []
    found = read_features(classifier, iter(photos), done.append)
    assert found.values.shape == (7, len(DEPTHS), 2, 32) and done[-1] == 7
    assert found.readable.tolist() == [True] * 4 + [False] + [True] * 2 and not found.values[4].any()
    for row in (0, 3, 6):
        with torch.inference_mode(), autocast(classifier.device):
            states = classifier.model.vit(
                classifier.preprocess([photos[row]]), output_hidden_states=True
            ).hidden_states
        for number, layer in enumerate(layers_of(2)):
            slow = np.stack([states[layer][0, 0].float(), sum(states[layer][0, 1:].float()) / 16])
            assert np.allclose(found.values[row, number], slow, rtol=2e-2, atol=2e-2)
    assert np.array_equal(found.early, found.all[:, : found.early.shape[1]]) and found.all.shape == (
        7,
        len(DEPTHS) * 64,
    )


def test_no_photo_gives_no_row(tiny_model: Path):
    found = read_features(LeafClassifier.open(tiny_model, device="cpu"), [])
    assert (
        found.values.shape == (0, len(DEPTHS), 2, 32)
        and found.all.shape == (0, len(DEPTHS) * 64)
        and found.readable.shape == (0,)
    )


def test_layers_are_spread_over_any_encoder():
    assert (
        layers_of(12) == [4, 6, 8, 10, 12]
        and layers_of(24) == [8, 12, 16, 20, 24]
        and layers_of(1) == [1] * 5
    )


def test_standardised_columns_weigh_alike_and_a_constant_one_nothing():
    values = np.random.default_rng(0).normal(5, [[1, 1000, 0]], (50, 3)).astype(np.float32)
    found = standardised(values)
    assert np.allclose(found.mean(axis=0), 0, atol=1e-4) and np.allclose(
        found.std(axis=0), [1, 1, 0], atol=1e-4
    )
