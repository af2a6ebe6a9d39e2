"""All checks of a data set, in the order in which their findings are shown. A new one is a function in a file
of its own and one entry here, or one call of :func:`register`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from vit_demo.common.words import text_of, text_or_plain, words
from vit_demo.data.checks.finding import Finding, FindingKind, Photos
from vit_demo.data.checks.label_errors import wrong_labels
from vit_demo.data.checks.pairs import duplicates, leakage
from vit_demo.data.checks.unfit import broken, faulty
from vit_demo.data.checks.unlike import unlike
from vit_demo.photos.quality import WARNINGS


@dataclass(frozen=True)
class Check:
    """One check. kind: of all its findings, as files, journals and the command line name it. find: looks for
    them.

    called: as people call what it finds. hint: what a person should do about it. told: the same on the
    command line, by default the hint. Each is a key of vit_demo/text, or a plain text.
    """

    kind: str
    find: Callable[[Photos], Iterable[Finding]]
    called: str
    hint: str
    told: str = ""

    @property
    def title(self) -> str:
        """What it finds, in the current language."""
        return text_or_plain(self.called)

    @property
    def within(self) -> str:
        """The title within a sentence."""
        key = f"data.within.{self.kind}"
        return text_of(key) if key in words() else self.title

    @property
    def advice(self) -> str:
        """What to do about a finding, in the current language."""
        return text_or_plain(self.hint)

    @property
    def meaning(self) -> str:
        """The same, as the command line has it."""
        return text_or_plain(self.told or self.hint)


# First what spoils an examination, then what spoils the lesson, then the photos themselves.
CHECKS: dict[str, Check] = {
    check.kind: check
    for check in (
        Check(
            FindingKind.LEAKAGE,
            leakage,
            "data.kind.leakage",
            "data.hint.leakage",
            "Alike in two splits: a model must not be examined with a photo that it has learned.",
        ),
        Check(
            FindingKind.LABEL,
            wrong_labels,
            "data.kind.label",
            "data.hint.label",
            "The label may be wrong: look at the leaf.",
        ),
        Check(
            FindingKind.DUPLICATE,
            duplicates,
            "data.kind.duplicate",
            "data.hint.duplicate",
            "Twice in one split: once is enough.",
        ),
        Check(
            FindingKind.UNLIKE,
            unlike,
            "data.kind.unlike",
            "data.hint.unlike",
            "Unlike all others: leave out what does not belong here.",
        ),
        Check(
            FindingKind.BROKEN,
            broken,
            "data.kind.broken",
            "data.hint.broken",
            "The file cannot be opened: leave it out.",
        ),
        *(
            Check(
                problem,
                partial(faulty, problem=problem),
                f"data.kind.{problem}",
                "data.hint.quality",
                f"quality.{problem}",
            )
            for problem in WARNINGS
        ),
    )
}


def register(check: Check) -> Check:
    """Add a check, whose findings are shown last: from then on the Data tab and the command line have it."""
    if check.kind in CHECKS:
        raise ValueError(f"There is a check of kind {check.kind} already.")
    CHECKS[check.kind] = check
    return check
