"""The Layer-by-layer view: its words, figures and files say the same, for any model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from vit_demo.explain.internals.lens import Lens, layer_similarity, logit_lens, mutual_similarity
from vit_demo.explain.internals.norms import token_norms
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.layers import (
    MOST_CLASSES,
    layer_names,
    lens_figure,
    mutual_figure,
    norms_figure,
    norms_overlay,
    similarity_figure,
)
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.tabs.inside import layers
from vit_demo.ui.tabs.inside.layers import show, show_norms
from vit_demo.ui.tabs.inside.scene import look

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]
(
    LENS_WORDS,
    LENS_PLOT,
    LENS_TABLE,
    SIMILAR_WORDS,
    SIMILAR_PLOT,
    MUTUAL_PLOT,
    NORM_WORDS,
    NORM_PLOT,
    CSV,
    NPZ,
    LAYER,
    LAYER_WORDS,
    NORM_MAP,
) = range(13)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("photo") / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(file)
    return str(file)


def saved_model(folder: Path, classes: int = 3, side: int = 32, layers: int = 5) -> str:
    torch.manual_seed(0)
    names = LABELS if classes == 3 else [f"class_{number}" for number in range(classes)]
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=side,
        patch_size=8,
        initializer_range=0.4,
        id2label=dict(enumerate(names)),
        label2id={label: index for index, label in enumerate(names)},
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved_model(tmp_path_factory.mktemp("deep") / "model")


def test_figures_table_and_files_hold_the_same_numbers(photo, model):
    shown = show(photo, model, 2)
    found = look(model, photo)
    hidden = found.trace.hidden
    lens = logit_lens(found.classifier, hidden)
    lines = {line.name: np.array(line.y) for line in shown[LENS_PLOT].data}
    assert set(lines) == {"Angular leaf spot", "Bean rust", "Healthy"}
    np.testing.assert_allclose(lines["Bean rust"], lens.probabilities[:, 1], atol=1e-5)
    assert list(shown[LENS_PLOT].data[0].x) == ["start", "0", "1", "2", "3", "4"]
    assert shown[LENS_TABLE].count("<tr>") == 7 and "<th>layer 4</th>" in shown[LENS_TABLE]
    np.testing.assert_allclose(
        np.array(shown[SIMILAR_PLOT].data[0].z), layer_similarity(hidden[:, 1:]), atol=1e-4
    )
    np.testing.assert_allclose(shown[MUTUAL_PLOT].data[0].y, mutual_similarity(hidden[:, 1:]), atol=1e-5)
    norms = token_norms(hidden)
    np.testing.assert_allclose(shown[NORM_PLOT].data[0].y, norms[:, 1:].max(axis=1), atol=1e-4)
    np.testing.assert_allclose(shown[NORM_PLOT].data[2].y, norms[:, 0], atol=1e-4)
    with np.load(shown[NPZ], allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["logits"], lens.logits)
        np.testing.assert_array_equal(arrays["norms"], norms)
        assert arrays["labels"].tolist() == LABELS
        np.testing.assert_allclose(arrays["cls_layer_similarity"], layer_similarity(hidden[:, :1]))
    with open(shown[CSV], newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["after_layer"] for row in rows] == layer_names(6)
    assert [row["would_say"] for row in rows] == [LABELS[winner] for winner in lens.winners]
    np.testing.assert_allclose(
        [float(row["probability_healthy"]) for row in rows], lens.probabilities[:, 2], atol=1e-6
    )
    np.testing.assert_allclose(
        [float(row["longest_patch_norm"]) for row in rows], norms[:, 1:].max(axis=1), atol=1e-3
    )


@pytest.mark.parametrize(
    ("winners", "said"),
    [
        ([1, 1, 1], "after every layer, even before the first"),
        ([0, 0, 1], "only the last layer, 1, comes to it"),
        ([0, 1, 1], "from layer 0 on"),
    ],
)
def test_the_sentence_says_from_where_on_the_answer_stays(winners, said):
    logits = np.eye(3, dtype=np.float32)[winners]
    words = layers._lens_words(Lens(logits, logits * 0.8), LABELS)
    assert said in words and "**Bean rust** (80.0 %)" in words


def test_the_norms_follow_the_layer_and_fit_the_model(photo, model):
    hidden = look(model, photo).trace.hidden
    for wanted, layer in ((2, 2), (11, 4), (None, 0)):
        update, words, picture = show_norms(photo, model, wanted)
        norms = token_norms(hidden[layer + 1, 1:])
        assert (update["value"], update["maximum"]) == (layer, 4)
        assert (
            f"After layer {layer}: the patches have norms from {norms.min():.1f} (dark) to {norms.max():.1f}"
            in words
        )
        assert picture.size == (448, 448)


def test_patches_that_stand_out_are_named_and_framed():
    grid = PatchGrid(64, 64, 8)
    norms = np.random.default_rng(0).uniform(18, 22, (4, 65)).astype(np.float32)
    norms[2:, 1 + 9] = 400
    words = layers._norm_words(np.array([9]), norms, grid)
    assert (
        words.startswith("**1 patch stands out**: patch 9 (row 1, column 1), up to 20 times the median")
        and "Darcet" in words
    )
    assert "No patch of this photo stands out" in layers._norm_words(np.array([], int), norms, grid)
    assert layers._framed_words(np.arange(6), norms[3, 1:], grid).endswith("and 2 more.")
    assert "up to 400.0: patch 9 (row 1, column 1)" in layers._framed_words(np.array([9]), norms[3, 1:], grid)
    gray = Image.new("RGB", (128, 128), "gray")
    plain, framed = (
        np.asarray(norms_overlay(gray, norms[3, 1:], grid, places)).astype(int)
        for places in (np.array([], int), np.array([9]))
    )
    # On the left edge of row 1, column 1 of patches of 16 px; the patches round it have no frame.
    assert framed[24, 16].tolist() == [255] * 3 != plain[24, 16].tolist()
    assert (framed[40:] < 255).any(axis=-1).all()


def test_the_usual_patches_can_be_told_apart_beside_one_that_is_a_hundred_times_as_long():
    grid = PatchGrid(64, 64, 8)
    norms = np.full(64, 10.0, np.float32)
    norms[27], norms[0] = 20, 1000
    colours = np.asarray(
        norms_overlay(Image.new("RGB", (64, 64), "gray"), norms, grid, np.array([0]))
    ).astype(int)
    assert np.abs(colours[28, 28] - colours[60, 60]).max() >= 60


def test_of_many_classes_the_likely_ones_are_drawn_and_all_are_in_the_file(photo, tmp_path):
    shown = show(photo, saved_model(tmp_path / "many", classes=40), 0)
    lens = logit_lens(
        look(str(tmp_path / "many"), photo).classifier, look(str(tmp_path / "many"), photo).trace.hidden
    )
    drawn = [line.name for line in shown[LENS_PLOT].data]
    assert len(drawn) == len(set(drawn)) == MOST_CLASSES
    assert drawn[0] == f"Class {lens.winners[-1]}"
    assert f"Class {lens.probabilities.max(axis=0).argmax()}" in drawn
    assert Path(shown[CSV]).read_text().splitlines()[0].count("probability_class_") == 40


def test_a_single_patch_has_no_others_to_be_like(photo, tmp_path):
    shown = show(photo, saved_model(tmp_path / "one", side=8), 0)
    assert "reads a single patch" in shown[SIMILAR_WORDS]
    assert "NaN" not in shown[MUTUAL_PLOT].to_json() and "None stands out" in shown[LAYER_WORDS]


def test_a_hybrid_says_where_its_tokens_begin(photo, model, tiny_model, tmp_path):
    torch.manual_seed(0)
    LeafClassifier.open(tiny_model, labels=LABELS, hybrid="new", device="cpu").save(tmp_path / "hybrid")
    assert "feature map of a CNN" in show(photo, str(tmp_path / "hybrid"), 0)[NORM_WORDS]
    assert "CNN" not in show(photo, model, 0)[NORM_WORDS]


def test_every_figure_goes_to_the_page_as_valid_json():
    values = np.random.default_rng(0).uniform(0.1, 1, (4, 6)).astype(np.float32)
    for figure in (
        lens_figure(values, list("abcdef")),
        similarity_figure(values[:, :4]),
        mutual_figure(values[:, 0]),
        norms_figure(values),
    ):
        json.loads(figure.to_json())
        assert figure.layout.xaxis.title.text == "after layer" and figure.layout.yaxis.title.text


def test_without_a_photo_it_asks_for_one(model, refusal):
    assert "Choose a photo first." in refusal(show, None, model, 0)
