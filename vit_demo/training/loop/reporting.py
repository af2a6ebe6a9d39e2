"""The run's events, and where else they go when the user keeps an experiment tracker.

The trackers are optional: each is imported only where a run asks for it. Light without one: no torch.
"""

from __future__ import annotations

from typing import Any, Protocol

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.curves import DIGEST_EVENTS, Curves, curves_of
from vit_demo.training.run.events import EventLog
from vit_demo.training.run.notes import kept
from vit_demo.training.run.runs import Run
from vit_demo.training.run.trackers import TRACKERS

# What is drawn of which event, by the name it has in the tracker.
DRAWN = {
    "train": {
        "train/loss": "loss",
        "train/learning_rate": "learning_rate",
        "train/photos_per_second": "photos_per_second",
    },
    "validation": {"validation/loss": "loss", "validation/accuracy": "accuracy"},
}


class Tracker(Protocol):
    """An experiment tracker with a run of ours open in it."""

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Take in the numbers of a step."""

    def close(self) -> None:
        """The run has ended; what is still on its way must arrive."""


def open_log(run: Run, config: TrainingConfig) -> EventLog:
    """The log of a run, which also reports to ``config.report_to`` where that is set.

    Raises UserError where the tracker is not installed or cannot be opened.
    """
    if config.report_to is None:
        return KeptLog(run)
    kind = TRACKERS[config.report_to]
    try:
        tracker = kind.opener()(run, config)
    except ImportError as error:
        raise UserError(
            "error.training.tracker_missing",
            title=kind.title,
            missing=error.name or str(error),
            name=config.report_to,
        ) from None
    except Exception as error:  # each tracker has errors of its own: no login, no server, no room
        raise UserError(
            "error.training.tracker_not_opened", title=kind.title, reason=_one_line(error)
        ) from error
    return TrackedLog(run, tracker, kind.title)


class KeptLog(EventLog):
    """Appends each event to the run's own file, and now and then keeps what they add up to, for a quick first
    look at a long run.
    """

    def __init__(self, run: Run):
        super().__init__(run)
        self._run = run
        self._events = 0
        self._curves: Curves | None = None

    def add(self, kind: str, **values: Any) -> None:
        super().add(kind, **values)
        self._events += 1
        if self._events % DIGEST_EVENTS == 0:
            if self._curves is None:
                self._curves = Curves.open(self._run)
            self._curves.update(self._run)
            self._curves.keep(self._run)


class TrackedLog(KeptLog):
    """Appends each event to the run's own file, then tells the tracker; where that fails the run goes on
    without it.
    """

    def __init__(self, run: Run, tracker: Tracker, title: str):
        super().__init__(run)
        self._tracker: Tracker | None = tracker
        self._title = title
        # After a resume some steps come again; a tracker keeps the first, as the page does.
        before = curves_of(run)
        self._last = {
            "train": before.last_train.get("step", -1),
            "validation": before.last_validation.get("step", -1),
        }

    def add(self, kind: str, **values: Any) -> None:
        super().add(kind, **values)
        names, step = DRAWN.get(kind), values.get("step", -1)
        if self._tracker is None or names is None or step <= self._last[kind]:
            return
        self._last[kind] = step
        try:
            self._tracker.write(step, {name: values[key] for name, key in names.items()})
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        if self._tracker is not None:
            try:
                self._tracker.close()
            except Exception as error:
                self._give_up(error)
            self._tracker = None
        super().close()

    def _give_up(self, error: Exception) -> None:
        self._tracker = None
        super().add(
            "warning",
            **kept(Sentence("train.record.tracker_left", {"title": self._title, "reason": _one_line(error)})),
        )


def _one_line(error: Exception) -> str:
    """What a tracker says went wrong, without its line breaks and not at length."""
    return " ".join(str(error).split())[:200].rstrip(". ") or type(error).__name__
