"""The map of a data set: its features computed beside the page, kept in memory and on disk, found again by what they were made of.

This is where data set and features meet, since ``explain`` does not read data sets. A map goes on being made
while the page is reloaded or closed: the server holds it, by its key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import threading
import time
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.data.names import SPLITS
from vit_demo.data.normalise import label_names
from vit_demo.data.open.sources import open_dataset
from vit_demo.explain.internals.embedding_map import Layout, features_and_probabilities, pca_layout, tsne_layout
from vit_demo.figures.embedding_map import SIDES, sheet, thumbnail
from vit_demo.model import checkpoints
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
# Goes into the key, so that a file of another version is not read. Of how many maps the files and the memory are kept.
VERSION = 1
KEEP_FILES, KEEP = 12, 3
# A page that is open asks each second; one that has not asked for so long no longer watches.
WATCHED_SECONDS = 15


@dataclass(frozen=True)
class Request:
    """model: as the page's model list names it. source: as open_dataset takes it. split: one of SPLITS, or "all"."""

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

    splits, rows, paths: where each photo stands in the data set. truth: its class, a number in ``labels``, the names of
    the data set. said: the model's class, a number in ``model_labels``. probability: of that class, 0 to 1.
    features: float32 (B, D). sheet: JPEG of thumbnails of ``side`` pixels. broken: photos that could not be read.
    pca, tsne: the layouts; tsne is None while it is being computed.
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
        """Whether the model's class is another than the photo's own, bool (B,); nowhere where they cannot be compared."""
        if not self.comparable:
            return np.zeros(len(self), dtype=bool)
        return np.array([self.labels[is_] != self.model_labels[says] for is_, says in zip(self.truth, self.said)], dtype=bool)


@dataclass
class Job:
    """A map being made, or made. stage: waiting, photos, tsne, done, stopped, failed. done: photos so far."""

    plan: Plan
    stage: str = "waiting"
    done: int = 0
    atlas: EmbeddingMap | None = None
    error: str = ""
    begun: float = 0.0
    watchers: dict[str, float] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def is_going(self) -> bool:
        return self.stage in ("waiting", "photos", "tsne")


class _Stopped(Exception):
    """Someone chose another data set, or pressed Stop."""


_jobs: OrderedDict[str, Job] = OrderedDict()
_lock = threading.RLock()
# One map at a time: the photos of two would only halve the speed of both, and that of the page.
_turn = threading.Lock()


def plan(request: Request) -> Plan:
    """What the map is made of; opens model and data set. Raises UserError where one of them cannot be opened."""
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
    stamp = [VERSION, MOST_PHOTOS, SEED, request.split, _model_stamp(classifier), *(_photos_stamp(data[split], rows[split]) for split in splits)]
    return Plan(request, hashlib.sha256(repr(stamp).encode()).hexdigest()[:32], rows, total)


def _model_stamp(classifier: LeafClassifier) -> list:
    """The checkpoint's folder, and size and change time of each of its files that says what the model computes."""
    folder = classifier.checkpoint.folder
    files = [folder / checkpoints.CONFIG, folder / checkpoints.PROCESSOR, *sorted(folder.glob("*.safetensors"))]
    return [str(folder), classifier.checkpoint.revision, *map(_file_stamp, files)]


def _photos_stamp(data: Dataset, rows: list[int]) -> list:
    """The fingerprint of a split, which changes with the files it was read from, and of photos that are files of their own, size and change time."""
    paths = data.select(rows).select_columns(["image_file_path"])[:]["image_file_path"]
    return [data._fingerprint, *(_file_stamp(path) for path in paths if os.path.isabs(path))]


def _file_stamp(file: str | Path) -> tuple:
    try:
        status = os.stat(file)
    except OSError:
        return (str(file),)
    return (str(file), status.st_size, status.st_mtime_ns)


def find(key: str, visitor: str = "") -> Job | None:
    """The map of this key that is made or being made. visitor: the page that asks, which then counts as watching."""
    with _lock:
        job = _jobs.get(key)
        if job is not None:
            _jobs.move_to_end(key)
            if visitor:
                job.watchers[visitor] = time.monotonic()
        return job


def kept(wanted: Plan, visitor: str = "") -> Job | None:
    """As :func:`find`, else from the disk; None where there is no such map yet."""
    job = find(wanted.key, visitor)
    if job is not None:
        return job
    atlas = _read(_file(wanted.key))
    return None if atlas is None else _keep(Job(wanted, "done", len(atlas), atlas))


def start(wanted: Plan, visitor: str = "") -> Job:
    """Begin the map, or join the one that is there."""
    with _lock:  # two pages that ask at once must not begin two
        job = kept(wanted, visitor)
        if job is not None and (job.stage == "done" or job.is_going and not job.stop.is_set()):
            return job
        job = _keep(Job(wanted, watchers={visitor: time.monotonic()}))
    threading.Thread(target=_make, args=(job,), daemon=True, name="atlas").start()
    return job


def leave(key: str, visitor: str) -> None:
    """The page no longer wants this map: it is stopped, unless another page watches it."""
    job = find(key)
    if job is None or not job.is_going:
        return
    with _lock:
        job.watchers.pop(visitor, None)
        now = time.monotonic()
        if not any(now - seen < WATCHED_SECONDS for seen in job.watchers.values()):
            job.stop.set()


def _keep(job: Job) -> Job:
    with _lock:
        _jobs[job.plan.key] = job
        _jobs.move_to_end(job.plan.key)
        finished = [key for key, old in _jobs.items() if not old.is_going and old is not job]
        for key in finished[: max(0, len(finished) - KEEP + 1)]:
            del _jobs[key]
    return job


def _make(job: Job) -> None:
    """What the thread does: features photo by photo, then both layouts, then the file."""
    try:
        with _turn:
            _go_on(job)
            job.begun, job.stage = time.monotonic(), "photos"
            atlas = _read_photos(job)
            _go_on(job)
            job.atlas, job.stage = atlas, "tsne"
            finished = dataclasses.replace(atlas, tsne=tsne_layout(atlas.features))
            _write(_file(job.plan.key), finished)
            job.atlas, job.stage = finished, "done"
    except _Stopped:
        job.stage = "stopped"
    except UserError as error:
        job.error, job.stage = str(error), "failed"
    except Exception as error:  # the page must not wait for ever, whatever went wrong
        job.error, job.stage = f"The map could not be made ({type(error).__name__}). Draw it again, or choose other photos.", "failed"


def _go_on(job: Job) -> None:
    if job.stop.is_set():
        raise _Stopped


def _read_photos(job: Job) -> EmbeddingMap:
    """Decode, forward and shrink all photos, in bounded memory."""
    request, wanted = job.plan.request, job.plan.rows
    classifier, data = get_classifier(request.model), open_dataset(request.source)
    splits, rows, paths, truth, thumbnails, parts, broken = [], [], [], [], [], [], 0
    for split in wanted:
        for chunk in training_photos.batches(data[split].select(wanted[split]), classifier):
            for begin in range(0, len(chunk), BATCH):
                _go_on(job)
                pixels = chunk.pixels[begin : begin + BATCH]
                parts.append(features_and_probabilities(classifier, torch.from_numpy(pixels), BATCH))
                thumbnails += map(thumbnail, pixels)
                job.done += len(pixels)
            splits += [split] * len(chunk)
            rows += [wanted[split][row] for row in chunk.rows]
            paths += chunk.paths
            truth += chunk.labels.tolist()
            broken += len(chunk.broken)
            job.done += len(chunk.broken)
    if not paths:
        raise UserError("None of the photos can be read. Check that the files are complete pictures.")
    features, probabilities = (np.concatenate(part) for part in zip(*parts))
    jpeg, side = sheet(np.array(thumbnails, dtype=np.uint8).reshape(-1, SIDES[0], SIDES[0], 3))
    return EmbeddingMap(
        label_names(data), classifier.labels, splits, rows, paths, np.array(truth), probabilities.argmax(axis=1), probabilities.max(axis=1),
        features, jpeg, side, broken, pca_layout(features),
    )


# The file of a map: only arrays, read without pickle.


def _file(key: str) -> Path:
    return settings.load().home / "atlas" / f"{key}.npz"


def _write(file: Path, atlas: EmbeddingMap) -> None:
    """Put the map on disk as a whole; a disk that is full or read-only costs only the next start its time."""
    names = [column.name for column in dataclasses.fields(EmbeddingMap) if column.name not in ("sheet", "pca", "tsne")]
    columns = {name: np.asarray(getattr(atlas, name)) for name in names}
    for name in ("pca", "tsne"):
        columns |= {f"{name}_{key}": np.asarray(value) for key, value in dataclasses.asdict(getattr(atlas, name)).items() if value is not None}
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(new, "wb") as opened:
            np.savez(opened, sheet=np.frombuffer(atlas.sheet, np.uint8), **columns)
        os.replace(new, file)
        for old in sorted(file.parent.glob("*.npz"), key=lambda one: one.stat().st_mtime_ns)[:-KEEP_FILES]:
            old.unlink(missing_ok=True)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def _read(file: Path) -> EmbeddingMap | None:
    """The map in a file, None where there is none that is whole."""
    try:
        with np.load(file) as stored:
            values = {name: stored[name] for name in stored.files}
        pca = Layout(values["pca_points"], float(values["pca_trust"]), int(values["pca_neighbours"]), tuple(values["pca_explained"].tolist()))
        tsne = Layout(values["tsne_points"], float(values["tsne_trust"]), int(values["tsne_neighbours"]))
        lists = {name: values[name].tolist() for name in ("labels", "model_labels", "splits", "rows", "paths")}
        arrays = {name: values[name] for name in ("truth", "said", "probability", "features")}
        return EmbeddingMap(**lists, **arrays, sheet=values["sheet"].tobytes(), side=int(values["side"]), broken=int(values["broken"]), pca=pca, tsne=tsne)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
