"""The filters of the patch embedding against scikit-learn's PCA, and a hybrid's own kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from vit_demo.explain.internals.filters import COMPONENTS, embedding_filters, principal_filters
from vit_demo.model.classifier import LeafClassifier


@pytest.fixture(scope="module")
def embedded() -> LeafClassifier:
    return LeafClassifier.open(device="cpu")


def test_equal_scikit_learns_pca_up_to_sign(embedded):
    weights = embedded.model.vit.embeddings.patch_embeddings.projection.weight.detach().numpy()
    reference = PCA(n_components=COMPONENTS, svd_solver="full").fit(weights.reshape(len(weights), -1))
    found = embedding_filters(embedded.model)
    assert found.tiles.shape == (28, 3, 16, 16) and found.of == 192
    ours = found.tiles.reshape(COMPONENTS, -1)
    np.testing.assert_allclose(found.ratio, reference.explained_variance_ratio_, rtol=1e-4)
    # Of two components that hold nearly as much the order is certain, their directions are so only to fewer
    # digits.
    alike = np.abs((ours * reference.components_).sum(axis=1))
    np.testing.assert_allclose(alike, 1, atol=1e-3)


def test_the_largest_value_is_positive_and_each_has_length_one():
    found = principal_filters(np.random.default_rng(0).normal(size=(40, 3, 4, 4)).astype(np.float32), 10)
    rows = found.tiles.reshape(10, -1)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert (rows.max(axis=1) == np.abs(rows).max(axis=1)).all()
    assert (np.diff(found.ratio) < 0).all()


@pytest.mark.parametrize(("shape", "count"), [((6, 3, 8, 8), 5), ((40, 3, 2, 2), 12)])
def test_a_small_layer_has_fewer_components_and_they_hold_everything(shape, count):
    found = principal_filters(np.random.default_rng(1).normal(size=shape).astype(np.float32))
    assert found.tiles.shape == (count, *shape[1:])
    assert found.ratio.sum() == pytest.approx(1, abs=1e-5)


def test_of_a_hybrid_the_first_convolution_is_shown(tiny_model):
    hybrid = LeafClassifier.open(tiny_model, hybrid="new", device="cpu")
    kernels = next(module for module in hybrid.model.modules() if isinstance(module, torch.nn.Conv2d)).weight
    found = embedding_filters(hybrid.model)
    assert found.ratio is None and found.of == len(kernels) == len(found.tiles)
    np.testing.assert_array_equal(found.tiles, kernels.detach().numpy())
    found.tiles[:] = 0  # a copy: the model keeps its weights
    assert float(kernels.detach().abs().sum()) > 0
