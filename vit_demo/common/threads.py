"""Work for several threads: in its order and in bounded memory, each thread computing by itself."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")
# Decoding leaves Python's lock, so threads do; more than these hardly help, since one forward waits for all
# of them.
MOST_THREADS = 8


def in_order(
    make: Callable[[Given], Made],
    items: Iterable[Given],
    ahead: int,
    threads: int | None = None,
    begin: Callable[[], None] | None = None,
) -> Generator[Made]:
    """make(item) of each item, in their order, at most ``ahead`` of them before they are asked for; an error
    is raised in its turn.

    threads: None for one a core. begin: what each thread does first.
    """
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(
        threads or min(os.cpu_count() or 1, MOST_THREADS), thread_name_prefix="photos", initializer=begin
    )
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def map_threads(make: Callable[[Given], Made], items: Iterable[Given], ahead: int) -> Generator[Made]:
    """:func:`in_order` with a thread for each of torch's, each of which computes alone.

    So no core waits for another, as they do at the end of each step of a computation that is spread over
    them, and what is computed stays in its core's cache.
    """
    usual = torch.get_num_threads()
    threads = min(usual, MOST_THREADS)
    return in_order(make, items, ahead, threads, partial(compute_alone, usual // threads, usual))


def compute_alone(threads: int, others: int) -> None:
    """Let this thread compute with so many of torch's threads, and all that come later with as many as the
    others.
    """
    # A thread takes the number of all when it first asks for it, which would undo the next line.
    torch.get_num_threads()
    torch.set_num_threads(threads)
    # What is set by any thread holds for it and for those that come after; one that ends at once sets it back
    # for these.
    setter = threading.Thread(target=torch.set_num_threads, args=(others,))
    setter.start()
    setter.join()


class MemoryBudget:
    """Memory that several threads share: who wants more than is left waits; who wants more than there is at
    all has it alone.
    """

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
