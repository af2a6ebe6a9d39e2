"""Labels that are probably wrong: each photo is judged by all the others, and disagrees with what it is
called.

A kernel ridge regression on the features of a frozen model predicts the class of each photo from all other
photos. Its leave-one-out predictions have a closed form (Rifkin and Lippert 2007, "Notes on regularized least
squares", section 3.2), so that no photo's own label speaks for it and nothing is trained twice. Which of them
are called label errors is decided as in confident learning (Northcutt, Jiang and Chuang 2021, "Confident
learning: estimating uncertainty in dataset labels").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

from vit_demo.common.words import Sentence
from vit_demo.data.checks.finding import Finding, FindingKind, Photos
from vit_demo.data.copies.duplicates import standardised

# exp(-WIDTH * mean squared difference of a feature), and how much the regression is held back.
# benchmarks/label_errors.py --choose prints what others give, on seeds that it does not report.
WIDTH, RIDGE = 1.0, 0.1
# With more photos than this, so many of them stand for all (Nystroem approximation, Williams and Seeger
# 2001).
LANDMARKS = 2000
# Below this share of a class's photos nothing can be said of it: at least two others have to speak for it.
FEWEST = 3
# With fewer photos nothing is said of any label.
ENOUGH = 10


@dataclass(frozen=True)
class LabelErrors:
    """scores: float64 (N, C), how well each class fits by all other photos, near 1 for yes and 0 for no.
    labels: (N,), as given.

    suggested: (N,), the class that fits best. flagged: bool (N,), those that confident learning calls
    mislabelled.
    """

    scores: np.ndarray
    labels: np.ndarray
    suggested: np.ndarray
    flagged: np.ndarray

    @property
    def margins(self) -> np.ndarray:
        """Score of the given class less that of the best other one, (N,): the lower, the likelier it is
        wrong.
        """
        rows = np.arange(len(self.labels))
        others = self.scores.copy()
        others[rows, self.labels] = -np.inf
        margins: np.ndarray = self.scores[rows, self.labels] - others.max(axis=1)
        return margins

    @property
    def order(self) -> np.ndarray:
        """All photos, the most suspicious first, (N,)."""
        return np.argsort(self.margins, kind="stable")


def wrong_labels(photos: Photos) -> list[Finding]:
    """Photos that look more like another class than like their own, the most suspicious first."""
    rows, names = np.flatnonzero(photos.readable & (photos.labels >= 0)), photos.names
    if len(rows) < ENOUGH:
        return []
    errors = find_label_errors(photos.reading.features.all[rows], photos.labels[rows], len(names))
    order = [at for at in errors.order if errors.margins[at] < 0]
    return [_finding(photos.reading.photos[rows[at]], errors, at, names) for at in order]


def _finding(photo: tuple[str, str], errors: LabelErrors, at: int, names: list[str]) -> Finding:
    label, other = names[errors.labels[at]], names[errors.suggested[at]]
    margin = -float(errors.margins[at])
    note = Sentence("data.note.label", {"label": label, "other": other, "margin": margin})
    return Finding(FindingKind.LABEL, (photo,), margin, bool(errors.flagged[at]), other, note)


def find_label_errors(features: np.ndarray, labels: np.ndarray, classes: int, seed: int = 0) -> LabelErrors:
    """features: (N, D). labels: integer (N,), from 0 to classes - 1. seed: of the landmarks of a large data
    set.
    """
    labels = np.asarray(labels)
    scores = leave_one_out(features, np.eye(classes)[labels], seed)
    return LabelErrors(scores, labels, scores.argmax(axis=1), _off_diagonal(scores, labels, classes))


def leave_one_out(features: np.ndarray, targets: np.ndarray, seed: int = 0) -> np.ndarray:
    """What a kernel ridge regression of targets (N, C) on features (N, D) says of each photo when it has seen
    all others, (N, C).

    With the smoother S = P (P^T P + RIDGE I)^-1 P^T on kernel features P and y centred, it is y_i - (y_i - (S
    y)_i) / (1 - S_ii).
    """
    features = standardised(np.asarray(features, dtype=np.float64))
    mapped = _kernel_features(features, seed)
    centre = targets.mean(axis=0)
    factor = cho_factor(mapped.T @ mapped + RIDGE * np.eye(mapped.shape[1]), lower=True)
    fitted = mapped @ cho_solve(factor, mapped.T @ (targets - centre))
    leverage = (mapped * cho_solve(factor, mapped.T).T).sum(axis=1)
    residuals: np.ndarray = (targets - centre - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]
    left_out: np.ndarray = targets - residuals
    return left_out


def _kernel_features(features: np.ndarray, seed: int) -> np.ndarray:
    """(N, M) whose products are the Gaussian kernel of (N, D): exactly where all photos are landmarks, else
    nearly.
    """
    chosen = features
    if len(features) > LANDMARKS:
        chosen = features[
            np.sort(np.random.default_rng(seed).choice(len(features), LANDMARKS, replace=False))
        ]
    among = _kernel(chosen, chosen)
    # A grain of noise on the diagonal, since photos that are there twice make it singular.
    lower = cholesky(among + 1e-6 * np.eye(len(among)), lower=True)
    all_to_chosen = among if chosen is features else _kernel(chosen, features)
    mapped: np.ndarray = solve_triangular(lower, all_to_chosen, lower=True).T
    return mapped


def _kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    from sklearn.metrics.pairwise import (
        euclidean_distances,
    )  # by matrix product, ten times as fast as one pair after the other

    kernel: np.ndarray = np.exp(-WIDTH * euclidean_distances(left, right, squared=True) / left.shape[1])
    return kernel


def _off_diagonal(scores: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Photos off the diagonal of the confident joint (Northcutt et al. 2021, eq. 1 and 2), bool (N,).

    A photo counts for a class when its score there is at least the mean score of the photos that are called
    so.
    """
    counts = np.bincount(labels, minlength=classes)
    enough = counts >= FEWEST
    if enough.sum() < 2:
        return np.zeros(len(labels), dtype=bool)
    thresholds = np.full(classes, np.inf)
    for label in np.flatnonzero(enough):
        thresholds[label] = scores[labels == label, label].mean()
    above = np.where(scores >= thresholds, scores, -np.inf)
    best = above.argmax(axis=1)
    off: np.ndarray = np.isfinite(above.max(axis=1)) & (best != labels) & enough[labels]
    return off
