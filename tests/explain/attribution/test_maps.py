"""Maps are the right rows of the attention, put on the grid of patches."""

from __future__ import annotations

import io
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.explain.attribution.maps import (
    METHODS,
    MapRequest,
    all_heads,
    attend,
    explain,
    explain_batch,
    head_maps,
    save_npz,
    select,
)
from vit_demo.explain.attribution.rollout import attention_rollout
from vit_demo.explain.internals.attention import capture_attention
from vit_demo.explain.patches import PatchGrid

ATTENTION = MapRequest(method="attention")


@dataclass
class StandInClassifier:
    """The part of a LeafClassifier that explanations use, with a plain preprocessing."""

    model: ViTForImageClassification
    size: tuple[int, int]  # height, width

    @property
    def patch_size(self) -> int:
        return self.model.config.patch_size

    def preprocess(self, photos: list[Image.Image]) -> Tensor:
        height, width = self.size
        arrays = [np.asarray(photo.resize((width, height)), np.float32) for photo in photos]
        return torch.from_numpy(np.stack(arrays) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def classifier() -> StandInClassifier:
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=48,
        initializer_range=0.5,
    )
    return StandInClassifier(ViTForImageClassification(config).eval(), (32, 32))


@pytest.fixture
def photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def pretrained(shared: Path) -> StandInClassifier:
    folder = shared / "models" / "vit-tiny-patch16-224"
    model = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    return StandInClassifier(model, (224, 224))


@pytest.fixture
def leaf() -> Image.Image:
    file = settings.EMBEDDED_BEANS / "data" / "test-00000-of-00001.parquet"
    image = parquet.read_table(file, columns=["image"])["image"][0].as_py()
    return Image.open(io.BytesIO(image["bytes"])).convert("RGB")


def attention_of(classifier: StandInClassifier, photo: Image.Image) -> np.ndarray:
    """(layers, heads, T, T), recorded without the functions under test."""
    with torch.no_grad(), capture_attention(classifier.model) as recorder:
        classifier.model(classifier.preprocess([photo]), interpolate_pos_encoding=True)
    return torch.cat(recorder.attentions).numpy()


def test_attend_gives_every_layer_and_head(classifier, photo):
    attention = attend(classifier, photo)
    assert attention.weights.shape == (3, 3, 17, 17)
    assert attention.weights.dtype == np.float32
    assert (attention.layers, attention.heads) == (3, 3)
    assert attention.grid == PatchGrid(32, 32, 8)
    np.testing.assert_array_equal(attention.weights, attention_of(classifier, photo))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("query", [None, 0, 15])
def test_map_and_share_of_cls_add_up_to_one(classifier, photo, method, query):
    explanation = explain(classifier, photo, MapRequest(method=method, query=query))
    assert explanation.map.shape == (4, 4)
    assert explanation.map.dtype == np.float32
    assert explanation.map.min() >= 0
    assert explanation.map.sum() + explanation.cls_share == pytest.approx(1, abs=1e-5)
    assert (explanation.layers, explanation.heads) == (3, 3)
    assert explanation.grid == PatchGrid(32, 32, 8)
    assert explanation.request == MapRequest(method=method, query=query)


@pytest.mark.parametrize("layer", [0, 2, -1, -3])
@pytest.mark.parametrize("head", [0, 2, None])
def test_attention_map_is_the_row_of_the_cls_token(classifier, photo, layer, head):
    weights = attention_of(classifier, photo)[layer]
    row = weights.mean(axis=0)[0] if head is None else weights[head, 0]
    request = MapRequest(method="attention", layer=layer, head=head)
    explanation = explain(classifier, photo, request)
    np.testing.assert_allclose(explanation.map.ravel(), row[1:], atol=1e-7)
    assert explanation.cls_share == pytest.approx(row[0], abs=1e-7)


@pytest.mark.parametrize("query", [0, 6, 15])
def test_the_map_of_a_clicked_patch_is_that_patch_s_row(classifier, photo, query):
    row = attention_of(classifier, photo)[1, 2, query + 1]
    explanation = explain(classifier, photo, MapRequest("attention", 1, 2, query))
    np.testing.assert_allclose(explanation.map.ravel(), row[1:], atol=1e-7)
    assert explanation.cls_share == pytest.approx(row[0], abs=1e-7)


@pytest.mark.parametrize("query", [None, 9])
def test_rollout_map_is_the_row_of_the_rollout(classifier, photo, query):
    layers = torch.from_numpy(attention_of(classifier, photo)).unsqueeze(1)
    row = attention_rollout(layers)[0, 0 if query is None else query + 1].numpy()
    explanation = explain(classifier, photo, MapRequest(query=query))
    np.testing.assert_allclose(explanation.map.ravel(), row[1:], atol=1e-7)


def test_rollout_ignores_layer_and_head(classifier, photo):
    attention = attend(classifier, photo)
    expected = select(attention, MapRequest("rollout")).map
    np.testing.assert_array_equal(select(attention, MapRequest("rollout", layer=99, head=99)).map, expected)


def test_select_answers_without_another_forward(classifier, photo):
    attention = attend(classifier, photo)
    for request in (ATTENTION, MapRequest(), MapRequest("attention", 0, 1, 5)):
        expected = explain(classifier, photo, request)
        selected = select(attention, request)
        np.testing.assert_array_equal(selected.map, expected.map)
        assert selected.cls_share == expected.cls_share


def test_batch_gives_each_photo_its_own_map(classifier, photo):
    photos = [photo, photo.rotate(90), photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    for request in (ATTENTION, MapRequest(query=3)):
        batch = explain_batch(classifier, classifier.preprocess(photos), request)
        assert len(batch) == 3
        for explanation, single in zip(batch, photos, strict=True):
            expected = explain(classifier, single, request)
            np.testing.assert_allclose(explanation.map, expected.map, atol=1e-6)


@pytest.mark.parametrize("size", [(48, 48), (24, 56)])
def test_other_resolutions_keep_rows_and_columns_apart(classifier, photo, size):
    resized = replace(classifier, size=size)
    explanation = explain(resized, photo, ATTENTION)
    assert explanation.map.shape == (size[0] // 8, size[1] // 8)
    row = attention_of(resized, photo)[-1].mean(axis=0)[0]
    np.testing.assert_allclose(explanation.map.ravel(), row[1:], atol=1e-7)


@pytest.mark.parametrize(("size", "interpolated"), [((32, 32), False), ((48, 48), True)])
def test_positions_are_interpolated_only_at_other_resolutions(
    classifier, photo, size, interpolated, monkeypatch
):
    flags = []
    forward = classifier.model.vit.embeddings.forward
    monkeypatch.setattr(
        classifier.model.vit.embeddings,
        "forward",
        lambda *args, **kwargs: flags.append(kwargs["interpolate_pos_encoding"]) or forward(*args, **kwargs),
    )
    explain(replace(classifier, size=size), photo)
    assert flags == [interpolated]


def test_autocast_around_the_call_does_not_change_the_map(classifier, photo):
    expected = explain(classifier, photo)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        explanation = explain(classifier, photo)
    np.testing.assert_array_equal(explanation.map, expected.map)


def test_all_heads_are_the_maps_of_the_single_heads(classifier, photo):
    maps = all_heads(classifier, photo, layer=-2)
    assert maps.shape == (3, 4, 4)
    for head in range(3):
        expected = explain(classifier, photo, MapRequest("attention", layer=-2, head=head))
        np.testing.assert_array_equal(maps[head], expected.map)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (MapRequest("attention", layer=3), "Layer 3 .*this model has layers 0 to 2."),
        (MapRequest("attention", layer=-4), "Layer -4 .*this model has layers 0 to 2."),
        (MapRequest("attention", head=3), "Head 3 .*this model has heads 0 to 2."),
        (MapRequest("attention", head=-1), "Head -1 .*this model has heads 0 to 2."),
        (MapRequest("attention", query=16), "Patch 16 .*this image has patches 0 to 15."),
        (MapRequest("rollout", query=-1), "Patch -1 .*this image has patches 0 to 15."),
        (MapRequest("gradient"), "'gradient' is not known: choose attention or rollout."),
    ],
)
def test_a_bad_request_is_a_user_error(classifier, photo, request_, message):
    with pytest.raises(UserError, match=message):
        explain(classifier, photo, request_)


def test_all_heads_of_a_missing_layer_is_a_user_error(classifier, photo):
    with pytest.raises(UserError, match="this model has layers 0 to 2"):
        all_heads(classifier, photo, layer=3)


def test_an_image_smaller_than_a_patch_is_a_user_error(classifier, photo):
    with pytest.raises(UserError, match="smaller than one patch"):
        explain(replace(classifier, size=(4, 4)), photo)


def test_requests_are_frozen_and_default_to_rollout_from_cls():
    request = MapRequest()
    assert request == MapRequest("rollout", -1, None, None)
    with pytest.raises(FrozenInstanceError):
        request.layer = 0


@pytest.mark.parametrize(
    ("request_", "layer", "head", "query"),
    [
        (MapRequest("attention", -1, 2, 5), 2, 2, 5),
        (MapRequest("attention", 0), 0, -1, -1),
        (MapRequest("rollout", 1, 1), -1, -1, -1),
    ],
)
def test_saved_map_needs_no_pickle(classifier, photo, tmp_path, request_, layer, head, query):
    explanation = explain(replace(classifier, size=(32, 48)), photo, request_)
    path = tmp_path / "map.data"
    save_npz(path, explanation)
    with np.load(path, allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["map"], explanation.map)
        assert saved["cls_share"] == np.float32(explanation.cls_share)
        assert saved["method"] == request_.method
        assert (saved["layer"], saved["head"], saved["query"]) == (layer, head, query)
        assert saved["patch_size"] == 8
        assert saved["image_size"].tolist() == [32, 48]


def test_pretrained_model_on_a_leaf_equals_eager_attention(pretrained, leaf):
    weights = attend(pretrained, leaf).weights
    pretrained.model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = pretrained.model(pretrained.preprocess([leaf]), output_attentions=True)
    np.testing.assert_allclose(weights, torch.cat(expected.attentions).numpy(), rtol=0, atol=1e-5)


def test_pretrained_model_on_a_leaf(pretrained, leaf):
    attention = attend(pretrained, leaf)
    assert attention.weights.shape == (12, 3, 197, 197)
    np.testing.assert_allclose(attention.weights.sum(axis=-1), 1, atol=1e-5)
    for method in METHODS:
        explanation = select(attention, MapRequest(method))
        assert explanation.map.shape == (14, 14)
        assert explanation.map.sum() + explanation.cls_share == pytest.approx(1, abs=1e-5)
        assert explanation.map.max() > 2 * explanation.map.mean()
    np.testing.assert_array_equal(
        head_maps(attention, 11)[1], select(attention, MapRequest("attention", 11, 1)).map
    )
