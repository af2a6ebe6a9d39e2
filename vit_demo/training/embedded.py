"""Make the model that comes with the program anew, from a pretrained ViT and the photos that come with the
program.

    python -m vit_demo.training.embedded [--model MODEL] [--seeds 10,11,12,13,14,15]

One run of the recipe a seed; the model is the mean of their weights. Weights, abstention, scores and
where the model sees each train photo are replaced; notes, model card and the measured faithfulness of its
maps stay as they are: bring the last two up to date.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from vit_demo.common import settings
from vit_demo.common.atomic import replacing_folder
from vit_demo.common.errors import UserError
from vit_demo.data.names import BEANS
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.abstention import Abstention
from vit_demo.model.checkpoints import PRETRAINED
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.neighbours import Pictures
from vit_demo.model.readout import readout_of
from vit_demo.training.result import card
from vit_demo.training.result.abstain import calibrate, fit_on, look_at, tally
from vit_demo.training.result.calibration import Calibration
from vit_demo.training.result.evaluation import Evaluation, evaluate
from vit_demo.training.run.config import THOROUGH, TrainingConfig
from vit_demo.training.run.runs import Run, create
from vit_demo.training.run.status import RunStatus
from vit_demo.training.worker import execute

# How it was chosen: docs/recipe.md.
RECIPE: dict[str, Any] = {
    **THOROUGH,
    "small_first": False,
    "resolutions": (96, 128, 160, 224),
    "batch_size": 16,
    "learning_rate": 2e-4,
    "augment": "strong",
    "film": 0,
}
SEEDS = (10, 11, 12, 13, 14, 15)


def train(model: str, seed: int, folder: Path) -> Run:
    """One run, in ``folder``/seed."""
    run = create(TrainingConfig(**RECIPE, data=BEANS, model=model, seed=seed), folder / str(seed))
    execute(run)
    if (status := run.state()["status"]) != RunStatus.FINISHED:
        # The mean must not take in what was not trained to its end.
        raise UserError("error.cli.seed_not_finished", seed=seed, status=status)
    print(f"Seed {seed}: validation loss {validation_loss(run):.4f}", flush=True)
    return run


def validation_loss(run: Run) -> float:
    """Of the model that the run saved, in nats."""
    loss: float = run.scores()["validation"]["loss"]
    return loss


def mean_of(models: Sequence[LeafClassifier]) -> LeafClassifier:
    """The first of the models with the mean of all their weights, taken in double precision (a uniform soup;
    Wortsman et al. 2022, "Model soups").
    """
    states = [model.model.state_dict() for model in models]
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(value.dtype)
        for name, value in states[0].items()
    }
    models[0].model.load_state_dict(mean)
    return models[0]


def embed(classifier: LeafClassifier, model: Path, similar: Path, seconds: float) -> str:
    """Put a model in the place of the embedded one, with what it needs to be silent and to say "it looks like
    these"; returns what was counted on test. All is written and scored before anything is replaced.

    model: its folder. similar: the file of where it sees its train photos. seconds: what its training took.
    """
    with replacing_folder(model) as new:
        if model.exists():
            # Notes and model card stay; the weights may come in other pieces than before.
            shutil.copytree(model, new, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors*"))
        classifier.save(new, torch.float16)
        pictures, counted = _fitted(LeafClassifier.open(new, device="cpu"), seconds)
        pictures.save(similar)
    return counted


def _fitted(saved: LeafClassifier, seconds: float) -> tuple[Pictures, str]:
    """Write beside a model when it is to be silent, and its scores. Returns where it sees its train photos,
    and what was counted on test.
    """
    data, readout, folder = open_dataset(BEANS), readout_of(saved.blocks), saved.checkpoint.folder
    found = evaluate(saved, data["validation"], readout=readout)
    validation = calibrate(saved, data["validation"], found)
    seen = look_at(saved, data["train"])
    abstention = fit_on(seen, saved, validation)
    abstention.save(folder)
    test = evaluate(saved, data["test"], readout=readout).at_temperature(validation.temperature)
    details = {"validation": validation.evaluation.to_dict(), "test": test.to_dict()}
    (folder / "scores.json").write_text(
        card.scores_json(details, validation.temperature, {"seconds": round(seconds, 1)}), encoding="utf-8"
    )
    # Without small pictures, since the photos themselves come with the program.
    return Pictures(readout, seen.features, seen.targets, [], saved.labels), _counted(abstention, test)


def _counted(abstention: Abstention, test: Evaluation) -> str:
    counts = tally(abstention, test)
    error = cast("Calibration", test.calibrated).expected_calibration_error
    return (
        f"Test: {card.percent(test)}. Diagnosis {counts.diagnosis} ({counts.right} right), "
        f"unsure {counts.unsure}, not known {counts.not_known}; expected calibration error {error:.4f}."
    )


def _seeds(text: str) -> list[int]:
    seeds = [int(seed) for seed in text.split(",")]  # argparse says what is wrong with a ValueError
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError("each seed once")
    return seeds


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        default=PRETRAINED,
        help="the pretrained ViT, a folder or a name on the Hub (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=_seeds, default=",".join(map(str, SEEDS)), help="one run each (default: %(default)s)"
    )
    options = parser.parse_args()
    started = time.time()
    try:
        with tempfile.TemporaryDirectory() as folder:
            runs = [train(options.model, seed, Path(folder)) for seed in options.seeds]
            models = [LeafClassifier.open(run.model_folder, device="cpu") for run in runs]
        print(
            embed(mean_of(models), settings.EMBEDDED_MODEL, settings.EMBEDDED_SIMILAR, time.time() - started)
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
