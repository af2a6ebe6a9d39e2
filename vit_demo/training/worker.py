"""The process that does one run: ``python -m vit_demo.training.worker RUN_FOLDER``."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from vit_demo import settings
from vit_demo.errors import UserError
from vit_demo.training.runs import Run

UNEXPECTED = "The run failed unexpectedly"

# The page must stay quick while a run takes all cores.
NICENESS = 5


def execute(run: Run, listener: Callable | None = None) -> dict:
    """Do the run in this process; its state says how it ended, also when it failed.

    Raises UserError with the sentence that the state holds.
    """
    run.claim()
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), lambda *_: run.request_stop())
    try:
        # Imported only now: the claim above must not wait for torch.
        import torch

        from vit_demo.training.loop import fine_tune

        if settings.load().threads:
            torch.set_num_threads(settings.load().threads)
        return fine_tune(run, listener) if listener else fine_tune(run)
    except Exception as error:
        message = _sentence(error)
        run.set_state(status="failed", ended=time.time(), message=message)
        if isinstance(error, UserError):
            raise
        if message.startswith(UNEXPECTED):
            traceback.print_exc()
        raise UserError(message) from error


def _sentence(error: Exception) -> str:
    """What went wrong, for a person."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower():
        return "The memory is full. Choose a smaller batch size, a lower resolution or a smaller model."
    # safetensors says it in words alone, with an exception of its own.
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "no space left on device" in str(error).lower():
        return "The disk is full. Free some space and start again."
    return f"{UNEXPECTED} ({type(error).__name__}: {error}). The log below says where."


def main() -> int:
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    try:
        execute(Run(Path(sys.argv[1])))
    except UserError as error:
        print(f"failed: {error}", flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
