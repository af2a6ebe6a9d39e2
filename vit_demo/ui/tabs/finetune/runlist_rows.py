"""The runs as rows of a list. What has ended is read once and kept as long as its files are the same."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from vit_demo.common.errors import UserError
from vit_demo.common.words import current_language
from vit_demo.training.run import runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import ENDED, GOING
from vit_demo.ui.shared.runtext import settings_in_short, settings_or_refusal, status_word

# Files of a run that a row is made from.
FILES = ("state.json", "meta.json", "model/scores.json")


@dataclass(frozen=True)
class Row:
    """One run in the list. accuracy, interval: on the test photos, shares of 1. seconds: from start to
    end. created: time stamp. Each is None where it is not known (yet). not_measured: it was scored, but no
    test photo could be read."""

    id: str
    name: str
    status: str
    settings: str
    experiment: str = ""
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    seconds: float | None = None
    created: float | None = None
    not_measured: bool = False

    @property
    def going(self) -> bool:
        return self.status in GOING


@dataclass(frozen=True)
class Group:
    """The runs of one experiment, the newest first."""

    experiment: str
    rows: tuple[Row, ...]


@dataclass
class _Kept:
    """What was read of a run. bare: without its settings, which are said in each language when they are asked
    for.
    """

    stamp: tuple
    bare: Row
    config: TrainingConfig | UserError
    said: dict[str, Row] = field(default_factory=dict)

    def row(self) -> Row:
        """The row in the language of whoever is being answered."""
        language = current_language()
        if language not in self.said:
            self.said[language] = replace(self.bare, settings=settings_in_short(self.config))
        return self.said[language]


_kept: dict[Path, _Kept] = {}
_lock = threading.Lock()


def list_rows() -> list[Row]:
    """A row for each run, the newest first."""
    found = runs.list_runs()
    with _lock:
        rows = [row for row in map(_row, found) if row is not None]
        gone = _kept.keys() - {run.folder for run in found}
        for folder in gone:
            del _kept[folder]
    return rows


def _row(run: Run) -> Row | None:
    stamp = tuple(_changed(run.folder / name) for name in FILES)
    kept = _kept.get(run.folder)
    if kept and kept.stamp == stamp:
        return kept.row()
    try:
        kept = _Kept(stamp, *_read(run))
    except OSError:  # deleted this moment
        return None
    # Of one that is going the files alone do not tell whether its process still lives.
    if kept.bare.going:
        _kept.pop(run.folder, None)
    else:
        _kept[run.folder] = kept
    return kept.row()


def _changed(file: Path) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0


def _read(run: Run) -> tuple[Row, TrainingConfig | UserError]:
    state = run.state()
    # The scores of one that goes on again after a stop are those of the stop.
    scores = run.scores() if state["status"] in ENDED else {}
    test = scores.get("test") or {}
    row = Row(
        id=run.id,
        name=run.name,
        status=state["status"],
        settings="",
        experiment=run.experiment,
        accuracy=test.get("accuracy"),
        not_measured="test" in scores and not test,
        interval=tuple(test["interval"]) if "interval" in test else None,
        seconds=(state.get("result") or {}).get("seconds"),
        created=state.get("created"),
    )
    return row, settings_or_refusal(run)


def find_rows(rows: list[Row], text: str) -> list[Row]:
    """Those that have each word of the text in name, status, settings or id, as they are said to whoever
    asks.
    """
    wanted = (text or "").lower().split()
    return [
        row
        for row in rows
        if all(
            word in f"{row.name} {row.status} {status_word(row.status)} {row.settings} {row.id}".lower()
            for word in wanted
        )
    ]


def grouped(rows: list[Row]) -> list[Row | Group]:
    """The runs of an experiment together, where its newest one stands; all else as it is."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        if row.experiment:
            members.setdefault(row.experiment, []).append(row)
    items: list[Row | Group] = []
    for row in rows:
        if not row.experiment:
            items.append(row)
        elif row is members[row.experiment][0]:
            items.append(Group(row.experiment, tuple(members[row.experiment])))
    return items
