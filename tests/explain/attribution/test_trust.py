"""Means over photos: intervals against scipy, differences photo by photo, and a photo's numbers whatever
comes with it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from vit_demo.explain.attribution.faithfulness import (
    centred_heat,
    curves,
    random_heat,
    randomised,
    rank_correlation,
)
from vit_demo.explain.attribution.methods import DEFAULT
from vit_demo.explain.attribution.saliency import saliency
from vit_demo.explain.attribution.target import Target
from vit_demo.explain.attribution.trust import (
    ALL,
    HALF,
    HEAD,
    RIVALS,
    Areas,
    Mean,
    Plan,
    Trust,
    areas_of,
    mean_of,
    measure,
    random_seed,
    sanity,
    spread,
    verdict,
)
from vit_demo.explain.patches import PatchGrid
from vit_demo.model.classifier import LeafClassifier

PLAN = Plan(("gradcam",), steps=4, seed=3)


@pytest.fixture(scope="module")
def classifier(tiny_model) -> LeafClassifier:
    return LeafClassifier.open(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_interval_is_scipys():
    values = np.random.default_rng(0).normal(0.3, 0.2, 17)
    found = mean_of(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert found.clear == (stats.ttest_1samp(values, 0).pvalue < 0.05)


def test_a_single_photo_has_no_interval_and_equal_ones_an_empty_one():
    assert mean_of(np.array([0.5])).to_list() == [0.5, None, None] and not mean_of(np.array([0.5])).clear
    assert mean_of(np.full(4, 0.5)).to_list() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("difference", "below", "said"),
    [
        (Mean(-0.2, -0.3, -0.1), True, "better"),
        (Mean(-0.2, -0.3, -0.1), False, "worse"),
        (Mean(0.2, 0.1, 0.3), False, "better"),
        (Mean(0.2, 0.1, 0.3), True, "worse"),
        (Mean(0.2, -0.1, 0.5), False, "not clear"),
    ],
)
def test_a_verdict_needs_an_interval_clear_of_zero(difference, below, said):
    assert verdict(difference, below) == said


def test_differences_are_taken_photo_by_photo():
    """Photos that differ far more than the methods do: of unpaired means nothing could be said."""
    rng = np.random.default_rng(0)
    hard = rng.random(12)
    areas = {name: Areas(hard + 0.01, hard - 0.01) for name in RIVALS}
    areas[DEFAULT] = Areas(hard + rng.normal(0, 0.001, 12), hard + rng.normal(0, 0.001, 12))
    found = Trust(PLAN, areas, {DEFAULT: {HEAD: np.zeros(1)}})
    deletion, insertion = found.differences["random"]
    expected = stats.ttest_rel(areas[DEFAULT].deletion, areas["random"].deletion)
    low, high = expected.confidence_interval(0.95)
    assert (deletion.low, deletion.high) == pytest.approx((low, high)) and expected.pvalue < 1e-6
    assert insertion.mean == pytest.approx((areas[DEFAULT].insertion - areas["random"].insertion).mean())
    assert stats.ttest_ind(areas[DEFAULT].deletion, areas["random"].deletion).pvalue > 0.5
    assert found.to_dict()["differences"]["random"]["verdict"] == {
        "deletion": "better",
        "insertion": "better",
    }


def test_the_areas_are_those_of_each_photo_alone(classifier, photos):
    found = areas_of(classifier, [([7, 8, 9, 10, 11], photos)], PLAN)
    grid = PatchGrid(32, 32, 8)
    for index, number in enumerate((7, 8, 9, 10, 11)):
        photo = photos[index : index + 1]
        target = Target(int(classifier.forward_fast(photo).argmax()))
        heats = {
            **{method: saliency(classifier, photo, method, target)[0].numpy() for method in PLAN.measured},
            "random": random_heat(grid, random_seed(3, number)),
            "centred": centred_heat(grid),
        }
        assert set(heats) == set(found)
        for name, heat in heats.items():
            expected = curves(classifier, photo, heat, target, steps=4)
            assert found[name].deletion[index] == pytest.approx(expected.deletion_area, abs=1e-3)
            assert found[name].insertion[index] == pytest.approx(expected.insertion_area, abs=1e-3)


def test_neither_order_nor_batches_change_a_photo(classifier, photos):
    whole = areas_of(classifier, [([0, 1, 2, 3, 4], photos)], PLAN)
    order = [3, 0, 4, 1, 2]
    parts = areas_of(classifier, [(order[:2], photos[order[:2]]), (order[2:], photos[order[2:]])], PLAN)
    for name in whole:
        np.testing.assert_allclose(parts[name].deletion, whole[name].deletion, atol=1e-3)
        np.testing.assert_allclose(parts[name].insertion, whole[name].insertion, atol=1e-3)
    assert len({random_seed(seed, number) for seed in range(20) for number in range(20)}) == 400


def test_the_sanity_check_draws_head_half_and_all_anew(classifier, photos):
    found = sanity(classifier, [([4, 2], photos[[4, 2]])], PLAN)
    twins = {"head": HEAD, "block 1": HALF, "embeddings": ALL}
    for name, twin in randomised(classifier, seed=3):
        for index, number in enumerate((2, 4)) if name in twins else ():
            photo = photos[number : number + 1]
            target = Target(int(classifier.forward_fast(photo).argmax()))
            for method in PLAN.measured:
                one, other = (
                    saliency(model, photo, method, target)[0].numpy() for model in (classifier, twin)
                )
                assert found[method][twins[name]][index] == pytest.approx(
                    rank_correlation(one, other), abs=0.02
                )
    np.testing.assert_allclose(found["attention"][HEAD], 1)


def test_the_whole_measurement_reads_what_it_is_told_to(classifier, photos):
    asked, told = [], []

    def read(numbers):
        asked.append(list(numbers))
        yield (
            [number for number in numbers if number != 1],
            photos[[number for number in numbers if number != 1]],
        )  # 1 cannot be read

    found = measure(classifier, read, [0, 1, 3, 4], PLAN, lambda *words: told.append(words))
    assert asked == [[0, 1, 3, 4]] * 2 and found.photos == 3
    assert told[-1] == ("sanity check", 3, 4) and ("curves", 3, 4) in told
    assert found.to_dict()["sanity"]["photos"] == 3 and set(found.to_dict()["methods"]) == {
        "attention",
        DEFAULT,
        "gradcam",
        "random",
        "centred",
    }


def test_no_readable_photo_is_told(classifier, refusal):
    assert "not one of them" in refusal(measure, classifier, lambda numbers: [], [0, 1])


def test_few_of_many_are_spread_over_all():
    assert spread(3, 32) == [0, 1, 2] and spread(1, 1) == [0]
    chosen = spread(128, 32)
    assert (
        len(chosen) == 32
        and chosen[0] == 0
        and chosen[-1] == 127
        and max(np.diff(chosen)) - min(np.diff(chosen)) <= 1
    )


@pytest.mark.parametrize("settings", [{"methods": ("magic",)}, {"steps": 0}, {"seed": -1}])
def test_a_bad_plan_is_refused(refusal, settings):
    refusal(Plan, **settings)
