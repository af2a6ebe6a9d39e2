"""The steps from photo to tokens, against what the model itself does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit_demo.common.errors import UserError
from vit_demo.common.settings import EMBEDDED_MODEL
from vit_demo.explain.internals.tokens import TokenSteps, token_steps
from vit_demo.explain.internals.trace import Trace, trace
from vit_demo.model.classifier import LeafClassifier

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]
OTHER_SIZE = (256, 208)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def plain() -> LeafClassifier:
    return LeafClassifier.open(EMBEDDED_MODEL, device="cpu")


@pytest.fixture(scope="module")
def hybrid() -> LeafClassifier:
    torch.manual_seed(0)
    return LeafClassifier.open(EMBEDDED_MODEL, device="cpu", labels=LABELS, hybrid="new")


def walk(
    classifier: LeafClassifier, photo: Image.Image, size: tuple[int, int] | None = None
) -> tuple[Trace, TokenSteps]:
    found = trace(classifier, photo, size)
    return found, token_steps(classifier, found.pixel_values)


@pytest.mark.parametrize("kind", ["plain", "hybrid"])
@pytest.mark.parametrize("size", [None, OTHER_SIZE])
def test_the_last_step_is_what_enters_the_first_block(kind, size, photo, request):
    classifier = request.getfixturevalue(kind)
    found, steps = walk(classifier, photo, size)
    with torch.no_grad():
        output = classifier.model(
            torch.from_numpy(found.pixel_values)[None],
            interpolate_pos_encoding=size is not None,
            output_hidden_states=True,
        )
    assert np.abs(steps.tokens - found.hidden[0]).max() < 1e-5
    assert np.abs(steps.tokens - output.hidden_states[0][0].numpy()).max() < 1e-5
    assert steps.interpolated == (size is not None)
    height, width = size or (224, 224)
    count = (height // 16) * (width // 16)
    assert steps.projected.shape == (
        count,
        192,
    ) and steps.with_cls.shape == steps.positions.shape == steps.tokens.shape == (count + 1, 192)


def test_a_size_that_leaves_a_rest(tiny_model, photo):
    """At 45 x 50 pixels five rows and two columns of pixels belong to no patch of 8."""
    found, steps = walk(LeafClassifier.open(tiny_model, device="cpu"), photo, (45, 50))
    assert (steps.grid.rows, steps.grid.columns) == (5, 6)
    assert np.abs(steps.tokens - found.hidden[0]).max() < 1e-5


def test_the_projection_equals_the_convolution_and_each_patch_is_its_pixels(plain, photo):
    _, steps = walk(plain, photo, OTHER_SIZE)
    with torch.no_grad():
        convolved = plain.model.vit.embeddings.patch_embeddings.projection(
            torch.from_numpy(steps.pixel_values)[None]
        )
    assert np.abs(steps.projected - convolved[0].flatten(1).T.numpy()).max() < 1e-5
    assert steps.feature_map is None and steps.values.shape == (16 * 13, 768)
    followed = steps.follow(30)
    assert (followed.row, followed.column) == (2, 4)
    assert np.array_equal(followed.pixels, steps.pixel_values[:, 32:48, 64:80])
    assert np.array_equal(followed.values, followed.pixels.ravel())


def test_a_hybrid_projects_the_places_of_its_feature_map(hybrid, photo):
    _, steps = walk(hybrid, photo, OTHER_SIZE)
    assert steps.feature_map.shape == (hybrid.feature_channels, 16, 13)
    followed = steps.follow(30)
    assert np.array_equal(followed.values, steps.feature_map[:, 2, 4])
    assert followed.pixels.shape == (3, 16, 16)
    weight = hybrid.model.vit.embeddings.patch_embeddings.projection.weight[:, :, 0, 0].detach().numpy()
    assert (
        np.abs(followed.projected - weight @ followed.values).max() < 1e-5
    )  # a new projection has no bias yet


def test_a_row_adds_up(plain, photo):
    found, steps = walk(plain, photo)
    last = steps.follow(195)
    assert (last.row, last.column) == (13, 13)
    assert np.array_equal(last.projected + last.position, last.token)
    assert np.array_equal(last.cls + last.cls_position, last.cls_token)
    learned = plain.model.vit.embeddings
    assert np.array_equal(last.position, learned.position_embeddings[0, 196].detach().numpy())
    assert np.array_equal(last.cls, learned.cls_token[0, 0].detach().numpy())
    assert np.abs(last.token - found.hidden[0, 196]).max() < 1e-5


def test_there_is_no_patch_beyond_the_last(plain, photo):
    _, steps = walk(plain, photo)
    with pytest.raises(UserError, match="patches 0 to 195"):
        steps.follow(196)


def test_the_pretrained_vit_too(shared: Path, photo):
    found, steps = walk(
        LeafClassifier.open(shared / "models" / "vit-tiny-patch16-224", labels=LABELS, device="cpu"),
        photo,
        (384, 384),
    )
    assert np.abs(steps.tokens - found.hidden[0]).max() < 1e-5
