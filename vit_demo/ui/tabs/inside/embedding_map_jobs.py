"""The map of a data set: its features computed beside the page, kept in memory and on disk, found again by
what they were made of.

This is where data set and features meet, since ``explain`` does not read data sets. A map goes on being made
while the page is reloaded or closed: the server holds it, by its key.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vit_demo.common.arrays import ArrayCache, key_of, stamp
from vit_demo.common.compat import dataset_stamp
from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, Jobs, JobState
from vit_demo.data.names import SPLITS
from vit_demo.data.normalise import label_names
from vit_demo.data.open.sources import open_dataset
from vit_demo.explain.internals.embedding_map import (
    Layout,
    features_and_probabilities,
    pca_layout,
    tsne_layout,
)
from vit_demo.figures.embedding_map import SIDES, sheet, thumbnail
from vit_demo.model import checkpoints
from vit_demo.model.abstention import temperature_of
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training import photos as training_photos
from vit_demo.ui.shared.models import get_classifier

if TYPE_CHECKING:
    from datasets import Dataset

ALL = "all"
# Of a larger split so many photos are drawn, each as likely as any other.
MOST_PHOTOS = 2000
SEED = 0
BATCH = 16
# Goes into the key, so that a file of another version is not read. Of how many maps the files and the memory
# are kept.
VERSION = 2
KEEP_FILES, KEEP = 12, 3


@dataclass(frozen=True)
class Request:
    """model: as the page's model list names it. source: as open_dataset takes it. split: one of SPLITS, or
    "all".
    """

    model: str
    source: str
    split: str


@dataclass(frozen=True)
class Plan:
    """What a map would be made of. key: changes with the model's files, the photos and the split.
    rows: of each split the photos that are drawn. total: photos in all of them."""

    request: Request
    key: str
    rows: dict[str, list[int]]
    total: int

    @property
    def count(self) -> int:
        return sum(map(len, self.rows.values()))


@dataclass(frozen=True)
class EmbeddingMap:
    """A finished map of B photos.

    splits, rows, paths: where each photo stands in the data set. truth: its class, a number in ``labels``,
    the names of the data set. said: the model's class, a number in ``model_labels``. probability: of that
    class, 0 to 1. features: float32 (B, D). sheet: JPEG of thumbnails of ``side`` pixels. broken: photos that
    could not be read. pca, tsne: the layouts; tsne is None while it is being computed.
    """

    labels: list[str]
    model_labels: list[str]
    splits: list[str]
    rows: list[int]
    paths: list[str]
    truth: np.ndarray
    said: np.ndarray
    probability: np.ndarray
    features: np.ndarray
    sheet: bytes
    side: int
    broken: int
    pca: Layout
    tsne: Layout | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def comparable(self) -> bool:
        """Whether the model knows all classes of the data set, so that an answer can be right or wrong."""
        return set(self.labels) <= set(self.model_labels)

    @property
    def wrong(self) -> np.ndarray:
        """Whether the model's class is another than the photo's own, bool (B,); nowhere where they cannot be
        compared.
        """
        if not self.comparable:
            return np.zeros(len(self), dtype=bool)
        return np.array(
            [self.labels[is_] != self.model_labels[says] for is_, says in zip(self.truth, self.said)],
            dtype=bool,
        )


# The folder is called as in version 0.1, so that what that kept there is cleared out in time.
_CACHE = ArrayCache("atlas", KEEP_FILES)
# The result is there without t-SNE, in the step of this name, before it is whole.
TSNE = "tsne"
JOBS: Jobs[EmbeddingMap] = Jobs("embedding map", KEEP, "error.inside.map_failed", one_at_a_time=True)


def plan(request: Request) -> Plan:
    """What the map is made of; opens model and data set. Raises UserError where one of them cannot be
    opened.
    """
    classifier, data = get_classifier(request.model), open_dataset(request.source)
    splits = SPLITS if request.split == ALL else (request.split,)
    total = sum(len(data[split]) for split in splits)
    chosen = np.arange(total)
    if total > MOST_PHOTOS:
        chosen = np.sort(np.random.default_rng(SEED).choice(total, MOST_PHOTOS, replace=False))
    rows, start = {}, 0
    for split in splits:
        rows[split] = (chosen[(chosen >= start) & (chosen < start + len(data[split]))] - start).tolist()
        start += len(data[split])
    photos = [_photos_stamp(data[split], rows[split]) for split in splits]
    return Plan(
        request,
        key_of(VERSION, MOST_PHOTOS, SEED, request.split, _model_stamp(classifier), *photos),
        rows,
        total,
    )


def _model_stamp(classifier: LeafClassifier) -> list:
    """The checkpoint's folder, and size and change time of each of its files that says what the model
    computes.
    """
    folder = classifier.checkpoint.folder
    files = [
        folder / checkpoints.CONFIG,
        folder / checkpoints.PROCESSOR,
        *sorted(folder.glob("*.safetensors")),
    ]
    return [str(folder), classifier.checkpoint.revision, *map(stamp, files)]


def _photos_stamp(data: Dataset, rows: list[int]) -> list:
    """The fingerprint of a split, which changes with the files it was read from, and of photos that are files
    of their own, size and change time.
    """
    paths = data.select(rows).select_columns(["image_file_path"])[:]["image_file_path"]
    return [dataset_stamp(data), *(stamp(path) for path in paths if os.path.isabs(path))]


def kept(wanted: Plan, visitor: str = "") -> Job[EmbeddingMap] | None:
    """The map that is made or being made, also by an earlier server; None where there is none yet. visitor:
    the page that asks.
    """
    job = JOBS.find(wanted.key, visitor)
    if job is None and (found := _from_arrays(_CACHE.read(wanted.key))) is not None:
        job = JOBS.add(
            Job(wanted.key, wanted.count, wanted, done=len(found), result=found).end(JobState.DONE)
        )
    return job


def start(wanted: Plan, visitor: str = "") -> Job[EmbeddingMap]:
    """Begin the map, or join the one that is there."""
    kept(wanted)
    return JOBS.start(Job(wanted.key, wanted.count, wanted), _make, visitor)


def _make(job: Job[EmbeddingMap]) -> EmbeddingMap:
    """Features photo by photo, then both layouts, then the file."""
    job.result = _read_photos(job)
    job.check()
    job.step = TSNE
    finished = dataclasses.replace(job.result, tsne=tsne_layout(job.result.features))
    _CACHE.write(job.key, _to_arrays(finished))
    return finished


def _read_photos(job: Job[EmbeddingMap]) -> EmbeddingMap:
    """Decode, forward and shrink all photos, in bounded memory."""
    request, wanted = job.about.request, job.about.rows
    classifier, data = get_classifier(request.model), open_dataset(request.source)
    temperature = temperature_of(classifier)
    thumbnails: list[np.ndarray]
    splits, rows, paths, truth, thumbnails, parts, broken = [], [], [], [], [], [], 0
    for split in wanted:
        for chunk in training_photos.batches(data[split].select(wanted[split]), classifier):
            for begin in range(0, len(chunk), BATCH):
                job.check()
                pixels = chunk.pixels[begin : begin + BATCH]
                parts.append(
                    features_and_probabilities(classifier, torch.from_numpy(pixels), BATCH, temperature)
                )
                thumbnails += map(thumbnail, pixels)
                job.done += len(pixels)
            splits += [split] * len(chunk)
            rows += [wanted[split][row] for row in chunk.rows]
            paths += chunk.paths
            truth += chunk.labels.tolist()
            broken += len(chunk.broken)
            job.done += len(chunk.broken)
    if not paths:
        raise UserError("error.inside_tab.no_photos")
    features, probabilities = (np.concatenate(part) for part in zip(*parts))
    jpeg, side = sheet(np.array(thumbnails, dtype=np.uint8).reshape(-1, SIDES[0], SIDES[0], 3))
    return EmbeddingMap(
        label_names(data),
        classifier.labels,
        splits,
        rows,
        paths,
        np.array(truth),
        probabilities.argmax(axis=1),
        probabilities.max(axis=1),
        features,
        jpeg,
        side,
        broken,
        pca_layout(features),
    )


def _to_arrays(whole: EmbeddingMap) -> dict[str, np.ndarray]:
    """All of a map, to be kept."""
    names = [
        column.name
        for column in dataclasses.fields(EmbeddingMap)
        if column.name not in ("sheet", "pca", TSNE)
    ]
    columns = {name: np.asarray(getattr(whole, name)) for name in names}
    for name in ("pca", TSNE):
        columns |= {
            f"{name}_{key}": np.asarray(value)
            for key, value in dataclasses.asdict(getattr(whole, name)).items()
            if value is not None
        }
    return {**columns, "sheet": np.frombuffer(whole.sheet, np.uint8)}


def _from_arrays(values: dict[str, np.ndarray] | None) -> EmbeddingMap | None:
    """The inverse of :func:`_to_arrays`; None for what is no map."""
    if values is None:
        return None
    try:
        pca = Layout(
            values["pca_points"],
            float(values["pca_trust"]),
            int(values["pca_neighbours"]),
            tuple(values["pca_explained"].tolist()),
        )
        tsne = Layout(values["tsne_points"], float(values["tsne_trust"]), int(values["tsne_neighbours"]))
        lists: dict[str, Any] = {
            name: values[name].tolist() for name in ("labels", "model_labels", "splits", "rows", "paths")
        }
        arrays: dict[str, Any] = {name: values[name] for name in ("truth", "said", "probability", "features")}
        return EmbeddingMap(
            **lists,
            **arrays,
            sheet=values["sheet"].tobytes(),
            side=int(values["side"]),
            broken=int(values["broken"]),
            pca=pca,
            tsne=tsne,
        )
    except (TypeError, KeyError, ValueError):
        return None
