"""One fine-tune from start to end: one config and one run folder in, one scored model out."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import DatasetDict

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.data.corrections.decided import fingerprint
from vit_demo.data.normalise import label_names, merge_train
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.checkpoints import PRETRAINED
from vit_demo.model.classifier import LeafClassifier
from vit_demo.training.job import Listener, Progress, TrainingJob, counter, sides_of
from vit_demo.training.loop import processes, reporting
from vit_demo.training.loop.about_photos import about_photos
from vit_demo.training.loop.finish import finish
from vit_demo.training.photos import Photos, prepare
from vit_demo.training.run import checkpoint
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.curves import curves_of
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.notes import kept, kept_all
from vit_demo.training.run.runs import SCRATCH_PREFIX, Run
from vit_demo.training.run.status import RunStatus

# Two of the photos that the embedded model learned from, by their paths in its data set.
LEARNED_BY_EMBEDDED = {
    "train/angular_leaf_spot/angular_leaf_spot_train.0.jpg",
    "train/healthy/healthy_train.0.jpg",
}
KNOWN_ALREADY = Sentence("train.record.known_already", {"model": PRETRAINED})


def fine_tune(run: Run | None, listener: Listener = lambda progress: None) -> dict[str, Any]:
    """Do the run: prepare the photos, train, keep the best model by validation loss, save and score it.

    Returns what the run's state holds as ``result``. Raises UserError for what a person can mend.
    The test photos are looked at once, after the model is saved. A run that was broken off goes on
    from its checkpoint.
    run: None in the helping processes of ``accelerate launch``: they compute their part and write nothing.
    """
    started = time.time()
    group = processes.current()
    config: TrainingConfig = group.tell(run.config() if run else None)
    log = reporting.open_log(run, config) if run else _Silence()
    report = _reporter(run, listener) if run else lambda progress: None
    try:
        report(Progress(RunStatus.PREPARING, 0, 1, Sentence("train.record.opening")))
        data = open_dataset(config.data, config.data_revision)
        if config.extra_data:
            data = merge_train(data, open_dataset(config.extra_data))
        if run:
            _record_photos(run, data)
        classifier = _open_model(config, data)
        sides = sides_of(config, classifier)
        classifier.processor.size = {"height": sides[-1], "width": sides[-1]}
        if run:
            report(Progress(RunStatus.PREPARING, 0, 1, Sentence("train.photos.looking")))
            _record_notes(run, data)
        with _scratch(run) as folder:
            train, validation = (
                _prepared(data, split, classifier, folder, report) for split in ("train", "validation")
            )
            if run:
                _warn_of_broken(log, train, validation)
                _warn_of_known(log, classifier, train)
            # Without one in a helping process, where the engines ask nothing of it.
            work = TrainingJob(cast("Run", run), config, classifier, train, validation, sides, log, report)
            stopped = _engine(config)(work)
            result: dict[str, Any]
            if run is None:
                result = group.tell()
                return result
            result = finish(work, data, started=started - curves_of(run).earlier, stopped=stopped)
        if not stopped:
            checkpoint.remove(run)
        result = group.tell(result)
        return result
    finally:
        log.close()
        if run:
            shutil.rmtree(
                run.folder / "model.new", ignore_errors=True
            )  # there only where saving or scoring failed


class _Silence(EventLog):
    """The log of a helping process."""

    def __init__(self) -> None:
        pass

    def add(self, kind: str, **values: Any) -> None:
        pass

    def close(self) -> None:
        pass


def _engine(config: TrainingConfig) -> Callable[[TrainingJob], bool]:
    if config.engine == "trainer":
        from vit_demo.training.loop import trainer  # Trainer takes a second to import

        return trainer.train
    from vit_demo.training.loop import steps

    return steps.train


def _record_photos(run: Run, data: DatasetDict) -> None:
    """Write down which photos and labels the run learns from; one that goes on must find the same ones.
    UserError where it does not.
    """
    found = fingerprint(data)
    if run.state().get("data_fingerprint", found) != found and checkpoint.exists(run):
        raise UserError("error.training.photos_changed")
    run.set_state(data_fingerprint=found)


def _record_notes(run: Run, data: DatasetDict) -> None:
    """Write down, and print, what a person should know of the photos before a model learns from them."""
    notes = about_photos(data)
    run.set_state(data_notes=kept_all(notes))
    for note in notes:
        print(note, flush=True)


def _open_model(config: TrainingConfig, data: DatasetDict) -> LeafClassifier:
    torch.manual_seed(config.seed)  # a new stem, or a head that does not start at zero, is drawn from it
    return LeafClassifier.open(
        config.model,
        revision=config.model_revision,
        device=config.device,
        labels=label_names(data),
        hybrid=config.hybrid,
        head_init=config.head_init,
    )


def _prepared(
    data: DatasetDict, split: str, classifier: LeafClassifier, folder: Path, report: Listener
) -> Photos:
    """The photos of a split, decoded once on each machine however many processes it has."""
    group, file = processes.current(), folder / f"{split}.npy"
    if group.size == 1:
        return prepare(data[split], classifier, classifier.image_size, file, counter(report, split))
    here = socket.gethostname()
    photos = (
        prepare(data[split], classifier, classifier.image_size, file, counter(report, split))
        if group.first_here
        else None
    )
    found = group.everyone(photos and (here, str(file), photos.labels, photos.paths, photos.broken))
    if photos is None:
        _, path, labels, paths, broken = next(entry for entry in found if entry and entry[0] == here)
        photos = Photos(np.load(path, mmap_mode="c")[: len(paths)], labels, paths, broken)
    return photos


@contextlib.contextmanager
def _scratch(run: Run | None) -> Iterator[Path]:
    """A folder for the prepared photos, gone when the training is over."""
    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=run.folder if run else None) as folder:
        yield Path(folder)


def _reporter(run: Run, listener: Listener) -> Listener:
    def report(progress: Progress) -> None:
        run.set_state(
            status=progress.status, done=progress.done, total=progress.total, **kept(progress.message)
        )
        listener(progress)

    return report


def _warn_of_known(log: EventLog, classifier: LeafClassifier, train: Photos) -> None:
    """Say it where the embedded model is to learn what it has learned already: such a run begins where others
    end.
    """
    known = {"/".join(path.replace("\\", "/").split("/")[-3:]) for path in train.paths} >= LEARNED_BY_EMBEDDED
    if known and classifier.checkpoint.folder == settings.EMBEDDED_MODEL:
        log.add("warning", **kept(KNOWN_ALREADY))
        print(KNOWN_ALREADY, flush=True)


def _warn_of_broken(log: EventLog, *parts: Photos) -> None:
    broken = [path for part in parts for path in part.broken]
    if broken:
        log.add(
            "warning",
            **kept(Sentence("train.record.photos_left_out", {"count": len(broken)})),
            paths=broken[:100],
        )
        print(f"{len(broken)} photos cannot be read and are left out, the first is {broken[0]}", flush=True)
