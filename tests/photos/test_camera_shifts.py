"""What another camera makes of a photo: drawn, small, and the leaf stays where it is."""

from __future__ import annotations

import numpy as np
import pytest

from vit_demo.data.open.sources import open_dataset
from vit_demo.photos.camera_shifts import mildly_changed


@pytest.fixture(scope="module")
def leaf() -> np.ndarray:
    """A bean leaf, uint8 (3, 192, 160)."""
    return np.asarray(open_dataset("beans")["test"][5]["image"].resize((160, 192))).transpose(2, 0, 1)


def test_the_same_draw_is_the_same_photo(leaf: np.ndarray) -> None:
    first, again, other = (mildly_changed(leaf, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.uint8 and first.shape == leaf.shape
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_a_leaf_stays_the_leaf_it_was(leaf: np.ndarray) -> None:
    """Everything changes a little: the correlation of the pixels with those before stays near 1."""
    rng = np.random.default_rng(0)
    alike = [np.corrcoef(leaf.ravel(), mildly_changed(leaf, rng).ravel())[0, 1] for _ in range(30)]
    assert min(alike) > 0.9 and np.mean(alike) < 0.999


def test_colours_brightness_and_sharpness_are_drawn_to_both_sides(leaf: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    changed = [mildly_changed(leaf, rng).astype(float) for _ in range(40)]
    sharp = [np.abs(np.diff(photo.mean(axis=0))).mean() for photo in (leaf.astype(float), *changed)]
    for of in (np.mean, np.std, lambda photo: photo[0].mean() / photo[2].mean()):
        values = np.array([of(photo) for photo in changed])
        assert (values < of(leaf.astype(float))).any() and (values > of(leaf.astype(float))).any()
    assert min(sharp[1:]) < 0.9 * sharp[0]
