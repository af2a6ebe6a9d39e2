"""Where a run can stand, as its ``state.json`` and the command line name it."""

from __future__ import annotations

import enum


class RunStatus(enum.StrEnum):
    """In the order in which a run passes through them; a run that ended has one of the last four."""

    WAITING = "waiting"
    STARTING = "starting"
    PREPARING = "preparing"
    TRAINING = "training"
    SCORING = "scoring"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    # Never written: said of a run whose worker is gone without a last word.
    BROKEN_OFF = "broken off"


GOING = (RunStatus.WAITING, RunStatus.STARTING, RunStatus.PREPARING, RunStatus.TRAINING, RunStatus.SCORING)
ENDED = (RunStatus.FINISHED, RunStatus.STOPPED, RunStatus.FAILED)
