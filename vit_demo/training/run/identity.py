"""Which process it was: ids are used again, and clocks are set, so an id alone or a time of day says too
little.
"""

from __future__ import annotations

from pathlib import Path

import psutil

PROC = Path("/proc")


def birth(pid: int) -> str | float:
    """When a process was started, in a way that no other process of this id shares.

    On Linux the boot's own id and the clock ticks since that boot, which setting the clock does not
    change; elsewhere seconds since 1970. Raises psutil.Error where there is no such process.
    """
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        # The second field is the program's name in brackets and may hold anything; field 22 is the start.
        ticks = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
        return f"{boot} {ticks}"
    except (OSError, IndexError):
        started: float = psutil.Process(pid).create_time()
        return started


def lives(pid: object, born: object) -> bool:
    """Whether the process of this id and :func:`birth` still works; a zombie does not."""
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return False
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if isinstance(born, str):
            return birth(pid) == born
        return isinstance(born, (int, float)) and abs(process.create_time() - born) < 1
    except (psutil.Error, OverflowError):
        return False
