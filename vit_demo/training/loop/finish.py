"""The end of a run: the model is saved, opened again, scored and described."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict

from vit_demo.common.atomic import replacing_folder, write_atomically
from vit_demo.common.words import Sentence
from vit_demo.model import neighbours
from vit_demo.model.checkpoints import NOTES
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import readout_of
from vit_demo.training.job import Progress, TrainingJob, counter
from vit_demo.training.result import card, predictions, similar
from vit_demo.training.result.abstain import calibrate, fit_on, look_at
from vit_demo.training.result.evaluation import Evaluation, evaluate, evaluate_readable
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.notes import english_all, kept
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import RunStatus

KNOWN = Sentence("train.record.learning_known")
NOT_MEASURED = Sentence("train.photos.not_measured")


def finish(work: TrainingJob, data: DatasetDict, *, started: float, stopped: bool) -> dict[str, Any]:
    """Save the model, open what was saved, and score that on validation and then on test.

    Where no test photo can be read, the test accuracy in the result is None: not measured.
    The temperature is fitted on validation alone. When to be silent is fitted on validation and train photos;
    the latter are taken as the run has them decoded, and small pictures of them stay in the run's folder,
    outside of the model's.
    """
    run, classifier, report = work.run, work.classifier, work.report
    report(Progress(RunStatus.SCORING, 0, 1, Sentence("train.record.saving")))
    config = run.config()
    pictures = run.folder / neighbours.FILE
    pictures.unlink(
        missing_ok=True
    )  # of a run that was stopped and went on: they belong to its earlier weights
    saved = LeafClassifier.open(_save(run, classifier, config), device=config.device)
    readout, scoring = readout_of(saved.blocks), counter(report, "validation", RunStatus.SCORING)
    found = evaluate(saved, data["validation"], scoring, readout)
    validation = calibrate(saved, data["validation"], found, scoring)
    temperature = validation.temperature
    seen = look_at(
        saved,
        data["train"],
        lambda done, total: report(Progress(RunStatus.SCORING, done, total, KNOWN)),
        work.train,
    )
    abstention = fit_on(seen, saved, validation)
    if not similar.keep(pictures, saved, seen, work.train):
        work.log.add("warning", **kept(Sentence("train.record.no_similar")))
    test = _test(work, saved, data, temperature)
    scores = {"validation": validation.evaluation, "test": test}
    state = run.state()
    result = {
        "validation_accuracy": validation.evaluation.accuracy,
        "validation_interval": list(validation.evaluation.interval),
        "test_accuracy": test.accuracy if test else None,
        "test_interval": list(test.interval) if test else None,
        "seconds": round(time.time() - started, 2),
        "model": str(run.model_folder),
        "data_fingerprint": state.get("data_fingerprint"),
        "data_notes": english_all(state.get("data_notes")),
    }
    details = {split: found.to_dict() if found else None for split, found in scores.items()}
    # Before the scores: who finds those finds the photos behind them too.
    write_atomically(
        run.model_folder / predictions.FILE,
        predictions.to_csv({split: found.predictions for split, found in scores.items() if found}),
    )
    abstention.save(run.model_folder)
    write_atomically(run.model_folder / "scores.json", card.scores_json(details, temperature, result))
    write_atomically(
        run.model_folder / "README.md",
        card.model_card(config, classifier.checkpoint, scores, result, abstention),
    )
    run.set_state(
        status=RunStatus.STOPPED if stopped else RunStatus.FINISHED,
        ended=time.time(),
        result=result,
        **kept(""),
    )
    return result


def _test(
    work: TrainingJob, saved: LeafClassifier, data: DatasetDict, temperature: float
) -> Evaluation | None:
    """The score on the test photos; None, which the record says, where there is none that can be read."""
    progress = counter(work.report, "test", RunStatus.SCORING)
    photos = data.get("test", data["train"].select([]))
    found = evaluate_readable(saved, photos, progress, readout_of(saved.blocks))
    if found is None:
        work.log.add("warning", **kept(NOT_MEASURED))
        print(NOT_MEASURED, flush=True)
        return None
    return found.at_temperature(temperature)


def _save(run: Run, classifier: LeafClassifier, config: TrainingConfig) -> Path:
    """Write the model under another name and put it in its place whole, before it is scored: a failure there
    must not cost it.
    """
    # A model is there already where the run was stopped and went on.
    with replacing_folder(run.model_folder) as fresh:
        classifier.save(fresh, torch.float16 if config.half else torch.float32)
        _inherit_notes(run, classifier, fresh)
    return run.model_folder


def _inherit_notes(run: Run, classifier: LeafClassifier, fresh: Path) -> None:
    """What to do about its classes: as it was written for this run before it went on, else for the model it
    started from, if that has the same classes.
    """
    start = classifier.checkpoint
    known = set(start.labels) == set(classifier.labels)
    for notes in (run.model_folder / NOTES, *([start.folder / NOTES] if known else [])):
        if notes.is_file():
            shutil.copyfile(notes, fresh / NOTES)
            return
