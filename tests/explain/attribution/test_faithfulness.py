"""Deletion, insertion and the sanity check, step by step the slow way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import auc

from vit_demo.explain.attribution import faithfulness
from vit_demo.explain.attribution.faithfulness import (
    Curves,
    centred_heat,
    curves,
    random_heat,
    randomised,
    rank_correlation,
)
from vit_demo.explain.attribution.relevance import relevance
from vit_demo.explain.attribution.target import Target
from vit_demo.explain.patches import PatchGrid
from vit_demo.model.classifier import LeafClassifier


@pytest.fixture(scope="module")
def classifier(tiny_model) -> LeafClassifier:
    return LeafClassifier.open(tiny_model, device="cpu")


def photo_of(side: int = 32) -> torch.Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("label", [None, 1])
def test_patches_go_and_come_in_the_order_of_the_map(classifier, label):
    photo = photo_of()
    heat = np.random.default_rng(0).random((4, 4))
    found = curves(classifier, photo, heat, Target(label), steps=8)
    watched = int(classifier.forward_fast(photo).argmax()) if label is None else label
    order = sorted(range(16), key=lambda patch: -heat[patch // 4, patch % 4])
    mean = photo.mean(dim=(2, 3))[0]
    without, back = photo.clone(), mean[None, :, None, None].expand_as(photo).clone()
    deletion, insertion = [without.clone()], [back.clone()]
    for number, patch in enumerate(order, start=1):
        box = (slice(8 * (patch // 4), 8 * (patch // 4) + 8), slice(8 * (patch % 4), 8 * (patch % 4) + 8))
        without[0, :, box[0], box[1]] = mean[:, None, None]
        back[0, :, box[0], box[1]] = photo[0, :, box[0], box[1]]
        if number % 2 == 0:
            deletion.append(without.clone())
            insertion.append(back.clone())
    np.testing.assert_allclose(found.shares, np.linspace(0, 1, 9))
    for ours, photos in ((found.deletion, deletion), (found.insertion, insertion)):
        expected = [float(classifier.forward_fast(changed).softmax(-1)[0, watched]) for changed in photos]
        np.testing.assert_allclose(ours, expected, rtol=0.02, atol=0.01)  # bf16, in batches of another size
    assert found.deletion[0] == pytest.approx(found.insertion[-1], abs=0.01)


def test_the_area_is_scikit_learn_s():
    shares = np.array([0, 0.25, 0.5, 1])
    found = Curves(shares, np.array([0.9, 0.4, 0.2, 0.1]), np.array([0.1, 0.7, 0.8, 0.9]))
    assert found.deletion_area == pytest.approx(auc(shares, found.deletion))
    assert found.insertion_area == pytest.approx(auc(shares, found.insertion))


def test_more_steps_than_patches_are_one_a_patch(classifier):
    found = curves(classifier, photo_of(), np.zeros((4, 4)), steps=100)
    np.testing.assert_allclose(found.shares, np.arange(17) / 16)


def test_the_baselines_are_what_they_say():
    grid = PatchGrid(40, 72, 8)
    centre = centred_heat(grid)
    assert centre.shape == (5, 9) and np.unravel_index(centre.argmax(), centre.shape) == (2, 4)
    np.testing.assert_allclose(centre, centre[::-1, ::-1])
    assert not np.array_equal(random_heat(grid, 1), random_heat(grid, 2)) and np.array_equal(
        random_heat(grid, 1), random_heat(grid, 1)
    )


def test_the_randomised_copies_lose_one_part_after_the_other_and_the_model_none(classifier):
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    names, kept = [], []
    for name, twin in randomised(classifier):
        names.append(name)
        state = twin.model.state_dict()
        kept.append(
            {
                key.removeprefix("vit.").split(".weight")[0]
                for key in before
                if key.endswith("weight") and torch.equal(state[key], before[key])
            }
        )
    assert names == ["head", "block 1", "block 0", "embeddings"]
    assert torch.equal(torch.rand(1), expected), "the check must not move the program's own random numbers"
    assert "classifier" not in kept[0] and any("layers.1." in key for key in kept[0])
    assert not any("layers.1." in key for key in kept[1]) and any("layers.0." in key for key in kept[1])
    assert not any("layers" in key or "embeddings" in key for key in kept[3])
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.model.state_dict().items())


def test_the_map_of_a_random_model_is_another_one(classifier):
    photo = photo_of()
    own = relevance(classifier, photo)[0, 1:].numpy()
    found = [
        rank_correlation(own, relevance(twin, photo, Target(0))[0, 1:].numpy())
        for _, twin in randomised(classifier)
    ]
    assert abs(found[-1]) < 0.8


def test_rank_correlation_is_that_of_scipy_and_zero_for_a_flat_map():
    one, other = np.random.default_rng(0).random((2, 4, 5))
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one.flatten(), other.flatten())[0])
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, np.ones((4, 5))) == 0


def test_a_map_that_knows_beats_one_that_does_not():
    """On real photos, the order of occlusion itself against the reverse order."""
    from vit_demo.data.open.sources import open_dataset
    from vit_demo.explain.attribution.occlusion import occlusion

    opened = LeafClassifier.open(device="cpu")
    photo = opened.preprocess([open_dataset("beans")["validation"][0]["image"]])
    heat = occlusion(opened, photo).numpy()
    best, worst = (curves(opened, photo, values) for values in (heat, -heat))
    assert best.deletion_area < worst.deletion_area and best.insertion_area > worst.insertion_area
    assert len(best.shares) == faithfulness.STEPS + 1
