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
    them. told: on the command line, what they mean.

    called: as people call what it finds. hint: what a person should do about it; by default the texts of
    vit_demo/text for the kind. Each is a key of these texts, or a plain text.
    """

    kind: str
    find: Callable[[Photos], Iterable[Finding]]
    told: str
    called: str = ""
    hint: str = ""

    @property
    def title(self) -> str:
        """What it finds, in the current language."""
        return text_or_plain(self.called or f"data.kind.{self.kind}")

    @property
    def within(self) -> str:
        """The title within a sentence."""
        key = f"data.within.{self.kind}"
        return text_of(key) if key in words() else self.title

    @property
    def advice(self) -> str:
        """What to do about a finding, in the current language."""
        return text_or_plain(self.hint or f"data.hint.{self.kind}")

    @property
    def meaning(self) -> str:
        """What its findings mean, as the command line has it."""
        return text_or_plain(self.told)


# First what spoils an examination, then what spoils the lesson, then the photos themselves.
CHECKS: dict[str, Check] = {
    check.kind: check
    for check in (
        Check(
            FindingKind.LEAKAGE,
            leakage,
            "Alike in two splits: a model must not be examined with a photo that it has learned.",
        ),
        Check(FindingKind.LABEL, wrong_labels, "The label may be wrong: look at the leaf."),
        Check(FindingKind.DUPLICATE, duplicates, "Twice in one split: once is enough."),
        Check(FindingKind.UNLIKE, unlike, "Unlike all others: leave out what does not belong here."),
        Check(FindingKind.BROKEN, broken, "The file cannot be opened: leave it out."),
        *(
            Check(kind, partial(faulty, problem=kind), f"quality.{kind}", hint="data.hint.quality")
            for kind in WARNINGS
        ),
    )
}


def register(check: Check) -> Check:
    """Add a check, whose findings are shown last: from then on the Data tab and the command line have it."""
    if check.kind in CHECKS:
        raise ValueError(f"There is a check of kind {check.kind} already.")
    CHECKS[check.kind] = check
    return check
