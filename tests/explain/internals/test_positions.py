"""Position embeddings: similarity from the formula, interpolation and predictions against transformers
itself.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cosine
from sklearn.decomposition import PCA
from transformers import ViTConfig, ViTForImageClassification

from vit_demo.explain.internals.positions import (
    can_interpolate,
    colour_scale,
    counterpart,
    interpolate_positions,
    learned_positions,
    probabilities_at,
    resolutions,
    similarities,
    similarities_of,
)
from vit_demo.explain.internals.trace import trace
from vit_demo.explain.patches import PatchGrid
from vit_demo.model.classifier import LeafClassifier


@pytest.fixture(scope="module")
def embedded() -> LeafClassifier:
    return LeafClassifier.open(device="cpu")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))


@pytest.fixture
def random_positions() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(3, 4, 6)).astype(np.float32)


def flat_model(image_size: tuple[int, int]) -> ViTForImageClassification:
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=image_size,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=0.5,
    )
    return ViTForImageClassification(config).eval()


def test_positions_lie_row_by_row_without_cls():
    model = flat_model((16, 32))
    positions = learned_positions(model)
    table = model.vit.embeddings.position_embeddings.detach().numpy()[0]
    assert positions.shape == (2, 4, 16)
    for row in range(2):
        for column in range(4):
            np.testing.assert_array_equal(positions[row, column], table[1 + row * 4 + column])


def test_similarity_is_one_minus_scipys_cosine_distance(random_positions):
    maps = similarities(random_positions)
    assert maps.shape == (3, 4, 3, 4)
    for row, column, other_row, other_column in np.ndindex(3, 4, 3, 4):
        expected = 1 - cosine(random_positions[row, column], random_positions[other_row, other_column])
        assert maps[row, column, other_row, other_column] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(similarities_of(random_positions, 2, 1), maps[2, 1], atol=1e-6)


def test_a_position_of_length_zero_is_like_none(random_positions):
    random_positions[1, 1] = 0
    assert (similarities(random_positions)[1, 1] == 0).all()


@pytest.mark.parametrize("size", [(112, 112), (224, 224), (288, 288), (384, 384), (160, 320)])
def test_interpolated_positions_equal_transformers_own(embedded, size):
    rows, columns = size[0] // 16, size[1] // 16
    embeddings = embedded.model.vit.embeddings
    with torch.no_grad():
        theirs = embeddings.interpolate_pos_encoding(torch.zeros(1, rows * columns + 1, 192), *size)[
            0, 1:
        ].numpy()
    ours = interpolate_positions(learned_positions(embedded.model), rows, columns)
    np.testing.assert_allclose(ours.reshape(-1, 192), theirs, atol=1e-6)


def test_the_prediction_elsewhere_equals_transformers_forward(embedded, photo):
    pixel_values = embedded.preprocess([photo], (160, 160))
    reference = copy.deepcopy(embedded.model)
    reference.set_attn_implementation("eager")
    with torch.no_grad():
        logits = reference(pixel_values, interpolate_pos_encoding=True).logits[0]
    np.testing.assert_allclose(
        probabilities_at(embedded, photo, (160, 160)), logits.softmax(-1).numpy(), atol=1e-5
    )
    np.testing.assert_allclose(
        probabilities_at(embedded, photo, embedded.image_size),
        trace(embedded, photo).probabilities,
        atol=1e-6,
    )


def test_only_a_square_grid_is_asked_elsewhere(tiny_model, photo, refusal):
    classifier = LeafClassifier.open(tiny_model, device="cpu")
    classifier.model = flat_model((16, 32))
    classifier.processor.size = {"height": 16, "width": 32}
    assert not can_interpolate(learned_positions(classifier.model))
    assert probabilities_at(classifier, photo, (16, 32)).sum() == pytest.approx(1, abs=1e-5)
    assert "2 x 4 positions" in refusal(probabilities_at, classifier, photo, (32, 64))
    with pytest.raises(RuntimeError):  # transformers itself; when it no longer does, ours may give way
        classifier.forward(classifier.preprocess([photo], (32, 64)))


def test_a_hybrid_is_asked_elsewhere_too(tiny_model, photo):
    hybrid = LeafClassifier.open(tiny_model, hybrid="new", device="cpu")
    assert probabilities_at(hybrid, photo, (48, 48)).shape == (3,)


def test_resolutions_lie_between_half_and_1_7_times_the_own_size():
    assert [height for height, _ in resolutions(PatchGrid(224, 224, 16))] == [
        112,
        160,
        192,
        224,
        288,
        320,
        384,
    ]
    for grid in (
        PatchGrid(384, 384, 16),
        PatchGrid(224, 224, 8),
        PatchGrid(224, 160, 16),
        PatchGrid(8, 8, 8),
    ):
        sizes = resolutions(grid)
        assert (grid.image_height, grid.image_width) in sizes and sizes == sorted(set(sizes))
        assert all(side % grid.patch_size == 0 and side > 0 for size in sizes for side in size)
        assert all(
            abs(width / height - grid.image_width / grid.image_height) < 0.1 for height, width in sizes
        )


def test_a_counterpart_lies_at_the_same_place_of_the_photo():
    for after in ((7, 7), (18, 18), (14, 20)):
        for place in np.ndindex(14, 14):
            row, column = counterpart(place, (14, 14), after)
            for index, new, old in ((row, after[0], place[0]), (column, after[1], place[1])):
                assert index / new <= (old + 0.5) / 14 < (index + 1) / new


def test_colours_are_stretched_principal_components(random_positions):
    scale = colour_scale(random_positions)
    colours = scale.colours(random_positions)
    projected = PCA(3, svd_solver="full").fit_transform(random_positions.reshape(12, 6)).reshape(3, 4, 3)
    low, high = projected.min(axis=(0, 1)), projected.max(axis=(0, 1))
    expected = (projected - low) / (high - low)
    for channel in range(3):
        ours, theirs = colours[..., channel], expected[..., channel]
        assert np.allclose(ours, theirs, atol=1e-4) or np.allclose(
            ours, 1 - theirs, atol=1e-4
        )  # a component's sign means nothing
    # Other positions in the same colours: what was learned keeps its own, what lies beyond is cut off.
    np.testing.assert_allclose(scale.colours(random_positions[1:]), colours[1:], atol=1e-6)
    beyond = scale.colours(random_positions * 3)
    assert beyond.min() >= 0 and beyond.max() <= 1


def test_a_grid_of_one_position_has_a_colour():
    position = np.ones((1, 1, 5), np.float32)
    assert colour_scale(position).colours(position).shape == (1, 1, 3)
