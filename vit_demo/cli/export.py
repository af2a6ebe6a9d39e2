"""``python -m vit_demo export``: a model as ONNX, to be used away from this program, and what that costs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vit_demo.cli.corrections import add_corrections
from vit_demo.cli.options import DATA, Line, add_model, open_model

ABOUT = """Write a model as ONNX, in fp32 and in int8, with labels, processor, abstention and notes beside it.

The fp32 model is refused where a logit differs by more than 0.0001 from torch's. Then all are scored on the
test photos of --data. Size is of the model file, time of the forward of one photo (median), of the exports
always on the CPU."""


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
    parser.add_argument("--data", default="beans", help=f"{DATA} (default: %(default)s)")
    parser.add_argument("--data-revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_corrections(parser)
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from vit_demo.data.open.sources import open_dataset
    from vit_demo.export.onnx import compare, export
    from vit_demo.training.result.evaluation import evaluate

    # First, since a data set that cannot be opened should not cost an export.
    test = open_dataset(options.data, options.data_revision)["test"]
    options.device = options.device or "cpu"  # where the exports run too
    classifier, line = open_model(options), Line()
    about = export(classifier, options.out)
    rows = compare(
        classifier,
        options.out,
        lambda asked, name, readout: evaluate(
            asked, test, lambda done, total: line(f"Scoring test photos with {name}", done, total), readout
        ),
    )
    if options.json:
        print(json.dumps({"folder": str(options.out), **asdict(about), "engines": rows}))
        return
    print(
        f"Exported to {options.out}. Largest difference of a logit from torch: fp32 {about.difference:.1e},"
        f" int8 {about.difference_int8:.2f}"
    )
    if broken := rows["torch"]["broken"]:
        print(f"{broken} photos cannot be read and do not count.", file=sys.stderr)
    print(
        f"{'engine':10}{'MB':>7}{'ms a photo':>12}  test accuracy (95 % interval, {rows['torch']['n']}"
        " photos)      same class as torch"
    )
    for name, row in rows.items():
        low, high = row["interval"]
        accuracy = f"{row['accuracy']:.4f} ({low:.4f} to {high:.4f})"
        print(f"{name:10}{row['bytes'] / 1e6:7.1f}{row['ms']:12.1f}  {accuracy:52}{row['agreement']:.4f}")
