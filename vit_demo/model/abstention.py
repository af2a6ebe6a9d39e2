"""When a model should keep silent: how sure it has to be, and how far a photo may lie from those it learned
from.

Three things are fitted on photos of the model's own classes and kept beside its weights:

- the temperature that makes its probabilities as sure as they are right (Guo et al. 2017);
- prediction sets by split conformal prediction (Vovk et al. 2005) with the score "1 - probability of the true
  class" (Sadinle et al. 2019, LAC), which hold the true class of at least 95 % of new photos of the same
  kind;
- the Mahalanobis distance to the nearest class (Lee et al. 2018) of a vector that is read three quarters up
  the encoder (:mod:`vit_demo.model.readout`). There the model still sees what fine-tuning makes it forget
  further up: what else a leaf could be.

Numbers in, numbers out: what a photo is, and how its logits and features come about, is
:mod:`vit_demo.model.classifier`'s matter.
"""

from __future__ import annotations

import enum
import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from scipy.spatial.distance import cdist
from scipy.special import softmax

from vit_demo.common.arrays import safetensors_bytes
from vit_demo.common.atomic import write_atomically
from vit_demo.common.errors import UserError
from vit_demo.model.checkpoints import ABSTENTION
from vit_demo.model.readout import Pool, Readout

if TYPE_CHECKING:
    from vit_demo.model.classifier import LeafClassifier


class Verdict(enum.StrEnum):
    """What may be said of a photo, or of several leaves of one plant; only these can be mixed, where leaves
    contradict each other.
    """

    DIAGNOSIS = "diagnosis"
    UNSURE = "unsure"
    NOT_KNOWN = "not_known"
    MIXED = "mixed"


# Of the photos of the model's own classes so many have their true class in the set, and so many lie within
# the distance.
COVERAGE = 0.95
# The fewest photos that can promise this: of n photos the ceil(0.95 (n + 1))-th has to exist.
FEWEST = 19
FORMAT = "vit_demo abstention 2"
# Without the pool of the readout, which was always the [CLS] token, and fitted without changed copies.
FORMER_FORMAT = "vit_demo abstention 1"
MOST_BYTES = 2**27
# What a temperature can be, far on both sides of any that was ever fitted: outside of it all answers would be
# certain, or all classes alike.
TEMPERATURES = (1e-3, 1e3)
_ARRAYS = ("origin", "whitening", "centres")


@dataclass(frozen=True)
class Answers:
    """What a model gives for N photos: logits (N, C), features (N, D), and the true class ids, targets (N,).

    copies: how many of the N are changed copies of others of them.
    """

    logits: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    copies: int = 0

    @property
    def photos(self) -> int:
        """How many of them are no copies."""
        return len(self.targets) - self.copies


@dataclass(frozen=True)
class MahalanobisDetector:
    """Where the photos lie that the model learned from.

    origin: (D,), their mean. whitening: (D, D), after which every direction varies alike within a class.
    centres: (K, D), the whitened mean of each of the K classes that had photos. radius: the distance within
    which 95 % of them lie. All float32.
    """

    origin: np.ndarray = field(repr=False)
    whitening: np.ndarray = field(repr=False)
    centres: np.ndarray = field(repr=False)
    radius: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distance of features (N, D) to the nearest class, (N,), divided by the radius: above 1
        is not known.
        """
        return self.to_nearest(features) / self.radius

    def to_nearest(self, features: np.ndarray) -> np.ndarray:
        """The same undivided: the square root of min over classes of (f - m)^T S^-1 (f - m) (Lee et al. 2018,
        eq. 2).
        """
        whitened = (np.asarray(features, dtype=np.float64) - self.origin) @ self.whitening.astype(np.float64)
        nearest: np.ndarray = cdist(whitened, self.centres.astype(np.float64)).min(axis=1)
        return nearest


@dataclass(frozen=True)
class Judgement:
    """What may be said of one photo.

    verdict: "not_known" where it lies too far from what was learned, "diagnosis" where one class is left,
    else "unsure". probabilities: (C,), calibrated. prediction_set: the class ids that are left, the most
    probable first; none where it is not known. distance: 1 is the farthest that is known; None where too few
    photos were there to say.
    """

    verdict: Verdict
    probabilities: np.ndarray
    prediction_set: tuple[int, ...]
    distance: float | None


@dataclass(frozen=True)
class Abstention:
    """What was fitted for one model.

    readout: of its features. temperature: divides the logits. labels: of the model. conformal_threshold:
    probability from which on a class belongs to the prediction set; None where fewer than 19 validation
    photos were there. detector: None where they, or the train photos, were too few.
    """

    readout: Readout
    temperature: float
    labels: tuple[str, ...]
    conformal_threshold: float | None
    detector: MahalanobisDetector | None

    def judge(self, logits: np.ndarray, features: np.ndarray) -> list[Judgement]:
        """A judgement for each of N photos, from logits (N, C) and features (N, D) of one forward."""
        probabilities = calibrated(logits, self.temperature)
        distances = (
            self.detector.distances(features).tolist() if self.detector else [None] * len(probabilities)
        )
        return [self._one(row, distance) for row, distance in zip(probabilities, distances)]

    def _one(self, probabilities: np.ndarray, distance: float | None) -> Judgement:
        if distance is not None and not distance <= 1:  # not a number is not known either
            return Judgement(Verdict.NOT_KNOWN, probabilities, (), distance)
        chosen = prediction_set(probabilities, self.conformal_threshold)
        return Judgement(
            Verdict.DIAGNOSIS if len(chosen) == 1 else Verdict.UNSURE, probabilities, chosen, distance
        )

    def save(self, folder: Path) -> None:
        """Write it into a model folder, in place of an earlier one; a reader finds the old or the new one,
        never half of it.
        """
        detector = self.detector
        arrays = (
            {name: np.ascontiguousarray(getattr(detector, name), dtype=np.float32) for name in _ARRAYS}
            if detector
            else {}
        )
        numbers = {
            "layer": self.readout.layer,
            "pool": self.readout.pool,
            "temperature": self.temperature,
            "labels": self.labels,
            "least": self.conformal_threshold,
            "radius": detector.radius if detector else None,
        }
        # Written here, since the library's own file could be read by no other user.
        write_atomically(
            folder / ABSTENTION, safetensors_bytes(arrays, {"format": FORMAT, "numbers": json.dumps(numbers)})
        )


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N, C) of logits (N, C) divided by the temperature."""
    probabilities: np.ndarray = softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return probabilities


def prediction_set(probabilities: np.ndarray, threshold: float | None) -> tuple[int, ...]:
    """The class ids that may be the true one, the most probable first, never none, from probabilities (C,).

    Those with at least the probability ``threshold``. Where no class has it, which a set by this score alone
    would leave empty, the two most probable: a larger set holds the true class no less often. Where
    ``threshold`` is not known, the fewest classes that hold 95 % of the probability, which promises nothing
    where the probabilities are wrong.
    """
    order = np.argsort(-probabilities, kind="stable")
    if threshold is not None:
        return tuple(order[: int((probabilities >= threshold).sum()) or 2].tolist())
    return tuple(order[: int(np.searchsorted(np.cumsum(probabilities[order]), COVERAGE)) + 1].tolist())


def fit(
    train: Answers, validation: Answers, temperature: float, readout: Readout, labels: Sequence[str]
) -> Abstention:
    """Fit on photos of the model's own classes; temperature: fitted on the validation photos before.

    train: says where the classes lie; its logits are not looked at. validation: must not have been learned
    from. With changed copies of these photos the limits hold for photos like those and their copies together;
    what is promised of new photos is then no longer exact, and kinder to other cameras.
    """
    own = calibrated(validation.logits, temperature)[np.arange(len(validation.targets)), validation.targets]
    # The k-th highest probability of a true class is 1 - the k-th lowest score.
    threshold = -_covering(-own) if validation.photos >= FEWEST else None
    return Abstention(readout, float(temperature), tuple(labels), threshold, _fit_detector(train, validation))


def _covering(scores: np.ndarray) -> float:
    """The score that a new photo stays at or below with a probability of 95 % or more: the ceil(0.95 (n +
    1))-th of n (Vovk et al. 2005).
    """
    return float(np.sort(scores)[math.ceil(COVERAGE * (len(scores) + 1)) - 1])


def _fit_detector(train: Answers, validation: Answers) -> MahalanobisDetector | None:
    """Class means and one covariance for all classes, shrunk (Ledoit and Wolf 2004) so that few photos
    suffice; None where there are too few.
    """
    present, groups = np.unique(train.targets, return_inverse=True)
    if validation.photos < FEWEST or len(train.targets) - len(present) < FEWEST:
        return None
    features = train.features.astype(np.float64)
    means = np.stack([features[groups == number].mean(axis=0) for number in range(len(present))])
    whitening = _whitening(features - means[groups])
    if whitening is None:
        return None
    origin = features.mean(axis=0).astype(np.float32)
    centres = ((means - origin) @ whitening.astype(np.float64)).astype(np.float32)
    unscaled = MahalanobisDetector(origin, whitening, centres, 1.0)
    # The photo that sets it has to lie within it however many photos are computed at a time, which changes
    # the last digits.
    radius = _covering(unscaled.to_nearest(validation.features)) * (1 + 1e-9)
    return MahalanobisDetector(origin, whitening, centres, radius) if 0 < radius < math.inf else None


def _whitening(residuals: np.ndarray) -> np.ndarray | None:
    """A matrix W (D, D), float32, with W W^T the inverse of the shrunk covariance of residuals (N, D); None
    where nothing varies.
    """
    from sklearn.covariance import ledoit_wolf  # only who fits needs it

    scale = np.sqrt((residuals**2).mean(axis=0))
    if not 0 < scale.max() < math.inf:
        return None
    # A ViT has a few features hundreds of times larger than the others: shrunk towards their mean, the small
    # ones would vanish.
    scale = np.where(scale > 0, scale, scale.max())
    covariance, _ = ledoit_wolf(residuals / scale, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    whitening: np.ndarray = vectors / np.sqrt(np.maximum(values, 1e-6 * values.max())) / scale[:, None]
    return whitening.astype(np.float32)


def load(folder: Path, name: str, labels: Sequence[str], width: int, blocks: int) -> Abstention | None:
    """What was fitted for the model in this folder; None where nothing was.

    name: what a person calls it. labels: its classes. width: features of a token. blocks: of its encoder.
    Raises UserError where the file is broken or belongs to another model.
    """
    path = folder / ABSTENTION
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("too large")
        with safe_open(path, framework="numpy") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("format") not in (FORMAT, FORMER_FORMAT):
                raise ValueError("another format")
            found = _read(
                {**json.loads(metadata["numbers"]), "pool": Pool.CLS}
                if metadata["format"] == FORMER_FORMAT
                else json.loads(metadata["numbers"]),
                {name: stored.get_tensor(name) for name in set(stored.keys()) & set(_ARRAYS)},
            )
        _check(found, labels, width, blocks)
    except (
        OSError,
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ):
        raise UserError("error.model.abstention_broken", file=ABSTENTION, name=name) from None
    return found


def fitted_on_copies(folder: Path) -> bool:
    """Whether changed copies of the validation photos took part in what was fitted for the model in this
    folder, as they do since format 2; False where there is no file that says so.
    """
    try:
        with safe_open(folder / ABSTENTION, framework="numpy") as stored:
            return (stored.metadata() or {}).get("format") == FORMAT
    except (OSError, SafetensorError):
        return False


def _read(numbers: dict[str, Any], arrays: dict[str, np.ndarray]) -> Abstention:
    detector = None
    if numbers["radius"] is not None:
        origin, whitening, centres = (arrays[name] for name in _ARRAYS)
        detector = MahalanobisDetector(origin, whitening, centres, float(numbers["radius"]))
    threshold = None if numbers["least"] is None else float(numbers["least"])
    return Abstention(
        Readout(numbers["layer"], Pool(numbers["pool"])),
        float(numbers["temperature"]),
        tuple(map(str, numbers["labels"])),
        threshold,
        detector,
    )


def _check(found: Abstention, labels: Sequence[str], width: int, blocks: int) -> None:
    """Raise ValueError unless it fits a model with these classes, features and blocks."""
    fits = (
        found.labels == tuple(labels)
        and type(found.readout.layer) is int
        and 1 <= found.readout.layer <= blocks
        and TEMPERATURES[0] <= found.temperature <= TEMPERATURES[1]
    )
    fits = fits and (found.conformal_threshold is None or 0 <= found.conformal_threshold <= 1)
    detector = found.detector
    if detector is not None:
        arrays = [getattr(detector, name) for name in _ARRAYS]
        fits = (
            fits
            and 0 < detector.radius < math.inf
            and all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays)
        )
        fits = fits and detector.origin.shape == (width,) and detector.whitening.shape == (width, width)
        fits = (
            fits
            and detector.centres.ndim == 2
            and detector.centres.shape[1] == width
            and 1 <= len(detector.centres) <= len(labels)
        )
    if not fits:
        raise ValueError("does not fit")


def abstention_of(classifier: LeafClassifier) -> Abstention | None:
    """When this model should be silent, as its folder has it now; None where it was never fitted, UserError
    where it does not fit.
    """
    file = classifier.checkpoint.folder / ABSTENTION
    try:
        changed = file.stat().st_mtime_ns
    except OSError:
        return None
    model = classifier.model
    return _load(
        file.parent,
        changed,
        classifier.checkpoint.name,
        tuple(classifier.labels),
        (model.config.hidden_size, classifier.blocks),
    )


def temperature_of(classifier: LeafClassifier) -> float:
    """What its logits are divided by wherever a probability is shown; 1 where nothing was fitted. UserError
    as :func:`abstention_of`.
    """
    fitted = abstention_of(classifier)
    return 1.0 if fitted is None else fitted.temperature


@functools.lru_cache(maxsize=4)
def _load(
    folder: Path, _changed: int, name: str, labels: tuple[str, ...], shape: tuple[int, int]
) -> Abstention | None:
    return load(folder, name, labels, *shape)
