"""Make the model that comes with the program anew, from a pretrained ViT and the photos that come with the
program.

    python -m vit_demo.training.embedded [--model MODEL] [--seeds 10,11,12,13,14,15]

One run of :data:`RECIPE` a seed; the model is their greedy soup (:func:`greedy_soup`), chosen by validation
loss alone. Weights, abstention, scores and where the model sees each train photo are replaced; notes, model
card and the measured faithfulness of its maps stay as they are: bring the last two up to date.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.data.names import BEANS
from vit_demo.data.open.sources import open_dataset
from vit_demo.model.abstention import layer_of
from vit_demo.model.checkpoints import PRETRAINED
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.neighbours import Pictures
from vit_demo.training.result import card
from vit_demo.training.result.abstain import fit_on, look_at, tally
from vit_demo.training.result.calibration import fit_temperature
from vit_demo.training.result.evaluation import evaluate
from vit_demo.training.run.config import THOROUGH, TrainingConfig
from vit_demo.training.run.runs import Run, create
from vit_demo.training.worker import execute

# How it was chosen: docs/recipe.md.
RECIPE = {
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
    print(f"Seed {seed}: validation loss {validation_loss(run):.4f}", flush=True)
    return run


def validation_loss(run: Run) -> float:
    """Of the model that the run saved, in nats."""
    return run.scores()["validation"]["loss"]


def greedy_soup(
    models: Sequence[LeafClassifier], loss: Callable[[LeafClassifier], float]
) -> tuple[LeafClassifier, list[int]]:
    """The mean of the weights of those models that make each other no worse (Wortsman et al. 2022, "Model
    soups", recipe 1).

    The models are tried from the lowest loss to the highest; one whose weights raise the loss of the mean is
    left out. loss: of a model on photos that none of them learned from. Returns the mean, which is the first
    of the models with other weights, and the numbers of those that are in it, in the order in which they
    came.
    """
    single = [loss(model) for model in models]
    order = sorted(range(len(models)), key=single.__getitem__)
    weights = [
        {name: value.detach().clone() for name, value in model.model.state_dict().items()} for model in models
    ]
    soup, chosen, lowest = models[0], order[:1], single[order[0]]
    for number in order[1:]:
        _pour(soup, [weights[one] for one in (*chosen, number)])
        with_it = loss(soup)
        if with_it <= lowest:
            chosen, lowest = [*chosen, number], with_it
    _pour(soup, [weights[one] for one in chosen])
    return soup, chosen


def _pour(classifier: LeafClassifier, weights: Sequence[dict[str, torch.Tensor]]) -> None:
    """Give a model the mean of these weights, taken in double precision."""
    mean = {
        name: torch.stack([one[name].double() for one in weights]).mean(dim=0).to(value.dtype)
        for name, value in weights[0].items()
    }
    classifier.model.load_state_dict(mean)


def embed(classifier: LeafClassifier, model: Path, similar: Path, seconds: float) -> str:
    """Save a model as the embedded one, with what it needs to be silent and to say "it looks like these";
    returns what was counted on test.

    model: its folder. similar: the file of where it sees its train photos. seconds: what its training took.
    """
    model.mkdir(parents=True, exist_ok=True)
    for old in model.glob("model*.safetensors*"):
        old.unlink()
    classifier.save(model, torch.float16)
    saved, data = LeafClassifier.open(model, device="cpu"), open_dataset(BEANS)
    layer = layer_of(saved.blocks)
    validation = evaluate(saved, data["validation"], layer=layer)
    validation = validation.at_temperature(fit_temperature(validation.logits, validation.targets))
    seen = look_at(saved, data["train"])
    abstention = fit_on(seen, saved, validation)
    abstention.save(model)
    # Without small pictures, since the photos themselves come with the program.
    Pictures(layer, seen.features, seen.targets, [], saved.labels).save(similar)
    test = evaluate(saved, data["test"], layer=layer).at_temperature(validation.temperature)
    details = {split: found.to_dict() for split, found in (("validation", validation), ("test", test))}
    (model / "scores.json").write_text(
        card.scores_json(details, validation.temperature, {"seconds": round(seconds, 1)}), encoding="utf-8"
    )
    counts = tally(abstention, test)
    error = test.calibrated.expected_calibration_error
    return (
        f"Test: {card.percent(test)}. Diagnosis {counts.diagnosis} ({counts.right} right), "
        f"unsure {counts.unsure}, not known {counts.not_known}; expected calibration error {error:.4f}."
    )


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
        "--seeds", default=",".join(map(str, SEEDS)), help="one run each (default: %(default)s)"
    )
    options = parser.parse_args()
    started = time.time()
    try:
        with tempfile.TemporaryDirectory() as folder:
            seeds = [int(seed) for seed in options.seeds.split(",")]
            runs = [train(options.model, seed, Path(folder)) for seed in seeds]
            models = [LeafClassifier.open(run.model_folder, device="cpu") for run in runs]
        validation = open_dataset(BEANS)["validation"]
        soup, chosen = greedy_soup(models, lambda model: evaluate(model, validation).loss)
        print(f"Soup of seeds {', '.join(str(seeds[number]) for number in chosen)}", flush=True)
        print(embed(soup, settings.EMBEDDED_MODEL, settings.EMBEDDED_SIMILAR, time.time() - started))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
