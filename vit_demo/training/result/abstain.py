"""When a finished model should be silent: fitted on its own train and validation photos, and counted on any
split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from vit_demo.common.errors import UserError
from vit_demo.model import cpu_engine
from vit_demo.model.abstention import Abstention, Answers, Verdict, fit
from vit_demo.model.classifier import LeafClassifier, autocast, bf16_is_faster
from vit_demo.model.encoder import encoder_block, layers_of
from vit_demo.model.readout import Readout, readout_of
from vit_demo.photos.camera_shifts import mildly_changed
from vit_demo.training.photos import CHUNK, Photos, batches
from vit_demo.training.result.calibration import fit_temperature
from vit_demo.training.result.evaluation import Evaluation

# So many train photos say well enough where the classes lie, and cost a few seconds.
MOST_TRAIN = 2000
# Changed copies of a validation photo, and how many in all at most: three seconds on two cores.
COPIES, MOST_COPIES = 3, 400
# Photos in one forward.
BATCH = 16
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Seen:
    """Where a finished model sees M train photos.

    features: float32 (M, D), of :func:`readout_of`. targets: the true class ids of
    the model (M,). rows: the number in the train split of each.
    """

    features: np.ndarray
    targets: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Tally:
    """How a model answers the photos of one split: how many of n got each verdict, and how many of the
    diagnoses are right.
    """

    n: int
    diagnosis: int
    right: int
    unsure: int
    not_known: int

    @property
    def accuracy(self) -> float | None:
        """Share of the diagnoses that is right; None where there is none."""
        return self.right / self.diagnosis if self.diagnosis else None


@dataclass(frozen=True)
class Calibrated:
    """What a finished model is calibrated on.

    evaluation: of the validation photos, at the temperature that was fitted on the answers. answers: for
    these photos and for copies of them as other cameras might have taken them.
    """

    evaluation: Evaluation
    answers: Answers

    @property
    def temperature(self) -> float:
        """The one that was fitted."""
        return cast("float", self.evaluation.temperature)


def calibrate(
    classifier: LeafClassifier,
    data: Dataset,
    found: Evaluation,
    progress: Progress = lambda done, total: None,
) -> Calibrated:
    """Fit the temperature on validation photos and on mildly changed copies of them.

    data: the validation photos. found: their score, with the features of :func:`readout_of`. The copies are
    drawn, always the same ones. They make the limits kinder to photos of other cameras, which photos from the
    data set alone say nothing of.
    """
    own, copied = answers_of(found), _of_copies(classifier, data, progress)
    answers = Answers(
        np.concatenate([own.logits, copied.logits]),
        np.concatenate([own.features, copied.features]),
        np.concatenate([own.targets, copied.targets]),
        copied.copies,
    )
    temperature = fit_temperature(answers.logits, answers.targets)
    if found.accuracy == 1:
        # The copies may say that it is too sure, but without a mistake nothing says that it could be surer.
        temperature = max(1.0, temperature)
    return Calibrated(found.at_temperature(temperature), answers)


def _of_copies(classifier: LeafClassifier, data: Dataset, progress: Progress) -> Answers:
    """What the model gives for changed copies: COPIES of each photo, or one of each of a drawn part."""
    rng, readout = np.random.default_rng(0), readout_of(classifier.blocks)
    times = max(1, min(COPIES, MOST_COPIES // max(1, len(data))))
    if len(data) > MOST_COPIES:
        data = data.select(np.sort(rng.choice(len(data), MOST_COPIES, replace=False)))
    own_ids = np.array([classifier.labels.index(name) for name in data.features["labels"].names])
    logits, features, targets, done = [], [], [], 0
    for part in batches(data, classifier):
        for _ in range(times if len(part) else 0):
            changed = torch.from_numpy(np.stack([mildly_changed(pixels, rng) for pixels in part.pixels]))
            said, seen = cpu_engine.logits_and_features(classifier, changed, readout)
            logits.append(said.numpy())
            features.append(seen.numpy())
            targets.append(own_ids[part.labels])
            done += len(part)
            progress(done, times * len(data))
    count = sum(map(len, targets))
    if not count:
        width = classifier.model.config.hidden_size
        return Answers(np.empty((0, len(classifier.labels))), np.empty((0, width)), np.empty(0, int))
    return Answers(np.concatenate(logits), np.concatenate(features), np.concatenate(targets), count)


def fit_abstention(
    classifier: LeafClassifier,
    train: Dataset,
    validation: Calibrated,
    progress: Progress = lambda done, total: None,
) -> Abstention:
    """Fit it for a model that is finished; train, progress: as in :func:`look_at`."""
    return fit_on(look_at(classifier, train, progress), classifier, validation)


def fit_on(seen: Seen, classifier: LeafClassifier, validation: Calibrated) -> Abstention:
    """Fit it on train photos that were looked at."""
    nothing = np.empty((len(seen.targets), 0), np.float32)  # the logits of train photos are not asked for
    return fit(
        Answers(nothing, seen.features, seen.targets),
        validation.answers,
        validation.temperature,
        readout_of(classifier.blocks),
        classifier.labels,
    )


def look_at(
    classifier: LeafClassifier,
    train: Dataset,
    progress: Progress = lambda done, total: None,
    ready: Photos | None = None,
) -> Seen:
    """Where the model sees the train photos: a drawn part of them where there are more than 2,000.

    ready: the same split as the run has it decoded already. progress: is called with (photos done, photos in
    all). The blocks above its readout are not computed.
    """
    names = train.features["labels"].names
    own_ids = np.array([classifier.labels.index(name) for name in names])
    rows = np.arange(len(train))
    if len(train) > MOST_TRAIN:
        rows = np.sort(np.random.default_rng(0).choice(len(train), MOST_TRAIN, replace=False))
    features, targets, found, done = [], [], [], 0
    for pixels, labels, numbers, broken in _parts(classifier, train, rows, ready):
        features.append(
            features_after(classifier, torch.from_numpy(pixels), readout_of(classifier.blocks)).numpy()
        )
        targets.append(own_ids[labels])
        found.append(numbers)
        done += len(numbers) + broken
        progress(done, len(rows))
    if not done or not sum(map(len, found)):
        raise UserError("error.training.no_train_photo_read")
    return Seen(np.concatenate(features), np.concatenate(targets), np.concatenate(found))


def _parts(
    classifier: LeafClassifier, train: Dataset, rows: np.ndarray, ready: Photos | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Pixels (B, 3, H, W), labels (B,) and rows (B,) of the photos in these rows, and how many beside them
    cannot be read.
    """
    if ready is None:
        for part in batches(train.select(rows) if len(rows) < len(train) else train, classifier):
            yield part.pixels, part.labels, rows[part.rows], len(part.broken)
        return
    places = np.flatnonzero(np.isin(ready.rows, rows))
    broken = len(rows) - len(places)
    for start in range(0, len(places), CHUNK):
        chosen = places[start : start + CHUNK]
        yield (
            np.ascontiguousarray(ready.pixels[chosen]),
            ready.labels[chosen],
            np.asarray(ready.rows)[chosen],
            broken if start == 0 else 0,
        )


@torch.inference_mode()
def features_after(classifier: LeafClassifier, resized: Tensor, readout: Readout) -> Tensor:
    """The features of a readout, float32 (B, D) on the CPU, as ``logits_and_features`` gives them.

    resized: uint8 (B, 3, H, W), on the CPU. Only the blocks up to there are computed, in bf16 where that is
    faster, and of the last one only the tokens that are asked for.
    """
    engine = cpu_engine.engine_of(classifier)
    if engine is not None and len(resized):
        return cpu_engine.features_after(engine, resized, readout)
    vit, features = classifier.model.vit, []
    *blocks, last = layers_of(vit)[: readout.layer]
    dtype = torch.bfloat16 if bf16_is_faster(classifier.device.type) else torch.float32
    for batch in resized.split(BATCH):
        pixel_values = classifier.normalise(batch)
        with autocast(classifier.device):
            hidden = vit.embeddings(
                pixel_values, interpolate_pos_encoding=classifier.needs_interpolation(pixel_values)
            ).float()
        for block in blocks:
            hidden = encoder_block(block, hidden, dtype)
        hidden = encoder_block(last, hidden, dtype, cls_only=not readout.needs_all_tokens)
        features.append(readout.of(hidden).cpu())
    return torch.cat(features) if features else torch.empty(0, classifier.model.config.hidden_size)


def answers_of(found: Evaluation) -> Answers:
    """What the model gave for the photos of a split that was evaluated with a readout."""
    return Answers(found.logits, _features(found), found.targets)


def _features(found: Evaluation) -> np.ndarray:
    return cast("np.ndarray", found.features)  # of the readout


def tally(abstention: Abstention, found: Evaluation) -> Tally:
    """Count the verdicts on a split that was evaluated with the readout of ``abstention``."""
    judgements = abstention.judge(found.logits, _features(found))
    counts = Counter(judgement.verdict for judgement in judgements)
    right = sum(
        one.verdict == Verdict.DIAGNOSIS and one.prediction_set == (target,)
        for one, target in zip(judgements, found.targets)
    )
    return Tally(
        len(judgements), counts[Verdict.DIAGNOSIS], right, counts[Verdict.UNSURE], counts[Verdict.NOT_KNOWN]
    )
