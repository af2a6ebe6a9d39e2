"""The view From photo to tokens: what it says and draws is what the model computes."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vit_demo.common.settings import EMBEDDED_MODEL
from vit_demo.common.words import say
from vit_demo.explain.internals.costs import Encoder, full_attention
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures import tokens as figures
from vit_demo.figures.costs import MEASURES, costs_figure
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.tabs.inside import costs, tokens
from vit_demo.ui.tabs.inside.scene import NO_PHOTO, look

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]
MODEL = str(EMBEDDED_MODEL)
TINY = Encoder(depth=12, hidden_size=192, heads=3, mlp_size=768, classes=3)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("photo") / "leaf.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(file)
    return str(file)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hybrid")
    LeafClassifier.open(EMBEDDED_MODEL, device="cpu", labels=LABELS, hybrid="new").save(folder)
    return str(folder)


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def shown(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3f}" for value in values[:4])


def click(element: str, x: float, y: float) -> SimpleNamespace:
    return SimpleNamespace(target=SimpleNamespace(elem_id=element), index=[x, y])


def test_each_step_shows_the_tensors_of_the_model(photo):
    facts, slider, sentence, download, *steps = tokens.show(photo, MODEL, 17)
    words, pictures = [text(part) for part in steps[::2]], steps[1::2]
    trace = look(MODEL, photo).trace
    assert (
        "197, each of 192 values" in text(facts)
        and "2.51 GFLOPs" in text(facts)
        and slider["maximum"] == 195
        and slider["value"] == 17
    )
    assert "**Patch 17** (row 1, column 3): pixels 48 to 63 across, 16 to 31 down" in sentence
    for part, shape in zip(
        words, ("3 x 224 x 224", "196 x 3 x 16 x 16", "196 x 768", "196 x 192", "197 x 192", "197 x 192")
    ):
        assert shape in part
    assert shown(trace.pixel_values[:, 16:32, 48:64].ravel()) in words[2]
    assert shown(trace.hidden[0, 18]) in words[5] and "learned in training" in words[5]
    strips = pictures[5].data[0]
    assert list(strips.y)[:3] == ["patch 17", "+ position 18", "= token 18"]
    assert np.allclose(np.array(strips.z)[2], trace.hidden[0, 18], atol=1e-4) and np.allclose(
        np.array(strips.z)[5], trace.hidden[0, 0], atol=1e-4
    )
    with np.load(download, allow_pickle=False) as numbers:
        assert np.abs(numbers["token"] - trace.hidden[0, 18]).max() < 1e-5
        assert np.array_equal(numbers["values"], numbers["pixels"].ravel()) and (
            int(numbers["row"]),
            int(numbers["column"]),
        ) == (1, 3)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 3), (13, 13), (6, 0)])
def test_a_click_in_either_picture_finds_the_patch_under_it(photo, row, column):
    patch = row * 14 + column
    in_photo = tokens.follow_click(photo, MODEL, click("tokens-photo", column * 32 + 31, row * 32 + 1))
    in_sheet = tokens.follow_click(photo, MODEL, click("tokens-sheet", column * 36 + 30, row * 36 + 1))
    for outputs in (in_photo, in_sheet):
        assert outputs[1]["value"] == patch and f"(row {row}, column {column})" in outputs[2]


def test_the_frame_lies_round_the_patch_in_photo_and_sheet(photo):
    plain = look(MODEL, photo).seen
    _, _, _, _, _, framed, _, sheet, *_ = tokens.show(photo, MODEL, 17)
    for picture, unframed, place in (
        (framed, plain.resize((448, 448), Image.Resampling.LANCZOS), (96, 32, 128, 64)),
        (sheet, figures.draw_grid(plain, PatchGrid(224, 224, 16)), (104, 32, 144, 72)),
    ):
        changed = np.argwhere((np.asarray(picture) != np.asarray(unframed)).any(axis=-1))
        left, top, right, bottom = place
        assert (changed >= (top, left)).all() and (changed < (bottom, right)).all() and len(changed) > 100


def test_a_model_of_another_size_and_a_patch_that_it_has_not(photo, tiny_model):
    outputs = tokens.show(photo, str(tiny_model), 105)
    assert outputs[1]["value"] == outputs[1]["maximum"] == 15
    assert "16 x 3 x 8 x 8" in text(outputs[6]) and "17 x 32" in text(outputs[14])


def test_a_hybrid_reads_its_feature_map(photo, hybrid):
    outputs = tokens.show(photo, hybrid, 17)
    facts, second, third, last = (text(outputs[number]) for number in (0, 6, 8, 14))
    assert (
        "128 x 14 x 14" in second and "CNN" in second and "196 x 128" in third and "those of the CNN" in facts
    )
    assert shown(look(hybrid, photo).trace.hidden[0, 18]) in last
    assert isinstance(outputs[9], Image.Image)


def test_without_a_photo_it_says_so(refusal):
    assert refusal(tokens.show, None, MODEL, 0) == say(NO_PHOTO)
    assert refusal(tokens.follow_click, None, MODEL, click("tokens-photo", 1, 1)) == say(NO_PHOTO)


def test_why_patches_says_the_numbers_of_the_table_and_the_plot():
    slider, sentence, figure, rows, download = costs.show(None, MODEL, 16, 224, "pairs")
    patches, pixels = (
        full_attention(TINY, PatchGrid(224, 224, 16)),
        full_attention(TINY, PatchGrid(224, 224, 1)),
    )
    assert slider["value"] == 224 and slider["step"] == 16
    assert (
        "**197 tokens** and 38,809 pairs" in sentence
        and "**50,177 tokens**, 64,875 times as many pairs" in sentence
    )
    assert (
        f"{pixels.flops / patches.flops:,.0f} times as many FLOPs" in sentence
        and "30.2 GB instead of 466 kB" in sentence
    )
    lines = {line.name: dict(zip(line.x, line.y)) for line in figure.data}
    assert (
        lines["ViT, 16 px patches"][224] == patches.pairs
        and lines["every pixel a token"][224] == pixels.pairs
    )
    assert figure.layout.yaxis.type == "log"
    assert re.search(
        r"At 224 x 224 px Tokens .* ViT, 16 px patches 197 38.8 k 2.51 G 14.3 % 466 kB", text(rows)
    )
    with Path(download).open(newline="") as file:
        header, *table = csv.reader(file)
    assert header == list(costs.HEADER)
    row = next(row for row in table if row[:2] == ["ViT, 16 px patches", "224"])
    assert [int(cell) for cell in row[2:]] == [
        197,
        patches.pairs,
        patches.flops,
        patches.attention_flops,
        patches.attention_bytes,
    ]


@pytest.mark.parametrize(
    ("patch", "asked", "given"),
    [(14, 512, 504), (32, 300, 288), (8, 301, 304), (16, None, 224), (16, 9000, 512), (32, -5, 224)],
)
def test_the_side_is_a_multiple_of_the_patch(patch, asked, given):
    slider, sentence, *_ = costs.show(None, MODEL, patch, asked, "memory")
    assert (
        slider["value"] == given
        and f"{given} x {given} px gives **{(given // patch) ** 2 + 1:,} tokens**" in sentence
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_each_measure_is_drawn_and_the_chosen_way_is_the_strongest(measure):
    ways = costs.all_ways(TINY, 384)
    figure = costs_figure(ways, "ViT, 14 px patches", measure)
    attribute, _ = MEASURES[measure]
    for line, way in zip(figure.data, ways):
        assert list(line.y) == [getattr(cost, attribute) for cost in way.costs.values()]
        assert [x for x, size in zip(line.x, line.marker.size) if size] == [way.at]
    assert max(figure.data, key=lambda line: line.line.width).name == "ViT, 14 px patches"
    assert {way.name: way.at for way in ways}["ViT, 14 px patches"] == 378


def test_a_hybrid_is_reckoned_without_its_cnn(hybrid):
    assert "without the CNN" in costs.show(None, hybrid, 16, 224, "pairs")[1]
    assert "CNN" not in costs.show(None, MODEL, 16, 224, "pairs")[1]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (7, "7 "),
        (999, "999 "),
        (999.9, "1 k"),
        (38_809, "38.8 k"),
        (2.5e9, "2.5 G"),
        (2.3697e13, "23.7 T"),
        (999.7e12, "1 P"),
    ],
)
def test_short_numbers(number, said):
    assert costs.short(number) == said


def test_the_colours_end_where_few_values_are_beyond():
    values = np.concatenate([np.linspace(-1, 1, 999), [1e6]]).reshape(10, 100)
    assert 0.9 < figures.colour_limit(values) <= 1
    assert figures.colour_limit(np.zeros((2, 3))) == 1
    picture = np.asarray(figures.matrix_picture(values, 3))
    assert picture.shape[0] == 420 and picture.shape[1] > 600


@pytest.mark.parametrize(("count", "hidden"), [(5, 8), (197, 768), (2305, 1024)])
def test_a_matrix_of_any_size_stays_fit_for_a_page(count, hidden):
    picture = figures.matrix_picture(np.random.default_rng(0).normal(size=(count, hidden)), count - 2)
    assert picture.width < 900 and 300 <= picture.height <= 840
