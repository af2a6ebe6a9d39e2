"""Calibration against loops written out here, a slow search and torch's own gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from vit_demo.training.result.calibration import BINS, HIGHEST, LOWEST, calibration_of, fit_temperature


def draw(seed: int, n: int = 400, classes: int = 3, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, classes) that are exactly right about their own doubt, then made too sure or not sure
    enough.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.array([rng.choice(classes, p=row) for row in chances])
    return logits * sharpness, targets


def slow_softmax(row: np.ndarray) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def slow_error(logits: np.ndarray, targets: np.ndarray) -> float:
    """Guo et al. 2017, eq. 3, bin by bin and photo by photo: bin m holds ((m - 1) / 15, m / 15]."""
    error = 0.0
    for number in range(1, 16):
        sure, right = [], []
        for row, target in zip(logits, targets):
            probabilities = slow_softmax(row)
            if (number - 1) / 15 < max(probabilities) <= number / 15:
                sure.append(max(probabilities))
                right.append(probabilities.index(max(probabilities)) == target)
        if sure:
            error += len(sure) / len(targets) * abs(sum(right) / len(right) - sum(sure) / len(sure))
    return error


def slow_loss(logits: np.ndarray, targets: np.ndarray, temperature: float) -> float:
    return float(
        torch.nn.functional.cross_entropy(torch.from_numpy(logits) / temperature, torch.from_numpy(targets))
    )


@pytest.mark.parametrize(("classes", "sharpness"), [(2, 1.0), (3, 3.0), (3, 0.3), (10, 1.7)])
def test_error_bins_and_loss_against_slow_loops(classes: int, sharpness: float) -> None:
    logits, targets = draw(1, classes=classes, sharpness=sharpness)
    found = calibration_of(logits, targets)
    assert found.expected_calibration_error == pytest.approx(slow_error(logits, targets), abs=1e-12)
    assert found.loss == pytest.approx(slow_loss(logits, targets, 1.0), rel=1e-12)
    assert [part.high for part in found.bins] == pytest.approx(
        [number / 15 for number in range(1, 16)], abs=1e-4
    )
    assert sum(part.count for part in found.bins) == len(targets)


def test_bins_against_scikit_learn() -> None:
    """With two classes, scikit-learn's curve of the said class over the same bins."""
    logits, targets = draw(2, n=3000, classes=2)
    confidence = np.array([max(slow_softmax(row)) for row in logits])
    shares, means = calibration_curve(
        (logits.argmax(axis=1) == targets).astype(int), confidence, n_bins=BINS, strategy="uniform"
    )
    filled = [part for part in calibration_of(logits, targets).bins if part.count]
    assert [part.accuracy for part in filled] == pytest.approx(shares.tolist())
    assert [part.confidence for part in filled] == pytest.approx(means.tolist())


def test_an_edge_belongs_to_the_bin_below_and_empty_bins_have_no_means() -> None:
    # Five classes alike: the probability is 1/5, which is the upper edge of the third bin.
    found = calibration_of(np.zeros((4, 5)), np.array([0, 1, 2, 0]))
    assert [part.count for part in found.bins] == [0, 0, 4, *[0] * 12]
    assert (found.bins[2].confidence, found.bins[2].accuracy) == (pytest.approx(0.2), 0.5)
    assert found.bins[0].confidence is None and found.bins[0].accuracy is None
    assert found.expected_calibration_error == pytest.approx(0.3)


def test_full_certainty_is_counted() -> None:
    found = calibration_of(np.array([[900.0, 0.0], [0.0, 900.0]]), np.array([0, 0]))
    assert found.bins[-1].count == 2 and found.expected_calibration_error == pytest.approx(0.5)
    assert math.isfinite(found.loss) and found.loss == pytest.approx(450)


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 2.5, 6.0])
def test_the_temperature_against_a_slow_search(sharpness: float) -> None:
    logits, targets = draw(3, n=600, sharpness=sharpness)
    steps = np.exp(np.linspace(math.log(LOWEST), math.log(HIGHEST), 4000))
    best = min(steps, key=lambda temperature: slow_loss(logits, targets, temperature))
    assert fit_temperature(logits, targets) == pytest.approx(best, rel=2e-3)
    # What was made too sure by a factor is found again.
    assert fit_temperature(logits, targets) == pytest.approx(sharpness, rel=0.2)


def test_the_temperature_against_the_gradient() -> None:
    """As the paper's authors do it: LBFGS on the temperature, by torch's gradient of the loss."""
    logits, targets = (torch.from_numpy(values) for values in draw(4, n=500, classes=5, sharpness=2.0))
    temperature = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [temperature], lr=0.1, max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits / temperature, targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert fit_temperature(logits.numpy(), targets.numpy()) == pytest.approx(temperature.item(), rel=1e-4)


def test_the_temperature_lowers_the_loss_and_keeps_every_answer() -> None:
    logits, targets = draw(5, sharpness=4.0)
    temperature = fit_temperature(logits, targets)
    before, after = calibration_of(logits, targets), calibration_of(logits, targets, temperature)
    assert (
        temperature > 2
        and after.loss < before.loss
        and after.expected_calibration_error < before.expected_calibration_error
    )
    right = [
        sum(part.count * part.accuracy for part in found.bins if part.count) for found in (before, after)
    ]
    assert right[0] == pytest.approx(right[1])


def test_where_every_photo_is_right_nothing_is_sharpened() -> None:
    """The loss then has no lowest point: it falls all the way to a temperature of 0."""
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
    assert slow_loss(logits, np.array([0, 1, 0]), 0.05) < slow_loss(logits, np.array([0, 1, 0]), 1.0)
    assert fit_temperature(logits, np.array([0, 1, 0])) == 1.0


def test_logits_that_say_nothing_keep_a_temperature_of_one() -> None:
    assert fit_temperature(np.zeros((6, 3)), np.array([0, 1, 2, 0, 1, 2])) == 1.0


def test_the_temperature_stays_within_its_bounds() -> None:
    rng = np.random.default_rng(6)
    wrong = np.eye(3)[rng.integers(0, 2, 50)] * 40
    assert fit_temperature(wrong, np.full(50, 2)) == pytest.approx(HIGHEST, rel=1e-3)
    nearly = np.array([[1e-4, 0.0]] * 99 + [[0.0, 1e-4]])
    assert fit_temperature(nearly, np.zeros(100, dtype=int)) == pytest.approx(LOWEST, rel=1e-3)
