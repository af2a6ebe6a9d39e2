"""When a finished model should be silent: fitted on its own train and validation photos, and counted on any
split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from vit_demo.common.errors import UserError
from vit_demo.model import cpu_engine
from vit_demo.model.abstention import Abstention, Answers, Verdict, fit, layer_of
from vit_demo.model.classifier import LeafClassifier, autocast, bf16_is_faster
from vit_demo.model.encoder import encoder_block
from vit_demo.training.photos import CHUNK, Photos, batches
from vit_demo.training.result.evaluation import Evaluation

# So many train photos say well enough where the classes lie, and cost a few seconds.
MOST_TRAIN = 2000
# Photos in one forward.
BATCH = 16
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Seen:
    """Where a finished model sees M train photos.

    features: float32 (M, D), the [CLS] token after :func:`layer_of` blocks. targets: the true class ids of
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


def fit_abstention(
    classifier: LeafClassifier,
    train: Dataset,
    validation: Evaluation,
    progress: Progress = lambda done, total: None,
) -> Abstention:
    """Fit it for a model that is finished; train, progress: as in :func:`look_at`, validation: as in
    :func:`fit_on`.
    """
    return fit_on(look_at(classifier, train, progress), classifier, validation)


def fit_on(seen: Seen, classifier: LeafClassifier, validation: Evaluation) -> Abstention:
    """Fit it on train photos that were looked at.

    validation: the score on the validation photos at the fitted temperature, with the features of
    :func:`layer_of`.
    """
    nothing = np.empty((len(seen.targets), 0), np.float32)  # the logits of train photos are not asked for
    return fit(
        Answers(nothing, seen.features, seen.targets),
        answers_of(validation),
        validation.temperature,
        layer_of(classifier.blocks),
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
    all). The blocks above :func:`layer_of` are not computed.
    """
    names = train.features["labels"].names
    own_ids = np.array([classifier.labels.index(name) for name in names])
    rows = np.arange(len(train))
    if len(train) > MOST_TRAIN:
        rows = np.sort(np.random.default_rng(0).choice(len(train), MOST_TRAIN, replace=False))
    features, targets, found, done = [], [], [], 0
    for pixels, labels, numbers, broken in _parts(classifier, train, rows, ready):
        features.append(cls_after(classifier, torch.from_numpy(pixels), layer_of(classifier.blocks)).numpy())
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
def cls_after(classifier: LeafClassifier, resized: Tensor, layer: int) -> Tensor:
    """The [CLS] token after so many blocks, before any last norm, float32 (B, D) on the CPU: as
    ``logits_and_tokens`` gives it.

    resized: uint8 (B, 3, H, W), on the CPU. Only these blocks are computed, in bf16 where that is faster, and
    of the last one only this token.
    """
    engine = cpu_engine.engine_of(classifier)
    if engine is not None and len(resized):
        return cpu_engine.cls_after(engine, resized, layer)
    vit, tokens = classifier.model.vit, []
    *blocks, last = vit.layers[:layer]
    dtype = torch.bfloat16 if bf16_is_faster(classifier.device.type) else torch.float32
    for batch in resized.split(BATCH):
        pixel_values = classifier.normalise(batch)
        with autocast(classifier.device):
            hidden = vit.embeddings(
                pixel_values, interpolate_pos_encoding=classifier.needs_interpolation(pixel_values)
            ).float()
        for block in blocks:
            hidden = encoder_block(block, hidden, dtype)
        tokens.append(encoder_block(last, hidden, dtype, cls_only=True)[:, 0].float().cpu())
    return torch.cat(tokens) if tokens else torch.empty(0, classifier.model.config.hidden_size)


def answers_of(found: Evaluation) -> Answers:
    """What the model gave for the photos of a split that was evaluated with a layer."""
    return Answers(found.logits, found.features, found.targets)


def tally(abstention: Abstention, found: Evaluation) -> Tally:
    """Count the verdicts on a split that was evaluated with the layer of ``abstention``."""
    judgements = abstention.judge(found.logits, found.features)
    counts = Counter(judgement.verdict for judgement in judgements)
    right = sum(
        one.verdict == Verdict.DIAGNOSIS and one.prediction_set == (target,)
        for one, target in zip(judgements, found.targets)
    )
    return Tally(
        len(judgements), counts[Verdict.DIAGNOSIS], right, counts[Verdict.UNSURE], counts[Verdict.NOT_KNOWN]
    )
