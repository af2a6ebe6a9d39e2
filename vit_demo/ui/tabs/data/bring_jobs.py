"""What is understood of an upload before anything is taken in, worked out beside the page: of a large archive
it takes a while.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from vit_demo.common.errors import UserError
from vit_demo.common.jobs import Job, Jobs, JobState
from vit_demo.common.words import Sentence
from vit_demo.data.importing.gather import plan_of
from vit_demo.data.names import SPLITS
from vit_demo.data.plan.corrections import Corrections
from vit_demo.data.plan.plan import Choice, LeftOut, Plan

# So many of what is left out are named; the rest is counted.
MOST_NAMED = 200
KEEP = 8
KEY_LENGTH = 16


@dataclass(frozen=True)
class Understood:
    """What a page shows of a plan; the plan itself names each photo and is not kept.

    kind, choices, notes: as of the plan. photos: {split, "" where none is given: {class: photos}}.
    unlabelled: {folder: photos without a class}. files: (path, split) of files of many photos each. left_out:
    the first of left_out_count. refused: why there is no plan, None where there is one.
    """

    kind: str = "folders"
    name: str = ""
    photos: dict[str, dict[str, int]] = field(default_factory=dict)
    unlabelled: dict[str, int] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    left_out_count: int = 0
    choices: tuple[Choice, ...] = ()
    notes: tuple[Sentence, ...] = ()
    refused: Sentence | None = None

    @property
    def is_asked(self) -> bool:
        """Whether something has to be answered first."""
        return any(choice.is_open for choice in self.choices)

    @property
    def may_begin(self) -> bool:
        """Whether there is something to take in and nothing left to answer."""
        return not self.is_asked and self.refused is None and bool(self.photos or self.files)

    @property
    def to_cut(self) -> list[str]:
        """The splits that will be cut from the training photos. All are these where they are of one split."""
        given = {*self.photos, *(split for _, split in self.files)}
        if not given or len(given) > 1 and not given & {"", "train"}:
            return []
        return [split for split in SPLITS[1:] if split not in given or len(given) == 1]


JOBS: Jobs[Understood] = Jobs("plan", KEEP)


def key_of(paths: Sequence[Path]) -> str:
    """Of uploaded files as they are now."""
    found = hashlib.sha256()
    for path in paths:
        found.update(str(path).encode())
        with suppress(OSError):
            state = path.stat()
            found.update(f"{state.st_size} {state.st_mtime_ns}".encode())
    return found.hexdigest()[:KEY_LENGTH]


def look(
    key: str, corrections: Corrections, source: Callable[[], AbstractContextManager[Path]]
) -> Job[Understood]:
    """The job that makes the plan, begun now or before. key: of the files. source: gives the folder or the
    archive that they are.
    """

    def work(job: Job[Understood]) -> Understood:
        try:
            with source() as path:
                return understood_of(plan_of(path, corrections, lambda: job.tell(job.done + 1)))
        except UserError as error:  # a part of the answer: what was said may be what is wrong
            return Understood(refused=error.sentence)

    return JOBS.start(Job(f"{key} {corrections}"), work)


def refused(error: UserError) -> Job[Understood]:
    """A job that has ended with why there is no plan."""
    return Job("", result=Understood(refused=error.sentence)).end(JobState.DONE)


def understood_of(plan: Plan) -> Understood:
    """What is shown of a plan."""
    places = Counter("/".join(photo.parts[:-1]) for photo in plan.unlabelled)
    return Understood(
        plan.kind,
        plan.name,
        plan.counts(),
        dict(sorted(places.items())),
        tuple(("/".join(file.parts), file.split) for file in plan.files),
        tuple(plan.left_out[:MOST_NAMED]),
        len(plan.left_out),
        tuple(plan.choices),
        tuple(plan.notes),
    )
