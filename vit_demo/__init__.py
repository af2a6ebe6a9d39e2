"""See what a Vision Transformer sees in a leaf, teach it a new disease, get a diagnosis."""

import contextlib
import gc
import os
from collections.abc import Iterator

__version__ = "0.2.0"

# Read by OpenMP when torch is first imported, so it stands here. Threads that wait spin for some
# microseconds, in which the next piece of a step mostly comes, and then sleep. Sleeping at once made the
# many short pieces of a step on small photos a third slower; spinning on, as is usual, makes everything
# several times slower as soon as the page, a fine-tune or anything else wants the same few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# The same for numpy's and scipy's own threads, read when they are first imported. As they come, they spin on
# for a tenth of a second after each product of matrices, and what torch does in that time takes four times as
# long.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Without garbage collection: torch and transformers make millions of objects while they are imported,
    all of which stay.

    Looking through them again and again is about a fifth of the time that the import takes; and they are
    never looked through later.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.freeze()
            gc.enable()
