"""The process that does one run: ``python -m vit_demo.training.worker RUN_FOLDER``."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock

from vit_demo import collector_paused
from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.training.run import queue
from vit_demo.training.run.notes import kept
from vit_demo.training.run.runs import Run
from vit_demo.training.run.status import RunStatus

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from vit_demo.training.job import Listener

UNEXPECTED = "error.training.unexpected"

# The page must stay quick while a run takes all cores.
NICENESS = 5
# How long the last word of a run waits for room on a full disk.
SETTLE_SECONDS = 300


def execute(run: Run, listener: Listener | None = None) -> dict[str, Any]:
    """Do the run at once in this process; its state says how it ended, also when it failed.

    Who starts a run in a terminal does not want to wait in the queue; those who wait there let it end first.
    Raises UserError with the sentence that the state holds.
    """
    run.claim()
    _heed_signals(run)
    lock = None
    with contextlib.suppress(UserError):  # settings that cannot be read are reported below
        lock = queue.lock_if_free(run.config())
    try:
        return _work(run, listener)
    finally:
        if lock is not None:
            lock.release()


def _heed_signals(run: Run) -> None:
    def stop(*_: object) -> None:
        run.told_to_stop = True
        with contextlib.suppress(UserError):  # where the disk is full, this process knows it all the same
            run.request_stop()

    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), stop)


def _work(run: Run, listener: Listener | None = None) -> dict[str, Any]:
    try:
        # Imported only now: claim and queue must not wait for torch.
        with collector_paused():
            import torch

            from vit_demo.training.loop.finetune import fine_tune

        if settings.load().threads:
            torch.set_num_threads(settings.load().threads)
        return fine_tune(run, listener) if listener else fine_tune(run)
    except Exception as error:
        refusal = _refusal(error)
        with contextlib.suppress(UserError):  # its folder may be gone
            run.set_state(status=RunStatus.FAILED, ended=time.time(), **kept(refusal.sentence))
        if refusal is error:
            raise
        if refusal.sentence.key == UNEXPECTED:
            traceback.print_exc()
        raise refusal from error
    finally:
        run.settle(SETTLE_SECONDS)


def _refusal(error: Exception) -> UserError:
    """What went wrong, for a person."""
    if isinstance(error, UserError):
        return error
    if (
        isinstance(error, MemoryError)
        or "out of memory" in str(error).lower()
        or "can't allocate memory" in str(error).lower()
    ):
        return UserError("error.training.memory_full")
    # safetensors says it in words alone, with an exception of its own.
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "no space left on device" in str(
        error
    ).lower():
        return UserError("error.training.disk_full")
    return UserError(UNEXPECTED, kind=type(error).__name__, what=str(error))


class _Output(io.FileIO):
    """The worker's log: what a full disk does not take is left out, since it must not end the run."""

    def write(self, data: ReadableBuffer) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(cast("bytes", data))  # or a view of them


def main() -> int:
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    run = Run(Path(sys.argv[1]))
    try:
        if run.state()["status"] != RunStatus.WAITING:  # started by hand, not by the queue
            execute(run)
        elif (lock := _wait(run)) is not None:
            _work(run)
            lock.release()
    except UserError as error:
        print(f"failed: {error}", flush=True)
        return 2
    return 0


def _wait(run: Run) -> FileLock | None:
    """The device's lock when it is the run's turn, or None where that does not come."""
    run.claim()
    _heed_signals(run)
    try:
        return queue.wait_for_turn(run)
    except OSError as error:
        refusal = _refusal(error)
        run.set_state(status=RunStatus.FAILED, ended=time.time(), **kept(refusal.sentence))
        raise refusal from error


def _keep_on_full_disk() -> None:
    """From now on this process can print whatever the state of the disk that its log is on."""
    for name in ("stdout", "stderr"):
        raw = _Output(getattr(sys, name).fileno(), "w", closefd=False)
        setattr(
            sys,
            name,
            io.TextIOWrapper(
                io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
            ),
        )


if __name__ == "__main__":
    _keep_on_full_disk()
    sys.exit(main())
