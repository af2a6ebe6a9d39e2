"""The logit lens ends in the model's own answer, and similarities are the mean cosines of the definition."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics.pairwise import cosine_similarity

from vit_demo.explain.internals.lens import Lens, layer_similarity, logit_lens, mutual_similarity
from vit_demo.explain.internals.trace import trace
from vit_demo.model.classifier import LeafClassifier

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]


@pytest.fixture
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def embedded() -> LeafClassifier:
    return LeafClassifier.open(device="cpu")


@pytest.fixture
def hybrid(tiny_model: Path) -> LeafClassifier:
    torch.manual_seed(0)
    return LeafClassifier.open(tiny_model, labels=LABELS, hybrid="new", head_init="normal", device="cpu")


@pytest.mark.parametrize("name", ["embedded", "hybrid"])
def test_the_last_row_of_the_lens_is_the_model_s_own_answer(name, photo, request):
    classifier = request.getfixturevalue(name)
    found = trace(classifier, photo)
    lens = logit_lens(classifier, found.hidden)
    assert lens.logits.shape == lens.probabilities.shape == (classifier.model.config.num_hidden_layers + 1, 3)
    np.testing.assert_allclose(lens.logits[-1], found.logits, rtol=0, atol=1e-5)
    np.testing.assert_allclose(lens.probabilities[-1], found.probabilities, rtol=0, atol=1e-6)
    assert lens.winners[-1] == found.logits.argmax()


def test_each_row_is_the_answer_of_the_model_cut_after_that_layer(embedded, photo):
    lens = logit_lens(embedded, trace(embedded, photo).hidden)
    vit = embedded.model.vit
    layers = vit.layers
    with torch.no_grad():
        for kept in (1, 5, 11):
            vit.layers = layers[:kept]
            try:
                expected = embedded.model(embedded.preprocess([photo])).logits
            finally:
                vit.layers = layers
            np.testing.assert_allclose(lens.logits[kept], expected[0].numpy(), rtol=0, atol=1e-4)


def test_before_the_first_layer_the_answer_is_the_same_for_every_photo(embedded, photo):
    other = Image.new("RGB", (50, 50), "green")
    first, second = (
        logit_lens(embedded, trace(embedded, picture).hidden).logits for picture in (photo, other)
    )
    np.testing.assert_array_equal(first[0], second[0])
    assert np.abs(first[-1] - second[-1]).max() > 0.1


def test_autocast_around_the_call_does_not_change_the_lens(embedded, photo):
    hidden = trace(embedded, photo).hidden
    expected = logit_lens(embedded, hidden).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(logit_lens(embedded, hidden).logits, expected)


@pytest.mark.parametrize(
    ("winners", "settled"), [([1, 1, 1], 0), ([0, 1, 1], 1), ([1, 0, 1], 2), ([1, 1, 0], 2)]
)
def test_settled_is_the_row_from_which_on_the_answer_stays(winners, settled):
    logits = np.eye(2, dtype=np.float32)[winners]
    lens = Lens(logits, logits)
    assert lens.winners.tolist() == winners and lens.settled == settled


@pytest.fixture
def tokens() -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(4, 6, 5)) + 0.5).astype(np.float32)


def test_similarity_between_layers_is_the_mean_cosine_of_each_token_with_itself(tokens):
    found = layer_similarity(tokens)
    assert found.shape == (4, 4)
    for one in range(4):
        for other in range(4):
            cosines = [
                cosine_similarity(tokens[one, None, place], tokens[other, None, place])[0, 0]
                for place in range(6)
            ]
            assert found[one, other] == pytest.approx(np.mean(cosines), abs=1e-6)


def test_mutual_similarity_is_the_mean_cosine_of_all_pairs(tokens):
    found = mutual_similarity(tokens)
    assert found.shape == (4,) and found.dtype == np.float32
    for layer in range(4):
        cosines = cosine_similarity(tokens[layer])
        assert found[layer] == pytest.approx(
            np.mean([cosines[pair] for pair in combinations(range(6), 2)]), abs=1e-6
        )


def test_extremes_of_similarity():
    alike = np.ones((2, 5, 3), np.float32)
    np.testing.assert_allclose(mutual_similarity(alike), 1, atol=1e-6)
    np.testing.assert_allclose(mutual_similarity(np.eye(4, dtype=np.float32)[None]), 0, atol=1e-6)
    np.testing.assert_allclose(
        layer_similarity(np.stack([alike[0], -alike[0]])), [[1, -1], [-1, 1]], atol=1e-6
    )
    # A length of zero has no direction and is like nothing; a single patch has no other to be like.
    np.testing.assert_array_equal(layer_similarity(np.zeros((2, 3, 4), np.float32)), np.zeros((2, 2)))
    assert np.isnan(mutual_similarity(alike[:, :1])).all()
