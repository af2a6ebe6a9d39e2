"""``python -m vit_demo export``: a model as ONNX, to be used away from this program, and what that costs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_demo.cli.corrections import add_corrections
from vit_demo.cli.evaluate import open_photos, tell_match, why_unscored
from vit_demo.cli.options import DATA, Line, add_map, add_model, open_model
from vit_demo.common.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

    from vit_demo.model.classifier import LeafClassifier
    from vit_demo.model.readout import Readout
    from vit_demo.training.result.across import ClassMatch
    from vit_demo.training.result.evaluation import Evaluation

ABOUT = """Write a model as ONNX, in fp32 and in int8, with labels, processor, abstention and notes beside it.

The fp32 model is refused where a logit differs by more than 0.0001 from torch's. Then all are scored on the
test photos of --data, classes matched as evaluate does. Without --data, a run is scored on its own data set,
any other model on beans. Where these photos are gone, or none is of a class of the model, it is exported and
not scored. Size is of the model file, time of the forward of one photo (median), of the exports always on the
CPU."""
NOT_MEASURED = "not measured"


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.description = ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="a new folder, or that of an earlier export, which is replaced",
    )
    parser.add_argument("--data", help=f"{DATA} (default: the run's own, else beans)")
    parser.add_argument("--data-revision", help="branch, tag or commit on the Hub")
    add_map(parser)
    add_corrections(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from vit_demo.export.onnx import export

    options.device = options.device or "cpu"  # where the exports run too
    classifier = open_model(options)
    # First, since a data set that cannot be opened should not cost an export.
    photos = _Photos(options, classifier)
    about = export(classifier, options.out)
    rows = photos.compare(classifier, options.out)
    if options.json:
        told = {"folder": str(options.out), **asdict(about), "engines": rows}
        print(json.dumps({**told, "data": photos.name or None, "not_measured": photos.why or None}))
        return
    print(
        f"Exported to {options.out}. Largest difference of a logit from torch: fp32 {about.difference:.1e},"
        f" int8 {about.difference_int8:.2f}"
    )
    _print_rows(rows)


class _NothingScored(Exception):
    """No photo is of a class that the model knows; says why."""


class _Photos:
    """What the engines are scored on. name: of the data set. why: why nothing is scored, "" where it is.

    Says on standard error what is chosen. Raises UserError where what was asked for cannot be opened.
    """

    def __init__(self, options: argparse.Namespace, classifier: LeafClassifier):
        self.name, self.why = options.data or "", ""
        self._test: Dataset | None = None
        self._match: ClassMatch | None = None
        try:
            test = self._open(options, classifier)
        except UserError as error:
            if options.data:
                raise
            self._leave(str(error))
            return
        try:
            self._match_with(test, classifier, options.map)
        except UserError as error:
            if options.map:
                raise
            self._leave(str(error))

    def _open(self, options: argparse.Namespace, classifier: LeafClassifier) -> Dataset:
        from vit_demo.data.names import BEANS
        from vit_demo.data.open.sources import open_dataset
        from vit_demo.training.run.of_model import run_of

        if options.data:
            options.split = "test"
            test = open_photos(options, classifier)
            print(f"To be scored on: the test photos of {self.name}.", file=sys.stderr)
            return test
        run, revision, whose = run_of(classifier.checkpoint.folder), options.data_revision, ""
        self.name = BEANS
        if run is not None:
            config = run.config()
            self.name, revision = config.data, revision or config.data_revision
            whose = f", the data set of the run {run.name}"
        test = open_dataset(self.name, revision)["test"]
        print(f"To be scored on: the test photos of {self.name}{whose}.", file=sys.stderr)
        return test

    def _match_with(self, test: Dataset, classifier: LeafClassifier, pairs: list[str]) -> None:
        from vit_demo.training.result.across import match_classes

        self._match = match_classes(classifier.labels, test.features["labels"].names, pairs)
        self._test = test
        tell_match(self._match)

    def _leave(self, why: str) -> None:
        self.why, self._test = why, None
        print(f"The model is exported; how good it is was {NOT_MEASURED}. {why}", file=sys.stderr)

    def compare(self, classifier: LeafClassifier, folder: Path) -> dict[str, dict[str, Any]]:
        """The rows of ``export.onnx.compare``, without scores where there is nothing to score."""
        from vit_demo.export.onnx import compare

        if self._test is not None:
            try:
                return compare(classifier, folder, self._score)
            except (_NothingScored, UserError) as error:
                self._leave(str(error))
        return compare(classifier, folder, None)

    def _score(self, asked: LeafClassifier, name: str, readout: Readout) -> Evaluation:
        from vit_demo.training.result.across import evaluate_across

        assert self._test is not None and self._match is not None  # compare() has looked
        line = Line()
        found = evaluate_across(
            asked,
            self._test,
            self._match,
            lambda done, total: line(f"Scoring test photos with {name}", done, total),
            readout,
        )
        if found.scored is None:
            raise _NothingScored(why_unscored(found))
        return found.scored


def _print_rows(rows: dict[str, dict[str, Any]]) -> None:
    if broken := rows["torch"]["broken"]:
        print(f"{broken} photos cannot be read and do not count.", file=sys.stderr)
    photos = rows["torch"]["n"]
    print(
        f"{'engine':10}{'MB':>7}{'ms a photo':>12}  test accuracy (95 % interval, {photos}"
        " photos)      same class as torch"
    )
    for name, row in rows.items():
        accuracy, agreement = NOT_MEASURED, NOT_MEASURED
        if row["interval"] is not None:
            low, high = row["interval"]
            accuracy = f"{row['accuracy']:.4f} ({low:.4f} to {high:.4f})"
            agreement = f"{row['agreement']:.4f}"
        print(f"{name:10}{row['bytes'] / 1e6:7.1f}{row['ms']:12.1f}  {accuracy:52}{agreement}")
