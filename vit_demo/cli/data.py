"""``vit_demo data``: bring photos into a data set of their own, see what was brought and what is wrong with
it, mend it and take it away.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_demo.cli import look as cli_look
from vit_demo.cli.corrections import add_corrections
from vit_demo.cli.options import Line, add_model, confirmed, open_model
from vit_demo.common.errors import UserError

if TYPE_CHECKING:
    from vit_demo.cli.options import Commands
    from vit_demo.data.checks.checks import Check
    from vit_demo.data.checks.finding import Finding
    from vit_demo.data.corrections.journal import Decision
    from vit_demo.data.importing.gather import Files, Progress, Table
    from vit_demo.data.plan.corrections import Corrections

SKIPPED_SHOWN = 10
# Of each kind so many findings are printed, the surest; --json has all.
FINDINGS_SHOWN = 20


def add_to(commands: Commands) -> None:
    """Add the command and what can be done with it."""
    about = "bring photos into a data set of their own, check and mend it, take it away"
    parser = commands.add_parser("data", help=about, description=f"{about[0].upper()}{about[1:]}.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    brought = actions.add_parser(
        "import", help="take in photos", description="Take in photos; then give --data import:NAME."
    )
    brought.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help=(
            "a zip or tar file or a folder (class/photo, split/class/photo, photos with a CSV, or parquet"
            " files), a CSV of paths and labels, or photos with --label"
        ),
    )
    brought.add_argument("--name", required=True, help="what the data set is called")
    brought.add_argument(
        "--label",
        help="the class that all these photos show; they are added where the data set is there already",
    )
    brought.add_argument(
        "--anywhere", action="store_true", help="photos named in a CSV may lie outside its folder"
    )
    brought.add_argument("--json", action="store_true", help="print the result as JSON")
    add_corrections(brought)
    brought.set_defaults(run=_import)
    listed = actions.add_parser("list", help="all imports", description="All imports.")
    listed.add_argument("--json", action="store_true", help="print them as JSON")
    listed.set_defaults(run=_list)
    removed = actions.add_parser(
        "remove",
        help="delete an import and its photos",
        description="Delete an import, its photos and what was decided about them.",
    )
    removed.add_argument("name", metavar="NAME", help="as `data list` shows it")
    removed.add_argument("--yes", action="store_true", help="do not ask")
    removed.set_defaults(run=_remove)
    cli_look.add_to(actions)
    _add_mending(actions)


def _add_mending(actions: Commands) -> None:
    """What can be done with any photos, however they are opened."""
    spec: dict[str, Any] = {
        "metavar": "SPEC",
        "help": "as --data takes it: a folder, import:NAME, a name on the Hub, beans",
    }
    checked = actions.add_parser(
        "check",
        help="what is wrong with the photos",
        description="Find copies, leakage, wrong labels, and bad photos.",
    )
    checked.add_argument("spec", **spec)
    add_model(checked)
    checked.add_argument("--json", action="store_true", help="print all findings as JSON")
    add_corrections(checked)
    checked.set_defaults(run=_check)
    decisions = actions.add_parser(
        "decisions",
        help="what was decided about them",
        description="The decisions in force, which mended:SPEC applies.",
    )
    decisions.add_argument("spec", **spec)
    decisions.add_argument("--json", action="store_true", help="print them as JSON")
    decisions.set_defaults(run=_decisions)
    undone = actions.add_parser(
        "undo", help="take a decision back", description="Take a decision back, by default the last one."
    )
    undone.add_argument("spec", **spec)
    undone.add_argument("number", nargs="?", type=int, metavar="NUMBER", help="as `data decisions` shows it")
    undone.set_defaults(run=_undo)
    exported = actions.add_parser(
        "export", help="take photos away as files", description="Write photos and labels into a new folder."
    )
    exported.add_argument(
        "spec", metavar="SPEC", help=f"{spec['help']}; mended:SPEC with the decisions applied"
    )
    exported.add_argument("out", metavar="OUT", type=Path, help="a folder that is not there yet")
    exported.add_argument(
        "--format",
        choices=("folder", "parquet"),
        default="folder",
        help="split/class/photo, or a parquet file for each split",
    )
    add_corrections(exported)
    exported.set_defaults(run=_export)
    about = "push photos to the Hugging Face Hub, private"
    pushed = actions.add_parser(
        "push", help=about, description=f"{about[0].upper()}{about[1:]}. Log in first, with `hf auth login`."
    )
    pushed.add_argument(
        "spec", metavar="SPEC", help=f"{spec['help']}; mended:SPEC with the decisions applied"
    )
    pushed.add_argument(
        "name", metavar="NAME", help="such as your-name/my-leaves; what an earlier push put there is replaced"
    )
    add_corrections(pushed)
    pushed.set_defaults(run=_push)


def _import(options: argparse.Namespace) -> None:
    from vit_demo.data.importing.imports import import_photos

    source, corrections = _source(options)
    result = import_photos(source, options.name, _progress(), corrections=corrections)
    print(file=sys.stderr)
    if options.json:
        print(json.dumps(result.as_dict()))
        return
    counts = ", ".join(f"{split} {sum(classes.values())}" for split, classes in result.counts.items())
    print(f"{result.photos} photos are in {result.spec} ({counts}).")
    for note in result.said:
        print(f"- {note}")
    if result.cut:
        print(
            f"Set apart here: {' and '.join(result.cut)}. Copies of a photo ({result.copies} found) are on"
            " one side."
        )
    if result.skipped_count:
        print(f"{result.skipped_count} files were left out:")
        for entry in result.skipped[:SKIPPED_SHOWN]:
            print(f"  {entry['name']} {entry['why']}")
        if result.skipped_count > SKIPPED_SHOWN:
            print(f"  … see {result.folder / 'import.json'}")


def _source(options: argparse.Namespace) -> tuple[Path | Files | Table, Corrections]:
    from vit_demo.data.importing.gather import Files, Table
    from vit_demo.data.names import located
    from vit_demo.data.plan.corrections import Corrections, parted
    from vit_demo.data.plan.tables import is_table

    if options.label is not None:
        return Files(tuple(map(Path, options.source)), options.label), Corrections()
    if len(options.source) > 1:
        raise UserError("error.cli.import_label")
    text = options.source[0]
    name, corrections = (text, Corrections()) if located(text) else parted(text)
    path = located(name) or Path(name)
    return (Table(path, options.anywhere) if is_table(path) else path), corrections


def _progress() -> Callable[[Progress], None]:
    """Prints how far it is at each percent."""
    shown = -1

    def tell(progress: Progress) -> None:
        nonlocal shown
        if sys.stderr.isatty() and int(100 * progress.share) != shown:
            shown = int(100 * progress.share)
            print(
                f"\r{progress.done} photos taken, {shown} % of the source",
                end="",
                file=sys.stderr,
                flush=True,
            )

    return tell


def _list(options: argparse.Namespace) -> None:
    from vit_demo.data.importing.imports import list_imports

    found = list_imports()
    if options.json:
        print(json.dumps([one.as_dict() for one in found]))
        return
    if not found:
        print("There are no imports yet.")
        return
    rows = [("DATA", "PHOTOS", "CLASSES", "IMPORTED", "FROM")]
    for one in found:
        classes = {label for counts in one.counts.values() for label in counts}
        rows.append(
            (
                one.spec,
                str(one.photos),
                str(len(classes)),
                f"{datetime.fromtimestamp(one.time):%Y-%m-%d %H:%M}",
                one.source,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _remove(options: argparse.Namespace) -> int | None:
    from vit_demo.data.importing.imports import remove

    if not options.yes and not confirmed(
        f"Delete the import {options.name}, its photos and what was decided about them?"
    ):
        return 1
    remove(options.name)
    print(f"The import {options.name} is deleted.")
    return None


def _check(options: argparse.Namespace) -> None:
    from vit_demo.data.checks.checks import CHECKS
    from vit_demo.data.checks.findings import find, rare_classes
    from vit_demo.data.checks.reading import read_photos
    from vit_demo.data.corrections.decided import mend
    from vit_demo.data.corrections.journal import journal_of
    from vit_demo.data.open.sources import open_dataset

    spec = _unmended(options.spec)
    data = open_dataset(spec)
    reading = read_photos(data, open_model(options), partial(Line(), "Photos looked at"))
    decisions = journal_of(spec).decisions()
    found, rare = find(reading, data, decisions), {}
    with contextlib.suppress(UserError):  # a split is left without photos, which opening the mended set says
        rare = rare_classes(mend(data, decisions))
    if options.json:
        findings = [{**asdict(finding), "note": str(finding.note)} for finding in found]
        print(
            json.dumps(
                {
                    "photos": len(reading.photos),
                    "total": reading.total,
                    "findings": findings,
                    "rare_classes": rare,
                }
            )
        )
        return
    for check in CHECKS.values():
        _print_kind(check, [finding for finding in found if finding.kind == check.kind])
    for label, count in rare.items():
        print(f"Class imbalance: {label} has only {count} train photos.")
    if not found and not rare:
        print(f"{len(reading.photos)} photos were looked at, nothing was found.")
    if len(reading.photos) < reading.total:
        print(
            f"{len(reading.photos)} of {reading.total} photos were looked at, drawn by chance.",
            file=sys.stderr,
        )


def _print_kind(check: Check, found: list[Finding]) -> None:
    """A kind of finding with its sentence, and its photos, the surest first."""
    if not found:
        return
    sure = sum(finding.sure for finding in found)
    rest = f", {len(found) - sure} to look at" if sure < len(found) else ""
    print(f"{check.kind}: {sure} found{rest}. {check.meaning}")
    for finding in found[:FINDINGS_SHOWN]:
        photos = " = ".join(f"{split}: {path}" for split, path in finding.photos)
        unsure = "" if finding.sure else "  [look at it]"
        print(f"  {photos}{f'  ({finding.note})' if finding.note else ''}{unsure}")
    if len(found) > FINDINGS_SHOWN:
        print(f"  … and {len(found) - FINDINGS_SHOWN} more, see --json")


def _decisions(options: argparse.Namespace) -> None:
    from vit_demo.data.corrections.journal import journal_of

    found = journal_of(_unmended(options.spec)).decisions()
    if options.json:
        print(json.dumps([asdict(decision) for decision in found]))
    elif not found:
        print("Nothing was decided about these photos.")
    for decision in found if not options.json else ():
        print(_line(decision))


def _line(decision: Decision) -> str:
    to = f" {'and' if decision.action == 'keep' else 'to'} {decision.to}" if decision.to else ""
    why = f"  ({decision.why})" if decision.why else ""
    return (
        f"{decision.number:4}  {datetime.fromtimestamp(decision.time):%Y-%m-%d %H:%M}  {decision.action}"
        f" {decision.split}: {decision.path}{to}{why}"
    )


def _undo(options: argparse.Namespace) -> None:
    from vit_demo.data.corrections.journal import journal_of

    if options.number is not None and options.number < 1:
        raise UserError("error.cli.decision_number")
    print(f"Taken back: {_line(journal_of(_unmended(options.spec)).undo(options.number)).strip()}")


def _export(options: argparse.Namespace) -> None:
    from vit_demo.data.corrections.decided import fingerprint
    from vit_demo.data.open.sources import open_dataset
    from vit_demo.data.output.export import export

    data = open_dataset(options.spec)
    total, line = sum(map(len, data.values())), Line()
    export(data, options.out, options.format, lambda done: line("Photos written", done, total))
    print(
        f"{total} photos are in {options.out}"
        f" ({', '.join(f'{split} {len(part)}' for split, part in data.items())})."
    )
    print(f"Fingerprint: {fingerprint(data)}")


def _push(options: argparse.Namespace) -> None:
    from vit_demo.data.corrections.decided import fingerprint
    from vit_demo.data.open.sources import open_dataset
    from vit_demo.data.output.push import push

    data = open_dataset(options.spec)
    total, line = sum(map(len, data.values())), Line()
    print(
        f"{total} photos are at {push(data, options.name, lambda done: line('Photos packed', done, total))},"
        " for you alone to see."
    )
    print(f"Fingerprint: {fingerprint(data)}")


def _unmended(spec: str) -> str:
    """Decisions are about the source, whether it is named with or without them."""
    from vit_demo.data.names import BEANS, MENDED

    return spec.strip().removeprefix(MENDED).strip() or BEANS
