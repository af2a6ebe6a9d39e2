"""The curves of a run for a live plot: read on from where the last look ended, thinned to a fixed size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from vit_demo.training.runs import Run

POINTS = 600
KEEP = 16


class Series:
    """Points (step, value) of which at most ``limit`` are kept: full up, each two neighbours become their mean.

    Adding costs the same at any length, and the whole run stays in view.
    """

    def __init__(self, limit: int = POINTS):
        self._limit = limit
        self._group = 1
        self._waiting: list[tuple[float, float]] = []
        self._points: list[tuple[float, float]] = []

    def add(self, step: float, value: float) -> None:
        self._waiting.append((step, value))
        if len(self._waiting) < self._group:
            return
        self._points.append(_mean(self._waiting))
        self._waiting.clear()
        if len(self._points) >= self._limit:
            self._points = [_mean(self._points[index : index + 2]) for index in range(0, len(self._points), 2)]
            self._group *= 2

    @property
    def points(self) -> tuple[list[float], list[float]]:
        """(steps, values), with what is not yet a whole group as the last point."""
        points = self._points + ([_mean(self._waiting)] if self._waiting else [])
        return [step for step, _ in points], [value for _, value in points]


def _mean(points: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(step for step, _ in points) / len(points), sum(value for _, value in points) / len(points)


class Curves:
    """What a run's events add up to."""

    def __init__(self) -> None:
        self.offset = 0
        self.train_loss = Series()
        self.validation_loss = Series()
        self.validation_accuracy = Series()
        self.begin: dict = {}
        self.last_train: dict = {}
        self.last_validation: dict = {}
        self.warnings: list[str] = []

    def update(self, run: Run) -> None:
        """Take in what was appended since the last call."""
        events, self.offset = run.read_events(self.offset)
        for event in events:
            kind = event.get("kind")
            if kind == "train":
                self.train_loss.add(event["step"], event["loss"])
                self.last_train = event
            elif kind == "validation":
                self.validation_loss.add(event["step"], event["loss"])
                self.validation_accuracy.add(event["step"], event["accuracy"])
                self.last_validation = event
            elif kind == "begin":
                self.begin = event
            elif kind == "warning":
                self.warnings.append(event["message"])


_cache: OrderedDict[Path, Curves] = OrderedDict()
_lock = threading.Lock()


def curves_of(run: Run) -> Curves:
    """The curves of a run up to now. The cache only saves reading again what was read: the file is the truth."""
    with _lock:
        curves = _cache.setdefault(run.folder, Curves())
        if run.events_file.is_file() and run.events_file.stat().st_size < curves.offset:
            curves = _cache[run.folder] = Curves()  # the folder was deleted and made anew
        _cache.move_to_end(run.folder)
        while len(_cache) > KEEP:
            _cache.popitem(last=False)
        curves.update(run)
        return curves
