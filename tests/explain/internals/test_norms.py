"""Norms are lengths, and only what stands far above the rest is called an outlier."""

from __future__ import annotations

import io
import math
import statistics

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from vit_demo.common import settings
from vit_demo.explain.internals.norms import (
    TIMES_DEVIATION,
    TIMES_MEDIAN,
    artefact_patches,
    outliers,
    token_norms,
)
from vit_demo.explain.internals.trace import Trace, trace
from vit_demo.model.classifier import LeafClassifier

LAYERS, PATCHES, WIDTH = 4, 49, 8


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def tokens_of(norms: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Tokens (..., WIDTH) in random directions with these norms."""
    directions = random.normal(size=(*norms.shape, WIDTH))
    return (directions / np.linalg.norm(directions, axis=-1, keepdims=True) * norms[..., None]).astype(
        np.float32
    )


def by_the_rule(norms: list[float]) -> list[int]:
    """The documented rule, the slow way."""
    median = statistics.median(norms)
    deviation = 1.4826 * statistics.median(abs(norm - median) for norm in norms)
    return [
        place
        for place, norm in enumerate(norms)
        if norm > TIMES_MEDIAN * median and norm > median + TIMES_DEVIATION * deviation
    ]


def test_norms_are_the_lengths_of_the_tokens(random):
    hidden = random.normal(size=(2, 3, 5)).astype(np.float32)
    found = token_norms(hidden)
    assert found.shape == (2, 3) and found.dtype == np.float32
    for layer in range(2):
        for token in range(3):
            assert found[layer, token] == pytest.approx(
                math.sqrt(sum(float(value) ** 2 for value in hidden[layer, token])), rel=1e-5
            )


def test_outliers_follow_the_rule_in_each_row(random):
    norms = random.lognormal(3, 0.5, size=(20, PATCHES))
    norms[:10, :3] *= random.uniform(1, 30, size=(10, 3))
    found = outliers(norms)
    assert found.dtype == bool and found.any() and not found.all(axis=1).any()
    for row, flags in zip(norms, found):
        assert np.flatnonzero(flags).tolist() == by_the_rule(row.tolist())


@pytest.mark.parametrize(
    ("longest", "spread", "found"),
    [
        (2.9, 0.01, []),  # far outside the deviation, but not long
        (3.1, 0.01, [7]),
        (3.1, 0.5, []),  # long, but so are the others now and then
        (40, 0.1, [7]),
    ],
)
def test_both_the_factor_and_the_deviation_must_be_exceeded(longest, spread, found):
    norms = 1 + np.linspace(-spread, spread, PATCHES)
    norms[7] = longest
    assert np.flatnonzero(outliers(norms)).tolist() == found


def test_even_norms_and_one_patch_have_no_outliers():
    assert not outliers(np.full((3, PATCHES), 5.0)).any()
    assert not outliers(np.zeros(PATCHES)).any()
    assert not outliers(np.array([[3.0]])).any()


def test_one_of_equal_norms_that_stands_out_is_found_without_any_deviation():
    norms = np.ones(PATCHES)
    norms[3] = 10
    assert np.flatnonzero(outliers(norms)).tolist() == [3]


def test_usual_norms_do_not_cry_wolf(random):
    # A thousand photos of 196 patches whose norms spread by a fifth: not one patch is named.
    assert not outliers(random.normal(20, 4, size=(1000, 196))).any()


def test_artefacts_are_patches_and_of_any_layer(random):
    norms = random.normal(20, 2, size=(LAYERS + 1, PATCHES + 1))
    norms[2, 1 + 5] = norms[3, 1 + 30] = norms[4, 1 + 30] = 200
    assert artefact_patches(tokens_of(norms, random)).tolist() == [5, 30]


def test_a_long_cls_token_and_what_enters_the_first_layer_do_not_count(random):
    norms = random.normal(20, 2, size=(LAYERS + 1, PATCHES + 1))
    norms[:, 0] = 500
    norms[0, 1 + 4] = 500
    found = artefact_patches(tokens_of(norms, random))
    assert found.dtype == np.int64 and found.tolist() == []


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    """Twelve real test photos in the embedded model."""
    classifier = LeafClassifier.open(device="cpu")
    column = parquet.read_table(
        settings.EMBEDDED_BEANS / "data" / "test-00000-of-00001.parquet", columns=["image"]
    )["image"]
    return [
        trace(classifier, Image.open(io.BytesIO(column[row].as_py()["bytes"])).convert("RGB"))
        for row in range(0, 120, 10)
    ]


def test_on_real_photos_few_patches_are_named_and_each_is_far_above_the_rest(traces):
    counts = [len(artefact_patches(found.hidden)) for found in traces]
    # Of 196 patches. This model has some on each photo, on one more than on the other, so that the rule tells
    # photos apart.
    assert 1 <= min(counts) < max(counts) <= 6
    for found in traces:
        norms = token_norms(found.hidden)[1:, 1:]
        times = (norms / np.median(norms, axis=1, keepdims=True)).max(axis=0)
        named = artefact_patches(found.hidden)
        assert (times[named] > TIMES_MEDIAN).all()
        # Nothing is passed over for its deviation alone.
        assert np.delete(times, named).max() <= TIMES_MEDIAN


def test_on_real_photos_the_first_layers_are_silent(traces):
    # There the longest patch has up to twice the median and lies eleven deviations away: a rule without the
    # factor would name it.
    for found in traces:
        norms = token_norms(found.hidden)[:8, 1:]
        assert not outliers(norms).any()
    deviations = []
    for found in traces:
        norms = token_norms(found.hidden)[:8, 1:]
        off = norms - np.median(norms, axis=1, keepdims=True)
        deviations.append((off / (1.4826 * np.median(np.abs(off), axis=1, keepdims=True))).max())
    assert max(deviations) > 5
