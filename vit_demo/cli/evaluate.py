"""``python -m vit_demo evaluate``: how a model does on photos, also on those of another data set."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vit_demo.cli.options import add_data, add_engine, add_map, add_model, open_model

if TYPE_CHECKING:
    from datasets import Dataset

    from vit_demo.model.classifier import LeafClassifier
    from vit_demo.training.result.across import Across, ClassMatch, VerdictCount
    from vit_demo.training.result.evaluation import Evaluation

ABOUT = """Score a model on a split of any data set.

Classes are matched by name, whatever their case, with "_", "-" and blanks taken for the same; --map matches
those that are called otherwise. Photos of a class that the model does not know, and those without a label,
are never right or wrong: they are counted by verdict (a diagnosis, unsure, not known)."""
# Why nothing was scored, by training.result.across.Unscored; what can be done about it.
WHY = {
    "no_class": "The model and the photos have no class in common.",
    "no_label": "None of these photos has a label.",
    "no_photo": "None of these photos is of a class that the model knows.",
}
HOW = "Where a class only has another name, say so: --map \"the photos' name=the model's name\"."


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.description = ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_data(parser)
    add_model(parser)
    add_engine(parser)
    add_map(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from vit_demo.training.result.across import evaluate_across, match_classes

    classifier, readout = open_model(options), None
    data = open_photos(options, classifier)
    if options.engine != "torch":
        from vit_demo.export.onnx import exported

        classifier = exported(classifier, options.engine)
        readout = classifier.readout
    match = match_classes(classifier.labels, data.features["labels"].names, options.map)
    tell_match(match)
    found = evaluate_across(classifier, data, match, readout=readout)
    if found.broken:
        print(f"{found.broken} photos cannot be read and do not count.", file=sys.stderr)
    if found.unlabelled:
        print(f"{found.unlabelled} photos have no label: they are counted by verdict alone.", file=sys.stderr)
    if options.json:
        print(json.dumps({"data": options.data, "split": options.split, **found.to_dict()}))
        return
    if found.scored:
        _print_scores(found.scored, options.split)
    else:
        print(f"Accuracy on {options.split}: not measured. {why_unscored(found)}")
    _print_verdicts(found)


def open_photos(options: argparse.Namespace, classifier: LeafClassifier) -> Dataset:
    """The split of the flags of add_data, all photos where there are no splits; what must be known of them
    goes to standard error.
    """
    from vit_demo.data.open.sources import open_to_try
    from vit_demo.training.run.of_model import has_learned_from

    seen = has_learned_from(classifier.checkpoint.folder, options.data)
    data, notes = open_to_try(options.data, options.split, options.data_revision, seen)
    for note in notes:
        print(note, file=sys.stderr)
    return data


def tell_match(match: ClassMatch) -> None:
    """Say on standard error which classes are which; nothing where both have the same in the same order."""
    if match.is_same:
        return
    pairs = (name if name == own else f"{name} = {own}" for name, own in match.matched.items())
    lines = {
        "Classes matched by name": pairs,
        "The model's classes that these photos do not have": match.missing,
        "Classes of these photos that the model does not know": match.unknown,
    }
    for what, names in lines.items():
        print(f"{what}: {_listed(names)}.", file=sys.stderr)
    if match.unknown:
        print(f"Their photos are counted by verdict, never as right or wrong. {HOW}", file=sys.stderr)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def why_unscored(found: Across) -> str:
    """Why nothing was scored, and what can be done, in one or two sentences."""
    why = found.unscored
    assert why is not None  # nothing was scored
    return WHY[why] if why == "no_label" else f"{WHY[why]} {HOW}"


def _print_scores(result: Evaluation, split: str) -> None:
    from vit_demo.training.result.calibration import BINS

    low, high = result.interval
    print(
        f"Accuracy on {split}: {result.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f},"
        f" {result.n} photos)"
    )
    width = max(map(len, result.labels))
    for label, row in zip(result.labels, result.confusion):
        print(f"  {label:{width}}  " + "  ".join(f"{count:4d}" for count in row))
    print("Each class: recall with its 95 % interval, precision")
    for found in result.classes:
        recall = (
            "no photo"
            if found.recall is None or found.recall_interval is None
            else "{:.4f} ({:.4f} to {:.4f})".format(found.recall, *found.recall_interval)
        )
        precision = "never said" if found.precision is None else f"{found.precision:.4f}"
        print(f"  {found.label:{width}}  {recall:25}  {precision}")
    print(
        f"Expected calibration error: {result.calibration.expected_calibration_error:.4f} (0 is best; {BINS}"
        " bins)"
    )


def _print_verdicts(found: Across) -> None:
    """Those on the scored photos in a line, then on each class that cannot be right or wrong."""
    tally = found.tally
    if tally:
        print(
            f"Verdicts on these {tally.n} photos: {tally.diagnosis} diagnosis ({tally.right} right),"
            f" {tally.unsure} unsure, {tally.not_known} not known"
        )
    if found.others:
        print("Photos that cannot be right or wrong, by verdict")
    width = max((len(_title(count)) for count in found.others), default=0)
    for count in found.others:
        print(f"  {_title(count):{width}}  {_verdicts(count)}")


def _title(count: VerdictCount) -> str:
    return "no label" if count.label is None else count.label


def _verdicts(count: VerdictCount) -> str:
    classes = ", ".join(f"{label} {number}" for label, number in count.diagnosis.items())
    diagnosis = f"{count.n} photos: {count.diagnosed} diagnosis" + (f" ({classes})" if classes else "")
    if count.unsure is None:
        return f"{diagnosis}; this model was never taught when to be silent"
    return f"{diagnosis}, {count.unsure} unsure, {count.not_known} not known"
