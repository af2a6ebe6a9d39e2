"""``vit_demo calibrate``: teach a model that exists already when to keep silent, as the end of every
fine-tune does.
"""

from __future__ import annotations

import argparse
import functools
import json
from dataclasses import asdict

from vit_demo.cli.corrections import add_corrections
from vit_demo.cli.options import DATA, Line, add_model, open_model
from vit_demo.common.errors import UserError

ABOUT = """Fit when a model should say "unsure" or "not known", and write it as abstention.safetensors
beside its weights.

The temperature, the limit of the prediction sets and the limit of the distance are set on the validation
photos and on copies of them as other cameras might have taken them; the distance is to the train photos; give
those that the model learned from. A fine-tune does the same at its end. Test photos are only counted."""


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.description = ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", required=True, help=DATA)
    parser.add_argument("--data-revision", help="branch, tag or commit on the Hub")
    parser.add_argument(
        "--extra-data", help="a second data set whose train photos the model learned from too"
    )
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    add_corrections(parser)
    parser.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> None:
    from vit_demo.data.normalise import merge_train
    from vit_demo.data.open.sources import open_dataset
    from vit_demo.model.readout import readout_of
    from vit_demo.training.result.abstain import calibrate, fit_abstention, tally
    from vit_demo.training.result.evaluation import evaluate

    classifier = open_model(options)
    if classifier.checkpoint.revision:
        raise UserError("error.cli.calibrate_hub", model=classifier.checkpoint.name)
    data = open_dataset(options.data, options.data_revision)
    if options.extra_data:
        data = merge_train(data, open_dataset(options.extra_data))
    line, readout = Line(), readout_of(classifier.blocks)
    found, test = (
        evaluate(classifier, data[split], functools.partial(line, f"Scoring {split} photos"), readout)
        for split in ("validation", "test")
    )
    validation = calibrate(
        classifier, data["validation"], found, functools.partial(line, "Looking at changed copies")
    )
    abstention = fit_abstention(
        classifier,
        data["train"],
        validation,
        lambda done, total: line("Learning which photos it knows", done, total),
    )
    try:
        abstention.save(classifier.checkpoint.folder)
    except OSError as error:
        raise UserError(
            "error.cli.calibrate_unwritten", model=classifier.checkpoint.name, reason=error.strerror
        ) from None
    scored = {"validation": validation.evaluation, "test": test}
    counts = {split: tally(abstention, found) for split, found in scored.items()}
    if options.json:
        print(
            json.dumps(
                {
                    "temperature": abstention.temperature,
                    **{split: asdict(found) for split, found in counts.items()},
                }
            )
        )
        return
    print(f"Temperature: {abstention.temperature:.3f}")
    for split, counted in counts.items():
        right = f" ({counted.right} right)" if counted.diagnosis else ""
        print(
            f"Of {counted.n} {split} photos: diagnosis {counted.diagnosis}{right}, unsure {counted.unsure},"
            f" not known {counted.not_known}"
        )
    if abstention.detector is None:
        print(
            "Which photos the model does not know cannot be told: it needs at least 19 validation photos and"
            " more train photos."
        )
