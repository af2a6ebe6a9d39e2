"""Wrong labels: the closed form against leaving each photo out, confident learning the slow way, and planted
mistakes.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel

from vit_demo.data.checks import label_errors
from vit_demo.data.checks.label_errors import RIDGE, WIDTH, find_label_errors, leave_one_out
from vit_demo.data.copies.duplicates import standardised


def clouds(per_class: int = 30, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Photos of classes that lie apart, in 6 features of very different scale, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    centres = random.normal(0, 3, (classes, 6))
    return (centres[labels] + random.normal(0, 1, (len(labels), 6))) * 10.0 ** np.arange(6), labels


def test_each_prediction_is_that_of_a_regression_which_never_saw_the_photo():
    features, labels = clouds(12)
    targets = np.eye(3)[labels]
    found = leave_one_out(features, targets)
    # The same by refitting scikit-learn's kernel ridge once a photo, on targets centred over all photos.
    kernel = rbf_kernel(standardised(features), gamma=WIDTH / features.shape[1])
    for row in range(len(labels)):
        others = np.delete(np.arange(len(labels)), row)
        model = KernelRidge(alpha=RIDGE, kernel="precomputed").fit(
            kernel[np.ix_(others, others)], (targets - targets.mean(axis=0))[others]
        )
        assert np.allclose(
            found[row], model.predict(kernel[[row]][:, others])[0] + targets.mean(axis=0), atol=1e-4
        )


def test_a_label_does_not_speak_for_itself():
    features, labels = clouds()
    before = leave_one_out(features, np.eye(3)[labels])[7]
    changed = np.eye(3)[labels]
    changed[7] = np.roll(changed[7], 1)
    after = leave_one_out(features, changed)[7]
    # Only through the mean over all photos, in which one is a 90th.
    assert np.abs(after - before).max() < 0.03


def test_planted_mistakes_come_first_with_the_class_they_had():
    features, labels = clouds()
    wrong = labels.copy()
    planted = [3, 40, 77]
    wrong[planted] = (wrong[planted] + 1) % 3
    found = find_label_errors(features, wrong, 3)
    assert (
        set(found.order[:3]) == set(planted) and found.suggested[planted].tolist() == labels[planted].tolist()
    )
    assert found.flagged[planted].all() and found.flagged.sum() <= 6
    assert (np.diff(found.margins[found.order]) >= 0).all() and (found.margins[planted] < 0).all()


def test_nothing_is_suspect_where_all_is_right():
    features, labels = clouds()
    found = find_label_errors(features, labels, 3)
    assert not found.flagged.any() and (found.margins > 0).all()


def test_landmarks_stand_for_all_photos(monkeypatch: pytest.MonkeyPatch):
    features, labels = clouds(100)
    exact = leave_one_out(features, np.eye(3)[labels])
    monkeypatch.setattr(label_errors, "LANDMARKS", 150)
    nearly = leave_one_out(features, np.eye(3)[labels])
    assert np.abs(nearly - exact).mean() < 0.02 and np.array_equal(
        leave_one_out(features, np.eye(3)[labels]), nearly
    )


def test_confident_learning_equals_its_formula_counted_photo_by_photo():
    random = np.random.default_rng(1)
    scores, labels = random.random((60, 4)), random.integers(0, 4, 60)
    found = label_errors._off_diagonal(scores, labels, 4)
    thresholds = [
        np.mean([scores[row, label] for row in range(60) if labels[row] == label]) for label in range(4)
    ]
    for row in range(60):
        above = [label for label in range(4) if scores[row, label] >= thresholds[label]]
        assert found[row] == bool(above and max(above, key=lambda label: scores[row, label]) != labels[row])


def test_classes_without_photos_or_with_one_are_left_alone():
    features, labels = clouds(20)
    one = labels.copy()
    one[0] = 4  # of five classes, class 3 has no photo and class 4 has one
    found = find_label_errors(features, one, 5)
    assert not found.flagged[0] and np.isfinite(found.scores).all()
    assert not find_label_errors(features, np.zeros(60, dtype=int), 3).flagged.any()


def test_photos_that_are_there_twice_do_no_harm():
    features, labels = clouds(15)
    found = find_label_errors(np.concatenate([features, features]), np.concatenate([labels, labels]), 3)
    assert np.isfinite(found.scores).all() and not found.flagged.any()
