"""``vit_demo data look``: what is understood of photos as they lie on the disk."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vit_demo.cli.corrections import add_corrections

if TYPE_CHECKING:
    from vit_demo.cli.options import Commands
    from vit_demo.data.plan.plan import Plan

# So many files that are left out are named; --json has all.
NAMED = 20


def add_to(actions: Commands) -> None:
    """Add the action."""
    about = "what is understood of photos, before anything is learned"
    parser = actions.add_parser("look", help=about, description=f"{about[0].upper()}{about[1:]}.")
    parser.add_argument(
        "spec",
        metavar="PATH",
        help="a folder, zip, tar, CSV or parquet file, or anything else that --data takes",
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    add_corrections(parser)
    parser.set_defaults(run=_look)


def _look(options: argparse.Namespace) -> None:
    from vit_demo.data.open.sources import plan_of_source
    from vit_demo.data.plan.file_names import readable

    plan = plan_of_source(options.spec)
    if plan is None:
        _look_into(options)
    elif options.json:
        print(json.dumps(_as_dict(plan)))
    else:
        print("\n".join(map(readable, _tree(plan))))


def _tree(plan: Plan) -> Iterator[str]:
    """As a person reads it: splits, classes and counts, then what was guessed and what has to be said."""
    from vit_demo.data.plan.plan import answers_of

    yield f"{plan.name}: {_kind(plan)}"
    yield from _counted(plan.counts())
    for file in plan.files:
        yield f"  {file.split or 'not split'}: {'/'.join(file.parts)}"
    yield from (f"- {sentence}" for sentence in (*plan.said(), *plan.said_of_left_out()))
    yield from (f"    {one.name}" for one in plan.left_out[:NAMED])
    if len(plan.left_out) > NAMED:
        yield f"    … and {len(plan.left_out) - NAMED} more, see --json"
    for choice in plan.choices:
        if choice.is_open:
            yield f"? {choice.sentence} Answers: {answers_of(choice)}"
        else:
            # A split as it is typed, all else as it reads.
            text = "" if choice.option.startswith("split:") else dict(choice.values).get(choice.value)
            yield f"- {choice.sentence}: {text or choice.value}."
    if plan.choices:
        yield "To say otherwise: --class-level, --split, --class, --label-column, --encoding; see --help."


def _kind(plan: Plan) -> str:
    told = {
        "folders": "photos in folders",
        "table": "photos in a table",
        "parquet": "parquet files",
        "saved": "a data set as save_to_disk writes it",
    }
    return f"{told[plan.kind]}, {len(plan.photos)} photos with a class" if plan.photos else told[plan.kind]


def _counted(counts: dict[str, dict[str, int]]) -> Iterator[str]:
    for split, classes in counts.items():
        yield f"  {split or 'not split'}: {sum(classes.values())} photos"
        width = max(map(len, classes))
        yield from (f"    {label:{width}}  {count:6d}" for label, count in classes.items())


def _as_dict(plan: Plan) -> dict[str, Any]:
    return {
        "source": plan.name,
        "kind": plan.kind,
        "photos": plan.counts(),
        "files": [{"path": "/".join(file.parts), "split": file.split} for file in plan.files],
        "unlabelled": ["/".join(photo.parts) for photo in plan.unlabelled],
        "left_out": [{"name": name, "why": why.rpartition(".")[2]} for name, why in plan.left_out],
        "notes": [str(sentence) for sentence in plan.said()],
        "choices": [
            {
                "option": choice.option,
                "value": choice.value,
                "answers": [value for value, _ in choice.values],
                "sentence": str(choice.sentence),
            }
            for choice in plan.choices
        ],
    }


def _look_into(options: argparse.Namespace) -> None:
    """Of what is no folder of this computer: the photos as they are opened."""
    from collections import Counter

    from vit_demo.data.normalise import label_names, notes_of
    from vit_demo.data.open.sources import open_dataset

    data = open_dataset(options.spec)
    names = label_names(data)
    counts = {
        split: {names[number]: count for number, count in sorted(Counter(part["labels"]).items())}
        for split, part in data.items()
    }
    notes = [str(note) for note in notes_of(data)]
    if options.json:
        print(json.dumps({"source": options.spec, "photos": counts, "notes": notes}))
        return
    print(options.spec)
    print("\n".join([*_counted(counts), *(f"- {note}" for note in notes)]))
