"""The curves of a run for a live plot: read on from where the last look ended, thinned to a fixed size.

So that even the first look at a run of a million steps is quick, what was read is kept in the run's
folder as curves.json, with the place in events.jsonl up to which it goes. That file only saves time:
where it is missing, torn, old or of other events, everything is read anew.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vit_demo.common.atomic import write_atomically
from vit_demo.common.words import Sentence
from vit_demo.training.run.notes import told
from vit_demo.training.run.runs import Run

POINTS = 600
KEEP = 16
WARNINGS = 20
DIGEST = "curves.json"
# Changes with the meaning of the file.
DIGEST_VERSION = 2
# The worker keeps a digest after so many events. Reading that many is quicker than drawing them.
DIGEST_EVENTS = 500
# Of a digest that a reader has to make itself: bytes of events that are worth one.
WORTH_KEEPING = 2**19
CHUNK = 2**22
# So many bytes of the events before the place to read on from show whether they are still the same.
MARK = 160


class Series:
    """Points (step, value) of which at most ``limit`` are kept: full up, each two neighbours become their
    mean.

    Adding costs the same at any length, and the whole run stays in view.
    """

    def __init__(self, limit: int = POINTS):
        self._limit = limit
        self._group = 1
        self._waiting = (0, 0.0, 0.0)  # how many, the sum of their steps, of their values
        self._points: list[tuple[float, float]] = []

    def add(self, step: float, value: float) -> None:
        count, steps, values = self._waiting
        self._waiting = count + 1, steps + step, values + value
        if count + 1 < self._group:
            return
        self._points.append(_mean(self._waiting))
        self._waiting = (0, 0.0, 0.0)
        if len(self._points) >= self._limit:
            points = self._points
            self._points = [
                _mean((2, before[0] + after[0], before[1] + after[1]))
                for before, after in zip(points[::2], points[1::2])
            ]
            self._group *= 2

    @property
    def thinned(self) -> bool:
        """Whether points are means of several steps."""
        return self._group > 1

    @property
    def points(self) -> tuple[list[float], list[float]]:
        """(steps, values), with what is not yet a whole group as the last point."""
        points = self._points + ([_mean(self._waiting)] if self._waiting[0] else [])
        return [step for step, _ in points], [value for _, value in points]

    def to_dict(self) -> dict[str, Any]:
        return {"limit": self._limit, "group": self._group, "waiting": self._waiting, "points": self._points}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Series:
        """The inverse of :meth:`to_dict`; ValueError, KeyError or TypeError where the values are of something
        else.
        """
        series = cls()
        if (
            values["limit"] != series._limit
            or not isinstance(values["group"], int)
            or values["group"] < 1
            or len(values["points"]) >= series._limit
        ):
            raise ValueError("another kind of series")
        series._group = values["group"]
        count, steps, total = values["waiting"]
        series._waiting = (int(count), float(steps), float(total))
        series._points = [(float(step), float(value)) for step, value in values["points"]]
        return series


def _mean(waiting: tuple[int, float, float]) -> tuple[float, float]:
    count, steps, values = waiting
    return steps / count, values / count


SERIES = ("train_loss", "validation_loss", "validation_accuracy")
LAST = ("begin", "since", "last_train", "last_validation")


class Curves:
    """What a run's events add up to.

    offset: bytes of events.jsonl that are taken in. begin, last_train, last_validation: the newest
    event of that kind, {} before one. since: the event with which this sitting of the run began, its
    beginning or the newest "resumed". earlier: seconds of training in the sittings before it. latest: time
    stamp of the newest event. warnings: the texts of the newest of them; :meth:`notes` says them.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.train_loss = Series()
        self.validation_loss = Series()
        self.validation_accuracy = Series()
        self.begin: dict[str, Any] = {}
        self.since: dict[str, Any] = {}
        self.earlier = 0.0
        self.latest = 0.0
        self.last_train: dict[str, Any] = {}
        self.last_validation: dict[str, Any] = {}
        self._warnings: list[dict[str, Any]] = []
        self._mark = b""

    @property
    def warnings(self) -> list[str]:
        return [warning["message"] for warning in self._warnings]

    def notes(self) -> list[Sentence | str]:
        """The warnings, for people in any language; those of older programs as they wrote them."""
        return [told(warning) for warning in self._warnings]

    @classmethod
    def open(cls, run: Run) -> Curves:
        """What the run's digest holds, or nothing yet; :meth:`update` takes in the rest."""
        try:
            values = json.loads((run.folder / DIGEST).read_text(encoding="utf-8"))
            curves = cls()
            if (
                values["version"] != DIGEST_VERSION
                or not isinstance(values["offset"], int)
                or values["offset"] < 0
            ):
                return cls()
            curves.offset, curves._mark = values["offset"], values["mark"].encode("latin-1")
            for name in SERIES:
                setattr(curves, name, Series.from_dict(values[name]))
            for name in LAST:
                if not isinstance(values[name], dict):
                    return cls()
                setattr(curves, name, values[name])
            # Older programs kept the texts alone.
            said = values.get("said", [None] * len(values["warnings"]))
            curves._warnings = [
                {"message": str(text), "said": one}
                for text, one in zip(values["warnings"], said, strict=True)
            ]
            curves.earlier, curves.latest = float(values["earlier"]), float(values["latest"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()
        return curves if curves.fits(run) else cls()

    def keep(self, run: Run) -> None:
        """Replace the run's digest; where that is not possible nothing is lost."""
        values = {
            "version": DIGEST_VERSION,
            "offset": self.offset,
            "mark": self._mark.decode("latin-1"),
            "warnings": self.warnings,
            "said": [warning["said"] for warning in self._warnings],
            "earlier": self.earlier,
            "latest": self.latest,
            **{name: getattr(self, name).to_dict() for name in SERIES},
            **{name: getattr(self, name) for name in LAST},
        }
        with contextlib.suppress(OSError):
            write_atomically(run.folder / DIGEST, json.dumps(values))

    def fits(self, run: Run) -> bool:
        """Whether the run's events still begin with those that were taken in: a folder can be deleted and
        made anew.
        """
        if not self.offset:
            return True
        try:
            with open(run.events_file, "rb") as file:
                file.seek(max(0, self.offset - MARK))
                return file.read(min(MARK, self.offset)) == self._mark
        except OSError:
            return False

    def update(self, run: Run) -> None:
        """Take in what was appended since the last call, a piece at a time."""
        for data in _whole_lines(run, self.offset):
            for line in data.splitlines():
                try:
                    event = json.loads(line)
                except ValueError:  # torn by a crash, then appended to
                    continue
                if isinstance(event, dict):
                    self._take(event)
            self.offset += len(data)
            self._mark = (self._mark + data[-MARK:])[-MARK:]

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("kind")
        if kind in ("begin", "resumed"):
            self.earlier += self.latest - self.since.get("time", self.latest)
            self.since = event
        self.latest = event.get("time", self.latest)
        if kind == "train":
            # A run that goes on from a checkpoint does the steps since then once more.
            if event["step"] > self.last_train.get("step", -1):
                self.train_loss.add(event["step"], event["loss"])
                self.last_train = event
        elif kind == "validation":
            if event["step"] > self.last_validation.get("step", -1):
                self.validation_loss.add(event["step"], event["loss"])
                self.validation_accuracy.add(event["step"], event["accuracy"])
                self.last_validation = event
        elif kind == "begin":
            self.begin = event
        elif kind == "warning":
            self._warnings = [*self._warnings, {"message": event["message"], "said": event.get("said")}][
                -WARNINGS:
            ]


def _whole_lines(run: Run, offset: int) -> Iterator[bytes]:
    """The events from a byte offset on, in pieces of whole lines; a line still being written waits."""
    rest = b""
    try:
        with open(run.events_file, "rb") as file:
            file.seek(offset)
            while data := file.read(CHUNK):
                data = rest + data
                end = data.rfind(b"\n") + 1
                rest = data[end:]
                if end:
                    yield data[:end]
    except FileNotFoundError:
        return


_cache: OrderedDict[Path, Curves] = OrderedDict()
_lock = threading.Lock()


def curves_of(run: Run) -> Curves:
    """The curves of a run up to now. The cache only saves reading again what was read: the file is the
    truth.
    """
    with _lock:
        curves = _cache.get(run.folder)
        if curves is None or not curves.fits(run):
            curves = _cache[run.folder] = Curves.open(run)
        _cache.move_to_end(run.folder)
        while len(_cache) > KEEP:
            _cache.popitem(last=False)
        begin = curves.offset
        curves.update(run)
        if curves.offset - begin >= WORTH_KEEPING:
            curves.keep(run)
        return curves
