"""The list of runs without a browser: ``python -m vit_demo runs list | show | resume | stop | rename | delete
| export | again``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_demo.cli.options import confirmed
from vit_demo.common.errors import UserError

if TYPE_CHECKING:
    from vit_demo.cli.options import Commands
    from vit_demo.training.run.runs import Run

NOT_MEASURED = "not measured"
LATEST = "the id of a run, as `runs list` shows it, or `latest`"


def add_to(commands: Commands) -> None:
    """Add ``runs`` to the commands of the program: what add_subparsers() gave."""
    parser = commands.add_parser("runs", help="list, resume, stop, rename, delete and repeat runs")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _action(actions, "list", "all runs, the newest first", _list)
    _action(actions, "show", "where a run stands, its settings and its result", _show, "run_id")
    _action(actions, "resume", "let a stopped or broken-off run go on in the background", _resume, "run_id")
    _action(
        actions, "stop", "end a run and keep its best model, or take it out of the queue", _stop, "run_id"
    )
    _action(actions, "rename", "give a run a name", _rename, "run_id").add_argument(
        "name", metavar="NAME", help="an empty one takes the name away"
    )
    delete = _action(actions, "delete", "remove runs with their models", _delete, "run_ids")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    export = _action(
        actions, "export", "the settings and the exact command line of a run, as JSON", _export, "run_id"
    )
    export.add_argument("--out", help="file to write (default: standard output)")
    again = _action(
        actions, "again", "the same settings with another seed, in the background", _again, "run_id"
    )
    again.add_argument("--seed", type=int, help="default: the next one")


def _action(
    actions: Commands,
    name: str,
    about: str,
    function: Callable[[argparse.Namespace], int | None],
    takes: str = "",
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    if takes:
        parser.add_argument(takes, metavar="RUN", help=LATEST, nargs="+" if takes == "run_ids" else None)
    if name != "export":
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=function)
    return parser


def _find(run_id: str) -> Run:
    from vit_demo.training.run import runs

    if run_id == "latest":
        found = next(iter(runs.list_runs()), None)
        if found is None:
            raise UserError("error.cli.no_runs")
        return found
    found = runs.find(run_id)
    if found is None:
        raise UserError("error.cli.no_run", run=run_id)
    return found


def describe(run: Run) -> dict[str, Any]:
    """A run for programs: id, name, experiment, status, message, what is known of its photos, settings, and
    the result where there is one.
    """
    from vit_demo.training.run.notes import english_all
    from vit_demo.training.run.runs import ON_DRAWINGS

    state, scores = run.state(), run.scores()
    try:
        config = json.loads(run.config().to_json())
    except UserError:  # of another version of the program
        config = None
    result = state.get("result") or {}
    return {
        "id": run.id,
        "name": run.name,
        "experiment": run.experiment,
        "status": state["status"],
        "message": state.get("message", ""),
        "note": str(ON_DRAWINGS) if run.learned_from_drawings() else "",
        "created": state.get("created"),
        "started": state.get("started"),
        "ended": state.get("ended"),
        "place": state.get("place", 0),
        "done": state.get("done"),
        "total": state.get("total"),
        "can_resume": run.can_resume(),
        "test_accuracy": (scores.get("test") or {}).get("accuracy"),
        "validation_accuracy": (scores.get("validation") or {}).get("accuracy"),
        "test_measured": bool(scores["test"]) if "test" in scores else None,
        "data_notes": english_all(state.get("data_notes")),
        "seconds": result.get("seconds"),
        "folder": str(run.folder),
        "model": str(run.model_folder) if run.has_model() else None,
        "config": config,
    }


def _list(options: argparse.Namespace) -> None:
    from vit_demo.training.run import experiments, runs

    found = runs.list_runs()
    described = [describe(run) for run in found]
    counts = Counter(entry["experiment"] for entry in described if entry["experiment"])
    summaries = {
        experiment: experiments.summary(
            [run for run, entry in zip(found, described) if entry["experiment"] == experiment]
        )
        for experiment, count in counts.items()
        if count > 1
    }
    if options.json:
        print(
            json.dumps(
                {
                    "runs": described,
                    "experiments": {name: summary.to_dict() for name, summary in summaries.items()},
                }
            )
        )
        return
    if not found:
        print("There are no runs yet.")
        return
    rows = [("RUN", "STATUS", "TEST", "SECONDS", "SEED", "DATA", "MODEL", "NAME"), *map(_row, described)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    for experiment, summary in summaries.items():
        print(f"Experiment {experiment}: {summary.sentence()}")


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    config = entry["config"] or {}
    status = (
        f"waiting ({entry['place']})" if entry["status"] == "waiting" and entry["place"] else entry["status"]
    )
    if entry["status"] == "training" and entry["total"]:
        status = f"training {100 * (entry['done'] or 0) // entry['total']} %"
    test = "" if entry["test_accuracy"] is None else f"{entry['test_accuracy']:.4f}"
    if entry["test_measured"] is False:
        test = NOT_MEASURED
    seconds = "" if entry["seconds"] is None else f"{entry['seconds']:.0f}"
    name = "" if entry["name"] == entry["id"] else entry["name"]
    return (
        entry["id"],
        status,
        test,
        seconds,
        str(config.get("seed", "")),
        str(config.get("data", "")),
        str(config.get("model", "")),
        name,
    )


def _show(options: argparse.Namespace) -> None:
    run = _find(options.run_id)
    entry = describe(run)
    if options.json:
        print(json.dumps(entry))
        return
    rows = {
        "Run": run.id,
        "Name": run.name if run.name != run.id else "",
        "Experiment": run.experiment,
        "Status": entry["status"],
        " ": entry["message"],
        "Note": entry["note"],
        "Created": _moment(entry["created"]),
        "Ended": _moment(entry["ended"]),
        "Folder": entry["folder"],
    }
    for title, text in rows.items():
        if text:
            print(f"{title:12}{text}")
    if entry["test_accuracy"] is not None:
        low, high = run.scores()["test"]["interval"]
        print(f"{'Test':12}{entry['test_accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})")
    elif entry["test_measured"] is False:
        print(f"{'Test':12}{NOT_MEASURED}")
    for note in entry["data_notes"]:
        print(f"{'Photos':12}{note}")
    if entry["can_resume"]:
        print(f"{'Go on':12}python -m vit_demo runs resume {run.id}")
    if entry["config"] is not None and not entry["note"]:
        print(f"{'Repeat':12}{run.config().command()}")


def _moment(seconds: Any) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
    except (TypeError, ValueError, OverflowError, OSError):
        return ""


def _resume(options: argparse.Namespace) -> None:
    from vit_demo.training.run import queue

    _say(options, queue.resume(_find(options.run_id)), "goes on in the background")


def _stop(options: argparse.Namespace) -> None:
    run = _find(options.run_id)
    if not run.is_going():
        raise UserError("error.cli.run_not_going", run=run.id)
    run.request_stop()
    _say(options, run, "will end after the step it is at, or leave the queue")


def _rename(options: argparse.Namespace) -> None:
    run = _find(options.run_id)
    run.rename(options.name)
    _say(options, run, f"is now called {run.name}")


def _delete(options: argparse.Namespace) -> int | None:
    from vit_demo.training.run import runs

    found = {run.id: run for run in map(_find, options.run_ids)}
    if not options.yes and not confirmed(
        f"Delete {', '.join(found)} with all models in {'it' if len(found) == 1 else 'them'}?"
    ):
        return 1
    for run in found.values():
        runs.delete(run)
        print(
            json.dumps({"id": run.id, "deleted": True}) if options.json else f"The run {run.id} is deleted."
        )
    return None


def _export(options: argparse.Namespace) -> None:
    text = _find(options.run_id).export()
    if not options.out:
        print(text)
        return
    try:
        Path(options.out).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError("error.cli.out_unwritten", file=str(options.out), reason=error.strerror) from None


def _again(options: argparse.Namespace) -> None:
    from vit_demo.training.run import queue

    run = queue.again(_find(options.run_id), options.seed)
    _say(options, run, f"is started in the background with seed {run.config().seed}")


def _say(options: argparse.Namespace, run: Run, text: str) -> None:
    print(json.dumps(describe(run)) if options.json else f"The run {run.id} {text}.")
