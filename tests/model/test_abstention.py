"""When to be silent: every number against the formula written the slow way or another library, and what was
saved comes back or is refused.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from vit_demo.model.abstention import (
    COVERAGE,
    FEWEST,
    FORMAT,
    Abstention,
    Answers,
    Judgement,
    calibrated,
    fit,
    fitted_on_copies,
    load,
    prediction_set,
)
from vit_demo.model.checkpoints import ABSTENTION
from vit_demo.model.readout import Pool, Readout, readout_of

LABELS = ("blue", "green", "red")
WIDTH, BLOCKS, LAYER = 6, 12, 9
READOUT = Readout(LAYER, Pool.PATCH_MEAN)


def drawn(rng: np.random.Generator, count: int, shift: float = 0.0, sharpness: float = 3.0) -> Answers:
    """Photos of three classes whose features lie round three places with one slanted covariance, and logits
    that are right more often than not.
    """
    targets = rng.integers(0, 3, count)
    slant = np.tril(np.ones((WIDTH, WIDTH))) * np.array([1, 200, 0.01, 1, 1, 5])
    features = (rng.normal(size=(count, WIDTH)) + 4 * np.eye(3, WIDTH)[targets] + shift) @ slant.T + 50
    logits = sharpness * np.eye(3)[targets] + rng.normal(size=(count, 3)) * 1.5
    return Answers(logits.astype(np.float32), features.astype(np.float32), targets)


@pytest.fixture(scope="module")
def train() -> Answers:
    return drawn(np.random.default_rng(0), 300)


@pytest.fixture(scope="module")
def validation() -> Answers:
    return drawn(np.random.default_rng(1), 133)


@pytest.fixture(scope="module")
def fitted(train: Answers, validation: Answers) -> Abstention:
    return fit(train, validation, 1.5, READOUT, LABELS)


# The distance


def slow_distances(train: Answers, features: np.ndarray) -> np.ndarray:
    """Lee et al. 2018, eq. 2, photo by photo, with scikit-learn's shrunk covariance of the features in units
    of their deviation.
    """
    means = [
        train.features[train.targets == number].astype(float).mean(axis=0)
        for number in np.unique(train.targets)
    ]
    inside = np.concatenate(
        [
            train.features[train.targets == number] - mean
            for number, mean in zip(np.unique(train.targets), means)
        ]
    )
    scale = np.sqrt((inside**2).mean(axis=0))
    precision = np.linalg.inv(LedoitWolf(assume_centered=True).fit(inside / scale).covariance_)
    return np.array(
        [min(mahalanobis(row / scale, mean / scale, precision) for mean in means) for row in features]
    )


def test_the_distance_is_that_of_the_paper(fitted: Abstention, train: Answers, validation: Answers) -> None:
    expected = slow_distances(train, validation.features)
    np.testing.assert_allclose(fitted.detector.to_nearest(validation.features), expected, rtol=1e-3)
    np.testing.assert_allclose(
        fitted.detector.distances(validation.features), expected / np.sort(expected)[127], rtol=1e-3
    )


def test_the_radius_holds_as_many_validation_photos_as_it_should(
    fitted: Abstention, validation: Answers
) -> None:
    # ceil(0.95 * 134) = 128 of 133, and the farthest of them lies on the limit itself
    distances = fitted.detector.distances(validation.features)
    assert (distances <= 1).sum() == 128 and np.sort(distances)[127] == pytest.approx(1, abs=1e-8)


def test_a_class_without_photos_has_no_place(train: Answers, validation: Answers) -> None:
    some = train.targets != 1
    found = fit(
        Answers(train.logits[some], train.features[some], train.targets[some]),
        validation,
        1.0,
        READOUT,
        LABELS,
    ).detector
    assert found.centres.shape == (2, WIDTH)
    other = validation.targets == 1
    assert np.median(found.to_nearest(validation.features[other])) > 1.5 * np.median(
        found.to_nearest(validation.features[~other])
    )


def test_units_of_a_feature_change_nothing(fitted: Abstention, train: Answers, validation: Answers) -> None:
    units = np.array([1, 1e3, 1e-3, 10, 1, 1], dtype=np.float32)
    other = fit(
        Answers(train.logits, train.features * units, train.targets),
        Answers(validation.logits, validation.features * units, validation.targets),
        1.5,
        READOUT,
        LABELS,
    )
    np.testing.assert_allclose(
        other.detector.distances(validation.features * units),
        fitted.detector.distances(validation.features),
        rtol=1e-3,
    )


def test_fewer_photos_than_features_still_give_a_distance() -> None:
    rng = np.random.default_rng(3)

    def wide(count: int, shift: float = 0) -> Answers:
        classes = np.arange(count) % 2
        return Answers(np.eye(2)[classes], rng.normal(size=(count, 100)) + shift, classes)

    found = fit(wide(24), wide(40), 1.0, 1, ("a", "b")).detector
    assert np.isfinite(found.whitening).all() and (found.distances(wide(100).features) <= 1).mean() > 0.8
    assert (found.distances(wide(100, 5).features) > 1).all()


def test_a_feature_that_never_varies_does_no_harm(train: Answers, validation: Answers) -> None:
    def still(answers: Answers) -> Answers:
        return Answers(
            answers.logits,
            np.column_stack([answers.features, np.full(len(answers.targets), 7, np.float32)]),
            answers.targets,
        )

    found = fit(still(train), still(validation), 1.0, READOUT, LABELS).detector
    assert np.isfinite(found.distances(still(validation).features)).all()


# What it promises


def test_new_photos_are_covered_as_promised() -> None:
    """Split conformal prediction promises 95 % over the drawing of validation and new photos together (Vovk
    et al. 2005).
    """
    inside, within, shares = [], [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found = fit(drawn(rng, 60), drawn(rng, 40), 1.0, READOUT, LABELS)
        new = drawn(rng, 200)
        probabilities = calibrated(new.logits, 1.0)
        inside.append(
            np.mean(
                [
                    probabilities[row, target] >= found.conformal_threshold
                    for row, target in enumerate(new.targets)
                ]
            )
        )
        within.append(np.mean(found.detector.distances(new.features) <= 1))
        shares.append(
            np.mean(
                [
                    target in prediction_set(row, found.conformal_threshold)
                    for row, target in zip(probabilities, new.targets)
                ]
            )
        )
    # of 40 photos the 39th is taken: 39 / 41 is the exact expectation
    assert np.mean(inside) == pytest.approx(39 / 41, abs=0.006) and np.mean(within) == pytest.approx(
        39 / 41, abs=0.006
    )
    assert np.mean(shares) >= np.mean(inside) >= COVERAGE - 0.005


def test_the_limit_of_the_sets_is_the_rank_of_the_paper(fitted: Abstention, validation: Answers) -> None:
    exponent = np.exp(validation.logits.astype(float) / 1.5)
    true = [row[target] / row.sum() for row, target in zip(exponent, validation.targets)]
    scores = sorted(1 - value for value in true)
    assert fitted.conformal_threshold == pytest.approx(1 - scores[127], abs=1e-12)
    assert sum(value >= fitted.conformal_threshold for value in true) == 128


@pytest.mark.parametrize(
    ("probabilities", "least", "expected"),
    [
        ([0.2, 0.7, 0.1], 0.5, (1,)),
        ([0.2, 0.7, 0.1], 0.2, (1, 0)),
        ([0.2, 0.7, 0.1], 0.05, (1, 0, 2)),
        ([0.2, 0.7, 0.1], 0.8, (1, 0)),  # none is sure enough: the two most probable
        ([0.2, 0.7, 0.1], None, (1, 0, 2)),
        ([0.27, 0.7, 0.03], None, (1, 0)),
        ([0.02, 0.97, 0.01], None, (1,)),
        ([0.0, 1.0, 0.0], None, (1,)),
    ],
)
def test_prediction_sets(probabilities: list[float], least: float | None, expected: tuple[int, ...]) -> None:
    assert prediction_set(np.array(probabilities), least) == expected


# The verdict


def test_the_three_verdicts(fitted: Abstention, validation: Answers) -> None:
    near = validation.features[fitted.detector.distances(validation.features).argmin()]
    far = near + np.float32(1000)
    sure, torn = [9, 0, 0], [1, 1.01, -9]
    first, second, third = fitted.judge(np.array([sure, torn, sure]), np.stack([near, near, far]))
    assert (first.verdict, first.prediction_set) == ("diagnosis", (0,)) and first.distance < 1
    assert (second.verdict, second.prediction_set) == ("unsure", (1, 0))
    assert (third.verdict, third.prediction_set) == ("not_known", ()) and third.distance > 1
    np.testing.assert_allclose(
        first.probabilities, np.exp([6, 0, 0]) / np.exp([6, 0, 0]).sum()
    )  # temperature 1.5


def test_features_that_are_no_numbers_are_not_known(fitted: Abstention) -> None:
    (found,) = fitted.judge(np.array([[9.0, 0, 0]]), np.full((1, WIDTH), np.nan))
    assert found.verdict == "not_known"


def test_no_photo_no_judgement(fitted: Abstention) -> None:
    assert fitted.judge(np.empty((0, 3)), np.empty((0, WIDTH))) == []


@pytest.mark.parametrize(("count", "enough"), [(FEWEST - 1, False), (FEWEST, True)])
def test_too_few_validation_photos_promise_nothing(train: Answers, count: int, enough: bool) -> None:
    found = fit(train, drawn(np.random.default_rng(5), count), 1.0, READOUT, LABELS)
    assert (found.conformal_threshold is not None, found.detector is not None) == (enough, enough)
    (judged,) = found.judge(np.array([[9.0, 0, 0]]), train.features[:1])
    assert (
        isinstance(judged, Judgement)
        and judged.verdict == "diagnosis"
        and (judged.distance is not None) == enough
    )


def test_too_few_train_photos_give_no_distance(validation: Answers) -> None:
    found = fit(drawn(np.random.default_rng(6), 20), validation, 1.0, READOUT, LABELS)
    assert found.detector is None and found.conformal_threshold is not None


def test_train_photos_that_are_all_alike_give_no_distance(train: Answers, validation: Answers) -> None:
    assert (
        fit(
            Answers(train.logits, np.ones_like(train.features), train.targets),
            validation,
            1.0,
            READOUT,
            LABELS,
        ).detector
        is None
    )


@pytest.mark.parametrize(("blocks", "layer"), [(12, 9), (24, 18), (2, 2), (1, 1), (6, 4)])
def test_three_quarters_up(blocks: int, layer: int) -> None:
    assert readout_of(blocks) == Readout(layer, Pool.PATCH_MEAN)


# Kept beside the model


def opened(
    folder: Path, labels: tuple[str, ...] = LABELS, width: int = WIDTH, blocks: int = BLOCKS
) -> Abstention | None:
    return load(folder, "mine", labels, width, blocks)


@pytest.fixture
def folder(fitted: Abstention, tmp_path: Path) -> Path:
    fitted.save(tmp_path)
    return tmp_path


def test_what_was_saved_says_the_same(fitted: Abstention, folder: Path, validation: Answers) -> None:
    back = opened(folder)
    assert (back.readout, back.temperature, back.labels, back.conformal_threshold, back.detector.radius) == (
        READOUT,
        1.5,
        LABELS,
        fitted.conformal_threshold,
        fitted.detector.radius,
    )
    for own, other in zip(
        fitted.judge(validation.logits, validation.features),
        back.judge(validation.logits, validation.features),
    ):
        assert (own.verdict, own.prediction_set, own.distance) == (
            other.verdict,
            other.prediction_set,
            other.distance,
        )
    assert [path.name for path in folder.iterdir()] == [ABSTENTION]


def test_the_limits_keep_their_last_photo_after_saving(folder: Path, validation: Answers) -> None:
    verdicts = [found.verdict for found in opened(folder).judge(validation.logits, validation.features)]
    assert verdicts.count("not_known") == 5


@pytest.mark.skipif(os.name != "posix", reason="permissions of another kind")
def test_others_may_read_the_file(folder: Path) -> None:
    (folder / "plain").write_text("")
    assert (folder / ABSTENTION).stat().st_mode == (folder / "plain").stat().st_mode


def test_nothing_fitted_is_no_mistake(tmp_path: Path) -> None:
    assert opened(tmp_path) is None


def test_too_few_photos_come_back_as_such(train: Answers, tmp_path: Path) -> None:
    fit(train, drawn(np.random.default_rng(5), 4), 2.0, READOUT, LABELS).save(tmp_path)
    assert opened(tmp_path) == Abstention(READOUT, 2.0, LABELS, None, None)


@pytest.mark.parametrize(
    "options", [{"labels": ("red", "green", "blue")}, {"labels": LABELS[:2]}, {"width": 7}, {"blocks": 8}]
)
def test_the_file_of_another_model_is_refused(folder: Path, refusal, options: dict) -> None:
    text = refusal(opened, folder, **options)
    assert "mine" in text and "belongs to another model" in text


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 64, b"\x08" + b"\x00" * 7 + b"[[[[[[[["])
def test_a_broken_file_is_refused(tmp_path: Path, refusal, content: bytes) -> None:
    (tmp_path / ABSTENTION).write_bytes(content)
    refusal(opened, tmp_path)


def test_a_file_that_was_cut_is_refused(folder: Path, refusal) -> None:
    whole = (folder / ABSTENTION).read_bytes()
    (folder / ABSTENTION).write_bytes(whole[:-10])
    refusal(opened, folder)


FORMER = {"layer": LAYER, "temperature": 1.5, "labels": LABELS, "least": 0.5, "radius": 2.0}
GOOD = {**FORMER, "pool": "patch_mean"}


def test_a_file_of_an_earlier_version_is_of_the_cls_token(folder: Path) -> None:
    arrays = load_file(folder / ABSTENTION)
    metadata = {"format": "vit_demo abstention 1", "numbers": json.dumps(FORMER)}
    assert fitted_on_copies(folder)
    save_file(arrays, folder / ABSTENTION, metadata=metadata)
    assert opened(folder).readout == Readout(LAYER, Pool.CLS) and not fitted_on_copies(folder)
    (folder / ABSTENTION).write_bytes(b"broken")
    assert not fitted_on_copies(folder) and not fitted_on_copies(folder / "nowhere")


def test_changed_copies_do_not_make_up_for_photos() -> None:
    """Of 10 photos with 3 copies each nothing can be promised; of 40 photos without copies it can."""
    rng = np.random.default_rng(8)
    train, few = drawn(rng, 60), drawn(rng, 40)
    copied = Answers(few.logits, few.features, few.targets, copies=30)
    with_copies, without = (fit(train, answers, 1.0, READOUT, LABELS) for answers in (copied, few))
    assert with_copies.conformal_threshold is None and with_copies.detector is None
    assert without.conformal_threshold is not None and without.detector is not None


@pytest.mark.parametrize(
    "change",
    [
        {"layer": 0},
        {"layer": "many"},
        {"layer": float("inf")},
        {"layer": 9.7},
        {"layer": True},
        {"temperature": 10**400},
        {"pool": "corner"},
        {"temperature": 0},
        {"temperature": 1e-320},
        {"temperature": 9e-4},
        {"temperature": 1e4},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"least": 2},
        {"least": -1},
        {"least": float("nan")},
        {"radius": 0},
        {"radius": float("inf")},
        {"radius": []},
        {"labels": 7},
        {"labels": None},
    ],
    ids=str,
)
def test_numbers_that_make_no_sense_are_refused(folder: Path, refusal, change: dict) -> None:
    arrays = load_file(folder / ABSTENTION)
    save_file(arrays, folder / ABSTENTION, metadata={"format": FORMAT, "numbers": json.dumps(GOOD)})
    assert opened(folder).conformal_threshold == 0.5
    save_file(arrays, folder / ABSTENTION, metadata={"format": FORMAT, "numbers": json.dumps(GOOD | change)})
    refusal(opened, folder)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"format": FORMAT},
        {"format": FORMAT, "numbers": "{"},
        {"format": FORMAT, "numbers": "[]"},
    ],
)
def test_metadata_that_make_no_sense_are_refused(folder: Path, refusal, metadata: dict | None) -> None:
    save_file(load_file(folder / ABSTENTION), folder / ABSTENTION, metadata=metadata)
    refusal(opened, folder)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("origin", np.zeros(5, np.float32)),
        ("origin", np.zeros(WIDTH)),
        ("whitening", np.full((WIDTH, WIDTH), np.nan, np.float32)),
        ("whitening", np.zeros((WIDTH, 5), np.float32)),
        ("centres", np.zeros((0, WIDTH), np.float32)),
        ("centres", np.zeros((4, WIDTH), np.float32)),
        ("centres", np.zeros(WIDTH, np.float32)),
        ("centres", None),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    folder: Path, refusal, name: str, array: np.ndarray | None
) -> None:
    arrays = {**load_file(folder / ABSTENTION), name: array}
    kept = {key: value for key, value in arrays.items() if value is not None}
    save_file(kept, folder / ABSTENTION, metadata={"format": FORMAT, "numbers": json.dumps(GOOD)})
    refusal(opened, folder)
