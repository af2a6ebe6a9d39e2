"""Filters and positions: what the view draws and says, for a plain ViT, another size and a hybrid."""

from __future__ import annotations

import csv
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vit_demo.explain.internals.distance import attention_distance
from vit_demo.explain.internals.positions import learned_positions, probabilities_at, similarities
from vit_demo.figures.positions import (
    LARGEST_SHEET,
    distance_figure,
    filter_sheet,
    grid_picture,
    grid_size,
    place_at,
    sheet_size,
    similarity_colours,
    similarity_sheet,
)
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.inside import positions as view
from vit_demo.ui.tabs.inside.scene import look


@pytest.fixture
def photo(tmp_path) -> str:
    file = tmp_path / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(file)
    return str(file)


@pytest.fixture(scope="session")
def hybrid_model(tiny_model, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("hybrid")
    LeafClassifier.open(tiny_model, hybrid="new", device="cpu").save(folder)
    return str(folder)


def read(file: str) -> list[list[str]]:
    with open(file, newline="", encoding="utf-8") as rows:
        return list(csv.reader(rows))


def click(element: str, x: float, y: float) -> SimpleNamespace:
    return SimpleNamespace(target=SimpleNamespace(elem_id=element), index=(x, y))


def test_filters_are_said_drawn_and_to_take_away(photo):
    words, sheet, variance, file = view.show_filters(photo, "embedded")
    with np.load(file) as numbers:
        assert numbers["filters"].shape == (28, 3, 16, 16)
        share = numbers["explained_variance_ratio"]
    assert f"{share.sum():.1%}".replace("%", " %") in words and "192 learned filters" in words
    assert variance["visible"] and np.allclose(variance["value"].data[0].y, share, atol=1e-4)
    assert sheet.width > 700


def test_a_hybrid_shows_its_kernels_and_says_so(photo, hybrid_model):
    words, _, variance, file = view.show_filters(photo, hybrid_model)
    assert "hybrid" in words and "first convolution" in words and not variance["visible"]
    with np.load(file) as numbers:
        assert list(numbers) == ["filters"] and numbers["filters"].shape[1] == 3
    assert "come from a CNN" in view.show_distance(photo, hybrid_model)[0]
    assert "come from a CNN" not in view.show_distance(photo, "embedded")[0]
    assert "48 x 48 px" in view.ask_all(photo, hybrid_model, None)[2]


def test_a_tile_is_grey_where_the_weight_is_zero_and_bright_where_it_is_largest():
    tile = np.zeros((1, 3, 2, 2), np.float32)
    tile[0, 0, 0, 0], tile[0, 2, 1, 1] = 5, -5
    pixels = np.asarray(filter_sheet(tile))
    side = 112
    assert pixels[side // 4, side // 4].tolist() == [255, 128, 128] and pixels[
        side * 3 // 4, side * 3 // 4
    ].tolist() == [128, 128, 0]
    assert pixels[side // 4, side * 3 // 4].tolist() == [128, 128, 128]


@pytest.mark.parametrize("grid", [(14, 14), (28, 28), (48, 48), (3, 5), (1, 1)])
def test_a_click_finds_the_map_that_is_drawn_there(grid):
    rows, columns = grid
    maps = np.zeros((*grid, *grid), np.float32)
    place = (rows - 1, columns // 2)
    maps[place] = 1.0  # one map is red all over, the others have no colour
    sheet = similarity_sheet(maps, (0, 0))
    assert sheet.size == sheet_size(*grid) and max(sheet.size) <= LARGEST_SHEET
    pixels = np.asarray(sheet).astype(int)
    red = np.argwhere(np.abs(pixels - similarity_colours(np.float32(1))).sum(axis=-1) < 12)
    for y, x in (red[len(red) // 2], red[len(red) // 3]):
        assert place_at((x, y), sheet.size, grid) == place
    assert place_at((10**6, -3), sheet.size, grid) == (0, columns - 1)
    assert grid_picture(maps[place][..., None].repeat(3, -1)).size == grid_size(*grid)


def test_a_picked_position_is_framed_said_and_its_neighbours_named(photo):
    positions = learned_positions(get_classifier("embedded").model)
    maps = similarities(positions)
    width, height = sheet_size(14, 14)
    index = view.pick(
        photo, "embedded", click("inside-similarity-sheet", width * 10.5 / 14, height * 3.5 / 14)
    )
    width, height = grid_size(14, 14)
    assert (
        index
        == 3 * 14 + 10
        == view.pick(photo, "embedded", click("inside-similarity", width * 10.5 / 14, height * 3.5 / 14))
    )
    sheet, large, words, file = view.show_similarity(photo, "embedded", index)
    assert "Row 3, column 10" in words
    others = np.sort(maps[3, 10].ravel())
    assert f"({others[-2]:.2f})" in words and f"({others[0]:.2f})" in words
    other_sheet, other_large, *_ = view.show_similarity(photo, "embedded", 0)
    assert np.any(np.asarray(sheet) != np.asarray(other_sheet)) and np.any(
        np.asarray(large) != np.asarray(other_large)
    )
    with np.load(file) as numbers:
        np.testing.assert_allclose(numbers["similarities"], maps)


def test_a_position_or_resolution_of_a_larger_model_falls_back(photo, tiny_model):
    assert "Row 2, column 2" in view.show_similarity(photo, str(tiny_model), 150)[2]
    slider, *_ = view.show_answers(photo, str(tiny_model), 384)
    assert (slider["minimum"], slider["maximum"], slider["step"], slider["value"]) == (16, 56, 8, 40)
    assert "40 x 40 px" in view.show_resized(photo, str(tiny_model), 150, 384)[0]


def test_before_and_after_interpolation(photo):
    words, before, after, map_before, map_after, file = view.show_resized(photo, "embedded", 52, 384)
    assert "384 x 384 px" in words and "24 x 24 = 576 patches" in words and "14 x 14 learned" in words
    with np.load(file) as numbers:
        assert numbers["interpolated"].shape == (24, 24, 192)
        assert numbers["chosen_interpolated"].argmax() == 6 * 24 + 18  # row 3 of 14, column 10 of 14
    assert before.size == map_before.size == grid_size(14, 14) and after.size == map_after.size == grid_size(
        24, 24
    )
    assert "nothing is interpolated" in view.show_resized(photo, "embedded", 52, 224)[0]


def test_answers_grow_with_each_resolution_and_are_kept(photo):
    _, figure, said, file = view.show_answers(photo, "embedded", 192)
    assert "192 x 192 px" in said and "224 x 224 px, its own" in said and "384" not in said
    assert list(figure.data[0].x) == [192, 224]
    classifier, shown = get_classifier("embedded"), look("embedded", photo)
    expected = probabilities_at(classifier, shown.picture, (192, 192), shown.trace.temperature)
    np.testing.assert_allclose(np.array(read(file)[1][2:], float), expected, atol=1e-6)
    first = view.answers(photo, shown, [(192, 192)])
    assert "384 x 384 px" in view.ask_all(photo, "embedded", 192)[2]
    again = view.answers(photo, shown, [])
    assert again[(192, 192)] is first[(192, 192)]  # not computed again
    assert [height for height, _ in again] == [112, 160, 192, 224, 288, 320, 384]
    # Another photo under the same name is asked anew.
    Image.new("RGB", (30, 30), (0, 90, 0)).save(photo)
    os.utime(photo, ns=(1, 1))
    assert list(view.answers(photo, look("embedded", photo), [])) == [(224, 224)]


def test_distances_are_said_drawn_and_written(photo):
    words, figure, file = view.show_distance(photo, "embedded")
    expected = attention_distance(look("embedded", photo).trace.attention)
    rows = read(file)
    assert len(rows) == 1 + 12 * 3 and "px" in rows[0][2]
    np.testing.assert_allclose(
        np.array([row[2] for row in rows[1:]], float).reshape(12, 3), expected, atol=1e-3
    )
    dots = figure.data[0]
    assert (dots.x[5], dots.customdata[5]) == (1, 2) and dots.y[5] == pytest.approx(
        float(expected[1, 2]), abs=0.01
    )
    assert f"{expected[0].min():.0f} to {expected[0].max():.0f} px" in words
    assert distance_figure(np.ones((24, 16), np.float32), 2.0).data[0].x[-1] == 23


def test_without_a_photo_a_click_asks_for_one(refusal):
    assert "photo" in refusal(view.show_similarity, None, "embedded", 0)
    assert "photo" in refusal(view.ask_all, None, "embedded", 224)
