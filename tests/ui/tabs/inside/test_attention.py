"""The Attention view: any layer, head and patch, small pictures that lead to the large one, numbers to take
away, and any model.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from vit_demo.common.words import percent
from vit_demo.explain.attribution.rollout import attention_rollout
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.heads import heads_layout, heads_sheet, matrix_layout, matrix_sheet
from vit_demo.figures.overlay import heat_colours
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.tabs.inside.attention import ALL_HEADS, FROM_CLS, begin, pick, pick_tile, show, show_sheet
from vit_demo.ui.tabs.inside.scene import look

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("photo") / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(file)
    return str(file)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """5 layers of 6 heads, patches of 8 px on photos of 48 x 64 px: 6 rows of 8 patches."""
    folder = tmp_path_factory.mktemp("wide") / "model"
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=48,
        num_hidden_layers=5,
        num_attention_heads=6,
        intermediate_size=64,
        image_size=(48, 64),
        patch_size=8,
        initializer_range=0.25,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 48, "width": 64}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> str:
    folder = tmp_path_factory.mktemp("hybrid") / "model"
    LeafClassifier.open(tiny_model, labels=LABELS, hybrid="new", device="cpu").save(folder)
    return str(folder)


def click(element: str, x: float, y: float) -> SimpleNamespace:
    return SimpleNamespace(index=[x, y], target=SimpleNamespace(elem_id=element))


def saved(path: str) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("head", "query"), [(ALL_HEADS, FROM_CLS), (4, FROM_CLS), (2, 13)])
def test_words_and_numbers_are_of_the_layer_head_and_patch(photo, model, head, query):
    overlay, patches, sentence, layer, heads, _, facts, file = show(
        photo, model, "attention", 3, head, query, "heads"
    )
    weights = look(model, photo).trace.attention.weights
    rows = weights[3, :, query + 1]
    row = rows.mean(axis=0) if head == ALL_HEADS else rows[head]
    arrays = saved(file)
    np.testing.assert_allclose(arrays["map"].ravel(), row[1:], atol=1e-7)
    np.testing.assert_array_equal(arrays["weights"], weights[:, :, query + 1])
    assert arrays["map"].shape == (6, 8) and arrays["weights"].shape == (5, 6, 49)
    assert (arrays["layer"], arrays["head"], arrays["query"], arrays["method"]) == (
        3,
        -1 if head == ALL_HEADS else head,
        query,
        "attention",
    )
    choices = [("mean of all", ALL_HEADS), *((str(one), one) for one in range(6))]
    assert (layer["maximum"], layer["value"], heads["choices"], heads["value"]) == (4, 3, choices, head)
    who = "The [CLS] token" if query == FROM_CLS else "Patch 13 (row 1, column 5)"
    most = int(row[1:].argmax())
    assert (
        who in sentence
        and "in layer 3" in sentence
        and f"patch {most} (row {most // 8}, column {most % 8})" in sentence
    )
    assert (
        f"{percent(float(row[0]))} to [CLS]" in sentence
        and f"most ({percent(float(row[1:].max()))}" in sentence
    )
    assert (
        facts.count("<th>Head ") == 6
        and ("[CLS] in layer 3" if query == FROM_CLS else "patch 13 (row 1, column 5) in layer 3") in facts
    )
    assert overlay.size == (500, 375) and overlay.size[0] / overlay.size[1] == pytest.approx(64 / 48)


def test_the_patch_that_looks_is_marked_in_all_pictures(photo, model):
    plain, marked = (show(photo, model, "attention", 0, 1, query, "heads") for query in (FROM_CLS, 13))
    # An outline in white round row 1, column 5 of the large picture, and round none without a patch.
    across, down = 500 / 64, 375 / 48
    edge = (round(40 * across), round(12 * down))
    assert marked[0].getpixel(edge) == (255, 255, 255) != plain[0].getpixel(edge)
    changed = np.argwhere((np.asarray(plain[1]) != np.asarray(marked[1])).any(axis=-1))
    step = (np.asarray(plain[1]).shape[1] + 4) / 8
    low, high = changed.min(axis=0), changed.max(axis=0)
    assert low[0] == pytest.approx(step, abs=5) and low[1] == pytest.approx(5 * step, abs=5)
    assert high[0] == pytest.approx(2 * step, abs=5) and high[1] == pytest.approx(6 * step, abs=5)


def test_rollout_is_the_rollout_and_fixes_layer_and_head(photo, model):
    _, _, sentence, layer, head, _, _, file = show(photo, model, "rollout", 3, 2, FROM_CLS, "heads")
    weights = torch.from_numpy(look(model, photo).trace.attention.weights)
    np.testing.assert_allclose(
        saved(file)["map"].ravel(), attention_rollout(weights.unsqueeze(1))[0, 0, 1:].numpy(), atol=1e-6
    )
    assert "over all 5 layers together" in sentence and not layer["interactive"] and not head["interactive"]
    assert saved(file)["layer"] == -1


def test_a_new_photo_or_model_starts_from_cls_and_fits_the_model(photo, model, tiny_model):
    shown = begin(photo, str(tiny_model), "attention", 4, 5, "matrix")
    assert (
        shown[:2] == (FROM_CLS, "matrix")
        and "The [CLS] token" in shown[4]
        and "in layer 1, mean of 2 heads" in shown[4]
    )
    assert shown[5]["maximum"] == 1 and shown[6]["value"] == ALL_HEADS


def test_a_click_picks_the_patch_under_it_in_both_pictures(photo, model):
    overlay, patches = show(photo, model, "attention", 0, 1, FROM_CLS, "heads")[:2]
    for element, picture in (("inside-overlay", overlay), ("inside-patches", patches)):
        for row, column in ((0, 0), (1, 5), (5, 7)):
            point = ((column + 0.5) * picture.width / 8, (row + 0.5) * picture.height / 6)
            assert pick(photo, model, click(element, *point)) == row * 8 + column
    assert pick(photo, model, click("inside-patches", patches.width, patches.height)) == 47


@pytest.mark.parametrize("sheet", ["heads", "matrix"])
def test_a_click_on_a_small_picture_opens_it_large(photo, model, sheet):
    grid = look(model, photo).trace.grid
    for layer, head in ((0, 0), (3, 5), (4, 2)):
        if sheet == "matrix":
            layout, place = matrix_layout(5, 6, grid), (head, layer)
        else:
            layout = heads_layout(6, grid)
            place = divmod(head, layout.columns)
        left, top = layout.corner(*place)
        method, chosen, update = pick_tile(
            photo,
            model,
            sheet,
            layer,
            click("inside-heads", left + layout.width / 2, top + layout.height / 2),
        )
        assert (method, chosen, update["value"]) == ("attention", layer, head)
    # Beside the last head of an unfilled row it is the last head.
    right, bottom = heads_layout(6, grid).size
    assert pick_tile(photo, model, "heads", 2, click("inside-heads", right - 1, bottom - 1))[2]["value"] == 5


def test_tiles_lie_inside_the_sheet_without_overlap():
    grid = PatchGrid(48, 64, 8)
    for layout in (
        heads_layout(6, grid),
        heads_layout(1, grid),
        matrix_layout(12, 12, grid),
        matrix_layout(2, 2, grid),
    ):
        width, height = layout.size
        covered = np.zeros((height, width), int)
        for row in range(layout.rows):
            for column in range(layout.columns):
                left, top = layout.corner(row, column)
                covered[top : top + layout.height, left : left + layout.width] += 1
                for x, y in ((left, top), (left + layout.width - 1, top + layout.height - 1)):
                    assert layout.at(x, y) == (row, column)
        assert (
            covered.max() == 1
            and covered.sum() == layout.rows * layout.columns * layout.width * layout.height
        )


def test_the_matrix_shows_each_map_by_its_own_scale_in_its_place():
    grid = PatchGrid(16, 16, 8)
    maps = (
        np.random.default_rng(0).random((3, 2, 2, 2)).astype(np.float32)
        * np.array([1, 10, 100], np.float32)[:, None, None, None]
    )
    sheet = matrix_sheet(maps, grid, None, None)
    layout = matrix_layout(3, 2, grid)
    for layer in range(3):
        for head in range(2):
            left, top = layout.corner(head, layer)
            least, most = maps[layer, head].min(), maps[layer, head].max()
            for row in range(2):
                for column in range(2):
                    level = int((maps[layer, head, row, column] - least) / (most - least) * 255)
                    point = (left + (column + 0.5) * layout.width / 2, top + (row + 0.5) * layout.height / 2)
                    pixel = np.array(sheet.getpixel((int(point[0]), int(point[1]))), int)
                    assert np.abs(pixel - heat_colours()[level]).max() <= 8


def test_the_chosen_head_is_framed_and_under_rollout_none():
    grid = PatchGrid(16, 16, 8)
    maps = np.full((3, 2, 2), 0.1, np.float32)
    plain, framed = (
        np.asarray(heads_sheet(Image.new("RGB", (16, 16)), maps, grid, chosen, None)).astype(int)
        for chosen in (None, 1)
    )
    layout = heads_layout(3, grid)
    changed = np.argwhere((plain != framed).any(axis=-1))
    left, top = layout.corner(0, 1)
    assert (
        changed[:, 1].min() >= left - layout.gap and changed[:, 1].max() <= left + layout.width + layout.gap
    )


def test_changing_the_small_pictures_changes_them_alone(photo, model):
    heads, facts = show_sheet(photo, model, "attention", 2, 1, 5, "heads")
    matrix, same = show_sheet(photo, model, "attention", 2, 1, 5, "matrix")
    grid = look(model, photo).trace.grid
    assert (
        heads.size == heads_layout(6, grid).size
        and matrix.size == matrix_layout(5, 6, grid).size
        and facts == same
    )


def test_a_hybrid_says_what_its_patches_are(photo, hybrid, tiny_model):
    assert "CNN" in begin(photo, hybrid, "attention", 1, ALL_HEADS, "matrix")[4]
    assert "CNN" not in begin(photo, str(tiny_model), "attention", 1, ALL_HEADS, "matrix")[4]


def test_without_a_photo_it_asks_for_one(model, refusal):
    assert "Choose a photo first." in refusal(show, None, model, "attention", 0, ALL_HEADS, FROM_CLS, "heads")
    assert "Choose a photo first." in refusal(pick, None, model, click("inside-overlay", 1, 1))
