"""The view Why this answer: the map of the class that is asked for, in pictures, words and files, and the
check of it.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from vit_demo.explain.attribution import faithfulness
from vit_demo.explain.attribution.methods import METHODS
from vit_demo.explain.attribution.relevance import relevance
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.explain.internals.norms import artefact_patches
from vit_demo.explain.patches import PatchGrid
from vit_demo.figures.why import curve_figure, map_overlay
from vit_demo.model.classifier import LeafClassifier
from vit_demo.ui.tabs.inside import heat, trust, why
from vit_demo.ui.tabs.inside.heat import ANSWER, NONE, class_index, class_values, place_words
from vit_demo.ui.tabs.inside.scene import look

LABELS = ["angular_leaf_spot", "bean_rust", "healthy"]
ANGULAR, RUST, HEALTHY = class_values(LABELS)
ANSWERED, METHOD_WORDS, FIRST, SECOND, THIRD, WORDS, NPZ, RESULTS = range(8)
SHOWN, VERDICT, DELETION, INSERTION, AREAS, SANITY_WORDS, SANITY, CSV, _STATUS, CHECKED = range(10)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("photo") / "leaf.png"
    # Large patches of colour, so that one place differs from another.
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        (80, 60), Image.Resampling.NEAREST
    ).save(file)
    return str(file)


@pytest.fixture(scope="module")
def model(tiny_model) -> str:
    return str(tiny_model)


def other_model(folder: Path, labels: list[str]) -> str:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=32,
        image_size=48,
        patch_size=8,
        initializer_range=0.4,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 48, "width": 48}).save_pretrained(folder)
    return str(folder)


def maps_in(file: str) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def same(one: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_shows_the_map_that_saliency_computes(photo, model, method):
    shown = why.show(photo, model, RUST, NONE, method)
    found = look(model, photo)
    expected = saliency(
        found.classifier, torch.from_numpy(found.trace.pixel_values)[None], method, Target(1)
    )[0].numpy()
    arrays = maps_in(shown[NPZ])
    np.testing.assert_allclose(arrays["maps"][0], expected, atol=1e-5)
    assert (arrays["method"], arrays["classes"].tolist(), arrays["against"].tolist()) == (method, [1], [-1])
    assert same(shown[FIRST]["value"], map_overlay(found.seen, arrays["maps"][0]))
    assert shown[FIRST]["visible"] and not shown[SECOND]["visible"] and not shown[THIRD]["visible"]


def test_another_class_has_another_picture_and_is_not_taken_for_the_answer(photo, model):
    pictures = [
        why.show(photo, model, value, NONE, "relevance")[FIRST]["value"] for value in (ANGULAR, RUST, HEALTHY)
    ]
    assert not same(pictures[0], pictures[1]) and not same(pictures[1], pictures[2])
    shares = look(model, photo).trace.probabilities
    says = int(shares.argmax())
    shown = why.show(photo, model, ANSWER, NONE, "relevance")
    assert same(shown[FIRST]["value"], pictures[says]) and "which you chose" not in shown[ANSWERED]
    other = (says + 1) % 3
    assert (
        "which you chose, it gives"
        in why.show(photo, model, class_values(LABELS)[other], NONE, "relevance")[ANSWERED]
    )


def test_a_comparison_shows_both_classes_and_what_tells_them_apart(photo, model):
    shown = why.show(photo, model, RUST, HEALTHY, "relevance")
    found = look(model, photo)
    pixel_values = torch.from_numpy(found.trace.pixel_values)[None]
    arrays = maps_in(shown[NPZ])
    for values, target in zip(arrays["maps"], (Target(1), Target(2), Target(1, 2)), strict=True):
        np.testing.assert_allclose(
            values.reshape(-1), relevance(found.classifier, pixel_values, target)[0, 1:], atol=1e-5
        )
    assert (arrays["classes"].tolist(), arrays["against"].tolist()) == ([1, 2, 1], [-1, -1, 2])
    assert [shown[place]["label"] for place in (FIRST, SECOND, THIRD)] == [
        "For Bean rust",
        "For Healthy",
        "First, not second",
    ]
    assert all(shown[place]["visible"] for place in (FIRST, SECOND, THIRD))
    assert "**For Bean rust rather than Healthy**" in shown[WORDS] and "its own scale" in shown[WORDS]
    alone = why.show(photo, model, RUST, RUST, "relevance")
    assert not alone[SECOND]["visible"] and "choose two different classes" in alone[METHOD_WORDS]


@pytest.mark.parametrize("method", ["attention", "rollout"])
def test_attention_says_that_it_does_not_depend_on_the_class(photo, model, method):
    rust, healthy = (why.show(photo, model, value, ANGULAR, method) for value in (RUST, HEALTHY))
    assert same(rust[FIRST]["value"], healthy[FIRST]["value"]) and not rust[SECOND]["visible"]
    assert (
        "does not depend on the class" in rust[METHOD_WORDS] and rust[FIRST]["label"] == "Where [CLS] looks"
    )
    assert "does not depend" not in why.show(photo, model, RUST, NONE, "gradcam")[METHOD_WORDS]


def test_occlusion_is_kept_is_shown_from_zero_on_and_says_what_speaks_against(photo, tmp_path):
    model = other_model(tmp_path / "six", LABELS)
    heat._occluded.cache_clear()
    shown = [why.show(photo, model, RUST, NONE, "occlusion") for _ in range(2)][1]
    assert heat._occluded.cache_info().misses == 1, "the same map is not computed twice"
    values = maps_in(shown[NPZ])["maps"][0]
    assert (values < 0).any() and (values > 0).any()
    assert same(shown[FIRST]["value"], map_overlay(look(model, photo).seen, np.maximum(values, 0)))
    assert f"On {(values < 0).mean():.1%}".replace("%", " %") in shown[WORDS]
    assert "at 36 places" in shown[METHOD_WORDS]
    why.show(photo, model, HEALTHY, NONE, "occlusion")
    assert heat._occluded.cache_info().misses == 2


@pytest.mark.parametrize(
    ("patch", "place"),
    [
        ((0, 0), "upper left"),
        ((4, 4), "centre"),
        ((8, 4), "lower centre"),
        ((4, 8), "middle right"),
        ((2, 3), "upper centre"),
    ],
)
def test_the_words_say_where_the_map_lies(patch, place):
    values = np.full((9, 9), 0.001)
    values[patch] = 1
    words = place_words(values)
    share = values[patch] + 0.008
    assert (
        f"the {place}, holds {share / values.sum():.1%}".replace("%", " %") in words
        and "lies in 1 of 81 patches" in words
    )


def test_an_even_map_has_its_half_in_half_of_the_patches_and_an_empty_one_says_so():
    assert "lies in 8 of 16 patches" in place_words(np.ones((4, 4)))
    assert place_words(np.ones((1, 2))) == "half of the map lies in 1 of 2 patches."
    assert "nothing in this photo" in place_words(np.zeros((4, 4)))


def test_the_lists_follow_the_model_and_keep_a_class_that_it_has_too(photo, model, tmp_path):
    lists = why.begin(photo, model, RUST, HEALTHY, "relevance")[:2]
    assert [update["value"] for update in lists] == [RUST, HEALTHY]
    assert lists[0]["choices"] == [
        ("the answer", ANSWER),
        ("Angular leaf spot", ANGULAR),
        ("Bean rust", RUST),
        ("Healthy", HEALTHY),
    ]
    other = other_model(tmp_path / "other", ["crane", "rust", "crane"])
    explained, versus, _, *shown = why.begin(photo, other, RUST, HEALTHY, "relevance")
    assert (explained["value"], versus["value"]) == (ANSWER, NONE) and not shown[SECOND]["visible"]
    assert [title for title, _ in explained["choices"][1:]] == ["Crane", "Rust", "Crane"]
    assert class_index("2 crane", ["crane", "rust", "crane"]) == 2
    assert maps_in(shown[NPZ])["maps"].shape == (1, 6, 6)


def test_the_check_shows_the_numbers_of_faithfulness(photo, model):
    shown = trust.check(photo, model, HEALTHY, "relevance")
    found = look(model, photo)
    pixel_values = torch.from_numpy(found.trace.pixel_values)[None]
    own = relevance(found.classifier, pixel_values, Target(2))[0, 1:].reshape(4, 4).numpy()
    grid, target = PatchGrid(32, 32, 8), Target(2)
    by_map = faithfulness.curves(found.classifier, pixel_values, own, target, trust.STEPS)
    centred = faithfulness.curves(
        found.classifier, pixel_values, faithfulness.centred_heat(grid), target, trust.STEPS
    )
    random = [
        faithfulness.curves(
            found.classifier, pixel_values, faithfulness.random_heat(grid, seed), target, trust.STEPS
        )
        for seed in range(3)
    ]
    for plot, kind in ((DELETION, "deletion"), (INSERTION, "insertion")):
        lines = {line.name: np.array(line.y) for line in shown[plot].data}
        np.testing.assert_allclose(lines["this map"], getattr(by_map, kind), atol=1e-4)
        np.testing.assert_allclose(lines["from the middle outwards"], getattr(centred, kind), atol=1e-4)
        np.testing.assert_allclose(
            lines["random (mean of 3)"], np.mean([getattr(one, kind) for one in random], axis=0), atol=1e-4
        )
    assert f"<td>{by_map.deletion_area:.3f}</td><td>{by_map.insertion_area:.3f}</td>" in shown[AREAS]
    area = np.mean([one.deletion_area for one in random])
    assert (
        f"<td>{area:.3f}</td>" in shown[AREAS]
        and f"(area {by_map.deletion_area:.2f} against {area:.2f})" in shown[VERDICT]
    )
    with open(shown[CSV], newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["share_of_patches"]) for row in rows], by_map.shares, atol=1e-6)
    np.testing.assert_allclose([float(row["insertion_map"]) for row in rows], by_map.insertion, atol=1e-5)
    kept = {}
    for name, twin in faithfulness.randomised(found.classifier):
        kept[name] = faithfulness.rank_correlation(
            own, relevance(twin, pixel_values, Target(2))[0, 1:].numpy()
        )
    for name, said in (
        ("head", "the head"),
        ("block 1", "the head and the upper 1 of 2 layers"),
        ("embeddings", "everything"),
    ):
        assert f"<th>{said}</th><td>{kept[name]:.2f}</td>" in shown[SANITY]
    assert shown[SHOWN]["visible"]
    # Another picture takes the results away.
    assert why.show(photo, model, RUST, NONE, "relevance")[RESULTS] == {
        "__type__": "update",
        "visible": False,
    }


def test_the_sanity_check_is_left_out_for_occlusion_and_a_random_head_does_not_move_attention(photo, model):
    occluded = trust.check(photo, model, RUST, "occlusion")
    assert "left out" in occluded[SANITY_WORDS] and occluded[SANITY] == ""
    looked = trust.check(photo, model, RUST, "attention")
    assert (
        "<th>the head</th><td>1.00</td>" in looked[SANITY]
        and "a random head changes nothing" in looked[SANITY_WORDS]
    )


def verdict(
    by_map: faithfulness.Curves,
    random: faithfulness.Curves,
    centred: faithfulness.Curves,
    label: str = "bean_rust",
    share: float = 0.9,
) -> str:
    return trust._verdict(
        trust.Checked(trust.Check(by_map, random, centred), "relevance", label, share, None)
    )


def falling(deletion: float, insertion: float) -> faithfulness.Curves:
    return faithfulness.Curves(
        np.array([0.0, 1.0]), np.array([2 * deletion, 0.0]), np.array([0.0, 2 * insertion])
    )


def test_the_verdict_is_honest_when_the_map_does_not_win():
    weak, usual, best = falling(0.5, 0.4), falling(0.4, 0.45), falling(0.1, 0.48)
    words = verdict(best, usual, usual)
    assert "**It holds for this photo**: the map wins 4 of four" in words
    assert (
        "faster than covering random patches (area 0.10 against 0.40) and faster than covering the middle"
        " first" in words
    )
    words = verdict(weak, usual, best)
    assert (
        "Do not rely on this map" in words
        and "more slowly than covering random patches (area 0.50 against 0.40)" in words
    )
    words = verdict(usual, weak, usual, "angular_leaf_spot", 0.01)
    assert "It holds in part for this photo**: the map wins 2 of four comparisons and loses none." in words
    assert (
        "as fast as covering the middle first" in words and "gives Angular leaf spot only 1.0 % here" in words
    )
    empty = faithfulness.Curves(np.array([0.0, 1.0]), np.array([0.9, 0.1]), np.array([0.85, 0.9]))
    assert "Of a photo of one colour the model already says Bean rust" in verdict(empty, usual, usual)


def test_what_was_measured_over_many_photos_is_shown_from_the_model_s_folder(photo, tmp_path):
    folder = Path(other_model(tmp_path / "measured", LABELS))
    assert "faithfulness --save" in why.begin(photo, str(folder), ANSWER, NONE, "rollout")[2]
    methods = {
        name: {"deletion": [area, area - 0.1, area + 0.1], "insertion": [0.6, None, None]}
        for name, area in (("random", 0.15), ("gradcam", 0.3), ("relevance", 0.2))
    }
    report = {
        "split": "test<",
        "data": "beans",
        "photos": 128,
        "steps": 20,
        "methods": methods,
        "sanity": {
            "photos": 32,
            "methods": {"gradcam": {"head": [0.4, 0.3, 0.5], "everything": [0.05, 0.01, 0.09]}},
        },
    }
    (folder / "faithfulness.json").write_text(json.dumps(report))
    shown = trust.measured(LeafClassifier.open(folder, device="cpu"))
    assert (
        "128 photos of the test&lt; split of beans, 20 steps" in shown
        and "<strong>Relevance</strong> is the most faithful" in shown
    )
    assert (
        "<th>Grad-CAM</th><td>0.300 (0.200 to 0.400)</td><td>0.600</td><td>0.050 (0.010 to 0.090)</td>"
        in shown
        and "<th>Random</th>" in shown
    )
    for broken in (
        "{",
        "[]",
        '{"methods": {}}',
        json.dumps({**report, "methods": {"gradcam": {"deletion": ["<b>", 1, 1], "insertion": [1, 1, 1]}}}),
    ):
        (folder / "faithfulness.json").write_text(broken)
        assert "cannot be read" in trust.measured(LeafClassifier.open(folder, device="cpu"))


def test_a_hybrid_is_explained_too(photo, tiny_model, tmp_path):
    torch.manual_seed(0)
    LeafClassifier.open(tiny_model, labels=LABELS, hybrid="new", device="cpu", head_init="normal").save(
        tmp_path / "hybrid"
    )
    shown = why.show(photo, str(tmp_path / "hybrid"), RUST, HEALTHY, "gradcam")
    assert "a CNN's feature map" in shown[METHOD_WORDS] and shown[THIRD]["visible"]


def test_a_real_photo_in_the_embedded_model_has_a_map_of_its_answer_and_a_warning_where_patches_mislead(
    tmp_path, photo, model
):
    from vit_demo.data.open.sources import open_dataset

    test = open_dataset("beans")["test"]
    file = tmp_path / "leaf.jpg"
    test[test["labels"].index(1)]["image"].save(file, quality=92)
    shown = why.show(str(file), "embedded", ANSWER, NONE, "relevance")
    assert "**Bean rust**, probability 9" in shown[ANSWERED] and maps_in(shown[NPZ])["maps"].shape == (
        1,
        14,
        14,
    )
    assert "of 196 patches" in shown[WORDS]
    count = len(artefact_patches(look("embedded", str(file)).trace.hidden))
    assert (
        count > 1
        and f"{count} patches have tokens" in shown[WORDS]
        and "Darcet et al. 2024" in shown[WORDS]
        and "Layer by layer" in shown[WORDS]
    )
    assert "Take care" not in why.show(photo, model, RUST, NONE, "relevance")[WORDS]


def test_curves_go_to_the_page_as_valid_json():
    figure = curve_figure(np.linspace(0, 1, 3), {"this map": np.array([1, 0.5, 0], np.float32)}, "covered")
    assert (
        json.loads(figure.to_json())["data"][0]["y"] == [1, 0.5, 0]
        and figure.layout.xaxis.title.text == "patches covered"
    )


def test_bad_requests_are_said_in_words(photo, model, refusal):
    assert "Choose a photo first." in refusal(why.show, None, model, ANSWER, NONE, "relevance")
    assert "Choose a photo first." in refusal(trust.check, None, model, ANSWER, "relevance")
    assert "Choose a method" in refusal(why.show, photo, model, ANSWER, NONE, "guess")
    assert "Choose a method" in refusal(trust.check, photo, model, ANSWER, "guess")


def test_a_flat_map_has_nothing_to_check(photo, tmp_path, refusal, tiny_model):
    classifier = LeafClassifier.open(tiny_model, labels=["a", "b"], device="cpu")
    classifier.save(tmp_path / "untrained")
    assert "same everywhere" in refusal(trust.check, photo, str(tmp_path / "untrained"), ANSWER, "gradcam")
    assert (
        "nothing in this photo"
        in why.show(photo, str(tmp_path / "untrained"), ANSWER, NONE, "gradcam")[WORDS]
    )
