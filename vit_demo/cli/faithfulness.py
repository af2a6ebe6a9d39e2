"""``python -m vit_demo faithfulness``: how far the maps of each method can be trusted, measured over the
photos of a split.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vit_demo.cli.options import Line, add_data, add_model, open_model
from vit_demo.common.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from vit_demo.explain.attribution.trust import Mean, Read, Trust
    from vit_demo.model.classifier import LeafClassifier

FILE = "faithfulness.json"


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser of the command its flags."""
    parser.description = (
        "Covers the photos patch by patch in the order of each method's maps (deletion), brings them back"
        " (insertion), and compares the areas under the curves of the class's probability with those of"
        " random and centred maps. Then draws the weights anew and looks whether the maps change."
    )
    add_data(parser)
    add_model(parser)
    add_plan(parser)
    parser.add_argument("--save", action="store_true", help=f"write {FILE} into the model's folder")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=_run)


def add_plan(parser: argparse.ArgumentParser) -> None:
    """The flags that measure_split reads."""
    parser.add_argument(
        "--methods", metavar="A,B", help="methods of explain (default: all but occlusion, which is slow)"
    )
    parser.add_argument(
        "--photos", type=int, metavar="COUNT", help="so many, evenly spread over the split (default: all)"
    )
    parser.add_argument("--steps", type=int, default=20, help="steps of each curve (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the random maps and weights (default: %(default)s)"
    )


def _run(options: argparse.Namespace) -> None:
    from vit_demo.common.atomic import write_atomically
    from vit_demo.data.open.sources import open_dataset

    classifier = open_model(options)
    file = file_in(classifier) if options.save else None
    found = measure_split(
        classifier, open_dataset(options.data, options.data_revision)[options.split], options
    )
    result = {"split": options.split, "data": _name(options.data), **found.to_dict()}
    if file is not None:
        try:
            write_atomically(file, json.dumps(result, indent=1) + "\n")
        except OSError as error:
            raise UserError("error.cli.save_failed", file=str(file), reason=error.strerror) from None
    print(json.dumps(result) if options.json else text(found))


def measure_split(classifier: LeafClassifier, data: Dataset, options: argparse.Namespace) -> Trust:
    """What explain.trust.measure finds on the photos of a split, with the flags of add_plan."""
    from vit_demo.explain.attribution.trust import Plan, measure, spread

    if options.photos is not None and options.photos < 1:
        raise UserError("error.cli.measure_nothing", count=options.photos)
    given = {} if options.methods is None else {"methods": tuple(options.methods.split(","))}
    plan = Plan(steps=options.steps, seed=options.seed, **given)
    return measure(
        classifier, reader(classifier, data), spread(len(data), options.photos or len(data)), plan, Line()
    )


def reader(classifier: LeafClassifier, data: Dataset) -> Read:
    """Opens photos of a split by their numbers, prepared as for training and diagnosis."""
    import torch

    from vit_demo.training.photos import batches

    def read(numbers: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        for part in batches(data.select(numbers), classifier):
            if len(part):
                yield [numbers[row] for row in part.rows], classifier.normalise(torch.from_numpy(part.pixels))

    return read


def file_in(classifier: LeafClassifier) -> Path:
    """Where --save writes; looked at before minutes are spent. Raises UserError where nothing may be
    written.
    """
    folder = classifier.checkpoint.folder
    if classifier.checkpoint.revision is not None:
        raise UserError("error.cli.save_hub", model=classifier.checkpoint.name)
    if not os.access(folder, os.W_OK):
        raise UserError("error.cli.save_unwritable", folder=str(folder))
    return folder / FILE


def text(found: Trust) -> str:
    """The result for people: a table of the areas, the differences with their verdicts, and the sanity
    check.
    """
    from vit_demo.explain.attribution.methods import DEFAULT
    from vit_demo.explain.attribution.trust import mean_of

    result = found.to_dict()
    lines = [
        (
            f"Areas under the curves of {found.photos} photos, {found.plan.steps} steps: mean (95 % interval"
            " of the mean, Student's t over photos)"
        ),
        f"  {'method':18}{'deletion, smaller is better':30}insertion, larger is better",
        *(
            f"  {name:18}{_interval(mean_of(areas.deletion)):30}{_interval(mean_of(areas.insertion))}"
            for name, areas in found.areas.items()
        ),
        f"{DEFAULT.capitalize()} less the other, photo by photo",
    ]
    for rival, (deletion, insertion) in found.differences.items():
        said = result["differences"][rival]["verdict"]
        lines.append(
            f"  {rival:18}{_interval(deletion):30}{said['deletion']:12}{_interval(insertion):30}"
            f"{said['insertion']}"
        )
    lines.append(
        f"Sanity check on {result['sanity']['photos']} photos: rank correlation with the map after weights"
        " were drawn anew (1: the map ignores them)"
    )
    for method, parts in found.sanity.items():
        lines.append(
            f"  {method:18}"
            + "  ".join(f"{part} {_interval(mean_of(values))}" for part, values in parts.items())
        )
    return "\n".join(lines)


def _interval(mean: Mean) -> str:
    return f"{mean.mean:.4f} ({mean.low:.4f} to {mean.high:.4f})"


def _name(data: str) -> str:
    """Of the data, without where they lie on this computer."""
    return Path(data).resolve().name if Path(data).exists() else data
