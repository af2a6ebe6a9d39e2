"""See what a Vision Transformer sees in a leaf, teach it a new disease, get a diagnosis."""

import contextlib
import gc
import os
from collections.abc import Iterator

__version__ = "0.1.0"

# Read by OpenMP when torch is first imported, so it stands here. Threads that wait then sleep
# instead of spinning: alone a step costs the same, but with the page, a fine-tune or anything else
# on the same few cores, spinning made each of them several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Without garbage collection: torch and transformers make millions of objects while they are imported, all of which stay.

    Looking through them again and again is about a fifth of the time that the import takes.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
