"""What a person decided about single photos of a data set: kept apart from it, readable, and each decision
can be taken back.

One file a data set under ``decisions/`` in the home folder, one JSON object a line. The source itself is
never changed: :func:`vit_demo.data.corrections.decided.mend` makes the mended data set of both.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from filelock import FileLock

from vit_demo.common import line_log, settings
from vit_demo.common.errors import UserError
from vit_demo.data.names import located
from vit_demo.data.plan.corrections import parted

# keep: it was looked at and is right, so that this finding is not shown again. move: to another split.
ACTIONS = ("keep", "exclude", "relabel", "move")


@dataclass(frozen=True)
class Decision:
    """About one photo. number: of this decision in its journal, from 1. to: the new label or split; of a pair
    that is kept, the other one.

    why: the finding that led to it.
    """

    number: int
    action: str
    split: str
    path: str
    to: str = ""
    why: str = ""
    time: float = 0.0

    @property
    def photo(self) -> tuple[str, str]:
        return self.split, self.path


class Journal:
    """The decisions about one data set. name: how it is opened; a folder by its whole path."""

    def __init__(self, name: str):
        self.name = name
        slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-40:]
        # A name of the user's is made harmless for a path; the digest tells apart what then looks alike.
        self.file = (
            settings.load().home
            / "decisions"
            / f"{slug}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.jsonl"
        )

    def decisions(self) -> list[Decision]:
        """Those in force, in the order in which they were taken."""
        found: dict[int, Decision] = {}
        for values in line_log.read(self.file):
            if isinstance(values.get("undo"), int):
                found.pop(values["undo"], None)
                continue
            with contextlib.suppress(TypeError):
                decision = Decision(**values)
                if decision.action in ACTIONS and isinstance(decision.number, int):
                    found[decision.number] = decision
        return list(found.values())

    def state(self) -> tuple[int, int]:
        """Changes with each decision."""
        try:
            found = self.file.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    def decide(self, action: str, photo: tuple[str, str], to: str = "", why: str = "") -> Decision:
        """Take a decision about the photo (split, path) of the source."""
        if action not in ACTIONS:
            raise UserError("error.data.no_action", action=action)
        if action in ("relabel", "move") and not to:
            raise UserError("error.data.no_new_class" if action == "relabel" else "error.data.no_new_split")
        with self._changing():
            decision = Decision(self._last() + 1, action, *photo, to, why, round(time.time(), 3))
            line_log.append(self.file, asdict(decision))
        return decision

    def undo(self, number: int | None = None) -> Decision:
        """Take a decision back, the last one without a number; it stays in the file. UserError where there is
        none.
        """
        with self._changing():
            decisions = self.decisions()
            chosen = [decision for decision in decisions if number in (None, decision.number)]
            if not chosen:
                raise UserError("error.data.no_such_decision" if number else "error.data.no_decision")
            line_log.append(self.file, {"undo": chosen[-1].number, "time": round(time.time(), 3)})
        return chosen[-1]

    def follow(self, moved: Mapping[tuple[str, str], tuple[str, str]]) -> None:
        """Take the decisions about photos that lie elsewhere now anew, about where they lie. moved: new
        (split, path) by the old one.
        """
        named = {"/".join(old): "/".join(new) for old, new in moved.items()}
        for decision in self.decisions():
            photo, to = moved.get(decision.photo, decision.photo), named.get(decision.to, decision.to)
            if (photo, to) != (decision.photo, decision.to):
                self.undo(decision.number)
                self.decide(decision.action, photo, to, decision.why)

    def forget(self) -> None:
        """Delete it: its photos are gone, and those that come in their place are other ones."""
        if self.file.exists():
            with self._changing():
                self.file.unlink(missing_ok=True)

    def _last(self) -> int:
        """The highest number ever given, so that none is given twice."""
        numbers = [
            values["number"] for values in line_log.read(self.file) if isinstance(values.get("number"), int)
        ]
        return max(numbers, default=0)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Alone, over all threads and servers."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.file.with_suffix(".lock")):
                yield
        except OSError as error:
            raise UserError("error.data.decision_not_written", error=error.strerror) from None


def journal_of(spec: str) -> Journal:
    """The journal of a source as ``open_dataset`` takes it; two ways to write the same folder are one."""
    text = str(spec).strip()
    # What is said about how to read a folder makes no other photos of it.
    path = located(text) or located(parted(text)[0])
    return Journal(str(path.resolve()) if path else text)
