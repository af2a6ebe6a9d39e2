"""``vit_demo data``: bring photos into a data set of their own, see what was brought, and delete it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from vit_demo.errors import UserError

SKIPPED_SHOWN = 10


def add_to(commands) -> None:
    """Add the command and what can be done with it."""
    about = "bring photos into a data set of their own"
    parser = commands.add_parser("data", help=about, description=f"{about[0].upper()}{about[1:]}.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    brought = actions.add_parser("import", help="take in photos", description="Take in photos; then give --data import:NAME.")
    brought.add_argument(
        "source", nargs="+", metavar="SOURCE",
        help="a zip or tar file or a folder (class/photo, split/class/photo, photos with a CSV, or parquet files), a CSV of paths and labels, "
             "or photos with --label",
    )
    brought.add_argument("--name", required=True, help="what the data set is called")
    brought.add_argument("--label", help="the class that all these photos show; they are added where the data set is there already")
    brought.add_argument("--anywhere", action="store_true", help="photos named in a CSV may lie outside its folder")
    brought.add_argument("--json", action="store_true", help="print the result as JSON")
    brought.set_defaults(run=_import)
    listed = actions.add_parser("list", help="all imports", description="All imports.")
    listed.add_argument("--json", action="store_true", help="print them as JSON")
    listed.set_defaults(run=_list)
    removed = actions.add_parser("remove", help="delete an import and its photos", description="Delete an import and its photos.")
    removed.add_argument("name", metavar="NAME", help="as `data list` shows it")
    removed.add_argument("--yes", action="store_true", help="do not ask")
    removed.set_defaults(run=_remove)


def _import(options: argparse.Namespace) -> None:
    from vit_demo.data.imports import import_photos

    result = import_photos(_source(options), options.name, _progress())
    print(file=sys.stderr)
    if options.json:
        print(json.dumps({**asdict(result), "photos": result.photos, "spec": result.spec, "folder": str(result.folder)}))
        return
    counts = ", ".join(f"{split} {sum(classes.values())}" for split, classes in result.counts.items())
    print(f"{result.photos} photos are in {result.spec} ({counts}).")
    if result.cut:
        print(f"Set apart here: {' and '.join(result.cut)}. Copies of a photo ({result.copies} found) are on one side.")
    if result.skipped_count:
        print(f"{result.skipped_count} files were left out:")
        for entry in result.skipped[:SKIPPED_SHOWN]:
            print(f"  {entry['name']} {entry['why']}")
        if result.skipped_count > SKIPPED_SHOWN:
            print(f"  … see {result.folder / 'import.json'}")


def _source(options: argparse.Namespace):
    from vit_demo.data.gather import Files, Table
    from vit_demo.data.tables import is_table

    paths = [Path(path) for path in options.source]
    if options.label is not None:
        return Files(tuple(paths), options.label)
    if len(paths) > 1:
        raise UserError("Several photos need their class: give --label. Archives and folders are imported one at a time.")
    if is_table(paths[0]):
        return Table(paths[0], options.anywhere)
    return paths[0]


def _progress():
    """Prints how far it is at each percent."""
    shown = -1

    def tell(progress) -> None:
        nonlocal shown
        if sys.stderr.isatty() and int(100 * progress.share) != shown:
            shown = int(100 * progress.share)
            print(f"\r{progress.done} photos taken, {shown} % of the source", end="", file=sys.stderr, flush=True)

    return tell


def _list(options: argparse.Namespace) -> None:
    from vit_demo.data.imports import list_imports

    found = list_imports()
    if options.json:
        print(json.dumps([{**asdict(one), "photos": one.photos, "spec": one.spec, "folder": str(one.folder)} for one in found]))
        return
    if not found:
        print("There are no imports yet.")
        return
    rows = [("DATA", "PHOTOS", "CLASSES", "IMPORTED", "FROM")]
    for one in found:
        classes = {label for counts in one.counts.values() for label in counts}
        rows.append((one.spec, str(one.photos), str(len(classes)), f"{datetime.fromtimestamp(one.time):%Y-%m-%d %H:%M}", one.source))
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _remove(options: argparse.Namespace) -> int | None:
    from vit_demo.data.imports import remove

    if not options.yes:
        print(f"Delete the import {options.name} and its photos? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("Nothing was deleted.", file=sys.stderr)
            return 1
    remove(options.name)
    print(f"The import {options.name} is deleted.")
    return None
