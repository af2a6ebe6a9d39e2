"""The photos that people corrected, without a browser: ``python -m vit_demo review list | remove | clear |
path``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from vit_demo.cli.options import confirmed
from vit_demo.common.errors import UserError
from vit_demo.model.abstention import Verdict

if TYPE_CHECKING:
    from vit_demo.cli.options import Commands

ID_SHOWN = 12


def add_to(commands: Commands) -> None:
    """Add ``review`` to the commands of the program: what add_subparsers() gave."""
    parser = commands.add_parser("review", help="list and remove the photos that were corrected")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = _action(actions, "list", "all photos of the review set, the newest first", _list)
    listed.add_argument("--json", action="store_true", help="print JSON")
    removed = _action(actions, "remove", "take photos out of the review set and delete their files", _remove)
    removed.add_argument("ids", nargs="+", metavar="ID", help="as `review list` shows it")
    cleared = _action(actions, "clear", "delete the whole review set", _clear)
    cleared.add_argument("--yes", action="store_true", help="do not ask")
    _action(actions, "path", "the folder where the review set is kept", _path)


def _action(
    actions: Commands, name: str, about: str, function: Callable[[argparse.Namespace], int | None]
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    parser.set_defaults(run=function)
    return parser


def _list(options: argparse.Namespace) -> None:
    from vit_demo.data.corrections import review_set

    found = review_set.corrections()
    if options.json:
        print(json.dumps([{**asdict(one), "file": str(one.file)} for one in found]))
        return
    if not found:
        print("The review set is empty.")
        return
    rows = [("ID", "LABEL", "MODEL SAID", "PROBABILITY", "MODEL", "STORED", "NOTE")]
    for one in found:
        moment = datetime.fromtimestamp(one.time).strftime("%Y-%m-%d %H:%M")
        said = (
            one.said.label
            if one.said.verdict in (None, Verdict.DIAGNOSIS)
            else f"{one.said.label} ({one.said.verdict})"
        )
        rows.append(
            (
                one.id[:ID_SHOWN],
                one.label,
                said,
                f"{one.said.probability:.3f}",
                one.said.model,
                moment,
                one.note,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _remove(options: argparse.Namespace) -> None:
    from vit_demo.data.corrections import review_set

    for beginning in options.ids:
        found = [one for one in review_set.corrections() if beginning and one.id.startswith(beginning)]
        if len(found) > 1:
            raise UserError("error.cli.review_several", count=len(found), beginning=beginning)
        review_set.remove(found[0].id if found else beginning)
        print(f"{found[0].id[:ID_SHOWN]} ({found[0].label}) is removed.")


def _clear(options: argparse.Namespace) -> int | None:
    from vit_demo.data.corrections import review_set

    if not options.yes and not confirmed(
        f"Delete all {len(review_set.corrections())} photos of the review set?"
    ):
        return 1
    print(f"{review_set.clear()} photos are deleted.")
    return None


def _path(options: argparse.Namespace) -> None:
    from vit_demo.data.corrections import review_set

    print(review_set.folder())
