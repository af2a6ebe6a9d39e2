"""The grid of patches, and patchify against the model's own convolution."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from vit_demo.common.errors import UserError
from vit_demo.explain.patches import PatchGrid, patchify, unpatchify


def embed_by_hand(model: ViTForImageClassification, pixel_values: Tensor) -> Tensor:
    """Eq. 1 of the paper without class token and positions: each flattened patch times E."""
    projection = model.vit.embeddings.patch_embeddings.projection
    patches = patchify(pixel_values, model.config.patch_size)
    return patches @ projection.weight.flatten(1).T + projection.bias


def test_the_paper_s_numbers_for_224_pixels_and_patches_of_16():
    grid = PatchGrid(224, 224, 16)
    assert (grid.rows, grid.columns) == (14, 14)
    assert (grid.num_patches, grid.num_tokens, grid.values_per_patch) == (196, 197, 768)


def test_rows_belong_to_the_height_and_columns_to_the_width():
    grid = PatchGrid(image_height=32, image_width=64, patch_size=16)
    assert (grid.rows, grid.columns) == (2, 4)
    assert grid.box(0) == (0, 0, 16, 16)
    assert grid.box(3) == (48, 0, 64, 16)
    assert grid.box(4) == (0, 16, 16, 32)
    assert grid.box(7) == (48, 16, 64, 32)


def test_a_point_in_the_box_of_a_patch_finds_the_patch():
    grid = PatchGrid(32, 48, 8)
    for index in range(grid.num_patches):
        left, top, right, bottom = grid.box(index)
        for x in (left, left + 3.5, right - 0.01):
            for y in (top, top + 3.5, bottom - 0.01):
                assert grid.index_at(x, y) == index


@pytest.mark.parametrize("point", [(-0.1, 0), (0, -1), (48, 0), (0, 32), (32, 40)])
def test_a_point_outside_is_a_user_error(point):
    with pytest.raises(UserError, match="outside the patches, which cover 48 x 32 pixels"):
        PatchGrid(32, 48, 8).index_at(*point)


@pytest.mark.parametrize("index", [-1, 24])
def test_a_patch_out_of_range_is_a_user_error(index):
    with pytest.raises(UserError, match=f"Patch {index} does not exist.* patches 0 to 23"):
        PatchGrid(32, 48, 8).box(index)


@pytest.mark.parametrize("sides", [(15, 64, 16), (64, 15, 16), (64, 64, 0)])
def test_a_grid_without_patches_is_a_user_error(sides):
    with pytest.raises(UserError, match="choose"):
        PatchGrid(*sides)


def test_a_patch_holds_the_pixels_of_its_box():
    pixel_values = torch.randn(2, 3, 32, 48)
    patches = patchify(pixel_values, 8)
    grid = PatchGrid(32, 48, 8)
    assert patches.shape == (2, grid.num_patches, grid.values_per_patch)
    for index in range(grid.num_patches):
        left, top, right, bottom = grid.box(index)
        expected = pixel_values[:, :, top:bottom, left:right].flatten(1)
        assert torch.equal(patches[:, index], expected)


def test_unpatchify_undoes_patchify():
    pixel_values = torch.randn(2, 3, 32, 48)
    assert torch.equal(unpatchify(patchify(pixel_values, 8), PatchGrid(32, 48, 8)), pixel_values)


def test_other_numbers_of_channels():
    pixel_values = torch.randn(2, 1, 16, 16)
    grid = PatchGrid(16, 16, 8, channels=1)
    assert torch.equal(unpatchify(patchify(pixel_values, 8), grid), pixel_values)


# 37 x 29 leaves a remainder, which neither the convolution nor patchify reads.
@pytest.mark.parametrize("size", [(32, 32), (24, 40), (37, 29)])
def test_patchify_and_projection_are_the_model_s_patch_embedding(size):
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=24, num_hidden_layers=1, num_attention_heads=3
    )
    model = ViTForImageClassification(config).eval()
    pixel_values = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = model.vit.embeddings.patch_embeddings(pixel_values)
        embedded = embed_by_hand(model, pixel_values)
    torch.testing.assert_close(embedded, expected, rtol=0, atol=1e-5)


def test_patchify_and_projection_are_a_pretrained_model_s_patch_embedding(shared: Path):
    folder = shared / "models" / "vit-tiny-patch16-224"
    model = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    pixel_values = torch.rand(2, 3, 224, 224) * 2 - 1
    with torch.no_grad():
        expected = model.vit.embeddings.patch_embeddings(pixel_values)
        embedded = embed_by_hand(model, pixel_values)
    torch.testing.assert_close(embedded, expected, rtol=1e-4, atol=1e-4)
