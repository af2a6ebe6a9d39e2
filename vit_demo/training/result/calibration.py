"""Whether a classifier is as often right as it says: reliability diagram, expected calibration error,
temperature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

BINS = 15
# A temperature is sought between these: no classifier in use comes near either end.
LOWEST, HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Bin:
    """The photos whose class was said with a probability above ``low`` and of at most ``high``.

    count: how many. confidence: the mean of these probabilities. accuracy: share of them that is right.
    Both are 0 to 1, and None in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """How far probabilities and shares of right answers lie apart.

    expected_calibration_error: 0 to 1 (Guo et al. 2017, eq. 3, with 15 bins of equal width).
    loss: mean cross-entropy in nats. bins: of the reliability diagram.
    """

    expected_calibration_error: float
    loss: float
    bins: list[Bin]


def calibration_of(logits: np.ndarray, targets: np.ndarray, temperature: float = 1.0) -> Calibration:
    """Logits (N, C) divided by the temperature, against the true class ids (N,); N is at least 1."""
    log_probabilities = log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    confidence = np.exp(log_probabilities.max(axis=1))
    right = log_probabilities.argmax(axis=1) == targets
    edges = np.linspace(0, 1, BINS + 1)
    place = np.digitize(confidence, edges, right=True) - 1  # a bin holds its upper edge, as in the paper
    bins = [
        _bin(low, high, confidence[place == number], right[place == number])
        for number, (low, high) in enumerate(zip(edges, edges[1:]))
    ]
    gaps = sum(
        found.count * abs(found.accuracy - found.confidence)
        for found in bins
        if found.accuracy is not None and found.confidence is not None
    )
    return Calibration(gaps / len(targets), _loss(log_probabilities, targets), bins)


def _bin(low: float, high: float, confidence: np.ndarray, right: np.ndarray) -> Bin:
    means = (float(confidence.mean()), float(right.mean())) if len(right) else (None, None)
    return Bin(round(float(low), 4), round(float(high), 4), len(right), *means)


def _loss(log_probabilities: np.ndarray, targets: np.ndarray) -> float:
    return float(-log_probabilities[np.arange(len(targets)), targets].mean())


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature by which to divide logits (N, C) so that their probabilities fit the true class ids
    (N,) best.

    It has the lowest cross-entropy between 0.05 and 20 (Guo et al. 2017, section 4.2). Over the logarithm
    of the temperature that loss has one valley, since it is convex in the temperature's inverse. 1 where
    every photo is right: the loss then falls all the way to a temperature of 0, at which any mistake to
    come would be made with full certainty.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if (logits.argmax(axis=1) == targets).all():
        return 1.0

    def loss(logarithm: float) -> float:
        return _loss(log_softmax(logits / math.exp(logarithm), axis=1), targets)

    found = minimize_scalar(
        loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded", options={"xatol": 1e-5}
    )
    # Where nothing is to be gained, as with logits that are all alike, nothing is changed.
    return math.exp(found.x) if found.fun < loss(0.0) else 1.0
