"""Work beside the page: it goes on when the page is closed, can be stopped, and is found again by its key."""

from __future__ import annotations

import enum
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence

Result = TypeVar("Result")
# A page that is open asks each second; one that has not asked for so long no longer watches.
WATCHED_SECONDS = 15


class JobState(enum.StrEnum):
    """Where a job stands. Waiting jobs wait for their turn; the last three have ended."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class Stopped(Exception):
    """Raised in a job's work where somebody asked it to end."""


@dataclass
class Job(Generic[Result]):
    """One piece of work.

    total, done: how many photos there are, and are done. about: what it was asked for. step: which part of
    the work is under way. progress: what the work tells of itself beside the counts. result: what it made; of
    some kinds a first part is there before the end. began: when it began, by ``time.monotonic``. watchers:
    when each page last asked for it.
    """

    key: str
    total: int = 0
    about: Any = None
    state: JobState = JobState.WAITING
    step: str = ""
    done: int = 0
    progress: Any = None
    result: Result | None = None
    began: float = 0.0
    watchers: dict[str, float] = field(default_factory=dict)
    stop_asked: threading.Event = field(default_factory=threading.Event, repr=False)
    _error: Sentence | None = None
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def error(self) -> str:
        """Why it failed, as a sentence in the language of whoever asks; "" where it did not."""
        return str(self._error or "")

    @property
    def is_going(self) -> bool:
        """Whether it has not ended."""
        return self.state in (JobState.WAITING, JobState.RUNNING)

    def stop(self) -> None:
        """Let it end soon."""
        self.stop_asked.set()

    def check(self) -> None:
        """Raise Stopped where it was asked to end; the work calls this often."""
        if self.stop_asked.is_set():
            raise Stopped

    def tell(self, done: int, total: int | None = None) -> None:
        """Say how far the work is; raises Stopped as :meth:`check` does."""
        self.check()
        self.done, self.total = done, self.total if total is None else total

    def wait(self, seconds: float | None = None) -> bool:
        """Return when it has ended, or after so many seconds; whether it has ended."""
        return self._ended.wait(seconds)

    def end(self, state: JobState, error: Sentence | None = None) -> Job[Result]:
        """It has ended in this state. error: why it failed."""
        self._error, self.state = error, state
        self._ended.set()
        return self


class Jobs(Generic[Result]):
    """All jobs of one kind on this server, the last used last.

    name: of their threads. keep: so many that have ended are kept. failed: the key of the sentence for what
    is no UserError, with {error} in it. one_at_a_time: two would only halve the speed of both, and that of
    the page.
    """

    def __init__(
        self, name: str, keep: int, failed: str = "error.common.job_failed", one_at_a_time: bool = False
    ):
        self._name, self._keep, self._failed = name, keep, failed
        self._jobs: OrderedDict[str, Job[Result]] = OrderedDict()
        self._lock = threading.RLock()
        self.turn: threading.Lock | None = threading.Lock() if one_at_a_time else None

    def find(self, key: str, visitor: str = "") -> Job[Result] | None:
        """The job of this key. visitor: the page that asks, which then counts as watching."""
        with self._lock:
            job = self._jobs.get(key)
            if job is not None:
                self._jobs.move_to_end(key)
                if visitor:
                    job.watchers[visitor] = time.monotonic()
            return job

    def all(self) -> list[Job[Result]]:
        """All of them, the last used first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def clear(self) -> None:
        """Forget all, as after a restart of the server."""
        with self._lock:
            self._jobs.clear()

    def add(self, job: Job[Result]) -> Job[Result]:
        """Keep a job, in place of an earlier one of its key; of those that have ended the ones used longest
        ago are forgotten.
        """
        with self._lock:
            self._jobs[job.key] = job
            self._jobs.move_to_end(job.key)
            ended = [key for key, other in self._jobs.items() if not other.is_going and other is not job]
            for key in ended[: max(0, len(ended) - self._keep + 1)]:
                del self._jobs[key]
        return job

    def forget(self, key: str) -> None:
        """Forget the job of this key, so that the next one begins anew."""
        with self._lock:
            self._jobs.pop(key, None)

    def start(
        self, job: Job[Result], work: Callable[[Job[Result]], Result], visitor: str = ""
    ) -> Job[Result]:
        """The job of this key that is under way or done, else this one, in a thread of its own. visitor: as
        in :meth:`find`.

        work: makes the result, calls ``job.tell`` or ``job.check`` often, and raises UserError for what a
        person can mend.
        """
        with self._lock:  # two pages that ask at once must not begin two
            known = self.find(job.key, visitor)
            if known is not None and (
                known.state is JobState.DONE or known.is_going and not known.stop_asked.is_set()
            ):
                return known
            self.add(job)
            self.find(job.key, visitor)
        # A server that ends does not wait for it.
        threading.Thread(target=self._run, args=(job, work), daemon=True, name=self._name).start()
        return job

    def leave(self, key: str, visitor: str) -> None:
        """The page no longer wants this job: it is stopped, unless another page watches it."""
        job = self.find(key)
        if job is None or not job.is_going:
            return
        with self._lock:
            job.watchers.pop(visitor, None)
            now = time.monotonic()
            if not any(now - seen < WATCHED_SECONDS for seen in job.watchers.values()):
                job.stop()

    def _run(self, job: Job[Result], work: Callable[[Job[Result]], Result]) -> None:
        try:
            if self.turn is None:
                self._work(job, work)
            else:
                with self.turn:
                    self._work(job, work)
        except Stopped:
            job.end(JobState.STOPPED)
        except UserError as error:
            job.end(JobState.FAILED, error.sentence)
        except (
            Exception
        ) as error:  # shown on the page, which must not wait for ever: a thread has no other way to say it
            job.end(JobState.FAILED, Sentence(self._failed, {"error": type(error).__name__}))

    def _work(self, job: Job[Result], work: Callable[[Job[Result]], Result]) -> None:
        job.check()
        job.began, job.state = time.monotonic(), JobState.RUNNING
        job.result = work(job)
        job.end(JobState.DONE)
