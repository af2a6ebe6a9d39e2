"""What the package does for the imports of all others."""

from __future__ import annotations

import subprocess
import sys

BEGIN = "import gc\nfrom vit_demo import collector_paused\n"


def run(code: str) -> None:
    """In a process of its own: what is set apart stays so for the rest of it."""
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_is_made_in_a_pause_is_never_looked_through_again():
    run(
        "with collector_paused():\n    assert not gc.isenabled()\n    made = [[] for _ in range(5000)]\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 5000"
    )


def test_a_pause_within_another_changes_nothing():
    run(
        "gc.disable()\nwith collector_paused():\n    pass\n"
        "assert not gc.isenabled() and gc.get_freeze_count() == 0"
    )
