"""The data sets that are open on some page, with what runs and measurements say of their photos."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence, say
from vit_demo.data.browse import statistics
from vit_demo.data.browse.catalogue import Catalogue
from vit_demo.data.browse.finding_columns import add_findings
from vit_demo.data.checks.finding import Finding
from vit_demo.data.corrections.review_source import review_to_look_at
from vit_demo.data.importing import imports
from vit_demo.data.names import BEANS, HUB_BEANS, REVIEW
from vit_demo.data.normalise import notes_of
from vit_demo.data.open.sources import open_dataset
from vit_demo.training.result import predictions
from vit_demo.training.run import runs

# Data sets, and runs looked at with one of them, that are kept.
KEEP, KEEP_RUNS = 4, 8
# So many runs are offered, the newest.
MOST_RUNS = 50
# The splits that a run looks at when it has learned.
SCORED = ("validation", "test")


@dataclass(frozen=True)
class Opened:
    """key: what a page asks for it by, so that the next page of photos need not look through the folder for
    changes.

    source: how it was opened. notes: what was guessed or found when it was. Two are the same by their key,
    however much is known of the photos by then.
    """

    key: str
    catalogue: Catalogue = field(compare=False)
    source: str = field(default="", compare=False)
    notes: tuple[Sentence, ...] = field(default=(), compare=False)


_opened: OrderedDict[str, Opened] = OrderedDict()
# By key, the findings that its catalogue has.
_learned: dict[str, tuple[Finding, ...]] = {}
_with_runs: OrderedDict[tuple, tuple[Catalogue, Catalogue]] = OrderedDict()
_lock = threading.RLock()


def sources() -> list[tuple[str, str]]:
    """(title, value) of the photos to choose from: the corrected ones and those that were brought in too,
    where they may be kept.
    """
    return [*usual_sources(), corrected(), *brought()] if settings.load().review else usual_sources()


def usual_sources() -> list[tuple[str, str]]:
    """(title, value) of the photos that everyone can choose, in the current language."""
    return [(say("data.source.beans"), BEANS), (say("data.source.hub"), HUB_BEANS)]


def corrected() -> tuple[str, str]:
    """(title, value) of the corrected photos."""
    return say("data.source.review"), REVIEW


def brought() -> list[tuple[str, str]]:
    """(title, value) of the imports, the newest first."""
    return [
        (say("data.source.brought", name=one.name, count=one.photos), one.spec)
        for one in imports.list_imports()
    ]


def open_source(source: str | None) -> Opened:
    """As it is now on disk; kept while it stays the same."""
    # Too few corrections to train on can be looked at all the same.
    data = review_to_look_at() if (source or "").strip() == REVIEW else open_dataset(source)
    with _lock:
        for one in _opened.values():
            if one.catalogue.data is data:
                _opened.move_to_end(one.key)
                return one
        catalogue = Catalogue(data)
        found = statistics.kept(catalogue)
        # Drawn, so that a page from before a restart does not get another data set.
        one = Opened(
            secrets.token_hex(8),
            catalogue if found is None else found.add_to(catalogue),
            (source or "").strip(),
            tuple(notes_of(data)),
        )
        _opened[one.key] = one
        while len(_opened) > KEEP:
            _opened.popitem(last=False)
        return one


def opened(source: str | None, key: str) -> Opened:
    """As it was when the page opened it; corrections are read anew, since a photo that was taken away must
    not be shown.
    """
    with _lock:
        if key in _opened and (source or "").strip() != REVIEW:
            _opened.move_to_end(key)
            return _opened[key]
    return open_source(source)


def learn(one: Opened, found: statistics.Statistics) -> None:
    """From now on its photos can be found by these numbers."""
    with _lock:
        kept = _opened.get(one.key)
        if kept is not None and kept.catalogue.known.problems is None:
            _opened[one.key] = replace(kept, catalogue=found.add_to(kept.catalogue))


def learn_findings(one: Opened, found: tuple[Finding, ...], looked_at: Sequence[tuple[str, str]]) -> None:
    """From now on its photos can be found by what a check found of those that were looked at. found: the same
    object while it is the same.
    """
    with _lock:
        kept = _opened.get(one.key)
        if kept is not None and _learned.get(one.key) is not found:
            _opened[one.key] = replace(kept, catalogue=add_findings(kept.catalogue, found, looked_at))
            _learned[one.key] = found
            for gone in [key for key in _learned if key not in _opened]:
                del _learned[gone]


def scored_runs() -> list[tuple[str, str]]:
    """(id, name) of the newest runs of which it is known what they said of each photo."""
    return [
        (run.id, run.name) for run in runs.list_runs() if (run.model_folder / predictions.FILE).is_file()
    ][:MOST_RUNS]


def with_run(one: Opened, run_id: str) -> Catalogue:
    """The photos with what a run said of them. Raises UserError where it said nothing of any."""
    run = runs.find(run_id)
    try:
        changed = (run.model_folder / predictions.FILE).stat().st_mtime_ns if run is not None else None
    except OSError:
        changed = None
    if run is None or changed is None:
        raise UserError("error.data_tab.no_run")
    key = one.key, run_id, changed
    with _lock:
        base, view = _with_runs.get(key, (None, None))
        if view is None or base is not one.catalogue:
            view = _ask(one.catalogue, run)
            _with_runs[key] = one.catalogue, view
            while len(_with_runs) > KEEP_RUNS:
                _with_runs.popitem(last=False)
        return view


def _ask(catalogue: Catalogue, run: runs.Run) -> Catalogue:
    found = [
        (split, prediction) for split in SCORED for prediction in predictions.read(run.model_folder, split)
    ]
    rows = catalogue.lookup([split for split, _ in found], [prediction.path for _, prediction in found])
    if not len(found) or (rows < 0).all():
        raise UserError("error.data_tab.other_photos", run=run.name)
    names = tuple(sorted({*catalogue.labels, *(prediction.said for _, prediction in found)}))
    # Number -1, of a photo that the run did not look at, is the last.
    said = np.array([*(names.index(prediction.said) for _, prediction in found), -1], dtype=np.int32)[rows]
    probability = np.array([*(prediction.probability for _, prediction in found), np.nan], dtype=np.float32)[
        rows
    ]
    return catalogue.knowing(
        said=said, said_names=names, numbers={**(catalogue.known.numbers or {}), "probability": probability}
    )
