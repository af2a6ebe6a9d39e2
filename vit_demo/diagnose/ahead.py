"""Photos made ready by a few threads ahead of the forward, in their order and in bounded memory."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from PIL import Image

from vit_demo.diagnose.photos import DECODE_BYTES

Given, Made = TypeVar("Given"), TypeVar("Made")
# Decoding leaves Python's lock, so threads do; more than these hardly help, since one forward waits for all of them.
MOST_THREADS = 8
# What decoding and judging a photo takes at most, in bytes a pixel, for the two formats nearly all photos are in, and for all others.
USUAL, UNUSUAL = 10, 20
# Beyond this a photo is made smaller as it is opened, so what is done with it afterwards costs no more.
SMALL_BYTES = 1_000_000


def in_order(
    make: Callable[[Given], Made], items: Iterable[Given], ahead: int, threads: int | None = None, begin: Callable[[], None] | None = None
) -> Iterator[Made]:
    """make(item) of each item, in their order, at most ``ahead`` of them before they are asked for; an error is raised in its turn.

    threads: None for one a core. begin: what each thread does first.
    """
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(threads or min(os.cpu_count() or 1, MOST_THREADS), thread_name_prefix="photos", initializer=begin)
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Room:
    """Memory that several threads share: who wants more than is left waits; who wants more than there is at all has it alone."""

    def __init__(self, most: int):
        self._most, self._used, self._freed = most, 0, threading.Condition()

    @contextlib.contextmanager
    def hold(self, wanted: int) -> Iterator[None]:
        """Hold so many bytes."""
        with self._freed:
            self._freed.wait_for(lambda: self._used == 0 or self._used + wanted <= self._most)
            self._used += wanted
        try:
            yield
        finally:
            with self._freed:
                self._used -= wanted
                self._freed.notify_all()


# Of the whole process: several pages and commands may diagnose at once.
ROOM = Room(DECODE_BYTES)


def bytes_to_open(path: str | Path) -> int:
    """An upper estimate of the memory that opening this photo takes, from its header; all that there is where the header says nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")) as photo:
                width, height = photo.size
                return SMALL_BYTES + width * height * (USUAL if photo.format in ("JPEG", "PNG") else UNUSUAL)
    except Exception:  # open_photo, which comes next, says what is wrong with it
        return DECODE_BYTES
