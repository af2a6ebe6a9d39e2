"""The map of a data set against plain linear algebra, plain loops and scikit-learn itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.manifold import TSNE, trustworthiness

from vit_demo.explain.internals.embedding_map import features_and_probabilities, pca_layout, tsne_layout
from vit_demo.model.classifier import LeafClassifier


def groups(count: int = 60, dimensions: int = 24, seed: int = 0) -> np.ndarray:
    """Three clouds that overlap a little, float32 as a model gives them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=3, size=(3, dimensions))
    return (
        centres[np.arange(count) % 3] + rng.normal(size=(count, dimensions)) * np.linspace(3, 0.2, dimensions)
    ).astype(np.float32)


def slow_trust(features: np.ndarray, points: np.ndarray, neighbours: int) -> float:
    """Venna and Kaski 2001, equation for M1, with a loop for each of its sums."""
    count, penalty = len(features), 0
    for one in range(count):
        far = sorted(
            (other for other in range(count) if other != one),
            key=lambda other: np.linalg.norm(features[one].astype(float) - features[other]),
        )
        near = sorted(
            (other for other in range(count) if other != one),
            key=lambda other: np.linalg.norm(points[one].astype(float) - points[other]),
        )
        for other in near[:neighbours]:
            penalty += max(0, far.index(other) + 1 - neighbours)
    return 1 - 2 / (count * neighbours * (2 * count - 3 * neighbours - 1)) * penalty


def test_pca_is_the_singular_value_decomposition_up_to_sign():
    features = groups()
    layout = pca_layout(features)
    centred = features.astype(float) - features.astype(float).mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    for axis in range(2):
        expected = left[:, axis] * values[axis]
        sign = np.sign(expected @ layout.points[:, axis])
        np.testing.assert_allclose(layout.points[:, axis], sign * expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(layout.explained, values[:2] ** 2 / (values**2).sum(), rtol=1e-6)


@pytest.mark.parametrize("layout_of", [pca_layout, tsne_layout])
def test_the_trust_is_the_paper_s(layout_of):
    features = groups(31)
    layout = layout_of(features)
    assert layout.neighbours == 10
    assert layout.trust == pytest.approx(slow_trust(features, layout.points, 10), abs=1e-9)


def test_points_that_say_nothing_are_not_trusted():
    """What the page tells a person to compare the number with."""
    features = groups(120)
    thrown = np.random.default_rng(1).normal(size=(120, 2))
    assert trustworthiness(features, thrown, n_neighbors=10) == pytest.approx(0.5, abs=0.05)
    assert pca_layout(features).trust > 0.8 and tsne_layout(features).trust > 0.8


def test_tsne_is_the_same_each_time_and_scikit_learn_s_own():
    features = groups()
    first, again = tsne_layout(features), tsne_layout(features)
    assert np.array_equal(first.points, again.points) and first.explained is None
    expected = TSNE(perplexity=59 / 3, init="pca", random_state=0).fit_transform(features.astype(float))
    assert np.array_equal(first.points, expected.astype(np.float32))


def test_tsne_keeps_groups_together_that_pca_lays_over_each_other():
    """Two clouds that differ only along the third direction."""
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(80, 12)) * [10, 9, *[0.3] * 10]
    features = cloud + np.outer(np.arange(80) >= 40, [0, 0, 14, *[0] * 9])

    def own_side(points: np.ndarray) -> float:
        """Share of the points whose nearest one is of their own cloud."""
        apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.diag([np.inf] * 80)
        return float(np.mean((apart.argmin(axis=1) < 40) == (np.arange(80) < 40)))

    assert own_side(tsne_layout(features).points) > 0.9 > own_side(pca_layout(features).points)


@pytest.mark.parametrize("count", [5, 6, 12])
def test_a_few_photos_are_enough(count):
    for layout in (pca_layout(groups(count)), tsne_layout(groups(count))):
        assert layout.points.shape == (count, 2) and np.isfinite(layout.points).all()
        assert 0 <= layout.trust <= 1 and layout.neighbours < count / 2


def test_photos_that_are_all_the_same_lie_on_one_spot():
    features = np.ones((8, 16), dtype=np.float32)
    assert not pca_layout(features).points.any() and pca_layout(features).explained == (0.0, 0.0)
    assert not tsne_layout(features).points.any()


def test_what_cannot_be_laid_out_is_said(refusal):
    for layout_of in (pca_layout, tsne_layout):
        assert "at least 5 photos that can be read, and here are 4" in refusal(layout_of, groups(4))
        broken = groups()
        broken[3, 1] = np.nan
        assert "its weights are broken" in refusal(layout_of, broken)


@pytest.mark.parametrize("hybrid", [None, "new"])
def test_one_forward_gives_what_two_would(tiny_model, hybrid):
    torch.manual_seed(0)
    labels = ["angular_leaf_spot", "bean_rust", "healthy"]
    classifier = LeafClassifier.open(None if hybrid else tiny_model, labels=labels, hybrid=hybrid)
    rng = np.random.default_rng(0)
    photos = classifier.resize(
        [Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(5)]
    )
    features, probabilities = features_and_probabilities(classifier, photos)
    assert features.shape == (5, classifier.model.config.hidden_size)
    np.testing.assert_allclose(features, classifier.features(photos).numpy(), rtol=0, atol=2e-5)
    np.testing.assert_allclose(probabilities, classifier.probabilities(photos).numpy(), rtol=0, atol=1e-5)
